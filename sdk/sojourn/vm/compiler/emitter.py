"""The tables of a program under construction, and the code of one function."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sojourn.limits import MAX_INSTRUCTIONS
from sojourn.vm.op import BUILTINS, EXCEPTIONS, ISA, METHODS, Op, Operand, pack
from sojourn.vm.program import CONTRACT, Constant, Function, Handler, Program, Scalar, TupleConstant, constant_of
from sojourn.vm.shape import Shape
from sojourn.vm.verifier import MAX_FUNCTIONS

__all__ = ["FunctionCode", "ModuleNames", "ProgramTables", "Signature", "Site"]

# Instructions and statements written out: literals where they are used, a `finally` for each way out of it. A source
# that stays below makes at most about the largest program, however its parts multiply each other.
MAX_WORK: Final = MAX_INSTRUCTIONS  # so that every operand fits its bits


@dataclass(frozen=True, slots=True)
class Signature:
    """What a call needs to know of a function of a module.

    Attributes:
        index: of the function in the program.
        module: the module that it stands in.
    """

    index: int
    node: ast.FunctionDef
    entry: bool
    module: ModuleNames


@dataclass(frozen=True, slots=True)
class Site:
    """A place that the check of the two worlds looks at.

    Attributes:
        kind: `call`, `private` or `effect`.
        target: name of the function or effect.
        function: the function that is called or started.
    """

    kind: str
    target: str
    node: ast.AST
    function: ast.FunctionDef | None = None


@dataclass(eq=False, slots=True)
class ModuleNames:
    """What names mean in one module.

    Attributes:
        tables: of the program.
        name: of the module, dotted; empty for a text that nothing can import.
        file: how refusals name it.
        functions: its own, and those that it imports, by the names that they have here.
        literals: the same of `NAME = literal`.
        foreign: the literals that it imports: lines in them are another file's.
        modules: the modules that it imports, by the dotted names that they have here.
        heads: the first parts of those names.
        number: in the program's table of modules; 0 for the program's own file.
        imported: where an installed module is imported: file and statement. It may turn out to be a library.
    """

    tables: ProgramTables
    name: str
    file: str
    functions: dict[str, Signature] = field(default_factory=dict)
    literals: dict[str, ast.expr] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    modules: dict[str, ModuleNames] = field(default_factory=dict)
    heads: set[str] = field(default_factory=set)
    number: int = 0
    imported: tuple[str, ast.AST] | None = None

    def begins_module(self, name: str) -> bool:
        """Whether a name without a full stop is that of an imported module, or of a package around one."""
        return name in self.heads

    def bind_module(self, dotted: str, target: ModuleNames) -> None:
        """Give an imported module a name."""
        self.modules[dotted] = target
        self.heads.add(dotted.partition(".")[0])


@dataclass(slots=True)
class ProgramTables:
    """Constants, names and shapes that the functions of a program share, in order of first use.

    Attributes:
        signatures: functions of the modules, by their index.
        sites: of each function that was compiled, with the file that it stands in.
    """

    places: dict[tuple[str, str], int] = field(default_factory=dict)
    constants: list[Constant] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    shapes: dict[Shape, int] = field(default_factory=dict)
    signatures: list[Signature] = field(default_factory=list)
    modules: tuple[str, ...] = ()
    inner: list[Function | None] = field(default_factory=list)
    library: dict[str, int] = field(default_factory=dict)
    sites: dict[ast.AST, tuple[str, list[Site]]] = field(default_factory=dict)
    work: int = 0
    compile_library: Callable[[str], int] | None = None

    def library_function(self, name: str) -> int:
        """Index of a function of the library, which becomes part of the program with its first use."""
        if name not in self.library and self.compile_library is not None:
            self.library[name] = self.compile_library(name)
        return self.library[name]

    def charge(self, work: int = 1) -> None:
        """Count what is written out."""
        self.work += work
        if self.work > MAX_WORK:
            raise OverflowError(f"more than {MAX_WORK} instructions and statements when everything is written out")

    def reserve(self) -> int:
        """Index of a further function: one inside of another, or of the library."""
        if len(self.signatures) + len(self.inner) >= MAX_FUNCTIONS:
            raise OverflowError(f"more than {MAX_FUNCTIONS} functions")
        self.inner.append(None)
        return len(self.signatures) + len(self.inner) - 1

    def complete(self, index: int, function: Function) -> None:
        """The function that an index was reserved for."""
        self.inner[index - len(self.signatures)] = function

    def constant(self, value: Scalar) -> int:
        """Index of a scalar; 1, True, 1.0, 0.0 and -0.0 are five constants."""
        text = (
            hex(value) if isinstance(value, int) else value.hex() if isinstance(value, float | bytes) else ascii(value)
        )
        return self._constant((type(value).__name__, text), constant_of(value))

    def default(self, value: Scalar | tuple[object, ...]) -> int:
        """Index of the default of a parameter, which may be a tuple."""
        if not isinstance(value, tuple):
            return self.constant(value)
        items = tuple([self.default(item) for item in value])  # type: ignore[arg-type]
        return self._constant(("tuple", repr(items)), TupleConstant(items))

    def _constant(self, key: tuple[str, str], constant: Constant) -> int:
        found = self.places.setdefault(key, len(self.places))
        if found == len(self.constants):
            self.constants.append(constant)
        return found

    def name(self, name: str) -> int:
        """Index of a name."""
        return self.names.setdefault(name, len(self.names))

    def shape(self, positional: int, names: tuple[str, ...]) -> int:
        """Index of a call shape."""
        return self.shapes.setdefault(Shape(positional, names), len(self.shapes))

    def program(self, functions: list[Function]) -> Program:
        """The record."""
        entries = tuple(signature.index for signature in self.signatures if signature.entry)
        inner = [function for function in self.inner if function is not None]
        return Program(
            CONTRACT,
            entries,
            (*functions, *inner),
            tuple(self.constants),
            tuple(self.names),
            tuple(self.shapes),
            self.modules,
        )


class FunctionCode:
    """Instructions, lines and locals of one function."""

    def __init__(self, params: list[str], charge: Callable[[], None]) -> None:
        self.charge = charge
        self.words: list[tuple[int, int, int]] = []
        self.lines: list[int] = []
        self.locals = {name: position for position, name in enumerate(params)}
        self.line = 1
        self.hidden = 0
        self.cells: set[int] = set()
        self.handlers: list[Handler] = []

    def emit(self, op: Op, a: int = 0, b: int = 0) -> int:
        """Add an instruction; returns its position."""
        self.charge()
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

    def hidden_slot(self) -> int:
        """A local without a name in the source: a loop's iterator, an exception, a result on its way out."""
        self.hidden += 1
        return self.slot(f".{self.hidden}")

    def packed(self) -> tuple[int, ...]:
        """The instructions."""
        return tuple([pack(*word) for word in self.words])

    def guard(self, ranges: list[tuple[int, int]], slot: int) -> None:
        """Let exceptions in these ranges of instructions go on at the next instruction."""
        self.handlers.extend(Handler(start, end, self.here, slot) for start, end in ranges if start < end)


BUILTIN_NUMBERS = {name: number for number, name in enumerate(BUILTINS)}
METHOD_NUMBERS = {name: number for number, name in enumerate(METHODS)}
EXCEPTION_NUMBERS = {name: number for number, name in enumerate(EXCEPTIONS)}
