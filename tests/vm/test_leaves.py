"""Calls of small functions in generated code: whatever happens in them, both forms agree to the byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sojourn.vm import Done, Failed, Machine, Sliced, VerifiedProgram, compile_source, verify
from sojourn.vm.projection import driver

RUN = bytes(32)

PROGRAMS: dict[str, str] = {
    "sum": "def f(a, b):\n    return a + b\n",
    "stores": "def f(a, b):\n    a = a * 2\n    c = a - b\n    a += c\n    return a + c\n",
    "defaults": "def f(a, b, c=3, d=0.5):\n    return a * d + b - c\n",
    "argument": "def f(a, b):\n    return b\n",
    "constant": "def f(a, b):\n    return 7\n",
    "nothing": "def f(a, b):\n    a + b\n",
    "comparison": "def f(a, b):\n    return a < b\n",
    "negation": "def f(a, b):\n    return not -a\n",
    "none": "def f(a, b):\n    return a is None\n",
    "zero": "def f(a, b):\n    return a // (b - 20)\n",
    "large": "def f(a, b):\n    return a * 4611686018427387903 + b\n",
    "kinds": "def f(a, b):\n    return a + b\n\ndef g(i):\n    return i if i % 7 else 'x'\n",
    "unbound": "def f(a, b):\n    if a:\n        c = 1\n    return a\n",
    "never bound": "def f(a, b):\n    return c\n    c = 1\n",
    "tuple default": "def f(a, b, c=(1, 2)):\n    return c\n",
    "text": "def f(a, b):\n    return 'x' + 'y'\n",
    "display": "def f(a, b):\n    return [a, b]\n",
    "rest": "def f(a, b, *c):\n    return c\n",
    "long": "def f(a, b):\n    return a + b" + " + a - b" * 12 + "\n",
    "power": "def f(a, b):\n    return a ** 2\n",
}
MAIN = """
@continuation
def main(n):
    s, last = 0, None
    for i in range(n):
        try:
            s += 1
            last = f({0}, i)
        except (ZeroDivisionError, NameError, TypeError) as problem:
            last = str(problem)
    return s, last
"""


@pytest.fixture(autouse=True)
def _hot() -> Iterator[None]:
    tuning = driver._Tuning
    before = tuning.warm, tuning.quantum, tuning.hot, tuning.hot_by_size
    driver.tune(warm=1, quantum=16, hot=16, hot_by_size=1)
    yield
    driver.tune(warm=before[0], quantum=before[1], hot=before[2], hot_by_size=before[3])


def program(name: str) -> VerifiedProgram:
    source = PROGRAMS[name]
    return verify(compile_source(source + MAIN.format("g(i)" if "def g" in source else "s"), f"{name}.py").encode())


def states(program: VerifiedProgram, fuel: int, memory: int, *, piece: int, projection: bool) -> list[bytes]:
    """The states after each slice."""
    machine = Machine.start(program, "main", (40,), RUN, fuel, memory, projection=projection)
    found = []
    while isinstance(machine.run(piece), Sliced):
        found.append(machine.dump())
    assert isinstance(machine.outcome, Done | Failed)
    return [*found, machine.dump()]


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_forms_agree_wherever_they_are_stopped(name: str) -> None:
    made = program(name)
    states(made, 10**6, 10**6, piece=10**6, projection=True)  # what is guessed wrong is known from here on
    for fuel, memory, piece in ((10**6, 10**6, 61), (10**6, 10**6, 7), (10**6, 2_000, 10**6), (10**6, 3_100, 53)):
        stepped = states(made, fuel, memory, piece=piece, projection=False)
        assert states(made, fuel, memory, piece=piece, projection=True) == stepped
    for fuel in range(300, 313):
        stepped = states(made, fuel, 10**6, piece=10**6, projection=False)
        assert states(made, fuel, 10**6, piece=10**6, projection=True) == stepped


def test_a_leaf_at_the_deepest_frame_is_one_frame_too_many() -> None:
    source = (
        "def f(a):\n    return a + 1\n\ndef down(k):\n    if k == 0:\n        return f(0)\n    return down(k - 1)\n\n"
        "@continuation\ndef main(n):\n    found = []\n    for k in range(n - 6, n):\n        try:\n"
        "            found.append(down(k))\n        except RecursionError as problem:\n"
        "            found.append(str(problem))\n    return found\n"
    )
    made = verify(compile_source(source, "deep.py").encode())
    both = []
    for projection in (False, True, True):
        machine = Machine.start(made, "main", (1_000,), RUN, 10**7, 10**7, projection=projection)
        progress = machine.run(10**7)
        assert isinstance(progress, Done)
        both.append((progress.value, machine.dump()))
    assert both[0] == both[1] == both[2]
    assert 1 in both[0][0]
    assert "maximum recursion depth exceeded" in both[0][0]
