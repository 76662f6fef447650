"""A disk under an agent that is killed at any of its writes: before one, in the middle of it, or after it.

It stands between the real parts and the operating system: writes and syncs of logs, commits of SQLite, lines of the
owner's log. A killed process writes nothing more, whatever its cleanup tries. A power cut also takes from each log any
part that was not synced; what SQLite committed and what the owner's log holds stays.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog
from sojourn.streams import files, log, logwriter, recovery

__all__ = ["Disk", "Killed", "Moment"]

Moment = Literal["before", "during", "after"]


class Killed(BaseException):
    """The process is gone: no handler of the program under test may catch this."""


class Disk:
    """Counts writes while it is in use, and kills at the one that was asked for.

    Attributes:
        writes: what was written, in order, as the name of its kind.
        dead: the process was killed; nothing reaches the disk any more.
    """

    def __init__(self) -> None:
        self.writes: list[str] = []
        self.dead = False
        self._target: int | None = None
        self._moment: Moment = "before"
        self._synced: dict[int, int] = {}

    def arm(self, target: int | None, moment: Moment) -> None:
        """Kill at the write with this number, counted from now on; never, if None."""
        self.writes.clear()
        self._target, self._moment = target, moment

    def disarm(self) -> None:
        """Kill at no further write."""
        self._target = None

    def write(self, kind: str, whole: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """One write. `half` leaves what a kill in its middle leaves; a write without it happens or does not."""
        if self.dead:
            return None
        number = len(self.writes)
        self.writes.append(kind)
        if number != self._target:
            return whole()
        self.dead = True
        if self._moment == "after":
            whole()
        elif self._moment == "during" and half is not None:
            half()
        raise Killed

    def power_cut(self, folder: Path, keep: float) -> None:
        """Take a part of what was not synced from each log below `folder`; `keep` is how much of it stays."""
        for path in folder.rglob("*"):
            if path.is_file() and path.name not in {"meta", "mark", "lock"}:
                status = path.stat()
                synced = self._synced.get(status.st_ino, status.st_size)
                os.truncate(path, synced + int((status.st_size - synced) * keep))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Every write of this process goes through here."""
        with pytest.MonkeyPatch.context() as monkey:
            monkey.setattr(logwriter, "write_all", self._write_all)
            for module in (logwriter, recovery):
                monkey.setattr(module, "sync_data", self._sync_data)
            for module in (log, logwriter):
                monkey.setattr(module, "write_synced", self._write_synced)
            connect = sqlite3.connect
            monkey.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=self._connection(), **k))
            writer = structlog.WriteLogger
            monkey.setattr(structlog, "WriteLogger", lambda file: writer(_Lines(file, self)))
            locks: list[files.FileLock] = []
            original = files.FileLock.__init__

            def held(lock: files.FileLock, fd: int) -> None:
                original(lock, fd)
                locks.append(lock)

            monkey.setattr(files.FileLock, "__init__", held)
            try:
                yield
            finally:
                for lock in locks:  # they end with their process
                    lock.release()

    def _write_all(self, fd: int, data: bytes | bytearray | memoryview) -> None:
        whole = bytes(data)
        self._synced.setdefault(os.fstat(fd).st_ino, os.fstat(fd).st_size)
        self.write("log", lambda: os.write(fd, whole), lambda: os.write(fd, whole[: len(whole) // 2]))

    def _sync_data(self, fd: int) -> None:
        def sync() -> None:
            status = os.fstat(fd)
            self._synced[status.st_ino] = status.st_size

        self.write("sync", sync)

    def _write_synced(self, path: Path, data: bytes) -> None:
        def whole() -> None:
            path.write_bytes(data)
            self._synced[path.stat().st_ino] = len(data)

        self.write("file", whole, lambda: path.write_bytes(data[: len(data) // 2]))

    def _connection(self) -> type[sqlite3.Connection]:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql != "COMMIT":
                    return super().execute(sql, *args)
                if disk.dead:
                    return super().execute("ROLLBACK")
                done: sqlite3.Cursor = disk.write("commit", lambda: super(Connection, self).execute(sql))
                return done

        return Connection


class _Lines:
    """The owner's log, whose lines may be cut."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def write(self, text: str) -> None:
        self._disk.write("line", lambda: self._put(text), lambda: self._put(text[: len(text) // 2]))

    def _put(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def flush(self) -> None:
        """Each write is flushed already."""
