"""Aggregation policies: what one is, and which are installed.

A job names its policy (`policy={"name": "fedavg"}`). Policies are entry points of the group `sojourn.policies`, and
this is the only table of them: the author's builder, the coordinator and `sojourn provenance trace --recompute` ask
here. The packaged ones live in `sojourn_policies`; a third party registers its own the same way:

    [project.entry-points."sojourn.policies"]
    median = "my_package:Median"      # a class without parameters that fits `AggregationPolicy`

Rules of this module: a name that two packages register is refused, and so is an option that a policy does not know;
what is installed is read once in a process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Protocol

import numpy.typing as npt

from sojourn.contracts import Scalar, UpdateSpec
from sojourn.errors import ConfigError

__all__ = ["AggregationPolicy", "FoldResult", "RoundFold", "fold_of", "installed_policies", "policy_of"]

GROUP: Final = "sojourn.policies"

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What a closed fold gives.

    Attributes:
        tensors: the model, every tensor of the base; trained ones float32.
        weight: sum of the integer weights.
        updates: how many updates were folded.
    """

    tensors: dict[str, npt.NDArray[Any]]
    weight: int
    updates: int


class RoundFold(Protocol):
    """The fold of one round. The order in which updates come must not change a bit of its result."""

    def add_stream(self, datoms: Iterable[bytes | memoryview]) -> Iterator[int]:
        """Fold one update's stream that was checked before (`sojourn.datoms.UpdateReader`), block by block.

        Yields:
            Bytes folded with each block. The update counts only once the iterator has ended.
        """
        ...

    def result(self) -> FoldResult:
        """The model of everything folded so far."""
        ...


class AggregationPolicy(Protocol):
    """One way to combine updates.

    Attributes:
        options: further keys that a job's policy record may hold.
    """

    @property
    def options(self) -> frozenset[str]: ...

    def fold(self, base: Tensors, spec: UpdateSpec, trained: Iterable[str], record: Mapping[str, Scalar]) -> RoundFold:
        """An empty fold.

        Args:
            base: the model that the updates are relative to.
            spec: of the phase's update.
            trained: names of the tensors that an update holds.
            record: the job's policy record, for the policy's options.
        """
        ...


@cache
def _registered() -> Mapping[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        same = found.get(point.name, ())
        if point.value not in {other.value for other in same}:  # a distribution can be on the path twice
            found[point.name] = (*same, point)
    return found


def installed_policies() -> tuple[str, ...]:
    """Names of the policies that installed packages register, sorted."""
    return tuple(sorted(_registered()))


def policy_of(record: Mapping[str, Scalar]) -> AggregationPolicy:
    """The policy that a job's record names.

    Raises:
        ConfigError: no name, one that nothing installed registers, that two packages register or that does not load, or
            an option that the policy does not have.
    """
    name = record.get("name")
    points = _registered().get(name, ()) if isinstance(name, str) else ()
    if not points:
        have = ", ".join(installed_policies()) or "none"
        raise ConfigError(
            f"there is no aggregation policy {name!r}; installed: {have}; write one of these, or install the package "
            f"that registers it (entry points {GROUP!r})"
        )
    if len(points) > 1:
        raise ConfigError(
            f"aggregation policy {name!r} is registered by {' and by '.join(point.value for point in points)}; "
            "uninstall one of the two packages"
        )
    try:
        policy: AggregationPolicy = points[0].load()()
    except (ImportError, AttributeError) as problem:
        raise ConfigError(
            f"aggregation policy {name!r} does not load from {points[0].value}: {problem}; install that package again"
        ) from None
    unknown = sorted(set(record) - policy.options - {"name"})
    if unknown:
        have = f"it has {', '.join(sorted(policy.options))}" if policy.options else "it has none"
        raise ConfigError(f"policy {name!r} has no option {unknown[0]!r} ({have}); leave it out")
    return policy


def fold_of(record: Mapping[str, Scalar], base: Tensors, spec: UpdateSpec, trained: Iterable[str]) -> RoundFold:
    """An empty fold under a job's policy; see `AggregationPolicy.fold`.

    Raises:
        ConfigError: as `policy_of`.
    """
    return policy_of(record).fold(base, spec, trained, record)
