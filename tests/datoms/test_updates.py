"""Updates: exact integers, one form, and a reader that finds every misbehaviour."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sojourn.codec import encode
from sojourn.contracts import UpdateSpec
from sojourn.datoms import (
    WEIGHT,
    BlockKind,
    Manifest,
    TensorSpec,
    UpdateReader,
    decode_manifest,
    pack_list,
    pack_update,
    quantise,
    root_of,
    unpack_stream,
    update_manifest,
)
from sojourn.datoms.updates import check_spec
from sojourn.errors import ContributionRefused, UsageError

SPEC = UpdateSpec(clip=1.0, scale=2.0**-20, bound=200 << 20, max_weight=200)
SHAPES = {"w": (3, 4), "b": (4,), "s": (), "none": (0, 2)}


def normal(seed=0, size=0.1, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(shape) * size).astype(np.float32) for name, shape in shapes.items()}


def test_round_half_even():
    spec = UpdateSpec(clip=100.0, scale=1.0, bound=100, max_weight=1)
    halves = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, -0.0], np.float32)
    assert quantise({"a": halves}, 1, spec)["a"].tolist() == [0, 2, 2, 0, -2, -2, 0, 0]


@given(
    hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-1, 1, width=32)),
    st.integers(0, 200),
    st.sampled_from([2.0**-20, 2.0**-10, 0.5]),
)
def test_without_clipping_it_is_the_exact_quotient_rounded(delta, weight, scale):
    spec = UpdateSpec(clip=1e9, scale=scale, bound=2**31 - 1, max_weight=200)
    found = quantise({"a": delta}, weight, spec)["a"]
    assert found.dtype == np.int32
    assert found.tolist() == [round(Fraction(float(x)) * weight / Fraction(scale)) for x in delta]  # half to even


@given(st.floats(1e-2, 1e3), st.integers(1, 200), st.integers(0, 100))
def test_the_whole_update_is_clipped_by_its_norm(size, weight, seed):
    delta = normal(seed, size)
    found = quantise(delta, weight, SPEC)
    whole = np.concatenate([found[name].reshape(-1).astype(np.float64) for name in sorted(found)]) * SPEC.scale / weight
    norm = math.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in delta.values()))
    rounding = 0.5 * SPEC.scale / weight * math.sqrt(whole.size)
    assert np.linalg.norm(whole) == pytest.approx(min(norm, SPEC.clip), rel=1e-6, abs=rounding)
    original = np.concatenate([delta[name].reshape(-1).astype(np.float64) for name in sorted(found)])
    assert whole @ original == pytest.approx(np.linalg.norm(whole) * np.linalg.norm(original), rel=1e-5)  # direction


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_extreme_sizes_neither_overflow_nor_vanish(size):
    found = quantise({"a": np.array([size, -size])}, 1, UpdateSpec(1.0, 1e-3, 10**6, 1))["a"]
    assert found.tolist() == ([0, 0] if size < 1 else [707, -707])


def test_elements_are_cut_at_the_bound():
    spec = UpdateSpec(clip=1e300, scale=1e-300, bound=7, max_weight=9)
    assert quantise({"a": np.array([1.0, -1.0, 0.0])}, 9, spec)["a"].tolist() == [7, -7, 0]


@pytest.mark.parametrize("weight", [-1, 201, 1.0, True, np.int64(3)])
def test_weights_out_of_range(weight):
    with pytest.raises(UsageError) as caught:
        quantise(normal(), weight, SPEC)
    assert "201" not in str(caught.value)  # a private count


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_elements_that_are_not_finite(bad):
    delta = normal()
    delta["b"][2] = bad
    with pytest.raises(UsageError, match="'b'"):
        quantise(delta, 1, SPEC)


def test_integers_are_no_update():
    with pytest.raises(UsageError, match="floating point"):
        quantise({"a": np.ones(2, np.int32)}, 1, SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"clip": 0.0},
        {"clip": math.inf},
        {"clip": math.nan},
        {"scale": -1.0},
        {"scale": math.nan},
        {"bound": 0},
        {"bound": 2**31},
        {"max_weight": 0},
        {"max_weight": 2**31},
    ],
)
def test_specs_that_make_no_sense(change):
    spec = UpdateSpec(**({"clip": 1.0, "scale": 1.0, "bound": 1, "max_weight": 1} | change))
    with pytest.raises(UsageError):
        check_spec(spec)


def fold(updates):
    """What a coordinator does: int64 sums, in the order in which updates arrive."""
    sums = {name: np.zeros(int(np.prod(shape)), np.int64) for name, shape in SHAPES.items()}
    total = 0
    for datoms in updates:
        reader = UpdateReader(SHAPES, SPEC)
        for datom in datoms:
            piece = reader.feed(datom)
            if piece is not None:
                sums[piece.name][piece.start : piece.start + len(piece.values)] += piece.values
        total += reader.finish()[0]
    return total, {name: array.tobytes() for name, array in sums.items()}


def test_folding_in_any_order_gives_the_same_bytes():
    updates = [pack_update(normal(seed, 0.3 * seed), 40 * seed, SPEC, SHAPES)[0] for seed in range(1, 5)]
    folded = [fold(order) for order in itertools.permutations(updates)]
    assert all(other == folded[0] for other in folded)
    assert folded[0][0] == 400
    neutral, _ = pack_update(None, 0, SPEC, SHAPES)
    assert fold([updates[0], neutral, *updates[1:]]) == folded[0]


def test_neutral_element():
    datoms, root = pack_update(None, 17, SPEC, SHAPES)
    found = unpack_stream(datoms, root=root)
    assert found.tensors.pop(WEIGHT).tolist() == [0]
    assert not any(array.any() for array in found.tensors.values())
    zero, other = pack_update({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}, 0, SPEC, SHAPES)
    assert (zero, other) == (datoms, root)
    real, _ = pack_update(normal(), 9, SPEC, SHAPES)
    assert [len(datom) for datom in real] == [len(datom) for datom in datoms]
    assert real[0] == datoms[0]


def test_stream_of_an_update():
    datoms, root = pack_update(normal(), 9, SPEC, SHAPES)
    found = unpack_stream(datoms, root=root)
    assert found.manifest == update_manifest(SHAPES, SPEC)
    assert found.manifest.meta == {"scale": SPEC.scale, "bound": SPEC.bound, "max_weight": SPEC.max_weight}
    assert [spec.name for spec in found.manifest.tensors] == ["b", "none", "s", "w", WEIGHT]
    assert found.tensors[WEIGHT].tolist() == [9]
    for name, array in quantise(normal(), 9, SPEC).items():
        assert found.tensors[name].tolist() == array.tolist()
    reader = UpdateReader(SHAPES, SPEC)
    pieces = [reader.feed(datom) for datom in datoms]
    assert [piece and (piece.name, piece.start) for piece in pieces] == [
        None, ("b", 0), ("s", 0), ("w", 0), None, None,
    ]  # fmt: skip
    assert reader.finish() == (9, root)


def test_large_tensors_come_in_pieces():
    shapes = {"big": (700, 1000)}
    delta = normal(3, 1.0, shapes)
    datoms, root = pack_update(delta, 5, SPEC, shapes)
    assert len(datoms) == 2 + 3 + 1
    reader, flat = UpdateReader(shapes, SPEC), np.full(700_000, -1, np.int32)
    for datom in datoms:
        piece = reader.feed(datom)
        if piece is not None:
            flat[piece.start : piece.start + len(piece.values)] = piece.values
    assert reader.finish() == (5, root)
    assert (flat == quantise(delta, 5, SPEC)["big"].reshape(-1)).all()


@pytest.mark.parametrize("change", [{"w": (4, 3)}, {"extra": (1,)}, {"b": None}])
def test_packing_takes_exactly_the_plans_tensors(change):
    shapes = {name: shape for name, shape in (SHAPES | change).items() if shape is not None}
    with pytest.raises(UsageError, match="not those that the plan trains"):
        pack_update(normal(shapes=shapes), 1, SPEC, SHAPES)


@pytest.mark.parametrize("shapes", [{"a": (1 << 40,)}, {"": (1,)}, {"a": (1,) * 9}])
def test_tensors_that_make_no_update(shapes):
    with pytest.raises(UsageError, match="do not make an update"):
        update_manifest(shapes, SPEC)


def test_weights_name_is_taken():
    with pytest.raises(UsageError, match="rename"):
        update_manifest({WEIGHT: (1,)}, SPEC)


# What a misbehaving agent sends. `stream` builds a whole, well sealed stream of anything.


def stream(tensors=None, weight=(9,), kind=BlockKind.UPDATE, meta=None, block_bytes=1 << 20):
    arrays = dict(quantise(normal(), 9, SPEC)) if tensors is None else tensors
    if weight is not None:
        arrays[WEIGHT] = np.asarray(weight, np.int64)
    return pack_list(arrays, kind, update_manifest(SHAPES, SPEC).meta if meta is None else meta, block_bytes)[0]


def with_tensor(name, array):
    arrays = dict(quantise(normal(), 9, SPEC))
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    return stream(arrays)


def beyond(value):
    array = np.zeros((3, 4), np.int32)
    array[2, 1] = value
    return with_tensor("w", array)


@dataclass
class Attack:
    reason: str
    text: str
    datoms: list


GOOD = stream()
META = update_manifest(SHAPES, SPEC).meta
LONG = UpdateSpec(clip=1.01, scale=SPEC.scale, bound=SPEC.bound, max_weight=SPEC.max_weight)
ATTACKS = {
    "nothing": Attack("blocks", "stops before", []),
    "no seal": Attack("blocks", "stops before", GOOD[:-1]),
    "no manifest": Attack("schema", "expected a Manifest", GOOD[1:]),
    "garbage": Attack("schema", "magic", [GOOD[0], b"garbage"]),
    "empty datom": Attack("schema", "magic", [b""]),
    "manifest twice": Attack("schema", "expected a block", [GOOD[0], *GOOD]),
    "missing name": Attack("shape", "names, types", with_tensor("b", None)),
    "extra name": Attack("shape", "names, types", with_tensor("zz", np.zeros(1, np.int32))),
    "no weight": Attack("shape", "names, types", stream(weight=None)),
    "two weights": Attack("shape", "names, types", stream(weight=(1, 2))),
    "wrong shape": Attack("shape", "names, types", with_tensor("w", np.zeros((4, 3), np.int32))),
    "wrong dtype": Attack("shape", "names, types", with_tensor("w", np.zeros((3, 4), np.int64))),
    "floats": Attack("shape", "names, types", with_tensor("w", np.full((3, 4), np.nan, np.float32))),
    "other grid": Attack("shape", "names, types", stream(block_bytes=16)),
    "other kind": Attack("schema", "WEIGHT blocks", stream(kind=BlockKind.WEIGHT)),
    "other scale": Attack("schema", "scale, bound", stream(meta=META | {"scale": 1.0})),
    "other bound": Attack("schema", "scale, bound", stream(meta=META | {"bound": 2**31 - 1})),
    "other max_weight": Attack("schema", "scale, bound", stream(meta=META | {"max_weight": 10**6})),
    "more meta": Attack("schema", "scale, bound", stream(meta=META | {"note": "hi"})),
    "less meta": Attack("schema", "scale, bound", stream(meta={"scale": SPEC.scale})),
    "true for one": Attack("schema", "own form", stream(meta=META | {"bound": float(SPEC.bound)})),
    "too large": Attack("bounds", "'w'", beyond(SPEC.bound + 1)),
    "too small": Attack("bounds", "'w'", beyond(-SPEC.bound - 1)),
    "least int32": Attack("bounds", "'w'", beyond(-(2**31))),
    "weight too large": Attack("bounds", "weight", stream(weight=(201,))),
    "weight negative": Attack("bounds", "weight", stream(weight=(-1,))),
    "weight zero": Attack("bounds", "longer than", stream(weight=(0,))),
    "longer than its clip": Attack("bounds", "longer than", pack_list(
        {**quantise(normal(1, 9), 9, LONG), WEIGHT: np.array([9])}, BlockKind.UPDATE, META)[0]),
    "block missing": Attack("blocks", "too early", [*GOOD[:1], *GOOD[2:]]),
    "weight missing": Attack("blocks", "sealed before", [*GOOD[:-2], GOOD[-1]]),
    "block twice": Attack("blocks", "has come before", [*GOOD[:2], *GOOD[1:]]),
    "wrong order": Attack("blocks", "too early", [GOOD[0], GOOD[2], GOOD[1], *GOOD[3:]]),
    "weight first": Attack("blocks", "too early", [GOOD[0], GOOD[-2], *GOOD[1:-2], GOOD[-1]]),
    "one block more": Attack("blocks", "more blocks", [*GOOD[:-1], GOOD[-2], GOOD[-1]]),
    "block after the seal": Attack("blocks", "after the update's seal", [*GOOD, GOOD[1]]),
    "seal twice": Attack("blocks", "after the update's seal", [*GOOD, GOOD[-1]]),
    "seal of another": Attack("digest", "does not belong", [*GOOD[:-1], stream(weight=(8,))[-1]]),
    "block of a state": Attack("schema", "STATE block", [GOOD[0], stream(kind=BlockKind.STATE)[1]]),
    "block of another shape": Attack("shape", "'b'", [GOOD[0], with_tensor("b", np.zeros((2, 2), np.int32))[1]]),
    "block of another type": Attack("shape", "'b'", [GOOD[0], with_tensor("b", np.zeros(2, np.int64))[1]]),
}  # fmt: skip


def feed_all(datoms):
    reader = UpdateReader(SHAPES, SPEC)
    for datom in datoms:
        reader.feed(datom)
    return reader.finish()


def test_the_attacks_begin_from_something_good():
    assert feed_all(GOOD)[0] == 9
    assert feed_all(stream(weight=(200,)))[0] == 200
    edge = with_tensor("w", np.eye(3, 4, dtype=np.int32) * (9 << 20) // 2)
    assert feed_all(edge)[0] == 9


@pytest.mark.parametrize("name", ATTACKS)
def test_every_misbehaviour_is_refused_with_its_reason(name):
    attack = ATTACKS[name]
    with pytest.raises(ContributionRefused, match=attack.text) as caught:
        feed_all(attack.datoms)
    assert caught.value.reason == attack.reason


def test_every_flipped_bit_is_refused():
    for index, datom in enumerate(GOOD):
        for bit in range(len(datom) * 8):
            bad = bytearray(datom)
            bad[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ContributionRefused):
                feed_all([*GOOD[:index], bad, *GOOD[index + 1 :]])


def test_a_refused_update_stays_refused():
    reader = UpdateReader(SHAPES, SPEC)
    reader.feed(GOOD[0])
    with pytest.raises(ContributionRefused):
        reader.feed(GOOD[2])
    with pytest.raises(ContributionRefused, match="was refused"):
        reader.feed(GOOD[1])
    with pytest.raises(ContributionRefused):
        reader.finish()


def test_no_message_tells_a_value():
    for attack in ATTACKS.values():
        with pytest.raises(ContributionRefused) as caught:
            feed_all(attack.datoms)
        assert str(SPEC.bound + 1) not in str(caught.value)
        assert " 201" not in str(caught.value)


def test_root_is_that_of_the_stream():
    datoms, root = pack_update(normal(), 9, SPEC, SHAPES)
    arrays = {**quantise(normal(), 9, SPEC), WEIGHT: np.array([9])}
    assert root_of(arrays, BlockKind.UPDATE, META) == root
    assert encode(decode_manifest(datoms[0])) == datoms[0]
    assert isinstance(update_manifest(SHAPES, SPEC), Manifest)
    assert all(isinstance(spec, TensorSpec) for spec in update_manifest(SHAPES, SPEC).tensors)
