"""Federated averaging on integer blocks (DESIGN.md section 8; McMahan et al. 2017, arXiv:1602.05629, algorithm 1).

Rules:

* An update is `q = round-half-even(w * clip(delta) / scale)` and its integer weight `w`. The fold keeps `sum q` and
  `sum w` in int64, so it is exact and commutative.
* The model is `float32(base + (sum q * scale) / sum w)`, computed in float64, in exactly this order of operations.
  `sum w == 0` keeps the base. Nothing else enters: no time, no key, no run.
* Tensors of the base that no update names are carried over as they are.
* Memory is that of one model (the base) and of its int64 sums, whatever the number of updates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sojourn.aggregation import FoldResult
from sojourn.codec import Kind, header_of
from sojourn.contracts import Scalar, UpdateSpec
from sojourn.datoms import WEIGHT, Block, decode_manifest
from sojourn.errors import ContributionRefused, UsageError

__all__ = ["FedAvg", "Fold"]

_CHUNK: Final = 1 << 20  # elements of one float64 temporary in `result`


class Fold:
    """The running sum of one phase's updates.

    Args:
        base: the model that the updates are relative to, by tensor name.
        spec: scale, bound and largest weight of an update, from the job.
        trained: names of the tensors that an update holds; default all of the base.

    Raises:
        UsageError: a trained tensor is missing from the base or is not float32.
    """

    def __init__(
        self, base: Mapping[str, npt.NDArray[Any]], spec: UpdateSpec, trained: Iterable[str] | None = None
    ) -> None:
        names = sorted(base if trained is None else trained)
        for name in names:
            if name not in base:
                raise UsageError(f"the base has no tensor {name!r} to fold into; it has {', '.join(sorted(base))}")
            if base[name].dtype != np.float32:
                raise UsageError(f"tensor {name!r} is {base[name].dtype}; only float32 tensors are folded")
        self._base = base
        self._spec = spec
        self._sums = {name: np.zeros(base[name].size, dtype=np.int64) for name in names}
        self._weight = 0
        self._updates = 0

    @property
    def weight(self) -> int:
        """Sum of the integer weights so far."""
        return self._weight

    @property
    def updates(self) -> int:
        """Updates folded so far."""
        return self._updates

    def add_block(self, tensor: str, start: int, values: npt.NDArray[np.int32]) -> None:
        """Add one block of an update, which was validated before: `values` are elements `start…` of `tensor`.

        Args:
            tensor: name of a trained tensor.
            start: index of the first element in row-major order.
            values: int32, any shape.

        Raises:
            ContributionRefused: the block lies outside the tensor (nothing was added).
        """
        total = self._sums.get(tensor)
        if total is None or start < 0 or start + values.size > total.size:
            raise ContributionRefused("shape", f"a block at {start} of {tensor!r} lies outside the model")
        part = total[start : start + values.size]
        np.add(part, values.reshape(-1), out=part, casting="safe")

    def add_weight(self, weight: int) -> None:
        """End one update: count its integer weight.

        Raises:
            ContributionRefused: the weight is not in `0..max_weight`.
        """
        if not 0 <= weight <= self._spec.max_weight:
            raise ContributionRefused("bounds", f"weight {weight} is not in 0..{self._spec.max_weight}")
        self._weight += weight
        self._updates += 1

    def add(self, update: Mapping[str, npt.NDArray[np.int32]], weight: int) -> None:
        """Add one whole update: every trained tensor, int32, and its weight.

        Raises:
            ContributionRefused: other names or sizes than the base's, or |q| above the bound (nothing was added).
        """
        if set(update) != set(self._sums):
            raise ContributionRefused("blocks", "the update does not hold exactly the trained tensors")
        for name, values in update.items():
            if values.size != self._sums[name].size:
                raise ContributionRefused("shape", f"{name!r} has {values.size} elements, not {self._sums[name].size}")
            if values.size and int(np.abs(values.astype(np.int64)).max()) > self._spec.bound:
                raise ContributionRefused("bounds", f"{name!r} exceeds the bound {self._spec.bound}")
        self.add_weight(weight)
        for name, values in update.items():
            self.add_block(name, 0, values)

    def add_stream(self, datoms: Iterable[bytes | memoryview]) -> Iterator[int]:
        """Fold one update's stream that was checked before (`UpdateReader`), block by block.

        Yields:
            Bytes folded with each block, so that a caller can let others run in between. Drain it: the update counts
            only once the iterator has ended.
        """
        stream = iter(datoms)
        manifest = decode_manifest(next(stream))
        weight = 0
        for datom in stream:
            if header_of(datom)[0] == Kind.SEAL:
                break
            block = Block.decode(datom)
            spec = manifest.tensors[block.tensor]
            if spec.name == WEIGHT:
                weight = int(block.array()[0])
            else:
                self.add_block(spec.name, spec.start(block.position), block.array())
                yield len(block.payload)
        self.add_weight(weight)

    def result(self) -> FoldResult:
        """The model, as new arrays; the fold itself is unchanged and may go on."""
        tensors: dict[str, npt.NDArray[Any]] = {}
        for name, base in self._base.items():
            total = self._sums.get(name)
            if total is None or self._weight == 0:
                tensors[name] = base.copy()
            else:
                tensors[name] = self._combine(base.reshape(-1), total).reshape(base.shape)
        return FoldResult(tensors, self._weight, self._updates)

    def _combine(self, base: npt.NDArray[Any], total: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        combined = np.empty(base.size, dtype=np.float32)
        scale, weight = np.float64(self._spec.scale), np.float64(self._weight)
        for start in range(0, base.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            step = total[part].astype(np.float64)
            step *= scale
            step /= weight
            step += base[part].astype(np.float64)
            combined[part] = step
        return combined


class FedAvg:
    """The policy `{"name": "fedavg"}`, as the entry point group `sojourn.policies` offers it; it has no options."""

    options: Final[frozenset[str]] = frozenset()

    def fold(
        self,
        base: Mapping[str, npt.NDArray[Any]],
        spec: UpdateSpec,
        trained: Iterable[str],
        record: Mapping[str, Scalar],
    ) -> Fold:
        """An empty fold; see `sojourn.aggregation.AggregationPolicy.fold`."""
        return Fold(base, spec, trained)
