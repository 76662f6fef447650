"""Model updates as integer blocks, so that a sum over any number of agents is exact and has no order.

Rules (DESIGN.md section 8):

* An update is q = round-half-even(w * clip(delta) / scale), computed in float64, and one value w, 0 <= w <= max_weight.
  The clip bounds the L2 norm of the whole update; each |q| is at most `bound`.
* The neutral element is q = 0, w = 0. Its stream has the same manifest, so that a failed run looks like any other.
* The manifest is fixed by the shapes and the spec alone, byte for byte: a reader computes it and compares.
* No message names a value: weights and updates of the releasing side are private until they are released.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sojourn.codec import Kind, decode, digest, encode, header_of
from sojourn.contracts import UpdateSpec
from sojourn.datoms.block import Block, BlockKind
from sojourn.datoms.dtypes import DType
from sojourn.datoms.manifest import Manifest, Meta, Seal, TensorSpec, decode_manifest, stream_root, tensor_order
from sojourn.datoms.packing import Walk, pack_list
from sojourn.errors import ContributionRefused, DecodeError, UsageError
from sojourn.limits import BLOCK_PAYLOAD_BYTES

__all__ = [
    "WEIGHT",
    "Shapes",
    "UpdatePiece",
    "UpdateReader",
    "check_spec",
    "pack_update",
    "quantise",
    "update_manifest",
]

WEIGHT: Final = "#weight"
"""Name of the one-element i64 tensor that holds w, the last of an update's stream."""

Shapes = Mapping[str, tuple[int, ...]]

_I32: Final = 2**31 - 1


def check_spec(spec: UpdateSpec) -> None:
    """Raise `UsageError` unless every number of `spec` makes sense and sums of int32 blocks stay within int64."""
    if not (math.isfinite(spec.clip) and spec.clip > 0 and math.isfinite(spec.scale) and spec.scale > 0):
        raise UsageError("an update's clip and scale are finite numbers above zero")
    if not (1 <= spec.bound <= _I32 and 1 <= spec.max_weight <= _I32):
        raise UsageError(f"an update's bound and max_weight are whole numbers from 1 to {_I32}")


def quantise(delta: Mapping[str, NDArray[np.floating]], weight: int, spec: UpdateSpec) -> dict[str, NDArray[np.int32]]:
    """The integer blocks of one update.

    The L2 norm is taken over all tensors together in float64: a sum for each tensor, then the exactly rounded sum of
    those in name order. Where it exceeds `spec.clip`, every element is multiplied by clip / norm. Then
    q = rint(w * element / scale), cut at +-bound.

    Args:
        delta: new state minus base, floating point, every element finite.
        weight: w, 0 to `spec.max_weight`.
        spec: fixed by the author, public.

    Raises:
        UsageError: a weight out of range, an element that is not finite, or an array that is not floating point.
    """
    check_spec(spec)
    if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= spec.max_weight:
        raise UsageError("the update's weight is not a whole number from 0 to max_weight")
    wide = {name: _wide(name, delta[name]) for name in sorted(delta, key=tensor_order)}
    peak = max((float(np.abs(array).max()) for array in wide.values() if array.size), default=0.0)
    factor = _clip_factor(list(wide.values()), peak, spec.clip)
    with np.errstate(over="ignore"):  # an infinite quotient is cut at the bound like any other
        return {
            name: np.clip(np.rint(weight * (array * factor) / spec.scale), -spec.bound, spec.bound).astype(np.int32)
            for name, array in wide.items()
        }


def _wide(name: str, array: NDArray[np.floating]) -> NDArray[np.float64]:
    if not np.issubdtype(array.dtype, np.floating):
        raise UsageError(f"tensor {name!r} of the update is {array.dtype}; an update is made of floating point")
    wide = np.asarray(array, dtype=np.float64, order="C")
    if not np.isfinite(wide).all():
        raise UsageError(f"tensor {name!r} of the update has an element that is not finite")
    return wide


def _clip_factor(arrays: list[NDArray[np.float64]], peak: float, clip: float) -> float:
    """What every element is multiplied by: 1, or clip / norm. The norm is taken of elements divided by a power of two
    near the largest, so that squares cannot overflow."""
    if peak == 0.0:
        return 1.0
    unit = math.ldexp(1.0, math.frexp(peak)[1] - 1)
    norm = math.sqrt(math.fsum(float(np.sum(np.square(array / unit))) for array in arrays))
    bound = clip / unit
    return 1.0 if norm <= bound else bound / norm


def update_manifest(shapes: Shapes, spec: UpdateSpec) -> Manifest:
    """The one manifest of an update with these tensors under this spec.

    Raises:
        UsageError: a spec, a name or a shape out of bounds.
    """
    check_spec(spec)
    if WEIGHT in shapes:
        raise UsageError(f"a tensor cannot be called {WEIGHT!r}, which is the update's own; rename it")
    names = sorted(shapes, key=tensor_order)
    try:
        specs = [TensorSpec.plan(name, DType.I32, tuple(shapes[name]), BLOCK_PAYLOAD_BYTES) for name in names]
        specs.append(TensorSpec.plan(WEIGHT, DType.I64, (1,), BLOCK_PAYLOAD_BYTES))
        return Manifest(BlockKind.UPDATE, tuple(specs), _meta(spec))
    except ValueError as problem:
        raise UsageError(f"these tensors do not make an update: {problem}") from None


def _meta(spec: UpdateSpec) -> dict[str, Meta]:
    return {"scale": float(spec.scale), "bound": int(spec.bound), "max_weight": int(spec.max_weight)}


def pack_update(
    delta: Mapping[str, NDArray[np.floating]] | None, weight: int, spec: UpdateSpec, shapes: Shapes
) -> tuple[list[bytes], bytes]:
    """The stream of one update: `(datoms, root)`.

    Args:
        delta: new state minus base by name; None makes the neutral element, whatever `weight` says.
        weight: w; see `quantise`.
        spec: fixed by the author, public.
        shapes: of the trained tensors, as the plan states them.

    Raises:
        UsageError: `delta` does not have exactly these tensors and shapes, or see `quantise`.
    """
    manifest = update_manifest(shapes, spec)
    if delta is None:
        blocks, weight = {name: np.zeros(shape, np.int32) for name, shape in shapes.items()}, 0
    else:
        found = {name: tuple(array.shape) for name, array in delta.items()}
        if found != {name: tuple(shape) for name, shape in shapes.items()}:
            raise UsageError("the update's tensors are not those that the plan trains, in names or in shapes")
        blocks = quantise(delta, weight, spec)
    return pack_list({**blocks, WEIGHT: np.array([weight], np.int64)}, BlockKind.UPDATE, manifest.meta)


@dataclass(frozen=True, slots=True)
class UpdatePiece:
    """A checked block of an update, ready to be folded.

    Attributes:
        name: of its tensor.
        start: index of its first element in the flattened tensor.
        values: int32, one axis; a view of the datom.
    """

    name: str
    start: int
    values: NDArray[np.int32]


class UpdateReader:
    """Checks an update's stream, datom by datom, as it arrives from somebody who may send anything.

    Besides each block's place, type, shape and bound, the whole must be an update of its own weight: with w = 0 every
    q is 0, and the L2 norm of q * scale is at most w * clip, but for rounding.

    Args:
        shapes: of the trained tensors, as the plan states them.
        spec: of the phase's answer.
    """

    __slots__ = (
        "_digests",
        "_elements",
        "_first",
        "_manifest",
        "_refused",
        "_root",
        "_spec",
        "_squares",
        "_started",
        "_walk",
        "_weight",
    )

    def __init__(self, shapes: Shapes, spec: UpdateSpec) -> None:
        self._spec, self._manifest = spec, update_manifest(shapes, spec)
        self._first, self._walk = encode(self._manifest), Walk(self._manifest)
        self._started, self._digests, self._weight = False, list[bytes](), 0
        self._squares, self._root, self._refused = 0.0, b"", False
        self._elements = sum(tensor.elements for tensor in self._manifest.tensors) - 1

    def feed(self, datom: bytes | bytearray | memoryview) -> UpdatePiece | None:
        """Take the next datom: a piece to fold, or None for manifest, weight and seal.

        Nothing of it counts before `finish`.

        Raises:
            ContributionRefused: with reason `schema`, `shape`, `blocks`, `bounds` or `digest`. The answer is refused as
                a whole, whatever follows.
        """
        if self._refused:
            raise ContributionRefused("blocks", "this update was refused")
        self._refused = True
        piece = self._take(datom)
        self._refused = False
        return piece

    def _take(self, datom: bytes | bytearray | memoryview) -> UpdatePiece | None:
        if self._root:
            raise ContributionRefused("blocks", "a datom after the update's seal")
        try:
            kind, _ = header_of(memoryview(datom))
            if not self._started:
                self._start(datom)
            elif kind == Kind.SEAL:
                self._seal(decode(Seal, memoryview(datom)))
            else:
                return self._block(Block.decode(datom), digest(datom))
        except DecodeError as problem:
            raise ContributionRefused("schema", f"not a datom of an update: {problem}") from problem
        return None

    def finish(self) -> tuple[int, bytes]:
        """`(weight, root)` once the whole update has come and holds.

        Raises:
            ContributionRefused: the stream stops before its seal.
        """
        if self._refused or not self._root:
            raise ContributionRefused("blocks", "the update was refused, or stops before its seal")
        return self._weight, self._root

    def _start(self, datom: bytes | bytearray | memoryview) -> None:
        found = decode_manifest(datom)
        if found.kind is not BlockKind.UPDATE:
            raise ContributionRefused("schema", f"a stream of {found.kind.name} blocks is no update")
        if found.meta != self._manifest.meta:
            raise ContributionRefused("schema", "scale, bound and max_weight are not those of the order")
        if found != self._manifest:
            raise ContributionRefused("shape", "names, types, shapes or grids are not those that the plan trains")
        if bytes(datom) != self._first:  # equal values in another form, such as 1 for 1.0
            raise ContributionRefused("schema", "the manifest is not in the order's own form")
        self._started = True

    def _block(self, block: Block, name: bytes) -> UpdatePiece | None:
        walk = self._walk
        if walk.done:
            raise ContributionRefused("blocks", "more blocks than the update has")
        found, expected = (block.tensor, block.position), (walk.tensor, walk.position)
        if found != expected:
            what = "has come before" if found < expected else "comes too early or does not exist"
            raise ContributionRefused("blocks", f"block {found[1]} of tensor {found[0]} {what}; next is {expected}")
        spec = walk.spec
        if block.kind is not BlockKind.UPDATE:
            raise ContributionRefused("schema", f"a {block.kind.name} block in an update")
        if (block.dtype, block.shape) != (spec.dtype, spec.block_shape(walk.position)):
            raise ContributionRefused("shape", f"tensor {spec.name!r}: a block of another type or shape than its grid")
        start = spec.start(walk.position)
        piece: UpdatePiece | None = None
        if spec.name == WEIGHT:
            self._weigh(block)
        else:
            piece = self._bounded(spec.name, start, block)
        self._digests.append(name)
        walk.advance()
        return piece

    def _bounded(self, name: str, start: int, block: Block) -> UpdatePiece:
        values: NDArray[np.int32] = block.array().reshape(-1)
        if int(values.min()) < -self._spec.bound or int(values.max()) > self._spec.bound:
            raise ContributionRefused("bounds", f"tensor {name!r}: an element beyond the bound {self._spec.bound}")
        # Not np.dot: a BLAS wakes its thread pool for one block, which then spins for as long as a round takes.
        self._squares += float(np.square(values, dtype=np.float64).sum())
        return UpdatePiece(name, start, values)

    def _weigh(self, block: Block) -> None:
        weight = int(block.array()[0])
        if not 0 <= weight <= self._spec.max_weight:
            raise ContributionRefused("bounds", f"the weight is outside 0 to {self._spec.max_weight}")
        # ||rint(x)|| <= ||x|| + sqrt(n) / 2; a relative margin of 1e-6 covers the sums in float64.
        reach = (weight * self._spec.clip / self._spec.scale) * (1 + 1e-6) + 0.5 * math.sqrt(self._elements)
        if math.sqrt(self._squares) > (reach if weight else 0.0):
            raise ContributionRefused("bounds", "the update is longer than its weight and the clip allow")
        self._weight = weight

    def _seal(self, seal: Seal) -> None:
        if not self._walk.done:
            raise ContributionRefused(
                "blocks", f"sealed before block {self._walk.position} of tensor {self._walk.spec.name!r}"
            )
        if seal.count != len(self._digests) or seal.root != stream_root(self._first, self._digests):
            raise ContributionRefused("digest", "the seal does not belong to the blocks before it")
        self._root = seal.root
