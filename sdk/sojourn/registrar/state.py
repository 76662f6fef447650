"""The registrar's durable state: tokens given out, and the agents that used them.

Rules:

* The registrar is a party of its own. Its key signs agents' entries and no coordinator holds it; the TLS authority's
  key lies here too. Folder layout: see `sojourn.crypto.setup`; the database `registrar.db` is made on first use.
* A token is stored as a hash, is bound to a name and an expiry, and is used once: checking it, issuing, and marking it
  used are one SQLite transaction with full sync, and the reply leaves after the commit.
* The same agent asking again with the same keys (its reply was lost) gets the stored reply. Other keys are refused.
* One name, one agent: while an agent's enrolment is live (not expired, revoked or superseded) its name takes no other
  keys, unless the operator minted the token to replace exactly that agent. Both is checked where it counts, in the
  transaction that issues; minting tells it early. Superseding is the registrar's word: only the roster shuts a key out.
* Several processes may have the state open: minting works while the listener runs. One listener at a time
  (`lock_listener`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from cryptography.hazmat.primitives import serialization

from sojourn.codec import decode, digest, digest_parts
from sojourn.contracts import SUITE_1, Entry, Signed
from sojourn.crypto import IDENTITY_FILE, Authority, Identity, TrustedSet, read_root_public, sign_document
from sojourn.crypto.certificates import requested_key
from sojourn.crypto.keyfiles import read_public
from sojourn.crypto.setup import AUTHORITY_FILE, ROOT_PUBLIC_FILE, ROSTER_FILE, YEAR_MS, now_ms
from sojourn.crypto.suite import KEY_BYTES, SEAL_KEY_BYTES
from sojourn.errors import ConfigError, EnrolmentRefused
from sojourn.limits import MAX_NAME_CHARS
from sojourn.registrar.database import advance, connect, transaction
from sojourn.registrar.messages import (
    EnrolmentReply,
    EnrolmentRequest,
    EnrolmentToken,
    format_token,
    open_request,
    token_id,
    token_key,
)
from sojourn.streams.files import FileLock

__all__ = ["DATABASE_FILE", "EnrolledAgent", "IssuedToken", "RegistrarState"]

DATABASE_FILE: Final = "registrar.db"
LOCK_FILE: Final = "lock"
DAY_MS: Final = 24 * 3600 * 1000
MAX_TOKEN_TTL_MS: Final = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token as the registrar remembers it.

    Attributes:
        name: of the agent that may use it.
        expires_ms: Unix milliseconds.
        used_ms: when it was used, None if it was not.
        replaces: key id of the agent that it may supersede, or None.
    """

    name: str
    expires_ms: int
    used_ms: int | None
    replaces: bytes | None


@dataclass(frozen=True, slots=True)
class EnrolledAgent:
    """An agent that enrolled here.

    Attributes:
        name: for people.
        key: key id, 32 bytes: what a roster revokes.
        enrolled_ms: Unix milliseconds.
        entry: `Signed(Entry)`.
        superseded_ms: when another enrolment under its name took its place, None if none did.
    """

    name: str
    key: bytes
    enrolled_ms: int
    entry: bytes
    superseded_ms: int | None


class RegistrarState:
    """One registrar's keys and database. Open it with `open`; use it as a context manager or call `close`."""

    def __init__(self, folder: Path, identity: Identity, authority: Authority, root_key: bytes) -> None:
        """Use `open`."""
        self._folder = folder
        self._identity = identity
        self._authority = authority
        self._trusted = TrustedSet(root_key)
        self._database = connect(folder / DATABASE_FILE)

    @classmethod
    def open(cls, folder: Path) -> RegistrarState:
        """Open the registrar's folder, as `create_trust` made it.

        Raises:
            ConfigError: a file is missing, damaged or readable by others, or it is another party's folder.
            StateVersion: written by a newer version.
            StoreError: the database cannot be opened.
        """
        inner = folder / "registrar"
        if not (folder / IDENTITY_FILE).exists() and (inner / IDENTITY_FILE).exists():
            raise ConfigError(f"{folder} is no registrar's folder, but {inner} is; did you mean --state {inner}?")
        identity = Identity.load(folder / IDENTITY_FILE)
        if identity.role != "registrar":
            raise ConfigError(f"{folder} is the folder of a {identity.role}, not of a registrar")
        if identity.certificate is None:
            raise ConfigError(f"{folder} has no certificate.pem; restore it beside {IDENTITY_FILE}")
        authority = Authority.load(folder / AUTHORITY_FILE)
        return cls(folder, identity, authority, read_root_public(folder / ROOT_PUBLIC_FILE))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> RegistrarState:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def identity(self) -> Identity:
        """The registrar's identity."""
        return self._identity

    @property
    def authority(self) -> bytes:
        """DER of the TLS authority's certificate."""
        return self._authority.certificate

    def lock_listener(self) -> FileLock:
        """Take the folder for a listener; the caller releases it.

        Raises:
            StateInUse: another listener runs on this folder; the message names its process.
        """
        return FileLock.acquire(self._folder / LOCK_FILE, f"registrar folder {self._folder}")

    def mint_token(
        self, name: str, *, url: str, ttl_ms: int = DAY_MS, at_ms: int | None = None, replace: bool = False
    ) -> str:
        """Make a token that enrols one agent, once.

        Args:
            name: of the agent; it cannot enrol under another.
            url: where this registrar listens, `wss://host:port`, as the agent reaches it.
            ttl_ms: how long the token holds, at most 30 days.
            at_ms: the host's clock by default.
            replace: the agent that is enrolled under this name now, if there is one, may be superseded by the token.

        Returns:
            The token string. It is not stored: print it once and hand it over like a password.

        Raises:
            ConfigError: name, url or lifetime out of bounds; or the name is taken and `replace` was not said.
        """
        if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise ConfigError(f"an agent's name is 1 to {MAX_NAME_CHARS} printable characters")
        if not url.startswith("wss://"):
            raise ConfigError(f"the registrar's url has to begin with wss://, not {url!r}")
        if not 0 < ttl_ms <= MAX_TOKEN_TTL_MS:
            raise ConfigError(f"a token holds for 1 to {MAX_TOKEN_TTL_MS} ms (30 days)")
        secret = secrets.token_bytes(KEY_BYTES)
        public = token_key(secret).public_key().public_bytes_raw()
        with transaction(self._database) as database:
            now = advance(database, now_ms() if at_ms is None else at_ms)
            live = self._live(name, now)
            if live is not None and not replace:
                raise ConfigError(
                    f"an agent is enrolled as {name!r} already (key {live.hex()[:16]}…); choose another name, or say "
                    "--replace if it is lost or moves: the new agent then takes its place"
                )
            database.execute(
                "INSERT INTO tokens (id, name, created_ms, expires_ms, replaces) VALUES (?, ?, ?, ?, ?)",
                (token_id(public), name, now, now + ttl_ms, live),
            )
        return format_token(
            EnrolmentToken(
                suite=SUITE_1,
                name=name,
                url=url,
                secret=secret,
                pin=digest(self._identity.certificate or b""),
                root_key=self._trusted.root_key,
                expires_ms=now + ttl_ms,
            )
        )

    def enrol(self, data: bytes, at_ms: int | None = None) -> EnrolmentReply:
        """Answer one enrolment request; durable before it returns.

        Args:
            data: untrusted bytes from the network.
            at_ms: the host's clock by default.

        Raises:
            EnrolmentRefused: the token is unknown, used with other keys, expired, or for another name; or the keys
                are revoked or unusable; or another agent is enrolled under the name.
            SignatureInvalid: a proof of the request fails.
            DecodeError: not a request.
            TrustError: this registrar's own roster does not hold.
        """
        request = open_request(data)
        if len(request.seal_key) != SEAL_KEY_BYTES:
            raise EnrolmentRefused(f"a sealing key has {SEAL_KEY_BYTES} bytes")
        with transaction(self._database) as database:
            now = advance(database, now_ms() if at_ms is None else at_ms)
            roster_bytes = read_public(self._folder / ROSTER_FILE)  # it may have been replaced while we run
            self._trusted.load_roster(roster_bytes, now)
            row = database.execute(
                "SELECT name, expires_ms, used_ms, keys, entry, certificate, replaces, superseded_ms FROM tokens "
                "WHERE id = ?",
                (token_id(request.token),),
            ).fetchone()
            if row is None:
                raise EnrolmentRefused("this registrar does not know the token; ask for a new one")
            name, expires_ms, used_ms, keys, entry, certificate, replaces, superseded_ms = row
            claimed = _keys_digest(request)
            if used_ms is not None:
                if keys != claimed:
                    raise EnrolmentRefused(
                        "the token was used already, with other keys; a token enrols one agent once, ask for a new one"
                    )
                if superseded_ms is not None:
                    raise EnrolmentRefused(f"another agent has taken the place of {name!r}; ask for a new token")
            else:
                if now >= expires_ms:
                    raise EnrolmentRefused("the token has expired; ask for a new one")
                if request.name != name:
                    raise EnrolmentRefused(f"the token is for an agent with another name than {request.name!r}")
                entry, certificate, agent = self._issue(request, now)
                self._take_name(name, agent, replaces, now)
                database.execute(
                    "UPDATE tokens SET used_ms = ?, agent = ?, keys = ?, entry = ?, certificate = ? WHERE id = ?",
                    (now, agent, claimed, entry, certificate, token_id(request.token)),
                )
        return EnrolmentReply(
            suite=SUITE_1,
            outcome="enrolled",
            code="",
            message="",
            entry=entry,
            certificate=certificate,
            roster=roster_bytes,
        )

    def tokens(self) -> list[IssuedToken]:
        """All tokens given out, oldest first; none can be read back."""
        rows = self._database.execute(
            "SELECT name, expires_ms, used_ms, replaces FROM tokens ORDER BY created_ms, rowid"
        )
        return [IssuedToken(*row) for row in rows]

    def agents(self) -> list[EnrolledAgent]:
        """All agents that enrolled here, oldest first, those included that another has superseded."""
        rows = self._database.execute(
            "SELECT name, agent, used_ms, entry, superseded_ms FROM tokens WHERE used_ms IS NOT NULL "
            "ORDER BY used_ms, rowid"
        )
        return [EnrolledAgent(*row) for row in rows]

    def live_agent(self, name: str) -> EnrolledAgent | None:
        """The agent that holds a name now, by the roster in the folder; None if it is free.

        Raises:
            TrustError: this registrar's own roster does not hold.
        """
        key = self._live(name, now_ms())
        return next((agent for agent in reversed(self.agents()) if agent.key == key), None)

    def _live(self, name: str, now: int) -> bytes | None:
        """Key id of the agent that holds a name: neither superseded, nor revoked, nor expired."""
        rows = self._database.execute(
            "SELECT agent, entry FROM tokens WHERE name = ? AND used_ms IS NOT NULL AND superseded_ms IS NULL "
            "ORDER BY used_ms DESC, rowid DESC",
            (name,),
        ).fetchall()
        if rows:
            self._trusted.load_roster(read_public(self._folder / ROSTER_FILE), now)
        for key, signed in rows:
            entry = decode(Entry, decode(Signed, signed).payload)
            if key not in self._trusted.roster.revoked and now < entry.expires_ms:
                return bytes(key)
        return None

    def _take_name(self, name: str, agent: bytes, replaces: bytes | None, now: int) -> None:
        """Give a name to an agent, within a transaction; whoever held it is superseded."""
        live = self._live(name, now)
        if live is not None and live not in {agent, replaces}:
            raise EnrolmentRefused(
                f"another agent is enrolled as {name!r} (key {live.hex()[:16]}…); ask the registrar's operator for a "
                "token with another name or, if that agent is to be replaced, for one made with --replace"
            )
        self._database.execute(
            "UPDATE tokens SET superseded_ms = ? WHERE name = ? AND used_ms IS NOT NULL AND superseded_ms IS NULL",
            (now, name),
        )

    def _issue(self, request: EnrolmentRequest, now: int) -> tuple[bytes, bytes, bytes]:
        """`(signed entry, certificate, key id)` for a request whose token holds."""
        draft = Entry(
            suite=SUITE_1,
            role="agent",
            name=request.name,
            sign_key=request.sign_key,
            seal_key=request.seal_key,
            tls=bytes(32),
            issued_ms=now,
            expires_ms=now + YEAR_MS,
        )
        if draft.key in self._trusted.roster.revoked:
            raise EnrolmentRefused("these keys are revoked; make a new identity")
        if any(entry.sign_key == request.sign_key for entry in self._trusted.roster.entries):
            raise EnrolmentRefused("this signing key belongs to another party of the federation; make a new identity")
        certificate = self._authority.issue(request.csr, "agent", draft.key)
        entry = Entry(
            suite=SUITE_1,
            role="agent",
            name=draft.name,
            sign_key=draft.sign_key,
            seal_key=draft.seal_key,
            tls=digest(certificate),
            issued_ms=draft.issued_ms,
            expires_ms=draft.expires_ms,
        )
        return sign_document(self._identity, entry), certificate, draft.key


def _keys_digest(request: EnrolmentRequest) -> bytes:
    """What makes a second request the same agent's: all three public keys (the request's own signature varies)."""
    tls = requested_key(request.csr)
    spki = tls.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return digest_parts("enrolment/keys", request.sign_key, request.seal_key, spki)
