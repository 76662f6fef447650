"""Text of values: `str`, `repr`, formats, and numbers from text.

What depends on a machine's Unicode tables is refused: `repr` of text beyond Latin-1, digits outside ASCII. Long
integers have CPython's limit of 4300 digits; `verify` refuses a host that is set to less.
"""

from __future__ import annotations

import math
from typing import Final

from sojourn.vm.costs import SLOT, bytes_of_text
from sojourn.vm.faults import Raised, item_help, no_operation, refuse_box
from sojourn.vm.formats import MAX_DIGITS, MAX_WIDTH, check_format
from sojourn.vm.keys import MAX_DEPTH
from sojourn.vm.state import Run
from sojourn.vm.values import Box, DictView, ExcValue, SetValue, Value, ViewKind, canonical_float, type_name

__all__ = ["ascii_of", "exception_text", "float_of", "format_by", "format_of", "int_of", "repr_of", "str_of"]

_TOO_LONG: Final = 10**MAX_DIGITS


def _digits(run: Run, number: int) -> str:
    if number.bit_length() > 14_285 or abs(number) >= _TOO_LONG:
        raise Raised("ValueError", f"Exceeds the limit ({MAX_DIGITS} digits) for integer string conversion")
    words = number.bit_length() >> 6
    run.spend((words >> 2) + (words * words >> 7))  # the host's way is quadratic
    return str(number)


def _quoted(run: Run, text: str, *, plain: bool = False) -> str:
    run.spend(len(text) >> 5)
    if plain:
        run.allocate(10 * len(text))
        return ascii(text)
    if text and not text.isascii() and max(text) > "\xff":
        raise Raised("ValueError", "repr() of text beyond Latin-1 is not the same on every machine; use str()")
    run.allocate(4 * len(text))
    return repr(text)


def str_of(run: Run, value: Value) -> str:
    """`str(value)`."""
    if type(value) is str:
        return value
    return exception_text(run, value) if type(value) is ExcValue else repr_of(run, value)


def exception_text(run: Run, value: ExcValue) -> str:
    """`str(value)` of an exception."""
    depth = 0
    while len(value.args) == 1 and value.name != "KeyError" and type(value.args[0]) is ExcValue:
        value, depth = value.args[0], depth + 1
        if depth > MAX_DEPTH:
            raise Raised("RecursionError", "maximum recursion depth exceeded while getting the str of an object")
    if len(value.args) != 1:
        return repr_of(run, value.args) if value.args else ""
    return repr_of(run, value.args[0]) if value.name == "KeyError" else str_of(run, value.args[0])


def ascii_of(run: Run, value: Value) -> str:
    """`ascii(value)`: no Unicode table is needed for it, so that all text has one."""
    return _written(run, value, plain=True)


def repr_of(run: Run, value: Value) -> str:
    """`repr(value)`."""
    return _written(run, value, plain=False)


def _written(run: Run, value: Value, *, plain: bool) -> str:
    parts: list[str] = []
    with run.making(parts):
        _Writer(run, parts, plain=plain).write(value, 0)
        run.allocate(48 + sum(map(len, parts)) * (1 if all(map(str.isascii, parts)) else 4))
    return "".join(parts)


class _Writer:
    """Writes nested values, paying for each piece, and `[...]` where a container holds itself."""

    def __init__(self, run: Run, parts: list[str], *, plain: bool = False) -> None:
        self.run, self.parts, self.active, self.plain = run, parts, set[int](), plain

    def write(self, value: Value, depth: int) -> None:
        self.run.spend(1)
        kind = type(value)
        if value is None or kind is bool or kind is float:
            self.parts.append(repr(value))
        elif kind is int:
            self.parts.append(_digits(self.run, value))
        elif kind is str:
            self.parts.append(_quoted(self.run, value, plain=self.plain))
        elif kind is bytes:
            self.run.spend(len(value) >> 5)
            self.run.allocate(4 * len(value))
            self.parts.append(repr(value))
        elif kind is range:
            self._range(value)
        elif kind is DictView:
            self.parts.append(f"{type_name(value)}(")
            mapping = value.mapping
            source = mapping if value.kind == ViewKind.KEYS else mapping.values()
            self.write(list(source) if value.kind != ViewKind.ITEMS else list(mapping.items()), depth + 1)
            self.parts.append(")")
        elif kind in (list, tuple, dict):
            self._container(value, depth)
        elif kind is SetValue:
            self._set(value, depth)
        elif kind is ExcValue:
            self._exception(value, depth)
        else:
            refuse_box("print", value)
            raise no_operation("print", value)
        self.run.allocate(len(self.parts[-1]) + (2 * SLOT if depth else 0))  # with what stands beside it

    def _range(self, value: range) -> None:
        step = f", {_digits(self.run, value.step)}" if value.step != 1 else ""
        self.parts.append(f"range({_digits(self.run, value.start)}, {_digits(self.run, value.stop)}{step})")

    def _container(self, value: Value, depth: int) -> None:
        kind = type(value)
        opening, closing = ("[", "]") if kind is list else ("(", ")") if kind is tuple else ("{", "}")
        if id(value) in self.active:
            self.parts.append(f"{opening}...{closing}")
            return
        if depth >= MAX_DEPTH:
            raise Raised("RecursionError", "maximum recursion depth exceeded while getting the repr of an object")
        self.active.add(id(value))
        self.parts.append(opening)
        for position, item in enumerate(value):
            if position:
                self.parts.append(", ")
            self.write(item, depth + 1)
            if kind is dict:
                self.parts.append(": ")
                self.write(value[item], depth + 1)
        self.parts.append(",)" if kind is tuple and len(value) == 1 else closing)
        self.active.discard(id(value))

    def _set(self, value: SetValue, depth: int) -> None:
        if not value.items:
            self.parts.append("set()")
            return
        self.parts.append("{")
        for position, item in enumerate(value.items):
            if position:
                self.parts.append(", ")
            self.write(item, depth + 1)
        self.parts.append("}")

    def _exception(self, value: ExcValue, depth: int) -> None:
        """An exception in itself is written again, as CPython does: what it comes back through ends that."""
        if depth >= MAX_DEPTH:
            raise Raised("RecursionError", "maximum recursion depth exceeded while getting the repr of an object")
        self.parts.append(f"{value.name}(")
        for position, item in enumerate(value.args):
            if position:
                self.parts.append(", ")
            self.write(item, depth + 1)
        self.parts.append(")")


def format_by(run: Run, value: Value, spec: Value, conversion: str = "") -> str:
    """`format(value, spec)` with a computed format."""
    if type(spec) is not str:
        refuse_box("use", spec)
        raise Raised("TypeError", f"format() argument 2 must be str, not {'None' if spec is None else type_name(spec)}")
    problem = check_format(spec)
    if problem is not None:
        raise Raised("ValueError", problem)
    return format_of(run, value, spec, conversion)


def format_of(run: Run, value: Value, spec: str, conversion: str) -> str:
    """One field of an f-string. `spec` has passed `check_format`."""
    refuse_box("print", value)
    if conversion:
        value = _CONVERT[conversion](run, value)
    kind = type(value)
    if not spec or kind is str or (kind is int and spec[-1] not in "eEfFgG%"):
        text = str_of(run, value) if not spec or kind is not int else ""
        if not spec:
            return text
        if kind is int:
            _digits(run, value)
    elif kind not in (bool, int, float):
        raise Raised("TypeError", f"unsupported format string passed to {type_name(value)}.__format__")
    if kind is int and spec[-1] == "c" and not (0 <= value < 0xD800 or 0xE000 <= value < 0x110000):
        format_of(run, 0, spec, "")  # what is wrong with the format itself comes first
        if 0xD800 <= value < 0xE000:
            raise Raised("ValueError", "text with lone surrogates is not a value of the language")
        if not -(1 << 63) <= value < 1 << 63:
            raise Raised("OverflowError", "Python int too large to convert to C long")
        raise Raised("OverflowError", "%c arg not in range(0x110000)")
    if kind is str and len(value) > MAX_WIDTH:
        run.spend(len(value) >> 5)
        run.allocate(bytes_of_text(value))
        return format(value, spec)
    try:
        result = format(value, spec)
    except OverflowError:
        raise Raised("OverflowError", "int too large to convert to float") from None
    except ValueError as problem:
        raise Raised("ValueError", str(problem)) from None
    run.allocate(bytes_of_text(result))
    return result


_CONVERT: Final = {"r": repr_of, "s": str_of, "a": ascii_of}


def int_of(run: Run, value: Value, base: int | None) -> int:
    """`int(value)` or `int(value, base)`; the base is one that there is."""
    kind = type(value)
    if base is None and kind in (bool, int):
        return int(value)
    if base is None and kind is float:
        if value != value:  # noqa: PLR0124 - the test for not-a-number
            raise Raised("ValueError", "cannot convert float NaN to integer")
        if math.isinf(value):
            raise Raised("OverflowError", "cannot convert float infinity to integer")
        run.allocate(160)
        return int(value)
    if kind not in (str, bytes):
        if kind is Box:
            refuse_box("convert", value)
        if base is not None:
            raise Raised("TypeError", "int() can't convert non-string with explicit base")
        raise Raised(
            "TypeError",
            f"int() argument must be a string, a bytes-like object or a real number, not '{type_name(value)}'"
            f"{item_help(value)}",
        )
    return _int_of_text(run, value, 10 if base is None else base)


def _int_of_text(run: Run, value: str | bytes, base: int) -> int:
    run.spend(len(value) >> 2)
    run.allocate(bytes_of_int_text(len(value)))
    if not value.isascii():
        raise Raised("ValueError", f"invalid literal for int() with base {base}: {repr_of(run, value)[:200]}")
    if len(value) > MAX_DIGITS and _too_long(value if isinstance(value, str) else value.decode("ascii"), base):
        raise Raised("ValueError", f"Exceeds the limit ({MAX_DIGITS} digits) for integer string conversion")
    try:
        return int(value, base)
    except ValueError as problem:
        raise Raised("ValueError", str(problem)) from None


def _too_long(text: str, base: int) -> bool:
    """Whether a number begins with more digits than are read; as in CPython, powers of two have no such limit."""
    digits = text.lstrip()
    digits = digits[digits[:1] in ("+", "-") :].replace("_", "")
    if base in (2, 4, 8, 16, 32) or (base == 0 and digits[1:2] in tuple("bBoOxX")):
        return False
    known = digits[: MAX_DIGITS + 1]
    return len(known) > MAX_DIGITS and all(letter.isalnum() and int(letter, 36) < (base or 10) for letter in known)


def bytes_of_int_text(length: int) -> int:
    """Most that an integer of so many characters costs."""
    return 32 + length


def float_of(run: Run, value: Value) -> float:
    """`float(value)`."""
    kind = type(value)
    if kind in (bool, int, float):
        try:
            return float(value)
        except OverflowError:
            raise Raised("OverflowError", "int too large to convert to float") from None
    if kind not in (str, bytes):
        if kind is Box:
            refuse_box("convert", value)
        what = f"not '{type_name(value)}'{item_help(value)}"
        raise Raised("TypeError", f"float() argument must be a string or a real number, {what}")
    run.spend(len(value) >> 4)
    if not value.isascii():
        raise Raised("ValueError", f"could not convert string to float: {repr_of(run, value)}")
    try:
        return canonical_float(float(value))
    except ValueError:
        raise Raised("ValueError", f"could not convert string to float: {repr_of(run, value)}") from None
