"""The generated functions of one program: made when they are called for, within a budget, and kept for all its runs.

A form is one function from its start, with the kinds of its arguments (`call`), from its start as a function value
(`value`), or from the head of one of its loops as the stepper left it (`head`). Where a form is not made, a stand-in
makes the stepper's frame of the call and stops.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from sojourn.vm.op import ISA, Op, Operand
from sojourn.vm.projection.graph import Graph, Unprojectable
from sojourn.vm.projection.kinds import kind_of, slot_kind
from sojourn.vm.projection.leaves import MAX_LEAF
from sojourn.vm.projection.meter import Form, Meter, Stopped, open_slot
from sojourn.vm.projection.namespace import fixed
from sojourn.vm.projection.shape import Shape
from sojourn.vm.projection.source import Key, assembled
from sojourn.vm.projection.writer import State
from sojourn.vm.state import Frame
from sojourn.vm.values import UNBOUND, Cell, Value
from sojourn.vm.verifier import Code, VerifiedProgram

__all__ = ["Absent", "Forms", "Key", "forms_of"]

MAX_WRITTEN: Final = 30_000  # instructions written for one program, over all forms
MAX_FORM: Final = 5_000  # of them for one form
MAX_LOOKED: Final = 60_000  # instructions looked at for what functions return, over all of them
MAX_VARIANTS: Final = 6  # of a function, or of a loop's head, by kinds; then one for all kinds
MAX_MISSES: Final = 2
MAX_GUESSES: Final = 12  # wrong guesses in one function; then none is made in it
MAX_NESTED_INFERENCE: Final = 20
MAX_PROGRAMS: Final = 16
ALONE: Final = 2  # references to what only a list holds, the question's own included


class Absent(Stopped):
    """A form that was called for is not there."""

    def __init__(self, key: Key) -> None:
        self.key = key
        super().__init__(key)


class Forms:
    """See the module."""

    def __init__(self, program: VerifiedProgram) -> None:
        self.program = program
        self.meter = Meter(program)
        self.generic: set[tuple[int, int]] = set()
        self.names: dict[Key, str] = {}
        self.made: dict[Key, Callable[..., Value] | None] = {}
        self.left, self.looks = MAX_WRITTEN, MAX_LOOKED
        self.misses: dict[tuple[int, int], int] = {}
        self.guesses: dict[int, int] = {}
        self.variants: dict[tuple[int, int], set[tuple[str, ...]]] = {}
        self.results: dict[tuple[int, tuple[str, ...]], str] = {}
        self.settled: set[tuple[int, tuple[str, ...]]] = set()
        self.visited: list[tuple[int, tuple[str, ...]]] | None = None
        self.depth = 0
        self.graphs: dict[tuple[int, int], Graph | None] = {}
        self.starts: dict[int, frozenset[int]] = {}
        self.tables: dict[int, dict[int, list[Any]]] = {}
        self.namespace: dict[str, Any] = fixed(self.meter)
        self.heat: dict[int, int] = {}
        self.marks: dict[int, frozenset[int]] = {}
        self.asked: set[Key] = set()
        self.worth: dict[Key, list[int]] = {}
        self.free = [True]

    # What the writer asks.

    def result(self, function: int, kinds: tuple[str, ...]) -> str:
        """See `Context`. Found by going through all functions that are called until nothing changes."""
        key = (function, self.chosen(function, -1, kinds))
        if key in self.settled:
            return self.results[key]
        if self.visited is None:
            self._settle(key)
        elif key not in self.visited:
            if self.depth >= MAX_NESTED_INFERENCE:
                return "?"
            self._infer(key)
        return self.results[key]

    def _settle(self, key: tuple[int, tuple[str, ...]]) -> None:
        while True:
            before = dict(self.results)
            self.visited = []
            try:
                self._infer(key)
                visited = self.visited
            finally:
                self.visited = None
            if before == self.results:
                break
        self.settled.update(visited)

    def _infer(self, key: tuple[int, tuple[str, ...]]) -> None:
        function, kinds = key
        assert self.visited is not None  # noqa: S101 - `_settle` goes first
        self.visited.append(key)
        self.results.setdefault(key, "-")
        size = len(self.program.codes[function].instructions)
        graph = self.graph(function, 0) if size <= self.looks else None
        if graph is None:
            self.results[key] = "?"
            return
        self.looks -= size
        self.depth += 1
        shape = Shape(self, function, graph)
        shape.analyse(graph.entry, State(self._locals(function, kinds), [], []))
        self.depth -= 1
        self.results[key] = shape.joined([self.results[key]], [shape.returned], frozenset())[0]

    def chosen(self, function: int, at: int, kinds: tuple[str, ...]) -> tuple[str, ...]:
        """`kinds`, or where there are many already, the kinds that all values have."""
        known = self.variants.setdefault((function, at), set())
        if kinds in known:
            return kinds
        if len(known) < MAX_VARIANTS:
            known.add(kinds)
            return kinds
        loops = self.program.codes[function].loops
        return tuple("*" if at >= 0 and k in loops else "!" if at >= 0 else "?" for k in range(len(kinds)))

    def callee(self, function: int, kinds: tuple[str, ...]) -> str:
        """See `Context`."""
        return self._name(Key(function, -1, self.chosen(function, -1, kinds)))

    def valued(self, function: int, kinds: tuple[str, ...]) -> str:
        """See `Context`."""
        return self._name(Key(function, -2, self.chosen(function, -2, kinds)))

    def values(self, count: int) -> None:
        """Let functions with `count` parameters be called as values; see `calls.Calls.call_value`."""
        if count in self.tables:
            return
        table = self.tables[count] = {}
        self.namespace[f"u{count}"] = table
        for function, code in enumerate(self.program.codes):
            if code.params == count and not code.keyword_only and not code.flags:
                key = Key(function, -2, ("?",) * count)
                size = self.meter.frame_bytes(function) + 56 * len(code.cells)
                table[function] = [self._stand_in(key), size]

    # Making forms.

    def graph(self, function: int, at: int) -> Graph | None:
        """The control flow from an entry, if it can be written."""
        key = (function, at)
        if key not in self.graphs:
            try:
                self.graphs[key] = Graph.of(self.program.codes[function], at)
            except Unprojectable:
                self.graphs[key] = None
        return self.graphs[key]

    def heads(self, function: int) -> frozenset[int]:
        """Where a function's loops begin: instructions that a later one jumps to."""
        if function not in self.starts:
            found = set()
            for at, (op, a, b) in enumerate(self.program.codes[function].instructions):
                spec = ISA[op]
                target = b if spec.b is Operand.TARGET else a
                if spec.on_jump is not None and target <= at:
                    found.add(target)
            self.starts[function] = frozenset(found)
        return self.starts[function]

    def _name(self, key: Key) -> str:
        name = self.names.get(key)
        if name is None:
            name = self.names[key] = f"g{len(self.names)}"
            self.namespace[name] = self._stand_in(key)
        return name

    def _stand_in(self, key: Key) -> Callable[..., Value]:
        function, code = key.function, self.program.codes[key.function]

        def stand_in(*args: Any) -> Value:
            cells: tuple[Cell, ...] = ()
            *values, _ = args
            if key.at == -2:
                *values, cells = values
            values += [UNBOUND] * (len(code.locals) - len(values))
            for position in code.cells:
                values[position] = Cell(values[position])
            for position, cell in zip(code.free, cells, strict=True):
                values[position] = cell
            self.meter.spilled.append(Frame(function, 0, values, []))
            raise Absent(key)

        return stand_in

    def form(self, key: Key) -> Callable[..., Value] | None:
        """The generated function, made if it is not there; None where there is none."""
        if key not in self.made:
            self.made[key] = self._make(key)
        return self.made[key]

    def _make(self, key: Key) -> Callable[..., Value] | None:
        code = self.program.codes[key.function]
        size = self._size(code)
        if size > min(self.left, MAX_FORM):
            return None
        self.left -= size
        graph = self.graph(key.function, max(key.at, 0))
        if graph is None:
            return None
        try:
            function = self._written(key, code, graph)
        except (SyntaxError, RecursionError, MemoryError):  # the host's own limits: 20 loops, 100 indents, its stack
            return None
        if key.at < 0:
            self.namespace[self._name(key)] = function
            self._tabulate(key, function)
        return function

    def _size(self, code: Code) -> int:
        """Instructions that are written for a function, those of the small ones that it calls in their places."""
        called = (len(self.program.codes[a].instructions) for op, a, _ in code.instructions if op == Op.CALL)
        return len(code.instructions) + sum(size for size in called if size <= MAX_LEAF)

    def _tabulate(self, key: Key, function: Callable[..., Value]) -> None:
        """Where values of any kinds are called with so many arguments."""
        table = self.tables.get(len(key.kinds), {})
        if key.at == -2 and set(key.kinds) <= {"?"} and key.function in table:
            table[key.function][0] = function

    def _locals(self, function: int, kinds: tuple[str, ...]) -> list[str]:
        code = self.program.codes[function]
        rest = ["?" if k in code.boxed else "U" for k in range(len(kinds), len(code.locals))]
        return [*("?" if k in code.boxed else kind for k, kind in enumerate(kinds)), *rest]

    def _written(self, key: Key, code: Code, graph: Graph) -> Callable[..., Value]:
        shape = Shape(self, key.function, graph)
        shape.entered = key.at >= 0
        at = graph.entry
        kinds = self._locals(key.function, key.kinds)
        shape.analyse(at, State(kinds, [f"s{k}" for k in range(len(key.stack))], list(key.stack)))
        form = Form(key.function, code, self.namespace)
        number = len(self.meter.forms)
        self.namespace[f"Y{number}"] = form
        inner = assembled(key, code, shape, form, number)
        cells = dict(zip(("fuel_", "mem_"), self.meter.cells, strict=True))
        function = FunctionType(inner, self.namespace, "g", None, tuple([cells[name] for name in inner.co_freevars]))
        self.meter.forms[inner] = form
        return function

    # Entering.

    def entry(self, frame: Frame, *, bottom: bool) -> tuple[Key, list[Any]] | None:
        """The form that goes on from a frame, and its arguments."""
        code = self.program.codes[frame.function]
        if frame.pc == 0 and not bottom:
            found = self._start(frame, code)
            if found is not None:
                return found
        if frame.pc not in self.heads(frame.function):
            return None
        values = frame.locals
        # An iterator that something else refers to as well stays what it is: an object that both see.
        kinds = tuple(
            [
                kind_of(values[k]) if k not in code.loops else
                slot_kind(values[k]) if sys.getrefcount(values[k]) <= ALONE or values[k] is UNBOUND else "*"
                for k in range(len(values))
            ]
        )  # fmt: skip
        known = self.chosen(frame.function, frame.pc, kinds)
        stack = tuple(kind_of(v) for v in frame.stack) if known == kinds else ("?",) * len(frame.stack)
        args: list[Any] = []
        for local, value in enumerate(frame.locals):
            args += open_slot(value, known[local]) if local in code.loops else [value]
        return Key(frame.function, frame.pc, known, stack), [*args, *frame.stack]

    def _start(self, frame: Frame, code: Code) -> tuple[Key, list[Any]] | None:
        count = code.params + code.keyword_only + code.flags.bit_count()
        rest = range(count, len(code.locals))
        if 0 in self.heads(frame.function) or any(
            frame.locals[k] is not UNBOUND for k in rest if k not in code.boxed
        ):  # fmt: skip
            return None
        args = [v.content if k in code.cells else v for k, v in enumerate(frame.locals[:count])]
        if code.free:
            if count != code.params:
                return None
            self.values(count)
            return Key(frame.function, -2, ("?",) * count), [*args, tuple([frame.locals[k] for k in code.free])]
        kinds = tuple(kind_of(value) for value in args)
        if "U" in kinds:
            return None
        return Key(frame.function, -1, self.chosen(frame.function, -1, kinds)), args

    # What is hot.

    def warm(self, function: int, fuel: int, least: int, by_size: int) -> None:
        """So much fuel was stepped, beginning in `function`."""
        if function in self.marks:
            return
        heat = self.heat[function] = self.heat.get(function, 0) + fuel
        if heat >= least + by_size * len(self.program.codes[function].instructions):
            self.marks[function] = self.heads(function) | {0}

    def wanted(self, key: Key) -> None:
        """A form was called for that is not there: the second time it is made."""
        if key in self.asked:
            self.form(key)
        self.asked.add(key)

    def judge(self, key: Key, fuel: int, entries: int, worth: int) -> None:
        """A form was entered and led so far; where that is not worth it, its place is left to the stepper."""
        record = self.worth.setdefault(key, [0, 0])
        record[0] += 1
        record[1] += fuel
        if record[0] >= entries:
            if record[1] < record[0] * worth:
                self.marks[key.function] = self.marks[key.function] - {max(key.at, 0)}
            record[:] = [0, 0]

    # Guesses.

    def miss(self, function: int, at: int) -> None:
        """A value was of another kind than the form was written for, or an operation failed."""
        place = (function, at)
        if place in self.generic:
            return
        self.misses[place] = self.misses.get(place, 0) + 1
        if self.misses[place] < MAX_MISSES:
            return
        self.guesses[function] = self.guesses.get(function, 0) + 1
        self.generic.add(place)
        if self.guesses[function] > MAX_GUESSES:
            self.generic.update((function, at) for at in range(len(self.program.codes[function].instructions)))
        before = {key: self.results[key] for key in self.settled if key[0] == function}
        self.settled.difference_update(before)
        for key in before:
            del self.results[key]
        if all(self.result(*key) == kind for key, kind in before.items()):
            self._forget([key for key in self.made if key.function == function])
        else:
            self.settled.clear()
            self.results.clear()
            self._forget(list(self.made))

    def _forget(self, keys: list[Key]) -> None:
        for key in keys:
            if self.made.pop(key) is not None and key.at < 0:
                self.namespace[self.names[key]] = self._stand_in(key)
                self._tabulate(key, self.namespace[self.names[key]])


_PROGRAMS: OrderedDict[bytes, Forms] = OrderedDict()


def forms_of(program: VerifiedProgram) -> Forms:
    """The forms of a program; those of the programs that ran last are kept."""
    found = _PROGRAMS.get(program.digest)
    if found is None:
        found = _PROGRAMS[program.digest] = Forms(program)
        while len(_PROGRAMS) > MAX_PROGRAMS:
            _PROGRAMS.popitem(last=False)
    else:
        _PROGRAMS.move_to_end(program.digest)
    return found
