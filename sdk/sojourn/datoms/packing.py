"""Tensors into datoms and back.

Rules:

* `pack` writes the one canonical stream of a set of tensors for a given block size: same tensors, same root.
* `Unpacker` takes datoms one at a time and accepts only what the manifest promised, in its order. What it holds grows
  with the bytes received, never with what a manifest claims.
* Nothing of a stream may be trusted before its seal was checked against a root that came from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sojourn.codec import Kind, decode, digest, encode, header_of
from sojourn.datoms.block import Block, BlockKind, Codec
from sojourn.datoms.dtypes import DType, dtype_of
from sojourn.datoms.manifest import Manifest, Meta, Seal, TensorSpec, decode_manifest, stream_root, tensor_order
from sojourn.errors import DecodeError, UsageError
from sojourn.limits import BLOCK_PAYLOAD_BYTES, MAX_BODY_BYTES

__all__ = ["TensorStream", "Unpacker", "Walk", "pack", "pack_list", "root_of", "unpack", "unpack_stream"]

Datom = bytes | bytearray | memoryview


def pack(
    tensors: Mapping[str, NDArray[Any]],
    kind: BlockKind,
    meta: Mapping[str, Meta] | None = None,
    block_bytes: int = BLOCK_PAYLOAD_BYTES,
    dtypes: Mapping[str, DType] | None = None,
) -> Iterator[bytes]:
    """The stream of `tensors`: encoded manifest, blocks and seal.

    Args:
        tensors: any numpy arrays with an element type of `DType`; copied only where not contiguous.
        kind: of all blocks.
        meta: small public facts for the manifest.
        block_bytes: largest payload of a block.
        dtypes: element types that an array does not show, that is BF16 for `uint16` bit patterns.

    Raises:
        UsageError: an array, a name or a fact that a stream cannot hold.
    """
    arrays = {name: np.asarray(tensors[name]) for name in sorted(tensors, key=tensor_order)}
    chosen = {name: dtype_of(name, array, dtypes) for name, array in arrays.items()}
    try:
        specs = tuple(TensorSpec.plan(name, chosen[name], array.shape, block_bytes) for name, array in arrays.items())
        manifest = Manifest(kind, specs, dict(meta or {}))
        first = encode(manifest)
        decode_manifest(first)  # what a reader would refuse is not written
    except (ValueError, OverflowError, TypeError, DecodeError) as problem:
        raise UsageError(f"these tensors do not make a stream: {problem}") from None
    return _datoms(manifest, first, arrays)


def _datoms(manifest: Manifest, first: bytes, arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    yield first
    digests: list[bytes] = []
    for index, spec in enumerate(manifest.tensors):
        array = np.asarray(arrays[spec.name], order="C")
        if array.dtype.name != "bfloat16":
            array = array.astype(spec.dtype.numpy, copy=False)
        payload = array.reshape(-1).view(np.uint8).data
        for position in range(spec.blocks):
            shape, start = spec.block_shape(position), spec.start(position) * spec.dtype.itemsize
            stop = spec.start(position + 1) * spec.dtype.itemsize if position + 1 < spec.blocks else len(payload)
            block = Block(manifest.kind, index, position, shape, spec.dtype, Codec.RAW, payload[start:stop])
            data = block.encode()
            digests.append(digest(data))
            yield data
    yield encode(Seal(len(digests), stream_root(first, digests)))


def pack_list(
    tensors: Mapping[str, NDArray[Any]],
    kind: BlockKind,
    meta: Mapping[str, Meta] | None = None,
    block_bytes: int = BLOCK_PAYLOAD_BYTES,
    dtypes: Mapping[str, DType] | None = None,
) -> tuple[list[bytes], bytes]:
    """Like `pack`, all at once: `(datoms, root)`."""
    datoms = list(pack(tensors, kind, meta, block_bytes, dtypes))
    return datoms, decode(Seal, datoms[-1]).root


def root_of(
    tensors: Mapping[str, NDArray[Any]],
    kind: BlockKind = BlockKind.WEIGHT,
    meta: Mapping[str, Meta] | None = None,
    block_bytes: int = BLOCK_PAYLOAD_BYTES,
    dtypes: Mapping[str, DType] | None = None,
) -> bytes:
    """Identity of the stream that `pack` makes of the same arguments; holds one block at a time."""
    last = b""
    for datom in pack(tensors, kind, meta, block_bytes, dtypes):
        last = datom
    return decode(Seal, last).root


class Walk:
    """The blocks that a manifest promises, in order: where a reader stands between its first and its last."""

    __slots__ = ("_manifest", "position", "tensor")

    def __init__(self, manifest: Manifest) -> None:
        self._manifest, self.tensor, self.position = manifest, 0, 0
        self._skip()

    def _skip(self) -> None:
        while not self.done and self.position >= self.spec.blocks:
            self.tensor, self.position = self.tensor + 1, 0

    @property
    def done(self) -> bool:
        """Every promised block has come."""
        return self.tensor >= len(self._manifest.tensors)

    @property
    def spec(self) -> TensorSpec:
        """The tensor of the block that comes next; only while not `done`."""
        return self._manifest.tensors[self.tensor]

    def advance(self) -> None:
        """The expected block has come."""
        self.position += 1
        self._skip()


class Unpacker:
    """Reads one stream, datom by datom, and checks each against the manifest.

    Args:
        root: the identity that the stream must have; None only where the caller checks `finish().root` itself.
        limit: largest sum of payload bytes that the manifest may promise.
    """

    __slots__ = ("_digests", "_first", "_limit", "_manifest", "_refused", "_root", "_seal", "_walk")

    def __init__(self, *, root: bytes | None = None, limit: int = MAX_BODY_BYTES) -> None:
        self._root, self._limit = root, limit
        self._manifest: Manifest | None = None
        self._walk: Walk | None = None
        self._seal: Seal | None = None
        self._first, self._refused = b"", False
        self._digests: list[bytes] = []

    @property
    def manifest(self) -> Manifest:
        """The stream's manifest.

        Raises:
            UsageError: it has not come yet.
        """
        if self._manifest is None:
            raise UsageError("the manifest is the first datom of a stream; feed that first")
        return self._manifest

    def feed(self, datom: Datom) -> Block | None:
        """Take the next datom: the block, or None for the manifest and the seal.

        Raises:
            DecodeError: not the datom that has to come here. The stream is then refused as a whole, whatever follows.
        """
        if self._refused:
            raise DecodeError("value", "this stream was refused; begin it again with a new reader")
        self._refused = True
        block = self._take(datom)
        self._refused = False
        return block

    def _take(self, datom: Datom) -> Block | None:
        if self._seal is not None:
            raise DecodeError("trailing", "a datom after the seal of its stream")
        kind, _ = header_of(memoryview(datom))
        if self._walk is None:
            self._start(datom)
            return None
        if kind == Kind.SEAL:
            self._finish(datom, self._walk)
            return None
        block = Block.decode(datom)
        self._check(block, self._walk)
        self._digests.append(digest(datom))
        self._walk.advance()
        return block

    def finish(self) -> Seal:
        """The seal, once everything has come and holds.

        Raises:
            DecodeError: the stream stops before its seal.
        """
        if self._seal is None or self._refused:
            raise DecodeError("schema", "the stream was refused, or stops before its seal")
        return self._seal

    def _start(self, datom: Datom) -> None:
        manifest = decode_manifest(datom)
        if manifest.nbytes > self._limit:
            raise DecodeError("oversize", f"a stream of {manifest.nbytes} bytes, the limit is {self._limit}")
        self._first, self._manifest, self._walk = bytes(datom), manifest, Walk(manifest)

    def _check(self, block: Block, walk: Walk) -> None:
        if walk.done:
            raise DecodeError("trailing", "more blocks than the manifest promises")
        if (block.tensor, block.position) != (walk.tensor, walk.position):
            raise DecodeError(
                "value",
                f"block {block.position} of tensor {block.tensor} where block {walk.position} of {walk.tensor} "
                "comes next",
            )
        spec = walk.spec
        expected = (self.manifest.kind, spec.dtype, spec.block_shape(walk.position))
        if (block.kind, block.dtype, block.shape) != expected:
            raise DecodeError("value", f"tensor {spec.name!r}: {block!r} is not what the manifest promises")

    def _finish(self, datom: Datom, walk: Walk) -> None:
        seal = decode(Seal, memoryview(datom))
        if not walk.done:
            raise DecodeError("schema", f"sealed before block {walk.position} of tensor {walk.spec.name!r}")
        if seal.count != len(self._digests) or seal.root != stream_root(self._first, self._digests):
            raise DecodeError("digest", "the seal does not belong to the datoms before it")
        if self._root is not None and seal.root != self._root:
            raise DecodeError("digest", "an intact stream, but not the one that was asked for: its root differs")
        self._seal = seal


@dataclass(frozen=True, slots=True)
class TensorStream:
    """A stream read whole: its tensors by name, and what stood around them."""

    tensors: dict[str, NDArray[Any]]
    manifest: Manifest
    seal: Seal


def unpack_stream(datoms: Iterable[Datom], *, root: bytes | None, limit: int = MAX_BODY_BYTES) -> TensorStream:
    """Read a whole stream; see `Unpacker`. The arrays are fresh and writable.

    Raises:
        DecodeError: anything is not as the manifest, the seal or `root` says.
    """
    reader = Unpacker(root=root, limit=limit)
    parts: dict[int, bytearray] = {}
    for datom in datoms:
        block = reader.feed(datom)
        if block is not None:
            parts.setdefault(block.tensor, bytearray()).extend(block.payload)
    seal = reader.finish()
    tensors = {
        spec.name: np.frombuffer(parts.get(index, bytearray()), dtype=spec.dtype.numpy).reshape(spec.shape)
        for index, spec in enumerate(reader.manifest.tensors)
    }
    return TensorStream(tensors, reader.manifest, seal)


def unpack(datoms: Iterable[Datom], *, root: bytes | None, limit: int = MAX_BODY_BYTES) -> dict[str, NDArray[Any]]:
    """The tensors of a whole stream by name; `unpack_stream` gives manifest and seal too.

    Raises:
        DecodeError: anything is not as the manifest, the seal or `root` says.
    """
    return unpack_stream(datoms, root=root, limit=limit).tensors
