"""Budgets and frames of a run while generated code executes, and how its state becomes canonical again.

Generated code counts fuel and memory in variables of its own and hands them over where an operation that is not its
own needs them (`Meter`), or where another generated function begins (two cells). Whatever is not an ordinary return is
an exception: its line in the generated source is the key of a `Row`, which says what the stepper's frame would be
there, and where the counters are. Nothing of this is state: after `leave` has seen each function on the way, frames
and budgets are what the stepper would have made of them.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from types import CellType, CodeType
from typing import Any, Final, NamedTuple

from sojourn.labels import PUBLIC
from sojourn.vm.faults import Exhausted, Raised
from sojourn.vm.iteration import make_iter
from sojourn.vm.reach import Code
from sojourn.vm.state import Frame, Run
from sojourn.vm.unwinding import dress
from sojourn.vm.values import UNBOUND, Iter, IterKind, Value, canonical_float
from sojourn.vm.verifier import VerifiedProgram

__all__ = [
    "GUARD",
    "STOP",
    "Form",
    "Guard",
    "Meter",
    "Mode",
    "Row",
    "Settled",
    "Stopped",
    "back",
    "closed_slot",
    "ended",
    "open_any",
    "open_slot",
]

_WALKED: Final[dict[type, str]] = {
    list: "list_iterator",
    tuple: "tuple_iterator",
    bytes: "bytes_iterator",
    range: "range_iterator",
    str: "str_iterator",
}
_COUNTED: Final = frozenset((list, tuple, bytes, range))


class Stopped(Exception):
    """The stepper executes the next instruction: a budget does not suffice, or there is no fast way."""


class Guard(Stopped):
    """As `Stopped`; a value was not of the kind that generated code was made for."""


STOP: Final = Stopped()
GUARD: Final = Guard()


class Settled(Raised):
    """An exception of the language that generated code raises itself."""

    settled = True


class Mode(IntEnum):
    """Where the counters are at a line.

    BEFORE: in the function's variables; the instruction is not executed, and its fuel is given back.
    METER: in the meter; the instruction executes.
    CALLING: in the cells; a function that was called executes.
    """

    BEFORE = 0
    METER = 1
    CALLING = 2


class Row(NamedTuple):
    """The state at one line of generated source.

    Attributes:
        pc: of the stepper's frame.
        stack: names of the variables that are on its operand stack.
        refund: fuel that is paid and not used.
        mode: see `Mode`.
    """

    pc: int
    stack: tuple[str, ...]
    refund: int
    mode: Mode


class Form:
    """One generated function: what is needed to make its frames canonical."""

    def __init__(self, function: int, code: Code, namespace: dict[str, Any]) -> None:
        self.function, self.code, self.namespace = function, code, namespace
        self.rows: dict[int, Row] = {}
        self.traps: dict[int, int] = {}  # by line: where the handler of the instruction that executes begins
        self.names = [
            (f"n{local}", f"q{local}") if local in code.loops else (f"v{local}", "")
            for local in range(len(code.locals))
        ]

    def frame(self, row: Row, found: dict[str, Any]) -> Frame:
        """The stepper's frame, from the variables of the generated function."""
        values = [
            closed_slot(found.get(name), found.get(source)) if source else found.get(name, UNBOUND)
            for name, source in self.names
        ]
        get = self.namespace.get
        stack = [found[name] if name in found else get(name) for name in row.stack]
        stack = [canonical_float(value) if type(value) is float else value for value in stack]
        return Frame(self.function, row.pc, values, stack)


def closed_slot(iterator: Any, source: Value) -> Value:
    """The content of a loop slot as state."""
    if iterator is None:
        return UNBOUND
    if type(iterator) is Iter:
        return iterator
    index = _position(iterator, source)
    if type(source) is Iter:
        source.index = index
        return source
    return Iter(IterKind.SEQUENCE, _WALKED[type(source)], source, index=index)


def _position(iterator: Any, source: Value) -> int:
    """How many items an iterator of the host's has drawn."""
    if type(source) is range:
        return len(source) - int(iterator.__length_hint__())
    if type(source) is Iter:
        return len(source.keys) - int(iterator.__length_hint__())
    reduced = iterator.__reduce__()
    return int(reduced[2]) if len(reduced) > 2 else len(source)


def back(iterator: Any, source: Value) -> Any:
    """An iterator that has not drawn the last item yet."""
    return _iterator_at(source.keys if type(source) is Iter else source, _position(iterator, source) - 1)


def ended(source: Iter) -> Any:
    """An iterator over a dict that has drawn all items, and not found out yet."""
    return _iterator_at(source.keys, len(source.keys))


def open_slot(it: Value, kind: str) -> tuple[Any, Value]:
    """A loop slot's content as the iterator that generated code draws from, and its source."""
    if kind == "U":
        return None, None
    if kind == "*":
        return (None, None) if it is UNBOUND else (it, None)
    if kind in "KVP":
        return _iterator_at(it.keys, it.index), it
    return _iterator_at(it.source, it.index), it.source


def _iterator_at(source: Value, index: int) -> Any:
    iterator: Any = iter(source)
    iterator.__setstate__(index)
    return iterator


def open_any(run: Run, value: Value) -> tuple[Any, Value]:
    """The iterator of a loop over any value, paid for, and its source."""
    if type(value) in _COUNTED and (type(value) is not range or len_fits(value)):
        run.allocate(112)
        return iter(value), value
    return make_iter(run, value), None


def len_fits(value: range) -> bool:
    """Whether the host can count a range."""
    return -(1 << 61) < value.start < 1 << 61 and -(1 << 61) < value.stop < 1 << 61


class Meter(Run):
    """What operations see as their run while generated code executes.

    `fuel` counts down to the end of the slice and may pass it, down to `bottom`; `floor` is what the run has left
    there. `frames` are the canonical frames below the generated functions.

    Attributes:
        cells: fuel and memory between generated functions.
        spilled: frames that `leave` made canonical, the innermost first.
        complete: no more of them are to come.
        failing: line of the instruction whose exception is being made.
    """

    __slots__ = ("cells", "complete", "driver", "failing", "floor", "forms", "spilled")

    def __init__(self, program: VerifiedProgram) -> None:
        super().__init__(
            program, b"", PUBLIC, region=False, operation=0, fuel=0, memory=0, limit=0, frames=[], boxes={}
        )
        self.floor = self.failing = 0
        self.cells = (CellType(0), CellType(0))
        self.spilled: list[Frame] = []
        self.complete = False
        self.forms: dict[CodeType, Form] = {}
        self.driver: CodeType | None = None

    def attach(self, run: Run, floor: int) -> None:
        """Begin to count for a run, whose slice ends at `floor`."""
        self.id, self.label, self.region, self.boxes = run.id, run.label, run.region, run.boxes
        self.frames, self.limit, self.floor, self.equals = run.frames, run.limit, floor, run.equals
        self.bottom = self.least = -floor
        self.cells[0].cell_contents, self.cells[1].cell_contents = run.fuel - floor, run.memory
        self.spilled, self.complete = [], False

    def settle(self, run: Run) -> None:
        """Hand the counters back to the run."""
        run.fuel = self.floor + self.cells[0].cell_contents
        run.memory = self.cells[1].cell_contents
        run.equals, self.equals = self.equals, None
        self.frames, self.boxes = [], {}

    def _live(self) -> int:
        below = self.frames
        self.frames = [*below, *self._above()]
        try:
            return super()._live()
        finally:
            self.frames = below

    def _above(self) -> list[Frame]:
        """The frames of the generated functions that execute now."""
        found = []
        frame = sys._getframe(1)
        while frame.f_code is not self.driver and frame.f_back is not None:
            form = self.forms.get(frame.f_code)
            if form is not None:
                row = form.rows.get(frame.f_lineno) or form.rows[self.failing]
                found.append(form.frame(row, frame.f_locals))
            frame = frame.f_back
        found.reverse()
        return found

    def leave(self, problem: BaseException, form: Form, found: dict[str, Any]) -> None:
        """What is no exception of the language leaves a generated function: its frame goes to `spilled`."""
        if self.complete:
            return
        row = form.rows[_line_of(problem)]
        self._count(row, found["fuel"], found.get("mem", self.cells[1].cell_contents))
        self.spilled.append(form.frame(row, found))

    def passes(self, problem: Raised, form: Form, fuel: int, memory: int) -> None:
        """An exception of the language leaves the generated function where it was raised."""
        line = _line_of(problem)
        self._settle(problem, form, line, fuel, memory)

    def handles(self, problem: Raised, form: Form, fuel: int, memory: int, target: int) -> bool:
        """Whether the handler at `target` takes an exception of the language; then it is made, and paid for."""
        line = _line_of(problem)
        if form.traps.get(line) != target:
            return False
        if not problem.settled:
            self._settle(problem, form, line, fuel, memory)
        return True

    def _settle(self, problem: Raised, form: Form, line: int, fuel: int, memory: int) -> None:
        row = form.rows[line]
        self._count(row, fuel, memory)
        problem.settled = True
        self.failing = line
        fuel_cell, memory_cell = self.cells
        self.fuel, self.memory = fuel_cell.cell_contents, memory_cell.cell_contents
        try:
            dress(self, problem, form.code.lines[row.pc - 1] or self._line())
        except Exhausted:
            self.spilled = self._above()[::-1]
            self.complete = True
            raise
        finally:
            fuel_cell.cell_contents, memory_cell.cell_contents = self.fuel, self.memory

    def _count(self, row: Row, fuel: int, memory: int) -> None:
        """Put the counters into the cells."""
        if row.mode is Mode.METER:
            self.cells[0].cell_contents, self.cells[1].cell_contents = self.fuel, self.memory
        elif row.mode is not Mode.CALLING:
            self.cells[0].cell_contents, self.cells[1].cell_contents = fuel + row.refund, memory

    def _line(self) -> int:
        """The source line of an exception in code that the compiler brought along, as `unwinding.line_of` finds it."""
        for frame in (*reversed(self._above()), *reversed(self.frames)):
            line = self.program.codes[frame.function].lines[max(frame.pc - 1, 0)]
            if line:
                return line
        return 0


def _line_of(problem: BaseException) -> int:
    """The line of the generated function that an exception came through last."""
    return problem.__traceback__.tb_lineno if problem.__traceback__ is not None else 0
