"""The tables of a program under construction, and the code of one function."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from sojourn.vm.op import BUILTINS, EXCEPTIONS, ISA, MAX_OPERAND, METHODS, Op, Operand, pack
from sojourn.vm.program import CONTRACT, Function, Program, Scalar, constant_of
from sojourn.vm.shape import Shape

__all__ = ["FunctionCode", "ModuleTables", "Signature", "Site"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a call needs to know of a function of the module."""

    index: int
    node: ast.FunctionDef
    entry: bool


@dataclass(frozen=True, slots=True)
class Site:
    """A place that the check of the two worlds looks at.

    Attributes:
        kind: `call`, `private` or `effect`.
        target: name of the function or effect.
    """

    kind: str
    target: str
    node: ast.AST


@dataclass(slots=True)
class ModuleTables:
    """Constants, names and shapes that the functions of a program share, in order of first use."""

    file: str
    functions: dict[str, Signature] = field(default_factory=dict)
    literals: dict[str, ast.expr] = field(default_factory=dict)
    constants: dict[tuple[str, str], tuple[int, Scalar]] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    shapes: dict[Shape, int] = field(default_factory=dict)

    def constant(self, value: Scalar) -> int:
        """Index of a scalar; 1, True, 1.0, 0.0 and -0.0 are five constants."""
        text = (
            hex(value) if isinstance(value, int) else value.hex() if isinstance(value, float | bytes) else ascii(value)
        )
        key = (type(value).__name__, text)
        return self.constants.setdefault(key, (len(self.constants), value))[0]

    def name(self, name: str) -> int:
        """Index of a name."""
        return self.names.setdefault(name, len(self.names))

    def shape(self, positional: int, names: tuple[str, ...]) -> int:
        """Index of a call shape."""
        return self.shapes.setdefault(Shape(positional, names), len(self.shapes))

    def program(self, functions: list[Function]) -> Program:
        """The record."""
        entries = tuple(signature.index for signature in self.functions.values() if signature.entry)
        constants = tuple(constant_of(value) for _, value in self.constants.values())
        return Program(CONTRACT, entries, tuple(functions), constants, tuple(self.names), tuple(self.shapes))


class FunctionCode:
    """Instructions, lines and locals of one function."""

    def __init__(self, params: list[str]) -> None:
        self.words: list[tuple[int, int, int]] = []
        self.lines: list[int] = []
        self.locals = {name: position for position, name in enumerate(params)}
        self.line = 1
        self.hidden = 0

    def emit(self, op: Op, a: int = 0, b: int = 0) -> int:
        """Add an instruction; returns its position."""
        if max(a, b) > MAX_OPERAND:
            raise OverflowError(op.name)
        self.words.append((op, a, b))
        self.lines.append(self.line)
        return len(self.words) - 1

    @property
    def here(self) -> int:
        """Position of the next instruction."""
        return len(self.words)

    def land(self, *jumps: int) -> None:
        """Let jumps that were emitted before lead to the next instruction."""
        for at in jumps:
            op, a, b = self.words[at]
            spec = ISA[op]
            self.words[at] = (op, a, self.here) if spec.b is Operand.TARGET else (op, self.here, b)

    def slot(self, name: str) -> int:
        """Position of a variable."""
        return self.locals.setdefault(name, len(self.locals))

    def loop_slot(self) -> int:
        """A hidden local for a loop's iterator."""
        self.hidden += 1
        return self.slot(f".{self.hidden}")

    def function(self, name: str, params: int, defaults: tuple[int, ...]) -> Function:
        """The record."""
        code = tuple(pack(*word) for word in self.words)
        return Function(name, params, defaults, tuple(self.locals), code, tuple(self.lines))


BUILTIN_NUMBERS = {name: number for number, name in enumerate(BUILTINS)}
METHOD_NUMBERS = {name: number for number, name in enumerate(METHODS)}
EXCEPTION_NUMBERS = {name: number for number, name in enumerate(EXCEPTIONS)}
