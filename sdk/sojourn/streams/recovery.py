"""What a log does after a crash.

Rules:

* Segments before the last were synced before the next one began: all they are asked here is to join without a gap; a
  damaged record in one is found by whoever reads it.
* In the last segment, records are checked one by one. What does not hold and lies before the synced mark is bit rot:
  `LogCorrupt`, nothing is changed. What does not hold behind it is the torn tail of a write that nobody was told of:
  it is cut off, with everything behind it.
* A segment whose creation was interrupted holds nothing and is removed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sojourn.errors import LogCorrupt
from sojourn.streams.files import sync_data, sync_folder
from sojourn.streams.segments import (
    SEGMENT_HEADER_BYTES,
    Broken,
    LogMeta,
    Segment,
    corrupt,
    decode_mark,
    list_segments,
    read_records,
    segment_name,
)

__all__ = ["Recovered", "check_chain", "recover", "required_mark"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """A log that can be written on: its segments, the position behind its last record, and whether that is the seal."""

    segments: tuple[Segment, ...]
    end: int
    sealed: bool


def recover(path: Path, meta: LogMeta) -> Recovered:
    """Check the last segment, cut off a torn tail, and make what is left durable.

    Raises:
        LogCorrupt: something that was synced is damaged or missing; nothing was changed.
    """
    segments = list_segments(path)
    mark = read_mark(path)
    if mark is None and (path / "mark").exists():
        raise LogCorrupt(_no_mark(path))
    segments = _drop_unborn(segments, meta, mark)
    check_chain(path, segments)
    last = segments[-1]
    floor = last.base if mark is None else mark
    end, sealed, broken = last.base, False, ""
    try:
        for record in read_records(last, meta.stream, last.base, None):
            if sealed:
                raise corrupt(last, record.position, "a record behind the seal")
            end, sealed = record.next, record.seal
    except Broken as problem:
        broken = problem.why
    if end < floor:
        raise corrupt(last, end, broken or "the file stops before the end of what was synced")
    _cut(last, end)
    return Recovered(segments, end, sealed)


def _drop_unborn(segments: tuple[Segment, ...], meta: LogMeta, mark: int | None) -> tuple[Segment, ...]:
    """Remove a last segment whose creation was interrupted: nothing was ever appended to it."""
    if len(segments) < 2 or (mark is not None and mark > segments[-1].base):
        return segments
    last = segments[-1]
    try:
        next(read_records(last, meta.stream, last.base, None), None)
    except Broken:
        if last.path.stat().st_size <= SEGMENT_HEADER_BYTES:
            last.path.unlink()
            sync_folder(last.path.parent)
            return segments[:-1]
    return segments


def _cut(segment: Segment, end: int) -> None:
    fd = os.open(segment.path, os.O_RDWR)
    try:
        os.ftruncate(fd, segment.offset(end))
        sync_data(fd)
    finally:
        os.close(fd)


def check_chain(path: Path, segments: tuple[Segment, ...]) -> None:
    """Raise `LogCorrupt` unless the first segment is there and each ends where the next one begins."""
    if not segments or segments[0].base != 0:
        raise LogCorrupt(f"log {path.name!r}: its first segment is missing; restore {segment_name(0)} from a copy")
    for one, other in pairwise(segments):
        if one.offset(other.base) != one.path.stat().st_size:
            raise corrupt(one, other.base, f"the segment does not end where {other.path.name} begins")


def required_mark(path: Path) -> int:
    """The position up to which a log is synced.

    Raises:
        LogCorrupt: the mark is damaged or missing.
    """
    position = read_mark(path)
    if position is None:
        raise LogCorrupt(_no_mark(path))
    return position


def read_mark(path: Path) -> int | None:
    """What `mark` says; None when it is damaged or missing."""
    for _ in range(3):  # a writer may be overwriting it
        try:
            position = decode_mark((path / "mark").read_bytes())
        except FileNotFoundError:
            return None
        if position is not None:
            return position
    return None


def _no_mark(path: Path) -> str:
    return (
        f"log {path.name!r}: the file 'mark' is damaged or missing, so a torn tail cannot be told from bit rot; "
        "restore it from a copy, or delete it and open the log for writing to accept the longest intact prefix"
    )
