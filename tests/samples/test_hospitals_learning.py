"""The learning itself, on seeds 0 to 4: what the demo's last line claims, with the baselines it is compared with.

The federated side is `simulation`, which is the real run's arithmetic in one process; its parts are held against the
product's own release and fold here, and the real run against it in the integration tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hospitals import baselines, data, settings, simulation
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sojourn.contracts import UpdateSpec
from sojourn.datoms import quantise
from sojourn_policies import Fold

SEEDS = range(5)
SPEC = UpdateSpec(settings.CLIP, settings.SCALE, settings.BOUND, settings.COUNT_HIGH)


@dataclass(frozen=True)
class Outcome:
    compared: baselines.Comparison
    federated: baselines.Metrics
    curve: tuple[baselines.Metrics, ...]


@pytest.fixture(scope="module")
def outcomes() -> dict[int, Outcome]:
    found = {}
    for seed in SEEDS:
        _, curve = simulation.simulate(data.load(seed))
        found[seed] = Outcome(baselines.compare(seed), curve[-1], curve)
    return found


def mean(values) -> float:
    return float(np.mean(list(values)))


def test_federated_auc_is_that_of_central_on_each_seed(outcomes):
    for seed, outcome in outcomes.items():
        assert outcome.federated.auc >= outcome.compared.central.final.auc - 0.01, f"seed {seed}"


def test_federated_closes_half_of_the_gap_in_log_loss(outcomes):
    central = mean(o.compared.central.final.loss for o in outcomes.values())
    local = mean(o.compared.local_mean.loss for o in outcomes.values())
    federated = mean(o.federated.loss for o in outcomes.values())
    assert local > central
    assert local - federated >= 0.5 * (local - central)
    for seed, outcome in outcomes.items():
        assert baselines.closes_half_the_gap(outcome.federated.loss, outcome.compared), f"seed {seed}"


def test_the_median_local_model_does_not(outcomes):
    central = mean(o.compared.central.final.loss for o in outcomes.values())
    local = mean(o.compared.local_mean.loss for o in outcomes.values())
    median = mean(o.compared.local_median_loss for o in outcomes.values())
    assert local - median < 0.5 * (local - central)
    for seed, outcome in outcomes.items():
        assert not baselines.closes_half_the_gap(outcome.compared.local_median_loss, outcome.compared), f"seed {seed}"
        assert 3 <= outcome.compared.failing <= 5


@pytest.mark.parametrize("seed", SEEDS)
def test_central_is_near_scikit_learn(outcomes, seed):
    study = data.load(seed)
    model = LogisticRegression(max_iter=5000).fit(study.pooled.x, study.pooled.y)
    reference = log_loss(study.held_out.y, model.predict_proba(study.held_out.x)[:, 1])
    assert abs(outcomes[seed].compared.central.final.loss - reference) < 0.02


def test_all_models_take_the_same_total_of_steps(monkeypatch):
    """Counted at the graph: S for central, S for each local model, S over all hospitals of the federated run."""
    taken = []
    step = baselines.Trainer.step
    monkeypatch.setattr(baselines.Trainer, "step", lambda *a: taken.append(len(a[2])) or step(*a))
    study = data.load(0)
    total = sum(settings.ROUNDS * settings.EPOCHS * -(-len(h) // settings.BATCH) for h in study.hospitals)
    assert baselines.compare(0).steps == total
    assert len(taken) == 6 * total
    taken.clear()
    simulation.simulate(study)
    assert len(taken) == total
    assert max(taken) == settings.BATCH
    assert sum(taken) == settings.ROUNDS * settings.EPOCHS * 429


def test_a_baseline_reads_its_rows_in_order_and_begins_again():
    trainer, hospital = baselines.Trainer(), data.load(0).hospitals[2]
    state, start = trainer.train(baselines.initial_weights(), hospital, 5)
    expected = baselines.initial_weights()
    for low in (0, 16, 32, 0, 16):  # 42 rows: 16, 16, 10, then from the beginning
        expected = trainer.step(expected, hospital.x[low : low + 16], hospital.y[low : low + 16])
    np.testing.assert_array_equal(state["w"], expected["w"])
    assert (len(hospital), start) == (42, 32)


def test_curves_begin_at_even_odds_and_have_a_point_for_each_round(outcomes):
    for outcome in outcomes.values():
        models = (outcome.compared.central, *outcome.compared.local)
        for curve in (outcome.curve, *(model.curve for model in models)):
            assert len(curve) == settings.ROUNDS + 1
            assert curve[0].loss == pytest.approx(np.log(2.0), abs=1e-6)
            assert curve[0].auc == 0.5


def test_the_same_seed_gives_the_same_bits():
    one, _ = simulation.simulate(data.load(1))
    two, _ = simulation.simulate(data.load(1))
    assert {name: tensor.tobytes() for name, tensor in one.items()} == {n: t.tobytes() for n, t in two.items()}


def test_the_issue_asks_for_ten_rounds_quorum_four_and_integers_that_fit():
    assert settings.ROUNDS >= 10
    assert settings.QUORUM == 4
    assert settings.BOUND == settings.COUNT_HIGH * settings.CLIP / settings.SCALE < 2**31
    assert pytest.approx(1.0 / (1.0 * 429)) == settings.PENALTY  # scikit-learn's C = 1 over 429 rows


@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_the_oracle_releases_what_the_product_releases(size):
    random = np.random.default_rng(4)
    base = {"b": random.normal(0, 1, 1).astype(np.float32), "w": random.normal(0, 1, (30, 1)).astype(np.float32)}
    state = {n: (t + random.normal(0, size, t.shape)).astype(np.float32) for n, t in base.items()}
    delta = {name: state[name].astype(np.float64) - base[name] for name in base}
    product = quantise(delta, 123, SPEC)
    oracle = simulation.contribution(base, state, 123)
    for name in base:
        # Above the clip, the order of a sum may move the factor by one unit in the last place.
        np.testing.assert_allclose(oracle[name], product[name], atol=0 if size < 30 else 1)


def test_an_honest_update_is_not_clipped_and_a_large_one_is():
    base = baselines.initial_weights()
    far = {"b": np.full(1, 3.0, np.float32), "w": np.full((30, 1), 3.0, np.float32)}
    q = simulation.contribution(base, far, 100)
    norm = np.sqrt(sum(float(np.sum((part * settings.SCALE / 100.0) ** 2)) for part in q.values()))
    assert norm == pytest.approx(settings.CLIP, rel=1e-6)
    trainer = baselines.Trainer()
    for hospital in data.load(0).hospitals:
        state, _ = trainer.train(base, hospital, baselines.steps_of_round(hospital))
        assert np.sqrt(sum(float(np.sum((state[n] - base[n]) ** 2)) for n in base)) < settings.CLIP


def test_a_round_of_the_oracle_is_the_products_fold_bit_for_bit():
    study, trainer, base = data.load(0), baselines.Trainer(), baselines.initial_weights()
    fold = Fold(base, SPEC)
    for hospital in reversed(study.hospitals):
        state, _ = trainer.train(base, hospital, baselines.steps_of_round(hospital))
        delta = {name: state[name].astype(np.float64) - base[name] for name in base}
        fold.add(quantise(delta, len(hospital), SPEC), len(hospital))
    model, _ = simulation.simulate(study, rounds=1)
    assert {n: t.tobytes() for n, t in fold.result().tensors.items()} == {n: t.tobytes() for n, t in model.items()}
