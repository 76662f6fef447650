"""Envelopes: every byte counts, and nothing is opened before it is verified."""

from __future__ import annotations

import msgspec
import pytest
import sojourn.crypto.envelope as module
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.codec import decode, digest_parts, encode
from sojourn.crypto import open_envelope, peek_envelope, seal_envelope
from sojourn.crypto.envelope import Envelope, EnvelopeHeader
from sojourn.errors import (
    DecodeError,
    Expired,
    SignatureInvalid,
    SojournError,
    TrustError,
    UnknownSigner,
    UsageError,
    WrongRecipient,
)
from sojourn.limits import MAX_CLOCK_SKEW_MS, MAX_DOCUMENT_BYTES, MAX_ENVELOPE_LIFETIME_MS, SEAL_CHUNK_BYTES

HOUR = 3_600_000


def sealed(world, payload=b"order bytes", **changes):
    arguments = {
        "sender": world.coordinator,
        "recipient": world.entry(world.agent),
        "purpose": "order",
        "payload": payload,
        "issued_ms": world.now,
        "expires_ms": world.now + HOUR,
    } | changes
    return seal_envelope(**arguments)


def opened(world, data, **changes):
    arguments = {
        "me": world.agent,
        "data": data,
        "sender": world.entry(world.coordinator),
        "purpose": "order",
        "now_ms": world.now,
    } | changes
    return open_envelope(**arguments)


def resigned(world, data, signer=None, **changes):
    """The envelope with changed fields, signed again by the sender or by another."""
    signer = signer or world.coordinator
    envelope = msgspec.structs.replace(decode(Envelope, data), **changes)
    message = digest_parts("envelope/signed", envelope.header, envelope.wrapped, *envelope.chunks)
    return encode(msgspec.structs.replace(envelope, signature=signer.sign_bytes(message)))


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from([0, 1, SEAL_CHUNK_BYTES - 1, SEAL_CHUNK_BYTES, SEAL_CHUNK_BYTES + 1, MAX_DOCUMENT_BYTES])
    | st.integers(0, 4 * SEAL_CHUNK_BYTES)
)
def test_what_is_sealed_is_opened(world, size):
    payload = bytes([size % 251]) * size
    data = sealed(world, payload)
    assert opened(world, data) == payload
    assert payload[:64] not in data or size < 8
    assert len(data) < size + 2048


def test_each_altered_byte_is_refused_before_opening(world, monkeypatch):
    data = sealed(world)

    def no_opening(*_, **__):
        raise AssertionError("an altered envelope reached the private key")

    monkeypatch.setattr(module, "unwrap_key", no_opening)
    for index in range(len(data)):
        altered = data[:index] + bytes([data[index] ^ (1 << index % 8)]) + data[index + 1 :]
        with pytest.raises((TrustError, DecodeError)):
            opened(world, altered)
    with pytest.raises(AssertionError, match="reached"):  # the unaltered one does reach it
        opened(world, data)


def test_each_cut_and_any_tail_is_refused(world):
    data = sealed(world)
    for length in range(len(data)):
        with pytest.raises((TrustError, DecodeError)):
            opened(world, data[:length])
    with pytest.raises(DecodeError):
        opened(world, data + b"\x00")


def test_another_recipient_neither_may_nor_can_open(world):
    stranger = world.registrar
    data = sealed(world)
    with pytest.raises(WrongRecipient):
        opened(world, data, me=stranger)
    # With the header rewritten and the sender's own signature, the wrapped key is still another's.
    header = msgspec.structs.replace(peek_envelope(data), recipient=stranger.key)
    with pytest.raises(SignatureInvalid, match="wrapped"):
        opened(world, resigned(world, data, header=encode(header)), me=stranger)


def test_a_thief_cannot_pass_sealed_content_off_as_his_own(world):
    data = sealed(world)
    header = msgspec.structs.replace(peek_envelope(data), sender=world.registrar.key)
    stolen = resigned(world, data, signer=world.registrar, header=encode(header))
    with pytest.raises(SignatureInvalid, match="wrapped"):
        opened(world, stolen, sender=world.entry(world.registrar))


def test_sender_purpose_and_signature_are_checked(world):
    data = sealed(world)
    with pytest.raises(UnknownSigner):
        opened(world, data, sender=world.entry(world.registrar))
    with pytest.raises(WrongRecipient, match="purpose"):
        opened(world, data, purpose="answer")
    for signature in (b"", bytes(64)):
        unsigned = encode(msgspec.structs.replace(decode(Envelope, data), signature=signature))
        with pytest.raises(SignatureInvalid):
            opened(world, unsigned)
    with pytest.raises(SignatureInvalid):
        opened(world, resigned(world, data, signer=world.registrar))


def test_time_is_checked(world):
    data = sealed(world)
    opened(world, data, now_ms=world.now + HOUR - 1)
    opened(world, data, now_ms=world.now - MAX_CLOCK_SKEW_MS)
    with pytest.raises(Expired, match="expired"):
        opened(world, data, now_ms=world.now + HOUR)
    with pytest.raises(Expired, match="future"):
        opened(world, data, now_ms=world.now - MAX_CLOCK_SKEW_MS - 1)
    long = msgspec.structs.replace(peek_envelope(data), expires_ms=world.now + MAX_ENVELOPE_LIFETIME_MS + 1)
    with pytest.raises(Expired, match="lifetime"):
        opened(world, resigned(world, data, header=encode(long)))


def test_chunks_stay_in_order_even_when_signed_again(world):
    data = sealed(world, bytes(range(256)) * 2048)  # two chunks
    first, second = decode(Envelope, data).chunks
    for chunks in ((second, first), (first,), (first, first), (first, second, second)):
        with pytest.raises(SignatureInvalid, match="chunk"):
            opened(world, resigned(world, data, chunks=chunks))
    with pytest.raises(DecodeError):
        opened(world, resigned(world, data, chunks=()))


def test_an_unknown_suite_is_refused(world):
    data = sealed(world)
    header = msgspec.structs.replace(peek_envelope(data), suite=2)
    with pytest.raises(DecodeError, match="suite 2"):
        opened(world, resigned(world, data, header=encode(header)))


def test_misuse_is_refused(world):
    with pytest.raises(UsageError, match="body"):
        sealed(world, bytes(MAX_DOCUMENT_BYTES + 1))
    for expires in (world.now, world.now - 1, world.now + MAX_ENVELOPE_LIFETIME_MS + 1):
        with pytest.raises(UsageError, match="lives"):
            sealed(world, expires_ms=expires)
    with pytest.raises(TrustError):
        sealed(world, recipient=world.entry(world.author))  # an author receives nothing


def test_sealing_twice_shares_nothing(world):
    one, two = decode(Envelope, sealed(world)), decode(Envelope, sealed(world))
    assert one.wrapped != two.wrapped
    assert one.chunks != two.chunks


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_hostile_bytes_only_ever_raise_the_documented_errors(world, data):
    for hostile in (data, sealed(world)[:6] + data):
        with pytest.raises(SojournError):
            opened(world, hostile)
        with pytest.raises(DecodeError):
            peek_envelope(hostile)


def test_peek_shows_the_header(world):
    assert peek_envelope(sealed(world)) == EnvelopeHeader(
        suite=1,
        sender=world.coordinator.key,
        recipient=world.agent.key,
        purpose="order",
        issued_ms=world.now,
        expires_ms=world.now + HOUR,
    )
