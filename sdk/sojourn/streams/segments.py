"""The bytes of a log on disk, and the reading of them.

A log is a folder: `meta` (its identity), `mark` (how far it is synced), `lock`, and segments, each named by the
position at which it begins, 20 digits and `.log`. A segment begins with 64 bytes: magic `SJ`, kind, version (u16 each),
two zero bytes, the stream's id (16), its base position (u64), CRC-32 of those (u32), zeros. Records follow without a
gap: a word (u32: length in the low 31 bits, the top bit marks the seal), CRC-32 (u32) over stream id, position, word
and payload, then the payload. Integers are big endian. A record's position is its offset in the concatenated records of
all segments.

Rules: nothing here decides whether damage is a torn tail or bit rot, see `log.py`; a reader trusts no length before it
is within bounds, and no payload before its checksum.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from sojourn.codec import Kind, Record
from sojourn.errors import LogCorrupt
from sojourn.limits import MAX_RECORD_BYTES

__all__ = [
    "RECORD_HEADER_BYTES",
    "SEGMENT_HEADER_BYTES",
    "Broken",
    "LogMeta",
    "LogRecord",
    "Segment",
    "corrupt",
    "decode_mark",
    "encode_mark",
    "list_segments",
    "peek_records",
    "read_records",
    "record_header",
    "segment_header",
    "segment_name",
]

SEGMENT_HEADER_BYTES: Final = 64
RECORD_HEADER_BYTES: Final = 8
_VERSION: Final = 1
_SEAL_BIT: Final = 1 << 31
_SEGMENT: Final = struct.Struct(">2sHH2x16sQ")
_RECORD: Final = struct.Struct(">II")
_PLACE: Final = struct.Struct(">QI")
_MARK: Final = struct.Struct(">2sHH2xQ")
_BUFFER_BYTES: Final = 256 * 1024


class LogMeta(Record, frozen=True):
    """What fixes a log for its life."""

    KIND: ClassVar[int] = Kind.STREAM_META
    stream: bytes  # 16 random bytes
    name: str
    segment_bytes: int


class Segment(NamedTuple):
    """One file of a log: where it is, and the position of its first record."""

    path: Path
    base: int

    def offset(self, position: int) -> int:
        """Offset in the file of the record at `position`."""
        return position - self.base + SEGMENT_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One intact record. `seal` marks the last one of a sealed log, which carries nothing."""

    position: int
    next: int
    seal: bool
    payload: bytes


class Broken(Exception):
    """The bytes at `position` are not a record, or stop within one."""

    def __init__(self, position: int, why: str) -> None:
        self.position, self.why = position, why
        super().__init__(why)


def corrupt(segment: Segment, position: int, why: str) -> LogCorrupt:
    """The error that names a damaged record by segment and offset."""
    return LogCorrupt(
        f"log {segment.path.parent.name!r}: segment {segment.path.name}, offset {segment.offset(position)} "
        f"(position {position}): {why}. The records before it are intact; restore this file from a copy"
    )


def segment_name(base: int) -> str:
    """File name of the segment that begins at position `base`."""
    return f"{base:020d}.log"


def list_segments(folder: Path) -> tuple[Segment, ...]:
    """The segments of a log in order."""
    found = (path for path in folder.iterdir() if path.suffix == ".log" and path.stem.isdigit())
    return tuple(sorted((Segment(path, int(path.stem)) for path in found), key=lambda segment: segment.base))


def segment_header(stream: bytes, base: int) -> bytes:
    """The 64 bytes at the start of a segment."""
    front = _SEGMENT.pack(b"SJ", Kind.LOG_SEGMENT, _VERSION, stream, base)
    return (front + zlib.crc32(front).to_bytes(4, "big")).ljust(SEGMENT_HEADER_BYTES, b"\0")


def encode_mark(position: int) -> bytes:
    """The bytes of `mark`: everything before `position` is synced."""
    front = _MARK.pack(b"SJ", Kind.LOG_MARK, _VERSION, position)
    return front + zlib.crc32(front).to_bytes(4, "big")


def decode_mark(data: bytes) -> int | None:
    """The position in a mark; None when it is damaged."""
    if len(data) != _MARK.size + 4:
        return None
    position = int(_MARK.unpack_from(data)[3])
    return position if encode_mark(position) == data else None


def record_header(stream: bytes, position: int, payload: bytes | memoryview, *, seal: bool = False) -> bytes:
    """The eight bytes before a record's payload."""
    word = len(payload) | (_SEAL_BIT if seal else 0)
    return _RECORD.pack(word, _checksum(stream, position, word, payload))


def _checksum(stream: bytes, position: int, word: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(stream + _PLACE.pack(position, word)))


def _length(position: int, word: int) -> int:
    length = word & ~_SEAL_BIT
    if length > MAX_RECORD_BYTES or (length == 0) != bool(word & _SEAL_BIT):
        raise Broken(position, "no record begins here")
    return length


def read_records(
    segment: Segment, stream: bytes, position: int, stop: int | None, *, ahead: bool = True
) -> Iterator[LogRecord]:
    """The records of one segment from `position` to `stop` (None: to the end of the file), each checked.

    Args:
        segment: which.
        stream: id of the log.
        position: of the first record.
        stop: position behind the last one.
        ahead: read ahead, for those who want more than one record.

    Raises:
        Broken: at the first one that does not hold, or where the file stops within a record.
    """
    with segment.path.open("rb", buffering=_BUFFER_BYTES if ahead else 0) as file:
        if file.read(SEGMENT_HEADER_BYTES) != segment_header(stream, segment.base):
            raise Broken(segment.base, "the segment's header is damaged or belongs to another log")
        file.seek(segment.offset(position))
        while stop is None or position < stop:
            head = file.read(RECORD_HEADER_BYTES)
            if not head and stop is None:
                return
            if len(head) < RECORD_HEADER_BYTES:
                raise Broken(position, "the file stops within a record's header")
            word, checksum = _RECORD.unpack(head)
            payload = file.read(_length(position, word))
            after = position + RECORD_HEADER_BYTES + len(payload)
            if len(payload) < _length(position, word):
                raise Broken(position, "the file stops within a record")
            if checksum != _checksum(stream, position, word, payload):
                raise Broken(position, "the record's checksum does not hold")
            yield LogRecord(position, after, bool(word & _SEAL_BIT), payload)
            position = after


def peek_records(segment: Segment, position: int, stop: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Position and first bytes (at most `size`) of each record from `position` to `stop`, unchecked: for an index
    whose entries are checked when they are used.

    Raises:
        Broken: where the chain of lengths does not hold.
    """
    with segment.path.open("rb", buffering=4096) as file:
        while position < stop:
            file.seek(segment.offset(position))
            head = file.read(RECORD_HEADER_BYTES + size)
            if len(head) < RECORD_HEADER_BYTES:
                raise Broken(position, "the file stops within a record's header")
            word = int.from_bytes(head[:4], "big")
            length = _length(position, word)
            if not word & _SEAL_BIT:
                yield position, head[RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + length]
            position += RECORD_HEADER_BYTES + length
