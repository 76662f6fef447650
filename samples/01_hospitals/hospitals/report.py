"""What the demo shows: the hospitals, a table by round, a learning curve, and pictures.

Rules of this module:

* Figures of the federated run are the coordinator's ledger entries as the operator's API gives them. Those of the
  baselines come from `baselines`.
* Nothing here decides whether a figure is good; `baselines` and the tests do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table

from hospitals.baselines import Comparison, Metrics, closes_half_the_gap
from hospitals.chart import Line, line_chart
from hospitals.data import Study
from hospitals.export import write_onnx
from hospitals.pictures import draw_curves, draw_hospitals

__all__ = ["comparison_table", "draw", "federated_curve", "hospitals_table", "round_table", "summary"]

BAR: Final = 24  # characters of a full bar
DECIMALS: Final = 4


def hospitals_table(study: Study) -> Table:
    """Who holds how many patients, and how many of them have a malignant sample."""
    largest = max(len(hospital) for hospital in study.hospitals)
    table = Table(title="Patients by hospital", title_justify="left", box=None, pad_edge=False)
    for name, justify in (("hospital", "left"), ("patients", "right"), ("malignant", "right"), ("", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    for place in (*study.hospitals, study.held_out):
        malignant = round(place.malignant / largest * BAR)
        rest = round(len(place) / largest * BAR) - malignant
        table.add_row(
            place.name if place is not study.held_out else "[dim]held out, public[/]",
            str(len(place)),
            f"{place.malignant / len(place):.0%}",
            f"[red]{'█' * malignant}[/][cyan]{'█' * rest}[/]",
        )
    table.caption = "[red]█[/] malignant  [cyan]█[/] benign"
    table.caption_justify = "left"
    return table


def federated_curve(done: Mapping[str, Any], compared: Comparison) -> tuple[Metrics, ...]:
    """Metrics before the first round, which all models share, and after each round."""
    rows = sorted(done["table"], key=lambda row: row["round"])
    return (compared.central.curve[0], *(Metrics(float(row["auc"]), float(row["loss"])) for row in rows))


def summary(
    done: Mapping[str, Any], found: Mapping[str, Any], compared: Comparison, output: Path
) -> dict[str, int | float | bool]:
    """The figures of the demo's last line; also writes `model.onnx` beside `model.safetensors`.

    Args:
        done: the finished job as the operator's API gives it.
        found: what `sojourn provenance trace --json` said.
        compared: the baselines of the same seed.
        output: folder that holds `model.safetensors`.
    """
    write_onnx(output / "model.safetensors", output / "model.onnx")
    federated = federated_curve(done, compared)[-1]
    central, local = compared.central.final, compared.local_mean
    figures: dict[str, int | float | bool] = {
        "agents": max(int(row["participants"]) for row in done["table"]),
        "rounds": len(done["table"]),
        "auc_federated": federated.auc,
        "auc_central": central.auc,
        "auc_local_best": max(baseline.final.auc for baseline in compared.local),
        "auc_local_mean": local.auc,
        "logloss_federated": federated.loss,
        "logloss_central": central.loss,
        "logloss_local_mean": local.loss,
        "logloss_local_median": compared.local_median_loss,
        "local_models_failing": compared.failing,
        "provenance_verified": bool(found.get("verified")),
    }
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}


def round_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a round: metrics on the held-out patients, who took part, bytes and time."""
    table = Table(title="Rounds", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in ("round", "log loss", "AUC", "hospitals", "patients", "training loss", "KiB", "seconds"):
        table.add_column(name, justify="right")
    best = min((row["loss"] for row in rows if row.get("loss") is not None), default=None)
    for row in sorted(rows, key=lambda row: row["round"]):
        loss = _number(row.get("loss"), DECIMALS)
        table.add_row(
            str(row["round"] + 1),
            f"[bold green]{loss}[/]" if best is not None and row.get("loss") == best else loss,
            _number(row.get("auc"), DECIMALS),
            str(row["participants"]),
            _number(row.get("patients"), 0),
            _number(row.get("train_loss"), DECIMALS),
            f"{row['bytes'] / 1024:.1f}",
            f"{row['seconds']:.2f}",
        )
    return table


def comparison_table(federated: Metrics, compared: Comparison) -> Table:
    """Federated beside central and beside each hospital alone."""
    table = Table(title="On the 140 held-out patients", title_justify="left", box=None, pad_edge=False)
    table.add_column("model")
    for name in ("patients", "log loss", "AUC"):
        table.add_column(name, justify="right")
    table.add_column("closes half of the gap")
    everyone = str(compared.central.rows)

    def add(name: str, rows: str, metrics: Metrics, verdict: str = "", style: str = "") -> None:
        table.add_row(name, rows, f"{metrics.loss:.4f}", f"{metrics.auc:.4f}", verdict, style=style)

    def verdict(loss: float) -> str:
        return "[green]yes[/]" if closes_half_the_gap(loss, compared) else "[red]no[/]"

    add("federated, no row leaves", everyone, federated, verdict(federated.loss), "bold")
    add("central, all rows in one place", everyone, compared.central.final, style="dim")
    for baseline in compared.local:
        add(f"{baseline.name} alone", str(baseline.rows), baseline.final, verdict(baseline.final.loss))
    add("mean of the hospitals alone", "", compared.local_mean, style="dim")
    return table


def draw(console: Console, done: Mapping[str, Any], compared: Comparison, output: Path) -> None:
    """Print tables and learning curve, and write `curves.png` and `hospitals.png` into `output`."""
    curve = federated_curve(done, compared)
    local = [sum(b.curve[k].loss for b in compared.local) / len(compared.local) for k in range(len(curve))]
    lines = [
        Line("federated", "bold green", [point.loss for point in curve[1:]]),
        Line("central", "cyan", [point.loss for point in compared.central.curve[1:]]),
        Line("mean of the hospitals alone", "red", local[1:]),
    ]
    chart = line_chart("Log loss on the held-out patients", lines, first=1)
    console.print(Padding(round_table(done["table"]), (1, 0)))
    console.print(Panel(chart, expand=False, border_style="dim", padding=(0, 2)))
    console.print(Padding(Group(comparison_table(curve[-1], compared)), (1, 0)))
    draw_curves(curve, compared, output / "curves.png")
    draw_hospitals(curve[-1], compared, output / "hospitals.png")


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"
