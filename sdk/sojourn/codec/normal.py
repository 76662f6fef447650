"""Records as people write them, made into records as they decode.

MessagePack tells 1 from 1.0. A record whose float field holds an int therefore encodes to bytes that no strict decoder
takes: it decodes as a float, and encodes to other bytes. `normalised` turns such a record into the one that was meant;
`check_canonical` refuses it, and names the field.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from sojourn.codec.records import Record
from sojourn.errors import UsageError

__all__ = ["check_canonical", "normalised"]

R = TypeVar("R", bound=Record)

_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")
_PLACE: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_STEP: Final = re.compile(r"\[(\d+|\.\.\.)\]")


def normalised(record: R) -> R:
    """The record with every number in the type that its field states: ints in float fields become floats.

    Raises:
        UsageError: a field holds something that its type does not take; the message names it.
    """
    cls = type(record)
    try:
        return msgspec.msgpack.decode(_encoder.encode(record), type=cls)
    except msgspec.ValidationError as problem:
        raise UsageError(f"{cls.__name__}{_described(record, str(problem))}") from None
    except (TypeError, OverflowError) as problem:  # a value that MessagePack does not have, such as a numpy scalar
        raise UsageError(f"{cls.__name__} cannot be encoded: {problem}; write plain Python values") from None


def check_canonical(record: Record) -> None:
    """Refuse a record that would not decode from its own encoding.

    Raises:
        UsageError: it names the field and what to write there.
    """
    meant = normalised(record)
    if _encoder.encode(meant) != _encoder.encode(record):
        where = _first_difference(record, meant, type(record).__name__) or type(record).__name__
        raise UsageError(f"{where}; a strict decoder would refuse these bytes")


def _first_difference(given: object, meant: object, where: str) -> str:
    """`Job.phases[0].answer[1].high holds the int 1000; write 1000.0`, or nothing where both are the same."""
    if isinstance(given, msgspec.Struct) and isinstance(meant, msgspec.Struct):
        pairs = ((f"{where}.{name}", getattr(given, name), getattr(meant, name)) for name in given.__struct_fields__)
    elif isinstance(given, list | tuple) and isinstance(meant, list | tuple):
        both = zip(given, meant, strict=True)
        pairs = ((f"{where}[{index}]", one, other) for index, (one, other) in enumerate(both))
    elif isinstance(given, dict) and isinstance(meant, dict):
        pairs = ((f"{where}[{key!r}]", given[key], meant.get(key)) for key in given)
    elif type(given) is not type(meant) and isinstance(given, int | float):
        return f"{where} holds the {type(given).__name__} {given!r}; write {meant!r}"
    else:
        return ""
    return next((found for name, one, other in pairs if (found := _first_difference(one, other, name))), "")


def _described(record: Record, problem: str) -> str:
    """msgspec's message with the fields' names in place of their positions."""
    match = _PLACE.search(problem)
    if match is None:
        return f": {problem}"
    value: object = record
    shown = ""
    for step in _STEP.findall(match["path"]):
        if not step.isdigit():  # a dict's value: msgspec does not say which
            return f"{shown}[…]: {problem[: match.start()]}"
        position = int(step)
        if isinstance(value, msgspec.Struct):
            name = value.__struct_fields__[position]
            shown, value = f"{shown}.{name}", getattr(value, name)
        elif isinstance(value, list | tuple):
            shown, value = f"{shown}[{position}]", value[position]
    return f"{shown}: {problem[: match.start()]}"
