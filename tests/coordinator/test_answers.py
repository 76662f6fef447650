"""What an agent may send, and what becomes of everything else: each refused with its reason, the round unharmed."""

import asyncio

import numpy as np
import pytest
from sojourn.contracts import UpdateSpec, verify_chain
from sojourn.datoms import BlockKind, pack_list, pack_update
from sojourn.wire import Closed, Committed, HeldOrder, Rejected
from sojourn_coordinator.ledger import read_entries
from sojourn_coordinator.queries import job_view

SPEC = UpdateSpec(clip=1.0, scale=2.0**-20, bound=2**31 - 1, max_weight=1_000)
SHAPES = {"w": (3,)}


def update(w: np.ndarray | None = None, weight: int = 5, spec: UpdateSpec = SPEC, shapes=None):
    delta = {"w": np.full(3, 0.1, np.float32) if w is None else w}
    return dict(zip(("datoms", "root"), pack_update(delta, weight, spec, shapes or SHAPES), strict=True))


def raw(q, weight=5, **more):
    """An update stream that `pack_update` would not make."""
    meta = {"scale": SPEC.scale, "bound": SPEC.bound, "max_weight": SPEC.max_weight}
    tensors = {"w": np.asarray(q, np.int32), "#weight": np.array([weight], np.int64), **more}
    return dict(zip(("datoms", "root"), pack_list(tensors, BlockKind.UPDATE, meta), strict=True))


def twice_a_block():
    good = update()
    datoms = good["datoms"]
    return {"datoms": [datoms[0], datoms[1], *datoms[1:]], "root": good["root"]}


def cut_short():
    good = update()
    return {"datoms": good["datoms"][:-1], "root": good["root"]}


BAD_UPDATES = {
    "shape": (update(np.full(4, 0.1, np.float32), shapes={"w": (4,)}), "shape"),
    "name": (raw([1, 2, 3], v=np.array([1], np.int32)), "shape"),
    "type": (dict(zip(("datoms", "root"), pack_list({"w": np.zeros(3, np.float32)}, BlockKind.UPDATE), strict=True)),
             "schema"),
    "spec": (update(spec=UpdateSpec(1.0, 2.0**-21, 2**31 - 1, 1_000)), "schema"),
    "longer than the clip": (raw([2**30, 0, 0], weight=5), "bounds"),
    "weight above the bound": (raw([0, 0, 0], weight=1_001), "bounds"),
    "negative weight": (raw([0, 0, 0], weight=-1), "bounds"),
    "values without weight": (raw([1, 0, 0], weight=0), "bounds"),
    "too many blocks": (twice_a_block(), "blocks"),
    "too few blocks": (cut_short(), "blocks"),
    "another root": ({**update(), "root": bytes(32)}, "digest"),
    "weights instead": (
        dict(zip(("datoms", "root"), pack_list({"w": np.zeros(3, np.float32)}, BlockKind.WEIGHT), strict=True)),
        "schema",
    ),
}  # fmt: skip

BAD_STATEMENTS = {
    "another order": ({"order": bytes(32)}, "digest"),
    "another round": ({"round": 1}, "digest"),
    "another run": ({"run": bytes(32)}, "digest"),
    "lower epoch": ({"epoch": 0}, "epoch"),
    "failed with releases": ({"outcome": "failed", "code": "ValueError"}, "schema"),
    "no releases": ({"releases": ()}, "schema"),
}


async def refusals(coordinator, job: bytes) -> list[str]:
    entries = verify_chain(await coordinator.house.database.read(lambda connection: read_entries(connection, job)))
    return [str(entry.detail["reason"]) for entry in entries if entry.kind == "refused"]


async def open_round(world, coordinator, links, **changes):
    """All agents connected, a job of one round submitted, and each one's order."""
    for hand in world.hands:
        await hand.connect(coordinator)
    job = await coordinator.submit(world.submission(rounds=1, evaluate=False, **changes))
    async with asyncio.timeout(10):
        return job, [await hand.take(links) for hand in world.hands]


async def test_refused_answers_leave_the_round_unharmed(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, (first, *others) = await open_round(world, coordinator, links)
        hand = world.hands[0]
        expected = []
        for name, (changes, reason) in (BAD_UPDATES | BAD_STATEMENTS).items():
            verdict = await hand.offer(coordinator, hand.prepare(coordinator, first, **changes))
            assert isinstance(verdict, Rejected), name
            assert verdict.reason == reason, name
            expected.append(reason)
        assert await refusals(coordinator, job) == expected
        assert isinstance(await hand.offer(coordinator, hand.prepare(coordinator, first)), Committed)
        for other, envelope in zip(world.hands[1:], others, strict=True):
            assert isinstance(await other.offer(coordinator, other.prepare(coordinator, envelope)), Committed)
        await wait_for_end(coordinator, job)
        view = await job_view(coordinator.house.database, job)
    assert view["state"] == "done"
    weights = [hand.update_for(0, SHAPES)[1] for hand in world.hands]
    assert view["table"][0]["patients"] == sum(weights)


async def test_an_oversized_body_is_refused_before_it_is_sent(world) -> None:
    async with world.serving() as (coordinator, links):
        _, (envelope, *_) = await open_round(world, coordinator, links)
        hand = world.hands[0]
        answer = hand.prepare(coordinator, envelope, datoms=[*update()["datoms"], *[bytes(200_000)] * 20])
        verdict = await coordinator.on_offer(hand.entry, answer.order, answer.packet, answer.body_id, len(answer.body))
        assert isinstance(verdict, Rejected)
        assert verdict.reason == "blocks"


@pytest.mark.parametrize("place", [0, 20, -1])
async def test_an_altered_body_is_refused(world, place: int) -> None:
    async with world.serving() as (coordinator, links):
        job, (envelope, *_) = await open_round(world, coordinator, links)
        hand = world.hands[0]
        answer = hand.prepare(coordinator, envelope)
        body = bytearray(answer.body)
        body[place] ^= 1
        answer.body = bytes(body)
        assert isinstance(await hand.offer(coordinator, answer), Rejected)
        assert len(await refusals(coordinator, job)) == 1


async def test_an_altered_or_foreign_packet_is_refused(world) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await open_round(world, coordinator, links)
        hand, other = world.hands[:2]
        answer = hand.prepare(coordinator, envelopes[0])
        packet = bytearray(answer.packet)
        packet[-1] ^= 1
        good, answer.packet = answer.packet, bytes(packet)
        assert isinstance(await hand.offer(coordinator, answer), Rejected)
        answer.packet = good
        answer.order, own = other.prepare(coordinator, envelopes[1]).order, answer.order
        stranger = await hand.offer(coordinator, answer)
        assert isinstance(stranger, Rejected)
        assert stranger.reason == "stranger"
        answer.order = own
        unknown = await coordinator.on_offer(hand.entry, bytes(32), answer.packet, answer.body_id, len(answer.body))
        assert unknown == Rejected(bytes(32), "stranger")
        assert await refusals(coordinator, job) == ["signature_invalid", "stranger"]
        assert isinstance(await hand.offer(coordinator, answer), Committed)


async def test_twice_the_same_is_committed_once_and_another_is_refused(world) -> None:
    async with world.serving() as (coordinator, links):
        job, (envelope, *_) = await open_round(world, coordinator, links)
        hand = world.hands[0]
        answer = hand.prepare(coordinator, envelope)
        assert isinstance(await hand.offer(coordinator, answer), Committed)
        assert isinstance(await hand.offer(coordinator, answer), Committed)
        second = await hand.offer(coordinator, hand.prepare(coordinator, envelope, **update(weight=7)))
        assert isinstance(second, Rejected)
        assert second.reason == "duplicate"
        assert await refusals(coordinator, job) == ["duplicate"]


async def test_two_different_answers_at_once_commit_one(world) -> None:
    async with world.serving() as (coordinator, links):
        _, (envelope, *_) = await open_round(world, coordinator, links)
        hand = world.hands[0]
        given = [hand.prepare(coordinator, envelope, **update(weight=weight)) for weight in (5, 6, 7)]
        verdicts = await asyncio.gather(*(hand.offer(coordinator, answer) for answer in given))
        assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Committed", "Rejected", "Rejected"]


async def test_after_the_close_a_late_answer_is_told_so(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await open_round(world, coordinator, links, deadline_ms=2_000, quorum=2)
        answers = [hand.prepare(coordinator, envelope) for hand, envelope in zip(world.hands, envelopes, strict=True)]
        for hand, answer in list(zip(world.hands, answers, strict=True))[:2]:
            assert isinstance(await hand.offer(coordinator, answer), Committed)
        await wait_for_end(coordinator, job)
        view = await job_view(coordinator.house.database, job)
        late, early = world.hands[2], world.hands[0]
        assert isinstance(await late.offer(coordinator, answers[2]), Closed)
        assert isinstance(await early.offer(coordinator, answers[0]), Committed)
        assert await refusals(coordinator, job) == []
    assert view["state"] == "done"
    assert view["table"][0]["participants"] == 2
    assert view["table"][0]["invited"] == 3


async def test_below_the_quorum_the_job_fails_with_that_code(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await open_round(world, coordinator, links, deadline_ms=300, quorum=2)
        hand = world.hands[0]
        assert isinstance(await hand.offer(coordinator, hand.prepare(coordinator, envelopes[0])), Committed)
        late = world.hands[1].prepare(coordinator, envelopes[1])
        events = await wait_for_end(coordinator, job)
        view = await job_view(coordinator.house.database, job)
        assert isinstance(await world.hands[1].offer(coordinator, late), Closed)
    assert [event.name for event in events][-2:] == ["missed", "failed"]
    assert view["state"] == "failed"
    message = "QuorumMissed: phase 'train' of round 0 has 1 answer, its quorum is 2"
    assert view["error"] == {"code": "QuorumMissed", "line": 18, "message": message}


async def test_declined_and_failed_runs_do_not_hold_a_round_up(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await open_round(world, coordinator, links, quorum=1)
        declining, failing, working = world.hands
        order = declining.prepare(coordinator, envelopes[0]).order
        await coordinator.on_declined(declining.entry, order, "admission_refused")
        failed = failing.prepare(coordinator, envelopes[1], outcome="failed", code="ValueError", line=3, releases=())
        assert isinstance(await failing.offer(coordinator, failed), Committed)
        assert isinstance(await failing.offer(coordinator, failed), Committed)
        assert isinstance(await working.offer(coordinator, working.prepare(coordinator, envelopes[2])), Committed)
        events = await wait_for_end(coordinator, job)
        view = await job_view(coordinator.house.database, job)
    assert {"declined", "answered", "closed", "done"} <= {event.name for event in events}
    assert view["table"][0]["participants"] == 1


async def test_bodies_are_for_agents_with_an_open_order(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await open_round(world, coordinator, links)
        verified, _ = world.hands[0].open_order(coordinator, envelopes[0])
        outsider = world.enrol("outsider")
        for ref in (verified.order.bundle, verified.order.weights):
            assert coordinator.open_body(world.hands[1].entry, ref.id) is not None
            assert coordinator.open_body(outsider.entry, ref.id) is None
            assert coordinator.open_body(world.hands[0].entry, bytes(32)) is None
        for hand, envelope in zip(world.hands, envelopes, strict=True):
            await hand.offer(coordinator, hand.prepare(coordinator, envelope))
        await wait_for_end(coordinator, job)
        assert coordinator.open_body(world.hands[0].entry, verified.order.bundle.id) is None


async def test_leases_follow_the_phase(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links):
        job, envelopes = await open_round(world, coordinator, links)
        hand, other = world.hands[:2]
        answer = hand.prepare(coordinator, envelopes[0])
        held = (HeldOrder(answer.order, "running"),)
        greeting = await hand.connect(coordinator, held)
        assert [(lease.order, lease.epoch, lease.lease_ms > 0) for lease in greeting.leases] == [
            (answer.order, 1, True)
        ]
        assert await coordinator.on_renew(hand.entry, answer.order, 1) > 0
        assert await coordinator.on_renew(hand.entry, answer.order, 0) == 0
        assert await coordinator.on_renew(other.entry, answer.order, 1) == 0
        for each, envelope in zip(world.hands, envelopes, strict=True):
            await each.offer(coordinator, each.prepare(coordinator, envelope))
        await wait_for_end(coordinator, job)
        greeting = await hand.connect(coordinator, held)
        assert [lease.lease_ms for lease in greeting.leases] == [0]
        assert await coordinator.on_renew(hand.entry, answer.order, 1) == 0
