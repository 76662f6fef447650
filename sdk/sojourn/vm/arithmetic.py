"""Operators on numbers and sequences.

Integers are of any size; their memory is paid for before they are made and the work on long ones costs fuel. Float
powers are the one operation of IEEE 754's basic set that machines disagree on: an integral exponent is computed
exactly and rounded once, one half is the square root, others are refused.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from sojourn.vm.costs import SLOT, bytes_of_int, bytes_of_parts
from sojourn.vm.crowds import refuse_crowds
from sojourn.vm.dicts import update_dict
from sojourn.vm.faults import Raised, item_help, need_index, no_operation, refuse_box
from sojourn.vm.iteration import list_of
from sojourn.vm.keys import pay_members
from sojourn.vm.sets import SET_OPERATORS, is_set_operation, set_operation
from sojourn.vm.state import Run
from sojourn.vm.values import Box, Handle, RecordValue, SetValue, Value, canonical_float, type_name

__all__ = ["binary", "inplace", "unary"]

MAX_EXPONENT: Final = 2_048

_INTS: Final = frozenset((bool, int))
_NUMBERS: Final = frozenset((bool, int, float))
_SEQUENCES: Final = frozenset((str, bytes, list, tuple))
_FUNCTIONS: Final[dict[str, Callable[[Value, Value], Value]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}
_ZERO_INT: Final = {
    "/": "division by zero",
    "//": "integer division or modulo by zero",
    "%": "integer modulo by zero",
}
_ZERO_FLOAT: Final = {"/": "float division by zero", "//": "float floor division by zero", "%": "float modulo"}


def binary(run: Run, op: str, left: Value, right: Value, shown: str = "") -> Value:
    """`left op right`; `shown` is the operator in messages (`+=`)."""
    kind, other = type(left), type(right)
    if kind is float and other is float and op in "+-*":
        return canonical_float(_FUNCTIONS[op](left, right))
    if kind in _INTS and other in _INTS:
        return _integers(run, op, left, right)
    if kind in _NUMBERS and other in _NUMBERS and op not in ("&", "|", "^", "<<", ">>"):
        return _floats(run, op, left, right)
    refuse_box("compute with", left, right)
    if op == "*" and (kind in _SEQUENCES or other in _SEQUENCES):
        return _repeat(run, left, right)
    if op == "+" and kind in _SEQUENCES:
        return _join(run, left, right)
    if op == "%" and kind in (str, bytes):
        raise Raised("TypeError", "text % values is not in this language; write an f-string")
    if op == "|" and kind is dict and other is dict:
        run.allocate(56 + 3 * SLOT * (len(left) + len(right)))
        run.spend((len(left) + len(right)) >> 2)
        pay_members(run, right)
        refuse_crowds(run, left, right)
        return {**left, **right}
    if op in SET_OPERATORS and is_set_operation(left, right):
        return set_operation(run, op, left, right)
    for value in (left, right):
        if type(value) in (Handle, RecordValue):
            raise no_operation("compute with", value)
    name = shown or ("** or pow()" if op == "**" else op)
    raise Raised("TypeError", f"unsupported operand type(s) for {name}: '{type_name(left)}' and '{type_name(right)}'")


def inplace(run: Run, op: str, left: Value, right: Value) -> Value:
    """`left op= right`: changes a list or dict, computes a new value otherwise."""
    if type(left) is list and op == "+":
        refuse_box("iterate over", right)
        added = list_of(run, right)
        run.allocate(SLOT * len(added))
        left.extend(added)
        return left
    if type(left) is list and op == "*" and type(right) in _INTS:
        need_index(right)
        run.allocate(SLOT * len(left) * max(right, 0))
        run.spend(len(left) * max(right, 0) >> 3)
        left *= max(right, 0) if left else 0
        return left
    if type(left) is dict and op == "|":
        refuse_box("iterate over", right)
        update_dict(run, left, right)
        return left
    if type(left) is SetValue and type(right) is SetValue and op in SET_OPERATORS:
        made = set_operation(run, op, left, right).items
        left.items.clear()
        left.items.update(made)
        return left
    return binary(run, op, left, right, f"{op}=")


def _integers(run: Run, op: str, left: int, right: int) -> Value:
    if op == "**":
        return _power(run, left, right)
    if right == 0 and op in _ZERO_INT:
        raise Raised("ZeroDivisionError", _ZERO_INT[op])
    bits, others = left.bit_length(), right.bit_length()
    if op in ("<<", ">>"):
        if right < 0:
            raise Raised("ValueError", "negative shift count")
        size = 0 if left == 0 else bits + right if op == "<<" else max(bits - right, 0)
        if size > 62:
            run.allocate(bytes_of_int(size))
            run.spend(size >> 12)
        return 0 if left == 0 else _FUNCTIONS[op](left, right)
    if bits + others > 62:
        size = bits + others if op == "*" else max(bits, others) + 1
        run.allocate(bytes_of_int(size))
        run.spend((size >> 12) + _steps(op, bits >> 6, others >> 6))
        if op == "/":
            return _true_division(left, right)
    return _FUNCTIONS[op](left, right)


def _steps(op: str, words: int, others: int) -> int:
    """Fuel of what grows with both lengths: the host divides digit by digit, and multiplies faster than that."""
    if op == "*":
        return words * others >> 8
    if op in ("/", "//", "%"):
        return max(words * others >> 8, max(words - others, 0) * others >> 6)
    return 0


def _true_division(left: int, right: int) -> float:
    try:
        return left / right
    except OverflowError:
        raise Raised("OverflowError", "integer division result too large for a float") from None


def _power(run: Run, left: int, right: int) -> Value:
    if right < 0:
        if left == 0:
            raise Raised("ZeroDivisionError", "0.0 cannot be raised to a negative power")
        return _float_power(run, _as_float(left), right)
    if left in (0, 1, -1):
        return left**right if right < 2 else left ** (2 + (right & 1))
    bits = left.bit_length() * right
    if bits > 62:
        run.allocate(bytes_of_int(bits))
        run.spend((bits >> 6) * (bits >> 6) >> 8)
    return left**right


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        raise Raised("OverflowError", "int too large to convert to float") from None


def _floats(run: Run, op: str, left: float, right: float) -> float:
    first, second = _as_float(left), _as_float(right)
    if op == "**":
        return _float_power(run, first, second)
    if second == 0.0 and op in _ZERO_FLOAT:
        raise Raised("ZeroDivisionError", _ZERO_FLOAT[op])
    return canonical_float(_FUNCTIONS[op](first, second))


def _float_power(run: Run, base: float, exponent: float) -> float:
    """A power that is the same on every machine, or ValueError."""
    if base == 0.0 and exponent < 0:
        raise Raised("ZeroDivisionError", "0.0 cannot be raised to a negative power")
    if exponent == 0 or base == 1.0:
        return 1.0
    if exponent == 0.5 and base >= 0.0:
        return math.sqrt(base) + 0.0
    if not math.isfinite(base) or not math.isfinite(exponent):
        return canonical_float(float(base**exponent))  # IEEE 754 fixes these
    if exponent != int(exponent) or abs(exponent) > MAX_EXPONENT:
        raise Raised(
            "ValueError",
            f"a float to the power {exponent!r} is not the same on every machine; "
            f"use an integral exponent up to {MAX_EXPONENT}, 0.5, or a tensor",
        )
    if base == 0.0:
        return float(base**exponent)
    run.spend(int(abs(exponent)))
    exact, power = Fraction(base), int(exponent)
    # The base lies between 2**(scale - 1) and 2**(scale + 1): what is far out of range is not computed.
    scale = exact.numerator.bit_length() - exact.denominator.bit_length()
    low, high = sorted(((scale - 1) * power, (scale + 1) * power))
    if high < -1080:
        return -0.0 if base < 0 and power % 2 else 0.0
    overflow = Raised("OverflowError", "(34, 'Numerical result out of range')")
    if low > 1024:
        raise overflow
    exact **= power
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        raise overflow from None


def _repeat(run: Run, left: Value, right: Value) -> Value:
    sequence, count = (left, right) if type(left) in _SEQUENCES else (right, left)
    if type(count) not in _INTS:
        raise Raised("TypeError", f"can't multiply sequence by non-int of type '{type_name(count)}'{item_help(count)}")
    need_index(count)
    length = len(sequence) * max(count, 0)
    unit = SLOT if type(sequence) in (list, tuple) else 1 if type(sequence) is bytes or sequence.isascii() else 4
    run.allocate(56 + unit * length)
    run.spend(length >> 5)
    count = max(count, 0) if sequence else 0
    if type(sequence) is tuple:
        return tuple(list(sequence) * count)
    return sequence * count


def _join(run: Run, left: Value, right: Value) -> Value:
    kind = type(left)
    if type(right) is not kind:
        if kind is bytes:
            raise Raised("TypeError", f"can't concat {type_name(right)} to bytes")
        raise Raised(
            "TypeError", f'can only concatenate {type_name(left)} (not "{type_name(right)}") to {type_name(left)}'
        )
    length = len(left) + len(right)
    run.spend(length >> 5)
    if kind is str:
        run.allocate(bytes_of_parts((left, right)))
        return left + right
    run.allocate(56 + (1 if kind is bytes else SLOT) * length)
    return (*left, *right) if kind is tuple else left + right


def unary(run: Run, op: str, value: Value) -> Value:
    """`-value`, `+value` or `~value`."""
    kind = type(value)
    if kind in _INTS:
        bits = value.bit_length()
        if bits > 62:
            run.allocate(bytes_of_int(bits + 1))
            run.spend(bits >> 12)
        return -value if op == "-" else +value if op == "+" else ~int(value)
    if kind is float and op != "~":
        return canonical_float(-value) if op == "-" else value
    if kind in (Box, Handle, RecordValue):
        raise no_operation("compute with", value)
    raise Raised("TypeError", f"bad operand type for unary {op}: '{type_name(value)}'")
