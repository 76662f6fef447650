"""The ring: a bounded stream in the memory of one process.

Rules: it holds at most `capacity` datoms. When it is full, an append is refused with `Full` until a reader lets go of
the oldest ones (`release`), or, where the ring was made to overwrite, it displaces the oldest one. Either way a reader
that stood there gets a `Gap`, never silence. Any number of threads may use one ring.
"""

from __future__ import annotations

import secrets
import threading
from weakref import WeakValueDictionary

from sojourn.errors import UsageError
from sojourn.limits import MAX_RECORD_BYTES
from sojourn.streams.contract import Appended, Blocked, Cursor, Data, Descriptor, End, Full, Gap, Sealed

__all__ = ["RingStream"]

_rings: WeakValueDictionary[bytes, RingStream] = WeakValueDictionary()


class RingStream:
    """A stream of at most `capacity` datoms; positions count datoms.

    Args:
        capacity: datoms, at least 1.
        name: for people.
        overwrite: whether an append to a full ring displaces the oldest datom instead of being refused.

    Raises:
        UsageError: a capacity below 1.
    """

    __slots__ = (
        "__weakref__", "_capacity", "_descriptor", "_first", "_mutex", "_next", "_overwrite", "_sealed", "_slots",
    )  # fmt: skip

    def __init__(self, capacity: int, name: str = "", *, overwrite: bool = False) -> None:
        if capacity < 1:
            raise UsageError(f"a ring holds at least one datom, not {capacity}")
        self._capacity, self._overwrite = capacity, overwrite
        self._slots: list[bytes] = [b""] * capacity
        self._first = self._next = 0
        self._sealed = False
        self._mutex = threading.Lock()
        self._descriptor = Descriptor("ring", secrets.token_bytes(16), name)
        _rings[self._descriptor.stream] = self

    @classmethod
    def attach(cls, descriptor: Descriptor) -> RingStream:
        """The ring of this process that a descriptor names.

        Raises:
            UsageError: it is gone, or lives in another process.
        """
        ring = _rings.get(descriptor.stream)
        if ring is None or descriptor.transport != "ring":
            raise UsageError(f"the ring {descriptor.name!r} is not in this process; a ring cannot be reached from afar")
        return ring

    @property
    def descriptor(self) -> Descriptor:
        """The ring's serialisable name; it can be realised in this process only."""
        return self._descriptor

    def append(self, datom: bytes) -> Appended | Full | Sealed:
        """Put `datom` behind all others.

        Raises:
            UsageError: a datom of no bytes, or too many.
        """
        if not 0 < len(datom) <= MAX_RECORD_BYTES:
            raise UsageError(f"a datom of {len(datom)} bytes; a ring takes 1 to {MAX_RECORD_BYTES}")
        with self._mutex:
            if self._sealed:
                return Sealed()
            if self._next - self._first == self._capacity:
                if not self._overwrite:
                    return Full()
                self._first += 1
            position = self._next
            self._slots[position % self._capacity] = bytes(datom)
            self._next = position + 1
            return Appended(position)

    def read(self, cursor: Cursor, limit: int) -> Data | Blocked | End | Gap:
        """Up to `limit` datoms from `cursor` on.

        Raises:
            UsageError: a cursor behind the end, or a limit below 1.
        """
        if limit < 1:
            raise UsageError(f"read at least one datom, not {limit}")
        with self._mutex:
            if not 0 <= cursor.position <= self._next:
                raise UsageError(f"the ring ends at position {self._next}; there is nothing at {cursor.position}")
            if cursor.position < self._first:
                return Gap(Cursor(self._first))
            if cursor.position == self._next:
                return End() if self._sealed else Blocked()
            stop = min(cursor.position + limit, self._next)
            datoms = tuple(self._slots[place % self._capacity] for place in range(cursor.position, stop))
            return Data(datoms, Cursor(stop))

    def release(self, cursor: Cursor) -> None:
        """Let go of everything before `cursor`: no reader needs it any more.

        Raises:
            UsageError: a cursor behind the end.
        """
        with self._mutex:
            if not 0 <= cursor.position <= self._next:
                raise UsageError(f"the ring ends at position {self._next}; nothing before {cursor.position} to release")
            for place in range(self._first, cursor.position):
                self._slots[place % self._capacity] = b""
            self._first = max(self._first, cursor.position)

    def seal(self) -> None:
        """End the stream. Doing it again changes nothing."""
        with self._mutex:
            self._sealed = True
