"""Another process goes on from sampled stops: the same effects, state and budgets. `make vm-stop` takes all stops."""

from __future__ import annotations

import msgspec
import pytest
from sojourn.errors import SnapshotInvalid
from sojourn.vm import Machine

STOPS = 2


def test_program_goes_on_elsewhere(stopping, other, stopped_name: str, forms: tuple[str, str]) -> None:
    begins, goes_on = forms
    program = stopping.compiled(stopping.programs()[stopped_name])
    whole = stopping.driven(stopping.begun(program, stopping.FORMS[begins]))
    stride = max((stopping.FUEL - whole.fuel) // STOPS, 1)
    for number, stopped in enumerate(stopping.stops(program, begins, stride)):
        if number < 2 * STOPS:
            assert stopping.goes_on_alike(whole, stopped, other.go_on(program, stopped, goes_on))


def test_every_boundary_of_a_run_is_a_stop(stopping, other) -> None:
    """The exhaustive form on one program with regions: as many states as instructions, and two for each effect."""
    program = stopping.compiled(stopping.programs()["region_that_fails_or_runs_out"])
    whole = stopping.driven(stopping.begun(program, stopping.FORMS["stepping"]))
    states = list(stopping.stops(program, "stepping", 1))
    assert len(states) == stopping.boundaries(program) + 2 * len(whole.effects) + 1
    assert len({stopped.state for stopped in states}) == len(states)
    assert all(stopping.goes_on_alike(whole, stopped, other.go_on(program, stopped, "stepping")) for stopped in states)


def test_a_process_of_its_own_goes_on(stopping) -> None:
    program = stopping.compiled(stopping.programs()["huffman"])
    whole = stopping.driven(stopping.begun(program, stopping.FORMS["stepping"]))
    stopped = list(stopping.stops(program, "stepping", 100))[1]
    with stopping.Other(stopping.SEEDS[1]) as own:
        assert stopping.goes_on_alike(whole, stopped, own.go_on(program, stopped, "stepping"))


def test_a_form_that_is_sliced_afresh_stops_at_the_same_places(stopping, monkeypatch) -> None:
    """What a second form of execution is tried with: from the last effect to each stop in one piece."""
    program = stopping.compiled(stopping.programs()["log_lines"])
    plain = list(stopping.stops(program, "stepping", 1))
    monkeypatch.setitem(stopping.FORMS, "afresh", stopping.Form({}, sliced_afresh=True))
    again = list(stopping.stops(program, "afresh", 1))
    assert {stopped.state for stopped in again} == {stopped.state for stopped in plain}


@pytest.mark.parametrize("field", ["kind", "effects", "state", "fuel", "memory"])
def test_a_run_that_goes_on_in_another_way_is_noticed(stopping, field: str) -> None:
    program = stopping.compiled(stopping.programs()["log_lines"])
    whole = stopping.driven(stopping.begun(program, stopping.FORMS["stepping"]))
    stopped = next(stopping.stops(program, "stepping", 1))
    end = stopping.driven(Machine.load(program, stopped.state))
    assert stopping.goes_on_alike(whole, stopped, end)
    other = {"kind": "failed", "effects": end.effects[1:], "state": b"", "fuel": end.fuel - 1, "memory": 0}[field]
    assert not stopping.goes_on_alike(whole, stopped, msgspec.structs.replace(end, **{field: other}))


def test_a_state_goes_on_with_its_own_program_only(stopping) -> None:
    one, two = (stopping.compiled(stopping.programs()[name]) for name in ("huffman", "log_lines"))
    with pytest.raises(SnapshotInvalid, match="another program"):
        Machine.load(two, next(stopping.stops(one, "stepping", 1)).state)
