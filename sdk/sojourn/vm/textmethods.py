"""Methods of str, bytes and numbers.

What Unicode's tables decide (case, what a digit or a blank is) exists for ASCII only: the tables differ between hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sojourn.vm.compare import truth
from sojourn.vm.costs import SLOT, bytes_of_int, bytes_of_text
from sojourn.vm.faults import Raised, need_c_int, refuse_box
from sojourn.vm.iteration import list_of
from sojourn.vm.state import Run
from sojourn.vm.values import DictView, Iter, SetValue, Value, type_name

__all__ = ["BLANKS", "NUMBER_METHODS", "TEXT_METHODS", "bounds", "need_size"]

Arguments = list[Value]
Method = Callable[[Run, Value, Arguments], Value]
Row = tuple[int, int, Method]

_INTS: Final = frozenset((bool, int))
BLANKS: Final = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
_BYTE_BLANKS: Final = b" \t\n\r\x0b\x0c"
_ITERABLE: Final = frozenset((list, tuple, str, dict, range, bytes, DictView, Iter, SetValue))


def need_int(value: Value) -> None:
    """Raise TypeError unless `value` is an int."""
    if type(value) not in _INTS:
        refuse_box("count with", value)
        raise Raised("TypeError", f"'{type_name(value)}' object cannot be interpreted as an integer")


def need_size(value: Value) -> None:
    """Raise unless `value` is an int that counts what memory can hold."""
    need_int(value)
    if not -(1 << 63) <= value < 1 << 63:
        raise Raised("OverflowError", "Python int too large to convert to C ssize_t")


def bounds(args: Arguments, length: int) -> tuple[int, int]:
    """Start and stop of a search, from the arguments after the first."""
    for value in args[1:]:
        if value is not None and type(value) not in _INTS:
            refuse_box("count with", value)
            raise Raised("TypeError", "slice indices must be integers or None or have an __index__ method")
    start = args[1] if len(args) > 1 and args[1] is not None else 0
    stop = args[2] if len(args) > 2 and args[2] is not None else length
    start = max(start + length, 0) if start < 0 else start
    stop = max(stop + length, 0) if stop < 0 else stop
    return min(int(start), length + 1), min(int(stop), length)


def _need(owner: Value, value: Value, message: str) -> None:
    """Raise TypeError unless `value` is of the class of `owner`; `{}` in the message is the class it has."""
    if type(value) is not type(owner):
        refuse_box("use", value)
        if type(owner) is bytes:
            message = "a bytes-like object is required, not '{}'"
        raise Raised("TypeError", message.format(_shown(value) if "()" in message else type_name(value)))


def _shown(value: Value) -> str:
    """The class of an argument, as CPython's checks of arguments write it."""
    return "None" if value is None else type_name(value)


def backwards(owner: Value, wanted: Value) -> int:
    """Fuel of a search from the end: CPython's takes the product of both lengths where text repeats itself."""
    return len(wanted) * max(len(owner) - len(wanted), 0) >> 8


def _made(run: Run, text: str | bytes) -> str | bytes:
    """Pay for a new text that is not longer than what it was made of."""
    run.spend(len(text) >> 5)
    run.allocate(bytes_of_text(text) if isinstance(text, str) else 48 + len(text))
    return text


def _join(run: Run, owner: Value, args: Arguments) -> Value:
    refuse_box("iterate over", args[0])
    if type(args[0]) not in _ITERABLE:
        raise Raised("TypeError", "can only join an iterable")
    items = list_of(run, args[0])
    wanted = "str instance" if type(owner) is str else "a bytes-like object"
    for position, item in enumerate(items):
        if type(item) is not type(owner):
            refuse_box("use", item)
            raise Raised("TypeError", f"sequence item {position}: expected {wanted}, {type_name(item)} found")
    narrow = type(owner) is bytes or (owner.isascii() and all(map(str.isascii, items)))
    length = sum(map(len, items)) + len(owner) * len(items)
    run.allocate(48 * (2 * len(items)) + length * (1 if narrow else 4))
    run.spend((sum(len(item) for item in items) >> 5) + (len(owner) * len(items) >> 9))
    return owner.join(items)


def _bytes(text: str | bytes) -> int:
    return bytes_of_text(text) if isinstance(text, str) else 48 + len(text)


def _split(name: str) -> Method:
    def split(run: Run, owner: Value, args: Arguments) -> Value:
        separator, most = args[0] if args else None, args[1] if len(args) > 1 else -1
        need_size(most)
        if separator is not None:
            _need(owner, separator, "must be str or None, not {}")
            if not separator:
                raise Raised("ValueError", "empty separator")
        elif type(owner) is str and not owner.isascii():
            raise Raised(
                "ValueError", f"{name}() of text outside ASCII needs a separator: which characters are blank differs"
            )
        run.spend((len(owner) >> 4) + (backwards(owner, separator) if name == "rsplit" and separator else 0))
        pieces = 1 + (owner.count(separator) if separator else len(owner) // 2)
        run.allocate(56 + pieces * (SLOT + 48) + _bytes(owner))
        function = owner.split if name == "split" else owner.rsplit
        return function(separator, max(min(most, len(owner)), -1))

    return split


def _splitlines(run: Run, owner: Value, args: Arguments) -> Value:
    keep = args[0] if args else False
    need_int(keep)
    need_c_int(keep)
    _ascii(owner, "splitlines")
    run.spend(len(owner) >> 4)
    run.allocate(56 + (len(owner) + 1) * (SLOT + 48) if len(owner) < 64 else 56 + 90 * len(owner))
    return owner.splitlines(bool(keep))


def _ascii(owner: Value, name: str) -> None:
    if type(owner) is str and not owner.isascii():
        raise Raised("ValueError", f"{name}() of text outside ASCII is not the same on every machine")


def _plain(name: str) -> Method:
    """A method without arguments that asks for case, letters, digits or blanks."""

    def plain(run: Run, owner: Value, _: Arguments) -> Value:
        _ascii(owner, name)
        run.spend(len(owner) >> 5)
        result = getattr(owner, name)()
        return _made(run, result) if isinstance(result, str | bytes) else result

    return plain


def _strip(name: str) -> Method:
    def strip(run: Run, owner: Value, args: Arguments) -> Value:
        characters = args[0] if args else None
        if characters is None:
            characters = BLANKS if type(owner) is str else _BYTE_BLANKS
        else:
            _need(owner, characters, f"{name} arg must be None or str")
        run.allocate(_bytes(owner))
        run.spend((len(owner) * (1 + (len(characters) >> 5))) >> 5)
        return getattr(owner, name)(characters)

    return strip


def _edge(name: str) -> Method:
    def edge(run: Run, owner: Value, args: Arguments) -> bool:
        start, stop = bounds(args, len(owner))
        kind = type_name(owner)
        many = type(args[0]) is tuple
        if not many and type(args[0]) is not type(owner):
            refuse_box("use", args[0])
            what = f"{name} first arg must be {kind} or a tuple of {kind}, not {type_name(args[0])}"
            raise Raised("TypeError", what)
        for option in args[0] if many else (args[0],):
            _need(owner, option, f"tuple for {name} must only contain str, not {{}}")
            run.spend((len(option) >> 5) + many)
            if getattr(owner, name)(option, start, stop):
                return True
        return False

    return edge


def _replace(run: Run, owner: Value, args: Arguments) -> Value:
    _need(owner, args[0], "replace() argument 1 must be str, not {}")
    _need(owner, args[1], "replace() argument 2 must be str, not {}")
    most = args[2] if len(args) > 2 else -1
    need_size(most)
    run.spend(len(owner) >> 4)
    found = owner.count(args[0])
    found = found if most < 0 else min(found, most)
    width = 4 if type(owner) is str and not (owner.isascii() and args[1].isascii()) else 1
    run.allocate(48 + width * (len(owner) + found * len(args[1])))
    run.spend(found * len(args[1]) >> 5)
    return owner.replace(args[0], args[1], max(min(most, len(owner) + 1), -1))


def _search(name: str) -> Method:
    """count, find, index, rfind, rindex."""

    def search(run: Run, owner: Value, args: Arguments) -> int:
        wanted = args[0]
        start, stop = bounds(args, len(owner))
        if type(owner) is bytes and type(wanted) in _INTS:
            if not 0 <= wanted < 256:
                raise Raised("ValueError", "byte must be in range(0, 256)")
        elif type(wanted) is not type(owner):
            refuse_box("use", wanted)
            what = "must be str, not {}" if type(owner) is str else _BYTES_ARGUMENT
            raise Raised("TypeError", what.format(type_name(wanted)))
        run.spend(len(owner) >> 4)
        if name[0] == "r" and type(wanted) not in _INTS:
            run.spend(backwards(owner, wanted))
        if name == "count":
            return int(owner.count(wanted, start, stop))
        position = int((owner.rfind if name[0] == "r" else owner.find)(wanted, start, stop))
        if position < 0 and name in ("index", "rindex"):
            raise Raised("ValueError", "substring not found" if type(owner) is str else "subsection not found")
        return position

    return search


_BYTES_ARGUMENT: Final = "argument should be integer or bytes-like object, not '{}'"


def _pad(name: str) -> Method:
    def pad(run: Run, owner: Value, args: Arguments) -> Value:
        need_size(args[0])
        fill: Value = args[1] if len(args) > 1 else " " if type(owner) is str else b" "
        if type(fill) is not type(owner) or len(fill) != 1:
            refuse_box("use", fill)
            if type(owner) is bytes:
                what = f"{name}() argument 2 must be a byte string of length 1, not {_shown(fill)}"
            elif type(fill) is not str:
                what = f"The fill character must be a unicode character, not {type_name(fill)}"
            else:
                what = "The fill character must be exactly one character long"
            raise Raised("TypeError", what)
        width = max(args[0], len(owner))
        run.allocate(48 + (width if type(owner) is bytes or (owner + fill).isascii() else 4 * width))
        run.spend(width >> 5)
        return getattr(owner, name)(max(args[0], 0), fill)

    return pad


def _zfill(run: Run, owner: Value, args: Arguments) -> Value:
    need_size(args[0])
    width = max(args[0], len(owner))
    run.allocate(48 + 4 * width)
    run.spend(width >> 5)
    return owner.zfill(max(args[0], 0))


def _cut(name: str) -> Method:
    def cut(run: Run, owner: Value, args: Arguments) -> Value:
        _need(owner, args[0], f"{name}() argument must be str, not {{}}")
        return _made(run, getattr(owner, name)(args[0]))

    return cut


def _partition(name: str) -> Method:
    def partition(run: Run, owner: Value, args: Arguments) -> Value:
        _need(owner, args[0], "must be str, not {}")
        if not args[0]:
            raise Raised("ValueError", "empty separator")
        run.spend((len(owner) >> 4) + (backwards(owner, args[0]) if name == "rpartition" else 0))
        run.allocate(56 + 3 * (SLOT + 48) + _bytes(owner))
        return tuple(getattr(owner, name)(args[0]))

    return partition


_ENCODINGS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "ascii": "ascii",
    "latin-1": "latin-1",
    "latin1": "latin-1",
}


def _codec(method: str, args: Arguments) -> str:
    name = args[0] if args else "utf-8"
    if type(name) is not str:
        refuse_box("use", name)
        raise Raised("TypeError", f"{method}() argument 'encoding' must be str, not {_shown(name)}")
    if name.lower() not in _ENCODINGS:
        raise Raised("ValueError", f"the encoding {name[:40]!a} is not in this language; use utf-8, ascii or latin-1")
    return _ENCODINGS[name.lower()]


def _encode(run: Run, owner: str, args: Arguments) -> bytes:
    codec = _codec("encode", args)
    run.allocate(48 + 4 * len(owner))
    run.spend(len(owner) >> 4)
    try:
        return owner.encode(codec)
    except UnicodeEncodeError as problem:
        raise Raised("UnicodeEncodeError", str(problem)) from None


def _decode(run: Run, owner: bytes, args: Arguments) -> str:
    codec = _codec("decode", args)
    run.allocate(48 + 4 * len(owner))
    run.spend(len(owner) >> 4)
    try:
        return owner.decode(codec)
    except UnicodeDecodeError as problem:
        raise Raised("UnicodeDecodeError", str(problem)) from None


def _hex(run: Run, owner: bytes, _: Arguments) -> str:
    run.allocate(48 + 2 * len(owner))
    run.spend(len(owner) >> 4)
    return owner.hex()


def _common() -> dict[str, Row]:
    rows: dict[str, Row] = {
        "join": (1, 1, _join),
        "replace": (2, 3, _replace),
        "splitlines": (0, 1, _splitlines),
        "zfill": (1, 1, _zfill),
    }
    families: tuple[tuple[str, int, int, Callable[[str], Method]], ...] = (
        ("isalnum isalpha isdigit islower isspace isupper", 0, 0, _plain),
        ("capitalize lower swapcase title upper", 0, 0, _plain),
        ("center ljust rjust", 1, 2, _pad),
        ("count find index rfind rindex", 1, 3, _search),
        ("startswith endswith", 1, 3, _edge),
        ("strip lstrip rstrip", 0, 1, _strip),
        ("split rsplit", 0, 2, _split),
        ("partition rpartition", 1, 1, _partition),
        ("removeprefix removesuffix", 1, 1, _cut),
    )
    for names, least, most, maker in families:
        rows.update((name, (least, most, maker(name))) for name in names.split())
    return rows


def _bit_length(_run: Run, owner: int, _: Arguments) -> int:
    return int(owner).bit_length()


def _bit_count(run: Run, owner: int, _: Arguments) -> int:
    run.spend(int(owner).bit_length() >> 10)
    return int(owner).bit_count()


def _to_bytes(run: Run, owner: int, args: Arguments) -> bytes:
    defaults: tuple[Value, ...] = (1, "big", False)
    length, order, signed = (*args, *defaults[len(args) :])
    need_size(length)
    signed = truth(signed)
    if type(order) is not str:
        refuse_box("use", order)
        raise Raised("TypeError", f"to_bytes() argument 'byteorder' must be str, not {_shown(order)}")
    if order not in ("big", "little"):
        raise Raised("ValueError", "byteorder must be either 'little' or 'big'")
    if length < 0:
        raise Raised("ValueError", "length argument must be non-negative")
    run.allocate(48 + length)
    run.spend((length + bytes_of_int(int(owner).bit_length())) >> 5)
    try:
        return int(owner).to_bytes(length, "big" if order == "big" else "little", signed=signed)
    except OverflowError as problem:
        raise Raised("OverflowError", str(problem)) from None


def _float_hex(run: Run, owner: float, _: Arguments) -> str:
    run.allocate(80)
    return owner.hex()


def _is_integer(_run: Run, owner: float, _: Arguments) -> bool:
    return owner.is_integer()


TEXT_METHODS: Final[dict[type, dict[str, Row]]] = {
    str: {**_common(), "encode": (0, 1, _encode)},
    bytes: {**_common(), "decode": (0, 1, _decode), "hex": (0, 0, _hex)},
}
_INT_METHODS: Final[dict[str, Row]] = {
    "bit_count": (0, 0, _bit_count),
    "bit_length": (0, 0, _bit_length),
    "to_bytes": (0, 3, _to_bytes),
}
NUMBER_METHODS: Final[dict[type, dict[str, Row]]] = {
    int: _INT_METHODS,
    bool: _INT_METHODS,
    float: {"hex": (0, 0, _float_hex), "is_integer": (0, 0, _is_integer)},
}
