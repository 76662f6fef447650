"""A pytest plugin: runs tests under mutants and writes down how they ended.

    python -m pytest -p security_runner --mutants PAIRS.json --outcomes OUT.json FILES…

PAIRS.json lists (mutant, node id). Each named test runs once for each of its mutants, which is in place from before the
test's own fixtures are made until after they are gone. Nothing else runs. OUT.json has `ended`, by mutant and node id,
and `collected`, every node id of the files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from security_mutants import MUTANTS

PAIRS = pytest.StashKey[list[tuple[str, str]]]()
MUTANT = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mutants")
    group.addoption("--mutants", type=Path, required=True)
    group.addoption("--outcomes", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PAIRS] = [tuple(pair) for pair in json.loads(config.getoption("--mutants").read_text())]
    config.pluginmanager.register(Outcomes(), "mutant-outcomes")


def plan(items: list[pytest.Item], pairs: list[tuple[str, str]]) -> list[tuple[str, pytest.Item]]:
    """What to run, file by file, and never a test twice in a row: it would keep its fixtures."""
    known = {item.nodeid: item for item in items}
    found = [(mutant, known[node]) for mutant, node in pairs if node in known]
    found.sort(key=lambda pair: pair[1].nodeid.partition("::")[0])
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Instead of pytest's own loop. The mutant is there for as long as the test and its own fixtures."""
    outcomes = session.config.pluginmanager.get_plugin("mutant-outcomes")
    todo = plan(session.items, session.config.stash[PAIRS])
    for number, (mutant, item) in enumerate(todo):
        after = todo[number + 1][1] if number + 1 < len(todo) else None
        item.stash[MUTANT] = mutant
        item._initrequest()  # a test that runs again begins with fresh fixtures
        with pytest.MonkeyPatch.context() as patch:
            try:
                MUTANTS[mutant](patch)
            except Exception as problem:  # noqa: BLE001 - whatever it is, the table has to show it
                outcomes.lost(item, problem)
                continue
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None if after is item else after)
    return True


class Outcomes:
    """How each pair ended, written when the session ends."""

    def __init__(self) -> None:
        self.ended: dict[str, dict[str, Any]] = {}
        self.current: dict[str, Any] = {}

    def lost(self, item: pytest.Item, problem: Exception) -> None:
        self._key(item).update(outcome="lost", text=f"{type(problem).__name__}: {problem}")

    def _key(self, item: pytest.Item) -> dict[str, Any]:
        key = f"{item.stash[MUTANT]} | {item.nodeid}"
        return self.ended.setdefault(key, {"outcome": "passed", "text": "", "began": time.monotonic()})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        report = yield
        entry = self._key(item)
        entry["seconds"] = round(time.monotonic() - entry["began"], 3)
        if not report.passed and entry["outcome"] == "passed":
            crash = getattr(report.longrepr, "reprcrash", None)
            entry.update(outcome=report.outcome, when=report.when, text=str(crash and crash.message)[:2000])
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        collected = [item.nodeid for item in session.items]
        found = {"ended": self.ended, "collected": collected}
        session.config.getoption("--outcomes").write_text(json.dumps(found, indent=1))
