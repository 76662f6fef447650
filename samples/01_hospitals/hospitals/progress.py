"""Following the demo's job: bars on a terminal, and elsewhere one line a round and one for whatever goes wrong."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from sojourn.client.api import Operator
from sojourn.client.cli.following import follow_job
from sojourn.client.cli.words import ended, event_line

__all__ = ["follow"]

_TROUBLE: Final = frozenset({"declined", "missed", "note"})


def follow(api: Operator, identity: str, console: Console, rounds: int) -> str | None:
    """Show the job's progress until it ends; None where it is done, else how it ended, in words.

    Args:
        api: of the job's coordinator.
        identity: of the job.
        console: where to.
        rounds: how many there will be.
    """
    if console.is_terminal:
        return follow_job(api, identity, console)
    how: str | None = None
    for event in api.follow(identity):
        data, name = event.data, event.name
        how = ended(name, data)
        if name == "published":
            console.print(
                f"round {data['round'] + 1} of {rounds}: log loss {data['loss']:.4f}, AUC {data['auc']:.4f}",
                soft_wrap=True,
            )
        elif name in _TROUBLE or (name == "answered" and data["outcome"] != "done"):
            console.print(event_line(name, data), markup=False, soft_wrap=True)
    return how
