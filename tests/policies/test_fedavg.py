from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.contracts import UpdateSpec
from sojourn.datoms import pack_update
from sojourn.errors import ConfigError, ContributionRefused, UsageError
from sojourn_policies import FedAvg, Fold, packaged_rounds

SPEC = UpdateSpec(clip=1.0, scale=1.0 / 1024, bound=100_000, max_weight=1_000)


def base() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {"w": rng.normal(size=(3, 5)).astype(np.float32), "b": rng.normal(size=(5,)).astype(np.float32)}


def update(seed: int) -> tuple[dict[str, np.ndarray], int]:
    rng = np.random.default_rng(seed)
    q = {name: rng.integers(-90_000, 90_000, size=t.shape, dtype=np.int32) for name, t in base().items()}
    return q, int(rng.integers(1, 1_000))


@given(order=st.permutations(list(range(6))), cut=st.integers(1, 15))
@settings(max_examples=40, deadline=None)
def test_arrival_order_and_cutting_do_not_change_a_bit(order: list[int], cut: int) -> None:
    whole, pieces = Fold(base(), SPEC), Fold(base(), SPEC)
    for seed in range(6):
        whole.add(*update(seed))
    blocks = []
    for seed in order:
        q, weight = update(seed)
        for name, values in q.items():
            flat = values.reshape(-1)
            blocks += [(name, start, flat[start : start + cut]) for start in range(0, flat.size, cut)]
        pieces.add_weight(weight)
    for name, start, values in reversed(blocks):
        pieces.add_block(name, start, values)
    left, right = whole.result(), pieces.result()
    assert (left.weight, left.updates) == (right.weight, right.updates)
    for name in left.tensors:
        assert left.tensors[name].tobytes() == right.tensors[name].tobytes()


def test_formula() -> None:
    fold = Fold(base(), SPEC)
    parts = [update(seed) for seed in range(3)]
    for q, weight in parts:
        fold.add(q, weight)
    got = fold.result()
    total = sum(weight for _, weight in parts)
    for name, tensor in base().items():
        sums = sum(q[name].astype(np.int64) for q, _ in parts)
        expected = (tensor.astype(np.float64) + sums.astype(np.float64) * SPEC.scale / total).astype(np.float32)
        assert np.array_equal(got.tensors[name], expected)
    assert got.weight == total


def test_zero_weight_keeps_the_base() -> None:
    fold = Fold(base(), SPEC)
    fold.add({name: np.zeros(t.shape, np.int32) for name, t in base().items()}, 0)
    got = fold.result()
    assert got.weight == 0
    assert all(np.array_equal(got.tensors[name], tensor) for name, tensor in base().items())


def test_neutral_element_changes_nothing() -> None:
    with_neutral, without = Fold(base(), SPEC), Fold(base(), SPEC)
    for fold in (with_neutral, without):
        fold.add(*update(1))
    with_neutral.add({name: np.zeros(t.shape, np.int32) for name, t in base().items()}, 0)
    for name in base():
        assert with_neutral.result().tensors[name].tobytes() == without.result().tensors[name].tobytes()


def test_untrained_tensors_are_carried() -> None:
    model = base() | {"steps": np.array([3], dtype=np.int64)}
    fold = Fold(model, SPEC, trained=["w", "b"])
    fold.add(*update(1))
    assert fold.result().tensors["steps"].tolist() == [3]


def test_extreme_sums_stay_exact() -> None:
    wide = UpdateSpec(clip=1.0, scale=1.0, bound=2**31 - 1, max_weight=10)
    fold = Fold({"w": np.zeros(2, np.float32)}, wide)
    for _ in range(1000):
        fold.add({"w": np.array([2**31 - 1, -(2**31) + 1], np.int32)}, 1)
    assert fold.result().tensors["w"].tolist() == [float(np.float32(2**31 - 1)), -float(np.float32(2**31 - 1))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda q, w: ({"w": q["w"]}, w), "blocks"),
        (lambda q, w: (q | {"extra": q["b"]}, w), "blocks"),
        (lambda q, w: (q | {"b": q["b"][:-1]}, w), "shape"),
        (lambda q, w: (q | {"b": np.full(5, 100_001, np.int32)}, w), "bounds"),
        (lambda q, w: (q | {"b": np.full(5, -(2**31), np.int64).astype(np.int32)}, w), "bounds"),
        (lambda q, w: (q, -1), "bounds"),
        (lambda q, w: (q, 1_001), "bounds"),
    ],
)
def test_misfits_are_refused_and_add_nothing(change, reason: str) -> None:
    fold = Fold(base(), SPEC)
    with pytest.raises(ContributionRefused) as caught:
        fold.add(*change(*update(2)))
    assert caught.value.reason == reason
    assert (fold.weight, fold.updates) == (0, 0)
    assert all(np.array_equal(fold.result().tensors[n], t) for n, t in base().items())


def test_blocks_outside_the_model_are_refused() -> None:
    fold = Fold(base(), SPEC)
    for tensor, start in (("w", -1), ("w", 14), ("nothing", 0)):
        with pytest.raises(ContributionRefused):
            fold.add_block(tensor, start, np.zeros(2, np.int32))


def test_bases_that_cannot_be_folded() -> None:
    with pytest.raises(UsageError, match="float32"):
        Fold({"w": np.zeros(2, np.float64)}, SPEC)
    with pytest.raises(UsageError, match="no tensor 'v'"):
        Fold(base(), SPEC, trained=["v"])


def test_packaged_source() -> None:
    source, filename = packaged_rounds()
    assert "def rounds(job):" in source
    assert filename.endswith("fedavg.py")
    with pytest.raises(ConfigError, match="fedavg"):
        packaged_rounds("../fedavg")


def test_streams_fold_like_arrays() -> None:
    spec = UpdateSpec(clip=1.0, scale=2.0**-16, bound=2**31 - 1, max_weight=1_000)
    shapes = {name: tensor.shape for name, tensor in base().items()}
    streams = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        delta = {name: rng.normal(size=shape, scale=0.1).astype(np.float32) for name, shape in shapes.items()}
        streams.append(pack_update(delta, 10 * seed, spec, shapes)[0])
    record = {"name": "fedavg"}
    forward, backward = (FedAvg().fold(base(), spec, shapes, record) for _ in range(2))
    for stream in streams:
        assert sum(forward.add_stream(stream)) > 0
    for stream in reversed(streams):
        assert sum(backward.add_stream([memoryview(datom) for datom in stream])) > 0
    assert (forward.weight, forward.updates) == (60, 4)
    tensors = forward.result().tensors
    assert all(np.array_equal(backward.result().tensors[name], tensor) for name, tensor in tensors.items())
    assert any(not np.array_equal(tensors[name], tensor) for name, tensor in base().items())
