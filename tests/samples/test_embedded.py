"""Sample 02, whole: three apps with an agent inside, as real processes, and the figures that an operator sees."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sojourn.client import policy_for
from sojourn.client.cli.tables import job_tables
from sojourn.crypto import Identity
from sojourn.privacy.policy import OwnerPolicy

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "02_embedded"
CLINICS = {"clinic-1": slice(0, 90), "clinic-2": slice(90, 240), "clinic-3": slice(240, 442)}


def module(name: str) -> ModuleType:
    """A module of the sample, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"embedded_{name}", SAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.syspath_prepend(str(SAMPLE))
    yield module("run")
    sys.modules.pop("survey", None)


def expected(rows: slice) -> dict[str, float]:
    """What a clinic releases: computed here from the table itself."""
    age, pressure = (load_diabetes(scaled=False).data[rows, column].astype(np.float32) for column in (0, 3))
    older = age >= 50
    mean = float(np.mean(pressure[older].astype(np.float64)))
    return {"patients": float(len(age)), "older": float(older.sum()), "pressure": pytest.approx(mean, abs=1e-9)}


@pytest.mark.slow
def test_the_sample_runs_and_its_figures_are_those_of_the_table(runner, tmp_path):
    found = runner.run(tmp_path)
    assert (found["state"], found["round"], found["rounds"], found["error"]) == ("done", 1, 1, None)
    (row,) = found["table"]
    assert (row["phase"], row["participants"], row["invited"]) == ("survey", 3, 3)
    assert {part["agent"]: part["released"] for part in row["agents"]} == {
        name: expected(rows) for name, rows in CLINICS.items()
    }
    assert row["released"] == expected(slice(None))
    for name in CLINICS:
        log = (tmp_path / name / "owner.log").read_text("utf-8")
        assert log.count('"event": "released"') == 3
        assert '"level": "warning"' not in log


def test_the_policy_that_the_sample_drafts_pins_program_and_plan():
    author = Identity.generate("author", "alice")
    made = module("survey").survey(author)
    (rule,) = OwnerPolicy.parse(policy_for(made, "clinic-1").encode(), "policy.toml").admit
    assert rule.programs == (f"sha256:{made.program_digest.hex()}",)
    assert rule.plans == (f"sha256:{made.plan_digest.hex()}",)
    assert dict(rule.streams) == {"patients": ("age", "bp")}
    assert (rule.max_fuel, rule.max_memory) == (made.job.fuel, made.job.memory)


def test_the_app_is_about_ten_lines_of_agent():
    lines = (SAMPLE / "clinic.py").read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("with Agent("))
    assert len(lines) - start <= 10


def test_a_report_is_a_table_and_so_is_a_model():
    report = {
        "round": 0, "phase": "survey", "participants": 1, "invited": 2, "released": {"n": 3.0, "bp": 98.6842105},
        "agents": [{"agent": "clinic-[1]", "key": "00", "released": {"n": 3.0, "bp": None}}],
    }  # fmt: skip
    model = {"round": 1, "participants": 2, "bytes": 2048, "seconds": 0.5, "loss": 0.25, "auc": None}
    assert list(job_tables([])) == []  # nothing to show is not an empty table
    assert [[column.header for column in table.columns] for table in job_tables([report])] == [["agent", "n", "bp"]]
    tables = list(job_tables([report, model]))
    assert [table.row_count for table in tables] == [1, 2]
    assert [list(column.cells) for column in tables[1].columns] == [
        ["clinic-[1]", "all"], ["3", "3"], ["–", "98.6842"],
    ]  # fmt: skip
    assert [next(iter(column.cells)) for column in tables[0].columns][:3] == ["1", "0.2500", "2"]


def test_a_table_stands_in_the_order_of_the_answer_and_says_what_weighs_a_mean():
    released = {"all rows": 3.0, "bp": 98.0, "hot rows": 1.0}  # as a coordinator's record has them: by name
    report = {
        "round": 0, "phase": "survey", "participants": 1, "invited": 1, "released": released,
        "agents": [{"agent": "clinic", "key": "00", "released": released}],
        "names": ["hot rows", "all rows", "bp"], "weights": {"bp": "all rows"},
    }  # fmt: skip
    table, footnote = job_tables([report])
    assert [column.header for column in table.columns] == ["agent", "hot rows", "all rows", "bp"]
    assert str(footnote) == "all: 'bp' is averaged with 'all rows' as weight, the last count released before it."


def test_models_have_columns_for_what_agents_released_and_none_for_what_is_not_there():
    row = {"round": 0, "participants": 2, "bytes": 1024, "seconds": 0.5, "released": {"flowers": 110.0, "loss": 0.19}}
    (table,) = job_tables([row])
    assert [column.header for column in table.columns] == ["round", "agents", "flowers", "loss", "KiB", "seconds"]
    (table,) = job_tables([row | {"loss": 0.25, "auc": 0.9}])
    assert [column.header for column in table.columns][1:6] == ["loss", "AUC", "agents", "flowers", "agents' loss"]
