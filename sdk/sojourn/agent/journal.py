"""Journals: what makes a run's effects happen once, and a restart go on where the run was.

Rules:

* A journal is a `LogStream` of `JournalRecord`s. It begins with `Begin` and a `Sealed` snapshot; then come one record
  for each effect, tensor bodies, and further snapshots. `End` is the last one.
* A *generation* is one log. When a log has grown past its bound, a snapshot opens the next generation, and the one
  before is deleted after the new one is durable: disk use does not grow with the length of a run.
* Effect records are appended before the machine gets the result, and handed to the operating system at once: a killed
  process loses none. They are durable with the next sync, which `stream.open` and every later snapshot bring at once;
  until then the order itself, which is durable, is all that a lost machine needs.
* A journal serves one run at a time, and the next one after it: making a log costs several syncs. The last `Begin`
  says whose it is (see `sojourn.agent.shelf`).
* Recovery reads the newest complete generation: the latest snapshot, and the records behind it by occurrence.
  Whatever is not a journal raises `StoreError` or `LogCorrupt`, which name it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sojourn.agent.records import (
    Begin,
    Begun,
    Body,
    Child,
    Commit,
    EffectRecord,
    End,
    JournalRecord,
    Pure,
    Read,
    Sealed,
)
from sojourn.codec import decode, digest, encode
from sojourn.contracts import Occurrence
from sojourn.errors import DecodeError, StoreError
from sojourn.limits import MAX_RECORD_BYTES, MIB
from sojourn.streams import LogSpec, LogStream

__all__ = ["Journal", "Recovered"]

_PREFIX: Final = "journal-"
_ROTATE_BYTES: Final = 64 * MIB
_REUSE_BYTES: Final = 1 * MIB
_BODY_PART_BYTES: Final = 8 * MIB


@dataclass(slots=True)
class Recovered:
    """What a restart finds.

    Attributes:
        sealed: the latest snapshot.
        tail: records of effects behind it, by occurrence, in the order in which they happened.
        end: how the run ended, if it did.
        begun: effects behind it that had begun and are in no record of `tail`.
        children: snapshots of the children that the snapshot names, by run.
    """

    sealed: Sealed
    tail: dict[Occurrence, EffectRecord] = field(default_factory=dict)
    end: End | None = None
    begun: dict[Occurrence, Begun] = field(default_factory=dict)
    children: dict[bytes, bytes] = field(default_factory=dict)


class Journal:
    """Writer and reader of one journal. One process at a time; the log's own lock sees to that.

    Attributes:
        begin: whose journal it is; None before the first run.
        recovered: where to go on; None for a run that has not begun here.

    Args:
        folder: of the journal, made if missing.

    Raises:
        LogCorrupt: a record in the middle is damaged; the message names it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log: LogStream | None = None
        self._begun = False
        self._generation = 0
        self._bytes = 0
        self._bodies: dict[bytes, list[int]] = {}
        self._children: dict[bytes, bytes] = {}  # by run, the digest of its latest snapshot in this generation
        self.begin: Begin | None = None
        self.recovered: Recovered | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, path in sorted(_generations(folder), reverse=True):
            if self.recovered is None:
                self._recover(number, path)
            else:
                shutil.rmtree(path)

    def _recover(self, number: int, path: Path) -> None:
        """Read one generation; go on in it if it is complete, or if there is no better one."""
        log = LogStream.open(path)
        newer = self._log, self._generation
        try:
            self._scan(log)
        except BaseException:
            log.close()
            raise
        if newer[0] is not None:  # a generation whose first snapshot did not become durable
            newer[0].close()
            shutil.rmtree(self._path(newer[1]))
        self._log, self._generation = log, number

    def _scan(self, log: LogStream) -> None:
        self.begin, self.recovered, self._begun, self._bytes = None, None, False, 0
        self._bodies, self._children = {}, {}
        snapshots: dict[bytes, bytes] = {}
        for position, data in log.records():
            self._bytes += len(data)
            item = self._decode(data)
            if isinstance(item, Begin):
                self.begin, self._begun, self.recovered = item, True, None
                self._bodies, self._children, snapshots = {}, {}, {}
            elif isinstance(item, Child):
                self._children[item.run], snapshots[item.run] = digest(item.snapshot), item.snapshot
            elif isinstance(item, Sealed):
                self.recovered = Recovered(item, children=self._named(item, snapshots))
            else:
                self._take(position, item)

    def _named(self, sealed: Sealed, snapshots: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The snapshots of the children that a snapshot names."""
        runs = [task.run for task in sealed.tree.tasks[1:]] if sealed.tree is not None else []
        if not snapshots.keys() >= set(runs):
            raise StoreError(f"the journal in {self._folder} lacks a child's machine that its snapshot names")
        return {run: snapshots[run] for run in runs}

    def _decode(self, data: bytes) -> Begin | EffectRecord | Begun | Child | Body | Sealed | End:
        try:
            return decode(JournalRecord, data, limit=MAX_RECORD_BYTES).item
        except DecodeError as problem:
            raise StoreError(f"the journal in {self._folder} cannot be read: {problem}") from None

    def start(self, begin: Begin) -> None:
        """Use the journal for a run: its own again after a restart, or a new one."""
        if begin != self.begin:
            self.begin = begin
            self.restart()

    def _take(self, position: int, item: EffectRecord | Begun | Body | End) -> None:
        match item:
            case Body():
                self._bodies.setdefault(item.handle, []).append(position)
            case Begun() if self.recovered is not None:
                self.recovered.begun[item.occurrence] = item
            case End() if self.recovered is not None:
                self.recovered.end = item
            case Pure() | Read() | Commit() if self.recovered is not None:
                self.recovered.tail[item.occurrence] = item
                self.recovered.begun.pop(item.occurrence, None)
            case _:
                raise StoreError(f"the journal in {self._folder} has a record before its first snapshot")

    @property
    def sealed_bodies(self) -> Mapping[bytes, object]:
        """Handles whose bodies are in this generation."""
        return self._bodies

    def effect(self, record: EffectRecord | Begun, *, sync: bool) -> None:
        """Append the record of one effect.

        Args:
            record: what happened, or has begun to.
            sync: whether it must be durable before this returns.
        """
        self._append(record)
        if sync:
            self.sync()
        else:
            self._open_log().flush()

    def seal(
        self,
        sealed: Sealed,
        bodies: Iterator[tuple[bytes, bytes]],
        tail: Sequence[EffectRecord | Begun],
        children: Mapping[bytes, bytes] = MappingProxyType({}),
    ) -> None:
        """Write a snapshot, durable when this returns; only the first one of a run needs no sync of its own.

        Args:
            sealed: the snapshot.
            bodies: (handle, joined datoms) of what the snapshot names and `needs` told to write.
            tail: records behind the snapshot that a replay has still to go through.
            children: snapshots of the children that it names, by run.
        """
        previous = self._rotate() if self.will_rotate() else None
        first = not self._begun
        if first:
            self._append(self._whose())
            self._begun = True
        for handle, datoms in bodies:
            self._body(handle, datoms)
        for run, snapshot in children.items():
            self._child(run, snapshot)
        self._append(sealed)
        for record in tail:
            self._append(record)
        if first and previous is None:
            self._open_log().flush()  # it can be made again from the order, which is durable
        else:
            self.sync()
        if previous is not None:
            shutil.rmtree(previous)

    def will_rotate(self) -> bool:
        """Whether the next `seal` opens a new generation, which needs the bodies of every live handle again."""
        return self._log is None or self._bytes > _ROTATE_BYTES

    def _rotate(self) -> Path | None:
        previous = self._path(self._generation) if self._log is not None else None
        if self._log is not None:
            self._log.close()
        self._generation += 1
        self._bytes, self._bodies, self._children, self._begun = 0, {}, {}, False
        self._log = LogStream.create(self._path(self._generation), LogSpec("journal"))
        return previous

    def _child(self, run: bytes, snapshot: bytes) -> None:
        name = digest(snapshot)
        if self._children.get(run) != name:
            self._append(Child(run, snapshot))
            self._children[run] = name

    def _body(self, handle: bytes, datoms: bytes) -> None:
        positions: list[int] = []
        starts = range(0, max(len(datoms), 1), _BODY_PART_BYTES)
        for part, start in enumerate(starts):
            piece = datoms[start : start + _BODY_PART_BYTES]
            positions.append(self._append(Body(handle, part, part == len(starts) - 1, piece)))
        self._bodies[handle] = positions

    def body(self, handle: bytes) -> bytes:
        """The joined datoms of a sealed handle.

        Raises:
            StoreError: this generation does not hold them whole.
        """
        log = self._open_log()
        parts: list[bytes] = []
        last = False
        for position in self._bodies.get(handle, ()):
            item = self._decode(log.read_at(position))
            if not isinstance(item, Body) or item.handle != handle or item.part != len(parts) or last:
                raise StoreError(f"the journal in {self._folder} has a damaged tensor body")
            parts.append(item.datoms)
            last = item.last
        if not last:
            raise StoreError(f"the journal in {self._folder} lacks a tensor body that its snapshot names")
        return b"".join(parts)

    def end(self, end: End) -> None:
        """Write how the run ended. Durable with the answer that follows; lost, the run just ends again."""
        self._append(end)
        self._open_log().flush()

    def sync(self) -> None:
        """Make everything appended so far durable."""
        self._open_log().sync()

    def close(self) -> None:
        """Close the log; nothing is lost that was flushed."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def restart(self) -> None:
        """Forget what was recovered: the run starts from the top. After a restart, only for the test hook that shows
        what that costs."""
        self.recovered, self._begun, self._bodies, self._children = None, False, {}, {}

    @property
    def large(self) -> bool:
        """Whether the log has grown beyond what is worth reading at a restart for the next run's sake."""
        return self._bytes > _REUSE_BYTES

    def remove(self) -> None:
        """Close and delete."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _whose(self) -> Begin:
        if self.begin is None:
            raise StoreError("this journal belongs to no run; start it first")
        return self.begin

    def _append(self, item: Begin | EffectRecord | Begun | Child | Body | Sealed | End) -> int:
        data = encode(JournalRecord(item))
        if len(data) > MAX_RECORD_BYTES:
            raise StoreError(f"a journal record of {len(data)} bytes; the limit is {MAX_RECORD_BYTES}")
        self._bytes += len(data)
        return self._open_log().put(data)

    def _open_log(self) -> LogStream:
        if self._log is None:
            raise StoreError("this journal has not begun: seal a first snapshot")
        return self._log

    def _path(self, generation: int) -> Path:
        return self._folder / f"{_PREFIX}{generation:06d}"


def _generations(folder: Path) -> list[tuple[int, Path]]:
    found = []
    for path in folder.iterdir():
        number = path.name.removeprefix(_PREFIX)
        if path.name.startswith(_PREFIX) and number.isdigit():
            found.append((int(number), path))
    return found
