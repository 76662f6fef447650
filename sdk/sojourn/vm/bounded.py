"""Operations that pay step by step, kept within what one instruction may use.

A host that runs slices waits for the instruction it is in. What pays at once is bounded by `Run.spend`; what draws,
compares or sorts items one by one is wrapped here. A program does more of it in a loop, which stops anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sojourn.vm.state import Run

__all__ = ["bounded"]

P = ParamSpec("P")
R = TypeVar("R")


def bounded(operation: Callable[Concatenate[Run, P], R]) -> Callable[Concatenate[Run, P], R]:
    """The operation, which raises `Exhausted` at `MAX_INSTRUCTION_FUEL`, whatever is within it."""

    def inner(run: Run, /, *args: P.args, **kwargs: P.kwargs) -> R:
        before = run.begin()
        try:
            return operation(run, *args, **kwargs)
        finally:
            run.least = before

    return inner
