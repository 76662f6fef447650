"""Snapshots: the whole state of a machine as one canonical record.

Values are a flat table of cells. A reference is an index: 0 unbound, 1 None, 2 False, 3 True, 4 the first cell. Cells
stand in the order in which a walk from the roots meets them; what is equal by value (numbers, text, bytes, handles,
boxes) has one cell, containers have one each, so that aliasing is kept. What cannot be reached is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from sojourn.codec import Kind, Record, encode
from sojourn.errors import MachineError
from sojourn.limits import MAX_SNAPSHOT_BYTES
from sojourn.vm import values
from sojourn.vm.machine import Machine
from sojourn.vm.program import CONTRACT, big_bytes
from sojourn.vm.progress import Done, Failed
from sojourn.vm.state import BoxContent, Frame
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
    Value,
)

__all__ = ["FIRST_CELL", "Cell", "FrameRow", "PendingRow", "RunRow", "Snapshot", "dump"]

FIRST_CELL: Final = 4


class IntCell(Record, frozen=True, tag=1):
    """Two's complement, big endian, minimal."""

    data: bytes


class FloatCell(Record, frozen=True, tag=2):
    """A number that is not `nan`, or the canonical one."""

    number: float


class StrCell(Record, frozen=True, tag=3):
    """Text."""

    text: str


class BytesCell(Record, frozen=True, tag=4):
    """Bytes."""

    data: bytes


class TupleCell(Record, frozen=True, tag=5):
    """References of the items."""

    items: tuple[int, ...]


class ListCell(Record, frozen=True, tag=6):
    """References of the items."""

    items: tuple[int, ...]


class DictCell(Record, frozen=True, tag=7):
    """References of keys and of values, in order."""

    keys: tuple[int, ...]
    values: tuple[int, ...]


class RangeCell(Record, frozen=True, tag=8):
    """References of three integers."""

    start: int
    stop: int
    step: int


class RecordCell(Record, frozen=True, tag=9):
    """A record's class, field names, and references of the fields."""

    type_name: str
    names: tuple[str, ...]
    values: tuple[int, ...]


class HandleCell(Record, frozen=True, tag=10):
    """A handle."""

    kind: str
    id: bytes
    sources: tuple[str, ...]


class BoxCell(Record, frozen=True, tag=11):
    """A box with its content: a reference, or an error (`value` is 0)."""

    id: bytes
    sources: tuple[str, ...]
    charge: int
    value: int
    error: tuple[str, str, str, int] | None


class ViewCell(Record, frozen=True, tag=12):
    """A view of a dict."""

    kind: int
    mapping: int


class IterCell(Record, frozen=True, tag=13):
    """An iterator."""

    kind: int
    shown: str
    source: int
    keys: tuple[int, ...]
    index: int
    inner: tuple[int, ...]


class FrameRow(Record, frozen=True):
    """One frame; locals and stack as references."""

    function: int
    pc: int
    locals: tuple[int, ...]
    stack: tuple[int, ...]


class SetCell(Record, frozen=True, tag=14):
    """References of the members, in order."""

    items: tuple[int, ...]


class CellCell(Record, frozen=True, tag=15):
    """A variable that functions share: the reference of its content."""

    content: int


class FunctionCell(Record, frozen=True, tag=16):
    """A function value: index, and references of its computed defaults and of its cells."""

    function: int
    defaults: tuple[int, ...]
    cells: tuple[int, ...]


class BuiltinCell(Record, frozen=True, tag=17):
    """A builtin as a value."""

    number: int


class ExceptionCell(Record, frozen=True, tag=18):
    """An exception: its class, the reference of the tuple of its arguments, the line where it was raised."""

    name: str
    args: int
    line: int


class SuspendedCell(Record, frozen=True, tag=19):
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


class RunRow(Record, frozen=True):
    """One run: the first is the public world, each further one the private region that the one before waits for."""

    id: bytes
    sources: tuple[str, ...]
    operation: int
    fuel: int
    memory: int
    limit: int
    frames: tuple[FrameRow, ...]


class PendingRow(Record, frozen=True):
    """The pending effect of the last run; its operation is the last one numbered."""

    name: str
    params: tuple[str, ...]
    args: tuple[int, ...]


class Snapshot(Record, frozen=True):
    """A machine. At most one of `pending`, `done` (a reference; 0 for none) and `failed` is there."""

    KIND: ClassVar[int] = Kind.SNAPSHOT
    contract: int
    program: bytes
    runs: tuple[RunRow, ...]
    pending: PendingRow | None
    done: int
    failed: tuple[str, int, str] | None
    cells: tuple[Cell, ...]


_BY_VALUE: Final = frozenset((int, str, bytes, Handle, Box, BuiltinValue))


class _Table:
    """Gives values their references, and writes their cells."""

    def __init__(self, boxes: dict[bytes, BoxContent]) -> None:
        self.boxes = boxes
        self.known: dict[object, int] = {}
        self.order: list[Value] = []
        self.cells: list[Cell] = []

    def ref(self, value: Value) -> int:
        kind = type(value)
        key: object
        if kind in _BY_VALUE:
            key = (kind, value)
        elif value is UNBOUND:
            return 0
        elif value is None:
            return 1
        elif kind is bool:
            return 3 if value else 2
        else:
            key = (float, value.hex()) if kind is float else id(value)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = FIRST_CELL + len(self.order)
            self.order.append(value)
        return found

    def refs(self, items: Iterable[Value]) -> tuple[int, ...]:
        return tuple([self.ref(value) for value in items])

    def write(self) -> tuple[Cell, ...]:
        """All cells; `order` grows while it is walked, so that nesting needs no recursion."""
        position = 0
        while position < len(self.order):
            self.cells.append(self._cell(self.order[position]))
            position += 1
        return tuple(self.cells)

    def _cell(self, value: Value) -> Cell:  # noqa: PLR0911 - one return for each kind of cell
        kind = type(value)
        if kind is int:
            return IntCell(big_bytes(value))
        if kind is float:
            return FloatCell(value)
        if kind is str:
            return StrCell(value)
        if kind is bytes:
            return BytesCell(value)
        if kind is tuple:
            return TupleCell(self.refs(value))
        if kind is list:
            return ListCell(self.refs(value))
        if kind is dict:
            return DictCell(self.refs(value), self.refs(value.values()))
        if kind is range:
            return RangeCell(self.ref(value.start), self.ref(value.stop), self.ref(value.step))
        if kind is RecordValue:
            return RecordCell(value.type_name, tuple(value.fields), self.refs(value.fields.values()))
        if kind is Handle:
            return HandleCell(value.kind, value.id, value.label.names)
        if kind is Box:
            return self._box(value)
        if kind is Iter:
            keys, inner = self.refs(value.keys), self.refs(value.inner)
            return IterCell(int(value.kind), value.shown, self.ref(value.source), keys, value.index, inner)
        return _INNER[kind](self, value)

    def frame(self, frame: Frame) -> FrameRow:
        return FrameRow(frame.function, frame.pc, self.refs(frame.locals), self.refs(frame.stack))

    def _box(self, box: Box) -> BoxCell:
        row = self.boxes[box.id]
        content, sources = row.content, box.label.names
        if isinstance(content, RegionError):
            error = (content.type_name, content.message, content.code, content.line)
            return BoxCell(box.id, sources, row.charge, 0, error)
        return BoxCell(box.id, sources, row.charge, self.ref(content), None)


_INNER: Final[dict[type, Callable[[_Table, Value], Cell]]] = {
    DictView: lambda table, view: ViewCell(int(view.kind), table.ref(view.mapping)),
    SetValue: lambda table, value: SetCell(table.refs(value.items)),
    values.Cell: lambda table, cell: CellCell(table.ref(cell.content)),
    FunctionValue: lambda table, made: FunctionCell(made.function, table.refs(made.defaults), table.refs(made.cells)),
    BuiltinValue: lambda _, builtin: BuiltinCell(builtin.number),
    ExcValue: lambda table, raised: ExceptionCell(raised.name, table.ref(raised.args), raised.line),
    Suspended: lambda table, made: SuspendedCell(tuple(table.frame(frame) for frame in made.frames), made.waiting),
}


def dump(machine: Machine) -> bytes:
    """See `Machine.dump`."""
    table = _Table(machine.runs[0].boxes)
    runs = tuple(
        RunRow(
            run.id,
            run.label.names,
            run.operation,
            run.fuel,
            run.memory,
            run.limit,
            tuple(table.frame(frame) for frame in run.frames),
        )
        for run in machine.runs
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
    reached = {value.id for value in table.order if type(value) is Box}
    for lost in boxes.keys() - reached:
        del boxes[lost]
