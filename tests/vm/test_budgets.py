"""Budgets: pathological programs end at once, in an error of the language or of a budget; slices change nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sojourn.errors import MachineError
from sojourn.labels import PUBLIC
from sojourn.vm import Done, Failed, Handle, Machine, Sliced

MAIN = "@continuation\ndef main():\n"

ENDS = {
    "repeat": ('return "a" * 10**9', "memory"),
    "repeat_list": ("return [0] * 10**9", "memory"),
    "repeat_tuple": ("return 10**12 * (1, 2)", "memory"),
    "repeat_in_place": ("x = [1]\nx *= 10**10", "memory"),
    "power": ("return 2**10**9", "memory"),
    "power_tower": ("return 9**9**9**9", "memory"),
    "power_loop": ("x = 3\nwhile True:\n    x = x * x", "fuel"),
    "shift": ("return 1 << 10**12", "memory"),
    "string_doubling": ('x = "ab"\nwhile True:\n    x = x + x', "memory"),
    "list_doubling": ("x = [1]\nwhile True:\n    x += x", "memory"),
    "dict_filling": ("x = {}\nn = 0\nwhile True:\n    x[n] = n\n    n += 1", "memory"),
    "list_filling": ("x = []\nwhile True:\n    x.append([])", "memory"),
    "list_of_range": ("return list(range(10**12))", "memory"),
    "sorted_range": ("return sorted(range(10**12))", "memory"),
    "sum_of_range": ("return sum(range(10**12))", "fuel"),
    "min_of_range": ("return min(range(10**30))", "fuel"),
    "in_range": ("return 0.5 in range(10**12)", "fuel"),
    "all_of_range": ("return all(range(1, 10**12))", "fuel"),
    "forever": ("while True:\n    pass", "fuel"),
    "range_forever": ("for _ in range(10**30):\n    pass", "fuel"),
    "growing_while_iterated": ("x = [1]\nfor y in x:\n    x.append(y)", "fuel"),
    "format_width": ('return f"{1:>1000}" * 10**6', "memory"),
    "join": ('return ("x" * 10**6).join(["y"] * 10**5)', "memory"),
    "replace": ('return ("x" * 10**5).replace("x", "y" * 10**5)', "memory"),
    "split": ('return ("x" * 3 * 10**6).split("x")', "memory"),
    "text_of_nested": ("x = []\nfor _ in range(60):\n    x = [x, x]\nreturn str(x)", "memory"),
    "compare_nested": ("x, y = [], []\nfor _ in range(60):\n    x, y = [x, x], [y, y]\nreturn x == y", "fuel"),
    "deep_recursion": (None, "RecursionError"),
    "deep_text": ("x = []\nfor _ in range(10000):\n    x = [x]\nreturn str(x)", "RecursionError"),
    "deep_compare": ("x, y = [], []\nfor _ in range(10000):\n    x, y = [x], [y]\nreturn x == y", "RecursionError"),
    "deep_key": ("x = ()\nfor _ in range(10000):\n    x = (x,)\nreturn {x: 1}", "ValueError"),
    "wide_key": ("x = ()\nfor _ in range(60):\n    x = (x, x)\nreturn {x: 1}", "ValueError"),
    "deep_iterators": ("x = [1]\nfor _ in range(1000):\n    x = enumerate(x)\nreturn list(x)", "RecursionError"),
    "long_text_of_int": ("return str(10**5000)", "ValueError"),
    "long_int_of_text": ('return int("9" * 5000)', "ValueError"),
    "float_power": ("return 1.5**0.3", "ValueError"),
    "huge_float_power": ("return 1e300**2000", "OverflowError"),
    "huge_rounding": ("return round(7, -(10**15))", None),
    "huge_negative_shift": ("return 7 >> 10**30", None),
}


def ending(name: str) -> Any:
    body, _ = ENDS[name]
    if body is None:
        return "def f(n):\n    return f(n + 1)\n\n" + MAIN + "    return f(0)\n"
    return MAIN + "".join(f"    {line}\n" for line in body.splitlines())


@pytest.mark.parametrize("name", ENDS)
def test_ends_at_once(kit: Any, name: str) -> None:
    begin = time.process_time()
    progress = kit.evaluate(ending(name), fuel=200_000, memory=2_000_000)
    assert time.process_time() - begin < 2.0
    code = ENDS[name][1]
    if code is None:
        assert progress == Done(0)
    else:
        assert isinstance(progress, Failed)
        assert progress.code == code


@pytest.mark.parametrize("name", ["dict_filling", "string_doubling", "power_loop", "growing_while_iterated"])
@pytest.mark.parametrize("slice_fuel", [7, 1000])
def test_budgets_end_at_the_same_place_in_any_slices(kit: Any, name: str, slice_fuel: int) -> None:
    whole = kit.start(ending(name), fuel=2_000, memory=40_000)
    expected = whole.run(10**9)
    machine = kit.start(ending(name), fuel=2_000, memory=40_000)
    while isinstance(progress := machine.run(slice_fuel), Sliced):
        machine = Machine.load(machine.program, machine.dump())
    assert progress == expected
    assert machine.dump() == whole.dump()


def test_fuel_is_one_for_each_plain_instruction(kit: Any) -> None:
    machine = kit.start(MAIN + "    return 1\n", fuel=2)
    assert machine.run(10) == Done(1)
    assert machine.fuel_left == 0
    assert kit.start(MAIN + "    return 1\n", fuel=1).run(10).code == "fuel"


def test_a_slice_of_nothing_does_nothing(kit: Any) -> None:
    machine = kit.start(MAIN + "    return 1\n")
    before = machine.dump()
    assert machine.run(0) == Sliced()
    assert machine.dump() == before


def test_long_operations_cost_fuel_by_size(kit: Any) -> None:
    used = []
    for size in (10, 10_000):
        machine = kit.start(f"{MAIN}    return sorted(range({size}, 0, -1)) == []\n")
        machine.run(10**9)
        used.append(kit.FUEL - machine.fuel_left)
    assert used[1] > used[0] + 10_000


def test_memory_that_is_dropped_comes_back(kit: Any) -> None:
    body = '    for k in range(200):\n        x = "a" * 100_000\n        y = [k] * 1000\n    return len(x)\n'
    assert kit.evaluate(MAIN + body, memory=500_000) == Done(100_000)
    assert kit.evaluate(MAIN + body, memory=100_000).code == "memory"


def test_arguments_that_do_not_fit_the_memory(kit: Any) -> None:
    source = "@continuation\ndef main(x):\n    return 1\n"
    progress = kit.start(source, ["x" * 1000] * 10 + [[k] for k in range(1000)], memory=5000).run(10)
    assert (progress.code, progress.line) == ("memory", 0)


def test_result_that_does_not_fit_the_memory(kit: Any) -> None:
    machine = kit.start(MAIN + '    return gpu.run("g")\n', memory=5000)
    machine.run(100)
    machine.resume(list(range(1000)))
    progress = machine.run(100)
    assert (progress.code, progress.line) == ("memory", 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"fuel": 0}, "fuel is 1 to"),
        ({"memory": 0}, "memory 1 to"),
        ({"fuel": 10**13}, "fuel is 1 to"),
        ({"run": b"short"}, "has 32 bytes, not 5"),
        ({"args": ()}, "takes 1 arguments, 0 are given"),
        ({"args": (object(),)}, "object is not a value"),
        ({"args": ("\ud800",)}, "lone surrogates"),
        ({"args": ({1, 2},)}, "set is not a value"),
        ({"args": (Handle("pickle", b"x", PUBLIC),)}, "kind 'pickle'"),
        ({"args": (Handle("model", b"", PUBLIC),)}, "0 bytes"),
    ],
)
def test_start_refuses_what_does_not_fit(kit: Any, call: dict[str, Any], message: str) -> None:
    program = kit.program_of("@continuation\ndef main(x):\n    return x\n")
    arguments = {"args": (1,), "run": kit.RUN, "fuel": 10, "memory": 1000, **call}
    with pytest.raises(MachineError, match=message):
        Machine.start(program, "main", **arguments)


def test_defaults_of_an_entry(kit: Any) -> None:
    source = "@continuation\ndef main(a, b=2, c='x'):\n    return [a, b, c]\n"
    assert kit.evaluate(source, 1) == Done([1, 2, "x"])
    assert kit.evaluate(source, 1, 5) == Done([1, 5, "x"])


def test_driving_out_of_turn(kit: Any) -> None:
    machine = kit.start(MAIN + "    return log.note('x')\n")
    with pytest.raises(MachineError, match="no effect is pending"):
        machine.resume(None)
    with pytest.raises(MachineError, match="no effect is pending"):
        machine.throw("ValueError", "x")
    parked = machine.run(10)
    assert machine.run(10) == parked
    with pytest.raises(MachineError, match="not an exception of the language"):
        machine.throw("SystemExit", "x")
    with pytest.raises(MachineError, match="is refused"):
        machine.resume(object())
    machine.resume(None)
    assert machine.run(10) == Done(None)
    assert machine.run(10) == Done(None)


def test_a_host_keeps_no_hold_on_values(kit: Any) -> None:
    machine = kit.start(
        "@continuation\ndef main(x):\n    gpu.run('g', x=x)\n    return gpu.run('g', x=x)\n", given := [1]
    )
    given.append("host")
    first = machine.run(100).effect
    first.args["x"].append("host")
    machine.resume(result := [2])
    second = machine.run(100).effect
    assert second.args["x"] == [1]
    machine.resume(result)
    result.append("host")
    assert machine.run(100) == Done([2])
