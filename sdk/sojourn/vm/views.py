"""A machine's state for people: runs, frames with their lines, variables by name. Nothing here changes a machine.

What may be shown of a value is the caller's to decide: `RunView.label` says what a region's values depend on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sojourn.labels import Label
from sojourn.vm.machine import Machine
from sojourn.vm.state import Frame, Run
from sojourn.vm.values import UNBOUND, Box, Cell, Value
from sojourn.vm.walking import walk

__all__ = ["FrameView", "RunView", "boxes_of", "runs_of"]


@dataclass(frozen=True, slots=True)
class FrameView:
    """One call.

    Attributes:
        function: qualified name.
        line: source line of the next instruction; in a frame that waits for another, of its call.
        pc: position of that instruction.
        variables: those that are assigned, by name, in the order of the function's locals.
        stack: values on the operand stack.
    """

    function: str
    line: int
    pc: int
    variables: Mapping[str, Value] = field(repr=False)
    stack: int


@dataclass(frozen=True, slots=True)
class RunView:
    """The public run, or a private region that the run before it waits for.

    Attributes:
        id: 32 bytes.
        region: whether it is a private region.
        label: what its values depend on; `PUBLIC` for the public run.
        operation: number of its next effect.
        fuel: instructions left.
        memory: bytes left before live values are counted again.
        limit: bytes that live values may cost.
        frames: the outermost call first.
    """

    id: bytes
    region: bool
    label: Label
    operation: int
    fuel: int
    memory: int
    limit: int
    frames: tuple[FrameView, ...]


def runs_of(machine: Machine) -> tuple[RunView, ...]:
    """The runs of a machine, the public one first. Those of a machine that has ended have no frames."""
    return tuple(_run(machine, run) for run in machine.runs)


def boxes_of(machine: Machine) -> Iterator[Box]:
    """Every box that the state can still reach, each once."""
    return (value for value in walk(machine.roots()) if type(value) is Box)


def _run(machine: Machine, run: Run) -> RunView:
    waits = run is not machine.runs[-1] or machine.pending is not None
    last = len(run.frames) - 1
    frames = tuple(_frame(run, frame, waits=waits or depth < last) for depth, frame in enumerate(run.frames))
    return RunView(run.id, run.region, run.label, run.operation, run.fuel, run.memory, run.limit, frames)


def _frame(run: Run, frame: Frame, *, waits: bool) -> FrameView:
    code = run.program.codes[frame.function]
    at = frame.pc - 1 if waits else frame.pc  # behind the instruction that it waits in, or before the next one
    variables = {}
    for name, held in zip(code.locals, frame.locals, strict=True):
        value = held.content if type(held) is Cell else held
        if value is not UNBOUND and not name.startswith("."):
            variables[name.partition(".")[0]] = value
    return FrameView(code.name, code.lines[at], at, variables, len(frame.stack))
