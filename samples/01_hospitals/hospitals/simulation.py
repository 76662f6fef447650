"""The federated run in one process: what the coordinator and the five agents compute, without them.

It serves to choose the numbers of `settings`, and as an oracle: on one machine, with all five hospitals answering each
round, the real run publishes the model that this module computes. It shares no code with the agent's release or the
coordinator's fold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hospitals.baselines import Metrics, State, Trainer, initial_weights, steps_of_round
from hospitals.data import Study
from hospitals.settings import BOUND, CLIP, ROUNDS, SCALE

__all__ = ["contribution", "simulate"]


def simulate(study: Study, rounds: int = ROUNDS) -> tuple[State, tuple[Metrics, ...]]:
    """Rounds of federated averaging over the hospitals of `study`.

    Returns:
        The last round's model, and its metrics on the held-out patients before and after each round.
    """
    trainer = Trainer()
    base = initial_weights()
    curve = [trainer.evaluate(base, study.held_out)]
    for _ in range(rounds):
        total = {name: np.zeros(tensor.shape, np.int64) for name, tensor in base.items()}
        for hospital in study.hospitals:
            state, _ = trainer.train(base, hospital, steps_of_round(hospital))
            for name, q in contribution(base, state, len(hospital)).items():
                total[name] += q
        weight = sum(len(hospital) for hospital in study.hospitals)
        base = {name: (base[name] + total[name] * SCALE / weight).astype(np.float32) for name in base}
        curve.append(trainer.evaluate(base, study.held_out))
    return base, tuple(curve)


def contribution(base: State, state: State, weight: int) -> dict[str, NDArray[np.int64]]:
    """q = round-half-even(weight * clip(state - base) / scale), clipped as one vector, computed in float64."""
    delta = {name: state[name].astype(np.float64) - base[name].astype(np.float64) for name in base}
    norm = float(np.sqrt(sum(np.sum(np.square(part)) for part in delta.values())))
    factor = min(1.0, CLIP / norm) if norm > 0.0 else 1.0
    q = {name: np.rint(weight * (part * factor) / SCALE).astype(np.int64) for name, part in delta.items()}
    if any(np.abs(part).max() > BOUND for part in q.values()):
        raise ValueError("an update exceeds BOUND; CLIP, SCALE and COUNT_HIGH do not fit together")
    return q
