"""Where machines die in the demo, when they did, and whether it made a difference.

Rules of this module:

* A kill is drawn and printed beforehand, and told again when it has happened: a process that dies by its fault writes
  that down first.
* "The same model" is said only of two models that were compared: this run's, and one that an undisturbed run of the
  same seed, plan, program and settings left in the same output folder.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from rich.console import Console
from sojourn.codec import hexdigest
from sojourn.testing.federation import COORDINATOR, Federation

from hospitals import settings
from hospitals.job import SubmissionInfo

__all__ = ["MODEL", "Kill", "announced", "compare_with_undisturbed", "draw_kills", "keep_undisturbed", "replaced"]

MODEL: Final = "model.safetensors"
RECORD: Final = "undisturbed.json"
LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Attributes:
        name: of the process.
        fault: value of `SOJOURN_FAULT`.
        when: in words.
    """

    name: str
    fault: str
    when: str


def draw_kills(seed: int, names: list[str], info: SubmissionInfo) -> list[Kill]:
    """An agent in the middle of its training, later the coordinator in the middle of a round."""
    draw = np.random.default_rng(seed)
    victim = int(draw.integers(len(names)))
    at = int(draw.integers(1, info.steps_by_hospital[victim] * 2))
    late = int(draw.integers(2, info.rounds - 1))
    answers = int(draw.integers(1, len(names)))
    return [
        Kill(names[victim], f"kill-at-gpu:{at}", f"after its gpu.run number {at}"),
        Kill(
            COORDINATOR, f"kill-at-answers:{late}:{answers}", f"in round {late + 1}, after {answers} committed answers"
        ),
    ]


@contextlib.contextmanager
def announced(console: Console, federation: Federation, kills: list[Kill]) -> Iterator[None]:
    """Tell each kill as it happens, as long as the context is open."""
    over, told = threading.Event(), set[str]()

    def look() -> None:
        for kill in kills:
            if kill.name not in told and _died(federation, kill.name):
                told.add(kill.name)
                console.print(
                    f"[yellow]killed[/] {kill.name} {kill.when}; it is started again on its state", soft_wrap=True
                )

    def watch() -> None:
        while not over.wait(LOOK_S):
            look()

    thread = threading.Thread(target=watch, name="chaos-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()


def _died(federation: Federation, name: str) -> bool:
    try:
        return federation.fault(name) is not None
    except json.JSONDecodeError:  # it is writing it down right now
        return False


def replaced(output: Path, *, disturbed: bool) -> str:
    """What this run does to the files of an earlier one in the same folder; empty where there are none."""
    if not (output / MODEL).exists():
        return ""
    kept = disturbed and (output / RECORD).exists()
    what = f"them, but for {RECORD}, which stays to be compared with" if kept else "them"
    return f"{output}/ holds the files of an earlier run, and this one replaces {what}; --output names another folder"


def keep_undisturbed(output: Path, seed: int, info: SubmissionInfo, model: str) -> None:
    """Remember what an undisturbed run came to."""
    text = json.dumps({**_key(seed, info), "model_sha256": model}, sort_keys=True)
    (output / RECORD).write_text(text + "\n", encoding="utf-8")


def compare_with_undisturbed(output: Path, seed: int, info: SubmissionInfo, model: str) -> bool | None:
    """Whether an undisturbed run came to the same model; None where none of this seed and job is there to compare."""
    try:
        found = json.loads((output / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or {name: value for name, value in found.items() if name != "model_sha256"} != _key(
        seed, info
    ):
        return None
    return bool(found.get("model_sha256") == model)


def _key(seed: int, info: SubmissionInfo) -> dict[str, Any]:
    """What two runs must have in common for one model to be expected of both."""
    return {
        "seed": seed,
        "plan": info.plan_digest.hex(),
        "program": info.program_digest.hex(),
        "settings": hexdigest(Path(settings.__file__).read_bytes()),
        "runtime": onnxruntime.__version__,
    }
