"""The safetensors file format (huggingface/safetensors, format description in its README), written and read here.

A file is a length (u64, little endian), a JSON header of that many bytes, and the tensors' bytes without a gap. What is
written is deterministic: larger elements first, then by name, so that every tensor is aligned to its element; the
header is padded with spaces to a multiple of 64. What is read is untrusted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sojourn.datoms.dtypes import DType, dtype_of
from sojourn.errors import DecodeError, UsageError
from sojourn.limits import MAX_NAME_CHARS, MAX_RANK, MAX_TENSOR_ELEMENTS, MAX_TENSORS, MIB

__all__ = ["from_safetensors", "to_safetensors"]

_MAX_HEADER_BYTES: Final = 100 * MIB  # the limit of the reference implementation
_METADATA: Final = "__metadata__"


def to_safetensors(
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
    dtypes: Mapping[str, DType] | None = None,
) -> bytes:
    """A safetensors file.

    Args:
        tensors: numpy arrays with an element type of `DType`.
        metadata: text by name.
        dtypes: element types that an array does not show, that is BF16 for `uint16` bit patterns.

    Raises:
        UsageError: a tensor that the format cannot hold, or one called `__metadata__`.
    """
    if _METADATA in tensors:
        raise UsageError(f"a tensor cannot be called {_METADATA!r} in a safetensors file; rename it")
    types = {name: dtype_of(name, array, dtypes) for name, array in tensors.items()}
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    parts: list[bytes] = []
    position = 0
    for name in sorted(tensors, key=lambda name: (-types[name].itemsize, name)):
        array, dtype = np.asarray(tensors[name]), types[name]
        data = (array if dtype is DType.BF16 else array.astype(dtype.numpy, copy=False)).tobytes()
        offsets = [position, position + len(data)]
        header[name] = {"dtype": dtype.name, "shape": list(array.shape), "data_offsets": offsets}
        position += len(data)
        parts.append(data)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def from_safetensors(data: bytes | memoryview) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """`(tensors, metadata)` of a safetensors file. BF16 comes as `uint16` bit patterns; the arrays are read-only views.

    Raises:
        DecodeError: not a file of this format, or with tensors that overlap, leave gaps or do not fit.
    """
    view = memoryview(data).cast("B")
    header, body = _header(view)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DecodeError("schema", "a safetensors file whose metadata is not text by name")
    if len(header) > MAX_TENSORS:
        raise DecodeError("oversize", f"{len(header)} tensors, the limit is {MAX_TENSORS}")
    entries = sorted((_entry(name, value) for name, value in header.items()), key=lambda entry: entry[3:])
    position = 0
    tensors: dict[str, NDArray[Any]] = {}
    for name, dtype, shape, start, stop in entries:
        if start != position or stop - start != math.prod(shape) * dtype.itemsize or stop > len(body):
            raise DecodeError("value", f"tensor {name!r} overlaps another, leaves a gap or does not have its size")
        if dtype is DType.BOOL and any(bytes(body[start:stop]).translate(None, b"\0\1")):
            raise DecodeError("value", f"tensor {name!r}: an element of type bool is the byte 0 or 1")
        tensors[name] = np.frombuffer(body[start:stop], dtype=dtype.numpy).reshape(shape)
        position = stop
    if position != len(body):
        raise DecodeError("trailing", "bytes behind the last tensor of a safetensors file")
    return tensors, metadata


def _header(view: memoryview) -> tuple[dict[str, Any], memoryview]:
    length = int.from_bytes(view[:8], "little")
    if len(view) < 8 or length > min(_MAX_HEADER_BYTES, len(view) - 8):
        raise DecodeError("oversize", "not a safetensors file: its header is longer than the file or the limit")
    try:
        header = json.loads(bytes(view[8 : 8 + length]), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        raise DecodeError("schema", f"not a safetensors file: {problem}") from None
    if not isinstance(header, dict):
        raise DecodeError("schema", "not a safetensors file: its header is no object")
    return header, view[8 + length :]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return found


def _entry(name: str, value: object) -> tuple[str, DType, tuple[int, ...], int, int]:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"} or len(name) > MAX_NAME_CHARS:
        raise DecodeError("schema", f"tensor {name[:MAX_NAME_CHARS]!r}: not an entry of a safetensors header")
    shape, offsets = value["shape"], value["data_offsets"]
    if not (_counts(shape) and len(shape) <= MAX_RANK and _counts(offsets) and len(offsets) == 2):
        raise DecodeError("schema", f"tensor {name!r}: shape or offsets are not lists of whole numbers")
    if not isinstance(value["dtype"], str) or value["dtype"] not in DType.__members__:
        raise DecodeError("value", f"tensor {name!r}: no element type of this program is called {value['dtype']!r}")
    return name, DType[value["dtype"]], tuple(shape), offsets[0], offsets[1]


def _counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= MAX_TENSOR_ELEMENTS * 8 for item in value)
