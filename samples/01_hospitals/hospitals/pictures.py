"""The demo's pictures: learning curves, and what each hospital reaches alone. Drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hospitals.baselines import Comparison, Metrics, closes_half_the_gap

__all__ = ["draw_curves", "draw_hospitals"]

# Distinguishable with the common forms of colour blindness (Okabe and Ito, 2008).
GREEN: Final = "#009E73"
BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
INK: Final = "#333333"
FAINT: Final = "#DDDDDD"
DPI: Final = 150


def draw_curves(federated: Sequence[Metrics], compared: Comparison, path: Path) -> None:
    """Log loss and AUC on the held-out patients by round, with central and local models at the same share of steps."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    loss, auc = figure.subplots(1, 2)
    _curves(loss, federated, compared, "loss")
    loss.set_yscale("log")
    ticks = (0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7)
    loss.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    loss.minorticks_off()
    _dress(loss, "Log loss on 140 held-out patients (lower is better)")
    _curves(auc, federated, compared, "auc", first=1)
    # Before any step the AUC is 0.5 by construction: that point would flatten the rest.
    shown = [baseline.curve[k].auc for baseline in compared.local for k in range(1, len(baseline.curve))]
    auc.set_xlim(0.6, len(federated) - 0.6)
    auc.set_ylim(min(shown) - 0.002, 1.001)
    _dress(auc, "Area under the ROC curve on the same patients (higher is better)")
    loss.legend(frameon=False, fontsize=9)
    figure.suptitle("Five hospitals, 429 patients, no row leaves a hospital", color=INK, fontsize=13)
    _save(figure, path)


def draw_hospitals(federated: Metrics, compared: Comparison, path: Path) -> None:
    """Final log loss of each hospital alone against federated, central, and the line at half of the gap."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    names = [f"{baseline.name}\n{baseline.rows} patients" for baseline in compared.local]
    losses = [baseline.final.loss for baseline in compared.local]
    colours = [GREEN if closes_half_the_gap(loss, compared) else ORANGE for loss in losses]
    bars = axes.bar(names, losses, color=colours, width=0.62, alpha=0.85)
    for text in axes.bar_label(bars, fmt="%.3f", padding=2, fontsize=9, color=INK):
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8})
    half = (compared.local_mean.loss + compared.central.final.loss) / 2.0
    for value, colour, style, label in (
        (federated.loss, GREEN, "-", f"federated {federated.loss:.3f}"),
        (compared.central.final.loss, BLUE, "--", f"central {compared.central.final.loss:.3f}"),
        (half, INK, ":", f"half of the gap {half:.3f}"),
    ):
        axes.axhline(value, color=colour, linestyle=style, linewidth=1.8, label=label)
    axes.set_ylim(0.0, max(losses) * 1.32)
    _dress(axes, "Log loss of each hospital's own model", rounds=False)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center")
    _save(figure, path)


def _curves(axes: Any, federated: Sequence[Metrics], compared: Comparison, metric: str, first: int = 0) -> None:
    rounds = range(first, len(federated))

    def values(curve: Sequence[Metrics]) -> list[float]:
        return [getattr(point, metric) for point in curve[first:]]

    for index, baseline in enumerate(compared.local):
        label = "each hospital alone" if index == 0 else None
        axes.plot(rounds, values(baseline.curve), color=ORANGE, linewidth=1.0, alpha=0.45, label=label)
    axes.plot(rounds, values(compared.central.curve), color=BLUE, linestyle="--", linewidth=1.8, label="central")
    axes.plot(rounds, values(federated), color=GREEN, marker="o", markersize=4, linewidth=2.4, label="federated")


def _dress(axes: Any, title: str, *, rounds: bool = True) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.grid(visible=True, axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    if rounds:
        axes.set_xlabel("rounds", color=INK, fontsize=9)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
