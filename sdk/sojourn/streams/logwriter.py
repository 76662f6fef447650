"""The writing side of a log.

Rules:

* An append goes to a buffer in this process; `flush` hands it to the operating system (it then survives a kill), `sync`
  makes it durable (it then survives a power cut). `sync` of many appends costs one `fdatasync`.
* A segment is synced whole before the next one begins.
* After each sync, `mark` is overwritten with the position up to which the log is durable. The mark is never ahead of
  the truth, so what is damaged before it was committed, and what is damaged behind it was not.
* After a failed write or sync nothing more is taken: what the kernel did with the pages is unknown.
* Any number of threads may use one writer; a sync in one does not hold up appends in another.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from sojourn.errors import StoreError
from sojourn.streams.files import sync_data, sync_folder, write_all, write_synced
from sojourn.streams.segments import (
    RECORD_HEADER_BYTES,
    LogMeta,
    Segment,
    encode_mark,
    record_header,
    segment_header,
    segment_name,
)

__all__ = ["LogWriter", "create_segment"]

_FLUSH_BYTES: Final = 256 * 1024
_BINARY: Final = getattr(os, "O_BINARY", 0)


def create_segment(folder: Path, stream: bytes, base: int) -> Segment:
    """An empty segment, durable with its entry in the folder."""
    segment = Segment(folder / segment_name(base), base)
    write_synced(segment.path, segment_header(stream, base))
    sync_folder(folder)
    return segment


class LogWriter:
    """Appends to the last segment of a recovered log.

    Args:
        folder: of the log.
        meta: of the log.
        segments: all of them; the last one ends exactly at `end`.
        end: position behind the last record, all of it synced.
        sealed: the last record is the seal.
    """

    __slots__ = (
        "_buffer", "_failed", "_fd", "_folder", "_mark_fd", "_meta", "_mutex", "_synced", "end", "flushed", "sealed",
        "segments",
    )  # fmt: skip

    def __init__(self, folder: Path, meta: LogMeta, segments: tuple[Segment, ...], end: int, *, sealed: bool) -> None:
        self._folder, self._meta, self.segments = folder, meta, segments
        self.end, self.flushed, self._synced = end, end, end
        self.sealed = sealed
        self._buffer = bytearray()
        self._mutex = threading.RLock()
        self._failed = ""
        self._fd = os.open(segments[-1].path, os.O_WRONLY | os.O_APPEND | _BINARY)
        self._mark_fd = os.open(folder / "mark", os.O_WRONLY | os.O_CREAT | _BINARY, 0o600)
        self._write_mark()

    def append(self, payload: bytes, *, seal: bool = False) -> int | None:
        """The new record's position; None when the log is sealed.

        Raises:
            StoreError: the disk refused an earlier or this write.
        """
        with self._mutex:
            self._check()
            if self.sealed:
                return None
            room = self._meta.segment_bytes - (self.end - self.segments[-1].base)
            if RECORD_HEADER_BYTES + len(payload) > room and self.end > self.segments[-1].base:
                self._roll()
            position = self.end
            self._buffer += record_header(self._meta.stream, position, payload, seal=seal)
            self._buffer += payload
            self.end = position + RECORD_HEADER_BYTES + len(payload)
            self.sealed = seal
            if len(self._buffer) >= _FLUSH_BYTES:
                self.flush()
            return position

    def flush(self) -> None:
        """Hand everything appended to the operating system.

        Raises:
            StoreError: it does not take it.
        """
        with self._mutex:
            self._check()
            if not self._buffer:
                return
            try:
                write_all(self._fd, self._buffer)
            except OSError as problem:
                raise self._fail("written", problem) from problem
            self._buffer = bytearray()
            self.flushed = self.end

    def sync(self) -> None:
        """Make everything appended so far durable.

        Raises:
            StoreError: the disk does not confirm it.
        """
        with self._mutex:
            self.flush()
            target = self.flushed
            if target == self._synced:
                return
            fd = os.dup(self._fd)
        try:
            sync_data(fd)
        except OSError as problem:
            raise self._fail("synced", problem) from problem
        finally:
            os.close(fd)
        with self._mutex:
            if target > self._synced:
                self._synced = target
                self._write_mark()

    def close(self) -> None:
        """Sync, if the disk still takes anything, and close the files."""
        if self._fd < 0:
            return
        try:
            if not self._failed:
                self.sync()
        finally:
            os.close(self._fd)
            os.close(self._mark_fd)
            self._fd = self._mark_fd = -1
            self._failed = self._failed or "it is closed"

    def _roll(self) -> None:
        self.flush()
        try:
            sync_data(self._fd)
            self._synced = self.flushed
            self._write_mark()
            segment = create_segment(self._folder, self._meta.stream, self.end)
            fresh = os.open(segment.path, os.O_WRONLY | os.O_APPEND | _BINARY)
        except OSError as problem:
            raise self._fail("continued in a new segment", problem) from problem
        os.close(self._fd)
        self._fd, self.segments = fresh, (*self.segments, segment)

    def _write_mark(self) -> None:
        os.lseek(self._mark_fd, 0, os.SEEK_SET)
        write_all(self._mark_fd, encode_mark(self._synced))

    def _check(self) -> None:
        if self._failed:
            raise StoreError(f"log {self._folder.name!r} takes nothing more: {self._failed}; open it again to recover")

    def _fail(self, what: str, problem: OSError) -> StoreError:
        self._failed = f"it could not be {what} ({problem.strerror})"
        return StoreError(f"log {self._folder.name!r} could not be {what}: {problem.strerror}; free space or repair "
                          "the disk, then open it again: it recovers everything that was synced")  # fmt: skip
