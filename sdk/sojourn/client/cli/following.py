"""Following a job to its end: bars on a terminal, and anywhere else a line for each thing that happens, at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sojourn.client.cli.words import ended, event_line, waiting_line
from sojourn.console import tell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from sojourn.client.api import Event, Operator

__all__ = ["follow_job"]

_TROUBLE = ("declined", "missed", "note")


def follow_job(api: Operator, identity: str, console: Console | None = None) -> str | None:
    """Show a job's progress until it ends.

    Args:
        api: of the job's coordinator.
        identity: of the job.
        console: where to; by default standard error.

    Returns:
        None where the job is done, else how it ended, in words.
    """
    if sys.stderr.isatty() if console is None else console.is_terminal:
        return _bars(api, identity, console)
    how: str | None = None
    for event in api.follow(identity):
        how = ended(event.name, event.data)
        line = None if how is not None else event_line(event.name, event.data)
        if line is None:
            continue
        if console is None:
            tell(line)
        else:
            console.print(line, markup=False, soft_wrap=True)
    return how


def _bars(api: Operator, identity: str, console: Console | None) -> str | None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console or Console(stderr=True, highlight=False),
    ) as progress:
        whole = progress.add_task("rounds", total=api.job(identity)["rounds"], note="")
        part = progress.add_task("answers", total=None, note="")
        return _draw(api.follow(identity), progress, whole, part)


def _draw(events: Iterable[Event], progress: Progress, whole: TaskID, part: TaskID) -> str | None:
    how: str | None = None
    for event in events:
        data, name = event.data, event.name
        how = ended(name, data)
        line = event_line(name, data)
        if name in _TROUBLE or (name == "answered" and data["outcome"] != "done"):
            progress.console.print(line, markup=False)
        match name:
            case "waiting":
                progress.update(part, note=waiting_line(data))
            case "opened":
                progress.reset(part, total=data["participants"])
                progress.update(part, note=f"round {data['round']}")
            case "answered":
                progress.update(part, completed=data["count"], total=data["of"])
            case "published":
                figures = [f"{key} {data[key]:.4f}" for key in ("loss", "auc") if isinstance(data.get(key), float)]
                progress.update(whole, completed=data["round"] + 1, note="  ".join(figures))
            case "closed" if "report" in data:  # a phase that is an end in itself: no model follows
                progress.update(whole, completed=data["round"] + 1)
    return how
