"""Methods by class and name: those of list, tuple and dict are here, the others in modules of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sojourn.vm.bounded import bounded
from sojourn.vm.builtins import sort_list
from sojourn.vm.compare import same
from sojourn.vm.costs import SLOT, size_of
from sojourn.vm.crowds import refuse_crowd
from sojourn.vm.dense import deleted
from sojourn.vm.dicts import update_dict
from sojourn.vm.faults import Raised, key_error, no_operation, refuse_box
from sojourn.vm.iteration import list_of
from sojourn.vm.keys import check_key
from sojourn.vm.op import METHODS
from sojourn.vm.sets import SET_METHODS, disjoint
from sojourn.vm.state import Run
from sojourn.vm.tables import KEYWORDS
from sojourn.vm.text import repr_of
from sojourn.vm.textmethods import NUMBER_METHODS, TEXT_METHODS, bounds, need_size
from sojourn.vm.values import DictView, Handle, RecordValue, SetValue, Value, ViewKind, type_name

__all__ = ["BY_CLASS", "call_method"]

Arguments = list[Value]
_INTS: Final = frozenset((bool, int))
_NAMES: Final = tuple(METHODS)


def call_method(
    run: Run, number: int, owner: Value, args: Arguments, keywords: dict[str, Value] | None = None
) -> Value:
    """`owner.name(*args, **keywords)` for the name with this number."""
    name = _NAMES[number]
    if name == "update" and type(owner) is dict and len(args) > 1:
        raise _misfit(owner, name, 0, 1, len(args))
    if keywords:
        args = _positional(owner, name, args, keywords)
    function = BY_CLASS.get((type(owner), name))
    if function is None:
        refuse_box("call a method of", owner)
        if type(owner) in (Handle, RecordValue):
            raise no_operation(f"call {name}() of", owner)
        raise Raised("AttributeError", f"'{type_name(owner)}' object has no attribute '{name}'")
    least, most, method = function
    if not least <= len(args) <= most:
        raise _misfit(owner, name, least, most, len(args))
    return method(run, owner, args)


def _misfit(owner: Value, name: str, least: int, most: int, given: int) -> Raised:
    """CPython's message where its style is regular: methods of one argument or none."""
    if least == most < 2:
        takes = "exactly one argument" if most else "no arguments"
        return Raised("TypeError", f"{type_name(owner)}.{name}() takes {takes} ({given} given)")
    if given < least:
        some = "" if least == most else "at least "
        return Raised("TypeError", f"{name} expected {some}{least} argument{'s' * (least != 1)}, got {given}")
    some = "" if least == most else "at most "
    return Raised("TypeError", f"{name} expected {some}{most} argument{'s' * (most != 1)}, got {given}")


def _positional(owner: Value, name: str, args: Arguments, keywords: dict[str, Value]) -> Arguments:
    """Named arguments of a method in the places that they have."""
    if name == "update" and type(owner) is dict:
        return [*args, *([{}] if not args else []), dict(keywords)]
    if name == "update" or name not in KEYWORDS:
        raise Raised("TypeError", f"{type_name(owner)}.{name}() takes no keyword arguments")
    params = KEYWORDS[name]
    for keyword in keywords:
        if keyword in [param for param, _ in params[: len(args)]]:
            raise Raised("TypeError", f"argument for {name}() given by name ('{keyword}') and position")
    return [*args, *(keywords.get(param, default) for param, default in params[len(args) :])]


def _append(run: Run, owner: list[Value], args: Arguments) -> None:
    run.allocate(SLOT)
    owner.append(args[0])


def _extend(run: Run, owner: list[Value], args: Arguments) -> None:
    added = list_of(run, args[0])
    run.allocate(SLOT * len(added))
    owner.extend(added)


def _insert(run: Run, owner: list[Value], args: Arguments) -> None:
    need_size(args[0])
    run.allocate(SLOT)
    run.spend(len(owner) >> 6)
    owner.insert(max(min(args[0], len(owner)), -len(owner)), args[1])


def _list_pop(run: Run, owner: list[Value], args: Arguments) -> Value:
    where = args[0] if args else -1
    need_size(where)
    if not owner:
        raise Raised("IndexError", "pop from empty list")
    if not -len(owner) <= where < len(owner):
        raise Raised("IndexError", "pop index out of range")
    run.spend(len(owner) >> 6)
    return owner.pop(where)


def _reverse(run: Run, owner: list[Value], _: Arguments) -> None:
    run.spend(len(owner) >> 5)
    owner.reverse()


def _copy(run: Run, owner: Value, _: Arguments) -> Value:
    run.allocate(size_of(owner))
    run.spend(len(owner) >> 4)
    return owner.copy()


@bounded
def _count(run: Run, owner: Value, args: Arguments) -> int:
    return sum(1 for item in owner if same(run, item, args[0]))


@bounded
def _index(run: Run, owner: Value, args: Arguments) -> int:
    if any(type(value) not in _INTS for value in args[1:]):
        refuse_box("count with", *args[1:])
        raise Raised("TypeError", "slice indices must be integers or have an __index__ method")
    start, stop = bounds(args, len(owner))
    for position in range(start, min(stop, len(owner))):
        if same(run, owner[position], args[0]):
            return position
    if type(owner) is tuple:
        raise Raised("ValueError", "tuple.index(x): x not in tuple")
    raise Raised("ValueError", f"{repr_of(run, args[0])} is not in list")


def _range_count(_run: Run, owner: range, args: Arguments) -> int:
    refuse_box("compare", args[0])
    wanted = args[0]
    if type(wanted) is float and wanted.is_integer():
        wanted = int(wanted)  # a range looks at each of its numbers to find a float
    return int(type(wanted) in _INTS and wanted in owner)


def _range_index(run: Run, owner: range, args: Arguments) -> int:
    if _range_count(run, owner, args):
        return owner.index(int(args[0]))
    if type(args[0]) in _INTS:
        raise Raised("ValueError", f"{repr_of(run, args[0])} is not in range")
    raise Raised("ValueError", "sequence.index(x): x not in sequence")


def _view_disjoint(run: Run, owner: DictView, args: Arguments) -> bool:
    if owner.kind == ViewKind.VALUES:
        raise Raised("AttributeError", "'dict_values' object has no attribute 'isdisjoint'")
    return disjoint(run, owner, args)


def _get(run: Run, owner: dict[Value, Value], args: Arguments) -> Value:
    check_key(run, args[0])
    return owner.get(args[0], args[1] if len(args) > 1 else None)


def _dict_pop(run: Run, owner: dict[Value, Value], args: Arguments) -> Value:
    if owner:  # CPython looks at the key only where there is one to find
        check_key(run, args[0])
    if owner and args[0] in owner:
        taken = owner.pop(args[0])
        deleted(owner)
        return taken
    if len(args) > 1:
        return args[1]
    raise key_error(args[0])


def _setdefault(run: Run, owner: dict[Value, Value], args: Arguments) -> Value:
    check_key(run, args[0])
    if args[0] not in owner:
        refuse_crowd(run, owner, args[0])
        run.allocate(3 * SLOT)
        owner[args[0]] = args[1] if len(args) > 1 else None
    return owner[args[0]]


def _update(run: Run, owner: dict[Value, Value], args: Arguments) -> None:
    for source in args:
        refuse_box("iterate over", source)
        update_dict(run, owner, source)


def _popitem(run: Run, owner: dict[Value, Value], _: Arguments) -> Value:
    if not owner:
        raise key_error("popitem(): dictionary is empty")
    run.allocate(56 + 2 * SLOT)
    last = owner.popitem()
    deleted(owner)
    return last


def _clear(_run: Run, owner: Value, _: Arguments) -> None:
    owner.clear()


@bounded
def _remove(run: Run, owner: list[Value], args: Arguments) -> None:
    for position, item in enumerate(owner):
        if same(run, item, args[0]):
            del owner[position]
            return
    raise Raised("ValueError", "list.remove(x): x not in list")


def _sort(run: Run, owner: list[Value], args: Arguments) -> None:
    items = list_of(run, owner)
    try:
        sort_list(run, items, args[0] if args else False)
    finally:
        owner[:] = items


def _view(kind: ViewKind) -> Callable[[Run, Value, Arguments], Value]:
    def view(run: Run, owner: dict[Value, Value], _: Arguments) -> Value:
        run.allocate(56)
        return DictView(kind, owner)

    return view


BY_CLASS: Final[dict[tuple[type, str], tuple[int, int, Callable[[Run, Value, Arguments], Value]]]] = {
    (list, "append"): (1, 1, _append),
    (list, "copy"): (0, 0, _copy),
    (list, "count"): (1, 1, _count),
    (list, "extend"): (1, 1, _extend),
    (list, "clear"): (0, 0, _clear),
    (list, "index"): (1, 3, _index),
    (list, "insert"): (2, 2, _insert),
    (list, "pop"): (0, 1, _list_pop),
    (list, "remove"): (1, 1, _remove),
    (list, "reverse"): (0, 0, _reverse),
    (list, "sort"): (0, 1, _sort),
    (tuple, "count"): (1, 1, _count),
    (tuple, "index"): (1, 3, _index),
    (range, "count"): (1, 1, _range_count),
    (range, "index"): (1, 1, _range_index),
    (DictView, "isdisjoint"): (1, 1, _view_disjoint),
    (dict, "copy"): (0, 0, _copy),
    (dict, "get"): (1, 2, _get),
    (dict, "items"): (0, 0, _view(ViewKind.ITEMS)),
    (dict, "keys"): (0, 0, _view(ViewKind.KEYS)),
    (dict, "pop"): (1, 2, _dict_pop),
    (dict, "setdefault"): (1, 2, _setdefault),
    (dict, "clear"): (0, 0, _clear),
    (dict, "popitem"): (0, 0, _popitem),
    (dict, "update"): (0, 2, _update),
    (dict, "values"): (0, 0, _view(ViewKind.VALUES)),
}
BY_CLASS.update(((SetValue, name), row) for name, row in SET_METHODS.items())
BY_CLASS.update(((kind, name), row) for kind, rows in TEXT_METHODS.items() for name, row in rows.items())
BY_CLASS.update(((kind, name), row) for kind, rows in NUMBER_METHODS.items() for name, row in rows.items())
