"""Element types of tensors. Numbers and names are part of the format; payloads are little endian on every host."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sojourn.errors import UsageError

__all__ = ["DType", "dtype_of"]


class DType(IntEnum):
    """Element type of a tensor. Never renumber.

    numpy has no bfloat16: a BF16 tensor is held as its bit patterns, a `uint16` array.
    """

    F32 = 1
    F16 = 2
    BF16 = 3
    F64 = 4
    I8 = 5
    I16 = 6
    I32 = 7
    I64 = 8
    U8 = 9
    U16 = 10
    U32 = 11
    U64 = 12
    BOOL = 13

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy type that holds one element, little endian."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _NUMPY[self].itemsize

    @property
    def name_of(self) -> str:
        """The name in plans and tables: `"f32"`, `"bf16"`, `"bool"`, …"""
        return self.name.lower()

    @classmethod
    def from_name(cls, name: str) -> DType:
        """The type called `name`.

        Raises:
            UsageError: there is none; the message lists those that exist.
        """
        for member in cls:
            if member.name_of == name:
                return member
        raise UsageError(f"no element type is called {name!r}; write one of {', '.join(m.name_of for m in cls)}")

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> DType:
        """The type of a numpy array. `uint16` is U16 here: say BF16 where it is meant.

        Raises:
            UsageError: the numpy type has no counterpart (objects, strings, complex numbers, dates).
        """
        return _of(dtype)


_NUMPY: Final[dict[DType, np.dtype[Any]]] = {
    DType.F32: np.dtype("<f4"),
    DType.F16: np.dtype("<f2"),
    DType.BF16: np.dtype("<u2"),
    DType.F64: np.dtype("<f8"),
    DType.I8: np.dtype("i1"),
    DType.I16: np.dtype("<i2"),
    DType.I32: np.dtype("<i4"),
    DType.I64: np.dtype("<i8"),
    DType.U8: np.dtype("u1"),
    DType.U16: np.dtype("<u2"),
    DType.U32: np.dtype("<u4"),
    DType.U64: np.dtype("<u8"),
    DType.BOOL: np.dtype("?"),
}


@cache
def _of(dtype: np.dtype[Any]) -> DType:
    if dtype.name == "bfloat16" and dtype.itemsize == 2:  # the extension type of ml_dtypes
        return DType.BF16
    for member, candidate in _NUMPY.items():
        if member is not DType.BF16 and dtype.newbyteorder("<") == candidate:
            return member
    raise UsageError(
        f"arrays of {dtype} have no element type here; convert with .astype to one of "
        f"{', '.join(m.name_of for m in DType)}"
    )


def dtype_of(name: str, array: NDArray[Any], stated: Mapping[str, DType] | None) -> DType:
    """The element type of tensor `name`: what the array shows, or BF16 where that is stated of bit patterns.

    Raises:
        UsageError: no counterpart, or another type is stated than the array has.
    """
    found = DType.of(array.dtype)
    dtype = (stated or {}).get(name, found)
    if dtype is not found and not (dtype is DType.BF16 and found is DType.U16):
        raise UsageError(f"tensor {name!r} is {found.name_of}, not {dtype.name_of}; convert it with .astype first")
    return dtype
