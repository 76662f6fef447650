"""How a tensor's stream begins and ends: the manifest (names, types, shapes, grids) and the seal (count, root).

Rules:

* A tensor is cut along one axis into blocks that are contiguous in C order. Every axis before it is walked one index
  at a time, so blocks follow each other in memory order and any tensor can be cut to the wanted size.
* A scalar is one block; a tensor with no elements has none.
* Tensors stand in the order of `tensor_order`: by name, with names that begin with `#` (values that accompany the
  tensors, such as an update's weight) last. No name stands twice.
* A stream's identity is its root: a hash over the manifest's exact bytes and each block's SHA-256, in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar

from sojourn.codec import DIGEST_BYTES, Kind, Record, decode, digest_parts
from sojourn.datoms.block import BlockKind
from sojourn.datoms.dtypes import DType
from sojourn.limits import (
    MAX_BLOCK_PAYLOAD_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_META_ENTRIES,
    MAX_NAME_CHARS,
    MAX_RANK,
    MAX_TENSOR_ELEMENTS,
    MAX_TENSORS,
)

__all__ = ["Manifest", "Meta", "Seal", "TensorSpec", "decode_manifest", "stream_root", "tensor_order"]

Meta = bool | int | float | str
"""A fact of a manifest. Bytes, such as a digest, are written in hexadecimal."""


def tensor_order(name: str) -> tuple[bool, str]:
    """Sort key of tensor names within a stream: by code points, names that begin with `#` last."""
    return name.startswith("#"), name


class TensorSpec(Record, frozen=True):
    """One tensor of a stream and the grid of its blocks.

    Attributes:
        name: unique in its stream; 1 to `MAX_NAME_CHARS` characters.
        dtype: element type.
        shape: at most `MAX_RANK` axes.
        axis: the axis that blocks cut; 0 for a scalar or a tensor without elements.
        rows_per_block: indices of that axis in each block but the last; 1 for a scalar or a tensor without elements.
        blocks: how many there are.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    axis: int
    rows_per_block: int
    blocks: int

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_NAME_CHARS:
            raise ValueError(f"a tensor's name has 1 to {MAX_NAME_CHARS} characters")
        if len(self.shape) > MAX_RANK or any(size < 0 or size > MAX_TENSOR_ELEMENTS for size in self.shape):
            raise ValueError(f"tensor {self.name!r}: more than {MAX_RANK} axes, or an axis out of range")
        if self.elements > MAX_TENSOR_ELEMENTS:
            raise ValueError(f"tensor {self.name!r}: {self.elements} elements, the limit is {MAX_TENSOR_ELEMENTS}")
        if not self.shape or not self.elements:
            if (self.axis, self.rows_per_block, self.blocks) != (0, 1, 1 if self.elements else 0):
                raise ValueError(f"tensor {self.name!r}: a grid that its shape {self.shape} does not have")
            return
        if not 0 <= self.axis < len(self.shape) or not 1 <= self.rows_per_block <= self.shape[self.axis]:
            raise ValueError(f"tensor {self.name!r}: a grid outside its shape {self.shape}")
        if self.blocks != math.prod(self.shape[: self.axis]) * self._chunks or self.blocks > 0xFFFFFFFF:
            raise ValueError(f"tensor {self.name!r}: {self.blocks} blocks do not make its grid")
        if self.rows_per_block * self._inner * self.dtype.itemsize > MAX_BLOCK_PAYLOAD_BYTES:
            raise ValueError(f"tensor {self.name!r}: blocks larger than {MAX_BLOCK_PAYLOAD_BYTES} bytes")

    @staticmethod
    def plan(name: str, dtype: DType, shape: tuple[int, ...], block_bytes: int) -> TensorSpec:
        """The grid of a tensor whose blocks have at most `block_bytes` of payload.

        Raises:
            ValueError: name or shape out of bounds, or `block_bytes` below one element.
        """
        if not dtype.itemsize <= block_bytes <= MAX_BLOCK_PAYLOAD_BYTES:
            raise ValueError(f"blocks of {block_bytes} bytes; write {dtype.itemsize} to {MAX_BLOCK_PAYLOAD_BYTES}")
        if not shape or 0 in shape:
            return TensorSpec(name, dtype, shape, 0, 1, 0 if 0 in shape else 1)
        inner, axis = dtype.itemsize, len(shape) - 1
        while axis > 0 and inner * shape[axis] <= block_bytes:
            inner, axis = inner * shape[axis], axis - 1
        rows = min(shape[axis], block_bytes // inner)
        return TensorSpec(name, dtype, shape, axis, rows, math.prod(shape[:axis]) * -(-shape[axis] // rows))

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all payloads together."""
        return self.elements * self.dtype.itemsize

    @property
    def _inner(self) -> int:
        return math.prod(self.shape[self.axis + 1 :])

    @property
    def _chunks(self) -> int:
        return -(-self.shape[self.axis] // self.rows_per_block)

    def block_shape(self, position: int) -> tuple[int, ...]:
        """Shape of the block at `position`: the tensor's rank, one index on each axis before the cut one."""
        if not self.shape:
            return ()
        first = position % self._chunks * self.rows_per_block
        rows = min(self.rows_per_block, self.shape[self.axis] - first)
        return (1,) * self.axis + (rows,) + self.shape[self.axis + 1 :]

    def start(self, position: int) -> int:
        """Index, in the flattened tensor, of the first element of the block at `position`."""
        if not self.shape:
            return 0
        outer, chunk = divmod(position, self._chunks)
        return (outer * self.shape[self.axis] + chunk * self.rows_per_block) * self._inner


class Manifest(Record, frozen=True):
    """The first datom of a stream: what follows, exactly.

    Attributes:
        kind: of every block of the stream.
        tensors: in the order of `tensor_order`.
        meta: small public facts about the stream, keyed by name.
    """

    KIND: ClassVar[int] = Kind.MANIFEST
    kind: BlockKind
    tensors: tuple[TensorSpec, ...]
    meta: dict[str, Meta]

    def __post_init__(self) -> None:
        if len(self.tensors) > MAX_TENSORS:
            raise ValueError(f"{len(self.tensors)} tensors, the limit is {MAX_TENSORS}")
        keys = [tensor_order(spec.name) for spec in self.tensors]
        if any(one >= other for one, other in pairwise(keys)):
            raise ValueError("tensors stand in the order of their names, each once")
        if len(self.meta) > MAX_META_ENTRIES or any(len(key) > MAX_NAME_CHARS for key in self.meta):
            raise ValueError(f"meta holds at most {MAX_META_ENTRIES} entries with short names")

    @property
    def blocks(self) -> int:
        """Number of blocks in the stream."""
        return sum(spec.blocks for spec in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all payloads together."""
        return sum(spec.nbytes for spec in self.tensors)


class Seal(Record, frozen=True):
    """The last datom of a stream: how many blocks there were, and the stream's identity."""

    KIND: ClassVar[int] = Kind.SEAL
    count: int
    root: bytes

    def __post_init__(self) -> None:
        if self.count < 0 or len(self.root) != DIGEST_BYTES:
            raise ValueError("a seal holds a count and a root of 32 bytes")


def decode_manifest(data: bytes | bytearray | memoryview) -> Manifest:
    """The manifest that `data` is, exactly.

    Raises:
        DecodeError: not one canonical manifest, or one whose grids do not hold.
    """
    return decode(Manifest, memoryview(data), limit=MAX_MANIFEST_BYTES)


def stream_root(manifest: bytes, blocks: Iterable[bytes]) -> bytes:
    """Identity of a stream.

    Args:
        manifest: its exact bytes.
        blocks: SHA-256 of each encoded block, in order.
    """
    return digest_parts("stream", manifest, *blocks)
