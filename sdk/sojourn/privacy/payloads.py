"""Reading a private payload: what fits is bounded here, what does not raises `Unfit`, which no caller lets out.

Rules of this module:

* Nothing about a payload is assumed: it is whatever a program left in a box.
* A number outside its range fits and is moved to the nearest end, and a note says so.
* Texts are for the owner's log. They hold types, shapes, names and counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Misfit", "Unfit", "clamped_integer", "delta_of", "units_of"]


@dataclass(frozen=True, slots=True)
class Misfit:
    """Stands for a payload that the host could not even select: an error in the box, no such key, a dead handle.

    Attributes:
        why: for the owner's log. Private: it stays out of every message.
    """

    why: str = field(repr=False)


class Unfit(Exception):
    """A payload does not fit. The release mechanisms turn it into a neutral element."""


def _fail_on_misfit(payload: object) -> None:
    if isinstance(payload, Misfit):
        raise Unfit(payload.why)


def clamped_integer(value: object, high: int, what: str) -> tuple[int, str]:
    """An integer moved into [0, high], and what to note about it."""
    _fail_on_misfit(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise Unfit(f"{what} is no integer but of type {type(value).__name__}")
    number = int(value)
    if number < 0:
        return 0, f"{what} is below 0 and counts as 0"
    if number > high:
        return high, f"{what} is above {high} and counts as that"
    return number, ""


def delta_of(
    state: object, base: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.float32]]:
    """State minus base for every trained tensor, float32 and finite."""
    _fail_on_misfit(state)
    if not isinstance(state, Mapping):
        raise Unfit(f"the state is no state but of type {type(state).__name__}")
    delta: dict[str, npt.NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        tensor = state.get(name)
        if not isinstance(tensor, np.ndarray):
            raise Unfit(f"the state has no tensor {name!r}")
        if tensor.dtype != np.float32 or tensor.shape != tuple(shape):
            raise Unfit(
                f"tensor {name!r} of the state is {tensor.dtype} {list(tensor.shape)}, "
                f"the plan states float32 {list(shape)}"
            )
        with np.errstate(all="ignore"):
            delta[name] = tensor - base[name]
        if not np.isfinite(delta[name]).all():
            raise Unfit(f"tensor {name!r} of the state is not finite everywhere")
    return delta


def units_of(values: object, low: float, high: float) -> tuple[npt.NDArray[np.float64], str]:
    """One float64 per unit, moved into [low, high], and what to note about it."""
    _fail_on_misfit(values)
    parts: Sequence[object]
    if isinstance(values, np.ndarray):
        parts = [values]
    elif isinstance(values, list | tuple):
        parts = values
    else:
        raise Unfit(f"the values are no sequence but of type {type(values).__name__}")
    flat = [_part(part) for part in parts]
    units = np.concatenate(flat) if flat else np.zeros(0, dtype=np.float64)
    if not np.isfinite(units).all():
        raise Unfit("a value is not finite")
    outside = int(np.count_nonzero((units < low) | (units > high)))
    note = f"{outside} of {units.size} values were moved into [{low}, {high}]" if outside else ""
    return np.clip(units, low, high), note


def _part(part: object) -> npt.NDArray[np.float64]:
    _fail_on_misfit(part)
    if isinstance(part, bool | np.bool_):
        raise Unfit("a value is a bool; one number per unit is taken")
    if isinstance(part, int | float | np.integer | np.floating):
        try:
            return np.array([float(part)], dtype=np.float64)
        except OverflowError:
            raise Unfit("a value is too large") from None
    if not isinstance(part, np.ndarray):
        raise Unfit(f"a value is of type {type(part).__name__}; one number per unit is taken")
    if part.ndim != 1:
        raise Unfit(f"a tensor of values has rank {part.ndim}; one number per unit is taken, so rank 1")
    if part.dtype.kind not in "iuf":
        raise Unfit(f"a tensor of values has type {part.dtype}; one number per unit is taken")
    return part.astype(np.float64)
