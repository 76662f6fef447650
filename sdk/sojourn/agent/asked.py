"""Canonical digests of effects and of the values in them.

Rules: a value's encoding is one tag byte and length-prefixed content, so that no two values share bytes; handles and
boxes count by their id, never by what they hold; floats count by their bits (one NaN).
"""

from __future__ import annotations

import math
import struct
from typing import Final

from sojourn.codec import digest_parts
from sojourn.vm import Box, Effect, Handle, RecordValue, Value

__all__ = ["effect_digest", "raised_digest", "value_digest"]

_NAN: Final = struct.pack(">d", math.nan)


def _sized(tag: bytes, data: bytes) -> bytes:
    return tag + len(data).to_bytes(8, "big") + data


def _encode(value: Value) -> bytes:
    """Iterative, so that no depth of nesting exhausts the host's stack."""
    out: list[bytes] = []
    todo: list[Value] = [value]
    while todo:
        item = todo.pop()
        match item:
            case tuple() | list() | range():
                tag = {tuple: b"(", list: b"[", range: b"r"}[type(item)]
                out.append(tag + len(item).to_bytes(8, "big"))
                todo.extend(reversed(item))
            case dict():
                out.append(b"{" + len(item).to_bytes(8, "big"))
                for key in reversed(item):
                    todo += (item[key], key)
            case RecordValue():
                out.append(_sized(b"R", item.type_name.encode()))
                todo.append(dict(item.fields))
            case _:
                out.append(_scalar(item))
    return b"".join(out)


def _scalar(value: Value) -> bytes:
    match value:
        case None:
            return b"N"
        case bool():
            return b"T" if value else b"F"
        case int():
            return _sized(b"I", hex(value).encode())
        case float():
            return b"D" + (_NAN if math.isnan(value) else struct.pack(">d", value))
        case str():
            return _sized(b"S", value.encode("utf-8", "surrogatepass"))
        case bytes():
            return _sized(b"B", value)
        case Handle():
            return _sized(b"H", value.kind.encode()) + _sized(b"=", value.id)
        case Box():
            return _sized(b"X", value.id)
        case _:
            return _sized(b"?", type(value).__name__.encode())  # views and iterators: no effect takes them


def value_digest(value: Value) -> bytes:
    """Digest of one value, 32 bytes. The order of a dict's keys counts, as it does in the language."""
    return digest_parts("value", _encode(value))


def effect_digest(effect: Effect) -> bytes:
    """Digest of an effect's name and arguments: what a journal record says was asked."""
    args = [_sized(b"S", name.encode()) + _encode(effect.args[name]) for name in sorted(effect.args)]
    return digest_parts("effect", effect.name.encode(), *args)


def raised_digest(type_name: str, message: str) -> bytes:
    """Digest that stands for the output of a pure effect that failed."""
    return digest_parts("raised", type_name.encode(), message.encode())
