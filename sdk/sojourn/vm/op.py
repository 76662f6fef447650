"""The instruction set: one table that compiler, verifier, machine and disassembler share.

An instruction is one integer: `op | a << 8 | b << 32`; op has 8 bits, operands have 24 each. Every number here (of
operations, operators, builtins, methods, exceptions) is part of the program format: never renumber, add at the end.

Box rule of the table: stack traffic, displays, calls, effects and regions move a box; every other operation that
meets a box raises TypeError.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from sojourn.vm.shape import Shape

__all__ = [
    "BINARY",
    "BUILTINS",
    "COMPARE",
    "CONVERSIONS",
    "EXCEPTIONS",
    "ISA",
    "MAX_OPERAND",
    "METHODS",
    "RAISABLE",
    "UNARY",
    "Arity",
    "Op",
    "OpSpec",
    "Operand",
    "pack",
    "stack_effect",
    "unpack",
]

MAX_OPERAND: Final = (1 << 24) - 1


class Op(IntEnum):
    """Operation numbers."""

    CONST = 1
    LOAD = 2
    STORE = 3
    CLEAR = 4
    POP = 5
    DUP = 6
    DUP2 = 7
    ROT3 = 8
    ROT2 = 9
    BINARY = 16
    INPLACE = 17
    UNARY = 18
    NOT = 19
    COMPARE = 20
    IS_NONE = 21
    JUMP = 32
    JUMP_IF_FALSE = 33
    JUMP_IF_TRUE = 34
    JUMP_IF_FALSE_OR_POP = 35
    JUMP_IF_TRUE_OR_POP = 36
    ITER = 37
    NEXT = 38
    TUPLE = 48
    LIST = 49
    DICT = 50
    INDEX = 51
    SLICE = 52
    STORE_INDEX = 53
    DELETE_INDEX = 54
    UNPACK = 55
    ATTRIBUTE = 56
    FORMAT = 57
    JOIN = 58
    CALL = 64
    BUILTIN = 65
    METHOD = 66
    RETURN = 67
    RAISE = 68
    EFFECT = 69
    PRIVATE = 70


class Operand(IntEnum):
    """What an operand's number means; the verifier checks its range by this."""

    NONE = 0
    CONST = 1  # index of a constant
    LOCAL = 2  # index of a variable
    LOOP = 3  # index of a local that only holds a loop's iterator
    NAME = 4  # index of a name
    TARGET = 5  # index of an instruction of the same function
    COUNT = 6  # number of values on the stack
    FUNCTION = 7  # index of a function
    SHAPE = 8  # index of a call shape
    BINARY = 9
    UNARY = 10
    COMPARE = 11
    BUILTIN = 12
    METHOD = 13
    EXCEPTION = 14
    FLAG = 15  # 0 or 1
    CONVERSION = 16
    EFFECT = 17  # index of a name that is an effect's


class Pops(IntEnum):
    """Counts that depend on an operand, as negative numbers beside plain counts."""

    A = -1
    TWICE_A = -2
    SHAPE = -3
    SHAPE_AND_ONE = -4
    B = -5


class OpSpec(NamedTuple):
    """One row of the table.

    Attributes:
        a, b: meaning of the operands.
        pops, pushes: stack effect when control goes on to the next instruction (`Pops` where an operand says).
        on_jump: how the depth at the target differs from the depth at the next instruction; None if it cannot jump.
        ends: control does not go on to the next instruction.
    """

    a: Operand = Operand.NONE
    b: Operand = Operand.NONE
    pops: int = 0
    pushes: int = 0
    on_jump: int | None = None
    ends: bool = False


ISA: Final[dict[int, OpSpec]] = {
    Op.CONST: OpSpec(Operand.CONST, pushes=1),
    Op.LOAD: OpSpec(Operand.LOCAL, pushes=1),
    Op.STORE: OpSpec(Operand.LOCAL, pops=1),
    Op.CLEAR: OpSpec(Operand.LOOP),
    Op.POP: OpSpec(pops=1),
    Op.DUP: OpSpec(pops=1, pushes=2),
    Op.DUP2: OpSpec(pops=2, pushes=4),
    Op.ROT3: OpSpec(pops=3, pushes=3),
    Op.ROT2: OpSpec(pops=2, pushes=2),
    Op.BINARY: OpSpec(Operand.BINARY, pops=2, pushes=1),
    Op.INPLACE: OpSpec(Operand.BINARY, pops=2, pushes=1),
    Op.UNARY: OpSpec(Operand.UNARY, pops=1, pushes=1),
    Op.NOT: OpSpec(pops=1, pushes=1),
    Op.COMPARE: OpSpec(Operand.COMPARE, pops=2, pushes=1),
    Op.IS_NONE: OpSpec(Operand.FLAG, pops=1, pushes=1),
    Op.JUMP: OpSpec(Operand.TARGET, on_jump=0, ends=True),
    Op.JUMP_IF_FALSE: OpSpec(Operand.TARGET, pops=1, on_jump=0),
    Op.JUMP_IF_TRUE: OpSpec(Operand.TARGET, pops=1, on_jump=0),
    Op.JUMP_IF_FALSE_OR_POP: OpSpec(Operand.TARGET, pops=1, on_jump=1),
    Op.JUMP_IF_TRUE_OR_POP: OpSpec(Operand.TARGET, pops=1, on_jump=1),
    Op.ITER: OpSpec(Operand.LOOP, pops=1),
    Op.NEXT: OpSpec(Operand.LOOP, Operand.TARGET, pushes=1, on_jump=-1),
    Op.TUPLE: OpSpec(Operand.COUNT, pops=Pops.A, pushes=1),
    Op.LIST: OpSpec(Operand.COUNT, pops=Pops.A, pushes=1),
    Op.DICT: OpSpec(Operand.COUNT, pops=Pops.TWICE_A, pushes=1),
    Op.INDEX: OpSpec(pops=2, pushes=1),
    Op.SLICE: OpSpec(pops=4, pushes=1),
    Op.STORE_INDEX: OpSpec(pops=3),
    Op.DELETE_INDEX: OpSpec(pops=2),
    Op.UNPACK: OpSpec(Operand.COUNT, pops=1, pushes=Pops.A),
    Op.ATTRIBUTE: OpSpec(Operand.NAME, pops=1, pushes=1),
    Op.FORMAT: OpSpec(Operand.CONST, Operand.CONVERSION, pops=1, pushes=1),
    Op.JOIN: OpSpec(Operand.COUNT, pops=Pops.A, pushes=1),
    Op.CALL: OpSpec(Operand.FUNCTION, Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
    Op.BUILTIN: OpSpec(Operand.BUILTIN, Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
    Op.METHOD: OpSpec(Operand.METHOD, Operand.SHAPE, pops=Pops.SHAPE_AND_ONE, pushes=1),
    Op.RETURN: OpSpec(pops=1, ends=True),
    Op.RAISE: OpSpec(Operand.EXCEPTION, Operand.COUNT, pops=Pops.B, ends=True),
    Op.EFFECT: OpSpec(Operand.EFFECT, Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
    Op.PRIVATE: OpSpec(Operand.FUNCTION, Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
}

BINARY: Final = ("+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>")
UNARY: Final = ("-", "+", "~")
COMPARE: Final = ("==", "!=", "<", "<=", ">", ">=", "in", "not in")
CONVERSIONS: Final = ("", "s", "r")


class Arity(NamedTuple):
    """How a builtin or method may be called: counts of positional arguments, and the keywords it knows."""

    least: int
    most: int
    keywords: tuple[str, ...] = ()


MANY: Final = 255

BUILTINS: Final[dict[str, Arity]] = {
    "abs": Arity(1, 1),
    "all": Arity(1, 1),
    "any": Arity(1, 1),
    "bool": Arity(0, 1),
    "dict": Arity(0, 1, ("*",)),
    "enumerate": Arity(1, 2, ("start",)),
    "float": Arity(0, 1),
    "int": Arity(0, 2),
    "len": Arity(1, 1),
    "list": Arity(0, 1),
    "max": Arity(1, MANY, ("default",)),
    "min": Arity(1, MANY, ("default",)),
    "range": Arity(1, 3),
    "repr": Arity(1, 1),
    "round": Arity(1, 2),
    "sorted": Arity(1, 1, ("reverse",)),
    "str": Arity(0, 1),
    "sum": Arity(1, 2, ("start",)),
    "tuple": Arity(0, 1),
    "zip": Arity(0, MANY),
}

METHODS: Final[dict[str, Arity]] = {
    "append": Arity(1, 1),
    "copy": Arity(0, 0),
    "count": Arity(1, 1),
    "endswith": Arity(1, 1),
    "extend": Arity(1, 1),
    "get": Arity(1, 2),
    "index": Arity(1, 1),
    "insert": Arity(2, 2),
    "items": Arity(0, 0),
    "join": Arity(1, 1),
    "keys": Arity(0, 0),
    "lower": Arity(0, 0),
    "pop": Arity(0, 2),
    "replace": Arity(2, 2),
    "reverse": Arity(0, 0),
    "setdefault": Arity(1, 2),
    "split": Arity(0, 2),
    "startswith": Arity(1, 1),
    "strip": Arity(0, 1),
    "update": Arity(1, 1),
    "upper": Arity(0, 0),
    "values": Arity(0, 0),
}

EXCEPTIONS: Final = (
    "Exception",
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "IndexError",
    "KeyError",
    "LookupError",
    "NotImplementedError",
    "OverflowError",
    "PermissionError",
    "QuorumMissed",
    "RecursionError",
    "RuntimeError",
    "TypeError",
    "UnboundLocalError",
    "ValueError",
    "ZeroDivisionError",
)
RAISABLE: Final = frozenset(EXCEPTIONS) - {"QuorumMissed", "PermissionError", "UnboundLocalError"}


def pack(op: int, a: int = 0, b: int = 0) -> int:
    """One instruction as an integer of 56 bits."""
    return op | a << 8 | b << 32


def unpack(instruction: int) -> tuple[int, int, int]:
    """`(op, a, b)` of an instruction."""
    return instruction & 0xFF, instruction >> 8 & MAX_OPERAND, instruction >> 32


def stack_effect(op: int, a: int, b: int, shapes: tuple[Shape, ...]) -> tuple[int, int]:
    """`(pops, pushes)` when control goes on to the next instruction. Operands must be in range."""
    spec = ISA[op]
    pops = spec.pops
    if pops == Pops.A:
        pops = a
    elif pops == Pops.TWICE_A:
        pops = 2 * a
    elif pops == Pops.B:
        pops = b
    elif pops == Pops.SHAPE:
        pops = shapes[b].total
    elif pops == Pops.SHAPE_AND_ONE:
        pops = shapes[b].total + 1
    return pops, a if spec.pushes == Pops.A else spec.pushes
