"""What has to be laid now: identities in the formats, frozen participants, the commit rule, bodies sealed once.

The behaviour of boxes, regions, journals and folds has tests in their packages (see `security_table`); here it is the
whole coordinator, watched from beside: by a second connection to its database and by the agents that it serves.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest
from security_federation import Serving, Trial, submission
from security_hostile import SHAPES, Hostile
from sojourn.agent import records
from sojourn.client.api import OperatorError
from sojourn.codec import decode, encode
from sojourn.contracts import Answer, Order, UpdateSpec
from sojourn.errors import SnapshotInvalid, StoreError
from sojourn.labels import Label
from sojourn.streams import LogStream
from sojourn.vm import EFFECTS, Handle, Machine, Parked, compile_source, verify
from sojourn.vm.op import Op
from sojourn.vm.snapshot import BoxCell, RunRow, Snapshot
from sojourn_coordinator import desk
from sojourn_coordinator.store import Database
from sojourn_policies import Fold

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
        "task.spawn", "task.join", "task.cancel",
    }  # fmt: skip


SMUGGLE = """
def inner(rows):
    return 7

def region(x):
    gpu.run("g", x=x)
    return x

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    box = private(inner, rows, fuel=1000, memory=10000)
    other = private(region, 1, fuel=1000, memory=10000)
    return [box, other]
"""


def test_a_box_that_is_smuggled_into_a_regions_snapshot_is_refused() -> None:
    """A machine stands inside of a region; its stored state is altered so that a variable there names a box."""
    verified = verify(compile_source(SMUGGLE, "smuggle.py").encode())
    machine = Machine.start(verified, "main", (), bytes(32), 10**6, 10**6)
    assert isinstance(machine.run(1000), Parked)
    machine.resume(Handle("stream", bytes(31) + b"r", Label.of("hospital/patients")))
    assert isinstance(machine.run(1000), Parked)
    assert machine.in_region
    data = machine.dump()
    assert Machine.load(verified, data).dump() == data
    snapshot = decode(Snapshot, data)
    (box,) = (4 + place for place, cell in enumerate(snapshot.cells) if isinstance(cell, BoxCell))
    public, region = snapshot.runs
    frame = region.frames[0]
    smuggled = msgspec.structs.replace(frame, locals=(box, *frame.locals[1:]))
    forged = msgspec.structs.replace(snapshot, runs=(public, msgspec.structs.replace(region, frames=(smuggled,))))
    with pytest.raises(SnapshotInvalid, match="does not flow to its label"):
        Machine.load(verified, encode(forged))


# Updates


def test_a_fold_is_exact_whatever_the_order() -> None:
    """Two large updates that cancel, and small ones that a sum of floating point would lose between them."""
    spec = UpdateSpec(clip=1e9, scale=1.0, bound=2**31 - 1, max_weight=10)
    base = {"w": np.zeros(1, np.float32)}
    parts = [2**30, 1, 1, -(2**30), 1]
    results = set()
    for order in itertools.permutations(parts):
        fold = Fold(base, spec)
        for value in order:
            fold.add({"w": np.array([value], np.int32)}, 1)
        results.add(float(fold.result().tensors["w"][0]))
    assert results == {float(np.float32(3 / 5))}


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
