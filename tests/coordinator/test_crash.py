"""A coordinator that stops right after any of its commits goes on from there, with the same model at the end."""

import asyncio

from sojourn.contracts import verify_chain
from sojourn_coordinator.ledger import read_entries
from sojourn_coordinator.queries import job_view
from sojourn_coordinator.service import Coordinator
from sojourn_coordinator.store.schema import answers, evaluations, operations, orders, phases, publications
from sqlalchemy import func, select

ROUNDS = 2
QUORUM = 2


async def finish(world, links_class, wait_for_end, submission: bytes):
    async with world.serving(links_class()) as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(submission)
        await wait_for_end(coordinator, job)
        return await facts(coordinator, job)


async def facts(coordinator: Coordinator, job: bytes):
    def count(connection):
        def of(table):
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

        return {t.name: of(t) for t in (answers, evaluations, operations, orders, phases, publications)}

    def chain(connection):
        return read_entries(connection, job)

    view = await job_view(coordinator.house.database, job)
    entries = verify_chain(await coordinator.house.database.read(chain))
    return {
        "model": view["model"],
        "state": view["state"],
        "metrics": [(row["loss"], row["auc"], row["patients"]) for row in view["table"]],
        "rows": await coordinator.house.database.read(count),
        "kinds": sorted(entry.kind for entry in entries),
    }


async def test_every_commit_is_a_place_to_stop(world, tmp_path, links_class, crash_at, walk_away, wait_for_end) -> None:
    submission = world.submission(rounds=ROUNDS, quorum=QUORUM)
    expected = await finish(world.fresh_copy(tmp_path / "whole"), links_class, wait_for_end, submission)
    assert expected["state"] == "done"
    assert expected["rows"] == {
        "answers": 3 * ROUNDS, "evaluations": ROUNDS, "operations": 4 * ROUNDS, "orders": 3 * ROUNDS,
        "phases": ROUNDS, "publications": ROUNDS,
    }  # fmt: skip
    commits, struck = 1, 0
    while True:
        copy = world.fresh_copy(tmp_path / f"at-{commits}")
        coordinator, links = await Coordinator.open(copy.state), links_class()
        crash = crash_at(coordinator, commits)
        await coordinator.start(links)
        tasks = [asyncio.create_task(hand.work(coordinator, links)) for hand in copy.hands]
        submitting = asyncio.create_task(coordinator.submit(submission))
        striking = asyncio.create_task(crash.struck.wait())
        ending = asyncio.create_task(_end_of(coordinator, submitting, wait_for_end))
        await asyncio.wait({striking, ending}, return_when=asyncio.FIRST_COMPLETED)
        done = not crash.struck.is_set()
        await walk_away(coordinator)
        await asyncio.gather(*tasks, submitting, striking, ending, return_exceptions=True)
        if done:
            break
        struck += 1
        assert await finish(copy, links_class, wait_for_end, submission) == expected, f"after commit {commits}"
        commits += 1
    # submission, three agents, and for each round: opening, three answers, publication, evaluation; the end
    assert struck >= 1 + 3 + ROUNDS * 4 + 1


async def _end_of(coordinator, submitting, wait_for_end) -> None:
    await wait_for_end(coordinator, await asyncio.shield(submitting))
