"""The block: a header of 64 bytes of bit-packed integers, and a payload.

Layout of the header, big endian: magic `SJ` (2 bytes), kind BLOCK (u16), version (u16), header length in bytes (u16, a
multiple of 64), block kind, element type, codec and rank (u8 each), tensor (u32), position (u32), payload length (u32),
eight zero bytes, eight dimensions (u32 each, zero beyond the rank). The payload follows at once, so it is aligned to 64
bytes wherever the block is; its elements are little endian, in C order.

Rules: a decoder accepts exactly one form of a block; everything that a later version may use must be zero today.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sojourn.codec import Kind, digest, header_of
from sojourn.datoms.dtypes import DType
from sojourn.errors import DecodeError, UsageError
from sojourn.limits import MAX_BLOCK_PAYLOAD_BYTES, MAX_RANK

__all__ = ["ALIGNMENT", "BLOCK_HEADER_BYTES", "Block", "BlockKind", "Codec"]

ALIGNMENT: Final = 64
BLOCK_HEADER_BYTES: Final = 64
_VERSION: Final = 1
_U32: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct(">2sHHHBBBBIII8s8I")
_RESERVED: Final = bytes(8)


class BlockKind(IntEnum):
    """What a block is a piece of. Never renumber."""

    WEIGHT = 1
    KV = 2
    UPDATE = 3
    OPTIMIZER = 4
    RECORD = 5
    STATE = 6


class Codec(IntEnum):
    """How the payload represents the elements. Never renumber."""

    RAW = 0


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a tensor.

    Attributes:
        kind: what it is a piece of.
        tensor: index of its tensor in the manifest, u32.
        position: linear index of the block in its tensor's grid, u32.
        shape: of this block, at most `MAX_RANK` axes of u32 each.
        dtype: element type.
        codec: RAW is the only one of this version.
        payload: the elements, little endian, C order. A view; nothing is copied.

    Raises:
        UsageError: the parts do not fit together.
    """

    kind: BlockKind
    tensor: int
    position: int
    shape: tuple[int, ...]
    dtype: DType
    codec: Codec
    payload: memoryview

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload", memoryview(self.payload).cast("B"))
        problem = _problem(self)
        if problem is not None:
            raise UsageError(f"a block cannot be made of this: {problem[1]}")

    def __repr__(self) -> str:
        return (
            f"Block({self.kind.name}, tensor={self.tensor}, position={self.position}, shape={self.shape}, "
            f"{self.dtype.name_of}, {len(self.payload)} bytes)"
        )

    def header(self) -> bytes:
        """The 64 bytes that stand before the payload."""
        dims = self.shape + (0,) * (MAX_RANK - len(self.shape))
        return _HEADER.pack(
            b"SJ",
            Kind.BLOCK,
            _VERSION,
            BLOCK_HEADER_BYTES,
            self.kind,
            self.dtype,
            self.codec,
            len(self.shape),
            self.tensor,
            self.position,
            len(self.payload),
            _RESERVED,
            *dims,
        )

    def encode(self) -> bytes:
        """Header and payload; the payload begins at byte 64."""
        return b"".join((self.header(), self.payload))

    @property
    def digest(self) -> bytes:
        """SHA-256 of the encoded block, its content address."""
        return digest(self.encode())

    def array(self) -> NDArray[Any]:
        """The elements, as a view of the payload with this block's shape; read-only where the payload is."""
        return np.frombuffer(self.payload, dtype=self.dtype.numpy).reshape(self.shape)

    @staticmethod
    def decode(data: bytes | bytearray | memoryview, *, limit: int = MAX_BLOCK_PAYLOAD_BYTES) -> Block:
        """The block that `data` is, exactly.

        Args:
            data: untrusted bytes; the block's payload is a view of them.
            limit: largest accepted payload, bytes.

        Raises:
            DecodeError: not one block in its one form.
        """
        view = memoryview(data).cast("B")
        kind, version = header_of(view)
        if kind != Kind.BLOCK:
            raise DecodeError("kind", f"expected a block (kind {int(Kind.BLOCK):#06x}), got kind {kind:#06x}")
        if version != _VERSION:
            raise DecodeError("version", f"a block of version {version}; this program reads version {_VERSION}")
        if len(view) < BLOCK_HEADER_BYTES:
            raise DecodeError("schema", f"a block's header has {BLOCK_HEADER_BYTES} bytes, here are {len(view)}")
        _, _, _, header, block_kind, dtype, codec, rank, tensor, position, length, reserved, *dims = (
            _HEADER.unpack_from(view)
        )
        if header != BLOCK_HEADER_BYTES:
            raise DecodeError("schema", f"a header of {header} bytes; version {_VERSION} has {BLOCK_HEADER_BYTES}")
        if length > limit:
            raise DecodeError("oversize", f"a payload of {length} bytes, the limit is {limit}")
        if len(view) != header + length:
            reason = "trailing" if len(view) > header + length else "schema"
            raise DecodeError(reason, f"a block of {header + length} bytes came as {len(view)}")
        if reserved != _RESERVED or rank > MAX_RANK or any(dims[rank:]):
            raise DecodeError("canonical", "a block with bits set that this version leaves zero")
        try:
            kinds = BlockKind(block_kind), DType(dtype), Codec(codec)
        except ValueError as problem:
            raise DecodeError("value", f"a block of unknown make: {problem}") from None
        return _decoded(kinds, tensor, position, tuple(dims[:rank]), view[header:])


def _decoded(
    kinds: tuple[BlockKind, DType, Codec], tensor: int, position: int, shape: tuple[int, ...], payload: memoryview
) -> Block:
    try:
        return Block(kinds[0], tensor, position, shape, kinds[1], kinds[2], payload)
    except UsageError as problem:
        raise DecodeError("value", str(problem)) from None


def _problem(block: Block) -> tuple[str, str] | None:
    """Why the parts of `block` do not fit together, as `(attribute, text)`; None when they do."""
    if len(block.shape) > MAX_RANK or not all(0 <= size <= _U32 for size in block.shape):
        return "shape", f"shape {block.shape} has more than {MAX_RANK} axes or an axis outside u32"
    if not (0 <= block.tensor <= _U32 and 0 <= block.position <= _U32):
        return "tensor", "tensor and position are u32"
    if len(block.payload) > MAX_BLOCK_PAYLOAD_BYTES:
        return "payload", f"{len(block.payload)} bytes of payload, the limit is {MAX_BLOCK_PAYLOAD_BYTES}"
    needed = math.prod(block.shape) * block.dtype.itemsize
    if len(block.payload) != needed:
        return "payload", f"{block.shape} of {block.dtype.name_of} takes {needed} bytes, not {len(block.payload)}"
    if block.dtype is DType.BOOL and needed and int(np.frombuffer(block.payload, dtype=np.uint8).max()) > 1:
        return "payload", "an element of type bool is the byte 0 or 1"
    return None
