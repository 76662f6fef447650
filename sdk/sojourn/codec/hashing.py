"""SHA-256, the one hash of the system (FIPS 180-4)."""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["DIGEST_BYTES", "digest", "digest_parts", "hexdigest"]

DIGEST_BYTES: Final = 32


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def hexdigest(data: bytes | bytearray | memoryview) -> str:
    """SHA-256 of `data` as 64 lower-case hexadecimal characters."""
    return hashlib.sha256(data).hexdigest()


def digest_parts(domain: str, *parts: bytes) -> bytes:
    """SHA-256 over a domain name and length-prefixed parts, so that no two lists of parts collide.

    Args:
        domain: what is hashed, for example `"run"`; ASCII.
        parts: byte strings, each preceded by its length as u64 big endian.
    """
    state = hashlib.sha256(b"sojourn/" + domain.encode("ascii") + b"\x00")
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()
