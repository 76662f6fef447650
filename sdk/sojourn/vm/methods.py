"""Methods of str, bytes, list, tuple and dict, by class and name.

Case is ASCII's: what other letters map to depends on a machine's Unicode tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sojourn.vm.builtins import update_dict
from sojourn.vm.compare import check_key, same
from sojourn.vm.faults import Raised, no_operation, refuse_box
from sojourn.vm.iteration import list_of
from sojourn.vm.op import METHODS
from sojourn.vm.state import SLOT, Run, bytes_of_text, size_of
from sojourn.vm.text import repr_of
from sojourn.vm.values import DictView, Handle, RecordValue, Value, ViewKind, type_name

__all__ = ["call_method"]

Arguments = list[Value]
_INTS: Final = frozenset((bool, int))
_NAMES: Final = tuple(METHODS)


def call_method(run: Run, number: int, owner: Value, args: Arguments) -> Value:
    """`owner.name(*args)` for the name with this number."""
    name = _NAMES[number]
    function = _BY_CLASS.get((type(owner), name))
    if function is None:
        refuse_box("call a method of", owner)
        if type(owner) in (Handle, RecordValue):
            raise no_operation(f"call {name}() of", owner)
        raise Raised("AttributeError", f"'{type_name(owner)}' object has no attribute '{name}'")
    least, most, method = function
    if not least <= len(args) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise Raised("TypeError", f"{type_name(owner)}.{name}() takes {wanted} arguments ({len(args)} given)")
    return method(run, owner, args)


def _append(run: Run, owner: list[Value], args: Arguments) -> None:
    run.allocate(SLOT)
    owner.append(args[0])


def _extend(run: Run, owner: list[Value], args: Arguments) -> None:
    added = list_of(run, args[0])
    run.allocate(SLOT * len(added))
    owner.extend(added)


def _insert(run: Run, owner: list[Value], args: Arguments) -> None:
    _need_int(args[0])
    run.allocate(SLOT)
    run.spend(len(owner) >> 6)
    owner.insert(max(min(args[0], len(owner)), -len(owner)), args[1])


def _need_int(value: Value) -> None:
    if type(value) not in _INTS:
        refuse_box("count with", value)
        raise Raised("TypeError", f"'{type_name(value)}' object cannot be interpreted as an integer")


def _list_pop(run: Run, owner: list[Value], args: Arguments) -> Value:
    where = args[0] if args else -1
    _need_int(where)
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


def _count(run: Run, owner: Value, args: Arguments) -> int:
    return sum(1 for item in owner if same(run, item, args[0]))


def _index(run: Run, owner: Value, args: Arguments) -> int:
    for position, item in enumerate(owner):
        if same(run, item, args[0]):
            return position
    if type(owner) is tuple:
        raise Raised("ValueError", "tuple.index(x): x not in tuple")
    raise Raised("ValueError", f"{repr_of(run, args[0])} is not in list")


def _get(run: Run, owner: dict[Value, Value], args: Arguments) -> Value:
    check_key(run, args[0])
    return owner.get(args[0], args[1] if len(args) > 1 else None)


def _dict_pop(run: Run, owner: dict[Value, Value], args: Arguments) -> Value:
    if owner:  # CPython looks at the key only where there is one to find
        check_key(run, args[0])
    if owner and args[0] in owner:
        return owner.pop(args[0])
    if len(args) > 1:
        return args[1]
    raise Raised("KeyError", repr_of(run, args[0]))


def _setdefault(run: Run, owner: dict[Value, Value], args: Arguments) -> Value:
    check_key(run, args[0])
    if args[0] not in owner:
        run.allocate(3 * SLOT)
        owner[args[0]] = args[1] if len(args) > 1 else None
    return owner[args[0]]


def _update(run: Run, owner: dict[Value, Value], args: Arguments) -> None:
    update_dict(run, owner, args[0])


def _view(kind: ViewKind) -> Callable[[Run, Value, Arguments], Value]:
    def view(run: Run, owner: dict[Value, Value], _: Arguments) -> Value:
        run.allocate(56)
        return DictView(kind, owner)

    return view


def _need_text(owner: Value, value: Value, message: str) -> None:
    if type(value) is not type(owner):
        refuse_box("use", value)
        raise Raised("TypeError", message.format(type_name(value)))


def _join(run: Run, owner: str, args: Arguments) -> str:
    refuse_box("iterate over", args[0])
    if type(args[0]) not in (list, tuple, str, dict, range, bytes, DictView) and type_name(args[0]) not in (
        "enumerate",
        "zip",
    ):
        raise Raised("TypeError", "can only join an iterable")
    items = list_of(run, args[0])
    for position, item in enumerate(items):
        _need_text(owner, item, f"sequence item {position}: expected str instance, {{}} found")
    run.allocate(sum(bytes_of_text(item) for item in items) + bytes_of_text(owner) * len(items))
    run.spend(sum(len(item) for item in items) >> 5)
    return owner.join(items)


def _split(run: Run, owner: str, args: Arguments) -> list[str]:
    separator, most = args[0] if args else None, args[1] if len(args) > 1 else -1
    if separator is not None:
        _need_text(owner, separator, "must be str or None, not {}")
        if not separator:
            raise Raised("ValueError", "empty separator")
    elif not owner.isascii():
        raise Raised(
            "ValueError", "split() of text outside ASCII needs a separator: which characters are blank differs"
        )
    _need_int(most)
    run.spend(len(owner) >> 4)
    run.allocate(_text_pieces(owner, separator))
    return owner.split(separator, max(min(most, len(owner)), -1))


def _text_pieces(owner: str, separator: str | None) -> int:
    pieces = 1 + (owner.count(separator) if separator else len(owner) // 2)
    return 56 + pieces * (SLOT + 48) + bytes_of_text(owner)


def _case(name: str) -> Callable[[Run, Value, Arguments], str]:
    def case(run: Run, owner: str, _: Arguments) -> str:
        if not owner.isascii():
            raise Raised("ValueError", f"{name}() of text outside ASCII is not the same on every machine")
        run.allocate(bytes_of_text(owner))
        run.spend(len(owner) >> 5)
        return owner.upper() if name == "upper" else owner.lower()

    return case


def _strip(run: Run, owner: str, args: Arguments) -> str:
    characters = args[0] if args else None
    if characters is not None:
        _need_text(owner, characters, "strip arg must be None or str")
    else:
        characters = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
    run.allocate(bytes_of_text(owner))
    run.spend((len(owner) * (1 + (len(characters) >> 5))) >> 5)
    return owner.strip(characters)


def _edge(name: str) -> Callable[[Run, Value, Arguments], bool]:
    def edge(run: Run, owner: str, args: Arguments) -> bool:
        options = args[0] if type(args[0]) is tuple else (args[0],)
        for option in options:
            what = (
                f"tuple for {name} must only contain str, not {{}}"
                if type(args[0]) is tuple
                else (f"{name} first arg must be str or a tuple of str, not {{}}")
            )
            _need_text(owner, option, what)
            run.spend(len(option) >> 5)
            if owner.startswith(option) if name == "startswith" else owner.endswith(option):
                return True
        return False

    return edge


def _replace(run: Run, owner: str, args: Arguments) -> str:
    _need_text(owner, args[0], "replace() argument 1 must be str, not {}")
    _need_text(owner, args[1], "replace() argument 2 must be str, not {}")
    run.spend(len(owner) >> 4)
    found = owner.count(args[0])
    width = 1 if owner.isascii() and args[1].isascii() else 4
    run.allocate(48 + width * (len(owner) + found * len(args[1])))
    return owner.replace(args[0], args[1])


def _text_count(run: Run, owner: str, args: Arguments) -> int:
    _need_text(owner, args[0], "must be str, not {}")
    run.spend(len(owner) >> 4)
    return owner.count(args[0])


def _text_index(run: Run, owner: str, args: Arguments) -> int:
    _need_text(owner, args[0], "must be str, not {}")
    run.spend(len(owner) >> 4)
    position = owner.find(args[0])
    if position < 0:
        raise Raised("ValueError", "substring not found")
    return position


_BY_CLASS: Final[dict[tuple[type, str], tuple[int, int, Callable[[Run, Value, Arguments], Value]]]] = {
    (list, "append"): (1, 1, _append),
    (list, "copy"): (0, 0, _copy),
    (list, "count"): (1, 1, _count),
    (list, "extend"): (1, 1, _extend),
    (list, "index"): (1, 1, _index),
    (list, "insert"): (2, 2, _insert),
    (list, "pop"): (0, 1, _list_pop),
    (list, "reverse"): (0, 0, _reverse),
    (tuple, "count"): (1, 1, _count),
    (tuple, "index"): (1, 1, _index),
    (dict, "copy"): (0, 0, _copy),
    (dict, "get"): (1, 2, _get),
    (dict, "items"): (0, 0, _view(ViewKind.ITEMS)),
    (dict, "keys"): (0, 0, _view(ViewKind.KEYS)),
    (dict, "pop"): (1, 2, _dict_pop),
    (dict, "setdefault"): (1, 2, _setdefault),
    (dict, "update"): (1, 1, _update),
    (dict, "values"): (0, 0, _view(ViewKind.VALUES)),
    (str, "count"): (1, 1, _text_count),
    (str, "endswith"): (1, 1, _edge("endswith")),
    (str, "index"): (1, 1, _text_index),
    (str, "join"): (1, 1, _join),
    (str, "lower"): (0, 0, _case("lower")),
    (str, "replace"): (2, 2, _replace),
    (str, "split"): (0, 2, _split),
    (str, "startswith"): (1, 1, _edge("startswith")),
    (str, "strip"): (0, 1, _strip),
    (str, "upper"): (0, 0, _case("upper")),
}
