"""What the federated model is compared with: one model on all rows, and one for each hospital on its own rows.

Rules of this module:

* Same graph, initial weights, batch size, rate and penalty as the federated run, through the same interpreter.
* Same total number of steps, S = sum over hospitals i of rounds * epochs * ceil(n_i / batch). That is every step that
  the federated run takes anywhere. The central model takes S steps over all 429 rows, and each local model takes S
  steps over its own: no baseline is worse for having been trained less. Like the program, a baseline reads its rows in
  one order and begins again at the end; it stops after step S, wherever that is.
* The federated run has a handicap that is left in: a round's steps at the hospitals are side by side, so that the model
  has moved only as far as one hospital's steps carry it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sojourn.interpreters import OnnxInterpreter

from hospitals.data import FEATURES, Patients, Study, load
from hospitals.graphs import load_plan
from hospitals.settings import BATCH, EPOCHS, ROUNDS

__all__ = [
    "Baseline",
    "Comparison",
    "Metrics",
    "Trainer",
    "closes_half_the_gap",
    "compare",
    "initial_weights",
    "steps_of_round",
    "total_steps",
]

HALF: Final = 0.5

State = dict[str, NDArray[np.float32]]


class Metrics(NamedTuple):
    """On the held-out patients: area under the ROC curve, and mean log loss in nats."""

    auc: float
    loss: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """One trained model.

    Attributes:
        name: `central`, or the hospital's.
        rows: patients that it saw.
        curve: metrics before the first step and after each round's share of the steps; ROUNDS + 1 entries.
    """

    name: str
    rows: int
    curve: tuple[Metrics, ...]

    @property
    def final(self) -> Metrics:
        """Metrics of the finished model."""
        return self.curve[-1]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Central and local models of one seed."""

    seed: int
    steps: int
    central: Baseline
    local: tuple[Baseline, ...]

    @property
    def local_mean(self) -> Metrics:
        """Mean over the hospitals, of each metric."""
        return Metrics(*(float(np.mean(values)) for values in zip(*(b.final for b in self.local), strict=True)))

    @property
    def local_median_loss(self) -> float:
        """Log loss of the middle hospital."""
        return float(np.median([baseline.final.loss for baseline in self.local]))

    @property
    def failing(self) -> int:
        """Hospitals whose own model does not close half of the gap between the local mean and central."""
        return sum(not closes_half_the_gap(b.final.loss, self) for b in self.local)


class Trainer:
    """Runs the plan's graphs with the interpreter that agents use, on the same kind of device."""

    def __init__(self) -> None:
        self._interpreter = OnnxInterpreter()
        self._plan = self._interpreter.load(*load_plan())

    def step(self, state: State, x: NDArray[np.float32], y: NDArray[np.float32]) -> State:
        """One step of the `train` graph on a batch: x [rows, 30], y [rows]."""
        found = self._interpreter.run(self._plan, "train", {"state": state, "x": x, "y": y})
        return cast("State", found["state"])

    def evaluate(self, state: State, patients: Patients) -> Metrics:
        """The `evaluate` graph on all rows of `patients`."""
        found = self._interpreter.run(self._plan, "evaluate", {"state": state, "x": patients.x, "y": patients.y})
        losses, scores = np.asarray(found["losses"]), np.asarray(found["scores"])
        return Metrics(float(roc_auc_score(patients.y, scores)), float(np.mean(losses, dtype=np.float64)))

    def train(self, state: State, patients: Patients, steps: int, start: int = 0) -> tuple[State, int]:
        """Take `steps` steps over the rows in order, from row `start`; the new state and where the next step begins."""
        for _ in range(steps):
            batch = slice(start, start + BATCH)
            state = self.step(state, patients.x[batch], patients.y[batch])
            start = 0 if start + BATCH >= len(patients) else start + BATCH
        return state, start


def initial_weights() -> State:
    """Zeros: every patient starts at even odds, and all models start alike."""
    return {"b": np.zeros(1, np.float32), "w": np.zeros((FEATURES, 1), np.float32)}


def steps_of_round(patients: Patients) -> int:
    """Steps that one hospital takes in one round of the federated run."""
    return EPOCHS * -(-len(patients) // BATCH)


def total_steps(study: Study) -> int:
    """S of the module's docstring."""
    return ROUNDS * sum(steps_of_round(hospital) for hospital in study.hospitals)


def compare(seed: int) -> Comparison:
    """Train the central and the five local models of `seed`; about a second."""
    study = load(seed)
    trainer = Trainer()
    steps = total_steps(study)
    central, *local = (
        _follow(trainer, patients, study.held_out, steps) for patients in (study.pooled, *study.hospitals)
    )
    return Comparison(seed, steps, central, tuple(local))


def closes_half_the_gap(loss: float, baselines: Comparison) -> bool:
    """Whether a log loss lies at least half of the way from the local mean down to central."""
    local, central = baselines.local_mean.loss, baselines.central.final.loss
    return local - loss >= HALF * (local - central)


def _follow(trainer: Trainer, patients: Patients, held_out: Patients, steps: int) -> Baseline:
    state, start = initial_weights(), 0
    curve = [trainer.evaluate(state, held_out)]
    marks = np.rint(np.linspace(0, steps, ROUNDS + 1)).astype(int)
    for count in np.diff(marks):
        state, start = trainer.train(state, patients, int(count), start)
        curve.append(trainer.evaluate(state, held_out))
    return Baseline("central" if patients.name == "pooled" else patients.name, len(patients), tuple(curve))
