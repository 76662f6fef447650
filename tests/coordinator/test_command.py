"""The command, as a process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sojourn.errors import ConfigError
from sojourn_coordinator.cli import app
from sojourn_coordinator.faults import Fault
from sojourn_coordinator.queries import job_view
from sojourn_coordinator.state import init_state, read_token
from typer.testing import CliRunner

run = CliRunner().invoke
COMMAND = [str(Path(sys.executable).with_name("sojourn-coordinator"))]


def start(*arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    )


def test_init_makes_a_private_folder_once(world, tmp_path: Path) -> None:
    state = tmp_path / "fresh"
    done = run(app, ["init", "--state", str(state), "--trust", str(world.layout.root.parent)])
    assert done.exit_code == 0
    for name in ("identity.key", "operator.token"):
        assert (state / name).stat().st_mode & 0o077 == 0
    assert read_token(state) not in done.output
    again = run(app, ["init", "--state", str(state), "--trust", str(world.layout.root.parent)])
    assert again.exit_code == 2
    shown = run(app, ["token", "show", "--state", str(state)])
    assert shown.output.strip() == read_token(state)
    assert len(read_token(state)) >= 32


def test_init_from_another_party_is_refused(world, tmp_path: Path) -> None:
    for folder in (world.layout.registrar, world.layout.author):
        with pytest.raises(ConfigError):
            init_state(tmp_path / "state", folder)
    assert not (tmp_path / "state").exists()


def test_status_reads_a_state_that_nobody_serves(world) -> None:
    done = run(app, ["status", "--state", str(world.state), "--json"])
    assert json.loads(done.output) == {"jobs": [], "agents": []}
    assert run(app, ["status", "--state", str(world.state / "nothing")]).exit_code == 2


def test_wrong_usage(world) -> None:
    assert run(app, ["run"]).exit_code == 2
    process = start("run", "--state", str(world.state), "--agents", "nowhere")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "HOST:PORT" in said


def test_ctrl_c_leaves_the_state_intact(world) -> None:
    process = start("run", "--state", str(world.state), "--agents", "127.0.0.1:0", "--operators", "127.0.0.1:0")
    assert process.stderr is not None
    assert "serves agents on port" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert run(app, ["status", "--state", str(world.state), "--json"]).exit_code == 0


FAULTY = """
import asyncio, sys
from pathlib import Path
from sojourn_coordinator.faults import Fault
Fault.from_environment({"SOJOURN_FAULT": sys.argv[1]}).strike(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
print("alive")
"""


@pytest.mark.parametrize(("round_", "answers", "dies"), [(2, 3, True), (2, 2, False), (1, 3, False)])
def test_the_fault_strikes_its_occurrence_only(tmp_path: Path, round_: int, answers: int, dies: bool) -> None:
    command = [sys.executable, "-c", FAULTY, "kill-at-answers:2:3", str(tmp_path), str(round_), str(answers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if dies else 0), done.stderr
    assert (tmp_path / "fault.json").exists() == dies
    if dies:
        assert "round 2" in done.stderr
        found = json.loads((tmp_path / "fault.json").read_text())
        assert found["occurrence"] == {"round": 2, "answers": 3}


@pytest.mark.parametrize("text", ["kill", "kill-at-answers:1", "kill-at-answers:a:1", "kill-at:1:2"])
def test_faults_of_another_form(text: str) -> None:
    with pytest.raises(ConfigError, match="SOJOURN_FAULT"):
        Fault.from_environment({"SOJOURN_FAULT": text})
    assert Fault.from_environment({}) is None


async def test_the_fault_comes_after_the_commit(world, wait_for_end, links_class, monkeypatch) -> None:
    """What the hook sees is durable: here it stops the process's work in place of killing it."""
    struck = asyncio.Event()

    def strike(fault: Fault, state: Path, round_: int, answers: int) -> None:
        if (round_, answers) == (fault.round, fault.answers):
            struck.set()

    monkeypatch.setattr(Fault, "strike", strike)
    async with world.serving(fault=Fault(1, 2)) as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(world.submission(rounds=2, evaluate=False))
        async with asyncio.timeout(10):
            await struck.wait()
        events = await coordinator.house.feed._page(job, 0)
        await wait_for_end(coordinator, job)
        assert (await job_view(coordinator.house.database, job))["state"] == "done"
    answered = [json.loads(event.data) for event in events if event.name == "answered"]
    assert [data["count"] for data in answered if data["round"] == 1][:2] == [1, 2]
