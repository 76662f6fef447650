"""Custody of the orders that this agent holds, by its own monotonic clock.

Rules: a new order brings its lease; a restart has none and asks for one under the same epoch; half-spent leases are
renewed while the run goes on; an answer is offered only inside a lease. Pure: time is passed in, in ms.
"""

from __future__ import annotations

from dataclasses import dataclass

from sojourn.wire.custody import Holding

__all__ = ["Leases"]


@dataclass(slots=True)
class _Held:
    holding: Holding
    lease_ms: int
    refused: int = 0


class Leases:
    """The leases of held orders."""

    def __init__(self) -> None:
        self._held: dict[bytes, _Held] = {}

    def take(self, order: bytes, run: bytes, epoch: int, lease_ms: int, now_ms: int) -> None:
        """A new order: its lease runs from its receipt."""
        self._held[order] = _Held(Holding(run, epoch).granted(epoch, lease_ms, now_ms), lease_ms)

    def resume(self, order: bytes, run: bytes, epoch: int, lease_ms: int) -> None:
        """A held order after a restart: same epoch, no lease."""
        self._held[order] = _Held(Holding(run, epoch), lease_ms)

    def granted(self, order: bytes, epoch: int, lease_ms: int, now_ms: int) -> bool:
        """A lease came, or a refusal (0 ms). False when the order is to be given up: it was refused twice in a row."""
        held = self._held.get(order)
        if held is None:
            return True
        held.holding = held.holding.granted(epoch, lease_ms, now_ms)
        held.refused = held.refused + 1 if lease_ms == 0 else 0
        if lease_ms:
            held.lease_ms = lease_ms
        return held.refused < 2

    def may_commit(self, order: bytes, now_ms: int) -> bool:
        """Whether an answer may be offered now."""
        held = self._held.get(order)
        return held is not None and held.holding.may_commit(now_ms)

    def due(self, now_ms: int) -> list[tuple[bytes, int]]:
        """`(order, epoch)` of every lease to renew now."""
        return [
            (order, held.holding.epoch)
            for order, held in self._held.items()
            if held.holding.renewal_due(now_ms, held.lease_ms)
        ]

    def drop(self, order: bytes) -> None:
        """The order is no longer held."""
        self._held.pop(order, None)
