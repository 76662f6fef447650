"""The table of checks holds: it names every item, every test it names exists, and each test fails without its check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import security_table
from security_mutants import MUTANTS, Moved, cut
from security_table import ISSUE, TABLE, Row, pairs

HOME = Path(__file__).resolve().parents[2]
GUIDE = HOME / "sdk" / "docs" / "guide" / "checks.md"
PATIENCE_S = 200
JOINTS = (";", ",", ".", " ", "and", "or")  # what stands between the items of the issue's text
BROKEN = ("AttributeError", "ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "TypeError")


@pytest.mark.parametrize("section", ISSUE)
def test_no_item_of_the_issue_is_missing(section: str) -> None:
    """The items, in their order, are the issue's text; what lies between them are joints only."""
    left = ISSUE[section]
    for row in (row for row in TABLE if row.section == section):
        before, found, left = left.partition(row.item)
        assert found, f"{row.item!r} does not stand in what is left of the issue"
        assert not _words(before), f"nothing stands for {before!r}"
    assert not _words(left), f"nothing stands for {left!r}"


def _words(text: str) -> str:
    for joint in JOINTS:
        text = text.replace(joint, "")
    return text


@pytest.fixture(scope="module")
def found(mutant_run) -> dict[str, Any]:
    """Every test of the table, run once under each of its mutants, in a process beside this one (see `conftest`)."""
    return mutant_run.result(PATIENCE_S)


@pytest.fixture(scope="module")
def collected(found: dict[str, Any]) -> set[str]:
    """Node ids of all tests in the files that the table names."""
    return set(found["collected"])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.item[:40])
def test_every_test_of_the_table_exists(row: Row, collected: set[str]) -> None:
    functions = {node.partition("[")[0] for node in collected}
    for test in row.tests:
        assert test in collected or test in functions, f"{test} is not collected"
    for mutant, tests in row.mutants.items():
        assert mutant in MUTANTS, f"there is no mutant {mutant!r}"
        for test in tests:
            assert test in collected, f"{test} is not collected"
    assert bool(row.why) != bool(row.mutants), "a row without mutants says what else shows that its test can fail"


def test_every_mutant_is_used() -> None:
    assert {mutant for mutant, _ in pairs()} == set(MUTANTS)


@pytest.mark.parametrize(("mutant", "test"), pairs(), ids=lambda part: part.rpartition("::")[2])
def test_without_its_check_the_test_fails(mutant: str, test: str, found: dict[str, Any]) -> None:
    ended = found["ended"].get(f"{mutant} | {test}")
    assert ended is not None, "it did not run"
    assert ended["outcome"] == "failed", f"with {mutant!r} it {ended['outcome']}: {ended['text']}"
    assert not ended["text"].startswith(BROKEN), f"it fails by a mistake of the mutant: {ended['text']}"


def test_a_check_that_moved_is_noticed(monkeypatch) -> None:
    with pytest.raises(Moved, match="stands there 0 times"):
        cut(monkeypatch, "sojourn.codec.records.decode", ("if the moon is full:", "if False:"))
    with pytest.raises(Moved):
        cut(monkeypatch, "sojourn.codec.records.no_such_check", ("", ""))


def test_the_guide_shows_the_table() -> None:
    """`sdk/docs/guide/checks.md` is made from the table; `python tests/security/security_table.py` writes it again."""
    assert GUIDE.read_text(encoding="utf-8") == security_table.markdown()
