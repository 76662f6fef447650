"""Snapshots: the whole state of a machine as one canonical record.

Values are a flat table of cells. A reference is an index: 0 unbound, 1 None, 2 False, 3 True, 4 the first cell. Cells
stand in the order in which a walk from the roots meets them; what is equal by value (numbers, text, bytes, handles,
boxes) has one cell, containers have one each, so that aliasing is kept. What cannot be reached is not written. Rows
refer to each other by number only, so that the host's collector of cycles need not look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sojourn.codec import Kind, Record, encode
from sojourn.errors import MachineError
from sojourn.limits import MAX_SNAPSHOT_BYTES
from sojourn.vm import values
from sojourn.vm.program import CONTRACT, big_bytes
from sojourn.vm.progress import Done, Failed
from sojourn.vm.state import Frame
from sojourn.vm.values import (
    UNBOUND,
    Box,
    BuiltinValue,
    DictView,
    ExcValue,
    FunctionValue,
    Handle,
    Iter,
    RecordValue,
    RegionError,
    SetValue,
    Suspended,
    Unbound,
    Value,
)
from sojourn.vm.walking import HASHED_APART, BoxContent

if TYPE_CHECKING:
    from sojourn.vm.machine import Machine

__all__ = ["FIRST_CELL", "Cell", "FrameRow", "PendingRow", "RunRow", "Snapshot", "dump"]

FIRST_CELL: Final = 4


class IntCell(Record, frozen=True, tag=1, gc=False):
    """Two's complement, big endian, minimal."""

    data: bytes


class FloatCell(Record, frozen=True, tag=2, gc=False):
    """A number that is not `nan`, or the canonical one."""

    number: float


class StrCell(Record, frozen=True, tag=3, gc=False):
    """Text."""

    text: str


class BytesCell(Record, frozen=True, tag=4, gc=False):
    """Bytes."""

    data: bytes


class TupleCell(Record, frozen=True, tag=5, gc=False):
    """References of the items."""

    items: tuple[int, ...]


class ListCell(Record, frozen=True, tag=6, gc=False):
    """References of the items."""

    items: tuple[int, ...]


class DictCell(Record, frozen=True, tag=7, gc=False):
    """References of keys and of values, in order."""

    keys: tuple[int, ...]
    values: tuple[int, ...]


class RangeCell(Record, frozen=True, tag=8, gc=False):
    """References of three integers."""

    start: int
    stop: int
    step: int


class RecordCell(Record, frozen=True, tag=9, gc=False):
    """A record's class, field names, and references of the fields."""

    type_name: str
    names: tuple[str, ...]
    values: tuple[int, ...]


class HandleCell(Record, frozen=True, tag=10, gc=False):
    """A handle."""

    kind: str
    id: bytes
    sources: tuple[str, ...]


class BoxCell(Record, frozen=True, tag=11, gc=False):
    """A box with its content: a reference, or an error (`value` is 0)."""

    id: bytes
    sources: tuple[str, ...]
    charge: int
    value: int
    error: tuple[str, str, str, int] | None


class ViewCell(Record, frozen=True, tag=12, gc=False):
    """A view of a dict."""

    kind: int
    mapping: int


class IterCell(Record, frozen=True, tag=13, gc=False):
    """An iterator."""

    kind: int
    shown: str
    source: int
    keys: tuple[int, ...]
    index: int
    inner: tuple[int, ...]


class FrameRow(Record, frozen=True, gc=False):
    """One frame; locals and stack as references."""

    function: int
    pc: int
    locals: tuple[int, ...]
    stack: tuple[int, ...]


class SetCell(Record, frozen=True, tag=14, gc=False):
    """References of the members, in order."""

    items: tuple[int, ...]


class CellCell(Record, frozen=True, tag=15, gc=False):
    """A variable that functions share: the reference of its content."""

    content: int


class FunctionCell(Record, frozen=True, tag=16, gc=False):
    """A function value: index, and references of its computed defaults and of its cells."""

    function: int
    defaults: tuple[int, ...]
    cells: tuple[int, ...]


class BuiltinCell(Record, frozen=True, tag=17, gc=False):
    """A builtin as a value."""

    number: int


class ExceptionCell(Record, frozen=True, tag=18, gc=False):
    """An exception: its class, the reference of the tuple of its arguments, the line where it was raised."""

    name: str
    args: int
    line: int


class SuspendedCell(Record, frozen=True, tag=19, gc=False):
    """A continuation as a value."""

    frames: tuple[FrameRow, ...]
    waiting: bool


Cell = (
    IntCell
    | FloatCell
    | StrCell
    | BytesCell
    | TupleCell
    | ListCell
    | DictCell
    | RangeCell
    | RecordCell
    | HandleCell
    | BoxCell
    | ViewCell
    | IterCell
    | SetCell
    | CellCell
    | FunctionCell
    | BuiltinCell
    | ExceptionCell
    | SuspendedCell
)


class RunRow(Record, frozen=True, gc=False):
    """One run: the first is the public world, each further one the private region that the one before waits for."""

    id: bytes
    sources: tuple[str, ...]
    operation: int
    fuel: int
    memory: int
    limit: int
    frames: tuple[FrameRow, ...]


class PendingRow(Record, frozen=True, gc=False):
    """The pending effect of the last run; its operation is the last one numbered."""

    name: str
    params: tuple[str, ...]
    args: tuple[int, ...]


class Snapshot(Record, frozen=True, gc=False):
    """A machine. At most one of `pending`, `done` (a reference; 0 for none) and `failed` is there."""

    KIND: ClassVar[int] = Kind.SNAPSHOT
    contract: int
    program: bytes
    runs: tuple[RunRow, ...]
    pending: PendingRow | None
    done: int
    failed: tuple[str, int, str] | None
    cells: tuple[Cell, ...]


_FIXED: Final[dict[type, dict[Value, int]]] = {
    Unbound: {UNBOUND: 0},
    type(None): {None: 1},
    bool: {False: 2, True: 3},
}
_SMALL: Final = {number: IntCell(big_bytes(number)) for number in range(-128, 128)}


class _Table:
    """Gives values their references, and writes their cells.

    Attributes:
        known: references of what is equal by value, by kind.
        others: of floats by their digits, of large integers by their bytes, of everything else by identity.
        order: what has a cell, in the order of the cells.
        kept: the large integers that were met, so that their identities are nobody else's meanwhile.
    """

    __slots__ = ("boxes", "kept", "known", "order", "others")

    def __init__(self, boxes: dict[bytes, BoxContent]) -> None:
        self.boxes = boxes
        self.known: dict[type, dict[Value, int]] = {
            **_FIXED,
            int: {},
            str: {},
            bytes: {},
            Handle: {},
            Box: {},
            BuiltinValue: {},
        }
        self.others: dict[object, int] = {}
        self.order: list[Value] = []
        self.kept: list[int] = []

    def ref(self, value: Value) -> int:
        return self.refs((value,))[0]

    def refs(self, items: Collection[Value]) -> tuple[int, ...]:
        if not items:
            return ()
        known, order, made = self.known, self.order, []
        key: object
        table: dict[Any, int] | None
        for value in items:
            table = known.get(type(value))
            if table is None:
                table, key = self.others, value.hex() if type(value) is float else id(value)
            elif type(value) is int and not -HASHED_APART < value < HASHED_APART:
                table, key = self.others, id(value)
                if key not in table:  # one that many slots share is written once; equal ones have one cell
                    table[key] = self._large(value)
            else:
                key = value
            fresh = FIRST_CELL + len(order)
            found = table.setdefault(key, fresh)
            if found == fresh:
                order.append(value)
            made.append(found)
        return tuple(made)

    def _large(self, value: int) -> int:
        """The reference of a large integer that was not met; those with its bytes have the same one."""
        self.kept.append(value)
        fresh = FIRST_CELL + len(self.order)
        found = self.others.setdefault(big_bytes(value), fresh)
        if found == fresh:
            self.order.append(value)
        return found

    def write(self) -> tuple[Cell, ...]:
        """All cells; `order` grows while it is walked, so that nesting needs no recursion."""
        return tuple([_WRITERS[type(value)](self, value) for value in self.order])

    def frame(self, frame: Frame) -> FrameRow:
        return FrameRow(frame.function, frame.pc, self.refs(frame.locals), self.refs(frame.stack))

    def _box(self, box: Box) -> BoxCell:
        row = self.boxes[box.id]
        content, sources = row.content, box.label.names
        if isinstance(content, RegionError):
            error = (content.type_name, content.message, content.code, content.line)
            return BoxCell(box.id, sources, row.charge, 0, error)
        return BoxCell(box.id, sources, row.charge, self.ref(content), None)


def _int(_: _Table, number: int) -> IntCell:
    return _SMALL.get(number) or IntCell(big_bytes(number))


def _iter(table: _Table, it: Iter) -> IterCell:
    keys, inner = table.refs(it.keys) if it.keys else (), table.refs(it.inner) if it.inner else ()
    return IterCell(int(it.kind), it.shown, table.ref(it.source), keys, it.index, inner)


_WRITERS: Final[dict[type, Callable[[_Table, Value], Cell]]] = {
    int: _int,
    float: lambda _, number: FloatCell(number),
    str: lambda _, text: StrCell(text),
    bytes: lambda _, data: BytesCell(data),
    tuple: lambda table, items: TupleCell(table.refs(items)),
    list: lambda table, items: ListCell(table.refs(items)),
    dict: lambda table, mapping: DictCell(table.refs(mapping), table.refs(mapping.values())),
    range: lambda table, value: RangeCell(*table.refs((value.start, value.stop, value.step))),
    RecordValue: lambda table, record: RecordCell(
        record.type_name, tuple(record.fields), table.refs(record.fields.values())
    ),
    Handle: lambda _, handle: HandleCell(handle.kind, handle.id, handle.label.names),
    Box: _Table._box,
    Iter: _iter,
    DictView: lambda table, view: ViewCell(int(view.kind), table.ref(view.mapping)),
    SetValue: lambda table, value: SetCell(table.refs(value.items)),
    values.Cell: lambda table, cell: CellCell(table.ref(cell.content)),
    FunctionValue: lambda table, made: FunctionCell(made.function, table.refs(made.defaults), table.refs(made.cells)),
    BuiltinValue: lambda _, builtin: BuiltinCell(builtin.number),
    ExcValue: lambda table, raised: ExceptionCell(raised.name, table.ref(raised.args), raised.line),
    Suspended: lambda table, made: SuspendedCell(tuple([table.frame(frame) for frame in made.frames]), made.waiting),
}


def dump(machine: Machine) -> bytes:
    """See `Machine.dump`."""
    table = _Table(machine.runs[0].boxes)
    runs = tuple(
        [
            RunRow(
                run.id,
                run.label.names,
                run.operation,
                run.fuel,
                run.memory,
                run.limit,
                tuple([table.frame(frame) for frame in run.frames]),
            )
            for run in machine.runs
        ]
    )
    effect, outcome = machine.asked, machine.outcome
    pending = None
    if effect is not None:
        pending = PendingRow(effect.name, tuple(effect.args), table.refs(effect.args.values()))
    done = table.ref(outcome.value) if isinstance(outcome, Done) else 0
    failed = (outcome.code, outcome.line, outcome.detail) if isinstance(outcome, Failed) else None
    data = encode(Snapshot(CONTRACT, machine.program.digest, runs, pending, done, failed, table.write()))
    _forget_boxes(machine, table)
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise MachineError(f"the state has {len(data)} bytes, a snapshot at most {MAX_SNAPSHOT_BYTES}")
    return data


def _forget_boxes(machine: Machine, table: _Table) -> None:
    """Drop the content of boxes that nothing can reach any more."""
    boxes = machine.runs[0].boxes
    if not boxes:
        return
    reached = {value.id for value in table.order if type(value) is Box}
    for lost in boxes.keys() - reached:
        del boxes[lost]
