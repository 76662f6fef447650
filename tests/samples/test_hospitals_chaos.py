"""The demo's kills: drawn, told once each when they have happened; and models called the same only if compared."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace

import pytest
from hospitals import chaos
from hospitals.job import SubmissionInfo
from rich.console import Console
from sojourn.testing.federation import COORDINATOR

INFO = SubmissionInfo(
    job=bytes(32), program_digest=b"p" * 32, plan_digest=b"q" * 32, initial_root=bytes(32), heldout_root=bytes(32),
    rounds=12, steps_by_hospital=(60, 36, 18, 48, 18),
)  # fmt: skip
NAMES = [f"hospital-{number}" for number in range(1, 6)]


def test_kills_are_drawn_from_the_seed_and_can_happen() -> None:
    for seed in range(50):
        agent, coordinator = chaos.draw_kills(seed, NAMES, INFO)
        assert [agent, coordinator] == chaos.draw_kills(seed, NAMES, INFO)
        steps = INFO.steps_by_hospital[NAMES.index(agent.name)]
        at = int(agent.fault.removeprefix("kill-at-gpu:"))
        assert 1 <= at < 2 * steps
        assert str(at) in agent.when
        late, answers = map(int, coordinator.fault.removeprefix("kill-at-answers:").split(":"))
        assert coordinator.name == COORDINATOR
        assert 2 <= late < INFO.rounds - 1
        assert 1 <= answers < len(NAMES)
    assert len({chaos.draw_kills(seed, NAMES, INFO)[0].name for seed in range(50)}) == len(NAMES)


class Deaths:
    """What processes wrote down when they were killed."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, int]] = {}
        self.half_written: set[str] = set()

    def fault(self, name: str) -> dict[str, int] | None:
        if name in self.half_written:
            raise json.JSONDecodeError("expecting value", "", 0)
        return self.found.get(name)


def test_each_kill_is_told_once_and_while_it_goes_on() -> None:
    said, deaths = io.StringIO(), Deaths()
    kills = [chaos.Kill("hospital-2", "", "after its gpu.run number 7"), chaos.Kill(COORDINATOR, "", "in round 3")]
    with chaos.announced(Console(file=said, width=120), deaths, kills):
        deaths.half_written.add("hospital-2")
        time.sleep(3 * chaos.LOOK_S)
        assert said.getvalue() == ""
        deaths.half_written.clear()
        deaths.found["hospital-2"] = {"pid": 1}
        end = time.monotonic() + 10
        while not said.getvalue().endswith("\n"):
            assert time.monotonic() < end
            time.sleep(0.01)
        deaths.found[COORDINATOR] = {"pid": 2}  # just before the end: told all the same
    assert said.getvalue().splitlines() == [
        "killed hospital-2 after its gpu.run number 7; it is started again on its state",
        f"killed {COORDINATOR} in round 3; it is started again on its state",
    ]


def test_a_kill_that_did_not_happen_is_not_told() -> None:
    said = io.StringIO()
    with chaos.announced(Console(file=said), Deaths(), [chaos.Kill("hospital-2", "", "never")]):
        pass
    assert said.getvalue() == ""


def test_models_are_compared_with_an_undisturbed_run_of_the_same_job_only(tmp_path, monkeypatch) -> None:
    assert chaos.compare_with_undisturbed(tmp_path, 0, INFO, "ab") is None
    chaos.keep_undisturbed(tmp_path, 0, INFO, "ab")
    assert chaos.compare_with_undisturbed(tmp_path, 0, INFO, "ab") is True
    assert chaos.compare_with_undisturbed(tmp_path, 0, INFO, "cd") is False
    assert chaos.compare_with_undisturbed(tmp_path, 1, INFO, "ab") is None
    for change in ({"plan_digest": b"r" * 32}, {"program_digest": b"r" * 32}):
        assert chaos.compare_with_undisturbed(tmp_path, 0, replace(INFO, **change), "ab") is None
    monkeypatch.setattr(chaos.onnxruntime, "__version__", "0")
    assert chaos.compare_with_undisturbed(tmp_path, 0, INFO, "ab") is None


def test_what_becomes_of_an_earlier_runs_files_is_said_before(tmp_path) -> None:
    for disturbed in (False, True):
        assert chaos.replaced(tmp_path, disturbed=disturbed) == ""
    (tmp_path / chaos.MODEL).touch()
    for disturbed in (False, True):
        assert "this one replaces them; --output" in chaos.replaced(tmp_path, disturbed=disturbed)
    chaos.keep_undisturbed(tmp_path, 0, INFO, "ab")
    assert "this one replaces them; --output" in chaos.replaced(tmp_path, disturbed=False)
    assert "replaces them, but for undisturbed.json, which stays" in chaos.replaced(tmp_path, disturbed=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
def test_a_record_that_is_none_is_not_compared(tmp_path, content: str) -> None:
    (tmp_path / chaos.RECORD).write_text(content)
    assert chaos.compare_with_undisturbed(tmp_path, 0, INFO, "ab") is None
