"""Which agents a round invites: it depends on who is connected when the choice can first be made, on nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from sojourn.limits import MAX_PARTICIPANTS

__all__ = ["Chosen", "Cohort", "Waiting", "choose_cohort"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The frozen cohort: key ids, sorted."""

    participants: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not enough agents are connected yet."""

    connected: int
    needed: int


Cohort: TypeAlias = Chosen | Waiting


def choose_cohort(connected: Iterable[bytes], wanted: int, quorum: int) -> Cohort:
    """Choose the participants of a round.

    Args:
        connected: key ids of enrolled agents that are connected now, in any order.
        wanted: `participants` of the job; 0 invites all that are connected, once they can make the quorum.
        quorum: the largest quorum of the job's phases: a smaller cohort could never close one.

    Returns:
        `Chosen` with `wanted` agents (the first by key id where more are connected), or `Waiting`.
    """
    present = sorted(set(connected))
    needed = wanted or max(quorum, 1)
    if len(present) < needed:
        return Waiting(len(present), needed)
    return Chosen(tuple(present[: min(wanted or len(present), MAX_PARTICIPANTS)]))
