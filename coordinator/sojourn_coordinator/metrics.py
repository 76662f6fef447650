"""Metrics of an evaluation, from what the plan's `evaluate` graph gives for each held-out row. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["area_under_curve", "mean_loss"]


def mean_loss(losses: npt.NDArray[Any]) -> float | None:
    """Mean in float64 of one loss for each row; None where there are no rows or the mean is not finite."""
    values = np.asarray(losses, dtype=np.float64).reshape(-1)
    if values.size == 0:
        return None
    mean = float(values.mean())
    return mean if np.isfinite(mean) else None


def area_under_curve(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float | None:
    """Area under the ROC curve: the Mann-Whitney statistic with midranks for ties (Hanley and McNeil 1982).

    Args:
        scores: one number for each row, higher for the positive class.
        labels: one for each row; above 0.5 is positive.

    Returns:
        A number in 0..1, or None where it is not defined: one class only, or a score that is not finite.
    """
    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    positive = np.asarray(labels, dtype=np.float64).reshape(-1) > 0.5
    if values.size != positive.size or not np.isfinite(values).all():
        return None
    count = int(positive.sum())
    if count in {0, values.size}:
        return None
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    midranks = np.cumsum(sizes) - (sizes - 1) / 2.0
    ranks = midranks[inverse.reshape(-1)]
    return float((ranks[positive].sum() - count * (count + 1) / 2.0) / (count * (values.size - count)))
