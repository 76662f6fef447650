"""The builtin functions, in the order of `BUILTINS`. Counts of arguments and keywords were checked by the verifier."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Final

from sojourn.vm.arithmetic import binary
from sojourn.vm.bounded import bounded
from sojourn.vm.compare import less, truth
from sojourn.vm.containers import need_narrow
from sojourn.vm.costs import MEMBER, SLOT, bytes_of_int
from sojourn.vm.crowds import refuse_crowd
from sojourn.vm.dicts import update_dict
from sojourn.vm.faults import Raised, item_help, need_c_int, need_index, no_operation, refuse_box
from sojourn.vm.iteration import END, MAX_ITER_DEPTH, advance, items_of, list_of, make_iter, make_reversed
from sojourn.vm.keys import check_member
from sojourn.vm.op import BUILTINS
from sojourn.vm.state import Run
from sojourn.vm.text import ascii_of, float_of, format_by, int_of, repr_of, str_of
from sojourn.vm.values import (
    Box,
    BuiltinValue,
    DictView,
    FunctionValue,
    Handle,
    Iter,
    IterKind,
    RecordValue,
    SetValue,
    Value,
    canonical_float,
    type_name,
)

__all__ = ["BUILTIN_FUNCTIONS", "sort_list", "update_set"]

Arguments = list[Value]
Keywords = dict[str, Value]
Builtin = Callable[[Run, Arguments, Keywords], Value]

_INTS: Final = frozenset((bool, int))
_NUMBERS: Final = frozenset((bool, int, float))


def _abs(run: Run, args: Arguments, _: Keywords) -> Value:
    value = args[0]
    if type(value) in _INTS:
        run.spend(value.bit_length() >> 12)
        run.allocate(bytes_of_int(value.bit_length()))
        return abs(value)
    if type(value) is float:
        return canonical_float(abs(value))
    if type(value) in (Box, Handle, RecordValue):
        raise no_operation("compute with", value)
    raise Raised("TypeError", f"bad operand type for abs(): '{type_name(value)}'")


@bounded
def _all(run: Run, args: Arguments, _: Keywords) -> Value:
    return all(truth(item) for item in items_of(run, args[0]))


@bounded
def _any(run: Run, args: Arguments, _: Keywords) -> Value:
    return any(truth(item) for item in items_of(run, args[0]))


def _bool(_run: Run, args: Arguments, _: Keywords) -> Value:
    return truth(args[0]) if args else False


def _dict(run: Run, args: Arguments, keywords: Keywords) -> Value:
    run.allocate(56 + 3 * SLOT * len(keywords))
    result: dict[Value, Value] = {}
    if args:
        with run.making(result):
            update_dict(run, result, args[0])
    result.update(keywords)
    return result


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


def _zip(run: Run, args: Arguments, keywords: Keywords) -> Value:
    if truth(keywords.get("strict", False)):
        return _strict(run, args)
    inner = [make_iter(run, value) for value in args]
    return _nested(run, IterKind.ZIP, "zip", tuple(inner), 0)


def _strict(run: Run, args: Arguments) -> Value:
    """`zip(..., strict=True)` draws everything at once, and then looks at the lengths as CPython does on its way."""
    columns: list[list[Value]] = []
    with run.making(columns):
        for value in args:
            columns.append(list_of(run, value))  # noqa: PERF401 - counted while it grows
    least = min(map(len, columns), default=0)
    for position, column in enumerate(columns):
        if len(column) != len(columns[0]):
            short = len(column) == least and len(columns[0]) > least
            before = "argument 1" if position == 1 else f"arguments 1-{position}"
            word = "shorter" if short else "longer"
            raise Raised("ValueError", f"zip() argument {position + 1} is {word} than {before}")
    return _nested(run, IterKind.ZIP, "zip", tuple([make_iter(run, column) for column in columns]), 0)


def _float(run: Run, args: Arguments, _: Keywords) -> Value:
    return float_of(run, args[0]) if args else 0.0


def _int(run: Run, args: Arguments, keywords: Keywords) -> Value:
    if not args:
        if keywords:
            raise Raised("TypeError", "int() missing string argument")
        return 0
    given = [*args[1:], *keywords.values()]
    for base in given:  # looked at before the text
        _need_int(base)
        if base != 0 and not 2 <= base <= 36:
            raise Raised("ValueError", "int() base must be >= 2 and <= 36, or 0")
    return int_of(run, args[0], given[0] if given else None)


def _len(_run: Run, args: Arguments, _: Keywords) -> Value:
    value = args[0]
    if type(value) is DictView:
        return len(value.mapping)
    if type(value) is SetValue:
        return len(value.items)
    if type(value) in (str, bytes, tuple, list, dict):
        return len(value)
    if type(value) is range:
        try:
            return len(value)
        except OverflowError:
            raise Raised("OverflowError", "Python int too large to convert to C ssize_t") from None
    refuse_box("measure", value)
    raise Raised("TypeError", f"object of type '{type_name(value)}' has no len(){item_help(value)}")


def _list(run: Run, args: Arguments, _: Keywords) -> Value:
    return list_of(run, args[0]) if args else []


def _tuple(run: Run, args: Arguments, _: Keywords) -> Value:
    if args and type(args[0]) is tuple:
        return args[0]
    return tuple(list_of(run, args[0])) if args else ()


def _extreme(name: str, op: str) -> Builtin:
    @bounded
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
        raise Raised("TypeError", f"'{type_name(value)}' object cannot be interpreted as an integer{item_help(value)}")


def _range(run: Run, args: Arguments, _: Keywords) -> Value:
    for value in args:
        _need_int(value)
    if len(args) == 3 and args[2] == 0:
        raise Raised("ValueError", "range() arg 3 must not be zero")
    run.allocate(56)
    numbers = [int(value) for value in args]
    need_narrow(*numbers)
    return range(*numbers)


def _repr(run: Run, args: Arguments, _: Keywords) -> Value:
    return repr_of(run, args[0])


def _round(run: Run, args: Arguments, keywords: Keywords) -> Value:
    value, digits = args[0], args[1] if len(args) > 1 else keywords.get("ndigits")
    if type(value) not in (bool, int, float):
        refuse_box("compute with", value)
        raise Raised("TypeError", f"type {type_name(value)} doesn't define __round__ method{item_help(value)}")
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
    sort_list(run, items, keywords.get("reverse", False))
    return items


@bounded
def sort_list(run: Run, items: list[Value], reverse: Value, keys: list[Value] | None = None) -> None:
    """Sort in place; with `keys` the items are positions in it. What was done before two items had no order stays."""
    _need_int(reverse)
    need_c_int(reverse)
    run.spend(len(items) * len(items).bit_length() >> 3)
    for item in items if keys is None else keys:
        refuse_box("compare", item)

    @functools.cmp_to_key
    def key(left: Value, right: Value) -> int:
        run.spend(1)
        if keys is not None:
            left, right = keys[left], keys[right]
        return -1 if less(run, "<", left, right) else 0

    plain = keys if keys is not None else items
    if _host_compares(run, plain):
        items.sort(key=keys.__getitem__ if keys is not None else None, reverse=bool(reverse))
    else:
        items.sort(key=key, reverse=bool(reverse))


_LONG: Final = 64  # from here on comparing two texts is paid for
_WIDE: Final = 8


def _host_compares(run: Run, items: list[Value]) -> bool:
    """Whether the host orders the items as `less` does, at no more than is paid: short scalars, or rows of them.

    Columns have one class each, or numbers only, so that no comparison fails.
    """
    if not items or type(items[0]) is not tuple:
        return _scalars(items)
    width = len(items[0])
    if not 0 < width <= _WIDE or set(map(type, items)) != {tuple} or set(map(len, items)) != {width}:
        return False
    if not all(_scalars(column) for column in zip(*items, strict=True)):
        return False
    run.spend(width * len(items) * len(items).bit_length() >> 4)
    return True


def _scalars(items: Sequence[Value]) -> bool:
    kinds = set(map(type, items))
    if kinds <= _NUMBERS:
        return int not in kinds or all(type(item) is float or -(1 << 62) < item < 1 << 62 for item in items)
    return kinds in ({str}, {bytes}) and max(map(len, items)) < _LONG


def _arrange(run: Run, args: Arguments, _: Keywords) -> Value:
    """Sort the list `args[0]` in place by the list of keys `args[1]`; what `key=` comes down to."""
    items, keys, reverse = args
    if type(items) is not list or type(keys) is not list or len(items) != len(keys):
        raise Raised("ValueError", "list modified during sort")
    order: list[Value] = list_of(run, range(len(items)))
    try:
        sort_list(run, order, reverse, keys)
    finally:
        items[:] = [items[position] for position in order]
    return None


def _same_list(_run: Run, args: Arguments, _: Keywords) -> Value:
    if type(args[0]) is not list:
        refuse_box("call a method of", args[0])
        raise Raised("AttributeError", f"'{type_name(args[0])}' object has no attribute 'sort'")
    return args[0]


def _set(run: Run, args: Arguments, _: Keywords) -> Value:
    made = SetValue({})
    run.allocate(56)
    if args:
        refuse_box("iterate over", args[0])
        with run.making(made):
            update_set(run, made, args[0])
    return made


@bounded
def update_set(run: Run, target: SetValue, source: Value) -> None:
    """Add every item of `source`."""
    for item in items_of(run, source):
        check_member(run, item)
        if item not in target.items:
            refuse_crowd(run, target.items, item)
            run.allocate(MEMBER)
            target.items[item] = None


def _based(kind: str) -> Builtin:
    def based(run: Run, args: Arguments, _: Keywords) -> Value:
        _need_int(args[0])
        bits = int(args[0]).bit_length()
        run.allocate(64 + bits)
        run.spend(bits >> 5)
        return format(int(args[0]), f"#{kind}")

    return based


def _bytes(run: Run, args: Arguments, _: Keywords) -> Value:
    if not args:
        return b""
    value = args[0]
    if type(value) is bytes:
        return value
    if type(value) in _INTS:
        need_index(value)
        if value < 0:
            raise Raised("ValueError", "negative count")
        run.allocate(48 + value)
        run.spend(value >> 5)
        return bytes(value)
    if type(value) is str:
        raise Raised("TypeError", "string argument without an encoding")
    refuse_box("iterate over", value)
    if type(value) in (Handle, RecordValue):
        raise no_operation("iterate over", value)
    try:
        items = list_of(run, value)
    except Raised as problem:
        if problem.message.endswith("is not iterable"):
            raise Raised("TypeError", f"cannot convert '{type_name(value)}' object to bytes") from None
        raise
    for item in items:
        _need_int(item)
        if not 0 <= item < 256:
            raise Raised("ValueError", "bytes must be in range(0, 256)")
    run.allocate(48 + len(items))
    return bytes(items)


def _chr(run: Run, args: Arguments, _: Keywords) -> Value:
    _need_int(args[0])
    number = int(args[0])
    need_c_int(number)
    if not 0 <= number < 0x110000:
        raise Raised("ValueError", "chr() arg not in range(0x110000)")
    if 0xD800 <= number < 0xE000:
        raise Raised("ValueError", "text with lone surrogates is not a value of the language")
    run.allocate(52)
    return chr(number)


def _ord(_run: Run, args: Arguments, _: Keywords) -> Value:
    value = args[0]
    if type(value) not in (str, bytes):
        refuse_box("use", value)
        raise Raised("TypeError", f"ord() expected string of length 1, but {type_name(value)} found")
    if len(value) != 1:
        raise Raised("TypeError", f"ord() expected a character, but string of length {len(value)} found")
    return ord(value)


def _divmod(run: Run, args: Arguments, _: Keywords) -> Value:
    left, right = args
    numbers = (bool, int, float)
    if type(left) not in numbers or type(right) not in numbers:
        refuse_box("compute with", left, right)
        kinds = f"'{type_name(left)}' and '{type_name(right)}'"
        raise Raised("TypeError", f"unsupported operand type(s) for divmod(): {kinds}")
    if right == 0 and float in (type(left), type(right)):
        float_of(run, left)  # both are floats before anything is divided
        raise Raised("ZeroDivisionError", "float divmod()")
    run.allocate(56 + 2 * SLOT)
    return (binary(run, "//", left, right), binary(run, "%", left, right))


def _pow(run: Run, args: Arguments, _: Keywords) -> Value:
    if len(args) == 2 or args[2] is None:
        return binary(run, "**", args[0], args[1])
    base, exponent, modulus = args
    if any(type(value) not in _INTS for value in args):
        refuse_box("compute with", *args)
        if all(type(value) in (bool, int, float) for value in args):
            raise Raised("TypeError", "pow() 3rd argument not allowed unless all arguments are integers")
        kinds = ", ".join(f"'{type_name(value)}'" for value in args)
        raise Raised("TypeError", f"unsupported operand type(s) for ** or pow(): {kinds}")
    if modulus == 0:
        raise Raised("ValueError", "pow() 3rd argument cannot be 0")
    bits = int(modulus).bit_length()
    words = (bits >> 6) + 1
    run.allocate(bytes_of_int(bits + 64))
    digits = int(base).bit_length()  # brought below the modulus first
    length = int(exponent).bit_length()
    run.spend((length * words * words + (digits >> 6) * words >> 8) + (digits >> 12) + (max(length - 64, 0) >> 2))
    if exponent < 0:  # an inverse takes half as many divisions as the modulus has bits
        run.spend(max(bits - 64, 0) * (4 + words) >> 3)
    try:
        return pow(base, exponent, modulus)
    except ValueError:
        raise Raised("ValueError", "base is not invertible for the given modulus") from None


def _next(run: Run, args: Arguments, _: Keywords) -> Value:
    if type(args[0]) is not Iter:
        refuse_box("iterate over", args[0])
        raise Raised("TypeError", f"'{type_name(args[0])}' object is not an iterator")
    item = advance(run, args[0])
    if item is not END:
        return item
    if len(args) > 1:
        return args[1]
    raise Raised("StopIteration", "")


def _str(run: Run, args: Arguments, _: Keywords) -> Value:
    return str_of(run, args[0]) if args else ""


@bounded
def _sum(run: Run, args: Arguments, keywords: Keywords) -> Value:
    total = args[1] if len(args) > 1 else keywords.get("start", 0)
    if type(total) in (str, bytes):
        make_iter(run, args[0])
    if type(total) is str:
        raise Raised("TypeError", "sum() can't sum strings [use ''.join(seq) instead]")
    if type(total) is bytes:
        raise Raised("TypeError", "sum() can't sum bytes [use b''.join(seq) instead]")
    held = [total]
    with run.making(held):
        for item in items_of(run, args[0]):
            held[0] = binary(run, "+", held[0], item)
    return held[0]


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
    "ascii": lambda run, args, _: ascii_of(run, args[0]),
    "bin": _based("b"),
    "bytes": _bytes,
    "callable": lambda _run, args, _: type(args[0]) in (BuiltinValue, FunctionValue),
    "chr": _chr,
    "divmod": _divmod,
    "format": lambda run, args, _: format_by(run, args[0], args[1] if len(args) > 1 else ""),
    "hex": _based("x"),
    "iter": lambda run, args, _: make_iter(run, args[0]),
    "next": _next,
    "oct": _based("o"),
    "ord": _ord,
    "pow": _pow,
    "reversed": lambda run, args, _: make_reversed(run, args[0]),
    "set": _set,
    ".arrange": _arrange,
    ".same_list": _same_list,
}
BUILTIN_FUNCTIONS: Final = tuple(_FUNCTIONS[name] for name in BUILTINS)
