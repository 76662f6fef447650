"""Signing a document, and taking its wrapper apart. Who may sign what is decided in `sojourn.crypto.trust` only."""

from __future__ import annotations

from typing import Final, Protocol

from sojourn.codec import Record, check_canonical, decode, digest, encode
from sojourn.contracts import SUITE_1, Signed
from sojourn.crypto.suite import check_suite, verify_signature
from sojourn.limits import MAX_DOCUMENT_BYTES

__all__ = [
    "MAX_SIGNED_BYTES",
    "Signer",
    "open_signed",
    "sign_document",
    "sign_payload",
    "signing_message",
    "verify_signed",
]

_DOMAIN: Final = b"sojourn/signed/v1\x00"
SIGNED_OVERHEAD_BYTES: Final = 256
MAX_SIGNED_BYTES: Final = MAX_DOCUMENT_BYTES + SIGNED_OVERHEAD_BYTES
"""A payload may have `MAX_DOCUMENT_BYTES`; the wrapper around it adds less than this."""


class Signer(Protocol):
    """What can sign: an `Identity` or a `RootKey`."""

    @property
    def key(self) -> bytes:
        """Key id, 32 bytes."""
        ...

    def sign_bytes(self, message: bytes) -> bytes:
        """Ed25519 signature over `message`, 64 bytes."""
        ...


def signing_message(suite: int, payload: bytes) -> bytes:
    """What a signature of a document is over: domain, suite and the payload's digest (see `contracts.Signed`)."""
    return _DOMAIN + suite.to_bytes(2, "big") + digest(payload)


def sign_document(signer: Signer, record: Record) -> bytes:
    """The encoded `Signed` over the framed bytes of `record`.

    Raises:
        UsageError: the record would not decode from its own bytes, such as an int in a float field.
    """
    check_canonical(record)
    return sign_payload(signer, encode(record))


def sign_payload(signer: Signer, payload: bytes) -> bytes:
    """The encoded `Signed` over bytes that are framed already, for example a compiled program read from a file."""
    signature = signer.sign_bytes(signing_message(SUITE_1, payload))
    return encode(Signed(suite=SUITE_1, signer=signer.key, payload=payload, signature=signature))


def open_signed(data: bytes, what: str) -> Signed:
    """Decode the wrapper and check its suite; the signature is *not* verified yet.

    Raises:
        DecodeError: not exactly one canonical `Signed` of a known suite.
    """
    signed = decode(Signed, data, limit=MAX_SIGNED_BYTES)
    check_suite(signed.suite, what)
    return signed


def verify_signed(signed: Signed, sign_key: bytes, what: str) -> None:
    """Verify the wrapper's signature with `sign_key`.

    Raises:
        SignatureInvalid: it does not verify.
    """
    verify_signature(sign_key, signed.signature, signing_message(signed.suite, signed.payload), what)
