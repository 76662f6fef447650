"""The demo's progress where nobody watches a terminal: about a line a round, and whatever goes wrong."""

from __future__ import annotations

import io

from hospitals.progress import follow
from rich.console import Console
from sojourn.client.api import Event

ROUNDS = 12


class Told:
    """A coordinator that tells what it told in a run of the demo: for each of twelve rounds seven events."""

    def __init__(self, *last: Event) -> None:
        self._last = last

    def follow(self, identity: str):
        assert identity == "job"
        yield Event(0, "submitted", {"name": "hospitals"})
        for number in range(ROUNDS):
            yield Event(1, "opened", {"round": number, "phase": "train", "participants": 5})
            for count in range(1, 6):
                told = {"round": number, "agent": f"h-{count}", "outcome": "done", "count": count, "of": 5}
                yield Event(2, "answered", told)
            yield Event(3, "closed", {"round": number, "phase": "train", "answers": 5})
            yield Event(4, "published", {"round": number, "model": "ab" * 32, "loss": 0.1693, "auc": 0.98801})
        yield from self._last


def shown(*last: Event) -> tuple[str | None, list[str]]:
    said = io.StringIO()
    how = follow(Told(*last), "job", Console(file=said, width=60), ROUNDS)
    return how, said.getvalue().splitlines()


def test_each_round_is_a_line() -> None:
    how, lines = shown(Event(9, "done", {}))
    assert how is None
    assert lines == [f"round {number} of 12: log loss 0.1693, AUC 0.9880" for number in range(1, ROUNDS + 1)]


def test_trouble_is_a_line_of_its_own_and_a_failed_job_says_how() -> None:
    refused = {
        "round": 3,
        "agent": "h-2",
        "outcome": "refused",
        "code": "admission_refused",
        "line": 0,
        "count": 1,
        "of": 5,
    }
    failed = {"code": "quorum_missed", "line": 7, "message": "too few"}
    how, lines = shown(Event(8, "answered", refused), Event(9, "failed", failed))
    assert len(lines) == ROUNDS + 1
    assert lines[-1].startswith("round 3: h-2 refused, admission_refused")
    assert how is not None
    assert "quorum_missed" in how
