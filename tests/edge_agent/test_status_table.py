"""The table of `sojourn-agent status`: whole when it is piped, wrapped in a terminal, never cut."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from sojourn.agent.database import OrderRow, Totals
from sojourn.agent.status import AgentStatus
from sojourn_agent.tables import status_table

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

PHASE = "the-phase-of-a-job-with-a-long-name"
CODE = "admission_refused"
JOB = "a-job-with-a-name"
SHOW = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_status_table import a_status, status_table
status_table(a_status())
"""


def row(number: int, **changes) -> OrderRow:
    fields = {
        "digest": bytes([number]) * 32, "run": bytes(32), "epoch": 1, "job": bytes(32), "coordinator": bytes(32),
        "phase": PHASE, "round": number, "weights": bytes(32), "bundle": bytes(32), "envelope": None, "accepted_ms": 0,
        "expires_ms": 1, "state": "committed", "outcome": "done", "effects": 1200, "job_name": JOB, "author": "alice",
    }  # fmt: skip
    return OrderRow(**(fields | changes))


def a_status(orders: int = 2) -> AgentStatus:
    rows = [
        row(1, outcome="refused", code=CODE, line=217, state="rejected"),
        row(2, resumed=1100, recomputed=31, restarts=2, job_name="", author=""),
        *(row(number) for number in range(3, orders + 1)),
    ][:orders]
    return AgentStatus("st-anna", "ab" * 32, running=True, orders=tuple(rows), totals=Totals(1100, 31, 2))


def words(text: str) -> str:
    """What stands in the cells, whatever lines they were wrapped into."""
    return re.sub(r"\s+", "", text)


def test_a_pipe_gets_all_of_it_on_one_line_each(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    status_table(a_status())
    lines = capsys.readouterr().out.splitlines()
    (refused,) = (line for line in lines if "0101" in line)
    (resumed,) = (line for line in lines if "0202" in line)
    assert [cell.strip() for cell in refused.strip("│").split("│")] == [
        "010101010101", f"{JOB}, by alice", PHASE, "1", "rejected", f"refused, {CODE}, line 217", "1200",
    ]  # fmt: skip
    assert "1200, 1100 resumed, 31 recomputed" in resumed
    assert "…" not in "".join(lines)


def test_no_orders_and_many(capsys) -> None:
    status_table(a_status(0))
    assert capsys.readouterr().out.endswith("no orders yet\n")
    status_table(a_status(25))
    assert capsys.readouterr().out.endswith("and 5 older orders; --json has them all\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
@pytest.mark.parametrize("width", [80, 60])
def test_a_terminal_gets_all_of_it_wrapped(width: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}} | {"TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", SHOW], stdin=theirs, stdout=theirs, env=env) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += (piece := os.read(ours, 65536))
            except OSError:  # the other end is closed
                break
            if not piece:
                break
    os.close(ours)
    assert child.returncode == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    lines = [line.rstrip("\r") for line in plain.split("\n")]
    assert max(map(len, lines)) <= width
    table = [re.split("[│┃]", line)[1:-1] for line in lines if line.startswith(("│", "┃"))]
    columns = ["".join(words(cell) for cell in column) for column in zip(*table, strict=True)]
    assert columns[1] == words(f"job{JOB}, by alice 000000000000")
    assert columns[2] == f"phase{PHASE}{PHASE}"
    assert columns[5] == words(f"ended refused, {CODE}, line 217 done")
    assert columns[6] == words("effects 1200 1200, 1100 resumed, 31 recomputed")
