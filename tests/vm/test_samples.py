"""The two programs that DESIGN.md section 4 prints: they run to their end, whole or in pieces, with the same bytes."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.contracts import Occurrence, child_run
from sojourn.vm import Done, Machine, Parked, Sliced, compile_source, verify


def hospital(kit: Any) -> Machine:
    return kit.start(kit.HOSPITAL, kit.order(epochs=2, size=2, fuel=20_000, memory=200_000))


def rounds(kit: Any) -> Machine:
    return kit.start(kit.ROUNDS, kit.job(rounds=3))


def test_hospital_makes_its_effects_in_order(kit: Any, host: Any) -> None:
    machine = hospital(kit)
    assert host.drive(machine) == Done(None)
    assert [name for name, *_ in host.seen] == ["stream.open", "release.update", "release.count", "release.mean"]
    assert [row[2] for row in host.seen] == [Occurrence(kit.RUN, operation) for operation in (0, 2, 3, 4)]
    one_epoch = ["stream.first", *["stream.batch", "gpu.run"] * 3]
    assert host.inside == one_epoch * 2
    payload = host.released[0]
    assert payload["n"] == 5
    assert len(payload["losses"]) == 3
    assert payload["state"].label == kit.PATIENTS


def test_region_effects_are_occurrences_of_a_child_run(kit: Any, host: Any) -> None:
    machine = hospital(kit)
    progress = machine.run(10**9)
    assert isinstance(progress, Parked)
    host.answer(machine, progress.effect)
    progress = machine.run(10**9)
    assert isinstance(progress, Parked)
    assert progress.effect.occurrence == Occurrence(child_run(kit.RUN, 1, 0), 0)
    assert progress.effect.label == kit.PATIENTS
    assert machine.in_region
    assert machine.current_run == child_run(kit.RUN, 1, 0)


def test_rounds_publishes_and_returns_weights(kit: Any, host: Any) -> None:
    machine = rounds(kit)
    progress = host.drive(machine)
    assert isinstance(progress, Done)
    assert progress.value.kind == "model"
    names = [name for name, *_ in host.seen]
    assert names == ["fleet.invite", "fleet.ask", "updates.aggregate", "model.publish"] * 3
    assert [row[2].operation for row in host.seen] == list(range(12))


@pytest.mark.parametrize("make", [hospital, rounds])
def test_stop_at_every_instruction_changes_nothing(kit: Any, hosts: Any, make: Any) -> None:
    whole, pieces = hosts(), hosts()
    machine = make(kit)
    expected = whole.drive(machine)
    piece, stops = make(kit), 0
    while True:
        progress = piece.run(1)
        data = piece.dump()
        piece = Machine.load(piece.program, data)
        assert piece.dump() == data
        stops += 1
        if isinstance(progress, Parked):
            pieces.answer(piece, progress.effect)
            piece = Machine.load(piece.program, piece.dump())
        elif not isinstance(progress, Sliced):
            break
    assert stops > 50
    assert repr(progress) == repr(expected)
    assert pieces.seen == whole.seen
    assert pieces.inside == whole.inside
    assert repr(pieces.released) == repr(whole.released)
    assert piece.dump() == machine.dump()
    assert (piece.fuel_left, piece.memory_left) == (machine.fuel_left, machine.memory_left)


def test_each_stop_alone_goes_on_to_the_same_end(kit: Any, hosts: Any) -> None:
    """As a crash does it: load any one state, and drive it to the end in one go."""
    machine = hospital(kit)
    whole = hosts()
    whole.drive(machine)
    final, host, walker = machine.dump(), hosts(), hospital(kit)
    while True:
        progress = walker.run(7)
        later = hosts()
        later.position = dict(host.position)
        again = Machine.load(walker.program, walker.dump())
        later.drive(again)
        assert again.dump() == final
        if isinstance(progress, Parked):
            host.answer(walker, progress.effect)
        elif not isinstance(progress, Sliced):
            break


def test_effects_an_entry_can_reach(kit: Any) -> None:
    program = verify(compile_source(kit.HOSPITAL + kit.ROUNDS, "both.py").encode())
    assert program.entries == ("hospital", "rounds")
    assert program.effects("rounds") == {"fleet.invite", "fleet.ask", "updates.aggregate", "model.publish"}
    assert "gpu.run" in program.effects("hospital")
    assert "fleet.ask" not in program.effects("hospital")


def test_handles_lists_what_the_state_needs(kit: Any, host: Any) -> None:
    machine = hospital(kit)
    assert [handle.kind for handle in machine.handles()] == ["state"]
    while not (isinstance(progress := machine.run(10**9), Parked) and progress.effect.name == "release.count"):
        host.answer(machine, progress.effect)
    kinds = sorted(handle.kind for handle in machine.handles())
    assert kinds == ["state", "state", "stream", "tensor", "tensor", "tensor"]
    host.drive(machine)
    assert machine.handles() == []


def test_quorum_missed_ends_the_run_with_its_class_and_line(kit: Any, hosts: Any) -> None:
    host = hosts(fails={"fleet.ask": ("QuorumMissed", "3 of 4")})
    progress = host.drive(rounds(kit))
    assert (progress.code, progress.line, progress.detail) == ("QuorumMissed", 7, "QuorumMissed: 3 of 4")
