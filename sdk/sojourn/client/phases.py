"""Phases of a job and what their answers hold, written the short way.

    phase("train", entry="hospital", quorum=4, deadline_s=60, answer=[
        update(clip=5.0, max_weight=1000), count("patients", high=1000), mean("loss", low=0.0, high=10.0)])

An answer names the entry's releases in the order in which it makes them, with the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from sojourn.contracts import Phase, ReleaseSpec, UpdateSpec
from sojourn.errors import UsageError

__all__ = ["count", "mean", "phase", "total", "update"]

_BOUND: Final = 2**31 - 1  # of one element of an update, which is an int32
_MS: Final = 1000


def phase(name: str, *, entry: str, answer: Iterable[ReleaseSpec], quorum: int = 1, deadline_s: float = 300.0) -> Phase:
    """One phase of `fleet.ask`.

    Args:
        name: what the rounds program asks for: `fleet.ask(cohort, name, ...)`.
        entry: the continuation of the agent program that an order of this phase starts.
        answer: its releases, in order.
        quorum: answers without which the phase has failed when its deadline comes.
        deadline_s: seconds that the coordinator waits for answers. All answers close a phase at once.

    Raises:
        UsageError: a deadline that is none.
    """
    if not (math.isfinite(deadline_s) and deadline_s > 0):
        raise UsageError(f"phase {name!r}: deadline_s is {deadline_s!r}; write seconds above zero")
    return Phase(name, "collect", entry, quorum, math.ceil(deadline_s * _MS), tuple(answer))


def update(*, clip: float, max_weight: int, scale: float | None = None, bound: int | None = None) -> ReleaseSpec:
    """`release.update(box, of=..., weight=..., base=...)`: the change of the model, clipped, in whole numbers.

    Args:
        clip: largest L2 norm of the whole change; a longer one is shortened to it.
        max_weight: largest weight, for example the most rows that one agent may count for.
        scale: size of one step of the whole numbers; by default the finest power of two that holds clip and weight.
        bound: largest whole number; by default the one that clip, weight and scale need.

    Raises:
        UsageError: numbers that do not fit 32 bits, or a bound that would cut what the clip admits.
    """
    if not (math.isfinite(clip) and clip > 0):
        raise UsageError(f"update: clip is {clip!r}; write a length above zero")
    if not 1 <= max_weight <= _BOUND:
        raise UsageError(f"update: max_weight is {max_weight!r}; write a whole number from 1 to {_BOUND}")
    step = 2.0 ** (math.ceil(math.log2(clip * max_weight / _BOUND))) if scale is None else float(scale)
    if not (math.isfinite(step) and step > 0):
        raise UsageError(f"update: scale is {scale!r}; write a number above zero, or leave it out")
    needed = math.ceil(clip * max_weight / step)
    if needed > _BOUND:
        raise UsageError(f"update: scale {step} is too fine for clip {clip} and weight {max_weight}; leave it out")
    if bound is not None and bound < needed:
        raise UsageError(
            f"update: bound {bound} would cut an update that the clip admits; write {needed} or more, or leave it out"
        )
    spec = UpdateSpec(float(clip), step, min(needed if bound is None else bound, _BOUND), max_weight)
    return ReleaseSpec("update", "update", 0.0, 0.0, spec)


def count(name: str, *, high: float) -> ReleaseSpec:
    """`release.count(box, of=..., name=name, high=high)`: one whole number, moved into 0 to `high`."""
    return ReleaseSpec("count", name, 0.0, float(high), None)


def mean(name: str, *, low: float, high: float) -> ReleaseSpec:
    """`release.mean(box, of=..., name=name, low=low, high=high)`: the mean of values moved into the range."""
    return ReleaseSpec("mean", name, float(low), float(high), None)


def total(name: str, *, low: float, high: float) -> ReleaseSpec:
    """`release.sum(box, of=..., name=name, low=low, high=high)`: the sum of values moved into the range."""
    return ReleaseSpec("sum", name, float(low), float(high), None)
