"""What one instruction may use: a host that slices waits for no more, and both forms agree on where it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sojourn.limits import MAX_INSTRUCTION_FUEL
from sojourn.vm import Done, Failed, Machine, Sliced, compile_source, verify
from sojourn.vm.values import NAN

RUN = bytes(32)
FUEL = 4 * MAX_INSTRUCTION_FUEL
CHAINS = "x, y = [], []\n    for _ in range(60):\n        x, y = [x, x], [y, y]\n    "

LONG = {
    "sum": "return sum(range(10**12))",
    "min": "return min(range(10**30))",
    "max": "return max(enumerate(range(10**12)))",
    "in": "return 0.5 in range(10**12)",
    "all": "return all(range(1, 10**12))",
    "any": "return any(range(-(10**12), 0, 1)) and any([0] * 3) or sum(range(10**9))",
    "equal": CHAINS + "return x == y",
    "equal in dict": CHAINS + "return {1: x} == {1: y}",
    "less": CHAINS + "return x < y",
    "index": CHAINS + "return [x].index(y)",
    "count": CHAINS + "return [x].count(y)",
    "remove": CHAINS + "return [x].remove(y)",
    "sorted": CHAINS + "return sorted([x, y])",
    "inverse": "return pow(3, -1, (1 << 40_000) + 1)",
    "long exponent": "return pow(3, 1 << 6_000_000, 1_000_003)",
    "quotient": "return (1 << 1_920_000) // ((1 << 320_000) + 1)",
    "product": "x = 3\n    while True:\n        x = x * x",
}


def end_of(body: str, *, projection: bool = True, slices: int = 10_000, fuel: int = FUEL) -> tuple[Any, int, int]:
    program = verify(compile_source(f"@continuation\ndef main():\n    {body}\n", "p.py").encode())
    machine = Machine.start(program, "main", [], RUN, fuel, 10**7, projection=projection)
    while isinstance(end := machine.run(slices), Sliced):
        pass
    return end, machine.fuel_left, machine.memory_left


@pytest.mark.parametrize("name", LONG)
def test_one_instruction_ends_the_run(name: str) -> None:
    """The code is that of spent fuel; the owner's log says what to do; fuel is left, the same in both forms."""
    end, fuel, memory = end_of(LONG[name])
    assert isinstance(end, Failed)
    assert end.code == "fuel"
    assert "one instruction" in end.detail
    assert "loop" in end.detail
    assert FUEL - fuel <= MAX_INSTRUCTION_FUEL + 100_000
    assert end_of(LONG[name], projection=False, slices=FUEL) == (end, fuel, memory)


def test_a_run_with_less_than_an_instruction_may_use_spends_all() -> None:
    """The run's own fuel comes first."""
    end, fuel, _ = end_of(LONG["sum"], fuel=100_000)
    assert isinstance(end, Failed)
    assert "the run's fuel is spent" in end.detail
    assert fuel == 0


def test_a_loop_does_more() -> None:
    """Many instructions use what one may not, long ones behind each other too."""
    loop = "t = 0\n    for i in range(400_000):\n        t += i\n"
    body = f"{loop}    for _ in range(4):\n        t += sum(range(400_000))\n    return t"
    end, fuel, _ = end_of(body, fuel=3 * FUEL)
    assert end == Done(5 * sum(range(400_000)))
    assert 3 * FUEL - fuel > 2 * MAX_INSTRUCTION_FUEL


def cost_of(body: str) -> int:
    """Fuel of a body that ends, the same in both forms."""
    end, fuel, _ = end_of(body)
    assert isinstance(end, Done)
    assert end_of(body, projection=False)[1] == fuel
    return FUEL - fuel


MEMBERS = "y = 1 << 100_000\n    s = {(y, i) for i in range(50)}\n    t = set(s)\n    u = 0\n    "


@pytest.mark.parametrize(
    "what", ["s & t", "s | t", "s == t", "s <= t", "s.issubset(t)", "s.issuperset(t)", "s.isdisjoint([y])"]
)
def test_operations_on_sets_pay_for_hashing_again(what: str) -> None:
    """Tuples and integers do not keep their hash, texts do."""
    least = 24 if "disjoint" in what else 50 * 24
    assert cost_of(f"{MEMBERS}u = {what}\n    return 1") - cost_of(f"{MEMBERS}return 1") >= least


def test_long_keys_are_paid_for_where_one_instruction_takes_many() -> None:
    """Two equal texts that are different objects are compared whole each time."""
    body = "a = 'a' * 102_400\n    b = a[:1] + a[1:]\n    x = [a, b] * 100\n    {0}\n    return 1"
    assert cost_of(body.format("y = set(x)")) - cost_of(body.format("y = 1")) >= 200 * 100


def test_text_of_long_integers_is_paid_for() -> None:
    """The host's way is quadratic; short ones cost what they did."""
    assert cost_of("x = 10**4000\n    return len(str(x))") - cost_of("x = 10**4000\n    return x > 1") > 350
    assert cost_of("x = 10**200\n    return len(str(x))") < 20


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-9, 9),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(allow_nan=False),
    st.just(NAN),
)
TEXTS = st.one_of(st.text("abé", max_size=4), st.just("a" * 70))
ITEMS = st.one_of(
    st.lists(SCALARS, max_size=20),
    st.lists(TEXTS, max_size=20),
    st.lists(st.binary(max_size=4), max_size=20),
    st.lists(st.one_of(SCALARS, TEXTS), max_size=6),
    st.lists(st.tuples(TEXTS, SCALARS), max_size=20),
    st.lists(st.tuples(SCALARS, st.one_of(TEXTS, SCALARS)), max_size=20),
    st.lists(st.lists(SCALARS, max_size=3).map(tuple), max_size=20),
    st.lists(st.one_of(st.tuples(SCALARS), SCALARS), max_size=6),
)
SORTS = verify(
    compile_source(
        "def second(x):\n    return x[1] if isinstance(x, tuple) and len(x) > 1 else x\n"
        "@continuation\ndef main(x, back):\n    y = list(x)\n    y.sort(reverse=back)\n"
        "    return [sorted(x, reverse=back), y, sorted(x, key=second)]\n",
        "p.py",
    ).encode()
)


def second(value: Any) -> Any:
    return value[1] if isinstance(value, tuple) and len(value) > 1 else value


@given(ITEMS, st.booleans())
@example([(NAN, 1), (NAN, 0), (1.0, 2)], False)
@example([(1,) * 9, (0,) * 9], False)
@example([()] * 3, True)
@example([1 << 62, 0, -(1 << 62)], False)
def test_sorting_orders_as_cpython(items: list[Any], back: bool) -> None:
    """Where the host compares by itself, and where the machine does; errors too."""
    try:
        wanted: Any = [sorted(items, reverse=back), sorted(items, reverse=back), sorted(items, key=second)]
    except TypeError as error:
        wanted = f"TypeError: {error}"
    machine = Machine.start(SORTS, "main", [items, back], RUN, 10**6, 10**7)
    end = machine.run(10**6)
    found = end.value if isinstance(end, Done) else end.detail if isinstance(end, Failed) else end
    assert repr(found) == repr(wanted)
