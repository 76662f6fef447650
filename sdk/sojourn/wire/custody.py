"""Custody of a run: who may commit its effects.

Rules of this module:

* A committer refuses an epoch lower than the highest it has accepted for the run, for ever.
* A holder commits only inside its lease, by its own monotonic clock, less `LEASE_MARGIN_MS`. The lease counts from the
  moment it was *asked for*, so that it ends here before it ends at the granter, however long the answer took.
* A restarted holder has no lease: it renews the same epoch before it commits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sojourn.errors import WireViolation
from sojourn.limits import LEASE_MARGIN_MS

__all__ = ["Custody", "Holding"]


@dataclass(frozen=True, slots=True)
class Custody:
    """A committer's record of one run: the highest epoch that it has accepted."""

    run: bytes
    epoch: int

    def accepts(self, epoch: int) -> bool:
        """Whether a commit under `epoch` counts."""
        return epoch >= self.epoch

    def advance(self, epoch: int) -> Custody:
        """The record after a commit or a hand-over under `epoch`.

        Raises:
            WireViolation: `state`, the epoch is lower than one already accepted.
        """
        if not self.accepts(epoch):
            raise WireViolation("state", f"epoch {epoch} of a run whose custody is at epoch {self.epoch}")
        return replace(self, epoch=epoch)


@dataclass(frozen=True, slots=True)
class Holding:
    """A holder's view of its own custody. `until_ms` is on its monotonic clock; None while it has no lease."""

    run: bytes
    epoch: int
    until_ms: int | None = None

    def granted(self, epoch: int, lease_ms: int, asked_ms: int) -> Holding:
        """The view after a lease came. A lease of another epoch, or of length 0, leaves no lease.

        Args:
            epoch: that the lease names.
            lease_ms: its length.
            asked_ms: monotonic time at which it was asked for.
        """
        if epoch != self.epoch or lease_ms == 0:
            return replace(self, until_ms=None)
        until = asked_ms + lease_ms - LEASE_MARGIN_MS
        return replace(self, until_ms=until if self.until_ms is None else max(until, self.until_ms))

    def may_commit(self, now_ms: int) -> bool:
        """Whether the lease, less its margin, still runs."""
        return self.until_ms is not None and now_ms < self.until_ms

    def renewal_due(self, now_ms: int, lease_ms: int) -> bool:
        """Whether it is time to renew: no lease, or less than half of one is left."""
        return self.until_ms is None or self.until_ms - now_ms < lease_ms // 2

    def restarted(self) -> Holding:
        """The view of the same holder in a new process: same epoch, no lease."""
        return replace(self, until_ms=None)
