"""No order twice, and time that never goes back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.crypto import ReplayGuard, sign_document
from sojourn.errors import Expired, Replayed

HOUR = 3_600_000


class Rows:
    """A store in dictionaries: what a test can carry over a restart."""

    def __init__(self) -> None:
        self.time = 0
        self.rows: dict[tuple[bytes, bytes], tuple[int, int]] = {}

    def highest_time(self) -> int:
        return self.time

    def raise_time(self, now_ms: int) -> None:
        assert now_ms > self.time
        self.time = now_ms

    def seen(self, issuer: bytes, digest: bytes) -> bool:
        return (issuer, digest) in self.rows

    def digest_at(self, issuer: bytes, sequence: int) -> bytes | None:
        return next((d for (i, d), (s, _) in self.rows.items() if (i, s) == (issuer, sequence)), None)

    def remember(self, issuer: bytes, digest: bytes, sequence: int, expires_ms: int) -> None:
        self.rows[issuer, digest] = (sequence, expires_ms)

    def forget_expired(self, now_ms: int) -> None:
        self.rows = {key: row for key, row in self.rows.items() if row[1] > now_ms}


def verified(world, trusted, **changes):
    return trusted.verify_order(world.signed_order(**changes), world.entry(world.agent), trusted.now)


def test_a_seen_order_is_refused_also_after_a_restart(world):
    store, trusted = Rows(), world.trusted()
    order = verified(world, trusted)
    ReplayGuard(store).check(order)
    ReplayGuard(store).admit(order)
    for _ in range(2):
        with pytest.raises(Replayed, match="seen before"):
            ReplayGuard(store).admit(order)


def test_one_sequence_is_one_order(world):
    store, trusted = Rows(), world.trusted()
    ReplayGuard(store).admit(verified(world, trusted, sequence=5))
    with pytest.raises(Replayed, match="sequence 5"):
        ReplayGuard(store).admit(verified(world, trusted, sequence=5, round=1))
    ReplayGuard(store).admit(verified(world, trusted, sequence=4, round=1))  # late, but new


def test_after_forgetting_expiry_refuses(world):
    store, trusted = Rows(), world.trusted()
    guard = ReplayGuard(store)
    order = verified(world, trusted)
    guard.admit(order)
    now = guard.now(trusted, world.now + HOUR)
    store.forget_expired(now)
    assert not store.rows
    with pytest.raises(Expired):
        trusted.verify_order(order.data, world.entry(world.agent), world.now)
    restarted = world.trusted()
    assert guard.now(restarted, world.now) == now
    with pytest.raises(Expired):
        restarted.verify_order(order.data, world.entry(world.agent), world.now)


@settings(max_examples=50, deadline=None)
@given(clocks=st.lists(st.integers(0, 2**45), min_size=1, max_size=8))
def test_the_time_only_rises(world, clocks):
    store = Rows()
    seen = []
    for clock in clocks:
        trusted = world.trusted()
        seen.append(ReplayGuard(store).now(trusted, clock))
        assert trusted.now >= seen[-1]
    assert seen == sorted(seen)
    assert store.time == seen[-1] >= max(clocks)


@settings(max_examples=30, deadline=None)
@given(deliveries=st.lists(st.integers(0, 3), max_size=12))
def test_each_order_is_taken_once_in_whatever_order_they_come(world, deliveries):
    store, trusted = Rows(), world.trusted()
    orders = [
        trusted.verify_order(
            sign_document(world.coordinator, world.order(sequence=n, round=n)), world.entry(world.agent), world.now
        )
        for n in range(4)
    ]
    taken = []
    for number in deliveries:
        try:
            ReplayGuard(store).admit(orders[number])
            taken.append(number)
        except Replayed:
            assert number in taken
    assert sorted(taken) == sorted(set(deliveries))
