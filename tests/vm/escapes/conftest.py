"""What an attempt may end in, and what may be reachable when it has ended."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sojourn.vm import Box, Done, Effect, Failed, Handle, Machine, Parked, RecordValue, RegionError
from sojourn.vm.op import EXCEPTIONS
from sojourn.vm.values import (
    BuiltinValue,
    Cell,
    DictView,
    ExcValue,
    FunctionValue,
    Iter,
    SetValue,
    Suspended,
    Unbound,
)
from sojourn.vm.walking import walk

HERE = Path(__file__).parent
CODES = frozenset((*EXCEPTIONS, "fuel", "memory"))
# Exactly these classes, and none derived from them: no module, frame, code object, method or host object.
_OPAQUE = (Box, BuiltinValue, Cell, DictView, ExcValue, FunctionValue, Handle, Iter, RecordValue, SetValue, Suspended)
VALUES = frozenset((type(None), bool, int, float, str, bytes, tuple, list, dict, range, Unbound, *_OPAQUE))
# Of processor time, for whatever an attempt does; a tracer, as for coverage, makes all of it a few times slower.
SECOND = 1.0 if sys.gettrace() is None else 4.0


class Attempt(NamedTuple):
    """One section of a corpus file: `=== name | expected`, and the text below."""

    name: str
    expected: str
    text: str


def attempts(file: str) -> list[Attempt]:
    """The sections of a corpus file."""
    found = []
    for section in (HERE / file).read_text(encoding="utf-8").split("\n=== ")[1:]:
        head, _, text = section.partition("\n")
        name, _, expected = head.partition(" | ")
        found.append(Attempt(name, expected.strip(), text.strip("\n") + "\n"))
    assert len({attempt.name for attempt in found}) == len(found)
    return found


def only_values(machine: Machine) -> None:
    """Nothing but values of the language is reachable from the state, and every local and stack slot is one."""
    boxes = machine.runs[0].boxes
    for value in walk(machine.roots(), boxes):
        assert type(value) in VALUES, type(value)
        if type(value) is str:
            value.encode()
    for run in machine.runs:
        assert not run.building
        for frame in run.frames:
            assert all(type(value) in VALUES for value in (*frame.locals, *frame.stack))
    assert all(type(row.content) in (*VALUES, RegionError) for row in boxes.values())


def drive(machine: Machine, answer: Callable[[Machine, Effect], None], slice_fuel: int = 10**12) -> Done | Failed:
    """Run to the end; what the program says of itself is documented, and only values are reachable at each stop."""
    while True:
        progress = machine.run(slice_fuel)
        only_values(machine)
        if isinstance(progress, Done | Failed):
            if isinstance(progress, Failed):
                assert progress.code in CODES
                assert 0 <= progress.line < 1 << 20
            return progress
        if isinstance(progress, Parked):
            answer(machine, progress.effect)


class Spent(NamedTuple):
    """What a call took: seconds of processor time, and bytes that the host's memory grew by at its most."""

    seconds: float
    grown: int


class Meter:
    """Measures what happens inside of a `with`."""

    spent = Spent(0.0, 0)

    def __enter__(self) -> Meter:
        tracemalloc.start()
        self.held, self.begin = tracemalloc.get_traced_memory()[0], time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.spent = Spent(time.process_time() - self.begin, tracemalloc.get_traced_memory()[1] - self.held)
        tracemalloc.stop()


class Escapes:
    """Names of this file, for tests in importlib mode."""

    CODES, VALUES, SECOND, Meter = CODES, VALUES, SECOND, Meter
    only_values, drive, attempts = staticmethod(only_values), staticmethod(drive), staticmethod(attempts)


@pytest.fixture(scope="session")
def escapes() -> type[Escapes]:
    return Escapes


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each section of the corpus file that the test's module names in `CORPUS`."""
    if "attempt" in metafunc.fixturenames:
        found = attempts(metafunc.module.CORPUS)
        metafunc.parametrize("attempt", found, ids=[attempt.name for attempt in found])


@pytest.fixture
def meter() -> Iterator[Meter]:
    yield Meter()
    assert not tracemalloc.is_tracing()
