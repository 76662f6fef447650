"""An operator ends a job: durable, once, agents' answers to it are closed, and a kill on the way leaves it whole."""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest
from sojourn.client.provenance import trace
from sojourn.contracts import LedgerEntry, verify_chain
from sojourn.crypto import read_root_public
from sojourn.errors import StoreError, UsageError
from sojourn.wire import Closed, Committed, HeldOrder
from sojourn_coordinator.cancelling import JobEnded
from sojourn_coordinator.export import export_job
from sojourn_coordinator.ledger import read_entries
from sojourn_coordinator.queries import job_view
from sojourn_coordinator.service import Coordinator
from sojourn_coordinator.state import DATABASE_FILE
from sojourn_coordinator.store.schema import phases
from sqlalchemy import select

TRIES = 4  # to find the last commit


async def opened(world, coordinator, links, **changes):
    """A job whose first phase is open, and each agent's order."""
    for hand in world.hands:
        await hand.connect(coordinator)
    job = await coordinator.submit(world.submission(rounds=3, evaluate=False, **changes))
    async with asyncio.timeout(10):
        return job, [await hand.take(links) for hand in world.hands]


async def entries(coordinator, job: bytes) -> list[LedgerEntry]:
    return verify_chain(await coordinator.house.database.read(lambda connection: read_entries(connection, job)))


async def phase_states(coordinator) -> list[str]:
    def work(connection):
        return list(connection.execute(select(phases.c.state)).scalars())

    return await coordinator.house.database.read(work)


async def test_a_job_is_cancelled_in_the_middle_of_a_round(world, wait_for_end, tmp_path) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await opened(world, coordinator, links)
        answers = [hand.prepare(coordinator, envelope) for hand, envelope in zip(world.hands, envelopes, strict=True)]
        assert isinstance(await world.hands[0].offer(coordinator, answers[0]), Committed)
        before = coordinator.house.now()
        found = await coordinator.cancel(job, "alice")
        assert found.new
        assert before <= found.ended_ms <= coordinator.house.now()

        events = await wait_for_end(coordinator, job)
        assert (events[-1].name, json.loads(events[-1].data)) == ("cancelled", {"by": "alice"})
        view = await job_view(coordinator.house.database, job)
        assert (view["state"], view["ended_ms"], view["error"]) == ("cancelled", found.ended_ms, None)
        last = (await entries(coordinator, job))[-1]
        assert (last.kind, last.detail, last.time_ms) == ("cancelled", {"by": "alice"}, found.ended_ms)
        assert await phase_states(coordinator) == ["cancelled"]

        assert [orders for orders in links.pending.values() if orders] == []
        late = [await hand.offer(coordinator, answer) for hand, answer in zip(world.hands, answers, strict=True)]
        assert [type(verdict) for verdict in late] == [Committed, Closed, Closed]  # the first was committed before
        greeting = await world.hands[1].connect(coordinator, (HeldOrder(answers[1].order, "running"),))
        assert [lease.lease_ms for lease in greeting.leases] == [0]
        assert (await entries(coordinator, job))[-1] == last

        (tmp_path / "export.zip").write_bytes(
            b"".join([part async for part in await export_job(coordinator.house, job)])
        )
    traced = trace(tmp_path / "export.zip", read_root_public(world.layout.root_public))
    assert (traced.rounds, traced.model) == ((), traced.initial)


async def test_cancelling_again_changes_nothing(world) -> None:
    async with world.serving() as (coordinator, links):
        job, _ = await opened(world, coordinator, links)
        first, second = await asyncio.gather(coordinator.cancel(job, "alice"), coordinator.cancel(job, "bob"))
        assert (first.new, second.new) == (True, False)
        assert first.ended_ms == second.ended_ms
        kinds = [entry.kind for entry in await entries(coordinator, job)]
        assert kinds.count("cancelled") == 1
        assert (await entries(coordinator, job))[-1].detail == {"by": "alice"}


async def test_what_has_ended_is_not_cancelled(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(world.submission(rounds=1, evaluate=False))
        await wait_for_end(coordinator, job)
        ledger = await entries(coordinator, job)
        with pytest.raises(JobEnded, match="is done"):
            await coordinator.cancel(job, "alice")
        assert await entries(coordinator, job) == ledger


@pytest.mark.parametrize("by", ["", "x" * 101, "a\nb", "\x1b[2J"])
async def test_who_cancels_is_a_name(world, by: str) -> None:
    async with world.serving() as (coordinator, links):
        job, _ = await opened(world, coordinator, links)
        with pytest.raises(UsageError, match="say who cancels"):
            await coordinator.cancel(job, by)
        assert (await job_view(coordinator.house.database, job))["state"] == "running"


async def test_a_job_that_waits_for_agents_is_cancelled(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job = await coordinator.submit(world.submission(rounds=1))
        await asyncio.sleep(0.05)
        assert (await coordinator.cancel(job, "alice")).new
        assert [event.name for event in await wait_for_end(coordinator, job)] == ["submitted", "waiting", "cancelled"]
        async with world.working(coordinator, links):
            await asyncio.sleep(0.05)
            assert links.delivered == []


async def test_the_other_jobs_of_a_coordinator_go_on(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links), world.working(coordinator, links, {0: 0.05}):
        jobs = [
            await coordinator.submit(world.submission(rounds=2, evaluate=False, nonce=bytes([n]) * 16))
            for n in range(2)
        ]
        await coordinator.cancel(jobs[0], "alice")
        for job in jobs:
            await wait_for_end(coordinator, job)
        states = [(await job_view(coordinator.house.database, job))["state"] for job in jobs]
    assert states == ["cancelled", "done"]


async def test_an_answer_that_comes_meanwhile_is_told_after_the_end(world) -> None:
    """Between the stop of a job and its last commit nothing may be said that a crash could take back."""
    async with world.serving() as (coordinator, links):
        job, envelopes = await opened(world, coordinator, links)
        answer = world.hands[0].prepare(coordinator, envelopes[0])
        write, gate = coordinator.house.database.write, asyncio.Event()

        async def held(work):
            await gate.wait()
            return await write(work)

        coordinator.house.database.write = held
        cancelling = asyncio.create_task(coordinator.cancel(job, "alice"))
        await asyncio.sleep(0.02)
        offering = asyncio.create_task(world.hands[0].offer(coordinator, answer))
        await asyncio.sleep(0.05)
        assert not cancelling.done()
        assert not offering.done()
        gate.set()
        assert (await cancelling).new
        assert isinstance(await offering, Closed)
        assert "answered" not in [entry.kind for entry in await entries(coordinator, job)]


async def test_a_store_that_refuses_ends_the_process_and_not_the_job(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, _ = await opened(world, coordinator, links)
        write = coordinator.house.database.write

        async def full(_):
            raise StoreError("the disk is full")

        coordinator.house.database.write = full
        with pytest.raises(StoreError):
            await coordinator.cancel(job, "alice")
        with pytest.raises(StoreError):
            await coordinator.failed()
        assert [len(orders) for orders in links.pending.values()] == [1, 1, 1]
        coordinator.house.database.write = write
    for hand in world.hands:
        hand.seen.clear()
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        assert (await wait_for_end(coordinator, job))[-1].name == "done"


async def test_every_commit_around_it_is_a_place_to_stop(
    world, tmp_path, links_class, crash_at, walk_away, wait_for_end
) -> None:
    """After a kill the job either runs on to its end or is cancelled for good."""
    submission, commits, seen, tries = world.submission(rounds=1, quorum=3, evaluate=False), 1, [], 0
    while True:
        copy = world.fresh_copy(tmp_path / f"at-{commits}-{tries}")
        coordinator, links = await Coordinator.open(copy.state), links_class()
        crash = crash_at(coordinator, commits)
        await coordinator.start(links)
        for hand in copy.hands[1:]:  # with two of three answers the phase stays open
            hand.task = asyncio.create_task(hand.work(coordinator, links))
        ending = asyncio.create_task(_cancelled_in_the_middle(coordinator, copy, links, submission))
        striking = asyncio.create_task(crash.struck.wait())
        await asyncio.wait({striking, ending}, return_when=asyncio.FIRST_COMPLETED)
        done = not crash.struck.is_set()
        await walk_away(coordinator)
        await asyncio.gather(*(hand.task for hand in copy.hands[1:]), ending, striking, return_exceptions=True)
        if done and ("cancelled" in seen or tries == TRIES):
            break
        if done:  # on a busy machine two commits became one, this time or before: the last one is looked for again
            commits, tries = commits - 1, tries + 1
            continue
        durable = _stored_states(copy.state)  # as the kill left them
        told = ending.done() and not ending.cancelled() and ending.exception() is None
        assert durable == ["cancelled"] or not told  # an operator who was told so can rely on it
        async with copy.serving(links_class()) as (coordinator, links), copy.working(coordinator, links):
            job = await coordinator.submit(submission)
            events = await wait_for_end(coordinator, job)
            view = await job_view(coordinator.house.database, job)
            kinds = [entry.kind for entry in await entries(coordinator, job)]
        assert events[-1].name == view["state"] == kinds[-1]
        assert kinds.count("cancelled") + kinds.count("done") == 1
        assert (view["state"] == "cancelled") == (durable == ["cancelled"])  # none is lost, none appears
        seen.append(view["state"])
        commits += 1
    # submission, three agents, opening, two answers; then the cancelling, which is the last commit of all
    assert len(seen) >= 1 + 3 + 1 + 2 + 1
    assert seen[:6] == ["done"] * 6
    assert "cancelled" in seen
    assert set(seen) == {"done", "cancelled"}


def _stored_states(state) -> list[str]:
    """Of the jobs, read beside the coordinator that is gone."""
    with closing(sqlite3.connect(state / DATABASE_FILE)) as database:
        return [row[0] for row in database.execute("select state from jobs")]


async def _cancelled_in_the_middle(coordinator, world, links, submission) -> None:
    await world.hands[0].connect(coordinator)
    job = await coordinator.submit(submission)
    async for event in coordinator.house.feed.follow(job, 0):
        if event.name == "answered" and json.loads(event.data)["count"] == 2:
            await coordinator.cancel(job, "alice")
            return
