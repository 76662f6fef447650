"""A phase without an update: asked, closed, reported; and the same report wherever the coordinator stops on the way."""

import asyncio
import json
import zipfile
from datetime import timedelta

import pytest
from sojourn.client.cli import app
from sojourn.client.provenance import trace
from sojourn.client.submission import build_submission, count, mean, phase
from sojourn.codec import digest, encode
from sojourn.contracts import SUITE_1, Answer, AnswerPacket, Released
from sojourn.crypto import ANSWER, read_root_public, seal_envelope
from sojourn.errors import ProvenanceBroken
from sojourn_coordinator.export import export_job
from sojourn_coordinator.house import wall_clock_ms
from sojourn_coordinator.queries import UnknownObject, job_view, jobs_view, model_view
from sojourn_coordinator.service import Coordinator
from typer.testing import CliRunner

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
    # agent-2 counts nobody, and its mean is in the middle of 40 to 200: both read like a release of nothing
    assert [part["neutral"] for part in view["table"][0]["agents"]] == [[], [], ["visits", "bp"]]
    assert (view["table"][0]["names"], view["table"][0]["weights"]) == (["visits", "bp"], {"bp": "visits"})
    # a shape of its own, with nothing of training
    assert set(view["table"][0]) == {
        "round", "phase", "participants", "invited", "bytes", "seconds", "released", "agents", "names",
        "weights",
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


# Provenance


async def exported(world, submission: bytes, wait_for_end, path):
    """Run a job to its end; its view, and its export at `path`."""
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(submission)
        await wait_for_end(coordinator, job)
        path.write_bytes(b"".join([piece async for piece in await export_job(coordinator.house, job)]))
        return await job_view(coordinator.house.database, job)


async def test_what_a_survey_released_is_traced_from_the_export_and_the_root_key(clinics, wait_for_end, tmp_path):
    path, root = tmp_path / "survey.zip", clinics.layout.root_public
    view = await exported(clinics, survey(clinics, times=2), wait_for_end, path)
    found = trace(path, read_root_public(root), recompute=True)
    assert (found.rounds, found.model) == ((), found.initial)
    assert [(each.round, each.phase, sorted(each.participants)) for each in found.surveys] == [
        (number, "survey", ["agent-0", "agent-1", "agent-2"]) for number in range(2)
    ]
    for row, each in zip(view["table"], found.surveys, strict=True):
        assert {part.agent: part.released for part in each.answers} == {
            part["agent"]: part["released"] for part in row["agents"]
        }
        assert {claim for part in each.answers for claim in part.claims.values()} == {"trusted-plan"}
        assert {name for part in each.answers for name in part.mechanisms.values()} == {"bounded-count", "bounded-mean"}
    # roster, job, two programs, plan, ledger; three entries; for each survey its closure, three orders, three answers
    assert found.signatures >= 6 + 3 + 2 * 7

    command = ["provenance", "trace", "--export", str(path), "--root", str(root)]
    shown = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for words in ("surveys  verified", "round 1  survey, 3 of 3 agents answered", "visits 30 by bounded-count"):
        assert words in shown.stdout
    as_json = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert as_json["surveys"][0]["answers"][0]["released"].keys() == {"visits", "bp"}


async def test_a_survey_export_that_was_changed_is_named(clinics, wait_for_end, tmp_path):
    path, root = tmp_path / "survey.zip", read_root_public(clinics.layout.root_public)
    await exported(clinics, survey(clinics), wait_for_end, path)
    with zipfile.ZipFile(path) as archive:
        items = {name: archive.read(name) for name in archive.namelist()}
    assert len([name for name in items if name.startswith("surveys/0/")]) == 1 + 3 + 3

    def named(changed) -> str | None:
        other = tmp_path / "changed.zip"
        with zipfile.ZipFile(other, "w") as archive:
            for name, data in changed.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        try:
            trace(other, root)
        except ProvenanceBroken as problem:
            return problem.item
        return None

    assert named(items) is None
    for name, data in items.items():
        if name.startswith("surveys/"):
            for at in range(0, len(data), max(1, len(data) // 6)):
                assert named({**items, name: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]}) == name, (name, at)
            assert named({other: data for other, data in items.items() if other != name}) == name
    assert named({**items, "surveys/1/closure.signed": items["surveys/0/closure.signed"]}) == "surveys/1/closure.signed"


async def test_a_release_out_of_bounds_that_a_coordinator_let_in_is_named(clinics, wait_for_end, tmp_path, monkeypatch):
    monkeypatch.setattr("sojourn_coordinator.answers.check_statement", lambda *_: None)
    monkeypatch.setitem(FIGURES, "agent-1", (30.0, 2000.0))
    path = tmp_path / "survey.zip"
    await exported(clinics, survey(clinics), wait_for_end, path)
    with pytest.raises(ProvenanceBroken, match="mean 'bp' out of its bounds") as caught:
        trace(path, read_root_public(clinics.layout.root_public))
    assert caught.value.item == f"surveys/0/answers/{clinics.hands[1].key.hex()}.signed"


async def test_a_job_of_models_is_not_traced_without_its_model(world, wait_for_end, tmp_path):
    path = tmp_path / "model.zip"
    await exported(world, world.submission(rounds=1, evaluate=False), wait_for_end, path)
    command = ["provenance", "trace", "--export", str(path), "--root", str(world.layout.root_public)]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, "pass the model" in done.stderr) == (2, True)
