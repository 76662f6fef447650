"""Release mechanisms: host code that turns a private payload into what may leave.

Rules of this module (DESIGN.md sections 4 and 7):

* Number, mechanism, parameters, shapes and name come from the public world; only the payload is private. Public
  parameters that no payload can satisfy raise `ReleaseInvalid`. A payload never raises.
* A payload that does not fit (an error in the box, a missing key, a wrong type or shape, NaN, infinity) is released as
  the mechanism's neutral element, which looks like any other release. `Release.note` says why, to the owner alone.
* A number outside its range fits: it is moved to the nearest end. Sensitivity is enforced here, whatever a program did.
* Sums are exactly rounded (Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997; `math.fsum`): the order of
  the units does not change a bit.

The neutral elements: an update of q = 0 and weight 0; count 0; sum 0; and for a mean the midpoint of its range, which
is what the mean of no units has to be: a value that some payloads give too, and as far from both ends as can be.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from sojourn.contracts import Released, Scalar, UpdateSpec
from sojourn.datoms import check_spec, join_datoms, pack_update
from sojourn.errors import ReleaseInvalid, UsageError
from sojourn.privacy.payloads import Unfit, clamped_integer, delta_of, units_of

__all__ = ["Release", "release_count", "release_mean", "release_sum", "release_update"]

ReleaseKind = Literal["update", "count", "sum", "mean"]

_MECHANISMS: Final[Mapping[ReleaseKind, str]] = {
    "update": "clip",
    "count": "bounded-count",
    "sum": "bounded-sum",
    "mean": "bounded-mean",
}


@dataclass(frozen=True, slots=True)
class Release:
    """What one release gives. Everything but `neutral` and `note` may leave.

    Attributes:
        kind: `update`, `count`, `sum` or `mean`.
        mechanism: as a statement names it.
        parameters: the public parameters, as a statement names them.
        value: the released number; None for an update.
        datoms: the update's stream, encoded; empty for a number.
        root: seal root of that stream, 32 bytes; empty for a number.
        neutral: whether the neutral element was released. Private: it would tell that the payload did not fit.
        note: why, or what was moved into range, for the owner's log. Private; empty when there is nothing to say.
    """

    kind: ReleaseKind
    mechanism: str
    parameters: Mapping[str, Scalar]
    value: float | None
    datoms: tuple[bytes, ...] = field(repr=False)
    root: bytes
    neutral: bool = field(repr=False)
    note: str = field(repr=False)

    @property
    def output(self) -> bytes:
        """The exact bytes that the privacy ledger keeps: the joined stream, or the number as binary64 big endian."""
        if self.value is None:
            return join_datoms(self.datoms)
        return struct.pack(">d", self.value)

    def statement(self, name: str, operation: int, policy: bytes) -> Released:
        """The signed answer's line about this release.

        Args:
            name: the release's public name; `"update"` for an update.
            operation: of the occurrence, within the run.
            policy: digest of the owner's policy file, 32 bytes.
        """
        return Released(
            kind=self.kind,
            name=name,
            mechanism=self.mechanism,
            claim="trusted-plan",
            parameters=dict(self.parameters),
            value=self.value,
            root=self.root,
            operation=operation,
            policy=policy,
        )


def release_update(
    state: object,
    base: Mapping[str, npt.NDArray[Any]],
    weight: object,
    spec: UpdateSpec,
    shapes: Mapping[str, tuple[int, ...]],
) -> Release:
    """Release state minus base: clipped, weighted, as integer blocks.

    Args:
        state: payload: a mapping from tensor name to float32 array; tensors that are not in `shapes` stay here.
        base: public: the weights that the order came with, float32, by name.
        weight: payload: an integer, at least 0; more than `spec.max_weight` counts as that.
        spec: public: clip, scale, bound and largest weight.
        shapes: public: the plan's trained tensors.

    Raises:
        ReleaseInvalid: `spec` makes no sense, or `base` does not have the trained tensors.
    """
    try:
        check_spec(spec)
    except UsageError as problem:
        raise ReleaseInvalid(f"release.update: {problem}") from None
    _check_base(base, shapes)
    parameters: dict[str, Scalar] = {
        "clip": spec.clip,
        "scale": spec.scale,
        "bound": spec.bound,
        "max_weight": spec.max_weight,
    }
    note = ""
    delta: dict[str, npt.NDArray[np.float32]] | None = None
    units = 0
    try:
        units, note = clamped_integer(weight, spec.max_weight, "the weight")
        delta = delta_of(state, base, shapes)
    except Unfit as problem:
        note = str(problem)
    try:
        datoms, root = pack_update(delta, units, spec, shapes)
    except UsageError as problem:
        raise ReleaseInvalid(f"release.update: {problem}") from None
    return Release("update", "clip", parameters, None, tuple(datoms), root, delta is None or units == 0, note)


def release_count(value: object, high: int | float) -> Release:
    """Release one integer, moved into [0, high]; 0 where the payload does not fit.

    Args:
        value: payload: an integer.
        high: public: the largest count, a whole number of 1 or more.

    Raises:
        ReleaseInvalid: `high` is no such number.
    """
    bound = _public_number("release.count", "high", high)
    if bound < 1 or bound != math.floor(bound) or bound > 2**53:
        raise ReleaseInvalid(f"release.count: high is {high}; give a whole number from 1 to 2**53")
    try:
        count, note = clamped_integer(value, int(bound), "the count")
        neutral = False
    except Unfit as problem:
        count, note, neutral = 0, str(problem), True
    return _number("count", {"high": bound}, float(count), neutral=neutral, note=note)


def release_sum(values: object, low: float, high: float) -> Release:
    """Release the sum of one value per unit, each moved into [low, high]; 0 where the payload does not fit.

    Args:
        values: payload: a 1-D array, a sequence of 1-D arrays, or a sequence of numbers.
        low: public: smallest value of a unit.
        high: public: largest value of a unit.

    Raises:
        ReleaseInvalid: `low` and `high` are not finite numbers in order.
    """
    low, high = _range("release.sum", low, high)
    try:
        units, note = units_of(values, low, high)
        total, neutral = math.fsum(units.tolist()), False
    except Unfit as problem:
        total, note, neutral = 0.0, str(problem), True
    return _number("sum", {"low": low, "high": high}, total, neutral=neutral, note=note)


def release_mean(values: object, low: float, high: float) -> Release:
    """Release the mean of one value per unit, each moved into [low, high].

    The host counts the units and divides. No units, or a payload that does not fit, give the midpoint of the range.

    Args:
        values: payload: a 1-D array, a sequence of 1-D arrays, or a sequence of numbers.
        low: public: smallest value of a unit.
        high: public: largest value of a unit.

    Raises:
        ReleaseInvalid: `low` and `high` are not finite numbers in order.
    """
    low, high = _range("release.mean", low, high)
    middle = low + (high - low) / 2
    try:
        units, note = units_of(values, low, high)
        neutral = units.size == 0
        if neutral:
            mean, note = middle, "there are no units: the midpoint was released"
        else:
            mean = min(max(math.fsum(units.tolist()) / units.size, low), high)
    except Unfit as problem:
        mean, note, neutral = middle, str(problem), True
    return _number("mean", {"low": low, "high": high}, mean, neutral=neutral, note=note)


def _number(kind: ReleaseKind, parameters: dict[str, Scalar], value: float, *, neutral: bool, note: str) -> Release:
    # Adding 0.0 turns -0.0 into 0.0, so that one value has one form.
    return Release(kind, _MECHANISMS[kind], parameters, value + 0.0, (), b"", neutral, note)


def _public_number(where: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ReleaseInvalid(f"{where}: {name} is {value!r}; give a finite number")
    return float(value)


def _range(where: str, low: object, high: object) -> tuple[float, float]:
    start, end = _public_number(where, "low", low), _public_number(where, "high", high)
    if not start < end or not math.isfinite(end - start):
        raise ReleaseInvalid(f"{where}: low is {low!r} and high is {high!r}; low must be below high")
    return start, end


def _check_base(base: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        tensor = base.get(name)
        if tensor is None:
            raise ReleaseInvalid(f"release.update: the base lacks tensor {name!r}, which the plan trains")
        if tensor.dtype != np.float32 or tensor.shape != tuple(shape):
            raise ReleaseInvalid(
                f"release.update: the plan states tensor {name!r} as float32 {list(shape)}, "
                f"the base has {tensor.dtype} {list(tensor.shape)}"
            )
        if not np.isfinite(tensor).all():
            raise ReleaseInvalid(f"release.update: tensor {name!r} of the base is not finite everywhere")
