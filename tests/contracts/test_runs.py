"""Identities of runs never collide, and documents keep their keys out of sight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sojourn.contracts import AnswerPacket, BodyRef, OrderPacket, child_run, key_id, root_run

names = st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 2**40), st.integers(0, 2**20))


@given(st.sets(names, min_size=2, max_size=8))
def test_children_of_different_occurrences_differ(children: set[tuple[bytes, int, int]]) -> None:
    assert len({child_run(*child) for child in children}) == len(children)


def test_a_run_depends_on_job_and_nonce() -> None:
    runs = {root_run(b"j" * 32, b"n" * 16), root_run(b"k" * 32, b"n" * 16), root_run(b"j" * 32, b"m" * 16)}
    assert len(runs) == 3
    assert all(len(run) == 32 for run in runs)


def test_a_key_id_names_both_keys() -> None:
    assert key_id(b"a", b"bc") != key_id(b"ab", b"c")


def test_content_keys_do_not_show_in_a_repr() -> None:
    secret = b"\xabtopsecretcontentkey-32-bytes---"
    shown = repr(OrderPacket(b"o", secret, secret)) + repr(AnswerPacket(b"a", BodyRef(b"i", 1, b"d", 1), secret))
    assert "topsecret" not in shown
