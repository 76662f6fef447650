"""The log: a stream on disk, for journals, checkpoints, bodies and private rows.

Rules:

* What was synced is there after any crash; what was appended since is there as a prefix, record by record.
* Opening for writing recovers: a record behind the synced mark that does not hold is a torn tail and is cut off;
  a record before it that does not hold is bit rot and raises `LogCorrupt`, which names segment and offset.
* One writer at a time (`StateInUse`), any number of readers in any process. Reading never takes the writer's lock.
* The writer's own handle reads everything it appended; a read-only handle reads what is synced, so that nobody acts on
  what a power cut can take back.
* A log keeps everything: it never answers `Gap`. It is dropped as a whole, by removing its folder.
"""

from __future__ import annotations

import secrets
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sojourn.codec import decode, encode
from sojourn.errors import StoreError, UsageError
from sojourn.limits import MAX_NAME_CHARS, MAX_RECORD_BYTES, MIB, SEGMENT_BYTES
from sojourn.streams.contract import START, Appended, Blocked, Cursor, Data, Descriptor, End, Sealed
from sojourn.streams.files import FileLock, make_private_folder, sync_folder, write_synced
from sojourn.streams.logwriter import LogWriter, create_segment
from sojourn.streams.recovery import check_chain, recover, required_mark
from sojourn.streams.segments import (
    RECORD_HEADER_BYTES,
    Broken,
    LogMeta,
    LogRecord,
    Segment,
    corrupt,
    encode_mark,
    list_segments,
    peek_records,
    read_records,
    record_header,
)

__all__ = ["LogSpec", "LogStream"]

_READ_BYTES: Final = 64 * MIB
_MIN_SEGMENT_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class LogSpec:
    """What fixes a new log.

    Attributes:
        name: in descriptors and messages; the folder's name where empty.
        segment_bytes: a segment is closed before it grows beyond this, unless one record is larger.
    """

    name: str = ""
    segment_bytes: int = SEGMENT_BYTES


class LogStream:
    """A stream of datoms in a folder. Make one with `create`, `open` or `open_or_create`; close it, or use `with`."""

    __slots__ = ("_lock", "_meta", "_path", "_reader_end", "_reader_segments", "_writer")

    def __init__(self, path: Path, meta: LogMeta, writer: LogWriter | None, lock: FileLock | None) -> None:
        self._path, self._meta, self._writer, self._lock = path, meta, writer, lock
        self._reader_segments: tuple[Segment, ...] = ()
        self._reader_end = -1

    @classmethod
    def create(cls, path: Path | str, spec: LogSpec | None = None, first: Sequence[bytes] = ()) -> LogStream:
        """A new log, open for writing. It appears at `path` whole or not at all.

        Args:
            path: of the folder that becomes the log.
            spec: what is fixed for its life.
            first: datoms that it begins with.

        Raises:
            UsageError: something stands at `path`, or the spec is out of bounds.
            StoreError: the disk refused it.
        """
        path, spec = Path(path), spec or LogSpec()
        name = spec.name or path.name
        if path.exists():
            raise UsageError(f"{path} exists; open it, or choose another folder for the new log")
        if len(name) > MAX_NAME_CHARS or spec.segment_bytes < _MIN_SEGMENT_BYTES:
            raise UsageError(f"a log's name has at most {MAX_NAME_CHARS} characters, its segments at least "
                             f"{_MIN_SEGMENT_BYTES} bytes")  # fmt: skip
        make_private_folder(path.parent)
        meta = LogMeta(secrets.token_bytes(16), name, spec.segment_bytes)
        draft = path.with_name(f".{path.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)  # of a creation that was interrupted
        lock: FileLock | None = None
        try:
            draft.mkdir(mode=0o700)
            lock = FileLock.acquire(draft / "lock", f"log {path}")
            end = _write_draft(draft, meta, first)
            draft.rename(path)
            sync_folder(path.parent)
            return cls(path, meta, LogWriter(path, meta, list_segments(path), end, sealed=False), lock)
        except OSError as problem:
            if lock is not None:
                lock.release()
            raise StoreError(f"log {path} could not be created: {problem.strerror}") from problem

    @classmethod
    def open(cls, path: Path | str, *, readonly: bool = False) -> LogStream:
        """Open a log: for writing, which recovers it, or for reading what is synced.

        Raises:
            UsageError: there is no log at `path`.
            StateInUse: another writer has it open.
            LogCorrupt: something that was synced is damaged.
            DecodeError: `meta` is not a log's.
        """
        path = Path(path)
        if not (path / "meta").is_file():
            raise UsageError(f"there is no log at {path}; create it first")
        meta = decode(LogMeta, (path / "meta").read_bytes())
        if readonly:
            return cls(path, meta, None, None)
        lock = FileLock.acquire(path / "lock", f"log {path}")
        try:
            found = recover(path, meta)
            return cls(path, meta, LogWriter(path, meta, found.segments, found.end, sealed=found.sealed), lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open_or_create(cls, path: Path | str, spec: LogSpec | None = None) -> LogStream:
        """`open` for writing where there is a log, `create` where there is nothing."""
        return cls.open(path) if Path(path).exists() else cls.create(path, spec)

    @classmethod
    def attach(cls, descriptor: Descriptor, folder: Path | str) -> LogStream:
        """The log that a descriptor names, below a folder that holds logs by name; for reading.

        Raises:
            UsageError: there is none of that name, or it is another one.
        """
        name = descriptor.name
        if descriptor.transport != "log" or name in {"", ".", ".."} or {"/", "\\", "\0"} & set(name):
            raise UsageError(f"{name!r} is not the name of a log below a folder")
        log = cls.open(Path(folder) / name, readonly=True)
        if log.descriptor != descriptor:
            raise UsageError(f"the log {name!r} here is another one than the descriptor names")
        return log

    @property
    def descriptor(self) -> Descriptor:
        """The log's serialisable name."""
        return Descriptor("log", self._meta.stream, self._meta.name)

    @property
    def end(self) -> Cursor:
        """The cursor behind everything that this handle can read now."""
        return Cursor(self._extent()[1])

    def append(self, datom: bytes) -> Appended | Sealed:
        """Put `datom` behind all others, in this process's buffer; see `flush` and `sync`.

        Args:
            datom: 1 to `MAX_RECORD_BYTES` bytes.

        Raises:
            UsageError: a read-only handle, or a datom out of bounds.
            StoreError: the disk refused an earlier or this write.
        """
        writer = self._writing()
        if not 0 < len(datom) <= MAX_RECORD_BYTES:
            raise UsageError(f"a record of {len(datom)} bytes; a log takes 1 to {MAX_RECORD_BYTES}")
        position = writer.append(datom)
        return Sealed() if position is None else Appended(position)

    def put(self, datom: bytes) -> int:
        """`append`, for a writer that knows its log is not sealed: the position, for `read_at`.

        Raises:
            UsageError: also when the log is sealed.
        """
        match self.append(datom):
            case Appended(position):
                return position
            case Sealed():
                raise UsageError(f"log {self._meta.name!r} is sealed; nothing can be appended to it")

    def flush(self) -> None:
        """Hand everything appended to the operating system: it then survives a kill of this process."""
        self._writing().flush()

    def sync(self) -> None:
        """Make everything appended durable: it then survives a power cut, and other handles can read it.

        Raises:
            StoreError: the disk does not confirm it. The handle takes nothing more.
        """
        self._writing().sync()

    def seal(self) -> None:
        """End the log, durably. Doing it again changes nothing."""
        self._writing().append(b"", seal=True)
        self.sync()

    def read(self, cursor: Cursor, limit: int) -> Data | Blocked | End:
        """Up to `limit` datoms from `cursor` on, and not many more than 64 MiB.

        Raises:
            UsageError: a cursor behind the end, or a limit below 1.
            LogCorrupt: a record is damaged; those before it can be read.
        """
        if limit < 1:
            raise UsageError(f"read at least one datom, not {limit}")
        found: list[bytes] = []
        size, place = 0, cursor.position
        for record in self._iterate(cursor.position):
            if record.seal:
                return Data(tuple(found), Cursor(place)) if found else End()
            found.append(record.payload)
            size, place = size + len(record.payload), record.next
            if len(found) == limit or size >= _READ_BYTES:
                break
        if found:
            return Data(tuple(found), Cursor(place))
        return End() if self._ends_sealed(place) else Blocked()

    def read_at(self, position: int) -> bytes:
        """The datom whose append returned `position`.

        Raises:
            UsageError: no datom there that this handle can read.
            LogCorrupt: no record begins there, or it is damaged.
        """
        for record in self._iterate(position, ahead=False):
            if not record.seal:
                return record.payload
            break
        raise UsageError(f"log {self._meta.name!r} has no datom at position {position}")

    def records(self, cursor: Cursor = START) -> Iterator[tuple[int, bytes]]:
        """`(position, datom)` of everything from `cursor` to the present end, checked one by one.

        Raises:
            LogCorrupt: a record is damaged; those before it have been given.
        """
        return ((record.position, record.payload) for record in self._iterate(cursor.position) if not record.seal)

    def peek(self, cursor: Cursor, size: int) -> Iterator[tuple[int, bytes]]:
        """`(position, first bytes)` of everything from `cursor` on, unchecked: to build an index without reading all.

        Raises:
            LogCorrupt: the chain of lengths does not hold.
        """
        for segment, start, stop in self._spans(cursor.position):
            try:
                yield from peek_records(segment, start, stop, size)
            except Broken as problem:
                raise corrupt(segment, problem.position, problem.why) from None

    def close(self) -> None:
        """Sync and close. Doing it again changes nothing."""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _writing(self) -> LogWriter:
        if self._writer is None:
            raise UsageError(f"log {self._meta.name!r} is open for reading only; open it without readonly")
        return self._writer

    def _extent(self) -> tuple[tuple[Segment, ...], int]:
        """The segments, and the position behind the last record, that this handle can read now."""
        if self._writer is not None:
            end = self._writer.end  # before the segments, of which there may be more by then
            return self._writer.segments, end
        end = required_mark(self._path)
        if end != self._reader_end:
            segments = list_segments(self._path)
            check_chain(self._path, segments)
            self._reader_segments, self._reader_end = segments, end
        return self._reader_segments, end

    def _spans(self, position: int) -> Iterator[tuple[Segment, int, int]]:
        segments, end = self._extent()
        if not 0 <= position <= end:
            raise UsageError(f"log {self._meta.name!r} ends at position {end}; there is nothing at {position}")
        if self._writer is not None and end > self._writer.flushed:
            self._writer.flush()
        first = bisect_right(segments, position, key=lambda segment: segment.base) - 1
        for index in range(max(first, 0), len(segments)):
            stop = segments[index + 1].base if index + 1 < len(segments) else end
            if position < min(stop, end):
                yield segments[index], position, min(stop, end)
            position = stop

    def _ends_sealed(self, position: int) -> bool:
        """Whether the seal stands right before `position`: for a cursor that was made behind it."""
        if self._writer is not None:
            return self._writer.sealed
        before = position - RECORD_HEADER_BYTES
        if before < 0:
            return False
        segment = next(segment for segment in reversed(self._extent()[0]) if segment.base <= before)
        with segment.path.open("rb") as file:
            file.seek(segment.offset(before))
            return file.read(RECORD_HEADER_BYTES) == record_header(self._meta.stream, before, b"", seal=True)

    def _iterate(self, position: int, *, ahead: bool = True) -> Iterator[LogRecord]:
        for segment, start, stop in self._spans(position):
            try:
                yield from read_records(segment, self._meta.stream, start, stop, ahead=ahead)
            except Broken as problem:
                raise corrupt(segment, problem.position, problem.why) from None


def _write_draft(draft: Path, meta: LogMeta, first: Sequence[bytes]) -> int:
    """Everything of a new log, durable; the position behind its first datoms."""
    write_synced(draft / "meta", encode(meta))
    write_synced(draft / "mark", encode_mark(0))
    writer = LogWriter(draft, meta, (create_segment(draft, meta.stream, 0),), 0, sealed=False)
    try:
        for datom in first:
            writer.append(datom)
    finally:
        writer.close()
    return writer.end
