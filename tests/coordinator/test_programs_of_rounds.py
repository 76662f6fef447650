"""Rounds programs that are not the packaged loop: other shapes, wrong arguments, refused submissions."""

import json

import msgspec
import numpy as np
import pytest
from sojourn.codec import decode, encode
from sojourn.contracts import Bundle, Job, Signed
from sojourn.datoms import BlockKind, join_datoms, pack_list
from sojourn.errors import ConfigError, DecodeError, PlanMismatch, ProgramInvalid, SojournError, TrustError
from sojourn_coordinator.queries import job_view, jobs_view
from sojourn_coordinator.standing import programs_view

AGENT = """
from sojourn.program import continuation, fleet, log, model, private, release, stream, updates

def train(rows, weights):
    return {"state": weights, "n": 1, "losses": []}

@continuation
def hospital(order):
    rows = stream.open("patients", fields=["x", "y"])
    result = private(train, rows, order.weights, fuel=10000, memory=1000000)
    release.update(result, of="state", weight="n", base=order.weights)

@continuation
def rounds(job):
"""
ROUND = """
    cohort = fleet.invite(round=0)
    answers = fleet.ask(cohort, "train", weights=job.initial)
    folded = updates.aggregate(answers, policy=job.policy, base=job.initial)
"""


async def outcome(world, wait_for_end, body: str):
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(world.submission(source=AGENT + body, evaluate=False))
        events = await wait_for_end(coordinator, job)
        return await job_view(coordinator.house.database, job), events


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("    return fleet.invite(round=-1)\n", "ValueError"),
        ("    return fleet.invite(round='0')\n", "ValueError"),
        ("    return fleet.ask(job.initial, 'train', weights=job.initial)\n", "TypeError"),
        ("    c = fleet.invite(round=0)\n    return fleet.ask(c, 'other', weights=job.initial)\n", "ValueError"),
        ("    c = fleet.invite(round=0)\n    return fleet.ask(c, 'train')\n", "TypeError"),
        ("    c = fleet.invite(round=0)\n    return fleet.ask(c, 'train', weights=1)\n", "TypeError"),
        ("    c = fleet.invite(round=0)\n    return fleet.ask(c, 'train', weights=job.initial, lr=1)\n", "TypeError"),
        (ROUND + "    return model.publish(answers, round=0)\n", "TypeError"),
        (ROUND + "    return updates.aggregate(answers, policy={'name': 'krum'}, base=folded)\n", "ValueError"),
        (ROUND + "    return updates.aggregate(answers, policy='fedavg', base=folded)\n", "TypeError"),
        ("    raise ValueError('no')\n", "ValueError"),
        ("    while True:\n        pass\n", "fuel"),
    ],
)
async def test_wrong_programs_fail_with_a_code_and_a_line(world, wait_for_end, monkeypatch, body, code) -> None:
    monkeypatch.setattr("sojourn_coordinator.runner.ROUNDS_FUEL", 100_000)
    view, events = await outcome(world, wait_for_end, body)
    assert view["state"] == "failed"
    assert view["error"]["code"] == code
    assert view["error"]["line"] > 14
    assert events[-1].name == "failed"


async def test_a_failure_in_a_module_names_its_file(world, wait_for_end) -> None:
    source = "import helpers" + AGENT + "    helpers.broken(job.args)\n"
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(world.submission(source=source, evaluate=False))
        events = await wait_for_end(coordinator, job)
        view = await job_view(coordinator.house.database, job)
        programs = await programs_view(coordinator.house, job)
    assert (view["error"]["code"], view["error"]["line"]) == ("ValueError", 1_000_003)
    assert programs["rounds_modules"] == programs["agent_modules"] == ["helpers"]
    assert json.loads(events[-1].data)["message"] == "ValueError: in a module (line 3 of helpers.py)"


async def test_a_model_can_be_asked_about_twice_and_published_at_the_end(world, wait_for_end) -> None:
    body = (
        ROUND
        + """
    again = fleet.ask(fleet.invite(round=1), "train", weights=folded)
    more = updates.aggregate(again, policy=job.policy, base=folded)
    log.note("two phases, one publication")
    return model.publish(more, round=1)
"""
    )
    view, events = await outcome(world, wait_for_end, body)
    assert view["state"] == "done"
    assert [row["round"] for row in view["table"]] == [1]
    assert "note" in {event.name for event in events}


async def test_the_same_updates_on_another_base_are_folded_again(world, wait_for_end) -> None:
    body = (
        ROUND
        + """
    model.publish(folded, round=0)
    return model.publish(updates.aggregate(answers, policy=job.policy, base=folded), round=1)
"""
    )
    view, _ = await outcome(world, wait_for_end, body)
    assert view["state"] == "done"
    assert len(view["table"]) == 2


async def test_the_initial_model_can_be_published(world, wait_for_end) -> None:
    view, _ = await outcome(world, wait_for_end, "    return model.publish(job.initial, round=0)\n")
    assert view["state"] == "done"
    assert view["table"][0]["participants"] == 0


def with_item(data: bytes, name: str, value: bytes | None) -> bytes:
    items = dict(decode(Bundle, data).items)
    if value is None:
        del items[name]
    else:
        items[name] = value
    return encode(Bundle(items))


def other_model(tensors) -> bytes:
    return join_datoms(pack_list(tensors, BlockKind.WEIGHT)[0])


REFUSED = {
    "rounds program reaches an agent's effect": (
        lambda w: w.submission(source=AGENT + "    return stream.open('patients', fields=['x'])\n"), ProgramInvalid),
    "agent program reaches the fleet": (
        lambda w: w.submission(rounds_entry="rounds", phases=(phase(w, entry="rounds"),)), ProgramInvalid),
    "no such entry": (lambda w: w.submission(rounds_entry="nothing"), ProgramInvalid),
    "phase without entry": (lambda w: w.submission(phases=(phase(w, entry="nothing"),)), ProgramInvalid),
    "unknown policy": (lambda w: w.submission(policy={"name": "krum"}), ConfigError),
    "expired": (lambda w: w.submission(issued_ms=1, expires_ms=2), TrustError),
    "missing item": (lambda w: with_item(w.submission(), "plan", None), DecodeError),
    "surplus item": (lambda w: with_item(w.submission(), "more", b"x"), DecodeError),
    "another graph": (lambda w: with_item(w.submission(), "graph/evaluate", b"x"), DecodeError),
    "another model": (
        lambda w: with_item(w.submission(), "initial", other_model({"w": np.zeros(3, np.float32)})), DecodeError),
    "a model of another shape": (None, PlanMismatch),
    "not a bundle": (lambda _: b"nothing", DecodeError),
}  # fmt: skip


def phase(world, **changes):

    stated = decode(Job, decode(Signed, decode(Bundle, world.submission()).items["job"]).payload)
    return msgspec.structs.replace(stated.phases[0], **changes)


def reshaped(world) -> bytes:
    datoms, root = pack_list({"w": np.zeros(4, np.float32)}, BlockKind.WEIGHT)
    return with_item(world.submission(initial=root), "initial", join_datoms(datoms))


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_leaves_no_trace(world, case: str) -> None:
    make, error = REFUSED[case]
    make = make or reshaped
    async with world.serving() as (coordinator, _):
        with pytest.raises(error):
            await coordinator.submit(make(world))
        assert await jobs_view(coordinator.house.database) == []


async def test_each_byte_of_a_signed_document_counts(world) -> None:
    data = world.submission()
    async with world.serving() as (coordinator, _):
        for name in ("job", "program", "plan"):
            document = bytearray(decode(Bundle, data).items[name])
            for place in range(0, len(document), max(1, len(document) // 40)):
                document[place] ^= 1
                with pytest.raises(SojournError):
                    await coordinator.submit(with_item(data, name, bytes(document)))
                document[place] ^= 1
        assert await jobs_view(coordinator.house.database) == []


async def test_the_same_job_again_is_the_same_job(world, wait_for_end) -> None:
    data = world.submission(rounds=1, evaluate=False)
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        first = await coordinator.submit(data)
        assert await coordinator.submit(data) == first
        await wait_for_end(coordinator, first)
        assert await coordinator.submit(data) == first
        assert len(await jobs_view(coordinator.house.database)) == 1
