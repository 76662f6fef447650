"""Positional records and their strict decoder."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from sojourn.errors import DecodeError
from sojourn.limits import MAX_DOCUMENT_BYTES

__all__ = ["HEADER_BYTES", "Record", "decode", "encode", "header_of"]

MAGIC: Final = b"SJ"
HEADER_BYTES: Final = 6


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of everything that is encoded. Fields are positional: a change of fields is a new `VERSION`.

    A record that is only ever nested in another one needs no `KIND`.
    """

    KIND: ClassVar[int] = 0
    VERSION: ClassVar[int] = 1


R = TypeVar("R", bound=Record)

_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


@cache
def _decoder(cls: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cls, strict=True)


@cache
def _header(cls: type[Record]) -> bytes:
    return MAGIC + int(cls.KIND).to_bytes(2, "big") + cls.VERSION.to_bytes(2, "big")


def encode(record: Record) -> bytes:
    """The canonical bytes of `record`: six header bytes and one MessagePack array."""
    return _header(type(record)) + _encoder.encode(record)


def header_of(data: bytes | memoryview) -> tuple[int, int]:
    """`(kind, version)` of framed bytes, without decoding the rest.

    Raises:
        DecodeError: too short or wrong magic.
    """
    if len(data) < HEADER_BYTES or bytes(data[:2]) != MAGIC:
        raise DecodeError("magic", "these bytes do not begin with the magic of a Sojourn object")
    return int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big")


def decode(cls: type[R], data: bytes | memoryview, *, limit: int = MAX_DOCUMENT_BYTES) -> R:
    """Decode exactly one canonical `cls`.

    Args:
        cls: the record type, which fixes kind and version.
        data: untrusted bytes.
        limit: largest accepted length in bytes, checked before anything is decoded.

    Raises:
        DecodeError: see its `reason`.
    """
    if len(data) > limit:
        raise DecodeError("oversize", f"{cls.__name__}: {len(data)} bytes, the limit is {limit}")
    if data[:HEADER_BYTES] != _header(cls):
        kind, version = header_of(data)
        if kind != cls.KIND:
            raise DecodeError("kind", f"expected a {cls.__name__} (kind {int(cls.KIND):#06x}), got kind {kind:#06x}")
        raise DecodeError("version", f"{cls.__name__}: version {version} is not version {cls.VERSION} of this program")
    body = data[HEADER_BYTES:]
    try:
        value = _decoder(cls).decode(body)
    except msgspec.ValidationError as problem:
        raise DecodeError("schema", f"{cls.__name__}: {problem}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        reason = "trailing" if "trailing" in str(problem) else "schema"
        raise DecodeError(reason, f"{cls.__name__}: {problem}") from None
    if _encoder.encode(value) != body:
        raise DecodeError("canonical", f"{cls.__name__}: not the canonical encoding")
    result: R = value
    return result
