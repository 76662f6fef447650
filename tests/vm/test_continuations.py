"""Regions of function values, nested regions, children, continuations as values, cancellation."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.contracts import child_run
from sojourn.errors import MachineError
from sojourn.labels import PUBLIC
from sojourn.vm import Box, Done, Failed, Handle, Machine, Parked, RegionError, Sliced
from sojourn.vm.values import Suspended


def again(machine: Machine) -> Machine:
    """The machine after a dump and a load."""
    data = machine.dump()
    loaded = Machine.load(machine.program, data)
    assert loaded.dump() == data
    return loaded


def drive(machine: Machine, notes: list[Any]) -> Done | Failed:
    """Run to the end with a host for children: each runs to its end when it is joined. Every stop is dumped."""
    children: dict[bytes, Machine] = {}
    while True:
        machine = again(machine)
        progress = machine.run(7)
        if isinstance(progress, Done | Failed):
            return progress
        if isinstance(progress, Sliced):
            continue
        effect = progress.effect
        if effect.name == "task.spawn":
            machine = again(machine)
            child = machine.child()
            assert child.dump() == machine.child().dump()
            children[child.run_id] = child
            machine.resume(Handle("task", child.run_id, PUBLIC))
        elif effect.name == "task.join":
            child = children[effect.args["task"].id]
            end = drive(child, notes)
            if isinstance(end, Done):
                machine.resume(end.value)
            else:
                machine.throw(end.code, end.detail.partition(": ")[2])
        elif effect.name == "task.cancel":
            children[effect.args["task"].id].cancel("no longer needed")
            machine.resume(None)
        else:
            notes.append(effect.args["text"])
            machine.resume(None)


def ends(kit: Any, body: str, **budgets: int) -> tuple[Any, list[Any]]:
    notes: list[Any] = []
    progress = drive(kit.start(body, **budgets), notes)
    return (progress.value if isinstance(progress, Done) else progress.detail), notes


def test_child_of_a_function(kit: Any) -> None:
    source = """
def work(n, items):
    items.append(n)
    return [n * n, items]

@continuation
def main():
    items = [0]
    tasks = [spawn(work, n, items, fuel=500, memory=5000) for n in range(3)]
    return [[join(t) for t in tasks], items]
"""
    assert ends(kit, source)[0] == [[[0, [0, 0]], [1, [0, 1]], [4, [0, 2]]], [0]]


def test_child_of_a_closure_has_copies_of_its_variables(kit: Any) -> None:
    source = """
@continuation
def main():
    n = 1
    def bump(by):
        nonlocal n
        n += by
        return n
    t = spawn(bump, 10, fuel=500, memory=5000)
    bump(1)
    return [join(t), n]
"""
    assert ends(kit, source)[0] == [11, 2]


def test_error_of_a_child_is_raised_where_it_is_joined(kit: Any) -> None:
    source = """
@continuation
def main():
    t = spawn(lambda: {}["k"], fuel=500, memory=5000)
    try:
        join(t)
    except KeyError as e:
        return ["caught", str(e)]
"""
    value, _ = ends(kit, source)
    assert value[0] == "caught"


def test_fork_goes_on_twice(kit: Any) -> None:
    source = """
@continuation
def main():
    trail = ["before"]
    def note(text):
        trail.append(text)
    for k in range(2):
        task = fork(fuel=1000, memory=20000)
        if task is None:
            note("child")
            return trail
        note("parent")
        trail.append(join(task))
    return trail
"""
    assert ends(kit, source)[0] == [
        "before", "parent", ["before", "child"], "parent",
        ["before", "parent", ["before", "child"], "child"],
    ]  # fmt: skip


def test_fork_inside_of_try_loop_and_iterators(kit: Any) -> None:
    source = """
@continuation
def main():
    out = []
    for a, b in zip(enumerate("xy"), {1: 2, 3: 4}.items()):
        try:
            t = fork(fuel=2000, memory=30000)
            if t is None:
                raise ValueError(a)
            out.append((a, b, join(t)))
        except ValueError as e:
            return [e.args, a, b, len(out)]
        finally:
            log.note(str(len(out)))
    return out
"""
    value, notes = ends(kit, source)
    assert value == [
        ((0, "x"), (1, 2), [((0, "x"),), (0, "x"), (1, 2), 0]),
        ((1, "y"), (3, 4), [((1, "y"),), (1, "y"), (3, 4), 1]),
    ]
    assert notes == ["0", "1", "1", "2"]


def test_here_is_a_value_that_begins_any_number_of_children(kit: Any) -> None:
    source = """
@continuation
def main():
    total = [1]
    k = here()
    if isinstance(k, int):
        total.append(k)
        return total
    saved = [k]
    a = spawn(saved[0], 5, fuel=500, memory=9000)
    b = spawn(k, 6, fuel=500, memory=9000)
    total.append(9)
    return [join(a), join(b), total]
"""
    assert ends(kit, source)[0] == [[1, 5], [1, 6], [1, 9]]


def test_budgets_are_divided_and_never_duplicated(kit: Any) -> None:
    source = """
@continuation
def main():
    return spawn(lambda: 1, fuel=400, memory=3000)
"""
    machine = kit.start(source, fuel=1000, memory=10_000)
    machine.run(1000)
    assert machine.fuel_left < 600
    assert machine.runs[0].limit == 7_000
    child = machine.child()
    assert (child.fuel_left, child.runs[0].limit) == (400, 3_000)
    occurrence = machine.pending.occurrence
    assert child.run_id == child_run(occurrence.run, occurrence.operation, 0)
    machine.resume(Handle("task", child.run_id, PUBLIC))
    assert machine.run(100) == Done(Handle("task", child.run_id, PUBLIC))
    again = kit.start(source, fuel=300, memory=10_000)
    assert again.run(1000).code == "fuel"


def test_a_child_too_small_to_begin(kit: Any) -> None:
    source = "@continuation\ndef main():\n    return spawn(lambda: 1, fuel=5, memory=10)\n"
    assert ends(kit, source)[0] == "ValueError: the child's memory does not suffice to begin"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("spawn(3, fuel=1, memory=1)", "TypeError: spawn() starts a function or a continuation, not a 'int'"),
        ("spawn(len, fuel=9, memory=9)", "TypeError: spawn() starts a function or a continuation"),
        ("spawn(lambda: 1, fuel=0, memory=1)", "TypeError: spawn() needs fuel= as a public int from 1 to"),
        ("fork(fuel='x', memory=1)", "TypeError: fork() needs fuel= as a public int from 1 to"),
        ("spawn(here(), 1, 2, fuel=9, memory=9000)", "TypeError: a continuation goes on with one value"),
        ("here() + 1", "TypeError: unsupported operand type(s) for +: 'continuation' and 'int'"),
        ("str(here())", "TypeError: cannot print a continuation"),
        ("private(3, fuel=1, memory=1)", "TypeError: private() starts a function, not a 'int'"),
        ("log.note(here())", "TypeError: a continuation does not leave its world; give it to spawn()"),
        ("log.note(lambda: 1)", "TypeError: a function does not leave its world; pass what it computes"),
        ("lambda: 1", "TypeError: the result holds a function, which does not leave the run"),
        ("ValueError('x')", "TypeError: the result holds a ValueError, which does not leave the run"),
        ("str(len)", "TypeError: cannot print a builtin_function_or_method"),
        ("(lambda: 1) == (lambda: 1)", "TypeError: cannot compare a function"),
        ("{len: 1}", "TypeError: unhashable type: 'builtin_function_or_method'"),
    ],
)
def test_refused(kit: Any, call: str, message: str) -> None:
    value, _ = ends(kit, f"@continuation\ndef main():\n    return {call}\n")
    assert value.startswith(message)


def test_child_only_where_one_is_asked_for(kit: Any) -> None:
    machine = kit.start("@continuation\ndef main():\n    log.note('x')\n")
    with pytest.raises(MachineError, match="no effect is pending"):
        machine.child()
    machine.run(100)
    with pytest.raises(MachineError, match="begins no child"):
        machine.child()


CANCEL = """
@continuation
def main():
    out = []
    try:
        try:
            for k in range(10 ** 6):
                out.append(k)
        finally:
            out.append("cleanup")
    except Exception:
        return "not an Exception"
    except Cancelled as e:
        return [str(e), out[-1]]
"""


def test_cancel_between_instructions(kit: Any) -> None:
    machine = kit.start(CANCEL)
    machine.run(500)
    machine = again(machine)
    machine.cancel("stop")
    assert again(machine).run(10**6) == Done(["stop", "cleanup"])
    machine.run(10**6)
    machine.cancel("too late")
    assert machine.run(10) == Done(["stop", "cleanup"])


def test_cancel_at_every_instruction_ends_in_cancelled_or_a_value(kit: Any) -> None:
    source = CANCEL.replace("10 ** 6", "3")
    steps = 0
    while True:
        machine = kit.start(source)
        if isinstance(machine.run(steps), Done):
            break
        machine.cancel("stop")
        progress = again(machine).run(10**6)
        assert progress.code == "Cancelled" if isinstance(progress, Failed) else progress.value[0] == "stop"
        steps += 1
    assert steps > 30


def test_cancel_gives_up_a_pending_effect_and_a_region(kit: Any) -> None:
    source = """
def inside():
    while True:
        log.note("private")

@continuation
def main():
    try:
        private(inside, fuel=1000, memory=1000)
    except Cancelled:
        return "given up"
"""
    machine = kit.start(source)
    assert isinstance(machine.run(1000), Parked)
    assert machine.in_region
    machine.cancel("stop")
    assert not machine.in_region
    assert again(machine).run(100) == Done("given up")


def test_cancel_of_a_child(kit: Any) -> None:
    source = """
def work():
    try:
        while True:
            pass
    except Cancelled as e:
        return "cancelled: " + str(e)

@continuation
def main():
    t = spawn(work, fuel=500, memory=5000)
    cancel(t)
    return join(t)
"""
    assert ends(kit, source)[0] == "cancelled: no longer needed"


def test_region_of_a_closure(kit: Any, host: Any) -> None:
    source = """
@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    scale, seen = 3, []
    def count(extra):
        seen.append(extra)
        return tensor.item(stream.first(rows)) * scale + extra + len(seen)
    a = private(count, 100, fuel=1000, memory=9000)
    b = private(lambda: [count(1), count(2)], fuel=1000, memory=9000)
    return [a, b, seen]
"""
    machine = kit.start(source)
    end = host.drive(machine)
    a, b, seen = end.value
    assert (machine.open(a), machine.open(b), seen) == (122, [23, 25], [])
    assert a.label == kit.PATIENTS


def test_public_effect_in_a_closure_in_a_region_is_stopped_by_the_machine(kit: Any, host: Any) -> None:
    source = """
@continuation
def main():
    fs = [lambda: model.publish(1, round=1), lambda: fork(fuel=1, memory=1), lambda: stream.open("patients", fields=[])]
    return [private(f, fuel=1000, memory=9000) for f in fs]
"""
    machine = kit.start(source)
    for box in host.drive(machine).value:
        assert machine.open(box).code == "RuntimeError"
    assert host.seen == host.inside == []


def test_private_effect_in_a_closure_in_public_is_stopped_by_the_machine(kit: Any, host: Any) -> None:
    source = """
@continuation
def main():
    rows = stream.open("patients", fields=[])
    f = lambda: stream.first(rows)
    return f()
"""
    end = host.drive(kit.start(source))
    assert end.detail == "RuntimeError: stream.first is not an effect of the public world"


def test_reach_sees_through_function_values(kit: Any) -> None:
    source = """
def other():
    return model.publish(1, round=1)

@continuation
def main():
    def f():
        return other
    table = {"f": f, "g": lambda: log.note("x")}
    return table["f"]()()
"""
    assert kit.program_of(source).effects("main") == {"model.publish", "log.note"}


NESTED = """
def inner(n):
    return 10 // n

def outer(rows):
    n = tensor.item(rows)
    ok = private(inner, n, fuel=200, memory=2000)
    both = private(add, ok, ok, fuel=200, memory=2000)
    return {"n": n, "ok": ok, "sum": both}

def add(a, b):
    return a + b

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    return private(outer, rows, fuel=2000, memory=20000)
"""


@pytest.mark.parametrize("secret", [5, 0])
def test_nested_regions(kit: Any, hosts: Any, secret: int) -> None:
    machine, host = kit.start(NESTED), hosts(secret=secret)
    end, content = host.drive(machine), None
    content = machine.open(end.value)
    if secret:
        assert content == {"n": 5, "ok": 2, "sum": 4}
    else:
        assert isinstance(content, RegionError)
        assert content.code == "ZeroDivisionError"
    assert end.value.label == kit.PATIENTS


def test_nested_regions_cost_the_same_however_they_end(kit: Any, hosts: Any) -> None:
    left = set()
    for secret in (5, 0, -1):
        machine = kit.start(NESTED)
        hosts(secret=secret).drive(machine)
        left.add((machine.fuel_left, machine.memory_left, machine.runs[0].operation))
    assert len(left) == 1


def test_nested_regions_stop_anywhere(kit: Any, hosts: Any) -> None:
    whole = kit.start(NESTED)
    hosts().drive(whole)
    machine, host, deepest = kit.start(NESTED), hosts(), 0
    while True:
        progress = machine.run(1)
        machine = again(machine)
        deepest = max(deepest, len(machine.runs))
        if isinstance(progress, Parked):
            host.answer(machine, machine.pending)
        elif isinstance(progress, Done):
            break
    assert deepest == 3
    assert machine.dump() == whole.dump()


def test_box_of_a_region_inside_a_region_is_sealed_there(kit: Any, host: Any) -> None:
    source = """
def inner():
    return 1

def outer(rows):
    box = private(inner, fuel=200, memory=2000)
    try:
        return box + 1
    except TypeError as e:
        first = str(e)
    try:
        tensor.item(box)
    except TypeError as e:
        return [first, str(e)]

@continuation
def main():
    return private(outer, stream.open("patients", fields=[]), fuel=2000, memory=20000)
"""
    machine = kit.start(source)
    first, second = machine.open(host.drive(machine).value)
    assert first.startswith("cannot compute with a box")
    assert second.startswith("cannot give tensor.item() a box")


def test_regions_nested_too_deep(kit: Any, host: Any) -> None:
    source = """
def down(n):
    return private(down, n + 1, fuel=10 ** 9 // 2 ** n, memory=(30 - n) * 10 ** 6)

@continuation
def main():
    return private(down, 1, fuel=10 ** 9, memory=3 * 10 ** 7)
"""
    machine = kit.start(source, fuel=10**10, memory=6 * 10**7)
    content = machine.open(host.drive(machine).value)
    assert "nested deeper than 16" in content.message


def test_children_take_boxes_along(kit: Any, host: Any) -> None:
    source = """
def f(rows):
    return tensor.item(rows)

@continuation
def main():
    box = private(f, stream.open("patients", fields=[]), fuel=200, memory=2000)
    return spawn(lambda: box, fuel=200, memory=4000)
"""
    machine = kit.start(source)
    for _ in range(2):
        machine.run(1000)
        host.answer(machine, machine.pending)
    assert isinstance(machine.run(1000), Parked)
    child = again(machine.child())
    end = child.run(1000)
    assert isinstance(end.value, Box)
    assert child.open(end.value) == 7


def test_suspended_frames_are_not_shared(kit: Any) -> None:
    machine = kit.start("@continuation\ndef main():\n    x = [1]\n    k = here()\n    x.append(2)\n    log.note('x')\n")
    machine.run(1000)
    kept = next(value for value in machine.runs[0].frames[0].locals if type(value) is Suspended)
    assert kept.frames[0].locals[0] == [1]


def test_a_child_gives_its_boxes_with_what_they_hold(kit: Any, host: Any) -> None:
    source = """
def f(rows):
    return tensor.item(rows)

def work(rows):
    box = private(f, rows, fuel=200, memory=2000)
    return [box, box, {"again": box}]

@continuation
def main():
    rows = stream.open("patients", fields=[])
    return join(spawn(work, rows, fuel=900, memory=9000))
"""
    machine = kit.start(source, memory=40_000)
    machine.run(1000)
    host.answer(machine, machine.pending)
    machine.run(1000)
    child = machine.child()
    with pytest.raises(MachineError, match=r"task\.spawn is not answered with a child's result"):
        machine.take(child)
    machine.resume(Handle("task", child.run_id, PUBLIC))
    machine.run(1000)
    with pytest.raises(MachineError, match="join one that has returned"):
        machine.take(child)
    while isinstance(child.run(1000), Parked):
        host.answer(child, child.pending)
    child, machine = again(child), again(machine)
    left = machine.memory_left
    machine.take(child)
    assert machine.memory_left < left - 2000, "a box costs its new world what it cost the old one"
    value = again(machine).run(100).value
    assert value[0] is not child
    assert [machine.open(box) for box in (value[0], value[1], value[2]["again"])] == [7, 7, 7]


def test_a_result_that_does_not_fit_spends_the_parents_memory(kit: Any) -> None:
    source = """
@continuation
def main():
    t = spawn(lambda: "a" * 5000, fuel=900, memory=9000)
    return join(t)
"""
    assert ends(kit, source, memory=16_000)[0] == "a" * 5000
    machine = kit.start(source, memory=12_000)
    machine.run(1000)
    child = machine.child()
    machine.resume(Handle("task", child.run_id, PUBLIC))
    machine.run(1000)
    child.run(1000)
    machine.take(child)
    assert machine.run(1).code == "memory"


def test_a_host_can_stop_at_public_places_only(kit: Any, hosts: Any) -> None:
    """Where a region begins, and at an amount of public fuel: neither moves with what the region does or fails with."""
    source = """
def look(rows):
    n = tensor.item(rows)
    if n < 0:
        return [][0]
    for k in range(n * 100):
        pass
    return n

def again(n):
    return n

@continuation
def main():
    rows = stream.open("patients", fields=[])
    a = private(look, rows, fuel=5000, memory=2000)
    b = private(again, a, fuel=50, memory=2000)
    for k in range(100):
        pass
"""
    seen = []
    for secret in (-1, 0, 30):
        machine, host, places = kit.start(source, fuel=9000, memory=20_000), hosts(secret=secret), []
        while not isinstance(progress := machine.run(10**6, max(machine.fuel_left - 300, 0)), Done):
            if isinstance(progress, Parked):
                host.answer(machine, progress.effect)
            elif progress.entered:
                places.append(("entered", machine.fuel_left))
                while machine.in_region:
                    stop = machine.run(7, machine.fuel_left)
                    if isinstance(stop, Parked):
                        host.answer(machine, stop.effect)
                places.append(("left", machine.fuel_left))
            else:
                places.append(("turn", machine.fuel_left))
        seen.append((places, machine.fuel_left))
    assert seen[0] == seen[1] == seen[2]
    assert [name for name, _ in seen[0][0]] == ["entered", "left", "entered", "left", "turn"]
