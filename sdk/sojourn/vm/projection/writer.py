"""Lines of generated source, and the state of the stepper that the writer keeps in mind while it writes them.

Identifiers are ours: a letter and a number, or a word of `namespace.fixed`. No name, text or constant of a program is
ever written; generated code reaches them through numbered variables of its namespace.

Variables of a generated function: `v3` a local, `n3` and `q3` the iterator of a loop slot and what it draws from, `s0`
the operand stack between blocks, `t12` what instruction 12 made, `fuel`, `mem`, `d` calls that may still nest, `b`
where to go on where that is not the next line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sojourn.vm.projection.graph import Block, Graph
from sojourn.vm.projection.kinds import join
from sojourn.vm.projection.meter import Mode, Row
from sojourn.vm.reach import Code
from sojourn.vm.verifier import VerifiedProgram

__all__ = ["Context", "Line", "State", "Term", "Writer"]


class Context(Protocol):
    """What writing a function needs of the projection of its program."""

    program: VerifiedProgram
    namespace: dict[str, Any]
    generic: set[tuple[int, int]]

    def result(self, function: int, kinds: tuple[str, ...]) -> str:
        """The kind of what a function returns, called with arguments of these kinds; `-` if it never does."""

    def callee(self, function: int, kinds: tuple[str, ...]) -> str:
        """The variable of the namespace that holds the generated function for such a call."""

    def valued(self, function: int, kinds: tuple[str, ...]) -> str:
        """As `callee`, for a call of the function as a value: the cells that it shares come behind the arguments."""

    def graph(self, function: int, at: int) -> Graph | None:
        """The control flow of a function from an entry, if it can be written."""

    def values(self, count: int) -> None:
        """Let functions with so many parameters be called as values."""


@dataclass(slots=True)
class Line:
    """A line; `unless` is a block whose test decides whether the line is needed (-1: it is)."""

    indent: int
    text: str
    row: Row | None = None
    only_for: int = -1


@dataclass(slots=True)
class State:
    """Kinds of the locals, names and kinds of the operand stack."""

    locals: list[str]
    names: list[str]
    kinds: list[str]

    def copy(self) -> State:
        return State(list(self.locals), list(self.names), list(self.kinds))


@dataclass(slots=True)
class Term:
    """How a block ends.

    Attributes:
        condition: of a branch; empty where control goes on to `then`, or ends.
        then, other: where control goes; -1 where it ends.
        then_state, other_state: the state on each way.
        slot: of a loop over an iterator whose `for` the block opens; -1 else.
    """

    condition: str = ""
    then: int = -1
    other: int = -1
    then_state: State | None = None
    other_state: State | None = None
    slot: int = -1


class Writer:
    """Keeps the state and writes lines; without `out` it only keeps the state."""

    def __init__(self, context: Context, function: int, graph: Graph) -> None:
        self.context, self.function, self.graph = context, function, graph
        self.code: Code = context.program.codes[function]
        self.out: list[Line] | None = None
        self.indent = 0
        self.at = 0  # the instruction
        self.paid = 0  # fuel that is paid and not used before it
        self.state = State([], [], [])
        self.here = graph.entry  # the block
        self.block: Block = next(iter(graph.blocks.values()))
        self.trapped: list[tuple[int, list[str]]] = []
        self.fused = ""
        self.parts: list[tuple[str, str]] = []  # names and kinds of a tuple that is taken apart next

    # Lines.

    def line(self, text: str, row: Row | None = None) -> None:
        if self.out is not None:
            self.out.append(Line(self.indent, text, row))

    @contextmanager
    def deeper(self, text: str) -> Iterator[None]:
        """Lines under a heading."""
        self.line(text)
        self.indent += 1
        yield
        self.indent -= 1

    def before(self) -> Row:
        """The row of a line where the stepper takes over before the instruction."""
        return Row(self.at, tuple(self.state.names), self.paid, Mode.BEFORE)

    def within(self, mode: Mode) -> Row:
        """The row of a line that executes the instruction."""
        return Row(self.at + 1, tuple(self.state.names), self.paid - 1, mode)

    def stop(self, condition: str) -> None:
        """Leave the instruction to the stepper where a budget does not suffice."""
        with self.deeper(f"if {condition}:"):
            self.line("raise S", self.before())

    def guard(self, condition: str) -> None:
        """Leave the instruction to the stepper where a value is of another kind."""
        with self.deeper(f"if {condition}:"):
            self.line("raise G", self.before())

    def take_memory(self, size: str) -> None:
        """Pay for memory."""
        self.stop(f"mem < {size}")
        self.line(f"mem -= {size}")

    # The operand stack.

    @property
    def generic(self) -> bool:
        """Whether a guess at this instruction was wrong before."""
        return (self.function, self.at) in self.context.generic

    def temporary(self, more: str = "") -> str:
        """A variable for what the instruction makes."""
        return f"t{self.at}{more}"

    def push(self, name: str, kind: str) -> None:
        self.state.names.append(name)
        self.state.kinds.append(kind)

    def drop(self, count: int) -> None:
        if count:
            del self.state.names[-count:], self.state.kinds[-count:]

    def top(self, count: int) -> tuple[list[str], list[str]]:
        """Names and kinds of the last operands."""
        size = len(self.state.names) - count
        return self.state.names[size:], self.state.kinds[size:]

    def replace(self, count: int, name: str, kind: str) -> None:
        self.drop(count)
        self.push(name, kind)

    def keep(self, name: str) -> None:
        """A variable is about to change: operands that are its old value move out of the way."""
        for position, known in enumerate(self.state.names):
            if known == name:
                self.line(f"k{position} = {name}")
                self.state.names[position] = f"k{position}"

    def slow(self, text: str, count: int, kind: str | None) -> None:
        """Have an operation of the machine do the instruction: it takes `count` operands and makes one, or none."""
        self.slowly(text, count, [] if kind is None else [(self.temporary(), kind)])

    def slowly(self, text: str, count: int, made: list[tuple[str, str]], *, several: bool = False) -> None:
        """As `slow`, with names and kinds of what is made, the deepest first; `several` are made as a list.

        An operation may take any memory and fuel; what it spends beyond what is paid ends the slice behind it.
        """
        left = self.paid - 1
        self.line(f"R.fuel = fuel + {left}; R.memory = mem" if left else "R.fuel = fuel; R.memory = mem")
        names = [name for name, _ in made]
        target = f"({''.join(f'{name}, ' for name in names)}) = " if several else "".join(f"{n} = " for n in names)
        self.line(target + text, self.within(Mode.METER))
        self.line(f"fuel = R.fuel - {left}; mem = R.memory" if left else "fuel = R.fuel; mem = R.memory")
        self.drop(count)
        for name, kind in made:
            self.push(name, kind)
        self.after(left)

    def after(self, left: int) -> None:
        """Stop behind the instruction where it has used fuel that is paid for later ones."""
        with self.deeper("if fuel < 0:"):
            self.line("raise S", Row(self.at + 1, tuple(self.state.names), left, Mode.BEFORE))

    def object(self, name: str, value: Any) -> str:
        """A variable of the namespace with a value of ours."""
        self.context.namespace[name] = value
        return name

    def constant(self, index: int) -> str:
        """A variable with a constant of the program."""
        value = self.context.program.constants[index]
        if value is None or value is True or value is False:
            return str(value)
        return self.object(f"c{index}", value)

    def changed(self) -> None:
        """Locals have changed where an exception may go to a handler."""
        if self.block.trap >= 0:
            self.trapped.append((self.block.trap, list(self.state.locals)))

    @staticmethod
    def joined(one: list[str], other: list[str], loops: frozenset[int]) -> list[str]:
        """Kinds of locals on two ways."""
        return [
            a if a == b else "*" if local in loops else join(a, b)
            for local, (a, b) in enumerate(zip(one, other, strict=True))
        ]
