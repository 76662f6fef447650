"""The columns of a table: what each holds, how that is written down, and which arrays fit.

Rules: a type is exact, nothing is converted. A NaN or an infinity is refused, with its row, unless the field was
declared to hold them (`Field(..., nan=True)`). A declaration never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from sojourn.codec import Kind, Record, decode, encode, header_of
from sojourn.datoms import DType
from sojourn.errors import UsageError
from sojourn.limits import MAX_BLOCK_PAYLOAD_BYTES, MAX_RANK

__all__ = ["Field", "decode_fields", "encode_fields", "fitting_columns"]

_FLOATS: Final = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})
_BF16_EXPONENT: Final = np.uint16(0x7F80)  # all of it is set in NaN and in the infinities, and in nothing else


@dataclass(frozen=True, slots=True)
class Field:
    """A column: what each row holds under one name.

    Attributes:
        dtype: name of the element type, `"f32"`, `"i64"`, `"bool"`, …
        shape: of one row's value; empty for a scalar.
        nan: whether NaN and infinities may stand in it. One of them makes every mean over the rows worthless, so that
            a field holds finite numbers unless it says otherwise.

    Raises:
        UsageError: there is no such type, a shape without elements, or NaN in a type that has none.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    nan: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        if len(self.shape) >= MAX_RANK or any(size < 1 for size in self.shape):
            raise UsageError(f"a field of shape {self.shape}; write at most {MAX_RANK - 1} axes, each 1 or more")
        if self.row_bytes > MAX_BLOCK_PAYLOAD_BYTES:
            raise UsageError(f"a field of {self.row_bytes} bytes a row; the limit is {MAX_BLOCK_PAYLOAD_BYTES}")
        if self.nan and self.type not in _FLOATS:
            raise UsageError(f"a field of {self.dtype} holds no NaN; leave nan=True out, or make it a float")

    @property
    def type(self) -> DType:
        """The element type."""
        return DType.from_name(self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's value."""
        return int(np.prod(self.shape, dtype=object)) * self.type.itemsize


class _Schema(Record, frozen=True):
    KIND: ClassVar[int] = Kind.TABLE
    fields: tuple[tuple[str, str, tuple[int, ...]], ...]  # (name, dtype, shape) in the order of names


class _SchemaWithNan(Record, frozen=True):
    """The schema where a field may hold NaN; others keep the first version, which older programs read."""

    KIND: ClassVar[int] = Kind.TABLE
    VERSION: ClassVar[int] = 2
    fields: tuple[tuple[str, str, tuple[int, ...]], ...]
    nan: tuple[str, ...]  # names of fields, in the order of names


def fitting_columns(fields: Mapping[str, Field], columns: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The arrays of `columns` in the order of `fields`, all of one length and fit to be appended.

    Raises:
        UsageError: fields are missing or unknown, or an array does not fit or holds a NaN where none may be.
    """
    if set(columns) != set(fields):
        raise UsageError(f"columns {', '.join(sorted(columns))}; the table has exactly {', '.join(fields)}")
    arrays: list[NDArray[Any]] = []
    for name, field in fields.items():
        array = np.asarray(columns[name])
        if array.dtype != field.type.numpy or array.shape[1:] != field.shape or not array.ndim:
            raise UsageError(
                f"column {name!r} is {array.dtype} of shape {array.shape}; the table takes {field.type.numpy} of "
                f"shape (rows, {', '.join(map(str, field.shape))}): convert it with .astype or .reshape first"
            )
        arrays.append(array)
    if len({len(array) for array in arrays}) != 1:
        raise UsageError("columns of different lengths; give every field the same number of rows")
    for (name, field), array in zip(fields.items(), arrays, strict=True):
        _check_finite(name, field, array)
    return arrays


def _check_finite(name: str, field: Field, array: NDArray[Any]) -> None:
    if field.nan or field.type not in _FLOATS:
        return
    bits = field.type is DType.BF16
    finite = (array & _BF16_EXPONENT) != _BF16_EXPONENT if bits else np.isfinite(array)
    if not finite.all():
        row, *place = (int(at) for at in np.argwhere(~finite)[0])
        where = f"element {place} of row {row}" if place else f"row {row}"
        raise UsageError(
            f"column {name!r} holds a NaN or an infinity, first in {where} (counting from 0); nothing was appended: "
            f"leave such rows out or fill them, or make a stream where it is Field({field.dtype!r}, nan=True)"
        )


def encode_fields(fields: Mapping[str, Field]) -> bytes:
    """A table's first record.

    Raises:
        UsageError: what stands for a field is none.
    """
    for name, field in fields.items():
        if not isinstance(field, Field):
            raise UsageError(
                f"column {name!r} is {field!r}, which is no Field; write Field('f32') or Field('f32', (30,))"
            )
    rows = tuple((name, fields[name].dtype, fields[name].shape) for name in sorted(fields))
    nan = tuple(name for name in sorted(fields) if fields[name].nan)
    return encode(_SchemaWithNan(rows, nan)) if nan else encode(_Schema(rows))


def decode_fields(data: bytes) -> dict[str, Field]:
    """The fields that a table's first record states, by name.

    Raises:
        DecodeError: it is no schema.
        UsageError: it states a type that there is not.
    """
    if header_of(data)[1] == _SchemaWithNan.VERSION:
        schema = decode(_SchemaWithNan, data)
        return {name: Field(dtype, shape, name in schema.nan) for name, dtype, shape in schema.fields}
    return {name: Field(dtype, shape) for name, dtype, shape in decode(_Schema, data).fields}
