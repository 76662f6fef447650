"""The agent's side of an enrolment: pin, ask once, verify everything that comes back.

Rules:

* The registrar's certificate is checked against the token inside the TLS handshake, before a byte is sent.
* The agent stores its keys before it asks. If the reply is lost it asks again with the same keys and the same token.
* Nothing of the reply is believed: the roster must hold under the root key of the token, the entry must be signed by a
  registrar of that roster and name exactly these keys, the certificate must be the authority's, for this key.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from sojourn.codec import decode, digest
from sojourn.contracts import Entry
from sojourn.crypto import (
    CERTIFICATE_FILE,
    Identity,
    TrustedSet,
    check_certificate,
    pinned_context,
    write_root_public,
)
from sojourn.crypto.certificates import LOOPBACK_HOSTS
from sojourn.crypto.keyfiles import write_public
from sojourn.crypto.setup import ROOT_PUBLIC_FILE, ROSTER_FILE, now_ms
from sojourn.crypto.suite import check_suite
from sojourn.errors import ConfigError, EnrolmentRefused, EnrolmentUnanswered, SignatureInvalid
from sojourn.registrar.messages import MAX_MESSAGE_BYTES, EnrolmentReply, EnrolmentToken, build_request, parse_token

__all__ = ["ENTRY_FILE", "Enrolment", "enrol"]

ENTRY_FILE: Final = "entry.signed"
TIMEOUT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an agent has after it enrolled; all of it verified.

    Attributes:
        identity: the agent's identity with its TLS certificate.
        entry: the agent's entry.
        entry_signed: `Signed(Entry)`, exact bytes, which the agent shows to coordinators.
        roster_signed: `Signed(Roster)`, exact bytes.
        root_key: the pin, 32 bytes.
    """

    identity: Identity
    entry: Entry
    entry_signed: bytes
    roster_signed: bytes
    root_key: bytes

    @property
    def certificate_pem(self) -> bytes:
        """The TLS certificate as PEM."""
        certificate = x509.load_der_x509_certificate(self.identity.certificate or b"")
        return certificate.public_bytes(serialization.Encoding.PEM)

    def save(self, folder: Path) -> None:
        """Write `root.pub`, `roster.signed`, `certificate.pem` and, last, `entry.signed` beside the identity's file.

        Whoever finds `entry.signed` finds the rest.
        """
        write_root_public(folder / ROOT_PUBLIC_FILE, self.root_key)
        write_public(folder / ROSTER_FILE, self.roster_signed)
        write_public(folder / CERTIFICATE_FILE, self.certificate_pem)
        write_public(folder / ENTRY_FILE, self.entry_signed)


async def enrol(token: str, identity: Identity, *, at_ms: int | None = None) -> Enrolment:
    """Enrol an agent with a one-time token.

    Args:
        token: as the registrar printed it.
        identity: role `agent`, under the name that the token was made for (`parse_token(token).name`); saved already.
        at_ms: the host's clock by default.

    Raises:
        ConfigError: the token is damaged, the identity is not an agent's, or the registrar cannot be reached; the
            registrar has seen nothing.
        EnrolmentUnanswered: it was asked and did not answer; ask again with the same keys and token.
        EnrolmentRefused: the registrar refused, with its reason, or is not the one that the token names.
        TrustError: what came back does not hold; nothing of it may be stored.
        DecodeError: what came back is no reply.
    """
    parsed = parse_token(token)
    now = now_ms() if at_ms is None else at_ms
    if identity.role != "agent":
        raise ConfigError(f"agents enrol; this identity is a {identity.role}'s")
    if identity.name != parsed.name:
        raise EnrolmentRefused(f"the token is for an agent named {parsed.name!r}, this one is {identity.name!r}")
    reply = decode(EnrolmentReply, await _exchange(parsed, build_request(parsed, identity)), limit=MAX_MESSAGE_BYTES)
    check_suite(reply.suite, "enrolment reply")
    if reply.outcome == "refused":
        raise EnrolmentRefused(reply.message[:500])
    return _verify(parsed, identity, reply, now)


async def _exchange(token: EnrolmentToken, request: bytes) -> bytes:
    host = urlsplit(token.url).hostname
    proxy: Literal[True] | None = None if host in LOOPBACK_HOSTS else True
    asked = False
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async with connect(
                token.url,
                ssl=pinned_context(token.pin),
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                proxy=proxy,
                user_agent_header=None,
            ) as connection:
                asked = True
                await connection.send(request)
                message = await connection.recv()
    except ssl.SSLCertVerificationError:
        raise EnrolmentRefused(
            f"the server at {token.url} is not the registrar that the token names; nothing was sent to it"
        ) from None
    except (TimeoutError, OSError, WebSocketException) as problem:
        why = type(problem).__name__
        if asked:
            raise EnrolmentUnanswered(
                f"the registrar at {token.url} was asked and did not answer ({why}); run the same command again: "
                "keys and token stay good"
            ) from None
        raise ConfigError(
            f"the registrar at {token.url} does not answer ({why}); when it runs and can be reached, try again with "
            "the same token"
        ) from None
    return message.encode("utf-8") if isinstance(message, str) else message


def _verify(token: EnrolmentToken, identity: Identity, reply: EnrolmentReply, now: int) -> Enrolment:
    trusted = TrustedSet(token.root_key)
    roster = trusted.load_roster(reply.roster, now)
    entry = trusted.verify_agent(reply.entry, now)
    if (entry.sign_key, entry.seal_key) != (identity.sign_key, identity.seal_key) or entry.name != identity.name:
        raise SignatureInvalid("the registrar's entry does not name this agent's keys; it was not stored")
    if entry.tls != digest(reply.certificate):
        raise SignatureInvalid("the registrar's entry names another TLS certificate; it was not stored")
    check_certificate(reply.certificate, roster.authority, "agent", identity.key)
    return Enrolment(
        identity=identity.with_certificate(reply.certificate),
        entry=entry,
        entry_signed=reply.entry,
        roster_signed=reply.roster,
        root_key=token.root_key,
    )
