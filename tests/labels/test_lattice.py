"""Laws of the lattice of labels."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.labels import PUBLIC, Label

labels = st.frozensets(st.sampled_from(["a/x", "a/y", "b/x", "c/z"])).map(Label)


@given(labels, labels, labels)
def test_join_is_the_least_upper_bound(a: Label, b: Label, c: Label) -> None:
    joined = a.join(b)
    assert a.flows_to(joined)
    assert b.flows_to(joined)
    assert joined == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c)) == Label.join_all([a, b, c])
    assert a.join(a) == a
    if a.flows_to(c) and b.flows_to(c):
        assert joined.flows_to(c)


@given(labels, labels)
def test_flow_is_an_order(a: Label, b: Label) -> None:
    assert PUBLIC.flows_to(a)
    assert a.flows_to(PUBLIC) == a.is_public
    assert (a.flows_to(b) and b.flows_to(a)) == (a == b)
    assert a.join(PUBLIC) == a


def test_names_are_sorted_and_shown() -> None:
    label = Label.of("b/x", "a/y", "a/x")
    assert label.names == ("a/x", "a/y", "b/x")
    assert str(label) == "{a/x, a/y, b/x}"
    assert str(PUBLIC) == "public"
    assert Label.join_all([]) == PUBLIC


def test_labels_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PUBLIC.sources = frozenset(("a/x",))  # type: ignore[misc]
