"""Equal long values that a program makes many times: the host keeps one object of each, and nothing shows it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from sojourn.vm import Done, Failed, Machine, Parked, RecordValue, Sliced, compile_source, verify
from sojourn.vm.twins import merge_twins
from sojourn.vm.walking import TWIN_BYTES, Equals, walk

RUN = bytes(32)
MEMORY = 1 << 20

EVERYWHERE = """
@continuation
def main(order):
    long = "a" * 200
    big = 2 ** 900
    raw = b"x" * 200
    def keep():
        held = long + "c"
        def read(extra=long + "c"):
            return held, extra
        return read
    listed = [long + "c", long + "c", big + 1, big + 1, raw + b"y", raw + b"y", "short", "short"]
    nested = ((long + "c", 1), [2], ((long + "c",),), ())
    table = {long + "c": long + "c", 1: nested, (long + "c", 2): 3}
    other = {long + "c": (1, 2), 2: listed}
    members = {long + "c", (long + "c", 5)}
    functions = [keep(), keep()]
    try:
        raise ValueError(long + "c", 7)
    except ValueError as error:
        caught = error
    letters = iter(long + "c")
    next(letters)
    walked = iter(other)
    view = table.items()
    k = here()
    deep = ()
    for _ in range(1500):
        deep = (deep, long + "c")
    log.note("stop")
    depth = 0
    while deep:
        depth += len(deep[1])
        deep = deep[0]
    return (listed, nested, table, other, members, [f() for f in functions], str(caught), list(letters), list(walked),
            len(view), order.weights, depth)
"""

GROWING = {
    "list": "x = []\n    while True:\n        x.append(s + 'b')",
    "tuple": "x = ()\n    while True:\n        x = (x, s + 'b')",
    "keys": "x = []\n    while True:\n        x.append({s + 'b': s + 'c'})",
    "bytes": "x = []\n    s = s.encode()\n    while True:\n        x.append(s + b'b')",
    "integers": "x = []\n    s = 1 << 800_000\n    while True:\n        x.append(s + 1)",
}


def parked() -> Machine:
    """A machine that holds equal long values in every kind of place."""
    order = RecordValue("order", {"weights": "a" * 200 + "c", "round": 1})
    machine = Machine.start(verify(compile_source(EVERYWHERE, "p.py").encode()), "main", [order], RUN, 10**6, 10**7)
    assert isinstance(machine.run(10**6), Parked)
    return machine


def twins_of(machine: Machine) -> int:
    """Bytes of what the host holds once more."""
    equals = Equals()
    assert list(walk(machine.roots(), equals=equals))
    return equals.twins


def test_merging_leaves_one_object_of_each_and_the_same_state() -> None:
    """Before there are many, behind it none, and bytes, budgets and result are those of a run that was left alone."""
    alone, machine = parked(), parked()
    assert twins_of(machine) > 1_500 * TWIN_BYTES
    merge_twins(machine.runs[0])
    assert twins_of(machine) == 0
    assert machine.dump() == alone.dump()
    ends = []
    for each in (alone, machine):
        each.resume(None)
        assert isinstance(each.run(10**6), Done)
        ends.append((each.fuel_left, each.memory_left, each.dump()))
    assert ends[0] == ends[1]


def held_by_host(machine: Machine) -> int:
    """Bytes of the host's objects that the frames reach, each object once."""
    seen: set[int] = set()
    total, work = 0, [value for frame in machine.runs[0].frames for value in (*frame.locals, *frame.stack)]
    while work:
        value = work.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        total += sys.getsizeof(value)
        if isinstance(value, list | tuple):
            work.extend(value)
        elif isinstance(value, dict):
            work.extend((*value, *value.values()))
    return total


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("name", GROWING)
def test_the_host_holds_a_small_multiple_of_the_memory(name: str, projection: bool) -> None:
    """Without merging each of these fills tens of megabytes with values that cost 100 kB once."""
    source = f"@continuation\ndef main():\n    s = 'a' * 100_000\n    {GROWING[name]}\n"
    program = verify(compile_source(source, "p.py").encode())
    fuel = 100_000 if name == "integers" else 1_600_000
    machine = Machine.start(program, "main", [], RUN, fuel, MEMORY, projection=projection)
    most = 0
    while isinstance(end := machine.run(5_000), Sliced):
        most = max(most, held_by_host(machine))
    assert isinstance(end, Failed)
    assert end.code == "fuel"
    assert most < 6 * MEMORY


@pytest.mark.parametrize("name", GROWING)
def test_merging_shows_in_no_budget(name: str) -> None:
    """A run that is stored and loaded now and then holds nothing twice; its counters are those of one that is not."""
    source = f"@continuation\ndef main():\n    s = 'a' * 100_000\n    {GROWING[name]}\n"
    program = verify(compile_source(source, "p.py").encode())

    def counters(*, stored: bool) -> list[Any]:
        machine, found = Machine.start(program, "main", [], RUN, 200_000, MEMORY), []
        while isinstance(machine.run(20_000), Sliced):
            if stored:
                machine = Machine.load(program, machine.dump())
            found.append((machine.fuel_left, machine.memory_left))
        return [*found, machine.outcome]

    assert counters(stored=False) == counters(stored=True)
