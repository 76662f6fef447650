"""Calls of small functions, written out where they are called.

A *leaf* is a function without branches, calls and variables that others share, whose instructions for the kinds of
these arguments change nothing outside of it and need no operation of the machine. Its lines stand in the caller under
names of their own (`w9_0`), and the call becomes one instruction: fuel is paid for all of it beforehand, memory when it
is over, and whatever is not as it should be (a guard, a division by zero, a budget) leaves the whole call to the
stepper, which begins it anew.
"""

from __future__ import annotations

import re
from typing import Final

from sojourn.vm.binding import BoundCall
from sojourn.vm.costs import FRAME_BYTES, SLOT
from sojourn.vm.op import Op
from sojourn.vm.projection.blocks import Blocks
from sojourn.vm.projection.graph import Graph
from sojourn.vm.projection.meter import Mode, Row
from sojourn.vm.projection.writer import Line, State
from sojourn.vm.reach import Code

__all__ = ["MAX_LEAF", "Leaves"]

MAX_LEAF: Final = 24  # instructions
_PURE: Final = frozenset(
    (
        Op.CONST,
        Op.LOAD,
        Op.STORE,
        Op.POP,
        Op.DUP,
        Op.ROT,
        Op.BINARY,
        Op.INPLACE,
        Op.UNARY,
        Op.NOT,
        Op.COMPARE,
        Op.IS_NONE,
    )
)
_OWN: Final = re.compile(r"\b[vtk]\d+(?:_\d+)?\b")  # variables of a generated function
_COUNTERS: Final = re.compile(r"\b(?:fuel|mem|R)\b")


class Leaves(Blocks):
    """Writes calls of leaves; others are calls."""

    made = ("", "")  # name and kind of what the last leaf gives

    def call(self, function: int, shape: int) -> None:
        """CALL: bound beforehand."""
        if self.generic or not self._in_place(function):
            super().call(function, shape)

    def _in_place(self, function: int) -> bool:
        """Write the body of a leaf; False where it is none."""
        callee, bound = self.context.program.codes[function], self.code.calls[self.at]
        graph = self.context.graph(function, 0) if _is_leaf(callee) else None
        args = self._given(callee, bound)
        if graph is None or args is None or len(graph.blocks) > 1:
            return False
        lines = self._leaf(function, graph, args)
        if lines is None:
            return False
        cost = graph.blocks[graph.entry].end
        need = self.graph.stretch(self.code, self.here, self.at + 1)
        row = Row(self.at, tuple(self.state.names), self.paid + cost + need, Mode.BEFORE)
        size = FRAME_BYTES + SLOT * (len(callee.locals) + callee.most)
        self.line(f"fuel -= {cost + need}")
        with self.deeper(f"if fuel < 0 or not d or mem < {size}:"):
            self.line("raise S", row)
        if self.out is not None:
            self.out += [Line(self.indent + line.indent, line.text, line.row and row) for line in lines]
        self.line(f"mem -= {size}")
        self.drop(bound.total)
        self.push(*self.made)
        self.paid = need + 1
        return True

    def _given(self, callee: Code, bound: BoundCall) -> list[tuple[str, str]] | None:
        """Names and kinds of the arguments; None where one is not a plain value or constant."""
        values, kinds = self.top(bound.total)
        given = []
        for source in bound.sources:
            if source >= 0:
                given.append((values[source], kinds[source]))
                continue
            default = (*callee.defaults, *callee.keyword_defaults)[-1 - source]
            if type(callee.constant_defaults[-1 - source]) is tuple:
                return None
            given.append((self.constant(default), self.kind_of_constant(default)))
        return None if any(kind in "-U!" for _, kind in given) else given

    def _leaf(self, function: int, graph: Graph, args: list[tuple[str, str]]) -> list[Line] | None:
        """The lines of a leaf, and its result in `made`; None where an instruction needs the machine."""
        inner = type(self)(self.context, function, graph)
        block = graph.blocks[graph.entry]
        inner.block, inner.here, inner.out = block, graph.entry, []
        unset = len(inner.code.locals) - len(args)
        inner.state = State([*(kind for _, kind in args), *["U"] * unset], [], [])
        words = inner.code.instructions
        stored = {a for op, a, _ in words[: block.end] if op == Op.STORE}
        names: dict[str, str] = {}

        def renamed(match: re.Match[str]) -> str:
            return names.setdefault(match[0], f"w{self.at}_{len(names)}")

        lines = []
        for local, (name, _) in enumerate(args):
            if local in stored:
                lines.append(Line(0, f"w{self.at}_{len(names)} = {name}"))
                names[f"v{local}"] = f"w{self.at}_{len(names)}"
            else:
                names[f"v{local}"] = name
        for at in range(block.start, block.end - 1):
            inner.at = at
            op, a, _ = words[at]
            if op == Op.LOAD and inner.state.locals[a] == "U":
                return None
            inner._instruction(*words[at], at)
        if any(_COUNTERS.search(line.text) for line in inner.out):
            return None
        lines += [Line(line.indent, _OWN.sub(renamed, line.text), line.row) for line in inner.out]
        (name,), (kind,) = inner.top(1)
        self.made = (_OWN.sub(renamed, name), kind)
        return lines


def _is_leaf(code: Code) -> bool:
    """Whether a function's instructions up to its first RETURN are few and touch nothing outside of it."""
    if code.cells or code.free or code.flags or code.loops:
        return False
    for op, _, _ in code.instructions[:MAX_LEAF]:
        if op == Op.RETURN:
            return True
        if op not in _PURE:
            return False
    return False
