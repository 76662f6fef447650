"""What values, frames and boxes cost a run's memory: the machine's own table, never the host's.

Text, bytes and large integers cost by their length, containers by their slots; what a value refers to is not counted
here. No value costs less than the bytes that it takes in a snapshot, so that whether a state can be stored depends on
its budgets only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sojourn.labels import Label
from sojourn.vm.values import (
    Box,
    BuiltinValue,
    Cell,
    DictView,
    ExcValue,
    FunctionValue,
    Handle,
    Iter,
    RecordValue,
    RegionError,
    SetValue,
    Suspended,
    Value,
)

__all__ = [
    "BOX_BYTES",
    "CELL_BYTES",
    "FRAME_BYTES",
    "MEMBER",
    "OPAQUE_BYTES",
    "REGION_BYTES",
    "SLOT",
    "TEXT_BYTES",
    "bytes_of_int",
    "bytes_of_label",
    "bytes_of_parts",
    "bytes_of_text",
    "size_of",
    "within",
]

# Bytes. A slot pays for a small number that lies in it, so that arithmetic on 64 bits is free of charge.
SLOT: Final = 40
OBJECT: Final = 56
TEXT_BYTES: Final = 48  # of text and bytes, besides their characters
KEY_AND_VALUE: Final = 3 * SLOT
MEMBER: Final = 2 * SLOT
CELL_BYTES: Final = OBJECT
EXCEPTION_BYTES: Final = 2 * OBJECT
OPAQUE_BYTES: Final = 160
BOX_BYTES: Final = 4_096  # of a box that an effect made; a region's box is charged what the region was
REGION_BYTES: Final = 256  # what a region costs at least: a box with a short error
FRAME_BYTES: Final = 200
LABEL_PAID, NAME_PAID, CLASS_PAID = 100, 90, 36  # of names: by OPAQUE_BYTES, by KEY_AND_VALUE, by OBJECT


def bytes_of_text(text: str) -> int:
    """Cost of a string."""
    return TEXT_BYTES + (len(text) if text.isascii() else 4 * len(text))


def bytes_of_parts(parts: Sequence[str]) -> int:
    """Cost of joining strings: one that is not ASCII makes every character of the result as wide."""
    width = 1 if all(map(str.isascii, parts)) else 4
    return TEXT_BYTES * len(parts) + width * sum(map(len, parts))


def bytes_of_int(bits: int) -> int:
    """Cost of an integer of so many bits; none below 64, where its slot pays."""
    return 0 if bits < 64 else 32 + bits // 8


def beyond(texts: Iterable[str], paid: int) -> int:
    """Cost of names, where they are longer than the `paid` bytes that belong to what they are part of."""
    return max(sum(3 + (len(text) if text.isascii() else 4 * len(text)) for text in texts) - paid, 0)


def bytes_of_label(label: Label) -> int:
    """Cost of a label beyond what OPAQUE_BYTES pays of it: none for one that is short."""
    return beyond(label.sources, LABEL_PAID) if label.sources else 0


def within(error: RegionError, charge: int) -> RegionError:
    """The error with as much of its text as a box of this charge pays for."""
    room = max(charge, REGION_BYTES) - OPAQUE_BYTES
    text = error.message
    if bytes_of_text(text) <= room:
        return error
    return replace(error, message=text[: (room - TEXT_BYTES) // (1 if text.isascii() else 4)])


def size_of(value: Value) -> int:  # noqa: PLR0911 - one return for each kind
    """Cost of one value without what it refers to."""
    kind = type(value)
    if kind is int:
        return bytes_of_int(value.bit_length())
    if kind is str:
        return bytes_of_text(value)
    if kind is bytes:
        return TEXT_BYTES + len(value)
    if kind is list or kind is tuple:
        return OBJECT + SLOT * len(value)
    if kind is dict:
        return OBJECT + KEY_AND_VALUE * len(value)
    if kind is Handle or kind is Box:
        return OPAQUE_BYTES + bytes_of_label(value.label)
    if kind is RecordValue:
        names = sum(beyond((name,), NAME_PAID) for name in value.fields)
        return OBJECT + KEY_AND_VALUE * len(value.fields) + beyond((value.type_name,), CLASS_PAID) + names
    if kind is SetValue:
        return OBJECT + MEMBER * len(value.items)
    if kind is Iter:
        return 2 * OBJECT + SLOT * (len(value.keys) + len(value.inner))
    if kind is FunctionValue:
        return OBJECT + SLOT * (len(value.defaults) + len(value.cells))
    if kind is Suspended:
        return sum(FRAME_BYTES + SLOT * (len(frame.locals) + len(frame.stack)) for frame in value.frames)
    return _FIXED.get(kind, 0)


_FIXED: Final[dict[type, int]] = {
    BuiltinValue: 0,
    Cell: CELL_BYTES,
    DictView: OBJECT,
    ExcValue: EXCEPTION_BYTES,
    range: OBJECT,
}
