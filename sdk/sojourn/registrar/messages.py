"""What is said during an enrolment: the token (handed over by people), one request, one reply.

Rules:

* A token holds a secret seed. An Ed25519 key is derived from it; the request carries that key's public half and a
  signature by it, so the secret itself is never sent and never stored by the registrar.
* The request is signed by the agent's own new key too: nobody enrols a signing key that he does not hold. The
  certificate request inside proves the same for the TLS key.
* Each signature is over a digest under a domain of its own.
"""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar, Final, Literal

from cryptography.hazmat.primitives.asymmetric import ed25519

from sojourn.codec import Kind, Record, decode, digest_parts, encode
from sojourn.contracts import SUITE_1
from sojourn.crypto import Identity, request_certificate
from sojourn.crypto.suite import KEY_BYTES, SIGN_KEY_BYTES, check_suite, verify_signature
from sojourn.errors import ConfigError, DecodeError

__all__ = [
    "MAX_MESSAGE_BYTES",
    "TOKEN_PREFIX",
    "EnrolmentProof",
    "EnrolmentReply",
    "EnrolmentRequest",
    "EnrolmentToken",
    "build_request",
    "format_token",
    "open_request",
    "parse_token",
    "token_id",
    "token_key",
]

TOKEN_PREFIX: Final = "sjt1."  # noqa: S105 - a prefix, no secret
MAX_MESSAGE_BYTES: Final = 1_200_000  # a reply holds a roster, which is a document
MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_TOKEN_CHARS: Final = 4 * 1024


class EnrolmentToken(Record, frozen=True):
    """What a token string holds. Whoever has it can enrol once under its name: hand it over like a password."""

    KIND: ClassVar[int] = Kind.ENROLMENT_TOKEN
    suite: int
    name: str  # of the agent that may use it
    url: str  # of the registrar's listener
    secret: bytes  # seed of the token key, 32 bytes
    pin: bytes  # SHA-256 of the DER of the registrar's TLS certificate
    root_key: bytes  # what the agent will pin
    expires_ms: int

    def __repr__(self) -> str:
        return f"EnrolmentToken({self.name!r}, {self.url!r}, secret …)"


class EnrolmentRequest(Record, frozen=True):
    """What an agent asks for."""

    KIND: ClassVar[int] = Kind.ENROLMENT_REQUEST
    suite: int
    token: bytes  # public half of the token key, 32 bytes
    name: str
    sign_key: bytes
    seal_key: bytes
    csr: bytes  # DER


class EnrolmentProof(Record, frozen=True):
    """The request as sent, with its two proofs."""

    KIND: ClassVar[int] = Kind.ENROLMENT_PROOF
    request: bytes  # framed EnrolmentRequest
    by_token: bytes  # signature by the token key
    by_agent: bytes  # signature by the agent's signing key


class EnrolmentReply(Record, frozen=True):
    """What the registrar answers. When refused, `code` and `message` say why and the rest is empty."""

    KIND: ClassVar[int] = Kind.ENROLMENT_REPLY
    suite: int
    outcome: Literal["enrolled", "refused"]
    code: str
    message: str
    entry: bytes  # Signed(Entry)
    certificate: bytes  # DER
    roster: bytes  # Signed(Roster)


def format_token(token: EnrolmentToken) -> str:
    """The token as one word to paste: `sjt1.` and base64url without padding."""
    return TOKEN_PREFIX + base64.urlsafe_b64encode(encode(token)).rstrip(b"=").decode("ascii")


def parse_token(text: str) -> EnrolmentToken:
    """Read a token string.

    Raises:
        ConfigError: cut, mistyped, or not a token; the message never repeats it.
    """
    text = text.strip()
    if not text.startswith(TOKEN_PREFIX) or len(text) > MAX_TOKEN_CHARS:
        raise ConfigError(
            f"an enrolment token begins with {TOKEN_PREFIX!r}; paste it whole, as the registrar printed it"
        )
    body = text[len(TOKEN_PREFIX) :]
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        token = decode(EnrolmentToken, data)
        check_suite(token.suite, "enrolment token")
    except (binascii.Error, ValueError, DecodeError):
        raise ConfigError("the enrolment token is damaged; paste it whole, as the registrar printed it") from None
    if (len(token.secret), len(token.pin), len(token.root_key)) != (KEY_BYTES, 32, SIGN_KEY_BYTES):
        raise ConfigError("the enrolment token is damaged; ask the registrar for another one")
    return token


def token_key(secret: bytes) -> ed25519.Ed25519PrivateKey:
    """The key that a token's secret stands for."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(digest_parts("enrolment/token-key", secret))


def token_id(public: bytes) -> bytes:
    """What the registrar stores of a token: a hash of its public key, from which no proof can be made."""
    return digest_parts("enrolment/token-id", public)


def build_request(token: EnrolmentToken, identity: Identity) -> bytes:
    """The one message that an agent sends.

    Args:
        token: as parsed.
        identity: the agent's, with keys made on its own machine and stored already.
    """
    key = token_key(token.secret)
    request = encode(
        EnrolmentRequest(
            suite=SUITE_1,
            token=key.public_key().public_bytes_raw(),
            name=identity.name,
            sign_key=identity.sign_key,
            seal_key=identity.seal_key,
            csr=request_certificate(identity),
        )
    )
    return encode(
        EnrolmentProof(
            request=request,
            by_token=key.sign(digest_parts("enrolment/by-token", request)),
            by_agent=identity.sign_bytes(digest_parts("enrolment/by-agent", request)),
        )
    )


def open_request(data: bytes) -> EnrolmentRequest:
    """Verify both proofs of a request. Whether its token is known is the state's to say.

    Raises:
        DecodeError: form, suite.
        SignatureInvalid: a proof fails.
    """
    proof = decode(EnrolmentProof, data, limit=MAX_REQUEST_BYTES)
    request = decode(EnrolmentRequest, proof.request, limit=MAX_REQUEST_BYTES)
    check_suite(request.suite, "enrolment request")
    message = digest_parts("enrolment/by-token", proof.request)
    verify_signature(request.token, proof.by_token, message, "enrolment request, token's proof")
    message = digest_parts("enrolment/by-agent", proof.request)
    verify_signature(request.sign_key, proof.by_agent, message, "enrolment request, agent's proof")
    return request
