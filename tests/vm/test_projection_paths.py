"""Programs that go where the corpus seldom does: both forms end the same, at every stop and with every budget."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sojourn.vm import Machine, VerifiedProgram, verify
from sojourn.vm.op import Op, pack
from sojourn.vm.program import Function, Program
from sojourn.vm.projection import driver, forms
from sojourn.vm.shape import Shape
from sojourn.vm.values import UNBOUND

RUN = bytes(32)
FUEL, MEMORY = 10**6, 10**7


@pytest.fixture(autouse=True)
def _hot_at_once() -> Iterator[None]:
    before = vars(driver._Tuning).copy()
    driver.tune(warm=0, quantum=1, hot=0, hot_by_size=0)
    forms._PROGRAMS.clear()
    yield
    driver.tune(**{name: before[name] for name in ("warm", "quantum", "hot", "hot_by_size")})


def trace(program: VerifiedProgram, pattern: list[bool], every: int, fuel: int, memory: int) -> list[bytes]:
    """The states at stops and at the end; loaded in the next of the forms at each."""
    machine = Machine.start(program, "main", (), RUN, fuel, memory, projection=pattern[0])
    states = [machine.dump()]
    while machine.outcome is None:
        machine.run(every)
        states.append(machine.dump())
        machine = Machine.load(program, states[-1], projection=pattern[len(states) % len(pattern)])
    return states


def agree(program: VerifiedProgram, every: int = FUEL, fuel: int = FUEL, memory: int = MEMORY) -> bytes:
    """The end, which is the same for both forms."""
    stepped = trace(program, [False], every, fuel, memory)
    for pattern in ([True], [True, False], [True]):
        assert trace(program, pattern, every, fuel, memory) == stepped
    return stepped[-1]


def used(program: VerifiedProgram) -> tuple[int, int]:
    """Fuel and memory of a run, both without an end before."""
    machine = Machine.start(program, "main", (), RUN, FUEL, MEMORY, projection=False)
    machine.run(FUEL)
    return FUEL - machine.fuel_left, MEMORY - machine.memory_left


PROGRAMS = {
    "defaults, rest and named": """
def numbers(a, b=2, *, k=3):
    return a * 100 + b * 10 + k

def pair(a, b=(1, 2)):
    return [a, b]

def rest(a, *more):
    return [a, more, len(more)]

def named(a, **words):
    words["a"] = a
    return words

def both(a, b="x", *more, k=None, **words):
    return [a, b, more, k, words]

@continuation
def main():
    out = []
    for k in range(6):
        out.append([numbers(k), numbers(k, 5), numbers(k, k=k), numbers(b=k, a=1), numbers(k, 1, k=2)])
        out.append([pair(k), pair(k, k), rest(k), rest(k, 1, "b"), named(k), named(k, u=k, v="w")])
        out.append([both(k), both(k, 2, 3, k=4, z=5)])
    return out
""",
    "a chain of calls that is deeper than kinds are looked for": "\n".join(
        [
            *[f"def f{k}(x):\n    return f{k + 1}(x + {k}) + 1\n" for k in range(30)],
            "def f30(x):\n    return x * 2\n",
            "@continuation\ndef main():\n    total = 0",
            "    for k in range(5):\n        total += f0(k)\n    return total\n",
        ]
    ),
    "an error at one place again and again": """
@continuation
def main():
    out = []
    for k in range(8):
        try:
            if k > 20:
                late = k
            out.append(late)
        except UnboundLocalError as problem:
            out.append(str(problem))
    return out
""",
    "pairs that are kept as they are": """
@continuation
def main():
    d, out = {"a": 1, "b": [2]}, []
    for k in range(4):
        for pair in d.items():
            out.append(pair)
        d[str(k)] = k
    return out
""",
    "a sum that is stored where it came from": """
@continuation
def main():
    x, out = [0.5, 1e308], []
    for k in range(9):
        x[0] += 1.5
        x[1] *= 10.0
        x[1] -= 1e308 * 10.0
        out.append([x[1] in x, x[1] == x[1], x[1] in [x[1]]])
    return [x[0], out]
""",
    "the truth of anything": """
@continuation
def main():
    out, values = [], [0, "", [1], None, 2.5, 0.0, {}, {1}, set(), range(0), b"", b"x", "x", 2**80, len, ()]
    for again in range(7):
        for value in values:
            out.append(not value)
            if not value:
                out.append(1)
            elif value and again:
                out.append(2)
    return out
""",
    "bits and signs": """
@continuation
def main():
    out, values = [], [0, 5, -7, 2.5, -0.0, 2**61, -(2**61), 2**62 - 1, -(2**62), True, 2**90]
    for again in range(3):
        for value in values:
            try:
                out.append([-value, +value, ~value])
            except TypeError as problem:
                out.append(str(problem))
        k = 0
        for n in range(5):
            k = ~k - n
            out.append([k, -(k * 0.5), +(k * 0.5)])
    return out
""",
    "long operations": """
@continuation
def main():
    out = []
    for k in range(6):
        text = "ab" * (2000 + k)
        out.append(len(text + text))
        out.append(text.count("ba"))
        out.append(sum(list(range(300))))
        out.append([k] * 500 == [k] * 500)
        out.append(len(sorted(range(200, 0, -1))))
    return out
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_forms_agree(kit: Any, name: str) -> None:
    program = kit.program_of(PROGRAMS[name])
    assert b"failed" not in agree(program)
    fuel, memory = used(program)
    generator = random.Random(name)
    for every in (7, generator.randrange(20, 90)):
        agree(program, every=every)
    for ends in {generator.randrange(1, fuel) for _ in range(15)}:
        agree(program, fuel=ends)
    for most in {generator.randrange(500, memory) for _ in range(5)} | {700, 1500, 4000}:
        agree(program, memory=most)
    assert any(form is not None for form in forms.forms_of(program).made.values())


def test_a_budget_that_ends_within_one_operation(kit: Any) -> None:
    """An operation that needs more than the run has left takes all of it."""
    program = kit.program_of(
        """
@continuation
def main():
    out, text, most = [], "ab", 30000
    for k in range(4):
        out.append(len(text * most))
    return out
"""
    )
    fuel, _ = used(program)
    assert fuel > 5_000
    for ends in range(40, fuel, fuel // 40):
        agree(program, fuel=ends)


def test_a_parameter_that_a_forged_state_has_not_bound(kit: Any) -> None:
    """A frame before its first instruction has all of its parameters, but for one that somebody wrote."""
    program = kit.program_of(
        """
def f(a, b):
    c = a
    return [b, c]

@continuation
def main():
    return f(1, f(2, 3))
"""
    )
    machine = Machine.start(program, "main", (), RUN, FUEL, MEMORY, projection=False)
    while len(machine.runs[0].frames) == 1:
        machine.run(1)
    frame = machine.runs[0].frames[-1]
    assert frame.pc == 0
    for parameter in (0, 1):
        kept = frame.locals[parameter]
        frame.locals[parameter] = UNBOUND
        forged = machine.dump()
        frame.locals[parameter] = kept
        ends = []
        for projection in (False, True, True):
            loaded = Machine.load(program, forged, projection=projection)
            loaded.run(FUEL)
            ends.append(loaded.dump())
        assert b"UnboundLocalError" in ends[0]
        assert ends[0] == ends[1] == ends[2]


def test_a_function_of_more_blocks_than_are_written() -> None:
    branches = [word for k in range(600) for word in (pack(Op.LOAD, 0), pack(Op.JUMP_IF_TRUE, 2 * k + 2))]
    large = (*branches, pack(Op.LOAD, 0), pack(Op.RETURN))
    calls = (pack(Op.CONST, 1), pack(Op.CALL, 1, 0), pack(Op.RETURN))

    def function(name: str, params: int, code: tuple[int, ...]) -> Function:
        return Function(name, params, 0, 0, (), (), ("a",), (), (), (), (), code, (1,) * len(code))

    made = Program(
        1, (0,), (function("main", 0, calls), function("f", 1, large)), (None, 5), ("log.note",), (Shape(1, ()),)
    )
    program = verify(made.encode())
    agree(program, every=3_000)
    assert forms.forms_of(program).graph(1, 0) is None


def test_a_form_that_leaves_no_state_is_no_state(kit: Any) -> None:
    """If generated code were wrong, the run would end there, and not go on with a frame too few."""
    program = kit.program_of("def f(x):\n    return x\n\n@continuation\ndef main():\n    return f(1) + f(2)\n")
    agree(program)
    found = forms.forms_of(program)

    def broken(*_: Any) -> None:
        raise TypeError("as if generated code were wrong")

    assert found.made
    found.made.update(dict.fromkeys(found.made, broken))
    machine = Machine.start(program, "main", (), RUN, FUEL, MEMORY)
    with pytest.raises(RuntimeError, match="generated code left no state"):
        machine.run(FUEL)


def compiled_in(program: VerifiedProgram, key: forms.Key) -> tuple[forms.Forms, float]:
    """The forms of a program after one was asked for, and seconds of the processor's time."""
    found = forms.Forms(program)
    began = time.process_time()
    found.form(key)
    return found, time.process_time() - began


def straight(name: str, params: int, code: list[int]) -> Function:
    return Function(name, params, 0, 0, (), (), ("a",), (), (), (), (), tuple(code), (1,) * len(code))


CALL_F = [pack(Op.CONST, 1), pack(Op.CALL, 1, 0), pack(Op.RETURN)]
ADD = [pack(Op.LOAD, 0), pack(Op.CONST, 1), pack(Op.BINARY, 0), pack(Op.STORE, 0)]
END = [pack(Op.LOAD, 0), pack(Op.RETURN)]
BACK = [[pack(Op.LOAD, 0), pack(Op.JUMP_IF_TRUE, 2 * k)] for k in reversed(range(200))]
LARGE: dict[str, list[Function]] = {
    "loops within each other": [
        straight("f", 1, [*[pack(Op.LOAD, 0), pack(Op.POP)] * 200, *[word for way in BACK for word in way], *END])
    ],
    "one long function": [straight("f", 1, [*ADD * 1_500, *END])],
    "calls of small functions": [
        straight("f", 1, [*[pack(Op.LOAD, 0), pack(Op.CALL, 2, 0), pack(Op.POP)] * 400, *END]),
        straight("leaf", 1, [*ADD * 5, *END]),
    ],
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_too_large_for_a_form_is_stepped(name: str) -> None:
    functions = (straight("main", 0, CALL_F), *LARGE[name])
    program = verify(Program(1, (0,), functions, (None, 5), ("log.note",), (Shape(1, ()),)).encode())
    found, seconds = compiled_in(program, forms.Key(1, -1, ("I",)))
    assert set(found.made.values()) == {None}
    assert seconds < 1
    agree(program, fuel=5_000)


def test_not_all_that_is_called_is_looked_at() -> None:
    """A function that calls 1,800 others has a form, and soon; what the last of them return is not known."""
    calls = [word for k in range(1_800) for word in (pack(Op.CONST, 1), pack(Op.CALL, 2 + k, 0), pack(Op.POP))]
    called = [straight(f"f{k}", 1, [*ADD * 25, *END]) for k in range(1_800)]
    functions = (straight("main", 0, CALL_F), straight("all", 1, [*calls[:4_800], *END]), *called)
    program = verify(Program(1, (0,), functions, (None, 5), ("log.note",), (Shape(1, ()),)).encode())
    found, seconds = compiled_in(program, forms.Key(1, -1, ("I",)))
    assert None not in found.made.values()
    assert found.looks < 1_000
    assert set(found.results.values()) == {"I", "?"}
    assert seconds < 5
    agree(program, fuel=20_000)
