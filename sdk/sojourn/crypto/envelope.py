"""Envelopes: one message from one party to another, end to end, whatever carries it.

Rules:

* An envelope binds suite, sender, recipient, purpose and time in its header; the header is the context (`info`) of
  the wrapped key and the associated data of every chunk, so nothing in it can be swapped.
* It is signed over every byte. `open_envelope` verifies signature, addresses and time before it opens anything.
* A stored envelope is sent again as it is. Sealing the same payload again makes another envelope under a fresh key.
* The sender's `Entry` must come from a `TrustedSet`: an envelope proves who made it, not that he may.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from sojourn.codec import Kind, Record, decode, digest_parts, encode
from sojourn.contracts import SUITE_1, Entry
from sojourn.crypto.identity import Identity
from sojourn.crypto.suite import OpenChunk, SealChunk, check_suite, new_key, unwrap_key, verify_signature, wrap_key
from sojourn.errors import DecodeError, Expired, UnknownSigner, UsageError, WrongRecipient
from sojourn.limits import (
    MAX_CLOCK_SKEW_MS,
    MAX_DOCUMENT_BYTES,
    MAX_ENVELOPE_BYTES,
    MAX_ENVELOPE_LIFETIME_MS,
    MAX_SEAL_CHUNK_BYTES,
    SEAL_CHUNK_BYTES,
)

__all__ = ["ANSWER", "ORDER", "EnvelopeHeader", "Purpose", "open_envelope", "peek_envelope", "seal_envelope"]

Purpose = Literal["order", "answer"]
ORDER: Final = "order"
ANSWER: Final = "answer"


class EnvelopeHeader(Record, frozen=True):
    """Who sends what to whom, and for how long it holds."""

    KIND: ClassVar[int] = Kind.ENVELOPE_HEADER
    suite: int
    sender: bytes  # key id
    recipient: bytes  # key id
    purpose: Purpose
    issued_ms: int
    expires_ms: int


class Envelope(Record, frozen=True):
    """The sealed form. `signature` is the sender's over `digest_parts("envelope/signed", header, wrapped, *chunks)`."""

    KIND: ClassVar[int] = Kind.ENVELOPE
    header: bytes  # framed EnvelopeHeader
    wrapped: bytes  # session key, HPKE to the recipient
    chunks: tuple[bytes, ...]  # AES-256-GCM, STREAM nonces
    signature: bytes


def seal_envelope(
    sender: Identity, recipient: Entry, purpose: Purpose, payload: bytes, issued_ms: int, expires_ms: int
) -> bytes:
    """Sign and seal `payload` to one recipient.

    Args:
        sender: signs.
        recipient: a verified entry with a sealing key.
        purpose: what the payload is; the opener states what it expects.
        payload: at most `MAX_DOCUMENT_BYTES`.
        issued_ms: time of sealing, Unix milliseconds.
        expires_ms: the envelope is refused from then on.

    Returns:
        The envelope, about 1.5 KB longer than the payload.

    Raises:
        UsageError: payload too large or lifetime out of bounds.
        TrustError: the recipient's sealing key is unusable.
    """
    if len(payload) > MAX_DOCUMENT_BYTES:
        raise UsageError(f"an envelope holds at most {MAX_DOCUMENT_BYTES} bytes; send {len(payload)} bytes as a body")
    if not 0 < expires_ms - issued_ms <= MAX_ENVELOPE_LIFETIME_MS:
        raise UsageError(f"an envelope lives between 1 and {MAX_ENVELOPE_LIFETIME_MS} ms")
    header = encode(
        EnvelopeHeader(
            suite=SUITE_1,
            sender=sender.key,
            recipient=recipient.key,
            purpose=purpose,
            issued_ms=issued_ms,
            expires_ms=expires_ms,
        )
    )
    context = _context(header)
    key = new_key()
    wrapped = wrap_key(key, recipient.seal_key, context)
    sealer = SealChunk(key, context)
    starts = range(0, max(len(payload), 1), SEAL_CHUNK_BYTES)
    chunks = tuple(sealer.seal(payload[start : start + SEAL_CHUNK_BYTES], last=start == starts[-1]) for start in starts)
    signature = sender.sign_bytes(_signing_message(header, wrapped, chunks))
    return encode(Envelope(header=header, wrapped=wrapped, chunks=chunks, signature=signature))


def peek_envelope(data: bytes) -> EnvelopeHeader:
    """The header as it claims to be, *not verified*: only to look the sender up in the roster.

    Raises:
        DecodeError: not an envelope of this version and suite.
    """
    return _decode(data)[1]


def open_envelope(me: Identity, data: bytes, sender: Entry, purpose: Purpose, now_ms: int) -> bytes:
    """Verify, then open.

    Args:
        me: the recipient.
        data: untrusted bytes.
        sender: who it must come from, out of a `TrustedSet` and valid there now.
        purpose: what it must be for.
        now_ms: the trusted set's time (`TrustedSet.now`), Unix milliseconds.

    Returns:
        The payload.

    Raises:
        DecodeError: not one canonical envelope.
        UnknownSigner: it names another sender.
        SignatureInvalid: any byte was altered.
        WrongRecipient: addressed to somebody else, or for another purpose.
        Expired: too old, or from the future.
    """
    envelope, header = _decode(data)
    if header.sender != sender.key:
        raise UnknownSigner(f"the envelope names another sender than {sender.role} {sender.name!r}")
    message = _signing_message(envelope.header, envelope.wrapped, envelope.chunks)
    verify_signature(sender.sign_key, envelope.signature, message, "envelope")
    if header.recipient != me.key:
        raise WrongRecipient("the envelope is addressed to somebody else")
    if header.purpose != purpose:
        raise WrongRecipient(f"the envelope is for the purpose {header.purpose!r}, expected {purpose!r}")
    _check_time(header, now_ms)
    context = _context(envelope.header)
    key = unwrap_key(envelope.wrapped, me.seal, context, "envelope")
    opener = OpenChunk(key, context)
    last = len(envelope.chunks) - 1
    return b"".join(
        opener.open(chunk, last=index == last, what="envelope") for index, chunk in enumerate(envelope.chunks)
    )


def _decode(data: bytes) -> tuple[Envelope, EnvelopeHeader]:
    envelope = decode(Envelope, data, limit=MAX_ENVELOPE_BYTES)
    header = decode(EnvelopeHeader, envelope.header)
    check_suite(header.suite, "envelope")
    if not envelope.chunks or any(len(chunk) > MAX_SEAL_CHUNK_BYTES for chunk in envelope.chunks):
        raise DecodeError("value", "an envelope has one chunk or more, none above the limit")
    return envelope, header


def _context(header: bytes) -> bytes:
    return digest_parts("envelope/header", header)


def _signing_message(header: bytes, wrapped: bytes, chunks: tuple[bytes, ...]) -> bytes:
    return digest_parts("envelope/signed", header, wrapped, *chunks)


def _check_time(header: EnvelopeHeader, now_ms: int) -> None:
    if not 0 < header.expires_ms - header.issued_ms <= MAX_ENVELOPE_LIFETIME_MS:
        raise Expired("the envelope's lifetime is out of bounds")
    if header.issued_ms > now_ms + MAX_CLOCK_SKEW_MS:
        raise Expired("the envelope is from the future; compare the clocks of the two hosts")
    if now_ms >= header.expires_ms:
        raise Expired("the envelope has expired; the sender has to make a new one")
