"""Identities: entries, the root-signed roster, and the signed wrapper of every document."""

from __future__ import annotations

from typing import ClassVar, Literal

from sojourn.codec import Kind, Record, digest_parts

__all__ = ["Entry", "Role", "Roster", "Signed", "key_id"]

Role = Literal["author", "coordinator", "registrar", "agent"]


def key_id(sign_key: bytes, seal_key: bytes) -> bytes:
    """Name of an identity: SHA-256 over its two raw public keys, 32 bytes."""
    return digest_parts("key", sign_key, seal_key)


class Signed(Record, frozen=True):
    """`payload` is a framed record; `signature` is over `b"sojourn/signed/v1\\0" + suite u16be + SHA-256(payload)`.

    The payload's own frame (kind and version) separates the domains: a job's signature is never a plan's.
    """

    KIND: ClassVar[int] = Kind.SIGNED
    suite: int
    signer: bytes  # key id of the signer, 32 bytes
    payload: bytes
    signature: bytes  # 64 bytes under suite 1


class Entry(Record, frozen=True):
    """One identity. Authors, coordinators and registrars stand in the roster; an agent's is signed by a registrar."""

    KIND: ClassVar[int] = Kind.ENTRY
    suite: int
    role: Role
    name: str
    sign_key: bytes  # Ed25519 public key, 32 bytes
    seal_key: bytes  # X-Wing public key, 1216 bytes; empty for an author, who receives nothing
    tls: bytes  # SHA-256 of the DER of the TLS certificate; empty for an author
    issued_ms: int
    expires_ms: int

    @property
    def key(self) -> bytes:
        """Key id, 32 bytes."""
        return key_id(self.sign_key, self.seal_key)


class Roster(Record, frozen=True):
    """What the root key signs: who is who, and who is so no longer. `version` only grows."""

    KIND: ClassVar[int] = Kind.ROSTER
    suite: int
    version: int
    issued_ms: int
    expires_ms: int
    authority: bytes  # DER of the private certificate authority of TLS, P-256
    entries: tuple[Entry, ...]  # authors, coordinators, registrars
    revoked: tuple[bytes, ...]  # key ids, of agents too
