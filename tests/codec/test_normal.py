"""Records with an int where a float belongs: made right by `normalised`, named and refused by `check_canonical`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.codec import check_canonical, decode, encode, normalised
from sojourn.contracts import SUITE_1, Phase, Plan, ReleaseSpec, UpdateSpec
from sojourn.errors import DecodeError, UsageError


def plan(**constants) -> Plan:
    return Plan(suite=SUITE_1, name="p", state=(), graphs=(), constants=constants)


def a_phase(*answer: ReleaseSpec) -> Phase:
    return Phase("train", "collect", "hospital", 1, 1000, answer)


NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False))


@given(st.dictionaries(st.text(min_size=1, max_size=5), NUMBERS, max_size=4))
def test_what_is_normalised_decodes_from_its_own_bytes(constants):
    meant = normalised(plan(**constants)) if all(map(str.isidentifier, constants)) else normalised(
        Plan(SUITE_1, "p", (), (), constants)
    )  # fmt: skip
    assert decode(Plan, encode(meant)) == meant
    assert all(type(value) is float for value in meant.constants.values())
    check_canonical(meant)


def test_without_it_the_strict_decoder_refuses():
    with pytest.raises(DecodeError, match="not the canonical encoding"):
        decode(Plan, encode(plan(rate=1)))
    with pytest.raises(UsageError, match=r"Plan\.constants\['rate'\] holds the int 1; write 1\.0"):
        check_canonical(plan(rate=1))


def test_the_field_is_named_however_deep_it_lies():
    deep = Phase("t", "collect", "e", 1, 1000, (ReleaseSpec("update", "update", 0.0, 0.0, UpdateSpec(5, 1.0, 1, 1)),))
    with pytest.raises(UsageError, match=r"Phase\.answer\[0\]\.update\.clip holds the int 5; write 5\.0"):
        check_canonical(deep)
    assert normalised(deep).answer[0].update.clip == 5.0


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (a_phase(ReleaseSpec("count", "n", 0.0, "many", None)), r"Phase\.answer\[0\]\.high: Expected `float`"),
        (a_phase(ReleaseSpec("count", "n", 0.0, None, None)), r"Phase\.answer\[0\]\.high: Expected `float`"),
        (plan(rate="fast"), r"Plan\.constants\[…\]: Expected `float`"),
        (Phase("t", "vote", "e", 1, 1000, ()), r"Phase\.kind: Invalid enum value"),
        (Phase("t", "collect", "e", np.int64(1), 1000, ()), "numpy.int64 is unsupported; write plain Python values"),
        (Phase("t", "collect", "e", 1 << 70, 1000, ()), "cannot be encoded"),
    ],
)
def test_what_no_field_takes_is_refused_by_name(record, words):
    with pytest.raises(UsageError, match=words):
        normalised(record)


def test_ints_of_scalars_stay_ints_and_odd_floats_stay_what_they_are():
    update = ReleaseSpec("update", "update", -0.0, math.inf, UpdateSpec(1.0, 1.0, 3, 4))
    assert normalised(update).update.bound == 3
    assert type(normalised(update).update.bound) is int
    assert math.copysign(1.0, normalised(update).low) == -1.0
    check_canonical(a_phase(ReleaseSpec("mean", "x", math.nan, math.inf, None)))
