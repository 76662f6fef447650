"""agent.db: what is remembered of orders."""

import dataclasses
import sqlite3

import pytest
from sojourn.agent.database import AgentDatabase, OrderRow, Totals, read_orders
from sojourn.errors import StoreError

ISSUER = b"c" * 32


def row(number: int = 1, **changes) -> OrderRow:
    base = OrderRow(
        digest=bytes([number]) * 32,
        run=bytes([100 + number]) * 32,
        epoch=1,
        job=b"j" * 32,
        coordinator=ISSUER,
        phase="train",
        round=number,
        weights=b"w" * 32,
        bundle=b"b" * 32,
        envelope=b"sealed order",
        accepted_ms=1000,
        expires_ms=5000,
        state="running",
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agent.db"


def test_an_accepted_order_is_held_seen_and_survives(path):
    db = AgentDatabase(path)
    db.accept(row(), 7, 1000)
    again = AgentDatabase(path)  # without closing: a killed process closes nothing
    assert again.held() == [row()]
    assert again.seen(ISSUER, row().digest)
    assert again.digest_at(ISSUER, 7) == row().digest
    assert again.highest_sequence(ISSUER) == 7
    assert again.highest_time() == 1000


def test_the_same_order_twice_is_one(path):
    db = AgentDatabase(path)
    db.accept(row(), 7, 1000)
    with pytest.raises(sqlite3.IntegrityError):
        db.accept(row(), 8, 1000)
    assert db.highest_sequence(ISSUER) == 7, "a failed transaction leaves nothing behind"


def test_time_and_sequences_never_go_back(path):
    db = AgentDatabase(path)
    db.raise_time(2000)
    db.raise_time(1500)
    db.remember(ISSUER, b"1" * 32, 9, 9000)
    db.remember(ISSUER, b"2" * 32, 3, 9000)
    assert (db.highest_time(), db.highest_sequence(ISSUER)) == (2000, 9)


def test_seen_orders_are_forgotten_only_when_expired(path):
    db = AgentDatabase(path)
    db.accept(row(1), 1, 1000)
    db.accept(row(2, expires_ms=9000), 2, 6000)
    assert not db.seen(ISSUER, row(1).digest)
    assert db.seen(ISSUER, row(2).digest)
    db.forget_expired(9000)
    assert not db.seen(ISSUER, row(2).digest)


def test_life_of_an_order(path):
    db = AgentDatabase(path)
    db.accept(row(), 1, 1000)
    digest = row().digest
    db.count(digest, effects=5, resumed=3, recomputed=1, restarts=1)
    db.count(digest, effects=4, resumed=1)
    assert db.answered(digest, b"packet", (b"i" * 32, 99, b""), ("done", "", 0), 12)
    held = db.order(digest)
    assert (held.state, held.packet, held.body, held.body_length, held.effects) == (
        "answered", b"packet", b"i" * 32, 99, 12,
    )  # fmt: skip
    assert not db.answered(digest, b"other", None, ("done", "", 0), 12), "an answer is sealed once"
    assert db.finish(digest, "committed", "", 2000)
    assert not db.finish(digest, "closed", "closed", 2000), "the first verdict counts"
    done = db.order(digest)
    assert (done.state, done.packet, done.envelope, done.outcome) == ("committed", None, None, "done")
    assert db.held() == []
    assert db.totals() == Totals(effects_resumed=4, effects_recomputed=1, restarts=1)


def test_status_reads_beside_the_writer(path):
    db = AgentDatabase(path)
    db.accept(row(1), 1, 1000)
    db.accept(row(2), 2, 1000)
    orders, totals = read_orders(path)
    assert [order.round for order in orders] == [2, 1]
    assert totals == Totals(0, 0, 0)


def test_what_is_no_database_is_named(tmp_path):
    (tmp_path / "agent.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match=r"agent\.db"):
        AgentDatabase(tmp_path / "agent.db")
    with pytest.raises(StoreError):
        read_orders(tmp_path / "none.db")


def test_no_envelope_or_packet_in_a_repr():
    shown = repr(row(envelope=b"SECRET"))
    assert "SECRET" not in shown
