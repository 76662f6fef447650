"""What an operator reads about a job."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from sojourn.client.cli.tables import agents_table, job_tables
from sojourn.client.cli.words import (
    advice,
    ended,
    ending,
    event_line,
    headline,
    missed_advice,
    progress,
    reason,
    standing_lines,
)
from sojourn.vm import compile_source
from sojourn_policies import packaged_rounds

AGENTS = [
    {"agent": "station-1", "key": "01", "state": "answered", "code": "", "line": 0},
    {"agent": "station-2", "key": "02", "state": "refused", "code": "admission_refused", "line": 0},
    {"agent": "station-3", "key": "03", "state": "failed", "code": "KeyError", "line": 9},
]


def job(**changes: object) -> dict[str, object]:
    return {"name": "warm", "state": "running", "round": 0, "rounds": None, "waiting": None, "phase": None} | changes


def phase(state: str, agents: list[dict[str, object]] = AGENTS) -> dict[str, object]:
    return {
        "name": "ask", "round": 0, "state": state, "quorum": 2, "deadline_ms": 60_000, "remaining_ms": 37_400,
        "agents": agents,
    }  # fmt: skip


NEXT = "; all are asked when they are there, and time counts from then (`sojourn agents`, `sojourn cancel`)"


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (job(), []),
        (
            job(waiting={"round": 0, "connected": 2, "needed": 3, "quorum": 3}),
            ["waiting: 2 of 3 agents connected (quorum 3)" + NEXT],
        ),
        (job(phase=phase("open")), ["ask, round 0: 1 of 3 agents answered (quorum 2), 37 s left of 60"]),
        (job(phase=phase("missed")), ["ask, round 0: 1 of 3 agents answered, quorum 2 missed"]),
        (job(phase=phase("cancelled")), ["ask, round 0: 1 of 3 agents answered (quorum 2), cancelled"]),
        (job(phase=phase("closed")), ["ask, round 0: 1 of 3 agents answered (quorum 2), closed"]),
        (job(phase=phase("closed", AGENTS[:1])), []),
    ],
)
def test_how_a_job_stands(found: dict[str, object], lines: list[str]) -> None:
    assert list(standing_lines(found)) == lines


def test_why_each_agent_has_not_answered() -> None:
    table = agents_table(phase("missed"))
    assert [list(column.cells) for column in table.columns][:2] == [
        ["station-1", "station-2", "station-3"], ["answered", "refused", "failed"],
    ]  # fmt: skip
    none, policy, error = table.columns[2].cells
    assert none == ""
    assert str(policy).startswith("admission_refused: its owner's policy does not admit this job")
    assert error == "KeyError at line 9 of the agent program"
    assert reason("something_new", 0) == "something_new"


def test_how_far_a_job_is() -> None:
    assert headline(job()) == "warm  running  0 rounds"
    assert headline(job(round=1, rounds=12)) == "warm  running  round 1 of 12"
    survey = job(state="failed", rounds=0)  # that closed no phase, and so had no rounds
    assert (headline(survey), progress(survey)) == ("warm  failed  0 rounds", "0")


def test_which_file_a_line_of_rounds_is_of() -> None:
    def said(agent: str, rounds: str) -> str:
        programs = {"agent": agent, "rounds": rounds, "entry": "weekly"}
        error = {"code": "QuorumMissed", "line": 7, "message": "QuorumMissed: too few"}
        return str(ending(job(state="failed", error=error, programs=programs)))

    packaged = compile_source(*packaged_rounds("fedavg")).digest.hex()
    assert said("ab", "ab") == "the job failed with QuorumMissed at line 7 of the job's program, in 'weekly': too few"
    assert "at line 7 of sojourn_policies/programs/fedavg.py: too few" in said("ab", packaged)
    assert "at line 7 of the rounds program, in 'weekly': too few" in said("ab", "cd")


def test_what_to_do_after_a_missed_quorum() -> None:
    def words(*parts: tuple[str, str], state: str = "failed") -> list[str]:
        agents = [{"agent": "a", "key": "01", "state": how, "code": code, "line": 0} for how, code in parts]
        return [line.split()[0] for line in missed_advice(job(state=state, phase=phase("missed", agents)))]

    assert words(("refused", "admission_refused")) == ["owners", "a", "a"]
    assert words(("silent", ""), ("answered", "")) == ["see", "a"]
    assert words(("failed", "KeyError")) == ["mend", "a"]
    assert words(("silent", ""), state="done") == []


def test_what_was_released_in_vain_is_shown() -> None:
    table = agents_table(phase("missed", [AGENTS[0] | {"released": {"n": 7.0}}, AGENTS[1]]))
    assert [column.header for column in table.columns] == ["agent", "state", "why", "n"]
    assert list(table.columns[3].cells) == ["7", "–"]


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("submitted", {"name": "warm"}, "submitted: warm"),
        ("waiting", {"connected": 0, "needed": 1, "quorum": 1}, "waiting: 0 of 1 agent connected (quorum 1)" + NEXT),
        ("opened", {"round": 0, "phase": "ask", "participants": 3}, "round 0: ask goes to 3 agents"),
        (
            "answered",
            {"round": 0, "agent": "a", "outcome": "done", "code": "", "line": 0, "count": 1, "of": 3},
            "round 0: a answered (1 of 3)",
        ),
        (
            "answered",
            {"round": 0, "agent": "a", "outcome": "failed", "code": "KeyError", "line": 9, "count": 0, "of": 3},
            "round 0: a failed, KeyError at line 9 of the agent program",
        ),
        ("declined", {"round": 0, "agent": "a", "code": "x"}, "round 0: a declined, x"),
        ("closed", {"round": 0, "phase": "ask", "answers": 3}, "round 0: ask closed with 3 answers"),
        ("missed", {"round": 0, "phase": "ask", "answers": 1}, "round 0: ask missed its quorum with 1 answer"),
        (
            "published",
            {"round": 2, "model": "ab" * 32, "loss": 0.25, "auc": None},
            "round 2: model abababababababab  loss 0.2500",
        ),
        ("note", {"text": "hello"}, "note: hello"),
        ("done", {}, "done"),
        ("of a later version", {}, None),
    ],
)
def test_each_event_is_a_line(name: str, data: dict[str, object], line: str | None) -> None:
    assert event_line(name, data) == line


def test_how_a_job_ended() -> None:
    assert ended("done", {}) is None
    assert ended("cancelled", {"by": "alice"}) == "the job was cancelled by alice"
    failed = {"code": "QuorumMissed", "line": 28, "message": "QuorumMissed: phase 'ask' of round 0 has 1 answers"}
    assert ended("failed", failed) == (
        "the job failed with QuorumMissed at line 28 of the rounds program: phase 'ask' of round 0 has 1 answers"
    )
    assert ended("failed", {"code": "expired", "line": 0, "message": ""}) == "the job failed with expired"


def report(*agents: tuple[str, dict[str, float], list[str]], released: dict[str, float]) -> str:
    parts = [{"agent": name, "released": values, "neutral": neutral} for name, values, neutral in agents]
    row = {"phase": "ask", "round": 0, "participants": 2, "invited": 2, "released": released, "agents": parts}
    console = Console(width=300, file=io.StringIO())
    with console.capture() as captured:
        for table in job_tables([row]):
            console.print(table)
    return captured.get()


def test_numbers_that_read_like_none_are_marked_and_explained() -> None:
    shown = report(("a", {"n": 9, "c": 20.5}, []), ("b", {"n": 0, "c": 5.0}, ["n", "c"]), released={"n": 9, "c": 20.5})
    rows = {line.split()[1]: line for line in shown.splitlines() if line.startswith("│")}
    assert ("*" in rows["a"], rows["b"].count("*"), "*" in rows["all"]) == (False, 2, False)
    assert "* may be no figure at all" in shown
    assert "only the owner's log says" in shown
    nobody = report(("a", {"n": 0}, ["n"]), ("b", {"n": 0}, ["n"]), released={"n": 0})
    assert nobody.count("0 *") == 3
    assert "*" not in report(("a", {"n": 9}, []), ("b", {"n": 1}, []), released={"n": 10})


def test_a_line_of_a_module_is_named_by_its_file() -> None:
    """A place is the module's number times 1,000,000, and the line."""
    assert reason("KeyError", 2_000_014) == "KeyError at line 14 of its module 2 of the agent program"
    assert reason("KeyError", 2_000_014, ("a", "p.b")) == "KeyError at line 14 of p/b.py of the agent program"
    programs = {"agent": "ab", "rounds": "cd", "entry": "weekly", "rounds_modules": ["a"], "agent_modules": ["b"]}
    error = {"code": "KeyError", "line": 1_000_007, "message": "KeyError: 'x' (line 7 of a.py)"}
    assert "failed with KeyError at line 7 of a.py of the rounds" in str(
        ending(job(state="failed", error=error, programs=programs))
    )
    table = agents_table(
        phase("missed", [AGENTS[0] | {"state": "failed", "code": "KeyError", "line": 1_000_003}]), ("b",)
    )
    assert list(table.columns[2].cells) == ["KeyError at line 3 of b.py of the agent program"]


def test_a_missing_field_is_asked_of_its_owner() -> None:
    """What the author's rows have says nothing of the owner's."""
    lines = list(advice([("failed", "stream_field_missing")], silent=False))
    assert any("owner.log" in line for line in lines)
    assert not any("program run" in line for line in lines)
    assert any("program run" in line for line in advice([("failed", "ValueError")], silent=False))
