"""Tables of a job, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rich.table import Table

from sojourn.client.cli.words import reason

__all__ = ["agents_table", "job_tables"]

Row = Mapping[str, Any]

_MARK: Final = " *"
_FOOTNOTE: Final = (
    "* may be no figure at all: a count or sum of 0, or a mean in the middle of its bounds, is also what is released "
    "of no rows, of too few, or of a region that failed; which it was, only the owner's log says."
)


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
    marked = dict.fromkeys(names, 0)
    for part in row["agents"]:
        neutral = part.get("neutral", ())  # a report of an earlier version does not say
        for name in neutral:
            marked[name] += 1
        cells = (_figure(part["released"].get(name), "{:.6g}") + (_MARK if name in neutral else "") for name in names)
        table.add_row(part["agent"], *cells)
    table.add_section()
    empty = {name for name in names if 0 < marked[name] == len(row["agents"])}
    cells = (_figure(row["released"].get(name), "{:.6g}") + (_MARK if name in empty else "") for name in names)
    table.add_row("all", *cells)
    if any(marked.values()):
        table.caption, table.caption_justify = _FOOTNOTE, "left"
    return table


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
