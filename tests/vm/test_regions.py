"""Private regions: what they are given, what they cost, and how they end."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.errors import MachineError
from sojourn.labels import PUBLIC, Label
from sojourn.vm import Box, Done, Failed, Handle, Machine, Parked, RegionError

REGION = """
def body(rows, x):
    n = tensor.item(rows)
{body}

@continuation
def main(x):
    rows = stream.open("patients", fields=["x"])
    box = private(body, rows, x, fuel={fuel}, memory={memory})
    release.count(box, of="n", name="n", high=10)
    return x
"""


def region(body: str, fuel: int = 5_000, memory: int = 50_000) -> str:
    lines = "\n".join("    " + line for line in body.splitlines())
    return REGION.format(body=lines, fuel=fuel, memory=memory)


ENDINGS = {
    "value": 'return {"n": n}',
    "exception": 'raise ValueError("private text")',
    "index": "return [][n]",
    "fuel": "while True:\n    n += 1",
    "memory": 'return "x" * 10**9',
    "recursion": "return body(rows, x)",
    "iterator": "return enumerate([1])",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_charge_is_the_same_however_it_ends(kit: Any, hosts: Any, ending: str) -> None:
    host, other = hosts(), hosts()
    plain = kit.start(region(ENDINGS["value"]), [1])
    assert host.drive(plain) == Done([1])
    machine = kit.start(region(ENDINGS[ending]), [1])
    assert other.drive(machine) == Done([1])
    assert (machine.fuel_left, machine.memory_left) == (plain.fuel_left, plain.memory_left)
    assert other.seen == host.seen


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("exception", RegionError("ValueError", "private text", "ValueError", 4)),
        ("index", RegionError("IndexError", "list index out of range", "IndexError", 4)),
        ("memory", RegionError("MemoryError", "the run's memory is spent", "memory", 4)),
        ("iterator", None),
        ("fuel", None),
        ("recursion", None),
    ],
)
def test_errors_become_the_content_of_the_box(kit: Any, host: Any, ending: str, error: RegionError | None) -> None:
    host.drive(kit.start(region(ENDINGS[ending]), [1]))
    assert isinstance(host.released[0], RegionError)
    if error is not None:
        assert host.released[0] == error
    assert host.released[0].code == {"iterator": "TypeError", "recursion": "memory"}.get(ending, host.released[0].code)


def test_error_text_is_not_shown(kit: Any, host: Any) -> None:
    host.drive(kit.start(region(ENDINGS["exception"]), [1]))
    assert "private text" not in repr(host.released[0])


def test_region_that_costs_more_than_the_run_has(kit: Any, hosts: Any) -> None:
    progress = hosts().drive(kit.start(region("return 1", fuel=10_000), 1, fuel=9_000))
    assert (progress.code, progress.line) == ("fuel", 9)
    progress = hosts().drive(kit.start(region("return 1", memory=60_000), 1, memory=50_000))
    assert (progress.code, progress.line) == ("memory", 9)


def test_memory_of_a_box_comes_back_when_nothing_holds_it(kit: Any, host: Any) -> None:
    source = """
def one(n):
    return n

@continuation
def main(keep):
    boxes = []
    for k in range(50):
        box = private(one, k, fuel=100, memory=100_000)
        if keep:
            boxes.append(box)
    return len(boxes)
"""
    assert host.drive(kit.start(source, False, memory=1_000_000)) == Done(0)
    assert host.drive(kit.start(source, True, memory=1_000_000)).code == "memory"


def test_effect_error_in_a_region_stays_inside(kit: Any, hosts: Any) -> None:
    host = hosts(fails={"tensor.item": ("ValueError", "not one element")})
    assert host.drive(kit.start(region("return n"), 1)) == Done(1)
    assert host.released == [RegionError("ValueError", "not one element", "ValueError", 3)]


def test_boxes_and_containers_of_boxes_are_opened_inside(kit: Any, host: Any) -> None:
    source = """
def make(rows):
    return [tensor.item(rows), (1,)]

def use(items, again):
    items["box"][0] += 1
    items["box"].append(again[0])
    return {"n": items["box"], "second": again}

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    box = private(make, rows, fuel=1000, memory=10000)
    both = private(use, {"box": box}, box, fuel=1000, memory=10000)
    release.count(both, of="n", name="n", high=10)
    release.count(box, of="n", name="n", high=10)
"""
    assert host.drive(kit.start(source)) == Done(None)
    # A box given twice is one list inside; the box itself keeps what it held.
    assert host.released == [{"n": [8, (1,), 8], "second": [8, (1,), 8]}, [7, (1,)]]


def test_an_error_in_a_box_that_is_given_ends_the_region_with_it(kit: Any, host: Any) -> None:
    source = """
def fail(rows):
    raise KeyError("x")

def use(box):
    return 1

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    box = private(fail, rows, fuel=1000, memory=10000)
    second = private(use, [box], fuel=1000, memory=10000)
    release.count(second, of="n", name="n", high=10)
"""
    assert host.drive(kit.start(source)) == Done(None)
    assert host.released == [RegionError("KeyError", "'x'", "KeyError", 3)]


def test_label_is_the_join_of_the_arguments(kit: Any, host: Any) -> None:
    source = """
def both(a, b, c):
    return tensor.item(a)

@continuation
def main(a, b):
    return private(both, [a], {"k": b}, 3, fuel=1000, memory=10000)
"""
    first, second = Label.of("clinic/a"), Label.of("clinic/b")
    machine = kit.start(source, Handle("tensor", b"a", first), Handle("tensor", b"b", second))
    progress = machine.run(1000)
    assert isinstance(progress, Parked)
    assert progress.effect.label == first.join(second)
    machine.resume(1)
    done = machine.run(1000)
    assert isinstance(done, Done)
    assert done.value.label == Label.of("clinic/a", "clinic/b")
    assert machine.open(done.value) == 1


def test_handle_beyond_the_label_is_not_let_in(kit: Any) -> None:
    source = """
def f(t):
    return gpu.run("g", t=t)

@continuation
def main(t):
    return private(f, t, fuel=99, memory=9999)
"""
    machine = kit.start(source, Handle("tensor", b"t", PUBLIC))
    assert isinstance(machine.run(100), Parked)
    with pytest.raises(MachineError, match="does not flow"):
        machine.resume({"out": Handle("tensor", b"x", Label.of("clinic/a"))})
    assert machine.pending is not None


def test_handle_beyond_the_label_is_not_boxed(kit: Any, host: Any) -> None:
    source = """
def pick(t):
    return t

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    return gpu.run("g", x=private(pick, rows, fuel=100, memory=10000))
"""
    machine = kit.start(source)
    machine.run(1000)
    host.answer(machine, machine.pending)
    assert isinstance(machine.run(1000), Parked)
    with pytest.raises(MachineError, match="does not flow to its box's label"):
        machine.resume({"out": Handle("tensor", b"x", Label.of("clinic/other"))})
    machine.resume({"out": Handle("tensor", b"x", kit.PATIENTS)})
    assert isinstance(machine.run(1000), Done)


def test_effects_on_boxes_give_boxes(kit: Any, hosts: Any) -> None:
    source = """
def pick(t):
    return t

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    box = private(pick, rows, fuel=100, memory=10000)
    out = gpu.run("eval", x=box)
    item = tensor.item(out)
    return [out, item]
"""
    done = hosts().drive(kit.start(source))
    assert isinstance(done, Done)
    assert all(isinstance(box, Box) and box.label == kit.PATIENTS for box in done.value)
    failing = kit.start(source)
    host = hosts(fails={"tensor.item": ("ValueError", "no")})
    done = host.drive(failing)
    assert isinstance(done, Done)
    assert failing.open(done.value[1]) == RegionError("ValueError", "no", "ValueError")
    plain = kit.start(source)
    hosts().drive(plain)
    assert (failing.fuel_left, failing.memory_left) == (plain.fuel_left, plain.memory_left)


def test_large_result_for_a_box_becomes_an_error_inside(kit: Any, hosts: Any) -> None:
    source = """
def pick(t):
    return t

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    return tensor.item(private(pick, rows, fuel=100, memory=10000))
"""
    small, large = kit.start(source), kit.start(source)
    hosts().drive(small)
    done = hosts(secret="x" * 100_000).drive(large)
    assert isinstance(done, Done)
    assert large.open(done.value).code == "memory"
    assert (small.fuel_left, small.memory_left) == (large.fuel_left, large.memory_left)


def test_public_lists_are_copied_both_ways(kit: Any, host: Any) -> None:
    source = """
def change(rows, items):
    items.append(tensor.item(rows))
    items[0]["k"] = tensor.item(rows)
    return items

@continuation
def main():
    items = [{"k": 0}]
    rows = stream.open("patients", fields=["x"])
    box = private(change, rows, items, fuel=1000, memory=10000)
    items.append("later")
    release.count(box, of="n", name="n", high=10)
    return items
"""
    assert host.drive(kit.start(source)) == Done([{"k": 0}, "later"])
    assert host.released == [[{"k": 7}, 7]]


def test_region_without_private_arguments_is_still_a_box(kit: Any, host: Any) -> None:
    source = "def f():\n    return 1\n\n@continuation\ndef main():\n    return private(f, memory=9999, fuel=99)\n"
    done = host.drive(kit.start(source))
    assert isinstance(done, Done)
    assert done.value.label == PUBLIC
    assert isinstance(done.value, Box)


@pytest.mark.parametrize(
    "limits",
    [
        "fuel=0, memory=100",
        "fuel=-5, memory=100",
        "fuel=1.5, memory=100",
        "fuel=10**13, memory=1",
        "fuel=1, memory=True",
        "fuel=100, memory=10**12",
    ],
)
def test_limits_must_be_public_ints(kit: Any, limits: str) -> None:
    source = f"def f():\n    return 1\n\n@continuation\ndef main():\n    return private(f, {limits})\n"
    progress = kit.evaluate(source, fuel=10**12)
    assert isinstance(progress, Failed)
    assert (progress.code, progress.line) == ("TypeError", 6)


def test_open_refuses_boxes_of_others(kit: Any) -> None:
    machine: Machine = kit.start("@continuation\ndef main():\n    return 1\n")
    with pytest.raises(MachineError, match="not one of this machine"):
        machine.open(Box(b"b" * 32, PUBLIC))
