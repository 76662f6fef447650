"""What a journal holds: one record type, with a closed union inside.

Rules: everything is a `Record` of `Kind.JOURNAL`; a record about an effect names its occurrence, the effect, and
`asked`, the digest of its name and arguments, so that a replay that asks for something else is noticed. Digests of
outputs stand here, outputs do not: tensor bodies have their own records, and only at seals.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from sojourn.codec import Kind, Record
from sojourn.contracts import Occurrence

__all__ = [
    "Batch",
    "Begin",
    "Begun",
    "Body",
    "BodyRefAt",
    "Child",
    "ColumnRef",
    "Commit",
    "CursorRef",
    "EffectRecord",
    "End",
    "First",
    "JournalRecord",
    "ObjectRef",
    "Opened",
    "Pure",
    "Raised",
    "Read",
    "Sealed",
    "SealedObject",
    "SealedTask",
    "SealedTree",
    "StreamRef",
    "WeightsRef",
]


class Begin(Record, frozen=True, tag="begin"):
    """First record of a generation: whose journal this is."""

    order: bytes  # SHA-256 of the signed order
    run: bytes
    epoch: int
    program: bytes


class Raised(Record, frozen=True, tag="raised"):
    """The effect failed, as an exception of the language; `code` is its public code if nothing catches it."""

    type_name: str
    message: str
    code: str


class Opened(Record, frozen=True, tag="opened"):
    """`stream.open`: the readable extent, in rows, is fixed here."""

    name: str
    fields: tuple[str, ...]
    extent: int


class First(Record, frozen=True, tag="first"):
    """`stream.first`: the row of the first cursor, or None for an empty extent."""

    row: int | None


class Batch(Record, frozen=True, tag="batch"):
    """`stream.batch`: rows [start, start + count), the row of the next cursor, and the digest of the bytes read."""

    start: int
    count: int
    next: int | None
    digest: bytes


class Pure(Record, frozen=True, tag="pure"):
    """Lineage of a pure effect: recomputing it must give `output` again."""

    run: bytes
    operation: int
    name: str
    asked: bytes
    output: bytes

    @property
    def occurrence(self) -> Occurrence:
        """Which parking this is."""
        return Occurrence(self.run, self.operation)


class Read(Record, frozen=True, tag="read"):
    """A read effect and what it found, as cursor and digest."""

    run: bytes
    operation: int
    name: str
    asked: bytes
    found: Opened | First | Batch | Raised

    @property
    def occurrence(self) -> Occurrence:
        """Which parking this is."""
        return Occurrence(self.run, self.operation)


class Commit(Record, frozen=True, tag="commit"):
    """A commit effect that is durable where it belongs (privacy ledger, owner's log)."""

    run: bytes
    operation: int
    name: str
    asked: bytes
    raised: Raised | None

    @property
    def occurrence(self) -> Occurrence:
        """Which parking this is."""
        return Occurrence(self.run, self.operation)


class Begun(Record, frozen=True, tag="begun"):
    """An effect of a run beside others that is not over: a join that waits until `until_ms` at most, or (0) a commit
    effect that may be durable already. No deadline is judged before a replay has been through the latter."""

    run: bytes
    operation: int
    name: str
    asked: bytes
    until_ms: int

    @property
    def occurrence(self) -> Occurrence:
        """Which parking this is."""
        return Occurrence(self.run, self.operation)


class Child(Record, frozen=True, tag="child"):
    """The machine of a child, as the next `Sealed` means it; written again only when it has changed."""

    run: bytes
    snapshot: bytes


class Body(Record, frozen=True, tag="body"):
    """Part of a handle's tensors: joined datoms. A handle never changes, so its body is written once a generation."""

    handle: bytes
    part: int
    last: bool
    datoms: bytes


class WeightsRef(Record, frozen=True, tag="weights"):
    """The order's weights, which have a durable name of their own."""

    root: bytes


class StreamRef(Record, frozen=True, tag="stream"):
    """An opened private stream."""

    name: str
    fields: tuple[str, ...]
    extent: int


class CursorRef(Record, frozen=True, tag="cursor"):
    """A place in an opened stream."""

    name: str
    fields: tuple[str, ...]
    extent: int
    row: int


class ColumnRef(Record, frozen=True, tag="column"):
    """One field of a batch: read again from the stream when needed, and checked against the digest of the batch."""

    name: str
    fields: tuple[str, ...]
    extent: int
    start: int
    count: int
    field: str
    digest: bytes


class BodyRefAt(Record, frozen=True, tag="body-of"):
    """Computed tensors, kept in the `Body` records of the same handle. `state` tells a state from one tensor."""

    state: bool
    digest: bytes


ObjectRef = WeightsRef | StreamRef | CursorRef | ColumnRef | BodyRefAt


class SealedObject(Record, frozen=True):
    """A live handle and where its content is."""

    handle: bytes
    ref: ObjectRef


class SealedTask(Record, frozen=True):
    """One run of an order's tree. Its machine is in its latest `Child` record; the order's own in `Sealed`.

    Attributes:
        run: its identity.
        parent: the run that began it; empty for the order's own.
        code: public code of the failure of its latest effect; empty for none.
        until_ms: deadline of the join in which it waits; 0 for none.
        cancelled: it was cancelled because its parent has ended.
    """

    run: bytes
    parent: bytes
    code: str
    until_ms: int
    cancelled: bool


class SealedTree(Record, frozen=True):
    """An order's run with its children.

    Attributes:
        tasks: in the order in which they began, the order's own first.
        turn: the run that comes next, unless it waits.
        current: the run whose turn has begun; empty for none.
        floor: `fuel_left` with which that turn ends.
        regions: runs with a private region that has begun, in the order in which they did.
        patience: turns of other runs since the last region.
        spawned: children begun so far.
        waits: deadlines and cancellations so far.
        clock_ms: the latest time that was looked at.
    """

    tasks: tuple[SealedTask, ...]
    turn: bytes
    current: bytes
    floor: int
    regions: tuple[bytes, ...]
    patience: int
    spawned: int
    waits: int
    clock_ms: int


class Sealed(Record, frozen=True, tag="sealed"):
    """A snapshot of the machine and of every handle it can reach, with those of its children.

    Attributes:
        snapshot: bytes of `Machine.dump()`.
        objects: in the order of `Machine.handles()`, each handle once; the order's own run first.
        effects: effects of the run and its children that had been executed when this was written.
        tree: what there is beside the one machine; None for a run that never had a child, and no failed effect.
    """

    snapshot: bytes
    objects: tuple[SealedObject, ...]
    effects: int
    tree: SealedTree | None = None


class End(Record, frozen=True, tag="end"):
    """How the run ended; nothing of it runs again."""

    outcome: Literal["done", "failed", "refused"]
    code: str
    line: int


EffectRecord = Pure | Read | Commit


class JournalRecord(Record, frozen=True):
    """The one record of a journal."""

    KIND: ClassVar[int] = Kind.JOURNAL
    item: Begin | Pure | Read | Commit | Begun | Child | Body | Sealed | End
