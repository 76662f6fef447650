"""A phase without an update: asked, closed, reported; and the same report wherever the coordinator stops on the way."""

import asyncio
import json
from datetime import timedelta

import pytest
from sojourn.client.submission import build_submission, count, mean, phase
from sojourn.codec import digest, encode
from sojourn.contracts import SUITE_1, Answer, AnswerPacket, Released
from sojourn.crypto import ANSWER, seal_envelope
from sojourn_coordinator.house import wall_clock_ms
from sojourn_coordinator.queries import UnknownObject, job_view, jobs_view, model_view
from sojourn_coordinator.service import Coordinator

SOURCE = """
from sojourn.program import continuation, fleet, private, release, stream

def look(rows):
    return {"n": 1, "values": []}

@continuation
def clinic(order):
    rows = stream.open("visits", fields=["bp"])
    seen = private(look, rows, fuel=1000, memory=100000)
    release.count(seen, of="n", name="visits", high=1000)
    release.mean(seen, of="values", name="bp", low=40.0, high=200.0)

@continuation
def rounds(job):
    for k in range(job.args["times"]):
        fleet.ask(fleet.invite(round=k), "survey")
"""
FIGURES = {"agent-0": (10.0, 80.0), "agent-1": (30.0, 100.0), "agent-2": (0.0, 120.0)}


def survey(world, times: int = 1, source: str = SOURCE, **changes) -> bytes:
    answer = [count("visits", high=1000), mean("bp", low=40, high=200)]
    wanted = {
        "phases": [phase("survey", entry="clinic", quorum=2, deadline_s=60, answer=answer)],
        "args": {"times": times},
        "participants": 3,
        "lifetime": timedelta(hours=1),
    }
    return build_submission(world.author, name="bp", purpose="survey", program=source, **(wanted | changes)).data


@pytest.fixture
def clinics(world):
    """The world's agents, answering with two numbers and no body."""
    for hand in world.hands:
        hand.__class__ = _clinic(type(hand))
    return world


def _clinic(base):
    class Clinic(base):
        def prepare(self, coordinator, envelope, **changes):
            verified, weights = self.open_order(coordinator, envelope)
            assert weights == {}
            order, (visits, pressure) = verified.order, FIGURES[self.identity.name]
            low_high = {"low": 40.0, "high": 200.0}
            releases = (
                Released("count", "visits", "bounded-count", "trusted-plan", {"high": 1e3}, visits, b"", 3, bytes(32)),
                Released("mean", "bp", "bounded-mean", "trusted-plan", low_high, pressure, b"", 4, bytes(32)),
            )
            answer = Answer(
                suite=SUITE_1, agent=self.key, order=verified.digest, job=digest(order.job), program=order.program,
                plan=order.plan, run=order.run, epoch=order.epoch, round=order.round, phase=order.phase,
                weights_root=order.weights_root, outcome="done", code="", line=0, releases=releases,
                issued_ms=wall_clock_ms(),
            )  # fmt: skip
            sender = next(e for e in self.trusted.roster.entries if e.role == "coordinator")
            now = wall_clock_ms()
            packet = encode(AnswerPacket(self.identity.sign(answer), None, b""))
            sealed = seal_envelope(self.identity, sender, ANSWER, packet, now, now + 3_600_000)
            return self.prepared(verified.digest, sealed, order.round)

        def prepared(self, order, packet, round_):
            return _Prepared(order, packet, round_)

    return Clinic


class _Prepared:
    body = body_id = b""

    def __init__(self, order, packet, round_):
        self.order, self.packet, self.round = order, packet, round_


def figures(view) -> list:
    """What a report says, without times and sizes."""
    return [
        (row["round"], row["phase"], row["participants"], row["invited"], row["released"],
         [(part["agent"], part["released"]) for part in row["agents"]])
        for row in view["table"]
    ]  # fmt: skip


EXPECTED = [
    (0, "survey", 3, 3, {"visits": 40.0, "bp": 95.0},
     [("agent-0", {"visits": 10.0, "bp": 80.0}), ("agent-1", {"visits": 30.0, "bp": 100.0}),
      ("agent-2", {"visits": 0.0, "bp": 120.0})])
]  # fmt: skip


async def run(world, submission: bytes, wait_for_end):
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(submission)
        events = await wait_for_end(coordinator, job)
        database = coordinator.house.database
        return await job_view(database, job), await jobs_view(database), events


async def test_a_survey_is_reported_by_agent_and_in_total(clinics, wait_for_end):
    view, listed, events = await run(clinics, survey(clinics), wait_for_end)
    assert (view["state"], view["round"], view["rounds"]) == ("done", 1, 1)
    assert figures(view) == EXPECTED
    assert (listed[0]["round"], listed[0]["rounds"]) == (1, 1)
    (closed,) = [json.loads(event.data) for event in events if event.name == "closed"]
    assert closed["report"]["released"] == {"visits": 40.0, "bp": 95.0}
    assert closed["answers"] == 3
    # a shape of its own, with nothing of training
    assert set(view["table"][0]) == {
        "round", "phase", "participants", "invited", "bytes", "seconds", "released", "agents",
    }  # fmt: skip
    assert not {"model", "loss", "auc"} & set(view)


async def test_a_survey_has_no_model(clinics, wait_for_end):
    async with clinics.serving() as (coordinator, links), clinics.working(coordinator, links):
        job = await coordinator.submit(survey(clinics))
        await wait_for_end(coordinator, job)
        with pytest.raises(UnknownObject, match="no model"):
            await model_view(coordinator.house, job, None)


async def test_how_many_rounds_a_survey_has_is_known_at_its_end(clinics):
    async with clinics.serving() as (coordinator, _):
        job = await coordinator.submit(survey(clinics))
        view = await job_view(coordinator.house.database, job)
        assert (view["state"], view["round"], view["rounds"]) == ("running", 0, None)


async def test_each_time_that_it_is_asked_is_a_row(clinics, wait_for_end):
    view, _, _ = await run(clinics, survey(clinics, times=3), wait_for_end)
    assert [row["round"] for row in view["table"]] == [0, 1, 2]
    assert (view["round"], view["rounds"]) == (3, 3)


async def test_updates_cannot_be_folded_out_of_a_survey(clinics, wait_for_end):
    """The builder would refuse this; a coordinator that gets it anyway ends the job in public words."""
    source = SOURCE.replace("stream\n", "stream, updates\n", 1).replace(
        '        fleet.ask(fleet.invite(round=k), "survey")\n',
        '        answers = fleet.ask(fleet.invite(round=k), "survey")\n'
        "        if job.args['fold']:\n"
        "            updates.aggregate(answers, policy=job.policy, base=job.initial)\n",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sojourn.client.submission.review_rounds", lambda *_: None)
        submission = survey(clinics, source=source, args={"times": 1, "fold": True})
    view, _, _ = await run(clinics, submission, wait_for_end)
    assert view["state"] == "failed"
    assert (view["error"]["code"], view["error"]["line"]) == ("ValueError", 19)
    assert "hold no update" in view["error"]["message"]
    assert figures(view) == EXPECTED  # what was closed before stays


async def test_a_job_with_a_model_still_has_to_say_which(world, wait_for_end):
    source = world.submission.__globals__["PROGRAM"].replace(', "train", weights=weights)', ', "train")')
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(world.submission(source=source))
        await wait_for_end(coordinator, job)
        view = await job_view(coordinator.house.database, job)
    assert view["error"]["code"] == "TypeError"


async def test_every_commit_is_a_place_to_stop(clinics, tmp_path, links_class, crash_at, walk_away, wait_for_end):
    submission, commits, struck = survey(clinics), 1, 0
    while True:
        copy = clinics.fresh_copy(tmp_path / f"at-{commits}")
        copy.hands = [_as_clinic(hand) for hand in copy.hands]
        coordinator, links = await Coordinator.open(copy.state), links_class()
        crash = crash_at(coordinator, commits)
        await coordinator.start(links)
        tasks = [asyncio.create_task(hand.work(coordinator, links)) for hand in copy.hands]
        ending = asyncio.create_task(_end_of(coordinator, submission, wait_for_end))
        striking = asyncio.create_task(crash.struck.wait())
        await asyncio.wait({striking, ending}, return_when=asyncio.FIRST_COMPLETED)
        done = not crash.struck.is_set()
        await walk_away(coordinator)
        await asyncio.gather(*tasks, striking, ending, return_exceptions=True)
        if done:
            break
        struck += 1
        view, _, _ = await run(copy, submission, wait_for_end)
        assert (view["state"], figures(view)) == ("done", EXPECTED), f"after commit {commits}"
        commits += 1
    assert struck >= 1 + 3 + 1 + 3 + 1  # submission, three agents, opening, three answers, the end


def _as_clinic(hand):
    hand.__class__ = _clinic(type(hand))
    return hand


async def _end_of(coordinator, submission, wait_for_end) -> None:
    await wait_for_end(coordinator, await coordinator.submit(submission))
