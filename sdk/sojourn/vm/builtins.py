"""The builtin functions, in the order of `BUILTINS`. Counts of arguments and keywords were checked by the verifier."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from sojourn.vm.arithmetic import binary
from sojourn.vm.compare import check_key, less, truth
from sojourn.vm.faults import Raised, no_operation, refuse_box
from sojourn.vm.iteration import MAX_ITER_DEPTH, items_of, list_of, make_iter
from sojourn.vm.op import BUILTINS
from sojourn.vm.state import SLOT, Run, bytes_of_int
from sojourn.vm.text import float_of, int_of, repr_of, str_of
from sojourn.vm.values import Box, DictView, Handle, Iter, IterKind, RecordValue, Value, canonical_float, type_name

__all__ = ["BUILTIN_FUNCTIONS"]

Arguments = list[Value]
Keywords = dict[str, Value]
Builtin = Callable[[Run, Arguments, Keywords], Value]

_INTS: Final = frozenset((bool, int))


def _abs(run: Run, args: Arguments, _: Keywords) -> Value:
    value = args[0]
    if type(value) in _INTS:
        run.allocate(bytes_of_int(value.bit_length()))
        return abs(value)
    if type(value) is float:
        return canonical_float(abs(value))
    if type(value) in (Box, Handle, RecordValue):
        raise no_operation("compute with", value)
    raise Raised("TypeError", f"bad operand type for abs(): '{type_name(value)}'")


def _all(run: Run, args: Arguments, _: Keywords) -> Value:
    return all(truth(item) for item in items_of(run, args[0]))


def _any(run: Run, args: Arguments, _: Keywords) -> Value:
    return any(truth(item) for item in items_of(run, args[0]))


def _bool(_run: Run, args: Arguments, _: Keywords) -> Value:
    return truth(args[0]) if args else False


def _dict(run: Run, args: Arguments, keywords: Keywords) -> Value:
    run.allocate(56 + 3 * SLOT * len(keywords))
    result: dict[Value, Value] = {}
    if args:
        update_dict(run, result, args[0])
    result.update(keywords)
    return result


def update_dict(run: Run, target: dict[Value, Value], source: Value) -> None:
    """`target.update(source)`: a dict, or pairs."""
    if type(source) is dict:
        run.allocate(3 * SLOT * len(source))
        run.spend(len(source) >> 2)
        target.update(source)
        return
    for position, pair in enumerate(items_of(run, source)):
        try:
            items = list_of(run, pair)
        except Raised:
            refuse_box("iterate over", pair)
            raise Raised(
                "TypeError", f"cannot convert dictionary update sequence element #{position} to a sequence"
            ) from None
        if len(items) != 2:
            raise Raised(
                "ValueError",
                f"dictionary update sequence element #{position} has length {len(items)}; 2 is required",
            )
        check_key(run, items[0])
        if items[0] not in target:
            run.allocate(3 * SLOT)
        target[items[0]] = items[1]


def _nested(run: Run, kind: IterKind, shown: str, inner: tuple[Iter, ...], index: int) -> Iter:
    depth = 1 + max((it.depth for it in inner), default=0)
    if depth > MAX_ITER_DEPTH:
        raise Raised(
            "RecursionError", f"iterators are nested deeper than {MAX_ITER_DEPTH}; write list(...) around one of them"
        )
    run.allocate(112 + SLOT * len(inner))
    return Iter(kind, shown, index=index, inner=inner, depth=depth)


def _enumerate(run: Run, args: Arguments, keywords: Keywords) -> Value:
    start = args[1] if len(args) > 1 else keywords.get("start", 0)
    _need_int(start)
    if abs(start) >= 1 << 61:
        raise Raised("OverflowError", "enumerate() starts with a number of at most 61 bits here")
    return _nested(run, IterKind.ENUMERATE, "enumerate", (make_iter(run, args[0]),), int(start))


def _zip(run: Run, args: Arguments, _: Keywords) -> Value:
    inner = [make_iter(run, value) for value in args]
    return _nested(run, IterKind.ZIP, "zip", tuple(inner), 0)


def _float(run: Run, args: Arguments, _: Keywords) -> Value:
    return float_of(run, args[0]) if args else 0.0


def _int(run: Run, args: Arguments, _: Keywords) -> Value:
    return int_of(run, args[0], args[1] if len(args) > 1 else None) if args else 0


def _len(_run: Run, args: Arguments, _: Keywords) -> Value:
    value = args[0]
    if type(value) is DictView:
        return len(value.mapping)
    if type(value) in (str, bytes, tuple, list, dict):
        return len(value)
    if type(value) is range:
        try:
            return len(value)
        except OverflowError:
            raise Raised("OverflowError", "Python int too large to convert to C ssize_t") from None
    refuse_box("measure", value)
    raise Raised("TypeError", f"object of type '{type_name(value)}' has no len()")


def _list(run: Run, args: Arguments, _: Keywords) -> Value:
    return list_of(run, args[0]) if args else []


def _tuple(run: Run, args: Arguments, _: Keywords) -> Value:
    if args and type(args[0]) is tuple:
        return args[0]
    return tuple(list_of(run, args[0])) if args else ()


def _extreme(name: str, op: str) -> Builtin:
    def extreme(run: Run, args: Arguments, keywords: Keywords) -> Value:
        if len(args) > 1 and keywords:
            raise Raised("TypeError", f"Cannot specify a default for {name}() with multiple positional arguments")
        if len(args) == 1:
            refuse_box("iterate over", args[0])
        found: Value = None
        empty = True
        for item in args if len(args) > 1 else items_of(run, args[0]):
            if empty or less(run, op, item, found):
                found, empty = item, False
        if empty:
            if "default" in keywords:
                return keywords["default"]
            raise Raised("ValueError", f"{name}() arg is an empty sequence")
        return found

    return extreme


def _need_int(value: Value) -> None:
    if type(value) not in _INTS:
        refuse_box("count with", value)
        raise Raised("TypeError", f"'{type_name(value)}' object cannot be interpreted as an integer")


def _range(run: Run, args: Arguments, _: Keywords) -> Value:
    for value in args:
        _need_int(value)
    if len(args) == 3 and args[2] == 0:
        raise Raised("ValueError", "range() arg 3 must not be zero")
    run.allocate(56)
    return range(*(int(value) for value in args))


def _repr(run: Run, args: Arguments, _: Keywords) -> Value:
    return repr_of(run, args[0])


def _round(run: Run, args: Arguments, _: Keywords) -> Value:
    value, digits = args[0], args[1] if len(args) > 1 else None
    if type(value) not in (bool, int, float):
        refuse_box("compute with", value)
        raise Raised("TypeError", f"type {type_name(value)} doesn't define __round__ method")
    if digits is None:
        return int_of(run, value if type(value) is not float or value - value != 0 else float(round(value)), None)
    _need_int(digits)
    if type(value) is float:
        try:
            return canonical_float(round(value, max(min(digits, 400), -400)))
        except OverflowError:
            raise Raised("OverflowError", "rounded value too large to represent") from None
    if digits >= 0:
        return int(value)
    if -digits > 1 + value.bit_length() // 3:
        return 0
    run.allocate(bytes_of_int(2 * value.bit_length() + 8))
    run.spend((value.bit_length() >> 6) ** 2 >> 6)
    return round(int(value), digits)


def _sorted(run: Run, args: Arguments, keywords: Keywords) -> Value:
    items = list_of(run, args[0])
    reverse = keywords.get("reverse", False)
    _need_int(reverse)
    run.spend(len(items) * len(items).bit_length() >> 3)
    for item in items:
        refuse_box("compare", item)

    @functools.cmp_to_key
    def key(left: Value, right: Value) -> int:
        run.spend(1)
        return -1 if less(run, "<", left, right) else 0

    items.sort(key=key, reverse=bool(reverse))
    return items


def _str(run: Run, args: Arguments, _: Keywords) -> Value:
    return str_of(run, args[0]) if args else ""


def _sum(run: Run, args: Arguments, keywords: Keywords) -> Value:
    total = args[1] if len(args) > 1 else keywords.get("start", 0)
    if type(total) is str:
        raise Raised("TypeError", "sum() can't sum strings [use ''.join(seq) instead]")
    if type(total) is bytes:
        raise Raised("TypeError", "sum() can't sum bytes [use b''.join(seq) instead]")
    for item in items_of(run, args[0]):
        total = binary(run, "+", total, item)
    return total


_FUNCTIONS: Final[dict[str, Builtin]] = {
    "abs": _abs,
    "all": _all,
    "any": _any,
    "bool": _bool,
    "dict": _dict,
    "enumerate": _enumerate,
    "float": _float,
    "int": _int,
    "len": _len,
    "list": _list,
    "max": _extreme("max", ">"),
    "min": _extreme("min", "<"),
    "range": _range,
    "repr": _repr,
    "round": _round,
    "sorted": _sorted,
    "str": _str,
    "sum": _sum,
    "tuple": _tuple,
    "zip": _zip,
}
BUILTIN_FUNCTIONS: Final = tuple(_FUNCTIONS[name] for name in BUILTINS)
