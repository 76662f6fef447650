"""An enrolled agent that misbehaves, beside an honest one, against the real coordinator over real TLS.

Every misbehaviour is refused with its reason and stands in the job's ledger, and the round publishes the bytes of the
model that the honest agent alone would have made.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hospitals import settings
from security_federation import Serving, Submission, Trial, submission
from security_hostile import SHAPES, Hostile, Offer, blocks, zeros
from sojourn.crypto import VerifiedOrder
from sojourn.datoms import BlockKind, join_datoms, pack_list

Make = Callable[[Hostile, VerifiedOrder], Offer]

BOUND = settings.BOUND


def poison(weight: int = 1000, value: int = 100_000) -> tuple[dict[str, np.ndarray], int]:
    """Blocks that would move the model if they counted: within the bound, and within the clip of their weight."""
    return {name: np.full(shape, value, np.int32) for name, shape in SHAPES.items()}, weight


def with_blocks(arrays: dict[str, np.ndarray], weight: int) -> Make:
    return lambda hostile, order: hostile.seal(order, *blocks(arrays, weight, hostile.spec(order)))


def with_elements(*values: int) -> Make:
    arrays, weight = poison()
    arrays["w"][: len(values), 0] = values
    return with_blocks(arrays, weight)


def wrong_type(hostile: Hostile, order: VerifiedOrder) -> Offer:
    arrays, weight = poison()
    return hostile.seal(
        order, *blocks({name: a.astype(np.int64) for name, a in arrays.items()}, weight, hostile.spec(order))
    )


def another_scale(hostile: Hostile, order: VerifiedOrder) -> Offer:
    arrays, weight = poison()
    return hostile.seal(order, *blocks(arrays, weight, hostile.spec(order), scale=1.0))


def another_kind(hostile: Hostile, order: VerifiedOrder) -> Offer:
    return hostile.seal(
        order, *pack_list({name: a.astype(np.float32) for name, a in zeros().items()}, BlockKind.WEIGHT)
    )


def block_twice(hostile: Hostile, order: VerifiedOrder) -> Offer:
    datoms, root = blocks(*poison(), hostile.spec(order))
    return hostile.seal(order, [*datoms[:2], datoms[1], *datoms[2:]], root)


def more_after_the_seal(hostile: Hostile, order: VerifiedOrder) -> Offer:
    datoms, root = blocks(*poison(), hostile.spec(order))
    return hostile.seal(order, [*datoms, datoms[1]], root)


def a_block_too_few(hostile: Hostile, order: VerifiedOrder) -> Offer:
    datoms, root = blocks(*poison(), hostile.spec(order))
    return hostile.seal(order, [*datoms[:2], *datoms[3:]], root)


def no_seal(hostile: Hostile, order: VerifiedOrder) -> Offer:
    datoms, root = blocks(*poison(), hostile.spec(order))
    return hostile.seal(order, datoms[:-1], root)


def megabytes(hostile: Hostile, order: VerifiedOrder) -> Offer:
    datoms, root = blocks(*poison(), hostile.spec(order))
    return hostile.seal(order, datoms, root, joined=join_datoms(datoms) + bytes(2 << 20))


def another_update_than_signed(hostile: Hostile, order: VerifiedOrder) -> Offer:
    datoms, _ = blocks(*poison(), hostile.spec(order))
    return hostile.seal(order, datoms, hostile.update(order)[1])


def another_body_than_sealed(hostile: Hostile, order: VerifiedOrder) -> Offer:
    offer = hostile.nothing(order)
    altered = bytearray(offer.sealed)
    altered[-1] ^= 1
    return Offer(offer.packet, offer.body, bytes(altered))


def counted_beyond_its_bound(hostile: Hostile, order: VerifiedOrder) -> Offer:
    datoms, root = blocks(*poison(), hostile.spec(order))
    return hostile.seal(order, datoms, root, releases=hostile.releases(root, patients=1e6))


def a_release_too_few(hostile: Hostile, order: VerifiedOrder) -> Offer:
    datoms, root = blocks(*poison(), hostile.spec(order))
    return hostile.seal(order, datoms, root, releases=hostile.releases(root)[:2])


def another_round(hostile: Hostile, order: VerifiedOrder) -> Offer:
    return hostile.seal(order, *blocks(*poison(), hostile.spec(order)), round=order.order.round + 1)


def another_epoch(hostile: Hostile, order: VerifiedOrder) -> Offer:
    return hostile.seal(order, *blocks(*poison(), hostile.spec(order)), epoch=order.order.epoch - 1)


def signed_by_another(hostile: Hostile, order: VerifiedOrder) -> Offer:
    other, _, _ = hostile.trust.agent("another hospital")
    return hostile.seal(order, *blocks(*poison(), hostile.spec(order)), signer=other)


def in_anothers_name(hostile: Hostile, order: VerifiedOrder) -> Offer:
    _, other, _ = hostile.trust.agent("another hospital")
    return hostile.seal(order, *blocks(*poison(), hostile.spec(order)), agent=other.key)


WIDE = {**zeros(), "w": np.zeros((31, 1), np.int32)}
RENAMED = {"b": zeros()["b"], "v": zeros()["w"]}

MISBEHAVIOUR: dict[str, list[tuple[Make, str]]] = {
    "wrong shape": [
        (with_blocks(WIDE, 1), "shape"),
        (with_blocks(RENAMED, 1), "shape"),
        (wrong_type, "shape"),
        (another_kind, "schema"),
        (another_scale, "schema"),
    ],
    "out of bounds": [
        (with_elements(BOUND + 1), "bounds"),
        (with_elements(-(2**31)), "bounds"),
        (with_elements(BOUND, BOUND), "bounds"),  # longer than the clip of its weight
        (with_blocks(poison()[0], 0), "bounds"),
        (with_blocks(poison()[0], 1001), "bounds"),
        (with_blocks(poison()[0], -1), "bounds"),
    ],
    "too many or too few": [
        (block_twice, "blocks"),
        (more_after_the_seal, "blocks"),
        (a_block_too_few, "blocks"),
        (no_seal, "blocks"),
        (megabytes, "blocks"),
    ],
    "not what it signed": [
        (another_update_than_signed, "digest"),
        (another_body_than_sealed, "signature_invalid"),
        (counted_beyond_its_bound, "bounds"),
        (a_release_too_few, "schema"),
    ],
    "not its own order": [
        (another_round, "digest"),
        (another_epoch, "epoch"),
        (signed_by_another, "unknown_signer"),
        (in_anothers_name, "unknown_signer"),
    ],
}
MOST = max(map(len, MISBEHAVIOUR.values()))


@pytest.fixture(scope="module")
def known() -> list[dict[str, np.ndarray]]:
    """The models of the honest agent alone, by round; made when first asked for."""
    return []


async def alone(trial: Trial, rounds: int, known: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """The models of an undisturbed job of the honest agent."""
    if not known:
        other = Trial(trial.trust, trial.folder / "undisturbed")
        given = submission(trial.trust.author, args={"rounds": MOST})
        folder = other.agent(given, name="honest")
        async with other.serving() as serving, serving.agents(folder):
            job = await serving.submit(given.data)
            assert (await serving.ended(job))["state"] == "done"
            known += [await serving.model(job, number) for number in range(MOST)]
    return known[:rounds]


def job_for_two(trial: Trial, rounds: int) -> Submission:
    return submission(trial.trust.author, args={"rounds": rounds}, participants=2)


async def check_models(serving: Serving, job: str, expected: list[dict[str, np.ndarray]]) -> None:
    view = await serving.ended(job)
    assert (view["state"], len(view["table"])) == ("done", len(expected))
    for number, model in enumerate(expected):
        found = await serving.model(job, number)
        assert {n: t.tobytes() for n, t in found.items()} == {n: t.tobytes() for n, t in model.items()}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
async def test_misbehaviour_is_refused_recorded_and_harmless(trial: Trial, known, name: str) -> None:
    """One misbehaviour in each round of a job."""
    cases = MISBEHAVIOUR[name]
    expected = await alone(trial, len(cases), known)
    given = job_for_two(trial, len(cases))
    folder = trial.agent(given, name="honest")
    async with (
        trial.serving() as serving,
        Hostile(trial.trust, "hostile", serving.url).connected() as hostile,
        serving.agents(folder),
    ):
        job = await serving.submit(given.data)
        for make, reason in cases:
            order = await hostile.order()
            assert await hostile.try_offer(order, make(hostile, order)) == ("rejected", reason)
            assert await hostile.try_offer(order, hostile.failed(order)) == ("committed", "")
        await check_models(serving, job, expected)
        ledger = await serving.ledger(job)
    refused = [entry for entry in ledger if entry["kind"] == "refused"]
    assert {entry["agent"] for entry in refused} == {hostile.key}
    assert [(entry["detail"]["round"], entry["detail"]["reason"]) for entry in refused] == [
        (number, reason) for number, (_, reason) in enumerate(cases)
    ]
    answered = [
        (entry["agent"] == hostile.key, entry["detail"]["outcome"]) for entry in ledger if entry["kind"] == "answered"
    ]
    assert sorted(answered) == [(False, "done")] * len(cases) + [(True, "failed")] * len(cases)


async def test_an_answer_twice_counts_once_and_another_one_is_misbehaviour(trial: Trial, known) -> None:
    expected = await alone(trial, 2, known)
    given = job_for_two(trial, 2)
    folder = trial.agent(given, name="honest")
    async with trial.serving() as serving, Hostile(trial.trust, "hostile", serving.url).connected() as hostile:
        job = await serving.submit(given.data)
        async with serving.agents(folder) as (agent,):
            first = await hostile.order()
            good, other = hostile.nothing(first), hostile.seal(first, *blocks(*poison(), hostile.spec(first)))
            assert await hostile.try_offer(first, good) == ("committed", "")
            assert await hostile.try_offer(first, good) == ("committed", ""), "the same again is acknowledged again"
            assert await hostile.try_offer(first, other) == ("rejected", "duplicate")
            second = await hostile.order()
            assert agent.connected
            assert await hostile.try_offer(first, good) == ("committed", ""), "after the round, too"
            assert await hostile.try_offer(first, other) == ("rejected", "duplicate")
            assert await hostile.try_offer(second, hostile.nothing(second)) == ("committed", "")
            await check_models(serving, job, expected)
            ledger = await serving.ledger(job)
    kinds = [(entry["kind"], entry["detail"].get("reason")) for entry in ledger if entry["agent"] == hostile.key]
    assert kinds.count(("refused", "duplicate")) == 2
    assert kinds.count(("answered", None)) == 2


async def test_an_answer_after_the_round_closed_is_told_so_and_does_not_count(trial: Trial, known) -> None:
    expected = await alone(trial, 2, known)
    given = job_for_two(trial, 2)
    folder = trial.agent(given, name="honest")
    async with trial.serving() as serving, Hostile(trial.trust, "hostile", serving.url).connected() as hostile:
        job = await serving.submit(given.data)
        async with serving.agents(folder):
            first = await hostile.orders.get()
            hostile.link.declined(first.digest, "busy")
            second = await hostile.order()  # the first round has closed
            late = hostile.seal(first, *blocks(*poison(), hostile.spec(first)))
            assert await hostile.try_offer(first, late) == ("closed", "")
            assert await hostile.try_offer(second, hostile.nothing(second)) == ("committed", "")
            await check_models(serving, job, expected)
            view = await serving.ended(job)
            assert await hostile.try_offer(first, late) == ("closed", ""), "after the job, too"
    assert [row["participants"] for row in view["table"]] == [1, 2]


async def test_an_answer_past_the_deadline_does_not_count(trial: Trial, known) -> None:
    """Nobody declines: the clock closes the round."""
    expected = await alone(trial, 1, known)
    given = submission(trial.trust.author, args={"rounds": 1}, participants=2, phase={"deadline_ms": 2500})
    folder = trial.agent(given, name="honest")
    async with trial.serving() as serving, Hostile(trial.trust, "hostile", serving.url).connected() as hostile:
        job = await serving.submit(given.data)
        async with serving.agents(folder):
            order = await hostile.order()
            await check_models(serving, job, expected)
            late = hostile.seal(order, *blocks(*poison(), hostile.spec(order)))
            assert await hostile.try_offer(order, late) == ("closed", "")
            ledger = await serving.ledger(job)
    assert not [entry for entry in ledger if entry["agent"] == hostile.key], "late is no misbehaviour"


async def test_somebody_elses_order_is_not_for_the_taking(trial: Trial, known) -> None:
    """A stranger to the round, enrolled and connected, answers the order of another agent."""
    expected = await alone(trial, 1, known)
    given = job_for_two(trial, 1)
    folder = trial.agent(given, name="honest")
    async with trial.serving() as serving, Hostile(trial.trust, "hostile", serving.url).connected() as hostile:
        job = await serving.submit(given.data)
        async with serving.agents(folder):
            order = await hostile.order()
            async with Hostile(trial.trust, "stranger", serving.url).connected() as stranger:
                stolen = stranger.seal(order, *blocks(*poison(), stranger.spec(order)))
                assert await stranger.try_offer(order, stolen) == ("rejected", "stranger")
            assert await hostile.try_offer(order, hostile.nothing(order)) == ("committed", "")
            await check_models(serving, job, expected)
            ledger = await serving.ledger(job)
    (refused,) = [entry for entry in ledger if entry["kind"] == "refused"]
    assert (refused["agent"], refused["detail"]["reason"]) == (stranger.key, "stranger")
