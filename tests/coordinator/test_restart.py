"""What a restarted coordinator remembers, and what does not depend on who was quick."""

import asyncio
import json

import pytest
from sojourn.wire import Committed, HeldOrder
from sojourn_coordinator.queries import job_view
from sojourn_coordinator.service import Coordinator
from sojourn_coordinator.store.schema import meta, phases
from sqlalchemy import select


async def opened(world, coordinator, links, **changes):
    for hand in world.hands:
        await hand.connect(coordinator)
    job = await coordinator.submit(world.submission(rounds=1, evaluate=False, **changes))
    async with asyncio.timeout(10):
        return job, [await hand.take(links) for hand in world.hands]


async def test_orders_go_out_again_as_they_were_sealed(world, links_class, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await opened(world, coordinator, links)
        first = world.hands[0]
        assert isinstance(await first.offer(coordinator, first.prepare(coordinator, envelopes[0])), Committed)
    async with world.serving(links_class()) as (coordinator, links):
        for hand in world.hands:
            hand.seen.clear()
            await hand.connect(coordinator)
        again = [await hand.take(links) for hand in world.hands[1:]]
        assert again == envelopes[1:]
        assert {agent for agent, _, _ in links.delivered} == {hand.key for hand in world.hands[1:]}
        for hand, envelope in zip(world.hands[1:], again, strict=True):
            answer = hand.prepare(coordinator, envelope)  # fetches both bodies of the earlier life
            assert isinstance(await hand.offer(coordinator, answer), Committed)
        await wait_for_end(coordinator, job)
        assert (await job_view(coordinator.house.database, job))["state"] == "done"


async def test_an_agent_that_comes_back_early_is_not_told_that_it_is_late(world, links_class, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await opened(world, coordinator, links)
        answers = [hand.prepare(coordinator, envelope) for hand, envelope in zip(world.hands, envelopes, strict=True)]

    async def come_back(coordinator, hand, answer):
        await hand.connect(coordinator, (HeldOrder(answer.order, "answered"),))
        return await hand.offer(coordinator, answer)

    coordinator = await Coordinator.open(world.state)
    try:
        early = [
            asyncio.create_task(come_back(coordinator, hand, answer))
            for hand, answer in zip(world.hands, answers, strict=True)
        ]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in early)
        await coordinator.start(links_class())
        assert all(isinstance(verdict, Committed) for verdict in await asyncio.gather(*early))
        await wait_for_end(coordinator, job)
    finally:
        await coordinator.close()


async def remaining(coordinator) -> int:
    return await coordinator.house.database.read(
        lambda connection: connection.execute(select(phases.c.remaining_ms)).scalar_one()
    )


async def test_time_while_the_coordinator_is_down_is_not_spent(world, links_class, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, _ = await opened(world, coordinator, links, deadline_ms=2_500)
        await asyncio.sleep(1.3)
        left = await remaining(coordinator)
        assert 1_000 <= left <= 1_600
    await asyncio.sleep(0.7)
    async with world.serving(links_class()) as (coordinator, _):
        assert await remaining(coordinator) == left
        loop = asyncio.get_running_loop()
        began = loop.time()
        events = await wait_for_end(coordinator, job)
        spent = loop.time() - began
    assert events[-1].name == "failed"
    assert left / 1000 - 0.1 < spent < left / 1000 + 1.5


@pytest.mark.parametrize("delays", [{}, {0: 0.06}, {1: 0.06, 2: 0.03}])
async def test_the_model_does_not_depend_on_who_is_slow(world, tmp_path, wait_for_end, delays) -> None:
    roots = []
    for number, chosen in enumerate(({}, delays)):
        copy = world.fresh_copy(tmp_path / str(number))
        async with copy.serving() as (coordinator, links), copy.working(coordinator, links, chosen):
            job = await coordinator.submit(copy.submission(rounds=2, evaluate=False))
            await wait_for_end(coordinator, job)
            roots.append((await job_view(coordinator.house.database, job))["model"])
    assert roots[0] == roots[1]


async def test_a_round_waits_for_its_agents_and_says_so(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job = await coordinator.submit(world.submission(rounds=1, evaluate=False))
        await asyncio.sleep(0.05)
        await world.hands[0].connect(coordinator)
        await asyncio.sleep(0.05)
        async with world.working(coordinator, links):
            events = await wait_for_end(coordinator, job)
    waiting = [json.loads(event.data) for event in events if event.name == "waiting"]
    assert waiting[0] == {"round": 0, "connected": 0, "needed": 3, "quorum": 2}
    assert {"round": 0, "connected": 1, "needed": 3, "quorum": 2} in waiting
    assert events[-1].name == "done"


async def test_several_jobs_run_at_once_on_the_same_agents(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        submissions = [world.submission(rounds=2, evaluate=False, nonce=bytes([n]) * 16) for n in range(3)]
        jobs = await asyncio.gather(*(coordinator.submit(data) for data in submissions))
        assert len(set(jobs)) == 3
        await asyncio.gather(*(wait_for_end(coordinator, job) for job in jobs))
        views = [await job_view(coordinator.house.database, job) for job in jobs]
    assert [view["state"] for view in views] == ["done"] * 3
    assert len({view["model"] for view in views}) == 1  # same base, updates and scale: same bytes


async def test_time_never_goes_back(world) -> None:
    async with world.serving() as (coordinator, _):
        future = coordinator.house.now() + 60_000
        coordinator.house.trusted.observe(future)
        await coordinator.house.database.write(coordinator.house.stamp)
    async with world.serving() as (coordinator, _):
        assert coordinator.house.now() >= future
        stored = await coordinator.house.database.read(
            lambda connection: connection.execute(select(meta.c.value).where(meta.c.name == "time_ms")).scalar_one()
        )
        assert stored >= future


async def test_sequences_grow_across_restarts(world, links_class) -> None:
    seen = []
    for number in range(2):
        async with world.serving(links_class()) as (coordinator, links):
            for hand in world.hands:
                await hand.connect(coordinator)
            await coordinator.submit(world.submission(rounds=1, evaluate=False, nonce=bytes([number]) * 16))
            async with asyncio.timeout(10):
                while len(seen) < number + 1:
                    verified, _ = world.hands[0].open_order(coordinator, await world.hands[0].take(links))
                    seen.append(verified.order.sequence)
    assert seen == sorted(set(seen))
