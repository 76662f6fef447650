"""The fold of one phase, made from the log: each update once, after its row committed.

Rules:

* Sums are exact, so it does not matter in which order updates come, nor whether they were folded as they came or all
  of them after a restart.
* Other work of the process runs between blocks; a fold that was begun for one update is never left half-way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from sojourn.aggregation import FoldResult, RoundFold, fold_of
from sojourn.contracts import Scalar, UpdateSpec
from sojourn.limits import MIB

from sojourn_coordinator.models import Tensors
from sojourn_coordinator.store import ObjectLog

__all__ = ["PhaseFold"]

_YIELD_BYTES = 1 * MIB


class PhaseFold:
    """Folds updates of a phase onto one base under one policy.

    Args:
        log: where the updates are.
        chosen: policy record of the job.
        root: root of the base.
        base: its tensors.
        spec: of the phase's update.
        trained: names of the tensors that an update holds.
    """

    def __init__(
        self,
        log: ObjectLog,
        chosen: Mapping[str, Scalar],
        root: bytes,
        base: Tensors,
        spec: UpdateSpec,
        trained: Iterable[str],
    ) -> None:
        self._log = log
        self.chosen = dict(chosen)
        self.root = root
        self._fold: RoundFold = fold_of(chosen, base, spec, trained)
        self._done: set[bytes] = set()
        self._turn = asyncio.Lock()

    def serves(self, chosen: Mapping[str, Scalar], root: bytes) -> bool:
        """Whether this is the fold for that policy and base."""
        return (self.chosen, self.root) == (dict(chosen), root)

    async def add(self, agent: bytes, positions: Iterable[int]) -> None:
        """Fold one agent's update, unless it is folded already.

        Args:
            agent: key id.
            positions: one log record for each datom.
        """
        async with self._turn:
            if agent in self._done:
                return
            since = 0
            for size in self._fold.add_stream(map(self._log.read, positions)):
                since += size
                if since >= _YIELD_BYTES:
                    since = 0
                    await asyncio.sleep(0)
            self._done.add(agent)

    def result(self) -> FoldResult:
        """The model of everything folded so far."""
        return self._fold.result()
