"""Bodies in the object log.

Rules:

* A sealed or submitted body is cut into records of `RECORD_BYTES`, the last one shorter, so that any offset is found
  by division. A stream of datoms (a model, an update) is one record for each datom.
* No row names a record that is not on the disk: the database syncs this log before each transaction.
* One process writes; records may be appended, read and synced from several threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sojourn.limits import KIB
from sojourn.streams import LogStream

__all__ = ["RECORD_BYTES", "ObjectLog", "ObjectWriter", "StoredBody"]

RECORD_BYTES: Final = 256 * KIB


class ObjectLog:
    """The coordinator's log of bodies. Open with `ObjectLog.open`."""

    def __init__(self, log: LogStream) -> None:
        self._log = log

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the log.

        Raises:
            LogCorrupt: a record in the middle fails its checksum.
            StateInUse: another process writes it.
        """
        return cls(LogStream.open_or_create(path))

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def append(self, data: bytes | memoryview) -> int:
        """Append one record; returns its position. Durable after `sync`."""
        return self._log.put(bytes(data))

    def append_all(self, records: Iterable[bytes | memoryview]) -> tuple[int, ...]:
        """Append records in order; returns their positions."""
        return tuple(self.append(record) for record in records)

    def sync(self) -> None:
        """Return once every record appended so far is on the disk; for the database's thread, before a transaction."""
        self._log.sync()

    def read(self, position: int) -> bytes:
        """The record at `position`.

        Raises:
            LogCorrupt: it fails its checksum.
        """
        return self._log.read_at(position)


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A body in the log, read by offset; what a gateway sends from.

    Attributes:
        log: where its records are.
        id: SHA-256 of its bytes.
        length: bytes.
        positions: of its records.
    """

    log: ObjectLog
    id: bytes
    length: int
    positions: tuple[int, ...]

    def read(self, offset: int, n: int, /) -> bytes:
        """Bytes at `offset`: `n` of them, fewer only where the body ends."""
        stop = min(offset + n, self.length)
        parts: list[bytes] = []
        while offset < stop:
            number, within = divmod(offset, RECORD_BYTES)
            record = self.log.read(self.positions[number])
            part = record[within : within + stop - offset]
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def whole(self) -> bytes:
        """All bytes of the body."""
        return self.read(0, self.length)


class ObjectWriter:
    """Cuts a body that arrives in pieces into records, in memory of one record."""

    def __init__(self, log: ObjectLog) -> None:
        self._log = log
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._length = 0
        self._positions: list[int] = []

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        self._length += len(data)
        self._buffer += data
        while len(self._buffer) >= RECORD_BYTES:
            self._positions.append(self._log.append(bytes(self._buffer[:RECORD_BYTES])))
            del self._buffer[:RECORD_BYTES]

    def finish(self) -> StoredBody:
        """Append what is left. The body is durable after `ObjectLog.sync`, and known once a row names it."""
        if self._buffer:
            self._positions.append(self._log.append(bytes(self._buffer)))
            self._buffer.clear()
        return StoredBody(self._log, self._digest.digest(), self._length, tuple(self._positions))
