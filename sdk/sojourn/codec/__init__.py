"""Canonical encodings and hashes.

Rules of this package:

* Whatever is stored or sent begins with six bytes: magic `SJ`, kind (u16, big endian), version (u16, big endian).
  What follows is one MessagePack array, the positional fields of one `Record`.
* A decoder is strict: wrong magic, kind or version, unknown fields, trailing bytes, a value outside its type, or
  bytes that are not what `encode` makes of the decoded value raise `DecodeError`, and its size is checked first.
* Signatures and hashes are over the exact bytes that were received, never over a re-encoding.
"""

from sojourn.codec.hashing import DIGEST_BYTES, digest, digest_parts, hexdigest
from sojourn.codec.kinds import Kind
from sojourn.codec.normal import check_canonical, normalised
from sojourn.codec.records import HEADER_BYTES, Record, decode, encode, header_of

__all__ = [
    "DIGEST_BYTES",
    "HEADER_BYTES",
    "Kind",
    "Record",
    "check_canonical",
    "decode",
    "digest",
    "digest_parts",
    "encode",
    "header_of",
    "hexdigest",
    "normalised",
]
