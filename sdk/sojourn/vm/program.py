"""The program record: canonical, and identified by the hash of its bytes.

A program holds no file name and no comment, so that the same code has the same identity wherever it was compiled.
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
    "CONTRACT",
    "BigInt",
    "BytesConstant",
    "Constant",
    "Function",
    "Program",
    "Scalar",
    "big_bytes",
    "constant_of",
    "value_of",
]

CONTRACT: Final = 1
SMALL: Final = 1 << 63


class BigInt(Record, frozen=True, tag=1):
    """An integer outside 64 bits: two's complement, big endian, no byte more than needed."""

    data: bytes


class BytesConstant(Record, frozen=True, tag=2):
    """A bytes literal."""

    data: bytes


Constant = None | bool | int | float | str | BigInt | BytesConstant
Scalar = None | bool | int | float | str | bytes


class Function(Record, frozen=True):
    """One function.

    Attributes:
        name: as in the source.
        params: number of parameters; they are the first locals.
        defaults: constant indices of the last parameters' defaults.
        locals: names of the variables; hidden ones begin with a full stop.
        code: packed instructions.
        lines: source line of each instruction.
    """

    name: str
    params: int
    defaults: tuple[int, ...]
    locals: tuple[str, ...]
    code: tuple[int, ...]
    lines: tuple[int, ...]


class Program(Record, frozen=True):
    """A compiled module. `entries` are the indices of the functions that an order may start."""

    KIND: ClassVar[int] = Kind.PROGRAM
    contract: int
    entries: tuple[int, ...]
    functions: tuple[Function, ...]
    constants: tuple[Constant, ...]
    names: tuple[str, ...]
    shapes: tuple[Shape, ...]

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


def constant_of(value: Scalar) -> Constant:
    """The encoded form of a scalar."""
    if isinstance(value, bytes):
        return BytesConstant(value)
    if type(value) is int and not -SMALL <= value < SMALL:
        return BigInt(big_bytes(value))
    return value


def value_of(constant: Constant) -> Scalar:
    """The scalar that a constant stands for.

    Raises:
        ProgramInvalid: not the canonical form of the scalar.
    """
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
