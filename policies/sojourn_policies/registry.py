"""The table of aggregation policies. A job names one; an unknown name or option is refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy.typing as npt
from sojourn.contracts import Scalar, UpdateSpec
from sojourn.errors import ConfigError

from sojourn_policies.fedavg import Fold

__all__ = ["Policy", "policy", "policy_names"]


class FoldFactory(Protocol):
    """Makes the fold of one phase."""

    def __call__(
        self,
        base: Mapping[str, npt.NDArray[Any]],
        spec: UpdateSpec,
        trained: Iterable[str] | None = None,
    ) -> Fold:
        """See `sojourn_policies.fedavg.Fold`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to combine updates.

    Attributes:
        name: what a job writes.
        options: further keys that its policy record may hold.
        fold: makes the fold of one phase.
    """

    name: str
    options: frozenset[str]
    fold: FoldFactory


_POLICIES: Final = {"fedavg": Policy("fedavg", frozenset(), Fold)}


def policy_names() -> tuple[str, ...]:
    """Every name that `policy` knows, sorted."""
    return tuple(sorted(_POLICIES))


def policy(chosen: str | Mapping[str, Scalar]) -> Policy:
    """The policy of this name, or of a job's policy record (`{"name": "fedavg"}`).

    Raises:
        ConfigError: no name, an unknown one, or an option that the policy does not have.
    """
    record: Mapping[str, Scalar] = {"name": chosen} if isinstance(chosen, str) else chosen
    name = record.get("name")
    found = _POLICIES.get(name) if isinstance(name, str) else None
    if found is None:
        raise ConfigError(f"there is no aggregation policy {name!r}; write one of {', '.join(policy_names())}")
    unknown = sorted(set(record) - found.options - {"name"})
    if unknown:
        raise ConfigError(f"policy {found.name!r} has no option {unknown[0]!r}; leave it out")
    return found
