"""Verified programs that no compiler writes run the same in both forms, or their functions are left to the stepper."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sojourn.errors import ProgramInvalid
from sojourn.vm import Machine, VerifiedProgram, verify
from sojourn.vm.op import BINARY, BUILTINS, COMPARE, METHODS, Op
from sojourn.vm.program import Function, Handler
from sojourn.vm.projection import driver, forms

RUN = bytes(32)
RUNS = 1_000  # slices of one run; what goes on for ever is left


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("bytecode_generator", Path(__file__).parent / "bytecode_generator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE = _generator()
C = MADE.constant


@pytest.fixture(autouse=True)
def _hot_at_once() -> Iterator[None]:
    before = vars(driver._Tuning).copy()
    driver.tune(warm=0, quantum=1, hot=0, hot_by_size=0)
    forms._PROGRAMS.clear()
    yield
    driver.tune(**{name: before[name] for name in ("warm", "quantum", "hot", "hot_by_size")})


def trace(program: VerifiedProgram, pattern: list[bool], stops: list[int], fuel: int, memory: int) -> list[bytes]:
    """The states at the stops and at the end; loaded in the next of the forms at each."""
    machine = Machine.start(program, "main", (), RUN, fuel, memory, projection=pattern[0])
    states, left = list[bytes](), list(stops)
    for turn in range(1, RUNS):
        done = fuel - machine.fuel_left
        while left and left[0] <= done:
            left.pop(0)
        machine.run(left[0] - done if left else fuel)
        states.append(machine.dump())
        if machine.outcome is not None:
            break
        machine = Machine.load(program, states[-1], projection=pattern[turn % len(pattern)])
    return states


def agree(program: VerifiedProgram, stops: list[int], fuel: int, memory: int) -> None:
    stepped = trace(program, [False], stops, fuel, memory)
    assert trace(program, [True], stops, fuel, memory) == stepped
    assert trace(program, [True, False], stops, fuel, memory) == stepped
    assert trace(program, [True], stops, fuel, memory) == stepped, "with the forms that were made before"


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**48))
def test_random_instructions_agree(seed: int) -> None:
    generator = random.Random(seed)
    try:
        program = verify(MADE.program(generator))
    except ProgramInvalid:
        return
    note(str(program.program))
    fuel, memory = generator.choice((90, 250, 600)), generator.choice((3_000, 20_000, 10**6))
    agree(program, [], fuel, memory)
    agree(program, sorted(generator.randrange(fuel) for _ in range(5)), fuel, memory)


SEEN: list[tuple[int, int, int]] = [  # puts the argument into the list `b`
    (Op.LOAD, 1, 0),
    (Op.LOAD, 2, 0),
    (Op.METHOD, list(METHODS).index("append"), 1),
    (Op.POP, 0, 0),
]
RETURNS: list[tuple[int, int, int]] = [(Op.LOAD, 1, 0), (Op.RETURN, 0, 0)]
THREE: list[tuple[int, int, int]] = [(Op.CONST, C(k), 0) for k in (0, 1, 2)]
PLUS, LESS = BINARY.index("+"), COMPARE.index("<")


def f(*words: tuple[int, int, int], **fields: Any) -> Function:
    made = MADE.function("f", list(words), **fields)
    assert isinstance(made, Function)
    return made


def beside_a_loop(length: int) -> Function:
    """A branch to the head of a loop, or to so many instructions and two more; the loop takes seven."""
    return f(
        (Op.LIST, 0, 0),
        (Op.STORE, 1, 0),
        *THREE,
        (Op.LIST, 3, 0),
        (Op.ITER, 4, 0),
        (Op.LOAD, 0, 0),
        (Op.JUMP_IF_FALSE, 11 + length, 0),
        (Op.LOAD, 0, 0),
        *[(Op.NOT, 0, 0)] * length,
        (Op.RETURN, 0, 0),
        (Op.NEXT, 4, 18 + length),
        (Op.STORE, 2, 0),
        *SEEN,
        (Op.JUMP, 11 + length, 0),
        *RETURNS,
    )


# Each as the function that is called, and whether it is written.
SHAPES: dict[str, tuple[Function, bool]] = {
    "one target, two variables": (
        f(
            (Op.CONST, C(0), 0),
            (Op.STORE, 1, 0),
            (Op.LOAD, 0, 0),
            (Op.LOAD, 2, 0),  # fails
            (Op.RETURN, 0, 0),
            (Op.LOAD, 3, 0),  # 5: fails
            (Op.RETURN, 0, 0),
            (Op.LOAD, 1, 0),  # 7
            (Op.LOAD, 2, 1),
            (Op.LIST, 2, 0),
            (Op.RETURN, 0, 0),
            handlers=(Handler(2, 5, 7, 2), Handler(5, 7, 7, 1)),
        ),
        False,
    ),
    "a handler that is jumped to": (
        f(
            (Op.LOAD, 0, 0),
            (Op.STORE, 1, 0),
            (Op.LOAD, 0, 0),
            (Op.JUMP_IF_TRUE, 6, 0),
            (Op.LOAD, 3, 0),  # fails
            (Op.RETURN, 0, 0),
            (Op.LOAD, 1, 0),  # 6: the handler, also for a number
            (Op.IS_A, C("ValueError"), 0),
            (Op.RETURN, 0, 0),
            handlers=(Handler(4, 6, 6, 1),),
        ),
        False,
    ),
    "a handler that is a loop": (
        f(
            (Op.LOAD, 3, 0),  # fails
            (Op.RETURN, 0, 0),
            (Op.LOAD, 1, 0),  # 2: the handler, and then a number
            (Op.IS_A, C("ValueError"), 0),
            (Op.STORE, 2, 0),
            (Op.LOAD, 0, 0),
            (Op.STORE, 1, 0),
            (Op.LOAD, 0, 0),
            (Op.CONST, C(1), 0),
            (Op.BINARY, PLUS, 0),
            (Op.STORE, 0, 0),
            (Op.LOAD, 0, 0),
            (Op.CONST, C(7), 0),
            (Op.COMPARE, LESS, 0),
            (Op.JUMP_IF_TRUE, 2, 0),
            *RETURNS,
            handlers=(Handler(0, 2, 2, 1),),
        ),
        False,
    ),
    "a loop that begins its iterator anew": (
        f(
            (Op.LIST, 0, 0),
            (Op.STORE, 1, 0),
            *THREE,
            (Op.LIST, 3, 0),
            (Op.ITER, 4, 0),
            (Op.NEXT, 4, 21),  # 7
            (Op.STORE, 2, 0),
            *SEEN,
            (Op.LOAD, 0, 0),  # 13
            (Op.JUMP_IF_FALSE, 7, 0),
            (Op.CONST, C(0), 0),
            (Op.STORE, 0, 0),
            (Op.LOAD, 2, 0),
            (Op.LIST, 1, 0),
            (Op.ITER, 4, 0),
            (Op.JUMP, 7, 0),
            *RETURNS,  # 21
        ),
        True,
    ),
    "a loop that draws twice": (
        f(
            (Op.LIST, 0, 0),
            (Op.STORE, 1, 0),
            *THREE,
            *THREE,
            (Op.DICT, 3, 0),
            (Op.ITER, 4, 0),
            (Op.NEXT, 4, 18),  # 10
            (Op.STORE, 2, 0),
            *SEEN,
            (Op.NEXT, 4, 18),
            (Op.POP, 0, 0),
            (Op.JUMP, 10, 0),  # 18
            *RETURNS,
        ),
        True,
    ),
    "a loop that gives up its iterator": (
        f(
            (Op.LIST, 0, 0),
            (Op.STORE, 1, 0),
            *THREE,
            (Op.LIST, 3, 0),
            (Op.ITER, 4, 0),
            (Op.NEXT, 4, 15),  # 7
            (Op.STORE, 2, 0),
            *SEEN,
            (Op.CLEAR, 4, 0),
            (Op.JUMP, 7, 0),
            *RETURNS,  # 15
        ),
        True,
    ),
    "a way out of a loop to where it ends": (
        f(
            (Op.LIST, 0, 0),
            (Op.STORE, 1, 0),
            *THREE,
            (Op.LIST, 3, 0),
            (Op.ITER, 4, 0),
            (Op.NEXT, 4, 18),  # 7
            (Op.STORE, 2, 0),
            *SEEN,
            (Op.LOAD, 2, 0),
            (Op.LOAD, 0, 0),
            (Op.COMPARE, LESS, 0),
            (Op.JUMP_IF_TRUE, 18, 0),
            (Op.JUMP, 7, 0),
            *RETURNS,  # 18
        ),
        True,
    ),
    "a loop that draws under its own handler": (
        f(
            (Op.LIST, 0, 0),
            (Op.STORE, 1, 0),
            *THREE,
            (Op.LIST, 3, 0),
            (Op.ITER, 4, 0),
            (Op.NEXT, 4, 16),  # 7
            (Op.STORE, 2, 0),
            *SEEN,
            (Op.LOAD, 3, 0),  # fails
            (Op.RETURN, 0, 0),
            (Op.JUMP, 7, 0),  # 15
            *RETURNS,  # 16
            handlers=(Handler(7, 15, 15, 2),),
        ),
        True,
    ),
    "a way into a loop beside one as long": (beside_a_loop(5), True),
    "a way into a loop beside a longer one": (beside_a_loop(9), True),
    "a rotation by nothing": (
        f((Op.LOAD, 0, 0), (Op.ROT, 0, 0), (Op.DUP, 0, 0), (Op.RETURN, 0, 0)),
        True,
    ),
    "a call before a loop's head": (
        f(
            (Op.LOAD, 0, 0),
            (Op.BUILTIN, list(BUILTINS).index("str"), 1),
            (Op.BUILTIN_VALUE, list(BUILTINS).index("len"), 0),
            (Op.LOAD, 0, 0),
            (Op.BUILTIN, list(BUILTINS).index("str"), 1),
            (Op.CALL_VALUE, 0, 1),
            (Op.LOAD, 0, 0),  # 6: with two values on the stack
            (Op.CONST, C(7), 0),
            (Op.COMPARE, LESS, 0),
            (Op.JUMP_IF_FALSE, 15, 0),
            (Op.LOAD, 0, 0),
            (Op.CONST, C(1), 0),
            (Op.BINARY, PLUS, 0),
            (Op.STORE, 0, 0),
            (Op.JUMP, 6, 0),
            (Op.TUPLE, 2, 0),
            (Op.RETURN, 0, 0),
        ),
        True,
    ),
    "an exception that its variable holds already": (
        f(
            (Op.LOAD, 3, 0),  # fails
            (Op.RETURN, 0, 0),
            (Op.LOAD, 1, 0),  # 2
            (Op.RAISE, 0, 0),
            *RETURNS,  # 4
            handlers=(Handler(0, 2, 2, 1), Handler(2, 4, 4, 1)),
        ),
        True,
    ),
    "a branch with one end": (
        f((Op.LOAD, 0, 0), (Op.JUMP_IF_FALSE, 2, 0), (Op.LOAD, 0, 0), (Op.RETURN, 0, 0)),
        True,
    ),
    "without lines": (
        f((Op.LOAD, 3, 0), (Op.RETURN, 0, 0), lines=(0, 0)),
        True,
    ),
    "without lines, by an operation": (
        f((Op.LOAD, 0, 0), (Op.BUILTIN, list(BUILTINS).index("len"), 1), (Op.RETURN, 0, 0), lines=(0, 0, 0)),
        True,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_forged_control_flow_agrees(name: str) -> None:
    called, written = SHAPES[name]
    for line in (1, 0):
        program = verify(MADE.calling(called, line=line))
        fuel = 5_000
        machine = Machine.start(program, "main", (), RUN, fuel, 10**6, projection=False)
        machine.run(fuel)
        used = fuel - machine.fuel_left
        assert 100 < used < RUNS
        agree(program, [], fuel, 10**6)
        agree(program, list(range(1, used + 1)), fuel, 10**6)
        for ends in range(used - 60, used + 1, 3):
            agree(program, [], ends, 10**6)
        found = forms.forms_of(program)
        assert (found.graph(1, 0) is not None) is written
        assert any(form is not None for form in found.made.values())
