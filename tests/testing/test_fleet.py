"""The fleet keeps processes as a service manager would, and ends with everything it started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sojourn.testing.fleet import MAX_RESTARTS, Fleet, FleetError, call, free_ports

SERVE = """
import os, signal, socket, sys, time
log = sys.argv[1]
with open(log, "a") as out:
    out.write(f"{os.getpid()} {os.environ.get('SOJOURN_FAULT', '-')} {os.environ.get('OTHER', '-')}\\n")
if os.environ.get("SOJOURN_FAULT") == "die" or sys.argv[2] == "always":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "fail":
    sys.exit("it failed so")
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[2].isdigit():
    server = socket.create_server(("127.0.0.1", int(sys.argv[2])))
time.sleep(60)
"""


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


class Lives:
    """What the lives of one process wrote down: pid, fault, another variable."""

    def __init__(self, folder: Path) -> None:
        self.log, self.out = folder / "lives", folder / "out.log"

    def command(self, how: str) -> list[str | Path]:
        return ["python", "-c", SERVE, self.log, how]

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(tmp_path)


def test_a_killed_process_lives_again_without_its_fault(lives: Lives) -> None:
    with Fleet() as fleet:
        process = fleet.start("one", lives.command("stay"), lives.out, {"SOJOURN_FAULT": "die", "OTHER": "kept"})
        until(lambda: len(lives.lines()) == 2)
        assert [line[1:] for line in lives.lines()] == [["die", "kept"], ["-", "kept"]]
        assert process.deaths == [-signal.SIGKILL]
        fleet.check()
        os.kill(int(lives.lines()[-1][0]), signal.SIGKILL)
        until(lambda: len(lives.lines()) == 3)
    with pytest.raises(ProcessLookupError):
        os.kill(int(lives.lines()[-1][0]), 0)


def test_a_process_that_fails_is_reported_with_the_end_of_its_log(lives: Lives) -> None:
    with Fleet() as fleet:
        fleet.start("one", lives.command("fail"), lives.out)
        with pytest.raises(FleetError, match=r"one ended with 1:\nit failed so"):
            until(lambda: bool(fleet.check()))


def test_a_process_that_dies_for_ever_is_given_up(lives: Lives) -> None:
    with Fleet() as fleet:
        process = fleet.start("one", lives.command("always"), lives.out)
        with pytest.raises(FleetError, match="one ended with -9"):
            until(lambda: bool(fleet.check()))
    assert len(process.deaths) == MAX_RESTARTS + 1


def test_stop_and_restart_are_no_failures(lives: Lives) -> None:
    with Fleet() as fleet:
        fleet.start("one", lives.command("stay"), lives.out)
        until(lambda: len(lives.lines()) == 1)
        assert fleet.stop("one", signal.SIGINT) in {1, 130, -signal.SIGINT}
        assert fleet.stop("one") == fleet.processes["one"].deaths[-1]
        fleet.restart("one", {"SOJOURN_FAULT": "die"})
        until(lambda: len(lives.lines()) == 3)
        assert [line[1] for line in lives.lines()] == ["-", "die", "-"]
        fleet.check()


def test_a_deaf_process_is_killed_in_the_end(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.testing.fleet.STOP_S", 0.2)
    with Fleet() as fleet:
        fleet.start("one", lives.command("deaf"), lives.out)
        until(lambda: len(lives.lines()) == 1)
        time.sleep(0.2)
        assert fleet.stop("one") == -signal.SIGKILL


def test_waiting_for_a_port(lives: Lives) -> None:
    (port,) = free_ports(1)
    with Fleet() as fleet:
        fleet.start("one", lives.command(str(port)), lives.out)
        fleet.wait_for_port("one", port)
        with pytest.raises(FleetError, match="does not listen on port 1"):
            fleet.wait_for_port("one", 1, seconds=0.1)


def test_commands_say_what_they_said() -> None:
    assert call("python", "-c", "import os; print(os.environ['WORD'])", env={"WORD": "here"}) == "here\n"
    with pytest.raises(FleetError, match="why it failed"):
        call("python", "-c", "import sys; sys.exit('why it failed')")
