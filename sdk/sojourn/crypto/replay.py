"""Replay: no order is taken twice, and time never goes back, across restarts.

Rules:

* A seen order is remembered until it expires; after that its expiry refuses it. So what is unexpired and not
  remembered is new, whatever order the network delivers in.
* An issuer gives each sequence number to one order only; a second one under the same number is refused.
* Pure logic over a store that its owner makes durable: `remember` and the owner's own record of the order belong
  into one transaction, and only after it commits may the order be accepted.
"""

from __future__ import annotations

from typing import Protocol

from sojourn.crypto.trust import TrustedSet, VerifiedOrder
from sojourn.errors import Replayed

__all__ = ["ReplayGuard", "ReplayStore"]


class ReplayStore(Protocol):
    """What has to be durable, for example two tables of the agent's database."""

    def highest_time(self) -> int:
        """The highest time stored, Unix milliseconds; 0 at first."""
        ...

    def raise_time(self, now_ms: int) -> None:
        """Store `now_ms` as the highest time."""
        ...

    def seen(self, issuer: bytes, digest: bytes) -> bool:
        """Whether this order is remembered."""
        ...

    def digest_at(self, issuer: bytes, sequence: int) -> bytes | None:
        """The order remembered under this sequence number, if any."""
        ...

    def remember(self, issuer: bytes, digest: bytes, sequence: int, expires_ms: int) -> None:
        """Remember an order until `expires_ms`."""
        ...

    def forget_expired(self, now_ms: int) -> None:
        """Forget orders that expired at or before `now_ms`."""
        ...


class ReplayGuard:
    """Decides whether a verified order is new to this host."""

    __slots__ = ("_store",)

    def __init__(self, store: ReplayStore) -> None:
        self._store = store

    def now(self, trusted: TrustedSet, clock_ms: int) -> int:
        """The time to judge by: the highest of the host's clock, the set's and the store's; kept in both.

        Args:
            trusted: raised to it.
            clock_ms: the host's clock, Unix milliseconds.
        """
        now = trusted.observe(max(clock_ms, self._store.highest_time()))
        if now > self._store.highest_time():
            self._store.raise_time(now)
        return now

    def check(self, order: VerifiedOrder) -> None:
        """Raise where the order is not new; remembers nothing.

        Raises:
            Replayed: seen before, or another order bears its sequence number.
        """
        issuer = order.coordinator.key
        if self._store.seen(issuer, order.digest):
            raise Replayed(f"order {order.digest.hex()[:16]}… was seen before")
        if self._store.digest_at(issuer, order.order.sequence) not in {None, order.digest}:
            raise Replayed(f"the coordinator used sequence {order.order.sequence} for another order already")

    def admit(self, order: VerifiedOrder) -> None:
        """Check, then remember. The caller commits the store's transaction before it acts on the order.

        Raises:
            Replayed: see `check`.
        """
        self.check(order)
        self._store.remember(order.coordinator.key, order.digest, order.order.sequence, order.order.expires_ms)
