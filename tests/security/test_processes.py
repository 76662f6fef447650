"""The daemons and commands as processes: ports and state folders that are taken, newer versions, and Ctrl-C."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import structlog
from hospitals import settings
from security_federation import Trial, Trust, rows_of, submission
from sojourn.client.api import Operator
from sojourn.client.cli import app as operator_cli
from sojourn.crypto import Identity
from sojourn.registrar import RegistrarState, enrol
from sojourn.streams import StateFolder
from sojourn.testing.fleet import BIN, free_ports
from sojourn_agent.cli import app as agent_cli
from sojourn_coordinator.cli import app as coordinator_cli
from sojourn_coordinator.state import read_token
from typer.testing import CliRunner

INTERRUPTED = 130
PATIENCE_S = 20.0


def command(app, *arguments: object):
    """Run a command in this process: exit code and what it says. A daemon's log is its own; ours comes back."""
    try:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        structlog.reset_defaults()


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, the lock's aside: it names whoever looked last."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def taken() -> Iterator[int]:
    """A port of loopback that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def agent_folder(trial: Trial) -> Path:
    return trial.agent(submission(trial.trust.author), name="hospital")


# A port in use


@pytest.mark.parametrize("listener", ["--agents", "--operators"])
def test_a_port_in_use_by_the_coordinators_listeners(trial: Trial, listener: str) -> None:
    other = "--operators" if listener == "--agents" else "--agents"
    before, handlers = tree(trial.state), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with taken() as port:
        ran = command(
            coordinator_cli, "run", "--state", trial.state, listener, f"127.0.0.1:{port}", other, "127.0.0.1:0"
        )
    assert ran.exit_code == 2
    assert f"127.0.0.1:{port} is " in ran.stderr
    assert "choose another port" in ran.stderr
    assert before.items() <= tree(trial.state).items()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    StateFolder.open(trial.state, "coordinator").close()  # nobody holds it


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_one_port_for_both_listeners(trial: Trial, host: str) -> None:
    ran = command(
        coordinator_cli, "run", "--state", trial.state, "--agents", f"{host}:7443", "--operators", "127.0.0.1:7443"
    )
    assert ran.exit_code == 2
    assert "--agents and --operators both name port 7443" in ran.stderr
    assert "--operators 127.0.0.1:7444" in ran.stderr


def test_a_port_in_use_by_the_registrar(trust: Trust) -> None:
    with taken() as port:
        ran = command(
            operator_cli, "registrar", "serve", "--state", trust.layout.registrar, "--listen", f"127.0.0.1:{port}"
        )
    assert ran.exit_code == 2
    assert f"127.0.0.1:{port} is in use" in ran.stderr
    assert "choose another port" in ran.stderr


# A state folder of a newer version, or in use


def run_agent(folder: Path):
    return command(agent_cli, "run", "--state", folder, "--coordinator", "wss://127.0.0.1:1")


def run_coordinator(state: Path):
    return command(coordinator_cli, "run", "--state", state, "--agents", "127.0.0.1:0", "--operators", "127.0.0.1:0")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two rows to import."""
    x, y = rows_of(2, 3)
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    return tmp_path / "rows.npz"


def check_refused(folder: Path, *runs, told: str) -> None:
    """Each of the commands is refused in these words and changes nothing."""
    before = tree(folder)
    for run in runs:
        ran = run()
        assert ran.exit_code == 2
        assert told in ran.stderr
        assert tree(folder) == before, "nothing was changed"


def agents_commands(folder: Path, table: Path):
    add = ("data", "import", "--state", folder, "--stream", settings.STREAM, table)
    return (lambda: command(agent_cli, *add), lambda: run_agent(folder))


def coordinators_commands(trial: Trial):
    make = ("init", "--state", trial.state, "--trust", trial.trust.directory)
    return (lambda: command(coordinator_cli, *make), lambda: run_coordinator(trial.state))


def test_an_agents_folder_of_a_newer_version(agent_folder: Path, table: Path) -> None:
    (agent_folder / "version").write_text("sojourn agent 2\n")
    told = "newer Sojourn (version 2; this program reads 1)"
    check_refused(agent_folder, *agents_commands(agent_folder, table), told=told)


def test_a_coordinators_folder_of_a_newer_version(trial: Trial) -> None:
    (trial.state / "version").write_text("sojourn coordinator 2\n")
    check_refused(trial.state, *coordinators_commands(trial), told="newer Sojourn (version 2; this program reads 1)")


HOLD = """
import sys, time
from sojourn.streams import StateFolder
with StateFolder.open(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path, role: str) -> Iterator[int]:
    """Another process has the state folder open; its number."""
    arguments = [sys.executable, "-c", HOLD, str(folder), role]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        yield other.pid


def test_an_agents_folder_in_use_by_another_process(agent_folder: Path, table: Path) -> None:
    with held(agent_folder, "agent") as pid:
        check_refused(agent_folder, *agents_commands(agent_folder, table), told=f"is in use by process {pid}")


def test_a_coordinators_folder_in_use_by_another_process(trial: Trial) -> None:
    with held(trial.state, "coordinator") as pid:
        check_refused(trial.state, *coordinators_commands(trial), told=f"is in use by process {pid}")


# Ctrl-C


class Child:
    """A process of ours, with what it says."""

    def __init__(self, log: Path, *arguments: object, env: dict[str, str] | None = None) -> None:
        self.log = log
        self.out = log.open("ab")
        self.process = subprocess.Popen(
            [str(BIN / str(arguments[0])), *map(str, arguments[1:])],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out, env={**os.environ, **(env or {})},
        )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, text: str, times: int = 1) -> None:
        """Wait until it has said this."""
        end = time.monotonic() + PATIENCE_S
        while self.said().count(text) < times:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.01)

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE_S)
        self.out.close()
        return code

    def end(self) -> None:
        """Whatever happened, it is over."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.out.close()


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.end()


def test_ctrl_c_on_the_registrar_leaves_its_tokens_good(trust: Trust, tmp_path: Path, children: list[Child]) -> None:
    (port,) = free_ports(1)
    arguments = ("sojourn", "registrar", "serve", "--state", trust.layout.registrar, "--listen", f"127.0.0.1:{port}")
    first = Child(tmp_path / "registrar.log", *arguments)
    children.append(first)
    first.until("enrolling agents on")
    with RegistrarState.open(trust.layout.registrar) as state:
        token = state.mint_token("ward-7", url=f"wss://127.0.0.1:{port}")
    assert first.interrupt() == INTERRUPTED
    again = Child(tmp_path / "registrar.log", *arguments)
    children.append(again)
    again.until("enrolling agents on", times=2)
    enrolment = asyncio.run(enrol(token, Identity.generate("agent", "ward-7")))
    assert enrolment.entry.name == "ward-7"


def test_ctrl_c_on_agent_coordinator_and_operator_loses_nothing(trial: Trial, children: list[Child]) -> None:
    """Each is interrupted while a job runs; the job goes on to the model of the undisturbed one."""
    given = submission(trial.trust.author, args={"rounds": 3, "epochs": 60})
    expected = asyncio.run(undisturbed(trial, given))
    agents, operators = free_ports(2)
    x, y = rows_of(20, 1)
    folder = trial.agent(given, {"x": x, "y": y}, name="hospital")
    file = trial.folder / "job.submission"
    file.write_bytes(given.data)
    environment = {
        "SOJOURN_COORDINATOR": f"https://127.0.0.1:{operators}",
        "SOJOURN_TOKEN_FILE": str(trial.state / "operator.token"),
        "SOJOURN_CA": str(trial.trust.ca),
    }

    def start(name: str, *arguments: object) -> Child:
        child = Child(trial.folder / f"{name}.log", *arguments, env=environment)
        children.append(child)
        return child

    def coordinator() -> Child:
        return start(
            "coordinator", "sojourn-coordinator", "run", "--state", trial.state,
            "--agents", f"127.0.0.1:{agents}", "--operators", f"127.0.0.1:{operators}",
        )  # fmt: skip

    def agent() -> Child:
        url = f"wss://127.0.0.1:{agents}"
        return start("agent", "sojourn-agent", "run", "--state", folder, "--coordinator", url)

    serving, hospital = coordinator(), agent()
    serving.until("serves agents")
    submitting = start("submit", "sojourn", "submit", file, "--follow")
    with Operator(environment["SOJOURN_COORDINATOR"], read_token(trial.state), trial.trust.ca) as api:
        submitting.until("submitted as job")
        journal_grows(folder)
        assert hospital.interrupt() == INTERRUPTED
        assert "the state is intact" in hospital.said()
        assert submitting.interrupt() == INTERRUPTED
        (job,) = (row["id"] for row in api.jobs())
        following = start("follow", "sojourn", "follow", job)
        listens(following, operators)
        assert following.interrupt() == INTERRUPTED
        following = start("follow", "sojourn", "follow", job)
        hospital = agent()
        hospital.until("connected to", times=2)
        assert serving.interrupt() == INTERRUPTED
        serving = coordinator()
        serving.until("serves agents", times=2)
        assert following.process.wait(PATIENCE_S) == 0, following.said()
        view = api.job(job)
    assert (view["state"], view["model"]) == ("done", expected)
    for child in (hospital, serving):
        assert child.interrupt() == INTERRUPTED
    status = json.loads(command(agent_cli, "status", "--state", folder, "--json").stdout)
    assert status["restarts"] >= 1, "the agent was interrupted in the middle of a run"
    assert status["effects_recomputed"] == 0
    assert {order["state"] for order in status["orders"]} == {"committed"}


async def undisturbed(trial: Trial, given) -> str:
    """Root of the last model of the same job on an agent with the same rows."""
    other = Trial(trial.trust, trial.folder / "undisturbed")
    x, y = rows_of(20, 1)
    folder = other.agent(given, {"x": x, "y": y}, name="hospital")
    async with other.serving() as serving, serving.agents(folder):
        return (await serving.ended(await serving.submit(given.data)))["model"]


def listens(child: Child, port: int) -> None:
    """Wait until the process is connected to loopback's `port`."""
    process, end = psutil.Process(child.process.pid), time.monotonic() + PATIENCE_S
    while not any(line.raddr and line.raddr.port == port for line in process.net_connections("tcp")):
        assert time.monotonic() < end, child.said()
        time.sleep(0.01)


def journal_grows(folder: Path) -> None:
    """Wait until the agent is well inside a run."""
    end = time.monotonic() + PATIENCE_S
    while sum(map(_size, (folder / "runs").rglob("*"))) < 20_000:
        assert time.monotonic() < end
        time.sleep(0.001)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # a draft that was renamed since it was listed
        return 0


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("app", "where", "arguments"),
    [
        (agent_cli, "sojourn.agent.enrolment.parse_token", ["enrol", "--state", "new", "--token", "sjt1.x"]),
        (agent_cli, "sojourn.agent.data.read_columns", ["data", "import", "--state", "s", "--stream", "p", "rows.npz"]),
        (agent_cli, "sojourn.agent.status.read_status", ["status", "--state", "s"]),
        (agent_cli, "sojourn.privacy.check_policy", ["policy", "check", "policy.toml"]),
        (agent_cli, "sojourn_agent.daemon.serve", ["run", "--state", "s", "--coordinator", "wss://h:1"]),
        (operator_cli, "sojourn.crypto.create_trust", ["trust", "init", "new"]),
        (operator_cli, "sojourn.client.sources.compile_file", ["program", "build", __file__]),
        (operator_cli, "sojourn.registrar.RegistrarState.open", ["registrar", "list", "--state", "s"]),
        (coordinator_cli, "sojourn_coordinator.state.init_state", ["init", "--state", "new", "--trust", "t"]),
        (coordinator_cli, "sojourn_coordinator.state.read_token", ["token", "show", "--state", "s"]),
        (coordinator_cli, "sojourn_coordinator.server.run", ["run", "--state", "s"]),
    ],
    ids=[
        "agent enrol",
        "agent data import",
        "agent status",
        "agent policy check",
        "agent run",
        "trust init",
        "program build",
        "registrar list",
        "coordinator init",
        "coordinator token show",
        "coordinator run",
    ],
)
def test_ctrl_c_in_any_command(monkeypatch, tmp_path: Path, app, where: str, arguments: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(where, interrupted)
    ran = command(app, *arguments)
    assert ran.exit_code == INTERRUPTED
    assert not list(tmp_path.rglob("*.key"))


def lives(process: psutil.Process) -> bool:
    """Whether it still runs; one that has ended and was not asked for its exit code does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_ctrl_c_on_the_demo(tmp_path: Path, children: list[Child]) -> None:
    """The whole sample: what it started has ended, too."""
    demo = Path(__file__).resolve().parents[2] / "samples" / "01_hospitals" / "demo.py"
    child = Child(tmp_path / "demo.log", sys.executable, demo, "--output", tmp_path / "output")
    children.append(child)
    child.until("1 keys, enrolment, private rows")
    listening = psutil.Process(child.process.pid)
    while not (started := listening.children(recursive=True)):
        time.sleep(0.01)
    assert child.interrupt() == INTERRUPTED
    end = time.monotonic() + PATIENCE_S
    while living := [one for one in started if lives(one)]:
        assert time.monotonic() < end, living
        time.sleep(0.01)
    assert "interrupted" in child.said()
    assert "Traceback" not in child.said()
