"""A machine's state for people: lines and variables of every frame, in the public world and inside of regions."""

from __future__ import annotations

from typing import Any

from sojourn.labels import PUBLIC
from sojourn.vm import Handle, Machine, Parked
from sojourn.vm.views import boxes_of, runs_of

SOURCE = """
def inner(rows, n):
    total = [k for k in range(n)]
    cursor = stream.first(rows)
    return len(total)

def start(rows, n):
    return inner(rows, n + 1)

@continuation
def main(order):
    count = 0
    def bump(by):
        nonlocal count
        count += by
        log.note("bumped")
    bump(2)
    for _ in (1,):
        rows = stream.open("patients", fields=["x"])
    seen = private(start, rows, 3, fuel=500, memory=50000)
    log.note("after")
"""


def parked(kit: Any, effects: int) -> Machine:
    """The machine at the n-th effect, with whatever comes before answered."""
    program = kit.program_of(SOURCE)
    machine = Machine.start(program, "main", [None], bytes(32), 10_000, 1_000_000)
    for _ in range(effects):
        progress = machine.run(10_000)
        assert isinstance(progress, Parked)
        opens = progress.effect.name == "stream.open"
        machine.resume(Handle("stream", b"rows", kit.PATIENTS) if opens else None)
    machine.run(10_000)
    return machine


def test_before_the_first_instruction(kit):
    machine = Machine.start(kit.program_of(SOURCE), "main", [None], bytes(32), 10_000, 1_000_000)
    (run,) = runs_of(machine)
    (frame,) = run.frames
    assert (frame.function, frame.line, frame.pc, frame.stack) == ("main", 12, 0, 0)
    assert dict(frame.variables) == {"order": None}
    assert (run.region, run.label, run.operation, run.fuel, run.limit) == (False, PUBLIC, 0, 10_000, 1_000_000)


def test_shared_variables_and_hidden_ones(kit):
    (run,) = runs_of(parked(kit, 0))
    outer, inner = run.frames
    assert (outer.function, outer.line) == ("main", 17)
    assert (inner.function, inner.line) == ("main.<locals>.bump", 16)
    assert (outer.variables["count"], inner.variables["count"], inner.variables["by"]) == (2, 2, 2)
    (run,) = runs_of(parked(kit, 1))
    (frame,) = run.frames
    assert (frame.line, set(frame.variables)) == (19, {"order", "count", "bump", "_"})  # and no iterator


def test_a_region_on_top_of_the_world_that_waits_for_it(kit):
    machine = parked(kit, 2)
    public, region = runs_of(machine)
    assert (public.region, region.region) == (False, True)
    assert region.label == kit.PATIENTS
    assert (region.id, public.id) == (machine.current_run, machine.run_id)
    assert [frame.line for frame in public.frames] == [20]
    assert [(frame.function, frame.line) for frame in region.frames] == [("start", 8), ("inner", 4)]
    assert region.frames[1].variables["total"] == [0, 1, 2, 3]
    assert list(boxes_of(machine)) == []
    machine.resume(None)
    machine.run(10_000)
    (box,) = boxes_of(machine)
    assert (box.label, machine.open(box)) == (kit.PATIENTS, 4)
    machine.resume(None)
    machine.run(10_000)
    assert runs_of(machine)[0].frames == ()
