"""The verifier: what must hold before a single step of a program is taken.

Metered by construction: one pass over the code, one walk over its control-flow graph, one walk over its call graph,
all linear in a program whose size is bounded first. It works out the stack depth of every reachable instruction, so
that a snapshot's frames can be checked, and the effects that each entry can reach, so that a policy can be asked.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from sojourn.codec import digest
from sojourn.errors import MachineError, ProgramInvalid
from sojourn.limits import MAX_CONSTANTS, MAX_INSTRUCTIONS, MAX_NAME_CHARS, MAX_PROGRAM_MODULES
from sojourn.vm.binding import BoundCall, bind_call, bind_private, limits_of
from sojourn.vm.effects import EFFECTS, bind
from sojourn.vm.formats import MAX_DIGITS, check_format
from sojourn.vm.op import (
    BINARY,
    BUILTINS,
    COMPARE,
    CONVERSIONS,
    EXCEPTIONS,
    EXTENDS,
    ISA,
    METHODS,
    RAISABLE,
    UNARY,
    Arity,
    Op,
    Operand,
    stack_effect,
    unpack,
)
from sojourn.vm.places import is_module_name, module_file, place_of, place_text
from sojourn.vm.program import CONTRACT, NAMED, REST, Function, Program, values_of
from sojourn.vm.reach import Code, reach_of
from sojourn.vm.tables import TYPES
from sojourn.vm.values import Value

__all__ = ["Code", "VerifiedProgram", "verify"]

MAX_FUNCTIONS: Final = 4_096
MAX_LOCALS: Final = 1_024
MAX_STACK: Final = 1_024
MAX_ARGUMENTS: Final = 255
MAX_NESTED_HANDLERS: Final = 64
MAX_CLASSES_CHARS: Final = 1_024  # all classes there are fit

_PLAIN: Final = frozenset((Operand.TARGET, Operand.SHAPE, Operand.NAME, Operand.FUNCTION, Operand.NONE))
# Operations whose arguments or operands say more than the range of a number.
_BINDING: Final = frozenset(
    (
        *(Op.CALL, Op.PRIVATE, Op.PRIVATE_VALUE, Op.SPAWN, Op.FORK, Op.EFFECT),
        *(Op.BUILTIN, Op.METHOD, Op.FORMAT, Op.EXCEPTION, Op.CLOSURE),
    )
)
_BUILTINS: Final = tuple(BUILTINS.values())
_METHODS: Final = tuple(METHODS.values())
_RANGES: Final[dict[Operand, int]] = {
    Operand.NONE: 1,
    Operand.FLAG: 2,
    Operand.COUNT: MAX_STACK,
    Operand.BINARY: len(BINARY),
    Operand.UNARY: len(UNARY),
    Operand.COMPARE: len(COMPARE),
    Operand.BUILTIN: len(BUILTINS),
    Operand.METHOD: len(METHODS),
    Operand.EXCEPTION: len(EXCEPTIONS),
    Operand.KIND: len(EXTENDS),
    Operand.CONVERSION: len(CONVERSIONS),
}


@dataclass(frozen=True, slots=True)
class VerifiedProgram:
    """A program that may run. Only `verify` makes one."""

    program: Program
    digest: bytes
    codes: tuple[Code, ...]
    constants: tuple[Value, ...]
    reach: dict[str, frozenset[str]]

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the functions that an order may start."""
        return tuple(self.reach)

    def effects(self, entry: str) -> frozenset[str]:
        """Names of all effects that a run of `entry` can reach, in its private regions too.

        Raises:
            ProgramInvalid: the program has no such entry.
        """
        if entry not in self.reach:
            raise ProgramInvalid(f"the program has no entry {entry!r}; its entries are {', '.join(self.reach)}")
        return self.reach[entry]

    def entry_index(self, entry: str) -> int:
        """Index of the function behind an entry; raises as `effects` does."""
        self.effects(entry)
        return next(i for i in self.program.entries if self.codes[i].name == entry)

    def where(self, place: int, file: str) -> str:
        """A place of one of its runs as `file:line`, with a name for the program's own file."""
        return place_text(place, self.program.modules, file)

    def __repr__(self) -> str:
        return f"VerifiedProgram({self.digest.hex()[:12]}, entries {', '.join(self.reach)})"


def verify(program_bytes: bytes) -> VerifiedProgram:
    """Decode and verify a program.

    Args:
        program_bytes: untrusted bytes.

    Raises:
        DecodeError: not the canonical encoding of a program record.
        ProgramInvalid: well encoded, but not a program that may run; the message names function and instruction.
        MachineError: this process is set to write fewer digits of an integer than the language has.
    """
    most = sys.get_int_max_str_digits()
    if 0 < most < MAX_DIGITS:
        raise MachineError(
            f"this process writes integers of at most {most} digits, programs have {MAX_DIGITS}; "
            "unset PYTHONINTMAXSTRDIGITS, or set it to 4300 or 0"
        )
    program = Program.decode(program_bytes)
    if program.contract != CONTRACT:
        raise ProgramInvalid(
            f"the program needs execution contract {program.contract}, this host implements {CONTRACT}; recompile it"
        )
    _check_tables(program)
    constants = values_of(program.constants)
    known: _Bound = {}
    checks = [_FunctionCheck(program, function, constants, known) for function in program.functions]
    for check in checks:
        check.frame()  # of all of them first: a call looks at the function that it calls
    codes = tuple(check.code() for check in checks)
    return VerifiedProgram(program, digest(program_bytes), codes, constants, reach_of(program, codes))


def _check_tables(program: Program) -> None:
    functions = program.functions
    if not 0 < len(functions) <= MAX_FUNCTIONS:
        raise ProgramInvalid(f"{len(functions)} functions, 1 to {MAX_FUNCTIONS} are allowed")
    if sum(len(function.code) for function in functions) > MAX_INSTRUCTIONS:
        raise ProgramInvalid(f"more than {MAX_INSTRUCTIONS} instructions")
    if max(len(program.constants), len(program.names), len(program.shapes)) > MAX_CONSTANTS:
        raise ProgramInvalid(f"more than {MAX_CONSTANTS} constants, names or call shapes")
    entries = program.entries
    if not entries or list(entries) != sorted(set(entries)) or not 0 <= entries[0] <= entries[-1] < len(functions):
        raise ProgramInvalid("the list of entries is empty, unordered or points outside of the functions")
    names = [function.name for function in functions]
    if len({names[index] for index in entries}) != len(entries):
        raise ProgramInvalid("two entries have the same name")
    for index in entries:
        function = functions[index]
        if function.arguments != function.params or function.captures or function.computed:
            raise ProgramInvalid(f"the entry {function.name} has other parameters than positional ones")
    for name in (*names, *program.names):
        if not name or len(name) > MAX_NAME_CHARS:
            raise ProgramInvalid(f"a name is empty or longer than {MAX_NAME_CHARS} characters")
    _check_modules(program)
    for shape in program.shapes:
        if shape.positional < 0 or shape.positional > MAX_ARGUMENTS or len(shape.names) > MAX_ARGUMENTS:
            raise ProgramInvalid(f"a call has more than {MAX_ARGUMENTS} arguments")
        if len(set(shape.names)) != len(shape.names):
            raise ProgramInvalid("a call names an argument twice")


def _check_modules(program: Program) -> None:
    """One form of the table for one set of functions: ascending, and nothing that no function stands in."""
    modules = program.modules
    if len(modules) > MAX_PROGRAM_MODULES:
        raise ProgramInvalid(f"{len(modules)} modules, at most {MAX_PROGRAM_MODULES} are allowed")
    for name in modules:
        if not is_module_name(name):
            raise ProgramInvalid("the name of a module is not a dotted name of ASCII letters, digits and _")
    if list(modules) != sorted(set(modules)):
        raise ProgramInvalid("the modules are unordered, or one is named twice")
    used = {function.module for function in program.functions}
    if not 0 <= min(used) <= max(used) <= len(modules):
        raise ProgramInvalid("a function stands in a module that the program does not name")
    if len(used - {0}) != len(modules):
        raise ProgramInvalid("no function stands in one of the modules")


# How calls that were looked at are bound, by operation and operands: a program may make one call many times.
_Bound = dict[tuple[int, int, int], BoundCall | tuple[str, ...] | str]


class _FunctionCheck:
    """The checks of one function."""

    def __init__(self, program: Program, function: Function, constants: tuple[Value, ...], known: _Bound) -> None:
        self.program, self.function, self.constants, self.known = program, function, constants, known
        locals_, count = len(function.locals), len(program.constants)
        self.limits: dict[Operand, int] = {
            **_RANGES,
            Operand.CONST: count,
            Operand.CLASSES: count,
            Operand.CELL: locals_,
            Operand.CLOSURE: len(program.functions),
            Operand.LOCAL: locals_,
            Operand.LOOP: locals_,
            Operand.NAME: len(program.names),
            Operand.EFFECT: len(program.names),
            Operand.TARGET: len(function.code),
            Operand.FUNCTION: len(program.functions),
            Operand.SHAPE: len(program.shapes),
        }
        home = function.module
        self.of = f" of {module_file(program.modules[home - 1])}" if home else ""
        self.captured: set[int] = set()
        self.instructions = tuple(self._instruction(word) for word in function.code)
        self.calls: dict[int, BoundCall] = {}
        self.effects: dict[int, tuple[str, ...]] = {}
        self.loops: set[int] = set()
        self.boxed = frozenset((*function.cells, *function.free))
        self.variables: set[int] = set()

    def _fail(self, at: int, why: str) -> ProgramInvalid:
        return ProgramInvalid(f"function {self.function.name}{self.of}, instruction {at}: {why}")

    def _instruction(self, word: int) -> tuple[int, int, int]:
        if not 0 <= word < 1 << 56:
            raise ProgramInvalid(f"function {self.function.name}{self.of}: an instruction does not fit 56 bits")
        return unpack(word)

    def code(self) -> Code:
        """Check everything behind `frame` and return the function ready to run."""
        function = self.function
        self.variables = set(range(function.arguments)) - self.boxed
        for at, (op, a, b) in enumerate(self.instructions):
            spec = ISA.get(op)
            if spec is None:
                raise self._fail(at, f"unknown operation {op}")
            if a or spec.a:
                self._operand(at, spec.a, a)
            if b or spec.b:
                self._operand(at, spec.b, b)
            if op in _BINDING:
                self._call(at, op, a, b)
        if self.loops & (self.variables | self.boxed) or self.variables & self.boxed:
            raise self._fail(0, "a local holds both an iterator and a value, or both a cell and a value")
        handler_at = self._handlers()
        depth = self._depths()
        defaults = (*function.defaults, *function.keyword_defaults)
        return Code(
            name=function.name,
            params=function.params,
            keyword_only=function.keyword_only,
            flags=function.flags,
            defaults=function.defaults,
            keyword_defaults=function.keyword_defaults,
            constant_defaults=tuple(self.constants[index] if index >= 0 else None for index in defaults),
            locals=function.locals,
            cells=function.cells,
            free=function.free,
            captures=function.captures,
            instructions=self.instructions,
            lines=self._places(),
            depth=depth,
            most=max(depth),
            loops=frozenset(self.loops),
            boxed=self.boxed,
            handlers=function.handlers,
            handler_at=handler_at,
            calls=self.calls,
            effects=self.effects,
        )

    def _places(self) -> tuple[int, ...]:
        module, lines = self.function.module, self.function.lines
        return tuple([place_of(module, line) for line in lines]) if module else lines

    def frame(self) -> None:
        """Check what the function says of itself: parameters, locals, defaults, cells."""
        function = self.function
        if not function.code or len(function.lines) != len(function.code):
            raise self._fail(0, "no code, or not one source line for each instruction")
        if not 0 <= min(function.lines) <= max(function.lines) <= MAX_INSTRUCTIONS:
            raise self._fail(0, "a source line is out of range")
        if min(function.params, function.keyword_only) < 0 or not 0 <= function.flags <= REST | NAMED:
            raise self._fail(0, "a number of parameters is negative, or an unknown flag is set")
        if function.arguments > min(len(function.locals), MAX_ARGUMENTS) or len(function.locals) > MAX_LOCALS:
            raise self._fail(0, f"more than {MAX_LOCALS} locals or {MAX_ARGUMENTS} parameters")
        if len(set(function.locals)) != len(function.locals):
            raise self._fail(0, "two locals have the same name")
        if any(not name or len(name) > MAX_NAME_CHARS for name in function.locals):
            raise self._fail(0, f"the name of a local is empty or longer than {MAX_NAME_CHARS} characters")
        count = len(self.constants)
        if len(function.defaults) > function.params or not all(-1 <= index < count for index in function.defaults):
            raise self._fail(0, "a default is not a constant of the program")
        if len(function.keyword_defaults) != function.keyword_only or not all(
            -2 <= index < count for index in function.keyword_defaults
        ):
            raise self._fail(0, "a default is not a constant of the program, or not one for each parameter")
        self._cells()

    def _cells(self) -> None:
        function = self.function
        both = (*function.cells, *function.free)
        if len(set(both)) != len(both) or any(not 0 <= local < len(function.locals) for local in both):
            raise self._fail(0, "a cell is no local of the function, or named twice")
        if list(function.cells) != sorted(function.cells) or any(local < function.arguments for local in function.free):
            raise self._fail(0, "the cells are unordered, or a parameter is a variable of another function")
        if len(function.free) != len(function.captures):
            raise self._fail(0, "not one captured cell for each variable of another function")

    def _handlers(self) -> tuple[int, ...]:
        """The handler that counts for each instruction; metered by the depth of nesting."""
        function, count = self.function, len(self.instructions)
        covered = sum(max(row.end - row.start, 0) for row in function.handlers)
        if len(function.handlers) > count or covered > count * MAX_NESTED_HANDLERS:
            raise self._fail(0, f"handlers are nested deeper than {MAX_NESTED_HANDLERS}")
        found = [-1] * count
        for index in range(len(function.handlers) - 1, -1, -1):
            row = function.handlers[index]
            if not 0 <= row.start < row.end <= count or not 0 <= row.target < count:
                raise self._fail(0, "a handler covers or leads to what is no instruction")
            if not 0 <= row.slot < len(function.locals) or row.slot in self.boxed or row.slot in self.loops:
                raise self._fail(0, "the exception of a handler has no local")
            found[row.start : row.end] = [index] * (row.end - row.start)
        return tuple(found)

    def _operand(self, at: int, kind: Operand, operand: int) -> None:
        program = self.program
        if operand >= self.limits[kind]:
            raise self._fail(at, f"operand {operand} is not a {kind.name.lower()} of this program")
        if kind in _PLAIN:
            return
        if kind is Operand.LOCAL:
            self.variables.add(operand)
        elif kind is Operand.CELL and operand not in self.boxed:
            raise self._fail(at, "a local that holds no cell is used as one")
        elif kind is Operand.CONST and type(self.constants[operand]) is tuple:
            raise self._fail(at, "a tuple constant is not loaded")
        elif kind is Operand.CLASSES:
            self._classes(at, self.constants[operand])
        elif kind is Operand.CLOSURE and operand not in self.captured:
            self.captured.add(operand)
            captures = program.functions[operand].captures
            if any(local not in self.boxed for local in captures):
                raise self._fail(at, "a function is made where the variables that it shares are not")
        elif kind is Operand.LOOP:
            self.loops.add(operand)
        elif kind is Operand.EFFECT and program.names[operand] not in EFFECTS:
            raise self._fail(at, f"unknown effect {program.names[operand]!r}")

    def _classes(self, at: int, names: Value) -> None:
        if (
            type(names) is not str
            or len(names) > MAX_CLASSES_CHARS
            or not all(name in TYPES or name in EXCEPTIONS for name in names.split(" "))
        ):
            raise self._fail(at, "a test for a class that the language does not have")

    def _call(self, at: int, op: int, a: int, b: int) -> None:
        program = self.program
        bound: BoundCall | tuple[str, ...] | tuple[int, int] | str = self.known.get((op, a, b), ())
        if bound:
            pass
        elif op == Op.CALL:
            bound = bind_call(program.functions[a], program.shapes[b])
        elif op == Op.PRIVATE:
            bound = bind_private(program.functions[a], program.shapes[b])
        elif op in (Op.PRIVATE_VALUE, Op.SPAWN, Op.FORK):
            bound = limits_of(program.shapes[b])
            if not isinstance(bound, str):
                if op == Op.FORK and program.shapes[b].positional:
                    raise self._fail(at, "fork() takes fuel= and memory= only")
                bound = BoundCall((), program.shapes[b].total, bound)
        elif op == Op.EFFECT:
            spec = EFFECTS[program.names[a]]
            bound = f"{spec.name} has a form of its own" if spec.hidden else bind(spec, program.shapes[b])
        else:
            self._operation(at, op, a, b)
        if isinstance(bound, str):
            raise self._fail(at, bound)
        if isinstance(bound, BoundCall):
            self.calls[at] = self.known[op, a, b] = bound
        elif op == Op.EFFECT:
            self.effects[at] = self.known[op, a, b] = tuple([str(name) for name in bound])

    def _operation(self, at: int, op: int, a: int, b: int) -> None:
        program = self.program
        if op in (Op.BUILTIN, Op.METHOD):
            arity = (_BUILTINS if op == Op.BUILTIN else _METHODS)[a]
            shape = program.shapes[b]
            if not _fits(arity, shape.positional, shape.names):
                raise self._fail(at, "a builtin or method is called with arguments that it does not take")
        elif op == Op.FORMAT:
            spec = self.constants[a]
            if type(spec) is not str or check_format(spec) is not None:
                raise self._fail(at, "not a format that this language has")
        elif op == Op.EXCEPTION and EXCEPTIONS[a] not in RAISABLE:
            raise self._fail(at, f"a program does not raise {EXCEPTIONS[a]}")
        elif op == Op.CLOSURE and b != program.functions[a].computed:
            raise self._fail(at, "not as many values as the function has computed defaults")

    def _depths(self) -> tuple[int, ...]:
        count = len(self.instructions)
        depth = [-1] * count
        work = [(0, 0), *((row.target, 0) for row in self.function.handlers)]
        while work:
            at, level = work.pop()
            while True:
                if at >= count:
                    raise self._fail(count - 1, "control runs off the end of the function")
                if depth[at] >= 0:
                    if depth[at] != level:
                        raise self._fail(at, f"the stack holds {depth[at]} or {level} values")
                    break
                depth[at] = level
                op, a, b = self.instructions[at]
                pops, pushes = stack_effect(op, a, b, self.program.shapes)
                if pops > level:
                    raise self._fail(at, f"takes {pops} values, the stack holds {level}")
                level += pushes - pops
                if level > MAX_STACK:
                    raise self._fail(at, f"more than {MAX_STACK} values on the stack")
                spec = ISA[op]
                if spec.on_jump is not None:
                    work.append((b if spec.b is Operand.TARGET else a, level + spec.on_jump))
                if spec.ends:
                    break
                at += 1
        return tuple(depth)


def _fits(arity: Arity, positional: int, names: tuple[str, ...]) -> bool:
    known = "*" in arity.keywords or all(name in arity.keywords for name in names)
    return known and arity.least <= positional <= arity.most
