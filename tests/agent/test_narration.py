"""What an agent says while it serves: the same sentences in an app's log, in an app without one, and by the command."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from sojourn.agent.narration import Narrator, narrated, sentence
from sojourn.logs import get_log

SILENT = """
import sys
from sojourn.agent import Agent

with Agent(sys.argv[1], sys.argv[2]) as agent:
    agent.serve()
"""
LOGGING = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stdout)
"""
URL = "wss://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_structlog():
    structlog.reset_defaults()


def as_if_bare(monkeypatch) -> None:
    """As in an app without a log. Not in a fixture: after those, pytest adds its handlers wherever it can."""
    monkeypatch.setattr(logging.getLogger("sojourn"), "propagate", False)
    monkeypatch.setattr(logging.getLogger("sojourn"), "handlers", [])


def told(command: list[str], until: str, *, out: bool = False) -> str:
    """What a process has said when it was ended after `until`."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        stream, said = child.stdout if out else child.stderr, []
        for line in stream:
            said.append(line)
            if until in line:
                break
        child.send_signal(signal.SIGTERM)
        rest = child.communicate(timeout=20)
        assert child.returncode == 0, rest
        return "".join(said) + rest[0 if out else 1]


def test_an_app_says_what_the_command_says_and_its_own_log_the_same(agent_entry, folder) -> None:
    assert agent_entry.name == "st-anna"
    (folder / "policy.toml").write_text((folder / "policy.toml").read_text().replace("st-anna", "st-else"))
    command = [
        str(Path(sys.executable).with_name("sojourn-agent")),
        "run",
        "--state",
        str(folder),
        "--coordinator",
        URL,
    ]
    app = [sys.executable, "-c", SILENT, str(folder), URL]
    by_command, by_app = told(command, "nobody listens"), told(app, "nobody listens")
    lines = by_command.splitlines()
    assert by_app.splitlines() == lines
    assert lines[0] == f"st-anna serves {URL} under the policy of st-else; stop with Ctrl-C"
    assert lines[1].startswith(f"{folder / 'policy.toml'} is the policy of st-else, and this agent is st-anna")
    assert lines[2].startswith(f"cannot reach {URL} (")
    assert lines[-1] == "stopped; the state is intact"
    logged = told([sys.executable, "-c", LOGGING + SILENT, str(folder), URL], "nobody listens", out=True)
    ours = [line.split(" ", 1)[1] for line in logged.splitlines()]
    assert list(dict.fromkeys(ours)) == lines, "each time it happens, in the app's own format"


def test_the_owners_file_keeps_its_line_breaks_and_others_words_get_one_line() -> None:
    assert sentence("policy.invalid", {"why": "a\nb"}).endswith("mended: a\nb")
    assert sentence("coordinator.bye", {"url": URL, "reason": "well\n\x1b[2Jconnected to"}) == (
        f"{URL} said goodbye: well \N{REPLACEMENT CHARACTER}[2Jconnected to"
    )
    assert sentence("coordinator.new", {"what": "a\nb"}) == r"coordinator.new what='a\nb'"


def test_what_is_said_of_the_line_is_said_once_and_of_the_policy_each_time(monkeypatch, capsys) -> None:
    as_if_bare(monkeypatch)
    log = get_log("sojourn.some", sentence)
    with narrated():
        for _ in range(2):
            log.info("coordinator.unreachable", url=URL, problem="refused")
            log.warning("coordinator.advice", url=URL, advice="check the port")
            log.error("policy.invalid", why="line 3")
        log.info("coordinator.greeted", url=URL, coordinator="ab")
        log.info("coordinator.unreachable", url=URL, problem="refused")
        log.info("policy.changed", file="policy.toml", owner="a", digest="b")
    log.info("coordinator.greeted", url=URL, coordinator="ab")
    said = capsys.readouterr()
    words = ("cannot reach", "check the port", "line 3", "connected", "policy.toml has")
    assert [said.err.count(each) for each in words] == [2, 1, 2, 1, 1]
    assert said.out == ""
    assert logging.getLogger("sojourn").handlers == []


def test_what_was_said_is_forgotten_before_it_grows(capsys) -> None:
    narrator = Narrator()
    for number in range(1000):
        record = logging.LogRecord("sojourn.link", logging.INFO, "", 0, str(number), (), None)
        record.sojourn_event = "coordinator.violation"
        narrator.handle(record)
    assert len(narrator._said) <= 65
    assert capsys.readouterr().err.splitlines()[-1] == "999"


def test_an_app_with_a_log_of_its_own_is_told_there_and_nowhere_else(monkeypatch, capsys) -> None:
    as_if_bare(monkeypatch)
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    logging.getLogger("sojourn.some").setLevel(logging.INFO)
    logging.getLogger("sojourn").addHandler(handler)
    try:
        with narrated():
            get_log("sojourn.some", sentence).info("coordinator.greeted", url=URL)
    finally:
        logging.getLogger("sojourn").removeHandler(handler)
        logging.getLogger("sojourn.some").setLevel(logging.NOTSET)
    assert seen == [f"connected to {URL}"]
    assert capsys.readouterr().err == ""
