"""Truth, equality, order and membership.

Containers are compared here and not by the host, so that work is paid for, depth is bounded and a box met anywhere is
refused. Inside containers a not-a-number equals itself, as one object does in CPython.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Final

from sojourn.vm.bounded import bounded
from sojourn.vm.costs import MEMBER
from sojourn.vm.crowds import refuse_crowd
from sojourn.vm.faults import Raised, item_help, no_operation, refuse_box
from sojourn.vm.iteration import items_of
from sojourn.vm.keys import MAX_DEPTH, check_key, check_member, pay_members
from sojourn.vm.state import Run
from sojourn.vm.values import (
    Box,
    BuiltinValue,
    DictView,
    ExcValue,
    Handle,
    Iter,
    RecordValue,
    SetValue,
    Value,
    ViewKind,
    type_name,
)

__all__ = [
    "compare",
    "contains",
    "equal",
    "less",
    "same",
    "truth",
]

_NUMBERS: Final = frozenset((bool, int, float))
_SIZED: Final = frozenset((str, bytes, tuple, list, dict, range))
_ORDER: Final[dict[str, Callable[[Value, Value], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def truth(value: Value) -> bool:
    """`bool(value)`."""
    kind = type(value)
    if value is None:
        return False
    if kind in _NUMBERS or kind in _SIZED:
        return bool(value)
    refuse_box("test", value)
    if kind is SetValue:
        return bool(value.items)
    return bool(value.mapping) if kind is DictView else True


def equal(run: Run, left: Value, right: Value, depth: int = 0) -> bool:
    """`left == right`."""
    kind, other = type(left), type(right)
    if kind is Box or other is Box:
        refuse_box("compare", left, right)
    if kind in _NUMBERS and other in _NUMBERS:
        if kind is int and other is int:
            run.spend(min(left.bit_length(), right.bit_length()) >> 12)
        return bool(left == right)
    if kind is DictView or other is DictView:
        sets = _sets(run, left, right)
        return left is right if sets is None else equal(run, *sets, depth)
    if kind is not other or left is None:
        return left is right
    if kind is str or kind is bytes:
        run.spend(min(len(left), len(right)) >> 6)
        return bool(left == right)
    if kind is list or kind is tuple or kind is dict:
        _enter(depth)
        return len(left) == len(right) and (_all_same if depth else _all_same_bounded)(run, left, right, depth)
    if kind is SetValue:
        return len(left.items) == len(right.items) and _within(run, left, right)
    if kind is range or kind is Handle or kind is BuiltinValue:
        return bool(left == right)
    if kind is ExcValue or kind is Iter:
        return left is right
    raise no_operation("compare", left)


def _all_same(run: Run, left: Value, right: Value, depth: int) -> bool:
    """Whether two containers of one kind and length are equal item by item."""
    if depth:
        run.spend(2)
    if type(left) is dict:
        pay_members(run, left)
        return all(key in right and same(run, value, right[key], depth + 1) for key, value in left.items())
    return all(same(run, a, b, depth + 1) for a, b in zip(left, right, strict=True))


_all_same_bounded: Final = bounded(_all_same)


def _sets(run: Run, left: Value, right: Value) -> tuple[SetValue, SetValue] | None:
    """Two sets or views of keys or items as sets; None if they are something else."""
    made = []
    for value in (left, right):
        if type(value) is DictView and value.kind != ViewKind.VALUES:
            made.append(set_of_view(run, value))
        elif type(value) is SetValue:
            made.append(value)
        else:
            return None
    return made[0], made[1]


def set_of_view(run: Run, view: DictView) -> SetValue:
    """The keys or items of a dict as a set."""
    run.allocate(56 + MEMBER * len(view.mapping))
    run.spend(2 + (len(view.mapping) >> 3))
    if view.kind == ViewKind.KEYS:
        return SetValue(dict.fromkeys(view.mapping))
    made: dict[Value, None] = {}
    for pair in view.mapping.items():
        check_member(run, pair)
        refuse_crowd(run, made, pair)
        made[pair] = None
    return SetValue(made)


def _within(run: Run, left: SetValue, right: SetValue) -> bool:
    run.spend(1 + (len(left.items) >> 3))
    pay_members(run, left.items)
    return all(item in right.items for item in left.items)


def same(run: Run, left: Value, right: Value, depth: int = 0) -> bool:
    """Equality of two elements of containers: identity counts for what is not equal to itself."""
    run.spend(1)
    if type(left) is float and left is right:
        return True
    return equal(run, left, right, depth)


def _enter(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise Raised("RecursionError", "maximum recursion depth exceeded in comparison")


def less(run: Run, op: str, left: Value, right: Value, depth: int = 0) -> bool:
    """`left op right` for `<`, `<=`, `>`, `>=`."""
    kind, other = type(left), type(right)
    function = _ORDER[op]
    if kind in _NUMBERS and other in _NUMBERS:
        if kind is int and other is int:
            run.spend(min(left.bit_length(), right.bit_length()) >> 12)
        return function(left, right)
    if kind is Box or other is Box:
        refuse_box("compare", left, right)
    if kind is other and (kind is str or kind is bytes):
        run.spend(min(len(left), len(right)) >> 6)
        return function(left, right)
    if kind is other and (kind is list or kind is tuple):
        _enter(depth)
        return (_less_by_item if depth else _less_by_item_bounded)(run, op, left, right, depth)
    if kind is SetValue and other is SetValue:
        small, large = (left, right) if op in ("<", "<=") else (right, left)
        return function(len(left.items), len(right.items)) and _within(run, small, large)
    if kind is DictView or other is DictView:
        sets = _sets(run, left, right)
        if sets is not None:
            return less(run, op, *sets, depth)
    kinds = f"'{type_name(left)}' and '{type_name(right)}'"
    raise Raised("TypeError", f"'{op}' not supported between instances of {kinds}{item_help(left, right)}")


def _less_by_item(run: Run, op: str, left: Value, right: Value, depth: int) -> bool:
    """`left op right` for two lists or tuples."""
    for a, b in zip(left, right, strict=False):
        if not same(run, a, b, depth + 1):
            return less(run, op, a, b, depth + 1)
    return _ORDER[op](len(left), len(right))


_less_by_item_bounded: Final = bounded(_less_by_item)


def compare(run: Run, op: str, left: Value, right: Value) -> bool:
    """Any operator of the table `COMPARE`."""
    if op == "==":
        return equal(run, left, right)
    if op == "!=":
        return not equal(run, left, right)
    if op == "in":
        return contains(run, right, left)
    if op == "not in":
        return not contains(run, right, left)
    return less(run, op, left, right)


def contains(run: Run, container: Value, value: Value) -> bool:
    """`value in container`."""
    kind = type(container)
    refuse_box("search", container)
    if kind is DictView and container.kind == ViewKind.KEYS:
        container, kind = container.mapping, dict
    if kind is SetValue:
        if type(value) is SetValue:  # CPython looks for its frozenset, and no set holds one here
            return False
        container, kind = container.items, dict
    if kind is dict:
        check_key(run, value)
        return value in container
    if kind is str:
        if type(value) is not str:
            refuse_box("compare", value)
            raise Raised("TypeError", f"'in <string>' requires string as left operand, not {type_name(value)}")
        run.spend((len(container) + len(value)) >> 5)
        return value in container
    if kind is bytes:
        return _in_bytes(run, container, value)
    if kind is range and type(value) in (int, bool):
        return value in container
    if kind is Handle or kind is RecordValue:
        raise no_operation("search", container)
    if kind not in (list, tuple, range, DictView, Iter):
        raise Raised("TypeError", f"argument of type '{type_name(container)}' is not iterable")
    return _drawn(run, container, value)


@bounded
def _drawn(run: Run, container: Value, value: Value) -> bool:
    return any(same(run, item, value) for item in items_of(run, container))


def _in_bytes(run: Run, container: bytes, value: Value) -> bool:
    if type(value) in (int, bool):
        if not 0 <= value < 256:
            raise Raised("ValueError", "byte must be in range(0, 256)")
        return value in container
    if type(value) is bytes:
        run.spend((len(container) + len(value)) >> 5)
        return value in container
    refuse_box("compare", value)
    raise Raised("TypeError", f"a bytes-like object is required, not '{type_name(value)}'")
