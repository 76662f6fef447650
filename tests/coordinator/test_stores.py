"""Database, object log, ledger, metrics: the parts below the rounds."""

import asyncio
import hashlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.contracts import verify_chain
from sojourn.errors import DecodeError, StateVersion, StoreError
from sojourn.streams import LogStream
from sojourn_coordinator.bodies import BodyDesk
from sojourn_coordinator.ledger import append_entry, read_entries
from sojourn_coordinator.metrics import area_under_curve, mean_loss
from sojourn_coordinator.store import (
    Database,
    ObjectLog,
    ObjectWriter,
    StoredBody,
    join_keys,
    pack_extents,
    split_keys,
    unpack_extents,
)
from sojourn_coordinator.store.objects import RECORD_BYTES
from sojourn_coordinator.store.schema import events
from sqlalchemy import func, insert, select


@pytest.fixture
async def database(tmp_path: Path):
    opened = await Database.open(tmp_path / "coordinator.db")
    yield opened
    await opened.close()


def one(number: int):
    def work(connection):
        connection.execute(insert(events).values(job=b"j", sequence=number, name="n", data="{}", last=False))
        return number

    return work


def count(connection) -> int:
    return connection.execute(select(func.count()).select_from(events)).scalar_one()


async def test_works_that_wait_together_share_a_commit_and_a_bad_one_leaves_no_trace(database) -> None:
    def bad(connection):
        one(100)(connection)
        raise StoreError("refused")

    results = await asyncio.gather(
        *(database.write(one(number)) for number in range(5)), database.write(bad), return_exceptions=True
    )
    assert results[:5] == [0, 1, 2, 3, 4]
    assert isinstance(results[5], StoreError)
    assert await database.read(count) == 5


async def test_a_lone_bad_work_leaves_no_trace(database) -> None:
    await database.write(one(1))
    with pytest.raises(StoreError):
        await database.write(one(1))  # the same primary key
    assert await database.read(count) == 1


async def test_a_write_ends_when_its_caller_is_cancelled(database) -> None:
    task = asyncio.create_task(database.write(one(1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await database.write(one(2))
    assert await database.read(count) == 2


async def test_full_sync_and_write_ahead_log(database) -> None:
    def pragmas(connection):
        names = ("journal_mode", "synchronous")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert await database.read(pragmas) == ["wal", 2]
    assert await database.write(pragmas) == ["wal", 2]


async def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    await (await Database.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    connection.close()
    with pytest.raises(StateVersion, match="99"):
        await Database.open(path)


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    path.write_bytes(b"not a database, not at all, whatever its name may say" * 30)
    with pytest.raises(StoreError):
        await Database.open(path)


async def test_bodies_are_read_at_any_offset(tmp_path: Path) -> None:
    log = ObjectLog.open(tmp_path / "objects")
    data = np.random.default_rng(1).bytes(2 * RECORD_BYTES + 777)
    writer, other = ObjectWriter(log), ObjectWriter(log)
    for start in range(0, len(data), 100_000):
        writer.feed(data[start : start + 100_000])
        other.feed(data[:999])
    body = writer.finish()
    other.finish()
    log.sync()
    assert (body.id, body.length) == (hashlib.sha256(data).digest(), len(data))
    for offset, size in [(0, 10), (RECORD_BYTES - 5, 10), (RECORD_BYTES, RECORD_BYTES), (len(data) - 3, 100), (5, 0)]:
        assert body.read(offset, size) == data[offset : offset + size]
    log.close()
    again = ObjectLog.open(tmp_path / "objects")
    assert StoredBody(again, body.id, body.length, body.positions).whole() == data
    again.close()


async def test_the_ledger_is_a_chain(database) -> None:
    jobs = (b"a" * 32, b"b" * 32)
    for number in range(4):
        for job in jobs:
            await database.write(lambda connection, job=job, n=number: append_entry(connection, job, n, "note"))
    entries = await database.read(lambda connection: read_entries(connection, jobs[0]))
    assert [entry.time_ms for entry in verify_chain(entries)] == [0, 1, 2, 3]
    for broken in (entries[1:], [*entries[:1], *entries[2:]], [entries[1], entries[0]], [entries[0], entries[0]]):
        with pytest.raises(DecodeError):
            verify_chain(broken)


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.binary(min_size=32, max_size=32)))
def test_extents_and_keys_come_back(positions, keys) -> None:
    assert unpack_extents(pack_extents(positions)) == tuple(positions)
    assert split_keys(join_keys(keys)) == tuple(keys)


def test_extents_that_are_not_whole() -> None:
    with pytest.raises(StoreError):
        unpack_extents(b"123")
    with pytest.raises(StoreError):
        split_keys(bytes(33))


def test_bodies_are_granted_and_withdrawn_by_order() -> None:
    desk, body = BodyDesk(), StoredBody(None, b"b" * 32, 0, ())
    desk.grant(b"one", body)
    desk.grant(b"one", body)
    desk.grant(b"two", body)
    desk.withdraw(b"one", body.id)
    assert desk.open(b"one", body.id) is body
    desk.withdraw(b"one", body.id)
    assert desk.open(b"one", body.id) is None
    assert desk.open(b"two", body.id) is body
    desk.withdraw(b"two", body.id)
    assert desk.known(body.id) is None
    desk.withdraw(b"two", body.id)


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30).filter(
        lambda rows: len({label for _, label in rows}) == 2
    )
)
@settings(max_examples=50)
def test_auc_is_the_share_of_pairs_in_order(rows) -> None:
    scores = np.array([score for score, _ in rows], np.float32)
    labels = np.array([label for _, label in rows], np.float32)
    pairs = [
        1.0 if s > t else 0.5 if s == t else 0.0
        for s, positive in rows if positive
        for t, other in rows if not other
    ]  # fmt: skip
    assert area_under_curve(scores, labels) == pytest.approx(sum(pairs) / len(pairs))


def test_metrics_that_are_not_defined() -> None:
    assert area_under_curve(np.array([0.1, 0.2]), np.array([1, 1])) is None
    assert area_under_curve(np.array([np.nan, 0.2]), np.array([0, 1])) is None
    assert area_under_curve(np.array([0.1]), np.array([0, 1])) is None
    assert mean_loss(np.array([])) is None
    assert mean_loss(np.array([np.inf])) is None
    assert mean_loss(np.array([1.0, 2.0], np.float32)) == 1.5


async def test_the_log_is_synced_before_each_transaction(tmp_path: Path) -> None:
    """No row can name bytes that are not on the disk: at every begin, all that was appended is behind the mark."""
    log = ObjectLog.open(tmp_path / "objects")
    database = await Database.open(tmp_path / "coordinator.db", log.sync)
    for number in range(3):
        position = log.append(b"bytes")

        def work(connection, position: int = position, number: int = number) -> bytes:
            reader = LogStream.open(tmp_path / "objects", readonly=True)  # reads what is synced, nothing else
            one(number)(connection)
            return reader.read_at(position)

        assert await database.write(work) == b"bytes"
    await database.close()
    log.close()


async def test_what_cannot_be_synced_is_not_committed(tmp_path: Path) -> None:
    def refuse() -> None:
        raise StoreError("the disk is full")

    database = await Database.open(tmp_path / "coordinator.db", refuse)
    with pytest.raises(StoreError, match="full"):
        await database.write(one(1))
    assert await database.read(count) == 0
    await database.close()
