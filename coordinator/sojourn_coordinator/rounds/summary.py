"""The round table: public scalars of the answers that count, folded. Sums are exact whatever the order of arrival."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sojourn.contracts import Released

__all__ = ["Contribution", "mean_weights", "summarise"]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One counted answer: its agent's key id and its releases."""

    agent: bytes
    releases: tuple[Released, ...]


def summarise(contributions: Iterable[Contribution]) -> dict[str, float]:
    """Fold released scalars by name.

    Counts and sums add up. A mean is averaged with the last count released before it in the same answer as its weight:
    a mean follows its count. Means with no count before them weigh the same.

    Returns:
        One number for each released name; a mean over no units is left out.
    """
    listed = sorted(contributions, key=lambda part: part.agent)
    totals: dict[str, list[float]] = {}
    means: dict[str, list[tuple[float, float]]] = {}
    for part in listed:
        count = 1.0
        for released in part.releases:
            if released.value is None:
                continue
            if released.kind == "mean":
                means.setdefault(released.name, []).append((released.value, count))
            else:
                if released.kind == "count":
                    count = released.value
                totals.setdefault(released.name, []).append(released.value)
    folded = {name: math.fsum(values) for name, values in totals.items()}
    for name, pairs in means.items():
        weight = math.fsum(w for _, w in pairs)
        if weight > 0:
            folded[name] = math.fsum(v * w for v, w in pairs) / weight
    return folded


def mean_weights(contributions: Iterable[Contribution]) -> dict[str, str]:
    """By which count each mean is averaged in `summarise`; a mean with no count before it is left out."""
    weights: dict[str, str] = {}
    for part in contributions:
        count = None
        for released in part.releases:
            if released.kind == "count":
                count = released.name
            elif released.kind == "mean" and count is not None:
                weights.setdefault(released.name, count)
    return weights
