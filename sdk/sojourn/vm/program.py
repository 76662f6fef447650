"""The program record: canonical, and identified by the hash of its bytes.

A program holds no path and no comment, so that the same code has the same identity wherever it was compiled.
`CONTRACT` stamps the whole execution contract (instruction set, semantics, cost tables, effects table): a host that
implements another one refuses the program.
"""

from __future__ import annotations

from typing import ClassVar, Final

from sojourn.codec import Kind, Record, decode, digest, encode
from sojourn.errors import ProgramInvalid
from sojourn.limits import MAX_PROGRAM_BYTES
from sojourn.vm.shape import Shape

__all__ = [
    "COMPUTED",
    "CONTRACT",
    "NAMED",
    "REQUIRED",
    "REST",
    "BigInt",
    "BytesConstant",
    "Constant",
    "Function",
    "Handler",
    "Program",
    "Scalar",
    "TupleConstant",
    "big_bytes",
    "constant_of",
    "value_of",
    "values_of",
]

CONTRACT: Final = 1
SMALL: Final = 1 << 63

REST: Final = 1  # flag: further positional arguments are taken
NAMED: Final = 2  # flag: further named arguments are taken
COMPUTED: Final = -1  # a default that is computed where the function value is made
REQUIRED: Final = -2  # no default
MAX_TUPLE_CONSTANT: Final = 256


class BigInt(Record, frozen=True, tag=1):
    """An integer outside 64 bits: two's complement, big endian, no byte more than needed."""

    data: bytes


class BytesConstant(Record, frozen=True, tag=2):
    """A bytes literal."""

    data: bytes


class TupleConstant(Record, frozen=True, tag=3):
    """A tuple of constants, by their indices, each less than this one's. It is only the default of a parameter."""

    items: tuple[int, ...]


Constant = None | bool | int | float | str | BigInt | BytesConstant | TupleConstant
Scalar = None | bool | int | float | str | bytes


class Handler(Record, frozen=True):
    """A row of a function's handler table; of rows that cover an instruction the first one counts.

    Attributes:
        start, end: instructions `start` to `end - 1` are covered.
        target: where control goes on, with an empty stack.
        slot: the local that takes the exception.
    """

    start: int
    end: int
    target: int
    slot: int


class Function(Record, frozen=True):
    """One function.

    Its first locals are, in order: `params` parameters, `keyword_only` more that are given by name only, one for
    further positional arguments (flag `REST`), one for further named ones (flag `NAMED`).

    Attributes:
        name: qualified, as CPython's messages have it: `outer.<locals>.inner`.
        params: number of parameters.
        keyword_only: number of parameters that are given by name only.
        flags: `REST`, `NAMED`, or both.
        defaults: of the last parameters: constant indices, or `COMPUTED` for those that the CLOSURE instruction
            finds on the stack.
        keyword_defaults: one for each keyword-only parameter: as above, or `REQUIRED`.
        locals: names of the variables; those after a full stop only tell equal names apart, hidden ones begin with it.
        cells: locals that live in a cell of their own, made when a frame begins.
        free: locals that hold cells of the function value.
        captures: for each of `free`, the local of the function around this one whose cell it is.
        handlers: the handler table.
        code: packed instructions.
        lines: source line of each instruction; 0 for code that the compiler brought along.
        module: which of the program's modules the function stands in: 0 is its own file, 1 the first of its table.
    """

    name: str
    params: int
    keyword_only: int
    flags: int
    defaults: tuple[int, ...]
    keyword_defaults: tuple[int, ...]
    locals: tuple[str, ...]
    cells: tuple[int, ...]
    free: tuple[int, ...]
    captures: tuple[int, ...]
    handlers: tuple[Handler, ...]
    code: tuple[int, ...]
    lines: tuple[int, ...]
    module: int = 0

    @property
    def named(self) -> tuple[str, ...]:
        """The parameters that have a name: positional ones, then keyword-only ones."""
        return self.locals[: self.params + self.keyword_only]

    @property
    def arguments(self) -> int:
        """How many locals a call fills."""
        return self.params + self.keyword_only + bool(self.flags & REST) + bool(self.flags & NAMED)

    @property
    def computed(self) -> int:
        """How many defaults the CLOSURE instruction finds on the stack."""
        return self.defaults.count(COMPUTED) + self.keyword_defaults.count(COMPUTED)


class Program(Record, frozen=True):
    """Compiled modules. `entries` are the indices of the functions that an order may start.

    `modules` names the modules beside the program's own file that functions stand in: dotted ASCII names, no path of
    a machine, in ascending order, each used; a package's own ends with `.__init__`.
    """

    KIND: ClassVar[int] = Kind.PROGRAM
    contract: int
    entries: tuple[int, ...]
    functions: tuple[Function, ...]
    constants: tuple[Constant, ...]
    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    modules: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The canonical bytes."""
        return encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Program:
        """Decode, without verifying; raises `DecodeError`. Use `sojourn.vm.verify` for what comes from outside."""
        return decode(cls, data, limit=MAX_PROGRAM_BYTES)

    @property
    def digest(self) -> bytes:
        """The program's identity, 32 bytes."""
        return digest(self.encode())


def big_bytes(number: int) -> bytes:
    """Two's complement, big endian, minimal."""
    return number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, "big", signed=True)


def constant_of(value: Scalar | TupleConstant) -> Constant:
    """The encoded form of a scalar."""
    if isinstance(value, bytes):
        return BytesConstant(value)
    if type(value) is int and not -SMALL <= value < SMALL:
        return BigInt(big_bytes(value))
    return value


def values_of(constants: tuple[Constant, ...]) -> tuple[Scalar | tuple[object, ...], ...]:
    """The values that constants stand for; raises as `value_of`."""
    made: list[Scalar | tuple[object, ...]] = []
    sizes: list[int] = []
    for constant in constants:
        if isinstance(constant, TupleConstant):
            if not all(0 <= item < len(made) for item in constant.items):
                raise ProgramInvalid("a tuple constant holds a constant that does not stand before it")
            sizes.append(1 + sum(sizes[item] for item in constant.items))
            if sizes[-1] > MAX_TUPLE_CONSTANT:
                raise ProgramInvalid(f"a tuple constant of more than {MAX_TUPLE_CONSTANT} values")
            made.append(tuple(made[item] for item in constant.items))
        else:
            sizes.append(1)
            made.append(value_of(constant))
    return tuple(made)


def value_of(constant: Constant) -> Scalar:
    """The scalar that a constant stands for.

    Raises:
        ProgramInvalid: not the canonical form of the scalar.
    """
    if isinstance(constant, TupleConstant):
        raise ProgramInvalid("a tuple constant is no scalar")
    if isinstance(constant, BytesConstant):
        return constant.data
    if isinstance(constant, BigInt):
        number = int.from_bytes(constant.data, "big", signed=True)
        if -SMALL <= number < SMALL or big_bytes(number) != constant.data:
            raise ProgramInvalid("a large integer constant is not in its shortest form")
        return number
    if type(constant) is int and not -SMALL <= constant < SMALL:
        raise ProgramInvalid("an integer constant does not fit 64 bits")
    if type(constant) is float and constant != constant:  # noqa: PLR0124 - the test for not-a-number
        raise ProgramInvalid("a constant is not a number")
    return constant
