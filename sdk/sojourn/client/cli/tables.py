"""Tables of a job, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from sojourn.client.cli.words import reason

__all__ = ["agents_table", "job_tables"]

Row = Mapping[str, Any]

_HELD_OUT: Final = {"loss": "loss", "auc": "AUC"}
_MARK: Final = " *"
_FOOTNOTE: Final = (
    "* may be no figure at all: a count or sum of 0, or a mean in the middle of its bounds, is also what is released "
    "of no rows, and of a region that failed or gave nothing that fits; which it was, only the owner's log says."
)


def job_tables(rows: Iterable[Row]) -> Iterator[Table | Text]:
    """A table of the published models, if there are any, and one for each report: a phase that is an end in itself."""
    listed = list(rows)
    models = [row for row in listed if "agents" not in row]
    if models:
        yield _models(models)
    for row in listed:
        if "agents" in row:
            yield from _report(row)


def agents_table(phase: Row, modules: Sequence[str] = ()) -> Table:
    """How each agent of a phase stands, why it did not answer, and what it has released where it did.

    Args:
        phase: of a job.
        modules: of the agent program, beside its own file.
    """
    names = list(dict.fromkeys(name for part in phase["agents"] for name in part.get("released", {})))
    table = Table("agent", "state", "why", *names)
    for part in phase["agents"]:
        figures = (_figure(part.get("released", {}).get(name), "{:.6g}") for name in names)
        why = reason(part["code"], part["line"], modules) if part["code"] else ""
        table.add_row(part["agent"], part["state"], why, *figures)
    return table


def _models(rows: Iterable[Row]) -> Table:
    """A row for each model: what it came to on held-out data, who took part, what they released, bytes, time."""
    listed = list(rows)
    figures = [name for name in _HELD_OUT if any(row.get(name) is not None for row in listed)]
    names = list(dict.fromkeys(name for row in listed for name in row.get("released", {})))
    released = (f"agents' {name}" if name in figures else name for name in names)
    table = Table("round", *(_HELD_OUT[name] for name in figures), "agents", *released, "KiB", "seconds")
    for row in listed:
        table.add_row(
            str(row["round"]),
            *(_figure(row.get(name), "{:.4f}") for name in figures),
            str(row["participants"]),
            *(_figure(row.get("released", {}).get(name), "{:.6g}") for name in names),
            f"{row['bytes'] / 1024:.1f}",
            f"{row['seconds']:.2f}",
        )
    return table


def _report(row: Row) -> Iterator[Table | Text]:
    """What each agent released in one phase, the total, and a footnote where a number may be none."""
    names = list(dict.fromkeys(name for part in row["agents"] for name in part["released"]))
    stated = row.get("names", [])  # in the order of the answer; a report of an earlier version does not say
    names.sort(key=lambda name: stated.index(name) if name in stated else len(stated))
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
    yield table
    for mean, count in row.get("weights", {}).items():
        yield Text(f"all: {mean!r} is averaged with {count!r} as weight, the last count released before it.")
    if any(marked.values()):
        yield Text(_FOOTNOTE)


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
