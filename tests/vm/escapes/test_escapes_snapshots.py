"""Snapshots made by hand: refused, or a state whose run ends as documented, in its bounds, with only values in it.

What a snapshot says of budgets and labels cannot be checked against anything but itself: whoever stores one vouches for
it (see the limitations). What is checked is that a state is consistent, and that no state breaks the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sojourn.codec import HEADER_BYTES
from sojourn.errors import DecodeError, SnapshotInvalid
from sojourn.labels import PUBLIC, Label
from sojourn.limits import MAX_FUEL, MAX_MEMORY_BYTES
from sojourn.vm import Failed, Handle, Machine, Parked, RecordValue

RUNS, PENDING, DONE, FAILED, CELLS = 2, 3, 4, 5, 6
ID, SOURCES, OPERATION, FUEL, MEMORY, LIMIT, FRAMES = range(7)
INT, STR, TUPLE, LIST, DICT, RANGE, RECORD, HANDLE, BOX, VIEW, ITER, SET, CELL, FUNCTION, BUILTIN, EXC, SUSPENDED = (
    1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
)  # fmt: skip
FIRST = 4  # the reference of the first cell

SOURCE = """
def body(rows, items):
    cursor = stream.first(rows)
    return [cursor, items]

def other(a, b):
    return a

def share(n):
    def inner(k=[1]):
        return n
    return inner

@continuation
def main(record):
    rows = stream.open("patients", fields=["x"])
    items, spans, pairs = [1, 2], range(3), {"k": (1, (2,))}
    walk, view, members = iter([1, 2]), pairs.items(), {5, 6}
    raised, f, b, now = None, share(7), len, here()
    try:
        [][1]
    except IndexError as e:
        raised = e
    first = private(body, rows, items, fuel=2000, memory=20_000)
    second = private(body, rows, items, fuel=2000, memory=20_000)
    log.note("public")
    for item in items:
        for key in walk:
            total = f() + item + b(members)
    task = spawn(f, fuel=500, memory=9_000)
    log.note(str([record.args, list(view), list(spans)]))
    if raised is None:
        raise raised
    release.count(first, of="n", name="n", high=3)
    return [first, second, items, total]
"""
Raw = list[Any]
Edit = Callable[[Raw], None]


def answer(machine: Machine, effect: Any) -> None:
    """A host that gives back what is least of use."""
    results = {"stream.open": Handle("stream", b"r", Label.of("clinic/patients")),
               "stream.first": Handle("cursor", effect.occurrence.run[:9], effect.label)}  # fmt: skip
    if effect.name == "task.spawn":
        machine.child()
        machine.resume(Handle("task", b"t", PUBLIC))
    else:
        machine.resume(results.get(effect.name))


@pytest.fixture(scope="module")
def states() -> dict[str, bytes]:
    return {}


def state(kit: Any, states: dict[str, bytes], at: str, occurrence: int = 0) -> tuple[Any, bytes]:
    """The program, and its state where an effect is pending for the first or a later time; `end` is behind all."""
    program = kit.program_of(SOURCE)
    if not states:
        args = [RecordValue("order", {"args": {"k": 1}, "round": 3})]
        machine = Machine.start(program, "main", args, kit.RUN, 100_000, 1_000_000)
        while isinstance(progress := machine.run(10**6), Parked):
            count = sum(key.startswith(progress.effect.name) for key in states)
            states[f"{progress.effect.name}{count}"] = machine.dump()
            answer(machine, progress.effect)
        states["end0"] = machine.dump()
    return program, states[f"{at}{occurrence}"]


def cells(raw: Raw, tag: int) -> list[Any]:
    found = [cell for cell in raw[CELLS] if cell[0] == tag]
    assert found
    return found


def ref(raw: Raw, cell: Any) -> int:
    return FIRST + next(k for k, row in enumerate(raw[CELLS]) if row is cell)


def add(raw: Raw, cell: Raw) -> int:
    raw[CELLS].append(cell)
    return FIRST + len(raw[CELLS]) - 1


def top(raw: Raw) -> Raw:
    return raw[RUNS][-1][FRAMES][-1]


def local(raw: Raw, cell: Raw, position: int = 2) -> None:
    """Put a new cell into a local of the last frame."""
    top(raw)[2][position] = add(raw, cell)


def box_of(raw: Raw, value: int, name: bytes = b"f" * 32, sources: tuple[str, ...] = ()) -> Raw:
    return [BOX, name, list(sources), 100, value, None]


# Where, what is done to the state, and whether it is refused or may run.
FORGED: dict[str, tuple[str, int, Edit, str]] = {
    # handles and labels
    "region with no label": ("stream.first", 0, lambda s: s[RUNS][1].__setitem__(SOURCES, []), "refused"),
    "region with another label": ("stream.first", 0, lambda s: s[RUNS][1].__setitem__(SOURCES, ["a/b"]), "refused"),
    "public world with a label": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(SOURCES, ["a/b"]), "refused"),
    "sources out of order": ("log.note", 0, lambda s: cells(s, HANDLE)[0].__setitem__(3, ["b", "a"]), "refused"),
    "source of no name": ("log.note", 0, lambda s: cells(s, HANDLE)[0].__setitem__(3, [""]), "refused"),
    "foreign handle in the region": (
        "stream.first", 0, lambda s: local(s, [HANDLE, "tensor", b"x", ["other/stream"]]), "refused",
    ),
    "foreign handle in an effect of the region": (
        "stream.first", 0, lambda s: s[PENDING][2].__setitem__(0, add(s, [HANDLE, "stream", b"x", ["other/s"]])),
        "refused",
    ),
    "handle of an unknown kind": ("log.note", 0, lambda s: cells(s, HANDLE)[0].__setitem__(1, "pickle"), "refused"),
    "handle without an identity": ("log.note", 0, lambda s: cells(s, HANDLE)[0].__setitem__(2, b""), "refused"),
    "one identity, two labels": (
        "log.note", 0, lambda s: local(s, [HANDLE, "stream", b"r", []]), "refused",
    ),
    "private handle in a public effect": (
        "log.note", 0, lambda s: s[PENDING][2].__setitem__(0, ref(s, cells(s, HANDLE)[0])), "refused",
    ),
    # boxes
    "box without a label around a private handle": (
        "log.note", 0, lambda s: cells(s, BOX)[0].__setitem__(2, []), "refused",
    ),
    "box in a box": ("log.note", 0, lambda s: local(s, box_of(s, ref(s, cells(s, BOX)[0]))), "refused"),
    "box in itself": ("log.note", 0, lambda s: local(s, box_of(s, FIRST + len(s[CELLS]))), "refused"),
    "function in a box": ("log.note", 0, lambda s: local(s, box_of(s, ref(s, cells(s, FUNCTION)[0]))), "refused"),
    "iterator in a box": ("log.note", 0, lambda s: local(s, box_of(s, ref(s, cells(s, ITER)[0]))), "refused"),
    "cell in a box": ("log.note", 0, lambda s: local(s, box_of(s, ref(s, cells(s, CELL)[0]))), "refused"),
    "exception in a box": ("log.note", 0, lambda s: local(s, box_of(s, ref(s, cells(s, EXC)[0]))), "refused"),
    "continuation in a box": ("log.note", 0, lambda s: local(s, box_of(s, ref(s, cells(s, SUSPENDED)[0]))), "refused"),
    "two boxes of one content": (
        "log.note", 0, lambda s: cells(s, BOX)[1].__setitem__(4, cells(s, BOX)[0][4]), "refused",
    ),
    "two boxes of one identity": (
        "log.note", 0, lambda s: cells(s, BOX)[1].__setitem__(1, cells(s, BOX)[0][1]), "refused",
    ),
    "box that costs nothing": ("log.note", 0, lambda s: cells(s, BOX)[0].__setitem__(3, 0), "refused"),
    "box that costs less than nothing": ("log.note", 0, lambda s: cells(s, BOX)[0].__setitem__(3, -9), "refused"),
    "box of an error that there is not": (
        "log.note", 0, lambda s: local(s, [*box_of(s, 0)[:5], ["SystemExit", "", "SystemExit", 1]]), "refused",
    ),
    "box of public text": ("log.note", 0, lambda s: local(s, box_of(s, add(s, [STR, "forged"]))), "runs or refused"),
    "box in an effect that takes none": (
        "log.note", 0, lambda s: s[PENDING][2].__setitem__(0, ref(s, cells(s, BOX)[0])), "refused",
    ),
    "box in an effect of a region": (
        "stream.first", 1, lambda s: s[PENDING][2].__setitem__(0, ref(s, cells(s, BOX)[0])), "refused",
    ),
    "release of what is no box": ("release.count", 0, lambda s: s[PENDING][2].__setitem__(0, 1), "refused"),
    "release under a private name": (
        "release.count", 0, lambda s: s[PENDING][2].__setitem__(2, ref(s, cells(s, BOX)[0])), "refused",
    ),
    # budgets and identities
    "more fuel than any run": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(FUEL, MAX_FUEL + 1), "refused"),
    "less fuel than none": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(FUEL, -1), "refused"),
    "more memory than its limit": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(MEMORY, 10**7), "refused"),
    "limit beyond any": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(LIMIT, MAX_MEMORY_BYTES + 1), "refused"),
    "limit below what lives": (
        "log.note", 0, lambda s: (s[RUNS][0].__setitem__(MEMORY, 0), s[RUNS][0].__setitem__(LIMIT, 10)), "runs",
    ),
    "no fuel": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(FUEL, 0), "runs"),
    "operation before the first": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(OPERATION, 0), "refused"),
    "operation below none": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(OPERATION, -1), "refused"),
    "operation beyond any": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(OPERATION, 2**62 + 1), "refused"),
    "short identity": ("log.note", 0, lambda s: s[RUNS][0].__setitem__(ID, b"x"), "refused"),
    "region of another occurrence": ("stream.first", 0, lambda s: s[RUNS][0].__setitem__(OPERATION, 9), "refused"),
    "region of another run": ("stream.first", 0, lambda s: s[RUNS][0].__setitem__(ID, b"z" * 32), "refused"),
    # the stack of regions
    "region taken away": ("stream.first", 0, lambda s: s[RUNS].pop(), "refused"),
    "region put twice": ("stream.first", 0, lambda s: s[RUNS].append(s[RUNS][1]), "refused"),
    "regions beyond the depth": ("stream.first", 0, lambda s: s[RUNS].extend([s[RUNS][1]] * 20), "refused"),
    "region without the world around it": ("stream.first", 0, lambda s: s[RUNS].pop(0), "refused"),
    "worlds in the other order": ("stream.first", 0, lambda s: s[RUNS].reverse(), "refused"),
    "no runs": ("log.note", 0, lambda s: s[RUNS].clear(), "refused"),
    "public effect in the region": ("stream.first", 0, lambda s: s[PENDING].__setitem__(0, "log.note"), "refused"),
    "region of another function": ("stream.first", 0, lambda s: top(s).__setitem__(0, 1), "refused"),
    # frames
    "frame of no function": ("log.note", 0, lambda s: top(s).__setitem__(0, 99), "refused"),
    "frame below the first function": ("log.note", 0, lambda s: top(s).__setitem__(0, -1), "refused"),
    "frame in the middle of an expression": ("log.note", 0, lambda s: top(s).__setitem__(1, 3), "refused"),
    "frame behind the end": ("log.note", 0, lambda s: top(s).__setitem__(1, 10**6), "refused"),
    "frame before the beginning": ("log.note", 0, lambda s: top(s).__setitem__(1, -1), "refused"),
    "frames beyond the depth": ("log.note", 0, lambda s: s[RUNS][0][FRAMES].extend([top(s)] * 1001), "refused"),
    "frames that do not call each other": ("log.note", 0, lambda s: s[RUNS][0][FRAMES].append(top(s)), "refused"),
    "stack with a value too many": ("log.note", 0, lambda s: top(s)[3].append(1), "refused"),
    "local that is not there": ("log.note", 0, lambda s: top(s)[2].append(1), "refused"),
    "value where a cell is due": ("log.note", 0, lambda s: top(s)[2].__setitem__(0, -5), "refused"),
    "reference to the cell behind the last": (
        "log.note", 0, lambda s: top(s)[2].__setitem__(2, FIRST + len(s[CELLS])), "refused",
    ),
    # children and continuations
    "child without frames": ("task.spawn", 0, lambda s: cells(s, SUSPENDED)[-1].__setitem__(1, []), "refused"),
    "child that waits": ("task.spawn", 0, lambda s: cells(s, SUSPENDED)[-1].__setitem__(2, True), "refused"),
    "child with more fuel than any": (
        "task.spawn", 0, lambda s: s[PENDING][2].__setitem__(1, add(s, [INT, (10**13).to_bytes(6, "big")])), "refused",
    ),
    "child with no memory to begin in": (
        "task.spawn", 0, lambda s: s[PENDING][2].__setitem__(2, add(s, [INT, b"\x4d"])), "child or refused",
    ),
    "continuation that waits for nothing": (
        "log.note", 0, lambda s: cells(s, SUSPENDED)[0].__setitem__(2, False), "refused",
    ),
    "continuation of frames beyond the depth": (
        "log.note", 0, lambda s: cells(s, SUSPENDED)[0].__setitem__(1, cells(s, SUSPENDED)[0][1] * 1001), "refused",
    ),
    # values
    "tuple that holds itself": (
        "log.note", 0, lambda s: cells(s, TUPLE)[0][1].__setitem__(0, ref(s, cells(s, TUPLE)[0])), "refused",
    ),
    "range of ranges": (
        "log.note", 0, lambda s: cells(s, RANGE)[0].__setitem__(1, ref(s, cells(s, RANGE)[0])), "refused",
    ),
    "range without a step": (
        "log.note", 0, lambda s: cells(s, RANGE)[0].__setitem__(3, add(s, [INT, b"\0"])), "refused",
    ),
    "view of a list": ("log.note", 0, lambda s: cells(s, VIEW)[0].__setitem__(2, ref(s, cells(s, LIST)[0])), "refused"),
    "view of an unknown kind": ("log.note", 0, lambda s: cells(s, VIEW)[0].__setitem__(1, 7), "refused"),
    "iterator of an unknown kind": ("log.note", 0, lambda s: cells(s, ITER)[0].__setitem__(1, 9), "refused"),
    "iterator with a name of its own": (
        "log.note", 0, lambda s: cells(s, ITER)[0].__setitem__(2, "generator"), "refused",
    ),
    "iterator far behind its list": ("log.note", 0, lambda s: cells(s, ITER)[0].__setitem__(5, 2**61), "runs"),
    "iterator before its list": ("log.note", 0, lambda s: cells(s, ITER)[0].__setitem__(5, -1), "refused"),
    "iterator of iterators of itself": (
        "log.note", 0, lambda s: cells(s, ITER)[0].__setitem__(6, [ref(s, cells(s, ITER)[0])]), "refused",
    ),
    "iterator over a function": (
        "log.note", 0, lambda s: cells(s, ITER)[0].__setitem__(3, ref(s, cells(s, FUNCTION)[0])), "refused",
    ),
    "dict with a list as a key": (
        "log.note", 0, lambda s: cells(s, DICT)[0][1].__setitem__(0, ref(s, cells(s, LIST)[0])), "refused",
    ),
    "dict with a key twice": (
        "log.note", 0, lambda s: (cells(s, DICT)[0][1].append(cells(s, DICT)[0][1][0]), cells(s, DICT)[0][2].append(1)),
        "refused",
    ),
    "dict with more keys than values": ("log.note", 0, lambda s: cells(s, DICT)[0][1].append(1), "refused"),
    "set with a member twice": (
        "log.note", 0, lambda s: cells(s, SET)[0][1].append(cells(s, SET)[0][1][0]), "refused",
    ),
    "set with a box": ("log.note", 0, lambda s: cells(s, SET)[0][1].append(ref(s, cells(s, BOX)[0])), "refused"),
    "record that holds itself": (
        "log.note", 0, lambda s: cells(s, RECORD)[0][3].__setitem__(0, ref(s, cells(s, RECORD)[0])), "runs or refused",
    ),
    "record with a field that is no name": (
        "log.note", 0, lambda s: cells(s, RECORD)[0][2].__setitem__(0, "x\nimport os"), "refused",
    ),
    "record with a dunder field": ("log.note", 0, lambda s: cells(s, RECORD)[0][2].__setitem__(1, "__class__"), "runs"),
    "record of a class of no name": ("log.note", 0, lambda s: cells(s, RECORD)[0].__setitem__(1, ""), "refused"),
    "integer written long": ("log.note", 0, lambda s: cells(s, INT)[0].__setitem__(1, bytes(9)), "refused"),
    "number that is another not-a-number": (
        "log.note", 0, lambda s: local(s, [2, msgspec.msgpack.decode(b"\xcb\x7f\xf8\0\0\0\0\0\x01")]), "refused",
    ),
    "function that there is not": ("log.note", 0, lambda s: cells(s, FUNCTION)[0].__setitem__(1, 99), "refused"),
    "function of other variables": ("log.note", 0, lambda s: cells(s, FUNCTION)[0].__setitem__(3, []), "refused"),
    "function that shares a number": ("log.note", 0, lambda s: cells(s, FUNCTION)[0].__setitem__(3, [1]), "refused"),
    "builtin that there is not": ("log.note", 0, lambda s: cells(s, BUILTIN)[0].__setitem__(1, 500), "refused"),
    "exception that there is not": ("log.note", 0, lambda s: cells(s, EXC)[0].__setitem__(1, "SystemExit"), "refused"),
    "exception of no arguments": ("log.note", 0, lambda s: cells(s, EXC)[0].__setitem__(2, 1), "refused"),
    "exception that holds itself": (
        "log.note", 0, lambda s: cells(s, EXC)[0].__setitem__(2, add(s, [TUPLE, [ref(s, cells(s, EXC)[0])]])),
        "runs or refused",
    ),
    "cell that holds itself": (
        "log.note", 0, lambda s: cells(s, CELL)[0].__setitem__(1, ref(s, cells(s, CELL)[0])), "runs or refused",
    ),
    "cell as an item of a list": (
        "log.note", 0, lambda s: cells(s, LIST)[0][1].__setitem__(0, ref(s, cells(s, CELL)[0])), "runs or refused",
    ),
    # ends
    "ended, and still frames": (
        "log.note", 0, lambda s: (s.__setitem__(PENDING, None), s.__setitem__(DONE, 1)), "refused",
    ),
    "waiting and ended": ("log.note", 0, lambda s: s.__setitem__(DONE, 1), "refused"),
    "failed with a code of its own": ("end", 0, lambda s: s.__setitem__(FAILED, ["os", 1, ""]), "refused"),
    "ended with a function": (
        "log.note", 0,
        lambda s: (s.__setitem__(PENDING, None), s[RUNS][0].__setitem__(FRAMES, []),
                   s.__setitem__(DONE, ref(s, cells(s, FUNCTION)[0]))), "refused",
    ),
    "effect pending where none stands": (
        "end", 0, lambda s: s.__setitem__(PENDING, ["log.note", ["text"], [1]]), "refused",
    ),
    "effect of a host's own": ("log.note", 0, lambda s: s[PENDING].__setitem__(0, "os.system"), "refused"),
    "effect with other parameters": ("log.note", 0, lambda s: s[PENDING].__setitem__(1, ["rows"]), "refused"),
    "effect with too few arguments": ("log.note", 0, lambda s: s[PENDING][2].pop(), "refused"),
    "effect of a function": (
        "log.note", 0, lambda s: s[PENDING][2].__setitem__(0, ref(s, cells(s, FUNCTION)[0])), "refused",
    ),
    "cell that nothing refers to": ("log.note", 0, lambda s: s[CELLS].append([STR, "unused"]), "refused"),
    "cells in another order": ("log.note", 0, lambda s: s[CELLS].reverse(), "refused"),
    "another program": ("log.note", 0, lambda s: s.__setitem__(1, b"p" * 32), "refused"),
    "another contract": ("log.note", 0, lambda s: s.__setitem__(0, 2), "refused"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_forged(kit: Any, escapes: Any, states: dict[str, bytes], name: str) -> None:
    at, occurrence, edit, expected = FORGED[name]
    program, data = state(kit, states, at, occurrence)
    raw = msgspec.msgpack.decode(data[HEADER_BYTES:])
    edit(raw)
    forged = data[:HEADER_BYTES] + msgspec.msgpack.encode(raw)
    assert forged != data
    begin = time.process_time()
    try:
        machine = Machine.load(program, forged)
    except (SnapshotInvalid, DecodeError):
        assert "refused" in expected
    else:
        assert "runs" in expected or "child" in expected
        assert machine.dump() == forged
        escapes.only_values(machine)
        if "child" in expected:
            assert isinstance(machine.child().run(1), Failed)
        else:
            assert machine.pending is not None
            answer(machine, machine.pending)
            escapes.drive(machine, answer)
    assert time.process_time() - begin < escapes.SECOND


def renumbered(raw: Raw) -> Raw:
    """The state with its cells in the order in which a walk meets them: what a careful forger would write."""
    order: list[int] = []

    def moved(number: int) -> int:
        if number < FIRST:
            return number
        if number not in order:
            order.append(number)
        return FIRST + order.index(number)

    def frames(rows: Raw) -> Raw:
        return [[row[0], row[1], [moved(r) for r in row[2]], [moved(r) for r in row[3]]] for row in rows]

    fields: dict[int, Callable[[Raw], Raw]] = {
        TUPLE: lambda c: [c[0], [moved(r) for r in c[1]]],
        LIST: lambda c: [c[0], [moved(r) for r in c[1]]],
        SET: lambda c: [c[0], [moved(r) for r in c[1]]],
        DICT: lambda c: [c[0], [moved(r) for r in c[1]], [moved(r) for r in c[2]]],
        RANGE: lambda c: [c[0], *(moved(r) for r in c[1:])],
        RECORD: lambda c: [*c[:3], [moved(r) for r in c[3]]],
        BOX: lambda c: [*c[:4], moved(c[4]), c[5]],
        VIEW: lambda c: [c[0], c[1], moved(c[2])],
        CELL: lambda c: [c[0], moved(c[1])],
        EXC: lambda c: [c[0], c[1], moved(c[2]), c[3]],
        FUNCTION: lambda c: [c[0], c[1], [moved(r) for r in c[2]], [moved(r) for r in c[3]]],
        SUSPENDED: lambda c: [c[0], frames(c[1]), c[2]],
    }

    def iterator(c: Raw) -> Raw:
        keys, inner = [moved(r) for r in c[4]], [moved(r) for r in c[6]]
        return [*c[:3], moved(c[3]), keys, c[5], inner]

    fields[ITER] = iterator
    made = list(raw)
    made[RUNS] = [[*run[:FRAMES], frames(run[FRAMES])] for run in raw[RUNS]]
    if raw[PENDING] is not None:
        made[PENDING] = [*raw[PENDING][:2], [moved(r) for r in raw[PENDING][2]]]
    made[DONE] = moved(raw[DONE])
    made[CELLS] = []
    position = 0
    while position < len(order):
        cell = raw[CELLS][order[position] - FIRST]
        made[CELLS].append(fields.get(cell[0], lambda c: c)(cell))
        position += 1
    return made


def test_renumbering_is_what_the_machine_does(kit: Any, states: dict[str, bytes]) -> None:
    _, data = state(kit, states, "log.note")
    raw = msgspec.msgpack.decode(data[HEADER_BYTES:])
    assert renumbered(raw) == raw


@pytest.mark.parametrize("name", FORGED)
def test_forged_with_care(kit: Any, escapes: Any, states: dict[str, bytes], name: str) -> None:
    """The same forgeries in canonical form: what is refused is refused for what it is, not for how it is written."""
    at, occurrence, edit, expected = FORGED[name]
    program, data = state(kit, states, at, occurrence)
    raw = msgspec.msgpack.decode(data[HEADER_BYTES:])
    edit(raw)
    try:
        forged = data[:HEADER_BYTES] + msgspec.msgpack.encode(renumbered(raw))
    except (IndexError, TypeError):
        return  # a reference to nothing has no canonical form
    try:
        machine = Machine.load(program, forged)
    except (SnapshotInvalid, DecodeError):
        assert expected.endswith("refused")
        assert not expected.startswith("child")
        return
    assert not expected.startswith("refused") or name in UNSEEN
    escapes.only_values(machine)
    if expected.startswith("child"):
        assert isinstance(machine.child().run(1), Failed)
        return
    if machine.pending is not None:
        answer(machine, machine.pending)
    escapes.drive(machine, answer)


# In canonical form these are no forgeries: what made them wrong is how they were written.
UNSEEN = frozenset(("cell that nothing refers to", "cells in another order", "value where a cell is due"))
