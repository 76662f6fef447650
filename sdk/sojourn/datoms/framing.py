"""Many datoms in one body.

A datom starts at the smallest multiple of 64 that leaves room, right before it, for its length (u32, big endian); the
bytes between two datoms, but for that length, are zero. So a block's payload is aligned to 64 bytes in the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sojourn.codec import HEADER_BYTES
from sojourn.datoms.block import ALIGNMENT
from sojourn.errors import DecodeError, UsageError
from sojourn.limits import MAX_DATOM_BYTES

__all__ = ["DatomSplitter", "join_datoms", "split_datoms"]

_LENGTH_BYTES: Final = 4


def _gap(position: int) -> int:
    """Bytes between `position` and the next datom's first byte, its length included."""
    return _LENGTH_BYTES + -(position + _LENGTH_BYTES) % ALIGNMENT


def _length(gap: memoryview) -> int:
    if any(gap[:-_LENGTH_BYTES]):
        raise DecodeError("canonical", "bytes between two datoms that are not zero")
    length = int.from_bytes(gap[-_LENGTH_BYTES:], "big")
    if not HEADER_BYTES < length <= MAX_DATOM_BYTES:
        raise DecodeError("oversize", f"a datom of {length} bytes; it has {HEADER_BYTES + 1} to {MAX_DATOM_BYTES}")
    return length


def join_datoms(datoms: Iterable[bytes]) -> bytes:
    """One body that holds `datoms` in order.

    Raises:
        UsageError: a datom is empty or too large.
    """
    parts: list[bytes] = []
    position = 0
    for datom in datoms:
        if not HEADER_BYTES < len(datom) <= MAX_DATOM_BYTES:
            raise UsageError(f"a datom of {len(datom)} bytes; it has {HEADER_BYTES + 1} to {MAX_DATOM_BYTES}")
        gap = _gap(position)
        parts += (bytes(gap - _LENGTH_BYTES), len(datom).to_bytes(_LENGTH_BYTES, "big"), datom)
        position += gap + len(datom)
    return b"".join(parts)


def split_datoms(body: bytes | bytearray | memoryview) -> list[memoryview]:
    """The datoms of a body, as views of it.

    Raises:
        DecodeError: the body is not what `join_datoms` makes.
    """
    view = memoryview(body).cast("B")
    found: list[memoryview] = []
    position = 0
    while position < len(view):
        start = position + _gap(position)
        if start > len(view):
            raise DecodeError("schema", "a body that stops within a datom's length")
        position = start + _length(view[position:start])
        if position > len(view):
            raise DecodeError("schema", "a body that stops within a datom")
        found.append(view[start:position])
    return found


class DatomSplitter:
    """`split_datoms` for a body that arrives in chunks; holds at most one unfinished datom."""

    __slots__ = ("_buffer", "_position")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0  # of the buffer's first byte in the body

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[bytes]:
        """The datoms that `chunk` completes.

        Raises:
            DecodeError: the body is not what `join_datoms` makes.
        """
        self._buffer += chunk
        found: list[bytes] = []
        taken = 0
        with memoryview(self._buffer) as view:
            while True:
                start = taken + _gap(self._position + taken)
                if start > len(view):
                    break
                stop = start + _length(view[taken:start])
                if stop > len(view):
                    break
                found.append(bytes(view[start:stop]))
                taken = stop
        del self._buffer[:taken]
        self._position += taken
        return found

    def finish(self) -> None:
        """Say that the body ended.

        Raises:
            DecodeError: within a datom.
        """
        if self._buffer:
            raise DecodeError("schema", "a body that stops within a datom")
