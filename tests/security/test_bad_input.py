"""Bad input, seen from outside: what the person in front of it reads, what the other side is told, and what is left.

What has a test of its own in its package is not repeated here; `security_table` says where each item is.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hospitals import graphs
from security_federation import Serving, Trial, owner_log, rows_of, run_job, submission
from security_rogue import Rogue
from sojourn.agent import Agent
from sojourn.client.api import OperatorError
from sojourn.client.cli import app as operator_cli
from sojourn.contracts import Port
from sojourn.errors import PolicyInvalid
from sojourn.testing.fleet import BIN
from sojourn_agent.cli import app as agent_cli
from typer.testing import CliRunner

NOWHERE = "wss://127.0.0.1:1"

# A program outside of the subset


OUTSIDE = """\
from sojourn.program import continuation


@continuation
def hospital(order):
    class Leak:
        pass
    return Leak
"""


def test_a_program_outside_the_subset_names_file_line_and_what_to_write(tmp_path: Path) -> None:
    source = tmp_path / "outside.py"
    source.write_text(OUTSIDE)
    ran = CliRunner().invoke(operator_cli, ["program", "build", str(source)])
    assert ran.exit_code == 2
    assert "outside.py:6:5: " in ran.stderr
    assert "class" in ran.stderr
    why, _, instead = ran.stderr.partition("; ")
    assert len(instead.strip()) > 10, f"what to write instead of: {why}"
    assert list(tmp_path.iterdir()) == [source], "nothing was written"


# A plan whose graph does not match its manifest


def mismatched():
    """The manifest states one feature more than the graph takes."""
    plan, files = graphs.load_plan()
    wide = Port("x", "tensor", "f32", (None, 31))
    changed = tuple(
        msgspec.structs.replace(graph, inputs=tuple(wide if port.name == "x" else port for port in graph.inputs))
        for graph in plan.graphs
    )
    return msgspec.structs.replace(plan, graphs=changed), files


async def test_a_mismatched_plan_is_refused_at_submission(trial: Trial) -> None:
    given = submission(trial.trust.author, plan=mismatched())
    async with trial.serving() as serving:
        with pytest.raises(
            OperatorError, match=r"graph 'evaluate': input 'x': the manifest states f32\[\?, 31\]"
        ) as no:
            await serving.submit(given.data)
        assert no.value.reason == "plan_mismatch"
        assert serving.running.coordinator.fleet.agents == {}
        assert await serving.jobs() == []


async def test_a_mismatched_plan_is_refused_by_the_agent_too(trial: Trial) -> None:
    """The coordinator did not look, or did not want to; author and owner both signed and pinned it."""
    given = submission(trial.trust.author, plan=mismatched())
    folder = trial.agent(given, name="careful")
    rogue = Rogue(trial.trust, given, trial.trust.agent("careful")[1])
    order = rogue.mint()
    async with rogue.meeting(folder) as (gateway, agent):
        gateway.deliver(rogue.entry.key, order.digest, order.envelope)
        assert await rogue.heard(1) == {order.digest: "plan_mismatch"}
        assert agent._database.held() == []
    (line,) = [line for line in owner_log(folder) if line["event"] == "order declined"]
    assert "the manifest states f32[?, 31], the graph has f32[?, 30]" in line["why"]


# A policy file with an unknown key, or that admits nothing


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("version = 1", "version = 1\nadmits_all = true"), "admits_all"),
        (lambda text: text.partition("[[admit]]")[0], "admit"),
        (lambda text: text.partition("[[admit.release]]")[0], "release"),
    ],
    ids=["unknown key", "admits nothing", "releases nothing"],
)
def test_a_policy_file_that_is_wrong_is_said_before_anything_runs(trial: Trial, change, told: str) -> None:
    given = submission(trial.trust.author)
    folder = trial.agent(given, name="owner")
    file = folder / "policy.toml"
    file.write_text(change(file.read_text()))
    with pytest.raises(PolicyInvalid, match=told) as refused:
        Agent(folder, NOWHERE)
    assert str(file) in str(refused.value)
    for command in (["policy", "check", str(file)], ["run", "--state", str(folder), "--coordinator", NOWHERE]):
        ran = CliRunner().invoke(agent_cli, command)
        assert ran.exit_code == 2
        assert told in ran.stderr
        assert str(file) in ran.stderr


# A stream that lacks a field the program asks for


async def follow(serving: Serving, trial: Trial, job: str) -> tuple[int, str]:
    """What `sojourn follow` says of a job, and its exit code."""
    arguments = ["--coordinator", serving.operator.url, "--token-file", str(trial.state / "operator.token")]
    process = await asyncio.create_subprocess_exec(
        str(BIN / "sojourn"), "follow", job, *arguments, "--ca", str(trial.trust.ca),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_a_stream_without_the_field_ends_the_run_in_public_words(trial: Trial) -> None:
    given = submission(trial.trust.author)
    x, y = rows_of(20, 1)
    folder = trial.agent(given, {"x": x, "outcome": y})
    async with trial.serving() as serving, serving.agents(folder):
        job = await serving.submit(given.data)
        view, ledger = await serving.ended(job), await serving.ledger(job)
        code, said = await follow(serving, trial, job)
    assert view["state"] == "failed"
    assert view["error"]["code"] == "QuorumMissed"
    assert code == 3
    assert "failed, stream_field_missing" in said, "whoever follows the job reads why"
    (answered,) = [entry["detail"] for entry in ledger if entry["kind"] == "answered"]
    assert (answered["outcome"], answered["code"]) == ("failed", "stream_field_missing")
    (line,) = [line for line in owner_log(folder) if line["event"] == "stream not opened"]
    assert line["fields"] == ["x", "y"]
    assert "'y'" in line["why"]
    assert "outcome" in line["why"], "and those that there are"
    assert "'y'" not in str(ledger), "which fields there are is the owner's affair"


async def test_one_hospital_without_the_field_does_not_stop_the_others(trial: Trial) -> None:
    given = submission(trial.trust.author, participants=2)
    x, y = rows_of(20, 1)
    lacking, whole = trial.agent(given, {"x": x, "label": y}), trial.agent(given)
    view, _ = await run_job(trial, given, lacking, whole)
    assert view["state"] == "done"
    assert [row["participants"] for row in view["table"]] == [1, 1]


async def test_a_field_of_another_shape_ends_the_run_like_one_without_rows(trial: Trial) -> None:
    """What a row holds is private: from outside it looks like any other answer, of weight zero."""
    given = submission(trial.trust.author, args={"rounds": 1})
    x, y = rows_of(20, 1)
    folder = trial.agent(given, {"x": np.ascontiguousarray(x[:, :29]), "y": y})
    view, _ = await run_job(trial, given, folder)
    assert view["state"] == "done"
    assert view["table"][0]["patients"] == 0
    assert [line["why"] for line in owner_log(folder) if line["event"] == "neutral release"]
