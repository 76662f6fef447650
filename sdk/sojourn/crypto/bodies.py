"""Bodies: bytes of any length, sealed once under a content key that travels inside envelopes.

Rules:

* Each body has a key of its own, made here; there is no way to pass one in. A stored body is sent again as it is.
* A sealed body is a 16-byte header (frame, suite, chunk size) and chunks of `SEAL_CHUNK_BYTES` plaintext, each with
  its tag. Nonces are a counter and a last flag (STREAM); the header is every chunk's associated data.
* An opener gives out only authenticated chunks, in order. Nothing may be *committed* before `finish` returned: only
  then is it known that all of the body came, and that it is the one the reference names.
"""

from __future__ import annotations

import hashlib
from typing import Final

from sojourn.codec import HEADER_BYTES, Kind, header_of
from sojourn.contracts import SUITE_1, BodyRef
from sojourn.crypto.suite import KEY_BYTES, TAG_BYTES, OpenChunk, SealChunk, check_suite, new_key
from sojourn.errors import DecodeError, UsageError
from sojourn.limits import MAX_BODY_BYTES, SEAL_CHUNK_BYTES

__all__ = ["BODY_HEADER_BYTES", "BodyOpener", "BodySealer", "open_body", "seal_body", "sealed_length"]

VERSION: Final = 1
BODY_HEADER_BYTES: Final = 16
_HEADER: Final = (
    b"SJ"
    + int(Kind.SEALED_BODY).to_bytes(2, "big")
    + VERSION.to_bytes(2, "big")
    + SUITE_1.to_bytes(2, "big")
    + SEAL_CHUNK_BYTES.to_bytes(4, "big")
    + bytes(4)
)
_SEALED_CHUNK_BYTES: Final = SEAL_CHUNK_BYTES + TAG_BYTES


def sealed_length(plain: int) -> int:
    """Length in bytes of a sealed body whose plain text has `plain` bytes."""
    chunks = max(1, -(-plain // SEAL_CHUNK_BYTES))
    return BODY_HEADER_BYTES + plain + chunks * TAG_BYTES


class BodySealer:
    """Seals one body as it comes, in memory of one chunk."""

    __slots__ = ("_buffer", "_finished", "_key", "_plain", "_plain_bytes", "_sealed", "_sealed_bytes", "_sealer")

    def __init__(self) -> None:
        self._key = new_key()
        self._sealer = SealChunk(self._key, _HEADER)
        self._buffer = bytearray()
        self._plain, self._sealed = hashlib.sha256(), hashlib.sha256()
        self._plain_bytes = self._sealed_bytes = 0
        self._finished = False

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Take plain bytes; returns the sealed pieces that are complete, to be stored or sent in order.

        Raises:
            UsageError: after `finish`, or past `MAX_BODY_BYTES`.
        """
        if self._finished:
            raise UsageError("this body is sealed; make another sealer for another body")
        self._plain_bytes += len(data)
        if self._plain_bytes > MAX_BODY_BYTES:
            raise UsageError(f"a body has at most {MAX_BODY_BYTES} bytes")
        self._plain.update(data)
        self._buffer += data
        pieces = []
        while len(self._buffer) > SEAL_CHUNK_BYTES:  # the last chunk waits for `finish`, which flags it
            pieces.append(self._emit(last=False))
        return pieces

    def finish(self) -> tuple[list[bytes], BodyRef, bytes]:
        """Seal the last chunk.

        Returns:
            The last pieces, the reference, and the content key (32 bytes), which goes into envelopes only.
        """
        if self._finished:
            raise UsageError("this body is sealed already")
        self._finished = True
        pieces = [self._emit(last=True)]
        ref = BodyRef(
            id=self._sealed.digest(),
            length=self._sealed_bytes,
            digest=self._plain.digest(),
            plain=self._plain_bytes,
        )
        return pieces, ref, self._key

    def _emit(self, *, last: bool) -> bytes:
        piece = self._sealer.seal(bytes(self._buffer[:SEAL_CHUNK_BYTES]), last=last)
        del self._buffer[:SEAL_CHUNK_BYTES]
        if self._sealed_bytes == 0:
            piece = _HEADER + piece
        self._sealed.update(piece)
        self._sealed_bytes += len(piece)
        return piece

    def __repr__(self) -> str:
        return f"BodySealer({self._plain_bytes} bytes, key …)"


class BodyOpener:
    """Opens one body as it arrives, in memory of one chunk, whatever sizes it arrives in."""

    __slots__ = ("_buffer", "_header", "_opener", "_plain", "_plain_bytes", "_ref", "_sealed", "_sealed_bytes")

    def __init__(self, ref: BodyRef, key: bytes) -> None:
        """Begin.

        Args:
            ref: from a verified document.
            key: content key from the same envelope, 32 bytes.

        Raises:
            DecodeError: the reference contradicts itself, or the key has another length.
        """
        if len(key) != KEY_BYTES:
            raise DecodeError("value", f"a content key has {KEY_BYTES} bytes")
        if not 0 <= ref.plain <= MAX_BODY_BYTES:
            raise DecodeError("oversize", f"a body has at most {MAX_BODY_BYTES} bytes, this one claims {ref.plain}")
        if ref.length != sealed_length(ref.plain):
            raise DecodeError("value", "the sealed and the plain length of this body do not belong together")
        self._ref = ref
        self._opener = OpenChunk(key, _HEADER)
        self._header = False
        self._buffer = bytearray()
        self._plain, self._sealed = hashlib.sha256(), hashlib.sha256()
        self._plain_bytes = self._sealed_bytes = 0

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Take sealed bytes in order; returns the plain chunks that are complete and authentic.

        Raises:
            DecodeError: more bytes than the reference names, or another header.
            SignatureInvalid: a chunk does not open.
        """
        self._sealed_bytes += len(data)
        if self._sealed_bytes > self._ref.length:
            raise DecodeError("trailing", f"more bytes than the {self._ref.length} of this body")
        self._sealed.update(data)
        self._buffer += data
        if not self._header:
            if len(self._buffer) < BODY_HEADER_BYTES:
                return []
            _check_header(bytes(self._buffer[:BODY_HEADER_BYTES]))
            del self._buffer[:BODY_HEADER_BYTES]
            self._header = True
        chunks = []
        while self._buffer and (len(self._buffer) >= _SEALED_CHUNK_BYTES or self._sealed_bytes == self._ref.length):
            last = self._sealed_bytes == self._ref.length and len(self._buffer) <= _SEALED_CHUNK_BYTES
            plain = self._opener.open(bytes(self._buffer[:_SEALED_CHUNK_BYTES]), last=last, what="body")
            del self._buffer[:_SEALED_CHUNK_BYTES]
            self._plain.update(plain)
            self._plain_bytes += len(plain)
            chunks.append(plain)
        return chunks

    def finish(self) -> None:
        """Settle that all of exactly this body came; call it before anything made of it is committed.

        Raises:
            DecodeError: cut short, or not the body that the reference names.
        """
        if self._sealed_bytes != self._ref.length:
            raise DecodeError("value", f"{self._sealed_bytes} of the body's {self._ref.length} bytes came")
        if self._sealed.digest() != self._ref.id or self._plain.digest() != self._ref.digest:
            raise DecodeError("digest", "these bytes are not the body that the document names")

    def __repr__(self) -> str:
        return f"BodyOpener({self._ref!r}, {self._sealed_bytes} bytes came, key …)"


def seal_body(plain: bytes) -> tuple[bytes, BodyRef, bytes]:
    """Seal a body that is in memory.

    Returns:
        Sealed bytes, reference, and content key (32 bytes).
    """
    sealer = BodySealer()
    pieces = sealer.feed(plain)
    last, ref, key = sealer.finish()
    return b"".join((*pieces, *last)), ref, key


def open_body(sealed: bytes, ref: BodyRef, key: bytes) -> bytes:
    """Open a body that is in memory; it is complete and the one that `ref` names.

    Raises:
        DecodeError: see `BodyOpener`.
        SignatureInvalid: altered.
    """
    opener = BodyOpener(ref, key)
    chunks = opener.feed(sealed)
    opener.finish()
    return b"".join(chunks)


def _check_header(header: bytes) -> None:
    kind, version = header_of(header)
    if kind != Kind.SEALED_BODY:
        raise DecodeError("kind", f"not a sealed body (kind {kind:#06x})")
    if version != VERSION:
        raise DecodeError("version", f"sealed body: version {version} is not version {VERSION} of this program")
    check_suite(int.from_bytes(header[HEADER_BYTES : HEADER_BYTES + 2], "big"), "sealed body")
    if header != _HEADER:
        raise DecodeError("value", "sealed body: another chunk size than this version's, or reserved bytes set")
