"""The round table: public scalars of the answers that count, folded. Sums are exact whatever the order of arrival."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sojourn.contracts import Released

__all__ = ["Contribution", "summarise"]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One counted answer: its agent's key id and its releases."""

    agent: bytes
    releases: tuple[Released, ...]


def summarise(contributions: Iterable[Contribution]) -> dict[str, float]:
    """Fold released scalars by name.

    Counts and sums add up. Means are averaged with the first count of their answer as the weight, evenly where no
    answer has one.

    Returns:
        One number for each released name; a mean over no units is left out.
    """
    listed = sorted(contributions, key=lambda part: part.agent)
    totals: dict[str, list[float]] = {}
    means: dict[str, list[tuple[float, float]]] = {}
    for part in listed:
        count = next((r.value for r in part.releases if r.kind == "count" and r.value is not None), None)
        for released in part.releases:
            if released.value is None:
                continue
            if released.kind == "mean":
                means.setdefault(released.name, []).append((released.value, 1.0 if count is None else count))
            else:
                totals.setdefault(released.name, []).append(released.value)
    folded = {name: math.fsum(values) for name, values in totals.items()}
    for name, pairs in means.items():
        weight = math.fsum(w for _, w in pairs)
        if weight > 0:
            folded[name] = math.fsum(v * w for v, w in pairs) / weight
    return folded
