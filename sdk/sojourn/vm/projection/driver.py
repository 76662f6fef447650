"""Which form executes: short stretches are stepped, hot functions are entered, and what stops goes on by steps.

`advance` keeps the contract of `step`: it returns what the machine has to act on, with canonical frames, or raises
what an instruction raised. Whether and where forms are made and entered shows in nothing but time.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from sojourn.limits import MAX_FRAMES
from sojourn.vm.faults import Exhausted, Raised
from sojourn.vm.projection.forms import Absent, Forms, Key, forms_of
from sojourn.vm.projection.meter import Guard, Stopped
from sojourn.vm.state import Run
from sojourn.vm.step import Stop, step, step_to
from sojourn.vm.unwinding import unwind

__all__ = ["advance", "tune"]

NESTED: Final = 100  # calls of generated functions within each other, before the driver takes over
RESERVED: Final = 400  # frames of the host that operations may need
MOST: Final = (1 << 30) - 1  # fuel of one stretch: a digit of the host's
ENTRIES: Final = 16  # after so many, a form is judged
WORTH: Final = 40  # instructions that an entry must lead to on the average
_HOST: Final = (ArithmeticError, LookupError, TypeError, ValueError)


class _Tuning:
    """When code counts as hot; tests lower it."""

    warm = 96  # instructions that are stepped first in each call of `run`
    quantum = 256
    hot, hot_by_size = 256, 8


def tune(*, warm: int, quantum: int, hot: int, hot_by_size: int) -> None:
    """Change when code counts as hot. For tests and measurements: results do not depend on it."""
    _Tuning.warm, _Tuning.quantum, _Tuning.hot, _Tuning.hot_by_size = warm, quantum, hot, hot_by_size


def advance(run: Run, floor: int) -> Stop | None:
    """As `step`, and exceptions go to their handlers: what is raised here, nothing in the run handles."""
    fuel = run.fuel
    if fuel == 0:
        raise Exhausted("fuel")
    warm = max(floor, fuel - _Tuning.warm)
    while fuel > warm:
        try:
            stop = step(run, warm)
        except Raised as problem:
            if not unwind(run, problem):
                raise
        else:
            if stop is not None:
                return stop
        fuel = run.fuel
    if fuel <= floor:
        return None
    forms = forms_of(run.program)
    try:
        forms.free.pop()  # one run at a time: another thread steps
    except IndexError:
        return step(run, floor)
    try:
        return _drive(forms, run, floor)
    finally:
        forms.free.append(True)


def _drive(forms: Forms, run: Run, floor: int) -> Stop | None:
    nested = min(NESTED, sys.getrecursionlimit() - _depth() - RESERVED)
    stop = None
    while stop is None and run.fuel > floor:
        try:
            stop = _go_on(forms, run, floor, nested)
        except Raised as problem:
            if not unwind(run, problem):
                raise
    return stop


def _go_on(forms: Forms, run: Run, floor: int, nested: int) -> Stop | None:
    """Enter a form, or step for a while."""
    frame = run.frames[-1]
    marks = forms.marks
    if nested > 0 and frame.pc in marks.get(frame.function, ()):
        found = forms.entry(frame, bottom=len(run.frames) == 1)
        if found is not None and forms.form(found[0]) is not None:
            return _enter(forms, run, floor, found[0], found[1], nested)
    function, before = frame.function, run.fuel
    try:
        return step_to(run, max(floor, run.fuel - _Tuning.quantum), marks)
    finally:
        forms.warm(function, before - run.fuel, _Tuning.hot, _Tuning.hot_by_size)


def _depth() -> int:
    depth = 0
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        depth += 1
    return depth


def _enter(forms: Forms, run: Run, floor: int, key: Key, args: list[Any], nested: int) -> Stop | None:
    """Execute a form until it returns or stops; then frames and budgets are canonical."""
    meter, form, before = forms.meter, forms.made[key], run.fuel
    assert form is not None  # noqa: S101 - the caller has made it
    meter.driver = _ENTER
    meter.attach(run, max(floor, run.fuel - MOST))
    frame = run.frames.pop()
    depth = min(nested, MAX_FRAMES - len(run.frames) - 1)
    try:
        value = form(*args, depth)
    except Raised as problem:
        meter.settle(run)
        problem.__traceback__ = None
        raise
    except Exhausted:
        meter.settle(run)
        run.frames.extend(reversed(meter.spilled))
        raise
    except (Stopped, *_HOST) as problem:
        problem.__traceback__ = None
        problem.__context__ = None
        meter.settle(run)
        spilled = meter.spilled
        if not spilled or spilled[-1].function != frame.function:
            raise RuntimeError("generated code left no state") from problem
        run.frames.extend(reversed(spilled))
        forms.judge(key, before - run.fuel, ENTRIES, WORTH)
        if isinstance(problem, Absent):
            forms.wanted(problem.key)
        elif not isinstance(problem, Stopped) or isinstance(problem, Guard):
            forms.miss(spilled[0].function, spilled[0].pc)
        return step(run, run.fuel - 1) if run.fuel > floor else None
    meter.settle(run)
    run.frames[-1].stack.append(value)
    forms.judge(key, before - run.fuel, ENTRIES, WORTH)
    return None


_ENTER: Final = _enter.__code__
