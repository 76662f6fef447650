"""Where the records of a body lie in the object log: positions, 8 bytes each, big endian."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from sojourn.errors import StoreError

__all__ = ["join_keys", "pack_extents", "split_keys", "unpack_extents"]

_KEY = 32


def pack_extents(positions: Iterable[int]) -> bytes:
    """Positions as bytes."""
    listed = tuple(positions)
    return struct.pack(f">{len(listed)}Q", *listed)


def unpack_extents(data: bytes) -> tuple[int, ...]:
    """The positions that `pack_extents` took."""
    if len(data) % 8:
        raise StoreError("a row of the database names positions that are not whole; restore it from a backup")
    return struct.unpack(f">{len(data) // 8}Q", data)


def join_keys(keys: Iterable[bytes]) -> bytes:
    """Key ids (32 bytes each) in one byte string."""
    return b"".join(keys)


def split_keys(data: bytes) -> tuple[bytes, ...]:
    """The key ids that `join_keys` took."""
    if len(data) % _KEY:
        raise StoreError("a row of the database names key ids that are not whole; restore it from a backup")
    return tuple(data[start : start + _KEY] for start in range(0, len(data), _KEY))
