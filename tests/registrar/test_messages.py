"""Tokens and requests: pasted whole, proven twice, shown nowhere."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.codec import decode, digest_parts, encode
from sojourn.crypto import Identity
from sojourn.errors import ConfigError, DecodeError, PeerError, SignatureInvalid
from sojourn.registrar.messages import (
    TOKEN_PREFIX,
    EnrolmentProof,
    EnrolmentRequest,
    EnrolmentToken,
    build_request,
    format_token,
    open_request,
    parse_token,
    token_id,
    token_key,
)

TOKEN = EnrolmentToken(
    suite=1,
    name="hospital-1",
    url="wss://127.0.0.1:1",
    secret=bytes(range(32)),
    pin=bytes(32),
    root_key=bytes(32),
    expires_ms=5,
)


@pytest.fixture(scope="module")
def identity():
    return Identity.generate("agent", "hospital-1")


@pytest.fixture(scope="module")
def request_bytes(identity):
    return build_request(TOKEN, identity)


def test_a_token_survives_pasting():
    text = format_token(TOKEN)
    assert text.startswith(TOKEN_PREFIX)
    assert parse_token(f"  {text}\n") == TOKEN
    assert text.isascii()
    assert not set(text) & set(" \t\n+/=")


def test_damaged_tokens_are_refused_and_never_repeated():
    text = format_token(TOKEN)
    cases = [
        "",
        "hello",
        text[5:],
        text[:-1],
        text[:40],
        text + "A",
        text[:50] + "!" + text[51:],
        text.upper(),
        "sjt1.",
        "sjt2." + text[5:],
    ]
    cases += [format_token(msgspec.structs.replace(TOKEN, **{field: b"x"})) for field in ("secret", "pin", "root_key")]
    cases += [format_token(msgspec.structs.replace(TOKEN, suite=2)), TOKEN_PREFIX + "A" * 5000]
    for case in cases:
        with pytest.raises(ConfigError, match="token") as caught:
            parse_token(case)
        assert len(case) < 10 or case[5:40] not in str(caught.value)


@given(st.text(max_size=60))
def test_hostile_tokens_only_ever_raise_config_errors(text):
    for case in (text, TOKEN_PREFIX + text):
        with pytest.raises(ConfigError):
            parse_token(case)


def test_a_token_is_not_shown():
    assert repr(TOKEN.secret) not in repr(TOKEN)
    assert "secret …" in repr(TOKEN)


def test_a_request_says_who_asks_and_holds_no_secret(identity, request_bytes):
    request = open_request(request_bytes)
    assert (request.name, request.sign_key, request.seal_key) == ("hospital-1", identity.sign_key, identity.seal_key)
    assert request.token == token_key(TOKEN.secret).public_key().public_bytes_raw()
    assert TOKEN.secret not in request_bytes
    assert token_key(TOKEN.secret).private_bytes_raw() not in request_bytes
    assert token_id(request.token) not in request_bytes


def test_each_altered_byte_of_a_request_is_refused(request_bytes):
    for index in range(len(request_bytes)):
        altered = request_bytes[:index] + bytes([request_bytes[index] ^ (1 << index % 8)]) + request_bytes[index + 1 :]
        with pytest.raises(PeerError):
            open_request(altered)


def test_both_proofs_are_needed(identity, request_bytes):
    proof = decode(EnrolmentProof, request_bytes)
    for changes in ({"by_token": b""}, {"by_agent": b""}, {"by_token": proof.by_agent}, {"by_agent": proof.by_token}):
        with pytest.raises(SignatureInvalid):
            open_request(encode(msgspec.structs.replace(proof, **changes)))
    # another's signing key in an otherwise good request
    victim = Identity.generate("agent", "victim")
    inner = msgspec.structs.replace(decode(EnrolmentRequest, proof.request), sign_key=victim.sign_key)
    request = encode(inner)
    forged = EnrolmentProof(
        request=request,
        by_token=token_key(TOKEN.secret).sign(digest_parts("enrolment/by-token", request)),
        by_agent=identity.sign_bytes(digest_parts("enrolment/by-agent", request)),
    )
    with pytest.raises(SignatureInvalid, match="agent's proof"):
        open_request(encode(forged))


@given(st.binary(max_size=200))
def test_hostile_requests_only_ever_raise_peer_errors(data):
    with pytest.raises(DecodeError):
        open_request(data)


def test_a_request_of_an_unknown_suite_is_refused(identity, request_bytes):
    inner = msgspec.structs.replace(decode(EnrolmentRequest, decode(EnrolmentProof, request_bytes).request), suite=2)
    request = encode(inner)
    proof = EnrolmentProof(
        request=request,
        by_token=token_key(TOKEN.secret).sign(digest_parts("enrolment/by-token", request)),
        by_agent=identity.sign_bytes(digest_parts("enrolment/by-agent", request)),
    )
    with pytest.raises(DecodeError, match="suite 2"):
        open_request(encode(proof))
