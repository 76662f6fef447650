"""Exceptions on their way to a handler: one look at the static table of each frame, from the last one down."""

from __future__ import annotations

from typing import Final

from sojourn.vm.costs import size_of
from sojourn.vm.faults import Exhausted, Raised
from sojourn.vm.state import Run
from sojourn.vm.text import exception_text
from sojourn.vm.values import ExcValue

__all__ = ["dress", "line_of", "text_of", "unwind"]

TEXT_FUEL: Final = 10_000
TEXT_BYTES: Final = 100_000


def line_of(run: Run) -> int:
    """The source line where the run stands: of the last frame whose code the author wrote."""
    for frame in reversed(run.frames):
        line = run.program.codes[frame.function].lines[max(frame.pc - 1, 0)]
        if line:
            return line
    return 0


def dress(run: Run, problem: Raised, line: int) -> None:
    """Make the exception a value, paid for where it is raised, with the line where it was raised first.

    Raises:
        Exhausted: the run cannot pay for the exception.
    """
    if problem.value is None:
        value = ExcValue(problem.type_name, (problem.message,) if problem.message else ())
        run.allocate(size_of(value) + size_of(value.args) + size_of(problem.message))
        problem.value = value
    problem.value.line = problem.value.line or line


def unwind(run: Run, problem: Raised, *, between: bool = False) -> bool:
    """Let the nearest handler go on with the exception; False, and no frame changed, where there is none.

    With `between` the last frame stands between two instructions, and the next one's handler counts.

    Raises:
        Exhausted: the run cannot pay for the exception.
    """
    if problem.value is None or not problem.value.line:
        dress(run, problem, line_of(run))
    for depth in range(len(run.frames) - 1, -1, -1):
        frame = run.frames[depth]
        code = run.program.codes[frame.function]
        chosen = code.handler_at[frame.pc if between and depth == len(run.frames) - 1 else frame.pc - 1]
        if chosen < 0:
            continue
        del run.frames[depth + 1 :]
        frame.stack.clear()
        frame.locals[code.handlers[chosen].slot] = problem.value
        frame.pc = code.handlers[chosen].target
        return True
    return False


def text_of(run: Run, problem: Raised) -> str:
    """The text of an exception that nothing handled. Its cost is not the run's: it is for the owner's log."""
    if problem.message or problem.value is None:
        return problem.message
    purse = Run(run.program, run.id, run.label, region=True, operation=0, fuel=TEXT_FUEL, memory=TEXT_BYTES,
                limit=TEXT_BYTES, frames=[], boxes={})  # fmt: skip
    try:
        return exception_text(purse, problem.value)
    except (Raised, Exhausted):
        return "(its text cannot be shown)"
