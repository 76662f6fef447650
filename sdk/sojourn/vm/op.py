"""The instruction set: one table that compiler, verifier, machine and disassembler share.

An instruction is one integer: `op | a << 8 | b << 32`; op has 8 bits, operands have 24 each. Every number here and in
`tables` is part of the program format: never renumber, add at the end. What each operation does stands in
docs/design/machine.md.

Box rule of the table: stack traffic, displays, cells, calls, effects and regions move a box; every other operation
that meets a box raises TypeError.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from sojourn.vm.shape import Shape
from sojourn.vm.tables import (
    BINARY,
    BUILTINS,
    COMPARE,
    CONVERSIONS,
    EXCEPTIONS,
    METHODS,
    RAISABLE,
    UNARY,
    Arity,
)

__all__ = [
    "BINARY",
    "BUILTINS",
    "COMPARE",
    "CONVERSIONS",
    "EXCEPTIONS",
    "EXTENDS",
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
    ROT = 7
    DELETE = 8
    LOAD_CELL = 9
    STORE_CELL = 10
    DELETE_CELL = 11
    NEW_CELL = 12
    BINARY = 16
    INPLACE = 17
    UNARY = 18
    NOT = 19
    COMPARE = 20
    IS_NONE = 21
    IS_A = 22
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
    SET = 59
    APPEND = 60
    PUT = 61
    EXTEND = 62
    TUPLE_OF = 63
    CALL = 64
    BUILTIN = 65
    METHOD = 66
    RETURN = 67
    RAISE = 68
    EFFECT = 69
    PRIVATE = 70
    CALL_VALUE = 71
    CALL_SPREAD = 72
    CLOSURE = 73
    BUILTIN_VALUE = 74
    EXCEPTION = 75
    PRIVATE_VALUE = 76
    STORE_SLICE = 77
    DELETE_SLICE = 78
    UNPACK_REST = 79
    FORMAT_BY = 80
    HERE = 81
    FORK = 82
    SPAWN = 83


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
    CELL = 18  # index of a local that holds a cell
    CLASSES = 19  # index of a constant: names of classes, a blank between
    KIND = 20  # what EXTEND extends: see `EXTENDS`
    CLOSURE = 21  # index of a function, made into a value


class Pops(IntEnum):
    """Counts that depend on an operand, as negative numbers beside plain counts."""

    A = -1
    TWICE_A = -2
    SHAPE = -3
    SHAPE_AND_ONE = -4
    B = -5
    A_AND_B_AND_ONE = -6


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
    Op.LOAD: OpSpec(Operand.LOCAL, Operand.FLAG, pushes=1),
    Op.STORE: OpSpec(Operand.LOCAL, pops=1),
    Op.CLEAR: OpSpec(Operand.LOOP),
    Op.POP: OpSpec(pops=1),
    Op.DUP: OpSpec(Operand.COUNT, pops=Pops.A, pushes=Pops.TWICE_A),
    Op.ROT: OpSpec(Operand.COUNT, pops=Pops.A, pushes=Pops.A),
    Op.DELETE: OpSpec(Operand.LOCAL, Operand.FLAG),
    Op.LOAD_CELL: OpSpec(Operand.CELL, Operand.FLAG, pushes=1),
    Op.STORE_CELL: OpSpec(Operand.CELL, pops=1),
    Op.DELETE_CELL: OpSpec(Operand.CELL, Operand.FLAG),
    Op.NEW_CELL: OpSpec(Operand.CELL),
    Op.BINARY: OpSpec(Operand.BINARY, pops=2, pushes=1),
    Op.INPLACE: OpSpec(Operand.BINARY, pops=2, pushes=1),
    Op.UNARY: OpSpec(Operand.UNARY, pops=1, pushes=1),
    Op.NOT: OpSpec(pops=1, pushes=1),
    Op.COMPARE: OpSpec(Operand.COMPARE, pops=2, pushes=1),
    Op.IS_NONE: OpSpec(Operand.FLAG, pops=1, pushes=1),
    Op.IS_A: OpSpec(Operand.CLASSES, pops=1, pushes=1),
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
    Op.SET: OpSpec(Operand.COUNT, pops=Pops.A, pushes=1),
    Op.APPEND: OpSpec(pops=2, pushes=1),
    Op.PUT: OpSpec(pops=3, pushes=1),
    Op.EXTEND: OpSpec(Operand.KIND, pops=2, pushes=1),
    Op.TUPLE_OF: OpSpec(pops=1, pushes=1),
    Op.INDEX: OpSpec(pops=2, pushes=1),
    Op.SLICE: OpSpec(pops=4, pushes=1),
    Op.STORE_INDEX: OpSpec(pops=3),
    Op.DELETE_INDEX: OpSpec(pops=2),
    Op.STORE_SLICE: OpSpec(pops=5),
    Op.DELETE_SLICE: OpSpec(pops=4),
    Op.UNPACK: OpSpec(Operand.COUNT, pops=1, pushes=Pops.A),
    Op.UNPACK_REST: OpSpec(Operand.COUNT, Operand.COUNT, pops=1, pushes=Pops.A_AND_B_AND_ONE),
    Op.ATTRIBUTE: OpSpec(Operand.NAME, pops=1, pushes=1),
    Op.FORMAT: OpSpec(Operand.CONST, Operand.CONVERSION, pops=1, pushes=1),
    Op.FORMAT_BY: OpSpec(Operand.CONVERSION, pops=2, pushes=1),
    Op.JOIN: OpSpec(Operand.COUNT, pops=Pops.A, pushes=1),
    Op.CALL: OpSpec(Operand.FUNCTION, Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
    Op.CALL_VALUE: OpSpec(b=Operand.SHAPE, pops=Pops.SHAPE_AND_ONE, pushes=1),
    Op.CALL_SPREAD: OpSpec(pops=3, pushes=1),
    Op.BUILTIN: OpSpec(Operand.BUILTIN, Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
    Op.METHOD: OpSpec(Operand.METHOD, Operand.SHAPE, pops=Pops.SHAPE_AND_ONE, pushes=1),
    Op.CLOSURE: OpSpec(Operand.CLOSURE, Operand.COUNT, pops=Pops.B, pushes=1),
    Op.BUILTIN_VALUE: OpSpec(Operand.BUILTIN, pushes=1),
    Op.RETURN: OpSpec(pops=1, ends=True),
    Op.EXCEPTION: OpSpec(Operand.EXCEPTION, Operand.COUNT, pops=Pops.B, pushes=1),
    Op.RAISE: OpSpec(Operand.FLAG, pops=Pops.A_AND_B_AND_ONE, ends=True),
    Op.EFFECT: OpSpec(Operand.EFFECT, Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
    Op.PRIVATE: OpSpec(Operand.FUNCTION, Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
    Op.PRIVATE_VALUE: OpSpec(b=Operand.SHAPE, pops=Pops.SHAPE_AND_ONE, pushes=1),
    Op.HERE: OpSpec(pushes=1),
    Op.FORK: OpSpec(b=Operand.SHAPE, pops=Pops.SHAPE, pushes=1),
    Op.SPAWN: OpSpec(b=Operand.SHAPE, pops=Pops.SHAPE_AND_ONE, pushes=1),
}

EXTENDS: Final = ("list", "set", "dict", "arguments", "keywords")


def pack(op: int, a: int = 0, b: int = 0) -> int:
    """One instruction as an integer of 56 bits."""
    return op | a << 8 | b << 32


def unpack(instruction: int) -> tuple[int, int, int]:
    """`(op, a, b)` of an instruction."""
    return instruction & 0xFF, instruction >> 8 & MAX_OPERAND, instruction >> 32


def stack_effect(op: int, a: int, b: int, shapes: tuple[Shape, ...]) -> tuple[int, int]:
    """`(pops, pushes)` when control goes on to the next instruction. Operands must be in range."""
    spec = ISA[op]
    return _count(spec.pops, a, b, shapes), _count(spec.pushes, a, b, shapes)


def _count(count: int, a: int, b: int, shapes: tuple[Shape, ...]) -> int:
    if count >= 0:
        return count
    if count == Pops.SHAPE:
        return shapes[b].total
    if count == Pops.SHAPE_AND_ONE:
        return shapes[b].total + 1
    return {Pops.A: a, Pops.TWICE_A: 2 * a, Pops.B: b, Pops.A_AND_B_AND_ONE: a + b + 1}[Pops(count)]
