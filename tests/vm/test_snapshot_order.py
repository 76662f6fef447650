"""Loading accepts exactly the bytes that dumping what was loaded gives back.

`restore` dumps nothing: it looks whether the cells stand as they would be written. Here it is held against dumping,
which is slow and needs no rules: on lists of cells that are equal or only look so, and on changed snapshots, many of
which are still states, written in another form.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sojourn.codec import HEADER_BYTES, decode
from sojourn.errors import DecodeError, SnapshotInvalid
from sojourn.limits import MAX_SNAPSHOT_BYTES
from sojourn.vm import Done, Machine, Parked, RecordValue, VerifiedProgram, verify
from sojourn.vm.cells import Cells
from sojourn.vm.restore import _Loader
from sojourn.vm.snapshot import FIRST_CELL, Snapshot, dump

GOLDEN = Path(__file__).parent / "golden"
NAN = float("nan")
SOURCE = """
@continuation
def main(given):
    x = []
    log.note("n")
    return [x, given]
"""
BOXES = """
def inner(n):
    return [n, (0.5, n)]

@continuation
def main():
    kept = None
    try:
        [].remove(1)
    except ValueError as error:
        kept = error
    made = [private(inner, 3, fuel=1000, memory=5000), private(inner, 4, fuel=1000, memory=5000)]
    failed, own = private(inner, 3, fuel=1, memory=5000), []
    later = [[], here()]
    log.note("n")
    return [made, failed]
"""
# Where references are in a cell, by its tag; of a continuation (19) they are in frames.
PLACES = {5: [1], 6: [1], 7: [1, 2], 8: [1, 2, 3], 9: [3], 11: [4], 12: [2], 13: [3, 4, 6], 14: [1], 15: [1],
          16: [2, 3], 18: [2]}  # fmt: skip

Slot = tuple[list[Any], int]


def tree_of(data: bytes) -> list[Any]:
    tree: list[Any] = msgspec.msgpack.decode(data[HEADER_BYTES:])
    return tree


def bytes_of(data: bytes, tree: list[Any]) -> bytes:
    return data[:HEADER_BYTES] + msgspec.msgpack.encode(tree)


def loads(program: VerifiedProgram, data: bytes) -> bool:
    """Whether the machine takes these bytes as a state."""
    try:
        Machine.load(program, data)
    except (DecodeError, SnapshotInvalid):
        return False
    return True


def rewritten(program: VerifiedProgram, data: bytes) -> bytes | None:
    """What dumping the state gives; None for bytes that are no state at all, in whatever form."""
    try:
        snapshot = decode(Snapshot, data, limit=MAX_SNAPSHOT_BYTES)
        return dump(_Loader(program, snapshot, Cells(snapshot.cells, program.codes)).machine())
    except (DecodeError, SnapshotInvalid):
        return None


def slots(tree: list[Any]) -> list[Slot]:
    """Every place of a reference."""
    found: list[Slot] = [(tree, 4)]
    frames = [frame for run in tree[2] for frame in run[6]]
    lists = [tree[3][2]] if tree[3] else []
    for cell in tree[6]:
        frames += cell[1] if cell[0] == 19 else []
        for place in PLACES.get(cell[0], ()):
            if isinstance(cell[place], list):
                lists.append(cell[place])
            else:
                found.append((cell, place))
    lists += [part for frame in frames for part in frame[2:]]
    return found + [(items, k) for items in lists for k in range(len(items))]


def renumber(tree: list[Any], numbers: dict[int, int]) -> None:
    for owner, place in slots(tree):
        owner[place] = numbers.get(owner[place], owner[place])


# What the items of a list are, as cells, and whether the list can be written like that.
ITEMS: dict[str, tuple[list[Any], bool]] = {
    "nothing": ([], True),
    "one of each": ([[1, b"\x07"], [2, 7.0], [3, "7"], [4, b"7"], [5, []], [17, 0], [10, "task", b"7", []]], True),
    "an integer twice": ([[1, b"\x07"], [1, b"\x07"]], False),
    "a number twice": ([[2, 0.5], [2, 0.5]], False),
    "both zeros": ([[2, 0.0], [2, -0.0]], True),
    "not-a-number twice": ([[2, NAN], [2, NAN]], False),
    "text twice": ([[3, "7"], [3, "7"]], False),
    "text as the digits of a number": ([[2, 1.0], [3, (1.0).hex()]], True),
    "bytes twice": ([[4, b"7"], [4, b"7"]], False),
    "a builtin twice": ([[17, 0], [17, 0]], False),
    "the empty tuple twice": ([[5, []], [5, []]], False),
    "equal tuples": ([[5, [2]], [5, [2]]], True),
    "equal lists": ([[6, []], [6, []]], True),
    "a handle twice": ([[10, "task", b"h", []], [10, "task", b"h", []]], False),
    "handles of one id": ([[10, "task", b"h", []], [10, "state", b"h", ["a/b"]]], False),
    "a handle and its id": ([[10, "task", b"h", []], [4, b"h"]], True),
}  # fmt: skip


@pytest.mark.parametrize("name", ITEMS)
def test_what_is_equal_by_value_has_one_cell(kit: Any, name: str) -> None:
    cells, written = ITEMS[name]
    machine = kit.start(SOURCE, None)
    assert isinstance(machine.run(1000), Parked)
    data = machine.dump()
    tree = tree_of(data)
    before = FIRST_CELL + len(tree[6])
    tree[6][0][1] = list(range(before, before + len(cells)))
    tree[6] += cells
    data = bytes_of(data, tree)
    assert (rewritten(machine.program, data) == data) is written
    if written:
        assert Machine.load(machine.program, data).dump() == data
        return
    with pytest.raises(SnapshotInvalid, match="not the form in which this state is written"):
        Machine.load(machine.program, data)


def changes(tree: list[Any], draw: random.Random) -> None:
    """One change that may leave a state: of the order, the sharing or the reach of cells."""
    cells, places = tree[6], slots(tree)
    count = len(cells)
    if not count:
        return
    one, other = draw.randrange(count), draw.randrange(count)
    owner, place = draw.choice(places)
    change = draw.randrange(6)
    if change == 0:  # two cells change places
        cells[one], cells[other] = cells[other], cells[one]
        renumber(tree, {one + FIRST_CELL: other + FIRST_CELL, other + FIRST_CELL: one + FIRST_CELL})
    elif change == 1:  # a cell that nothing refers to, or only itself
        cells.append(draw.choice([cells[one], [6, [FIRST_CELL + count]], [5, []], [1, b"\x07"]]))
    elif change == 2:  # one of the references to a cell has a copy of its own, the last cell
        target = owner[place] - FIRST_CELL
        if 0 <= target < count:
            cells.append(msgspec.msgpack.decode(msgspec.msgpack.encode(cells[target])))
            owner[place] = FIRST_CELL + count
    elif change == 3:  # another cell
        owner[place] = FIRST_CELL + one
    elif change == 4:  # what always is
        owner[place] = draw.randrange(FIRST_CELL)
    else:  # all that was another cell
        renumber(tree, {one + FIRST_CELL: other + FIRST_CELL})


def states(kit: Any) -> list[tuple[VerifiedProgram, bytes]]:
    found = []
    for path in sorted(GOLDEN.glob("*.program")):
        found.append((verify(path.read_bytes()), path.with_suffix(".snapshot").read_bytes()))
    shared: list[Any] = [0.5, -0.0, (), ((), (0.5,)), {"k": (1, "t"), (2, b"x"): []}, range(3, 9, 2), b"x", "t", 10**30]
    given = RecordValue("order", {"args": shared, "again": shared})
    for machine in (kit.start(SOURCE, given), kit.start(BOXES)):
        assert isinstance(machine.run(10_000), Parked)
        found.append((machine.program, machine.dump()))
    machine.resume(None)
    assert isinstance(machine.run(10_000), Done)
    return [*found, (machine.program, machine.dump())]


def test_loading_takes_what_dumping_gives_back(kit: Any) -> None:
    draw, known, seen = random.Random(0), states(kit), Counter[str]()
    tags = {cell[0] for _, data in known for cell in tree_of(data)[6]}
    assert tags >= set(PLACES) | {19}, tags
    for _ in range(2_500):
        program, data = draw.choice(known)
        tree = tree_of(data)
        for _ in range(draw.choice((1, 1, 2))):
            changes(tree, draw)
        changed = bytes_of(data, tree)
        again = rewritten(program, changed)
        assert loads(program, changed) is (again == changed)
        seen["no state" if again is None else "as written" if again == changed else "in another form"] += 1
        if again is not None:
            assert loads(program, again)
            assert rewritten(program, again) == again
    assert min(seen["no state"], seen["as written"], seen["in another form"]) > 200, seen
