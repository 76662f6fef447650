"""What an operator sees of a job that waits, is asked right now, or went badly: every agent, and why."""

import asyncio
import json

from sojourn.wire import Committed
from sojourn_coordinator.standing import standing_view


async def asked(world, coordinator, links, **changes):
    for hand in world.hands:
        await hand.connect(coordinator)
    job = await coordinator.submit(world.submission(rounds=1, evaluate=False, **changes))
    async with asyncio.timeout(10):
        return job, [await hand.take(links) for hand in world.hands]


async def answer(world, coordinator, number, envelope, **changes) -> None:
    hand = world.hands[number]
    assert isinstance(await hand.offer(coordinator, hand.prepare(coordinator, envelope, **changes)), Committed)


def agents(view) -> list[tuple[str, str, str, int]]:
    return [(part["agent"], part["state"], part["code"], part["line"]) for part in view["phase"]["agents"]]


async def test_who_is_missing_while_a_job_waits(world) -> None:
    async with world.serving() as (coordinator, _):
        job = await coordinator.submit(world.submission())
        await asyncio.sleep(0.05)
        assert await standing_view(coordinator.house, job) == {
            "waiting": {"round": 0, "connected": 0, "needed": 3, "quorum": 2}, "phase": None,
        }  # fmt: skip
        for hand in world.hands[:2]:
            await hand.connect(coordinator)
        await asyncio.sleep(0.05)
        assert (await standing_view(coordinator.house, job))["waiting"]["connected"] == 2
        await coordinator.on_gone(world.hands[0].entry)
        await asyncio.sleep(0.05)
        assert (await standing_view(coordinator.house, job))["waiting"]["connected"] == 1
        await coordinator.cancel(job, "alice")
        assert await standing_view(coordinator.house, job) == {"waiting": None, "phase": None}


async def test_each_agent_of_an_open_phase(world, links_class, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await asked(world, coordinator, links)
        await answer(world, coordinator, 0, envelopes[0])
        wrong = {"outcome": "failed", "code": "KeyError", "line": 9, "releases": ()}
        await answer(world, coordinator, 1, envelopes[1], **wrong)
        view = await standing_view(coordinator.house, job)
        phase = view["phase"]
        assert view["waiting"] is None
        assert (phase["name"], phase["round"], phase["state"], phase["quorum"]) == ("train", 0, "open", 2)
        assert 0 < phase["remaining_ms"] <= phase["deadline_ms"] == 60_000
        expected = [("agent-0", "answered", "", 0), ("agent-1", "failed", "KeyError", 9)]
        assert agents(view) == [*expected, ("agent-2", "awaited", "", 0)]
        events = await coordinator.house.feed._page(job, 0)
        told = [json.loads(event.data) for event in events if event.name == "answered"]
        assert [(data["agent"], data["code"], data["line"]) for data in told] == [
            ("agent-0", "", 0), ("agent-1", "KeyError", 9),
        ]  # fmt: skip
    async with world.serving(links_class()) as (coordinator, _):  # and the same after a restart
        assert agents(await standing_view(coordinator.house, job)) == [*expected, ("agent-2", "awaited", "", 0)]
        await coordinator.cancel(job, "alice")
        view = await standing_view(coordinator.house, job)
        assert (view["phase"]["state"], view["phase"]["remaining_ms"]) == ("cancelled", 0)
        assert agents(view)[2] == ("agent-2", "withdrawn", "", 0)


async def test_why_a_quorum_was_missed(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await asked(world, coordinator, links, deadline_ms=300)
        no = {"outcome": "refused", "code": "admission_refused", "releases": ()}
        await answer(world, coordinator, 0, envelopes[0], **no)
        order = world.hands[1].prepare(coordinator, envelopes[1]).order
        await coordinator.on_declined(world.hands[1].entry, order, "expired")
        await wait_for_end(coordinator, job)
        view = await standing_view(coordinator.house, job)
    assert view["phase"]["state"] == "missed"
    assert agents(view) == [
        ("agent-0", "refused", "admission_refused", 0),
        ("agent-1", "declined", "expired", 0),
        ("agent-2", "silent", "", 0),
    ]
