"""Operations on sets. Results are in order of insertion: of the left operand, then of what the right one adds.

CPython's order depends on hashes, and those of text on the process; this order depends on the program alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sojourn.vm.bounded import bounded
from sojourn.vm.costs import MEMBER
from sojourn.vm.crowds import refuse_crowd, refuse_crowds
from sojourn.vm.dense import removed
from sojourn.vm.faults import key_error, refuse_box
from sojourn.vm.iteration import items_of
from sojourn.vm.keys import check_key, check_member, pay_members
from sojourn.vm.state import Run
from sojourn.vm.values import Box, DictView, SetValue, Value, ViewKind

__all__ = ["SET_METHODS", "SET_OPERATORS", "disjoint", "is_set_operation", "set_operation"]

Arguments = list[Value]
Method = Callable[[Run, SetValue, Arguments], Value]
Members = dict[Value, None]
MANY: Final = 255


def _union(left: Members, right: Members) -> Members:
    return {**left, **right}


def _intersection(left: Members, right: Members) -> Members:
    return {item: None for item in left if item in right}


def _difference(left: Members, right: Members) -> Members:
    return {item: None for item in left if item not in right}


def _symmetric(left: Members, right: Members) -> Members:
    return {**_difference(left, right), **_difference(right, left)}


SET_OPERATORS: Final[dict[str, Callable[[Members, Members], Members]]] = {
    "|": _union,
    "&": _intersection,
    "-": _difference,
    "^": _symmetric,
}


_GROWING: Final = (_union, _symmetric)


def is_set_operation(left: Value, right: Value) -> bool:
    """Whether an operator of sets applies: two sets, or a view of keys or items and any iterable."""
    if type(left) is SetValue and type(right) is SetValue:
        return True
    views = [value for value in (left, right) if type(value) is DictView and value.kind != ViewKind.VALUES]
    return bool(views) and type(left) is not Box and type(right) is not Box


def set_operation(run: Run, op: str, left: Value, right: Value) -> SetValue:
    """`left op right` for sets and views of keys or items."""
    return _combined(run, SET_OPERATORS[op], _set_from(run, left), _set_from(run, right))


def _combined(run: Run, function: Callable[[Members, Members], Members], left: SetValue, right: SetValue) -> SetValue:
    count = len(left.items) + len(right.items)
    run.allocate(56 + MEMBER * count)
    run.spend(count >> 2)
    pay_members(run, left.items)
    pay_members(run, right.items)
    if function in _GROWING:
        refuse_crowds(run, left.items, right.items)
    return SetValue(function(left.items, right.items))


@bounded
def _set_from(run: Run, value: Value) -> SetValue:
    """The items of any iterable as a set."""
    if type(value) is SetValue:
        return value
    refuse_box("iterate over", value)
    made = SetValue({})
    with run.making(made):
        for item in items_of(run, value):
            check_member(run, item)
            if item not in made.items:
                refuse_crowd(run, made.items, item)
                run.allocate(MEMBER)
                made.items[item] = None
    return made


def _folding(op: str, *, inplace: bool) -> Method:
    def fold(run: Run, owner: SetValue, args: Arguments) -> Value:
        run.allocate(56 + MEMBER * len(owner.items))
        made = SetValue(dict(owner.items))
        for value in args:
            with run.making(made):
                other = _set_from(run, value)
            made = _combined(run, SET_OPERATORS[op], made, other)
        if not inplace:
            return made
        _replace(owner, made.items)
        return None

    return fold


def _replace(owner: SetValue, members: Members) -> None:
    """`members` is a dict of its own, never the owner's."""
    owner.items.clear()
    owner.items.update(members)


def _add(run: Run, owner: SetValue, args: Arguments) -> None:
    check_key(run, args[0])
    if args[0] not in owner.items:
        refuse_crowd(run, owner.items, args[0])
        run.allocate(MEMBER)
        owner.items[args[0]] = None


def _take_out(owner: SetValue, member: Value) -> None:
    del owner.items[member]
    removed(owner)


def _discard(run: Run, owner: SetValue, args: Arguments) -> None:
    if type(args[0]) is not SetValue:
        check_key(run, args[0])
        if args[0] in owner.items:
            _take_out(owner, args[0])


def _remove(run: Run, owner: SetValue, args: Arguments) -> None:
    if type(args[0]) is SetValue:
        raise key_error(args[0])
    check_key(run, args[0])
    if args[0] not in owner.items:
        raise key_error(args[0])
    _take_out(owner, args[0])


def _pop(_run: Run, owner: SetValue, _: Arguments) -> Value:
    if not owner.items:
        raise key_error("pop from an empty set")
    item = next(iter(owner.items))
    _take_out(owner, item)
    return item


def _clear(_run: Run, owner: SetValue, _: Arguments) -> None:
    owner.items.clear()


def _copy(run: Run, owner: SetValue, _: Arguments) -> SetValue:
    run.allocate(56 + MEMBER * len(owner.items))
    run.spend(len(owner.items) >> 4)
    return SetValue(dict(owner.items))


def _subset(run: Run, owner: SetValue, args: Arguments) -> bool:
    other = _set_from(run, args[0]).items
    run.spend(len(owner.items) >> 3)
    pay_members(run, owner.items)
    return all(item in other for item in owner.items)


def _superset(run: Run, owner: SetValue, args: Arguments) -> bool:
    other = _set_from(run, args[0]).items
    run.spend(len(other) >> 3)
    pay_members(run, other)
    return all(item in owner.items for item in other)


def disjoint(run: Run, owner: Value, args: Arguments) -> bool:
    """`owner.isdisjoint(other)` of a set, or of a view of keys or items."""
    members = owner.items if type(owner) is SetValue else _set_from(run, owner).items
    other = _set_from(run, args[0]).items
    run.spend(len(other) >> 3)
    pay_members(run, other)
    return not any(item in members for item in other)


SET_METHODS: Final[dict[str, tuple[int, int, Method]]] = {
    "add": (1, 1, _add),
    "clear": (0, 0, _clear),
    "copy": (0, 0, _copy),
    "difference": (0, MANY, _folding("-", inplace=False)),
    "difference_update": (0, MANY, _folding("-", inplace=True)),
    "discard": (1, 1, _discard),
    "intersection": (0, MANY, _folding("&", inplace=False)),
    "intersection_update": (0, MANY, _folding("&", inplace=True)),
    "isdisjoint": (1, 1, disjoint),
    "issubset": (1, 1, _subset),
    "issuperset": (1, 1, _superset),
    "pop": (0, 0, _pop),
    "remove": (1, 1, _remove),
    "symmetric_difference": (1, 1, _folding("^", inplace=False)),
    "symmetric_difference_update": (1, 1, _folding("^", inplace=True)),
    "union": (0, MANY, _folding("|", inplace=False)),
    "update": (0, MANY, _folding("|", inplace=True)),
}
