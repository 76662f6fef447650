"""Release mechanisms: bounds hold whatever the payload is, and only public things raise."""

import math
import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sojourn.contracts import UpdateSpec
from sojourn.datoms import UpdateReader, pack_update, split_datoms
from sojourn.errors import ReleaseInvalid
from sojourn.privacy import Misfit, release_count, release_mean, release_sum, release_update

SPEC = UpdateSpec(clip=2.0, scale=2**-16, bound=2**30, max_weight=100)
SHAPES = {"w": (3, 2), "b": (2,)}
BASE = {"w": np.full((3, 2), 0.5, np.float32), "b": np.zeros(2, np.float32)}


def state(**changes):
    made = {"w": BASE["w"] + np.float32(0.25), "b": BASE["b"] - np.float32(0.125), "momentum": np.ones(4)}
    return made | changes


def read(release):
    """The update as a coordinator would read it: q by tensor, and w."""
    reader = UpdateReader(SHAPES, SPEC)
    found = {name: np.zeros(math.prod(shape), np.int64) for name, shape in SHAPES.items()}
    for datom in release.datoms:
        piece = reader.feed(datom)
        if piece is not None:
            found[piece.name][piece.start : piece.start + piece.values.size] = piece.values
    weight, root = reader.finish()
    assert root == release.root
    return {name: values.reshape(SHAPES[name]) for name, values in found.items()}, weight


NEUTRAL, NEUTRAL_ROOT = pack_update(None, 0, SPEC, SHAPES)

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.builds(Misfit, st.text(max_size=4)),
    st.lists(st.one_of(st.floats(), st.integers(-(2**80), 2**80), st.none(), st.text(max_size=2)), max_size=4),
    st.dictionaries(st.text(max_size=2), st.floats(), max_size=2),
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_, np.complex64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
)


def test_an_update_is_state_minus_base_times_weight():
    release = release_update(state(), BASE, 7, SPEC, SHAPES)
    q, weight = read(release)
    assert weight == 7
    np.testing.assert_array_equal(q["w"], np.full((3, 2), 7 * 0.25 * 2**16))
    np.testing.assert_array_equal(q["b"], np.full(2, -7 * 0.125 * 2**16))
    assert (release.kind, release.mechanism, release.value) == ("update", "clip", None)
    assert not release.neutral
    assert release.note == ""
    assert release.parameters == {"clip": 2.0, "scale": 2**-16, "bound": 2**30, "max_weight": 100}
    assert [bytes(datom) for datom in split_datoms(release.output)] == list(release.datoms)


def test_a_large_update_is_clipped_as_a_whole():
    q, weight = read(release_update(state(w=np.full((3, 2), 1e30, np.float32)), BASE, 100, SPEC, SHAPES))
    norm = math.sqrt(sum(float(np.sum(np.square(values * SPEC.scale / weight))) for values in q.values()))
    assert norm == pytest.approx(SPEC.clip, rel=1e-4)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (Misfit("the region raised ValueError"), "the region raised ValueError"),
        (None, "no state but of type NoneType"),
        (BASE["w"], "no state but of type ndarray"),
        ({}, "no tensor 'w'"),
        (state(w=BASE["w"].tolist()), "no tensor 'w'"),
        (state(w=BASE["w"].astype(np.float64)), r"'w' of the state is float64"),
        (state(w=BASE["w"].T), r"\[2, 3\], the plan states float32 \[3, 2\]"),
        (state(b=np.array([0, np.nan], np.float32)), "'b' of the state is not finite"),
        (state(b=np.array([0, -np.inf], np.float32)), "'b' of the state is not finite"),
    ],
)
def test_a_state_that_does_not_fit_is_the_neutral_update(payload, words):
    release = release_update(payload, BASE, 7, SPEC, SHAPES)
    assert (list(release.datoms), release.root) == (NEUTRAL, NEUTRAL_ROOT)
    assert release.neutral
    assert re.search(words, release.note)


@pytest.mark.parametrize("weight", [None, 1.0, "7", True, Misfit("no key"), np.array([7]), float("nan"), -3, 0])
def test_a_weight_that_does_not_fit_is_the_neutral_update(weight):
    release = release_update(state(), BASE, weight, SPEC, SHAPES)
    assert (list(release.datoms), release.root) == (NEUTRAL, NEUTRAL_ROOT)
    assert release.neutral


@pytest.mark.parametrize("weight", [101, 10**30])
def test_a_weight_above_the_largest_counts_as_that(weight):
    release = release_update(state(), BASE, weight, SPEC, SHAPES)
    assert release.root == release_update(state(), BASE, 100, SPEC, SHAPES).root
    assert release.note == "the weight is above 100 and counts as that"


@pytest.mark.parametrize("weight", [np.int64(7), np.uint8(7)])
def test_an_integer_of_numpy_is_an_integer(weight):
    assert read(release_update(state(), BASE, weight, SPEC, SHAPES))[1] == 7


@pytest.mark.parametrize(
    ("base", "spec", "words"),
    [
        ({"w": BASE["w"]}, SPEC, "the base lacks tensor 'b'"),
        (BASE | {"b": np.zeros(3, np.float32)}, SPEC, r"tensor 'b' as float32 \[2\], the base has float32 \[3\]"),
        (BASE | {"b": np.zeros(2)}, SPEC, "the base has float64"),
        (BASE | {"b": np.array([np.nan, 0], np.float32)}, SPEC, "base is not finite"),
        (BASE, UpdateSpec(0.0, 1.0, 1, 1), "clip"),
        (BASE, UpdateSpec(1.0, float("nan"), 1, 1), "scale"),
        (BASE, UpdateSpec(1.0, 1.0, 2**31, 1), "bound"),
        (BASE, UpdateSpec(1.0, 1.0, 1, 0), "max_weight"),
    ],
)
def test_public_parameters_of_an_update_raise(base, spec, words):
    with pytest.raises(ReleaseInvalid, match=words):
        release_update(state(), base, 7, spec, SHAPES)


@given(payload=junk, weight=junk)
def test_no_payload_makes_an_update_raise_or_break_its_bounds(payload, weight):
    for given_state in (payload, {"w": payload, "b": BASE["b"]}, state()):
        read(release_update(given_state, BASE, weight, SPEC, SHAPES))


@settings(max_examples=60)
@given(
    w=hnp.arrays(np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    weight=st.integers(0, 100),
)
def test_one_update_moves_a_sum_by_at_most_weight_times_clip(w, weight):
    q, found = read(release_update(state(w=w), BASE, weight, SPEC, SHAPES))
    norm = math.sqrt(sum(float(np.sum(np.square(values * SPEC.scale))) for values in q.values()))
    rounding = SPEC.scale * math.sqrt(8) / 2
    assert norm <= found * SPEC.clip * (1 + 1e-12) + rounding


@pytest.mark.parametrize(
    ("value", "released"), [(0, 0.0), (17, 17.0), (1000, 1000.0), (1001, 1000.0), (-1, 0.0), (10**40, 1000.0)]
)
def test_a_count_is_moved_into_range(value, released):
    release = release_count(value, 1000)
    assert (release.value, release.neutral) == (released, False)
    assert bool(release.note) == (value != released)
    assert release.parameters == {"high": 1000.0}


@pytest.mark.parametrize("value", [None, 1.0, True, "3", [3], Misfit("gone"), np.array([3]), float("nan")])
def test_a_count_that_does_not_fit_is_zero(value):
    release = release_count(value, 1000)
    assert (release.value, release.neutral) == (0.0, True)
    assert release.note


@pytest.mark.parametrize("high", [0, -1, 1.5, math.nan, math.inf, 2**54, True, "9", None])
def test_a_count_s_public_bound_raises(high):
    with pytest.raises(ReleaseInvalid, match="high is"):
        release_count(3, high)


def test_a_mean_takes_one_value_per_unit_and_clamps():
    values = [np.array([0.5, 12.0], np.float32), np.array([-3.0], np.float64), np.array([2], np.int64)]
    release = release_mean(values, 0.0, 10.0)
    assert release.value == (0.5 + 10.0 + 0.0 + 2.0) / 4
    assert release.note == "2 of 4 values were moved into [0.0, 10.0]"
    assert not release.neutral
    assert release_mean([0.5, 12, -3.0, 2], 0, 10).value == release.value
    assert release_mean(np.array([0.5, 12, -3.0, 2]), 0, 10).value == release.value
    assert release_sum(values, 0.0, 10.0).value == 12.5


@pytest.mark.parametrize("values", [[], (), np.zeros(0), [np.zeros(0, np.float32)]])
def test_no_units_give_the_midpoint(values):
    release = release_mean(values, -1.0, 4.0)
    assert (release.value, release.neutral) == (1.5, True)
    assert release_sum(values, -1.0, 4.0).value == 0.0


@pytest.mark.parametrize(
    "values",
    [
        None,
        3.0,
        "values",
        {"losses": []},
        Misfit("an error in the box"),
        [Misfit("inside")],
        [None],
        [True],
        [1.0, "2"],
        [[1.0]],
        [10**400],
        [math.nan],
        [math.inf],
        [np.array([1.0, np.nan])],
        np.zeros((2, 2)),
        [np.float32(1), np.array(1.0)],
        [np.array([True])],
        [np.array([1j])],
        [np.array(["1"])],
    ],
)
def test_values_that_do_not_fit_are_neutral(values):
    for release, neutral in ((release_mean(values, 2.0, 10.0), 6.0), (release_sum(values, 2.0, 10.0), 0.0)):
        assert (release.value, release.neutral) == (neutral, True)
        assert release.note


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf), (-1e308, 1e308), (None, 1.0), (False, True), ("0", 1)],
)
def test_a_range_that_is_none_raises(low, high):
    for mechanism in (release_mean, release_sum):
        with pytest.raises(ReleaseInvalid, match=r"low|high"):
            mechanism([1.0], low, high)


@given(values=junk, low=st.floats(-100, 0), width=st.floats(0.125, 100))
def test_no_payload_makes_a_number_raise_or_leave_its_range(values, low, width):
    mean = release_mean(values, low, low + width).value
    assert low <= mean <= low + width
    assert math.isfinite(release_sum(values, low, low + width).value)
    assert 0 <= release_count(values, 50).value <= 50


@given(values=st.lists(st.floats(-1e6, 1e6), max_size=30), seed=st.integers(0, 5))
def test_the_order_of_units_does_not_change_a_bit(values, seed):
    shuffled = list(values)
    np.random.default_rng(seed).shuffle(shuffled)
    for mechanism in (release_mean, release_sum):
        assert mechanism(values, -9.0, 7.0).output == mechanism(shuffled, -9.0, 7.0).output


@given(values=st.lists(st.floats(-50, 50), min_size=1, max_size=20), other=st.floats(allow_nan=False))
def test_one_unit_moves_a_sum_by_at_most_the_range(values, other):
    before = release_sum(values, -3.0, 5.0).value
    after = release_sum([*values[:-1], other if math.isfinite(other) else 0.0], -3.0, 5.0).value
    assert abs(after - before) <= 8.0 + 1e-9


def test_a_number_s_output_is_its_eight_bytes():
    assert release_count(3, 10).output == struct.pack(">d", 3.0)
    assert release_mean([-0.0], -1.0, 1.0).output == struct.pack(">d", 0.0)


def test_neither_note_nor_neutrality_shows():
    """A repr ends in logs and tracebacks: it must not tell that a payload did not fit."""
    failed = release_mean(Misfit("row 17 is odd"), 0.0, 10.0)
    honest = release_mean([5.0], 0.0, 10.0)
    assert repr(failed) == repr(honest)
    assert failed.output == honest.output
    assert "17" not in repr(Misfit("row 17 is odd"))


def test_the_statement_says_what_was_done():
    policy = b"\x01" * 32
    mean = release_mean([5.0], 0.0, 10.0).statement("loss", 9, policy)
    assert (mean.kind, mean.name, mean.mechanism, mean.claim) == ("mean", "loss", "bounded-mean", "trusted-plan")
    assert (mean.value, mean.root, mean.operation, mean.policy) == (5.0, b"", 9, policy)
    assert mean.parameters == {"low": 0.0, "high": 10.0}
    update = release_update(state(), BASE, 7, SPEC, SHAPES)
    said = update.statement("update", 7, policy)
    assert (said.value, said.root, said.mechanism) == (None, update.root, "clip")
    assert release_count(3, 9).statement("n", 1, policy).mechanism == "bounded-count"
    assert release_sum([3.0], 0, 9).statement("s", 1, policy).mechanism == "bounded-sum"
