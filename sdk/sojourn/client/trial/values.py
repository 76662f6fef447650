"""Values of the language as text for people, and as JSON in a file of answers.

Rules of this module: text is short whatever the value is (it may come from a hostile snapshot), handles and boxes show
kind and label, and nothing of what they stand for. JSON stands for itself; what JSON lacks is an object with one key
that begins with `$`:

    {"$handle": "tensor"}   {"$handle": "stream", "label": ["clinic/patients"]}
    {"$tuple": [1, 2]}      {"$bytes": "00ff"}      {"$float": "nan"}
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from sojourn.codec import digest_parts
from sojourn.errors import UsageError
from sojourn.labels import Label
from sojourn.vm import Box, Effect, Handle, RecordValue, Value
from sojourn.vm.values import HANDLE_KINDS, ExcValue, FunctionValue, SetValue, type_name

__all__ = ["from_json", "shown"]

_DEPTH: Final = 4
_ITEMS: Final = 12
_TEXT: Final = 60
_BITS: Final = 256
_PAIRS: Final = {tuple: "()", list: "[]", dict: "{}", SetValue: "{}"}


def shown(value: Value, depth: int = _DEPTH) -> str:
    """A value in a few words."""
    kind = type(value)
    if kind is Handle or kind is Box:
        what = "box" if kind is Box else f"{value.kind} handle"
        return f"<{what} {value.label}>"
    if kind is str or kind is bytes:
        return repr(value) if len(value) <= _TEXT else f"{value[:_TEXT]!r}... ({len(value)} in all)"
    if kind is int and value.bit_length() > _BITS:
        return f"<int of {value.bit_length()} bits>"
    if value is None or kind in {bool, int, float, range}:
        return repr(value)
    if kind is FunctionValue:
        return f"<function {value.name}>"
    if kind is ExcValue:
        return f"{value.name}{shown(value.args, depth - 1)}"
    if kind is RecordValue:
        fields = ", ".join(f"{name}={shown(field, depth - 1)}" for name, field in _first(value.fields.items()))
        return f"{value.type_name}({fields})" if depth else f"{value.type_name}(...)"
    if kind in _PAIRS:
        return _container(value, depth)
    return f"<{type_name(value)}>"


def _container(value: Value, depth: int) -> str:
    kind = type(value)
    brackets = _PAIRS[kind]
    first, last = brackets[0], brackets[1]
    items = value.items if kind is SetValue else value
    if not depth:
        return f"{first}...{last}" if items else first + last
    if kind is dict:
        parts = [f"{shown(key, depth - 1)}: {shown(item, depth - 1)}" for key, item in _first(value.items())]
    else:
        parts = [shown(item, depth - 1) for item in _first(items)]
    if len(items) > _ITEMS:
        parts.append(f"... {len(items)} in all")
    comma = "," if kind is tuple and len(items) == 1 else ""
    return f"{first}{', '.join(parts)}{comma}{last}"


def _first(items: Iterable[Any]) -> list[Any]:
    return [item for item, _ in zip(items, range(_ITEMS), strict=False)]


def from_json(found: Any, effect: Effect, part: str = "value") -> Value:
    """The value that JSON stands for, as the answer to an effect: new handles get ids of its occurrence.

    Raises:
        UsageError: an object with a `$` key that means nothing.
    """
    if isinstance(found, list):
        return [from_json(item, effect, f"{part}.{k}") for k, item in enumerate(found)]
    if not isinstance(found, dict):
        return found
    special = [key for key in found if key.startswith("$")]
    if not special:
        return {key: from_json(item, effect, f"{part}.{key}") for key, item in found.items()}
    match found:
        case {"$handle": str(kind), **rest} if kind in HANDLE_KINDS and set(rest) <= {"label"}:
            run, operation = effect.occurrence
            identity = digest_parts("handle", run, operation.to_bytes(8, "big"), part.encode())
            return Handle(kind, identity, _label(rest.get("label"), effect))
        case {"$tuple": list(items), **rest} if not rest:
            return tuple(from_json(item, effect, f"{part}.{k}") for k, item in enumerate(items))
        case {"$bytes": str(text), **rest} if not rest and _is_hex(text):
            return bytes.fromhex(text)
        case {"$float": "nan" | "inf" | "-inf" as text, **rest} if not rest:
            return math.nan if text == "nan" else float(text)
    raise UsageError(
        f'{special[0]!r} in an answer: write {{"$handle": KIND}} with one of {", ".join(sorted(HANDLE_KINDS))}, '
        '{"$tuple": [...]}, {"$bytes": "hexadecimal"} or {"$float": "nan"}'
    )


def _label(written: Any, effect: Effect) -> Label:
    if written is None:
        inner = [value.label for value in effect.args.values() if isinstance(value, Handle | Box)]
        return Label.join_all([effect.label, *inner])
    if not isinstance(written, list) or not all(isinstance(source, str) and source for source in written):
        raise UsageError('"label" in an answer is a list of sources, ["clinic/patients"]; [] is public')
    return Label.of(*written)


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and all(digit in "0123456789abcdefABCDEF" for digit in text)
