"""Digests of effects and values, and the items behind handles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.agent.asked import effect_digest, value_digest
from sojourn.agent.objects import (
    Column,
    Computed,
    Cursor,
    Loaders,
    ObjectTable,
    OpenStream,
    RowsSlice,
    Weights,
    handle_id,
    tensors_digest,
)
from sojourn.contracts import Occurrence
from sojourn.errors import MachineError, StoreError
from sojourn.labels import PUBLIC
from sojourn.vm import Box, Effect, Handle, RecordValue

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def shown(value):
    """What two values must differ in to be two values of the language."""
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else value.hex())
    if isinstance(value, list | tuple):
        return (type(value).__name__, tuple(shown(item) for item in value))
    if isinstance(value, dict):
        return ("dict", tuple((shown(key), shown(item)) for key, item in value.items()))
    return (type(value).__name__, value)


@given(VALUES, VALUES)
def test_two_values_share_a_digest_only_if_they_are_the_same(one, other):
    assert (value_digest(one) == value_digest(other)) == (shown(one) == shown(other))


def test_what_looks_alike_is_told_apart():
    handle, box = Handle("tensor", b"i" * 32, PUBLIC), Box(b"i" * 32, PUBLIC)
    values = [0, False, 0.0, -0.0, "", b"", None, (), [], {}, range(0), handle, box, RecordValue("order", {})]
    values += [{"a": 1, "b": 2}, {"b": 2, "a": 1}, [[1], 2], [[1, 2]], RecordValue("order", {"a": 1})]
    assert len({value_digest(value) for value in values}) == len(values)


def test_deep_nesting_does_not_exhaust_the_host():
    value = []
    for _ in range(50_000):
        value = [value]
    assert len(value_digest(value)) == 32


def test_an_effect_is_its_name_and_arguments():
    at = Occurrence(b"r" * 32, 1)
    one = Effect("gpu.run", {"name": "train", "x": 1}, at, "pure", PUBLIC, False)
    again = Effect("gpu.run", {"x": 1, "name": "train"}, Occurrence(b"r" * 32, 2), "pure", PUBLIC, False)
    other = Effect("gpu.run", {"name": "train", "y": 1}, at, "pure", PUBLIC, False)
    assert effect_digest(one) == effect_digest(again)
    assert effect_digest(one) != effect_digest(other)


def test_handles_are_named_by_occurrence_and_output():
    at = Occurrence(b"r" * 32, 1)
    ids = {handle_id(at, "x"), handle_id(at, "y"), handle_id(Occurrence(b"r" * 32, 2), "x")}
    assert len(ids) == 3
    assert handle_id(at, "x") in ids


def test_tensors_are_told_apart_by_all_that_they_are():
    base = np.arange(6, dtype=np.float32)
    other = [
        base.reshape(2, 3), base.reshape(3, 2), base.astype(np.int32), base + 1, {"value": base}, {"w": base},
        np.zeros((), np.float32), np.zeros((0,), np.float32), np.zeros((0, 2), np.float32),
    ]  # fmt: skip
    assert len({tensors_digest(value) for value in [base, *other]}) == len(other) + 1
    assert tensors_digest(base.reshape(2, 3).T.copy().T) == tensors_digest(base.reshape(2, 3)), "layout does not count"


@pytest.fixture
def stored():
    return {}


@pytest.fixture
def table(stored):
    rows = {"x": np.arange(4, dtype=np.float32), "y": np.ones(4, np.float32)}
    return ObjectTable(Loaders(stored.__getitem__, lambda *_: rows, lambda: {"w": np.ones(2, np.float32)}))


@pytest.mark.parametrize(
    "value", [np.ones((2, 3), np.float32), np.array(7, np.int64), {"a": np.zeros(2), "b": np.ones(1)}]
)
def test_a_computed_item_comes_back_from_its_body(table, stored, value):
    state = not isinstance(value, np.ndarray)
    table.put(b"h", Computed(tensors_digest(value), state, value))
    ref = table.refer(b"h")
    stored[b"h"] = table.body(b"h")
    table.prune([])
    assert not table.has(b"h")
    table.restore(b"h", ref)
    assert tensors_digest(table.tensors(b"h")) == tensors_digest(value)


def test_a_body_that_is_another_one_is_refused(table, stored):
    value = np.ones(2, np.float32)
    table.put(b"h", Computed(tensors_digest(value), False, value))
    stored[b"h"] = table.body(b"h")
    table.restore(b"h", type(table.refer(b"h"))(False, b"other digest"))
    with pytest.raises(StoreError):
        table.tensors(b"h")


def test_every_kind_of_item_survives_a_snapshot(table):
    stream = OpenStream("patients", ("x", "y"), 9)
    items = {
        b"1": stream,
        b"2": Cursor(stream, 4),
        b"3": Column(RowsSlice(stream, 0, 4, b"d"), "x"),
        b"4": Weights(b"root"),
        b"5": Computed(b"d", True),
    }
    for name, item in items.items():
        table.put(name, item)
    refs = {name: table.refer(name) for name in items}
    for name, ref in refs.items():
        table.restore(name, ref)
    assert {name: table.get(name) for name in items} == items
    assert table.tensors(b"4")["w"].tolist() == [1, 1]
    assert table.tensors(b"1") is None


def test_rows_are_compared_with_what_was_read(table):
    stream = OpenStream("patients", ("x", "y"), 9)
    table.put(b"c", Column(RowsSlice(stream, 0, 4, b"another digest"), "x"))
    with pytest.raises(StoreError, match="'patients' have changed"):
        table.tensors(b"c")


def test_a_lost_item_is_a_defect_and_says_so(table):
    with pytest.raises(MachineError):
        table.get(b"never")
