"""Both forms of execution agree bit for bit: results, effects, errors, snapshots at any stop, budgets left."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sojourn.errors import ProgramRefused
from sojourn.vm import Done, Failed, Machine, Parked, VerifiedProgram
from sojourn.vm.projection import driver
from sojourn.vm.projection import forms as projection_forms

PROGRAMS = Path(__file__).parents[1] / "programs"
FUEL, MEMORY = 10**7, 6 * 10**7


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"projection_{name}", PROGRAMS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    known = sys.modules.get("program_stopping")  # the programs' own tests hold on to theirs
    spec.loader.exec_module(module)
    if known is not None:
        sys.modules["program_stopping"] = known
    return module


ORACLE = _load("conftest")
GENERATOR = _load("generator")
CORPUS: dict[str, str] = ORACLE.programs()


@pytest.fixture(autouse=True)
def _hot_at_once() -> Iterator[None]:
    """Everything counts as hot from its first instruction on, so that short programs are projected."""
    before = vars(driver._Tuning).copy()
    driver.tune(warm=0, quantum=1, hot=0, hot_by_size=0)
    projection_forms._PROGRAMS.clear()
    yield
    driver.tune(**{name: before[name] for name in ("warm", "quantum", "hot", "hot_by_size")})


def trace(
    program: VerifiedProgram, forms: list[bool], stops: list[int], fuel: int = FUEL, memory: int = MEMORY
) -> tuple[list[bytes], list[str]]:
    """The snapshots at stops, after each effect and at the end, and the log.

    At each stop the machine is loaded from its snapshot in the next of `forms` in turn.
    """
    turn = 0
    machine = Machine.start(program, program.entries[0], (), bytes(32), fuel, memory, projection=forms[0])
    snapshots, log, left = [], list[str](), list(stops)
    while True:
        done = fuel - machine.fuel_left
        while left and left[0] <= done:
            left.pop(0)
        progress = machine.run(left[0] - done if left else FUEL)
        snapshots.append(machine.dump())
        if isinstance(progress, Done | Failed):
            return snapshots, log
        if isinstance(progress, Parked):
            log.append(f"{progress.effect.name} {sorted(progress.effect.args.items())!r}")
            machine.resume(None)
        else:
            turn += 1
            machine = Machine.load(program, snapshots[-1], projection=forms[turn % len(forms)])


def agree(program: VerifiedProgram, stops: list[int], fuel: int = FUEL, memory: int = MEMORY) -> None:
    """Stepped, projected and alternating runs are the same at each stop."""
    stepped = trace(program, [False], stops, fuel, memory)
    assert trace(program, [True], stops, fuel, memory) == stepped
    if stops:
        assert trace(program, [True, False], stops, fuel, memory) == stepped


def used(program: VerifiedProgram) -> int:
    machine = Machine.start(program, program.entries[0], (), bytes(32), FUEL, MEMORY, projection=False)
    while isinstance(machine.run(FUEL), Parked):
        machine.resume(None)
    return FUEL - machine.fuel_left


@pytest.mark.parametrize("name", CORPUS)
def test_corpus_agrees_at_stops(name: str) -> None:
    program = ORACLE.compiled(CORPUS[name])
    total = used(program)
    generator = random.Random(name)
    agree(program, [])
    for count in (1, 5, 12):
        agree(program, sorted(generator.randrange(total + 1) for _ in range(count)))


@pytest.mark.parametrize("name", CORPUS)
def test_corpus_agrees_where_budgets_end(name: str) -> None:
    program = ORACLE.compiled(CORPUS[name])
    total = used(program)
    generator = random.Random(f"{name} budgets")
    for fuel in {generator.randrange(1, total + 1) for _ in range(4)}:
        agree(program, [], fuel=fuel)
    for memory in (1_000, 3_000, 7_000, 20_000, generator.randrange(400, 30_000)):
        agree(program, [], memory=memory)
        agree(program, [generator.randrange(total + 1)], memory=memory)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**48))
def test_random_programs_agree(seed: int) -> None:
    generator = random.Random(seed)
    source = GENERATOR.program(generator)
    note(source)
    try:
        program = ORACLE.compiled(source)
    except ProgramRefused:
        return
    total = used(program)
    agree(program, [])
    agree(program, sorted(generator.randrange(total + 1) for _ in range(4)))
    agree(program, [], fuel=generator.randrange(1, total + 2))
    agree(program, [generator.randrange(total + 1)], memory=generator.randrange(400, 20_000))
