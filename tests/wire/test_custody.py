"""Custody: epochs only grow, leases end early by their margin, a restart has none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.errors import WireViolation
from sojourn.limits import LEASE_MARGIN_MS
from sojourn.wire.custody import Custody, Holding


@given(st.lists(st.integers(0, 20)))
def test_a_committer_never_goes_back(epochs):
    custody = Custody(b"run", 0)
    for epoch in epochs:
        if epoch >= custody.epoch:
            assert custody.accepts(epoch)
            custody = custody.advance(epoch)
        else:
            assert not custody.accepts(epoch)
            with pytest.raises(WireViolation):
                custody.advance(epoch)
    assert custody.epoch == max([0, *epochs])


def test_a_lease_ends_by_its_margin_before_the_granter_counts_it_out():
    held = Holding(b"run", 3)
    assert not held.may_commit(0)
    held = held.granted(3, 10_000, asked_ms=1_000)
    last = 11_000 - LEASE_MARGIN_MS - 1
    assert held.may_commit(last)
    assert not held.may_commit(last + 1)
    assert not held.renewal_due(1_000, 10_000)
    assert held.renewal_due(6_000, 10_000)


def test_a_restarted_holder_renews_the_same_epoch_before_it_commits():
    held = Holding(b"run", 3).granted(3, 10_000, 0).restarted()
    assert held.epoch == 3
    assert not held.may_commit(0)
    assert held.renewal_due(0, 10_000)
    assert held.granted(3, 10_000, 50).may_commit(50)


def test_no_lease_and_another_epochs_lease_stop_the_holder():
    held = Holding(b"run", 3).granted(3, 10_000, 0)
    assert not held.granted(3, 0, 10).may_commit(10)
    assert not held.granted(4, 10_000, 10).may_commit(10)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 500)), min_size=1), st.integers(0, 300))
def test_a_holder_never_commits_after_the_granters_own_end(grants, delay):
    """The granter counts from its reply, which is never before the question."""
    held, now, granter = Holding(b"run", 1), 0, 0
    for lease, wait in grants:
        asked = now
        replied = asked + delay
        granter = max(granter, replied + lease) if lease else replied
        now = replied + wait
        held = held.granted(1, lease, asked)
        assert not (held.may_commit(now) and now >= granter)
