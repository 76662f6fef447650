"""Tables of a job, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table

from sojourn.client.cli.words import reason

__all__ = ["agents_table", "job_tables"]

Row = Mapping[str, Any]


def job_tables(rows: Iterable[Row]) -> Iterator[Table]:
    """A table of the published models, if there are any, and one for each report: a phase that is an end in itself."""
    listed = list(rows)
    models = [row for row in listed if "agents" not in row]
    if models:
        yield _models(models)
    for row in listed:
        if "agents" in row:
            yield _report(row)


def agents_table(phase: Row) -> Table:
    """How each agent of a phase stands, and why it did not answer."""
    table = Table("agent", "state", "why")
    for part in phase["agents"]:
        table.add_row(part["agent"], part["state"], reason(part["code"], part["line"]) if part["code"] else "")
    return table


def _models(rows: Iterable[Row]) -> Table:
    """A row for each model: loss, AUC, participants, bytes, time."""
    table = Table("round", "loss", "AUC", "agents", "patients", "training loss", "KiB", "seconds")
    for row in rows:
        table.add_row(
            str(row["round"]),
            *(_figure(row.get(name), "{:.4f}") for name in ("loss", "auc")),
            str(row["participants"]),
            _figure(row.get("patients"), "{:.0f}"),
            _figure(row.get("train_loss"), "{:.4f}"),
            f"{row['bytes'] / 1024:.1f}",
            f"{row['seconds']:.2f}",
        )
    return table


def _report(row: Row) -> Table:
    """What each agent released in one phase, and the total."""
    names = list(dict.fromkeys(name for part in row["agents"] for name in part["released"]))
    title = f"{row['phase']}, round {row['round']}: {row['participants']} of {row['invited']} agents"
    table = Table("agent", *names, title=title, title_justify="left")
    for part in row["agents"]:
        table.add_row(part["agent"], *(_figure(part["released"].get(name), "{:.6g}") for name in names))
    table.add_section()
    table.add_row("all", *(_figure(row["released"].get(name), "{:.6g}") for name in names))
    return table


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
