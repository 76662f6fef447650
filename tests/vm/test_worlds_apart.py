"""Worlds stay apart: in states that nobody's machine made, and where boxes come back from children."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.codec import digest_parts
from sojourn.errors import SnapshotInvalid
from sojourn.labels import Label
from sojourn.vm import Done, Failed, Machine
from sojourn.vm.values import Box, Cell, Handle, RegionError

SHARED = """
def make():
    return {"l": []}
def inside(rows, out):
    a, cursor = stream.batch(rows, stream.first(rows), 5)
    out["l"].append(a["rows"])
    return a["rows"]
@continuation
def main():
    old = private(make, fuel=1000, memory=10000)
    log.note("begun")
    rows = stream.open("patients", fields=["x"])
    out = {"l": []}
    new = private(inside, rows, out, fuel=1000, memory=10000)
    log.note(f"{out}")
    release.count(old, of="n", name="n", high=10)
"""


def _until(kit: Any, source: str, name: str, **given: Any) -> Machine:
    machine, host = kit.start(source, **given), kit.Host()
    while True:
        machine.run(10**7)
        assert machine.asked is not None
        if machine.asked.name == name:
            return machine
        host.answer(machine, machine.asked)


def _slot(machine: Machine, run: int, name: str) -> tuple[list[Any], int]:
    frame = machine.runs[run].frames[-1]
    return frame.locals, machine.program.codes[frame.function].locals.index(name)


def _load(machine: Machine) -> Machine:
    return Machine.load(machine.program, machine.dump())


def test_a_state_in_which_a_region_shares_a_list_with_its_surroundings_is_refused(kit: Any) -> None:
    machine = _until(kit, SHARED, "stream.first")
    _load(machine)
    values, at = _slot(machine, 1, "out")
    public, out = _slot(machine, 0, "out")
    values[at] = public[out]
    with pytest.raises(SnapshotInvalid, match="two worlds share"):
        _load(machine)


def test_a_state_in_which_a_region_shares_what_a_box_holds_is_refused(kit: Any) -> None:
    machine = _until(kit, SHARED, "stream.first")
    values, at = _slot(machine, 1, "out")
    public, old = _slot(machine, 0, "old")
    values[at] = machine.open(public[old])
    with pytest.raises(SnapshotInvalid, match="two worlds share"):
        _load(machine)


def test_a_box_that_has_a_later_ones_identity_gets_nothing_of_it(kit: Any) -> None:
    machine = _until(kit, SHARED, "log.note")
    run = machine.runs[0]
    public, at = _slot(machine, 0, "old")
    later = digest_parts("box", run.id, (run.operation + 1).to_bytes(8, "big"))  # stream.open, then the region
    run.boxes = {later: run.boxes[public[at].id]}
    public[at] = Box(later, Label.of())
    machine, host = _load(machine), kit.Host()
    while (effect := machine.asked) is None or effect.name != "release.count":
        if effect is not None:
            host.answer(machine, effect)
        machine.run(10**7)
    assert not effect.args["box"].label.names
    assert isinstance(machine.open(effect.args["box"]), RegionError)


@pytest.mark.parametrize("place", ["item", "content", "stack", "default"])
def test_a_shared_variable_is_no_value(kit: Any, place: str) -> None:
    machine = kit.start(
        """
@continuation
def main():
    s = 1
    x = [1]
    def f(d=x):
        nonlocal s
        s += 1
    log.note("a")
    return [f(), x[0], s]
"""
    )
    machine.run(10**6)
    _load(machine)
    frame = machine.runs[0].frames[0]
    cell = next(value for value in frame.locals if type(value) is Cell)
    values, x = _slot(machine, 0, "x")
    function = values[_slot(machine, 0, "f")[1]]
    if place == "item":
        values[x][0] = cell
    elif place == "content":
        cell.content = Cell(5)
    elif place == "stack":
        frame.stack.append(cell)
    else:
        function.defaults = (cell,)
    with pytest.raises(SnapshotInvalid):
        _load(machine)


def test_a_child_that_would_begin_with_a_continuation_that_waits_for_nothing_is_refused(kit: Any) -> None:
    source = """
def helper():
    return here()
@continuation
def main():
    k = helper()
    if k is None:
        return 7
    t = fork(fuel=20000, memory=200000)
    if t is None:
        return spawn(k, 5, fuel=1000, memory=10000)
    return 1
"""
    machine = kit.start(source)
    machine.run(10**6)
    assert machine.asked is not None
    assert machine.asked.name == "task.spawn"
    _load(machine)
    frame = machine.asked.args["child"].frames[0]
    at = machine.program.codes[frame.function].locals.index("k")
    kept = frame.locals[at]
    kept.frames[-1].stack.append(None)
    kept.waiting = False
    values, at = _slot(machine, 0, "k")
    values[at] = None
    with pytest.raises(SnapshotInvalid, match="waits for nothing"):
        _load(machine)


TAKEN = """
def mk():
    return 1
def kid(b):
    return b
def nothing():
    return 1
def inside(rows):
    b, c = stream.batch(rows, stream.first(rows), 9)
    if b["rows"] == 5:
        for i in range(40):
            private(nothing, fuel=10, memory=50000)
    return 1
@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    b = private(mk, fuel=1000, memory=400000)
    t = spawn(kid, b, fuel=10000, memory=410000)
    b = None
    private(inside, rows, fuel=10000, memory=200000)
    keep = "x" * 500000
    c = join(t)
    log.note("joined")
    return c
"""


@pytest.mark.parametrize("memory", [1_200_000, 1_400_000, 1_500_000, 1_700_000, 3_400_000])
def test_what_a_box_costs_that_comes_back_depends_on_no_region_and_on_no_storing(kit: Any, memory: int) -> None:
    ends = set()
    for rows in (3, 5):
        for stored in (False, True):
            machine, host = kit.start(TAKEN, memory=memory), kit.Host(rows=rows)
            child: Machine | None = None
            while not isinstance(progress := machine.run(10**7), Done | Failed):
                assert machine.asked is not None
                if machine.asked.name == "task.spawn":
                    child = machine.child()
                    child.run(10**7)
                    machine.resume(Handle("task", child.run_id, Label.of()))
                elif machine.asked.name == "task.join":
                    assert child is not None
                    machine = _load(machine) if stored else machine
                    machine.take(child)
                else:
                    host.answer(machine, machine.asked)
            code = progress.code if isinstance(progress, Failed) else "done"
            ends.add((code, machine.fuel_left, machine.memory_left, str(host.released)))
    assert len(ends) == 1
    assert ends.pop()[0] in ("done", "memory")


@pytest.mark.parametrize(
    ("made", "long"),
    [
        ('f"{s}{s}{s}{s}{s}{s}{s}{s}"', '"x" * 1000000'),
        ('s.join(["", "", "", "", "", "", "", "", ""])', '"x" * 1000000'),
        ('s.split(",")', '"a," * 200000'),
    ],
)
def test_a_text_is_paid_for_before_it_is_made(kit: Any, made: str, long: str) -> None:
    source = f"""
@continuation
def main():
    s, big = "ab", {long}
    for i in range(3001):
        if i == 3000:
            s = big
        t = {made}
    return len(t)
"""
    program = kit.program_of(source)
    ends = []
    for projection in (True, False):
        machine = Machine.start(program, "main", [], kit.RUN, 10**7, 4_000_000, projection=projection)
        progress = machine.run(10**8)
        assert isinstance(progress, Failed)
        assert progress.code == "memory"
        ends.append((progress, machine.fuel_left, machine.memory_left))
    assert ends[0] == ends[1]
