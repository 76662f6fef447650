"""No work is free: what the host looks at, compares, steps over or keeps is paid for by fuel and memory.

Work is counted here and not timed: slots that a walk looks at, long values that are hashed, entries that a table of the
host has room for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.errors import MachineError, SnapshotInvalid
from sojourn.labels import Label
from sojourn.vm import Done, Machine, Parked, Sliced, walking
from sojourn.vm.dense import SPARSE_BYTES, SPARSE_ENTRY, deleted, removed
from sojourn.vm.program import TupleConstant
from sojourn.vm.values import Box, Handle, Iter, SetValue, Value
from sojourn.vm.verifier import verify

SLOTS_PER_FUEL = 30  # a count of the live values looks at 26 for one unit where they hold nothing

REFUSED = {
    "limits of a region that are none": """
        try:
            private(f, held, fuel=0, memory=1)
        except TypeError:
            pass
""",
    "region that can pay nothing": """
        private(f, held, fuel=1, memory=1)
""",
    "box to an effect that takes none": """
        try:
            log.note([held, box])
        except TypeError:
            pass
""",
    "release of what is no box": """
        try:
            release.count(held, of="n", name="n", high=10)
        except TypeError:
            pass
""",
    "release under a name that is private": """
        try:
            release.count(box, of="n", name=[held, box], high=10)
        except TypeError:
            pass
""",
    "result that does not leave": """
        try:
            return [held, iter(held)]
        except TypeError:
            pass
""",
    "child that cannot count what it shares": """
        try:
            spawn(k, fuel=300, memory=1_000_000)
        except ValueError:
            pass
""",
    "boxes that nothing holds, beside a large one": """
        private(f, None, fuel=1, memory=1_000_000)
""",
}
LOOP = """
def f(x):
    return x
def kept():
    held = [None] * 50_000
    return here()
def large():
    return [None] * 100_000
@continuation
def main():
    held = [None] * 20_000
    box = private(f, 1, fuel=100, memory=1_000)
    big = private(large, fuel=40_000, memory=6_000_000)
    k = kept()
    log.note("go")
    for _ in range(1_000_000):
"""


def _to_note(machine: Machine, host: Any) -> None:
    while not (isinstance(progress := machine.run(10**7), Parked) and progress.effect.name == "log.note"):
        assert isinstance(progress, Parked)
        host.answer(machine, progress.effect)
    machine.resume(None)


@pytest.mark.parametrize("loop", REFUSED)
def test_what_is_refused_is_looked_at_for_fuel(kit: Any, monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    machine, looked = kit.start(LOOP + REFUSED[loop], fuel=10**9, memory=40_000_000), [0]
    _to_note(machine, kit.Host())
    original = walking.children

    def children(value: Value) -> Iterable[Value]:
        found = original(value)
        looked[0] += len(tuple(found))
        return found

    monkeypatch.setattr(walking, "children", children)
    before = machine.fuel_left
    assert isinstance(machine.run(4_000), Sliced)
    assert looked[0] <= SLOTS_PER_FUEL * (before - machine.fuel_left) + 200_000
    # Looking at what they hold a hundred times would be more than a million.
    assert looked[0] < 1_000_000


@pytest.mark.parametrize("projection", [False, True])
def test_a_long_separator_is_paid_for(kit: Any, projection: bool) -> None:
    source = """
@continuation
def main():
    s, l, n = "x" * 1_000_000, [""] * 20, 0
    log.note("go")
    while n < 10_000:
        s.join(l)
        n += 1
"""
    program = kit.program_of(source)
    machine = Machine.start(program, "main", [], bytes(32), 10**8, 60_000_000, projection=projection)
    _to_note(machine, kit.Host())
    before = machine.fuel_left
    for _ in range(5):
        machine.run(50_000)
    assert before - machine.fuel_left >= 250_000
    frame = machine.runs[0].frames[0]
    n = frame.locals[machine.program.codes[0].locals.index("n")]
    assert n <= (before - machine.fuel_left) * 512 // 19_000_000 + 1


TWINS = """
@continuation
def main():
    x, held = 1 << 4_000, []
    for i in range(3_000):
        held.append(x | 0)
    return len(held)
"""


@pytest.mark.parametrize("projection", [False, True])
def test_a_long_value_is_compared_with_others_once(kit: Any, monkeypatch: pytest.MonkeyPatch, projection: bool) -> None:
    """Live values are counted some two hundred times here; each of the integers is hashed at one count alone."""
    program, hashed, original = kit.program_of(TWINS), [0], walking.by_value

    def by_value(value: Value) -> object:
        hashed[0] += type(value) is int and value.bit_length() > 1_000
        return original(value)

    monkeypatch.setattr(walking, "by_value", by_value)
    machine = Machine.start(program, "main", [], bytes(32), 10**8, 200_000, projection=projection)
    counted = [0]
    live = type(machine.runs[0])._live

    def _live(run: Any) -> int:
        counted[0] += 1
        return live(run)

    monkeypatch.setattr(type(machine.runs[0]), "_live", _live)
    assert machine.run(10**7) == Done(3_000)
    assert counted[0] > 8
    assert hashed[0] <= 2 * 3_000


@given(st.lists(st.tuples(st.sampled_from(("make", "drop", "count")), st.integers(0, 7)), max_size=40))
def test_counting_again_gives_what_counting_anew_gives(steps: list[tuple[str, int]]) -> None:
    equals, held = walking.Equals(), []
    for what, number in steps:
        if what == "make":
            held.append(int("9" * 2_000 + str(number)) if number % 2 else ("ab" * 300) + chr(65 + number))
        elif what == "drop" and held:
            held.pop(number % len(held))
        equals.begin()
        again = list(walking.walk(held, equals=equals))
        equals.end()
        assert again == list(walking.walk(held))
        assert (len(again), equals.twins > 0) == (len(set(held)), len(set(held)) < len(held))


@given(st.integers(0, 3_000), st.booleans(), st.data())
def test_a_dict_that_was_emptied_is_small(count: int, first: bool, data: st.DataObject) -> None:
    mapping = dict.fromkeys(range(count))
    rest = data.draw(st.integers(0, count))
    for key in range(rest) if first else range(count - 1, count - rest - 1, -1):
        del mapping[key]
        deleted(mapping)
    assert list(mapping) == list(range(rest, count) if first else range(count - rest))
    assert mapping.__sizeof__() <= SPARSE_BYTES + SPARSE_ENTRY * len(mapping)


def test_members_that_were_removed_are_stepped_over_a_few_times() -> None:
    """What `pop` steps over, and what is rebuilt instead, added up: near the product without rebuilding."""
    count = 20_000
    owner, stepped, rebuilt = SetValue(dict.fromkeys(range(count))), 0, 0
    for expected in range(count):
        stepped += owner.removed
        member = next(iter(owner.items))
        assert member == expected
        del owner.items[member]
        before = owner.removed
        removed(owner)
        rebuilt += len(owner.items) if owner.removed <= before else 0
    assert stepped + 20 * rebuilt < 2_000 * count  # without rebuilding 10,000 for each


@pytest.mark.parametrize("how", ["del d[k]", "d.pop(k)", "d.popitem()", "s.remove(k)", "s.discard(k)", "s.pop()"])
def test_every_way_to_take_out_keeps_tables_small(kit: Any, how: str) -> None:
    source = f"""
@continuation
def main():
    s = set(range(5_000))
    d = {{}}
    for k in range(5_000):
        d[k] = k
    for k in range(5_000):
        {how}
    {"d[0] = s" if how[0] == "d" else "s.add(0)"}
    log.note("go")
    return s
"""
    machine = kit.start(source, fuel=10**7, memory=10**7)
    assert isinstance(machine.run(10**7), Parked)
    frame = machine.runs[0].frames[0]
    found = [value.items if type(value) is SetValue else value for value in frame.locals]
    tables = [value for value in found if type(value) is dict and len(value) == 1]
    assert tables
    assert all(table.__sizeof__() < 100_000 for table in tables)


HELD = """
def make(n):
    return "x" * n
def kid(x):
    log.note("child")
    return 1
def hold(n):
    big = list(range(n))
    return here()
@continuation
def main():
    box = private(make, 900, fuel=1_000, memory=90_000)
    k = hold(1_000)
    try:
        t = {}
    except ValueError as e:
        return str(e)
    return "begun"
"""


@pytest.mark.parametrize(
    "begun",
    [
        "spawn(kid, box, fuel=10_000, memory={})",
        "spawn(lambda: box, fuel=10_000, memory={})",
        "fork(fuel=10_000, memory={})",
        "spawn(k, fuel=10_000, memory={})",
    ],
)
def test_a_child_pays_for_what_it_shares(kit: Any, begun: str) -> None:
    for memory, expected in ((20_000, "the child's memory does not suffice to begin"), (300_000, "begun")):
        machine, host = kit.start(HELD.format(begun.format(memory)), memory=10**6), kit.Host()
        while isinstance(progress := machine.run(10**7), Parked):
            if progress.effect.name == "task.spawn":
                child = machine.child()
                assert child.memory_left < memory - 40_000
                assert child.runs[0]._live() <= memory - child.memory_left
                machine.resume(Handle("task", child.run_id, Label.of()))
            else:
                host.answer(machine, progress.effect)
        assert progress == Done(expected)


def test_a_child_with_a_box_of_another_label_does_not_come_back(kit: Any) -> None:
    source = """
def one(rows):
    return tensor.item(rows)
def kid(b):
    return b
@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    box = private(one, rows, fuel=1_000, memory=10_000)
    t = spawn(kid, box, fuel=10_000, memory=30_000)
    c = join(t)
    log.note("joined")
    return [box, c]
"""
    machine, host, child = kit.start(source), kit.Host(), None
    while isinstance(progress := machine.run(10**7), Parked) and progress.effect.name != "task.join":
        if progress.effect.name == "task.spawn":
            child = machine.child()
            assert isinstance(child.run(10**7), Done)
            machine.resume(Handle("task", child.run_id, Label.of()))
        else:
            host.answer(machine, progress.effect)
    assert child is not None
    box = child.outcome.value  # type: ignore[union-attr]
    child.outcome = Done(Box(box.id, Label.of()))
    forged = Machine.load(child.program, child.dump())
    before = machine.dump()
    with pytest.raises(MachineError, match="another label"):
        machine.take(forged)
    assert machine.dump() == before
    child.outcome = Done(box)
    machine.take(child)
    assert isinstance(machine.run(10**7), Parked)
    machine.resume(None)
    end = machine.run(10**7)
    assert isinstance(end, Done)
    assert [machine.open(each) for each in end.value] == [host.secret] * 2


def test_constants_within_defaults_are_paid_for_at_each_call(kit: Any) -> None:
    source = """
def f(a=(1,), b=(1,), c=(1,)):
    return 1
@continuation
def main():
    log.note("go")
    f()
    log.note("called")
"""
    used = []
    for depth in (0, 200):
        program = kit.program_of(source).program
        constants = list(program.constants)
        at = next(k for k, each in enumerate(constants) if isinstance(each, TupleConstant))
        for _ in range(depth):
            constants.append(TupleConstant((at if len(constants) == len(program.constants) else len(constants) - 1,)))
        functions = [
            msgspec.structs.replace(
                each, defaults=tuple(len(constants) - 1 if k == at and depth else k for k in each.defaults)
            )
            for each in program.functions
        ]
        forged = msgspec.structs.replace(program, constants=tuple(constants), functions=tuple(functions))
        machine = Machine.start(verify(forged.encode()), "main", [], bytes(32), 10**6, 10**6)
        _to_note(machine, kit.Host())
        before = machine.fuel_left
        assert isinstance(machine.run(10**5), Parked)
        used.append(before - machine.fuel_left)
    assert used[1] - used[0] >= 3 * 200


WALKED = {
    "text": ('"abc"', "str_iterator", 3),
    "bytes": ('b"abc"', "bytes_iterator", 3),
    "tuple": ("tuple([1, 2, 3])", "tuple_iterator", 3),
    "range": ("range(3)", "range_iterator", 3),
    "set": ("set([1, 2, 3])", "set_iterator", 3),
    "keys": ("{1: 2, 2: 3, 3: 4}", "dict_keyiterator", 3),
    "items": ("{1: 2, 2: 3, 3: 4}.items()", "dict_itemiterator", 3),
    "backwards": ('reversed("abc")', "reversed", 3),
    "list": ("[1, 2, 3]", "list_iterator", 1_000),  # a list may have become shorter
}


@pytest.mark.parametrize("walked", WALKED)
def test_an_iterator_stands_within_what_it_walks_over_and_has_its_name(kit: Any, walked: str) -> None:
    made, shown, most = WALKED[walked]
    machine = kit.start(f"@continuation\ndef main():\n    for c in {made}:\n        log.note('x')\n")
    assert isinstance(machine.run(1_000), Parked)
    it = next(value for value in machine.runs[0].frames[0].locals if type(value) is Iter)
    assert it.shown == shown
    it.index = most
    assert Machine.load(machine.program, machine.dump()).dump() == machine.dump()
    if walked != "list":
        it.index = most + 1
        with pytest.raises(SnapshotInvalid, match="stands outside"):
            Machine.load(machine.program, machine.dump())
    it.index = 1
    it.shown = "list_iterator" if walked != "list" else "str_iterator"
    with pytest.raises(SnapshotInvalid, match="name of another kind"):
        Machine.load(machine.program, machine.dump())


def test_results_on_boxes_that_nothing_holds_are_dropped(kit: Any) -> None:
    source = """
def f(rows):
    return rows
@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    box = private(f, rows, fuel=1_000, memory=10_000)
    for _ in range(400):
        tensor.item(box)
"""
    machine, most = kit.start(source, memory=100_000), 0
    while isinstance(progress := machine.run(10**7), Parked):
        if progress.effect.name == "tensor.item":
            machine.resume("x" * 2_000)
        else:
            kit.Host().answer(machine, progress.effect)
        most = max(most, len(machine.runs[0].boxes))
    assert progress == Done(None)
    assert 10 < most < 100


LONG_KEYS = {
    "d[k]": "d[k]",
    "d[k] = v": "d[k] = 1",
    "k in d": "k in d",
    "get": "d.get(k)",
    "setdefault": "d.setdefault(k, 1)",
    "pop": "d.pop('x', d.pop(k, None)); d[j] = 1",
    "del": "del d[k]; d[j] = 1",
    "in a set": "k in s",
    "add": "s.add(k)",
    "display": "e = {j: 1, k: 2}",
    "comprehension": "e = {x: 1 for x in (j, k)}",
    "bytes": "b in f",
    "in a tuple": "(k, 1) in g",
    "update": "d.update(e)",
    "or": "d | e",
    "or in place": "d |= e",
    "equal dicts": "d == e",
    "sets": "s & u",
    "subset": "s <= u",
}


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("way", LONG_KEYS)
def test_an_equal_long_key_is_paid_for(kit: Any, way: str, projection: bool) -> None:
    """The host compares it whole with the one that is there: some 0.1 ms for a million characters."""
    source = f"""
@continuation
def main():
    j, k = "x" * 1_000_000, "x" * 1_000_000
    a, b = b"x" * 1_000_000, b"x" * 1_000_000
    d, e, f, g, s, u = {{j: 1}}, {{k: 1}}, {{a: 1}}, {{(j, 1): 1}}, set([j]), set([k])
    n = 0
    log.note("go")
    while n < 10_000:
        {LONG_KEYS[way]}
        n += 1
"""
    program = kit.program_of(source)
    machine = Machine.start(program, "main", [], bytes(32), 10**8, 20_000_000, projection=projection)
    _to_note(machine, kit.Host())
    before = machine.fuel_left
    for _ in range(4):
        machine.run(25_000)
    frame = machine.runs[0].frames[0]
    n = frame.locals[machine.program.codes[0].locals.index("n")]
    assert 0 < n <= (before - machine.fuel_left) // 900


MANY_KEYS = {
    "walk": ("{1 << 8_000_000: 1}", "for k in d:\n            pass", 1_900),
    "walk over values": ("{1 << 8_000_000: 1}", "list(d.values())", 1_900),
    "walk backwards": ("{1 << 8_000_000: 1}", "list(reversed(d.items()))", 1_900),
    "walk over long tuples": ("{tuple([1] * 800): 1}", "for k in d.items():\n            pass", 100),
    "walk over nested tuples": ("{(1, (2, 3)): k for k in range(9)}", "for k in d:\n            pass", 1),
    "equal dicts": ("{1 << 8_000_000: 1}", "d == {**d}", 1_900),
    "greatest view": ("{1: 1}", "max([d.items()] * 500)", 1_000),
    "greatest set": ("{1: 1}", "max([set(d)] + [{2, 3}] * 500)", 500),
    "pairs as members": ("{1: 1}", "set([(1, 2)] * 500)", 500),
    "pairs as keys": ("{1: 1}", "dict([[1, 2]] * 500)", 500),
    "tuples unpacked": ("{(k, 1): 1 for k in range(500)}", "{**d}", 500),
}


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("way", MANY_KEYS)
def test_looking_for_many_keys_is_paid_for(kit: Any, way: str, projection: bool) -> None:
    made, done, least = MANY_KEYS[way]
    source = f"""
@continuation
def main():
    d, n = {made}, 0
    log.note("go")
    while n < 100_000:
        {done}
        n += 1
"""
    program = kit.program_of(source)
    machine = Machine.start(program, "main", [], bytes(32), 10**8, 20_000_000, projection=projection)
    _to_note(machine, kit.Host())
    before = machine.fuel_left
    machine.run(30_000)
    frame = machine.runs[0].frames[0]
    n = frame.locals[machine.program.codes[0].locals.index("n")]
    assert 0 < n <= (before - machine.fuel_left) // least


@pytest.mark.parametrize("projection", [False, True])
def test_a_count_of_live_values_pays_for_slots_that_hold_nothing(kit: Any, projection: bool) -> None:
    """Frames are paid for in memory, but each count of the live values looks at all of their slots again."""
    names = " = ".join(f"a{i}" for i in range(200))
    source = f"""
def deep(n):
    {names} = None
    if n:
        return deep(n - 1)
    log.note("go")
    x, n = [], 0
    while n < 100_000:
        x = [n]
        y = [x]
        n += 1
    return 0

@continuation
def main():
    return deep(99)
"""
    program = kit.program_of(source)
    code = next(code for code in program.codes if code.name == "deep")
    frames = 100 * (200 + 40 * (len(code.locals) + code.most))
    machine = Machine.start(program, "main", [], bytes(32), 10**8, frames + 1_500, projection=projection)
    _to_note(machine, kit.Host())
    before = machine.fuel_left
    machine.run(50_000)
    frame = machine.runs[0].frames[-1]
    n = frame.locals[machine.program.codes[frame.function].locals.index("n")]
    counts = n * 200 // 1_500  # each round makes two lists of some 100 bytes
    assert 0 < n < 40_000
    assert before - machine.fuel_left >= counts * (frames >> 10)
