"""What has to be laid now: identities in the formats, frozen participants, the commit rule, bodies sealed once.

The behaviour of boxes, regions, journals and folds has tests in their packages (see `security_table`); here it is the
whole coordinator, watched from beside: by a second connection to its database and by the agents that it serves.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from security_federation import Serving, Trial, submission
from security_hostile import SHAPES, Hostile
from sojourn.agent import records
from sojourn.client.api import OperatorError
from sojourn.contracts import Answer, Order
from sojourn.errors import StoreError
from sojourn.streams import LogStream
from sojourn.vm import EFFECTS
from sojourn.vm.op import Op
from sojourn.vm.snapshot import BoxCell, RunRow, Snapshot
from sojourn_coordinator import desk
from sojourn_coordinator.store import Database

# Formats


def test_boxes_regions_and_identities_are_in_the_formats() -> None:
    """Program, snapshot, journal and order have room for them; what is enforced is tested where it is enforced."""
    assert "PRIVATE" in Op.__members__
    assert {"id", "sources", "value", "error"} <= set(BoxCell.__struct_fields__)
    assert {"id", "sources", "operation", "frames"} <= set(RunRow.__struct_fields__)
    assert "runs" in Snapshot.__struct_fields__, "the public run, and the region that it waits for"
    assert {"order", "run", "epoch", "program"} <= set(records.Begin.__struct_fields__)
    for record in (records.Pure, records.Read, records.Commit):
        assert {"run", "operation", "asked"} <= set(record.__struct_fields__)
    for document in (Order, Answer):
        assert {"run", "epoch", "round", "phase"} <= set(document.__struct_fields__)
    assert {"sequence", "lease_ms", "clearance"} <= set(Order.__struct_fields__)


def test_each_effect_declares_its_durability() -> None:
    stated = {name: spec.durability for name, spec in EFFECTS.items()}
    assert {name for name, durability in stated.items() if durability == "pure"} == {"gpu.run", "tensor.item"}
    assert {name for name, durability in stated.items() if durability == "read"} == {
        "stream.open", "stream.first", "stream.batch",
    }  # fmt: skip
    assert {name for name, durability in stated.items() if durability == "commit"} == {
        "release.update", "release.count", "release.mean", "release.sum", "log.note",
        "fleet.invite", "fleet.ask", "updates.aggregate", "model.publish",
    }  # fmt: skip


# Phases


async def test_a_phase_of_another_kind_is_refused(trial: Trial) -> None:
    given = submission(trial.trust.author, phase={"kind": "secure-sum"})
    async with trial.serving() as serving:
        with pytest.raises(OperatorError, match="secure-sum") as no:
            await serving.submit(given.data)
    assert no.value.reason == "decode"


async def test_participants_are_frozen_when_the_phase_opens(trial: Trial) -> None:
    """Who comes later, also to another life of the coordinator, gets no order of this phase."""
    given = submission(trial.trust.author, args={"rounds": 1})
    async with trial.serving() as serving, Hostile(trial.trust, "invited", serving.url).connected() as invited:
        job = await serving.submit(given.data)
        order = await invited.order()
    async with trial.serving() as serving, Hostile(trial.trust, "late", serving.url).connected() as late:
        await asyncio.sleep(0.3)  # the job has gone on, and would have invited whom it found
        assert late.orders.empty()
        async with Hostile(trial.trust, "invited", serving.url).connected() as again:
            same = await again.order()
            assert same.data == order.data, "as it was signed"
            assert await again.try_offer(same, again.nothing(same)) == ("committed", "")
            view = await serving.ended(job)
        assert late.orders.empty()
    assert [row["participants"] for row in view["table"]] == [1]


# Storage


class Witness:
    """Looks at the coordinator's files from beside, while it works."""

    def __init__(self, state: Path) -> None:
        self.database = sqlite3.connect(f"{(state / 'coordinator.db').as_uri()}?mode=ro", uri=True)
        self.unsynced = 0
        self.bytes_first: list[int] = []  # records that were not on the disk when a row that counts was committed

    def rows(self, table: str) -> int:
        return self.database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        put, sync, write = LogStream.put, LogStream.sync, Database.write

        def putting(log: LogStream, datom: bytes) -> int:
            if "objects" in str(log._path):
                self.unsynced += 1
            return put(log, datom)

        def syncing(log: LogStream) -> None:
            before = self.unsynced
            sync(log)
            if "objects" in str(log._path):
                self.unsynced -= before

        async def writing(database: Database, work):
            before, unsynced = self.rows("answers") + self.rows("publications"), []

            def within(connection):  # in the transaction, before its first row
                unsynced.append(self.unsynced)
                return work(connection)

            result = await write(database, within)
            if self.rows("answers") + self.rows("publications") > before:
                self.bytes_first.append(unsynced[0])
            return result

        patch.setattr(LogStream, "put", putting)
        patch.setattr(LogStream, "sync", syncing)
        patch.setattr(Database, "write", writing)


async def test_bytes_first_then_the_row_then_the_acknowledgement(trial: Trial, monkeypatch) -> None:
    given = submission(trial.trust.author, args={"rounds": 2})
    async with trial.serving() as serving, Hostile(trial.trust, "hospital", serving.url).connected() as hospital:
        witness = Witness(trial.state)
        witness.watch(monkeypatch)
        job = await serving.submit(given.data)
        for number in (1, 2):
            order = await hospital.order()
            assert witness.rows("orders") == number, "an order is durable before it leaves"
            told = Told(hospital, witness)
            hospital.offer(order, hospital.nothing(order))
            assert await told.rows_when_told() == number
        await serving.ended(job)
    assert witness.bytes_first == [0, 0, 0, 0], "two answers, two publications"


class Told:
    """How many answers the database held at the moment when the agent was told."""

    def __init__(self, hospital: Hostile, witness: Witness) -> None:
        self.seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.witness = witness
        hospital.on_committed = self.told  # type: ignore[method-assign]

    async def told(self, order: bytes) -> None:
        self.seen.set_result(self.witness.rows("answers"))

    async def rows_when_told(self) -> int:
        async with asyncio.timeout(10):
            return await self.seen


async def test_an_answer_commits_whole_or_not_at_all(trial: Trial, monkeypatch) -> None:
    """The last statement of the transaction fails: neither row nor ledger entry nor event is there, nobody was told."""
    given = submission(trial.trust.author, args={"rounds": 1})
    real, failures = desk.append_event, []

    def failing(connection, job, name, *rest, **more):
        if name == "answered" and not failures:
            failures.append(name)
            raise StoreError("the disk is full")
        return real(connection, job, name, *rest, **more)

    monkeypatch.setattr(desk, "append_event", failing)
    async with trial.serving() as serving, Hostile(trial.trust, "hospital", serving.url).connected() as hospital:
        job = await serving.submit(given.data)
        order = await hospital.order()
        hospital.offer(order, hospital.nothing(order))
        witness = Witness(trial.state)
        async with asyncio.timeout(10):
            while not failures:
                await asyncio.sleep(0.005)
        assert witness.rows("answers") == 0
        assert "answered" not in await kinds(serving, job)
        assert await hospital.verdict() == ("committed", ""), "the line was cut, and the agent offered again"
        await serving.ended(job)
        assert (await kinds(serving, job)).count("answered") == 1
    assert witness.rows("answers") == 1


async def kinds(serving: Serving, job: str) -> list[str]:
    return [entry["kind"] for entry in await serving.ledger(job)]


# Bodies


async def test_bodies_are_sealed_once_and_their_keys_wrapped_for_each_recipient(trial: Trial) -> None:
    given = submission(trial.trust.author, args={"rounds": 2}, participants=2)
    async with (
        trial.serving() as serving,
        Hostile(trial.trust, "first", serving.url).connected() as first,
        Hostile(trial.trust, "second", serving.url).connected() as second,
    ):
        await serving.submit(given.data)
        bundles = []
        for _ in range(2):
            left, right = await first.order(), await second.order()
            assert left.order.weights == right.order.weights, "one sealed body for all"
            assert left.order.bundle == right.order.bundle
            assert left.order.run != right.order.run
            bundles.append(left.order.bundle)
            for hospital, order in ((first, left), (second, right)):
                step = {name: np.full(shape, 1000, np.int32) for name, shape in SHAPES.items()}
                answer = hospital.seal(order, *hospital.update(order, step, 1))
                assert await hospital.try_offer(order, answer) == ("committed", "")
        assert bundles[0] == bundles[1], "the bundle is sealed once, not once a round"
    assert first.packets.keys().isdisjoint(second.packets.keys())
    keys = {packet.weights_key for packet in (*first.packets.values(), *second.packets.values())}
    assert len(keys) == 2, "one content key a body, wrapped for each of its recipients"
    stored = b"".join(path.read_bytes() for path in trial.state.rglob("*") if path.is_file())
    assert not [key for key in keys if key in stored], "keys lie in no file of the coordinator"
