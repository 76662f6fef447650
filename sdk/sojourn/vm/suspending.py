"""Continuations as values: the frames of a run copied, and a new run begun from such a copy.

A copy shares nothing that changes with what it was made of. Suspended frames are never changed, so that one value can
begin any number of children; budgets, operation numbers and custody belong to runs and are not part of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sojourn.vm.copying import copy_values
from sojourn.vm.costs import FRAME_BYTES, SLOT
from sojourn.vm.state import Frame, Run
from sojourn.vm.values import Suspended, Value

__all__ = ["copy_frames", "suspend"]


def suspend(run: Run) -> Suspended:
    """The frames of `run` as a value; the last one waits for the value that `here()` gives in a child."""
    return Suspended(tuple(copy_frames(run, run.frames)))


def copy_frames(run: Run, frames: Sequence[Frame]) -> list[Frame]:
    """Copies of frames, with what they share among each other shared among the copies; paid for by `run`."""
    flat: list[Value] = []
    for frame in frames:
        slots = len(frame.locals) + len(frame.stack)
        run.spend(slots >> 3)
        run.allocate(FRAME_BYTES + SLOT * slots)
        flat += (*frame.locals, *frame.stack)
    copied = iter(copy_values(run, flat, extent="whole"))
    made = []
    for frame in frames:
        values = [next(copied) for _ in frame.locals]
        made.append(Frame(frame.function, frame.pc, values, [next(copied) for _ in frame.stack]))
    return made
