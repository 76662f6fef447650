"""Tables for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from sojourn.agent.orders import OrderRow
from sojourn.agent.status import AgentStatus
from sojourn.console import say, show
from sojourn.vm.places import line_text

if TYPE_CHECKING:
    from sojourn.agent.released import Departure

__all__ = ["released_table", "status_table"]

_SHOWN = 20


def status_table(status: AgentStatus) -> None:
    """Print an agent's status; what does not fit into the terminal's width is wrapped."""
    state = "running" if status.running else "not running"
    say(f"{status.name or 'not enrolled'} {status.key[:16]} · {state}")
    totals = status.totals
    say(f"restarts {totals.restarts}, effects resumed {totals.effects_resumed}, recomputed {totals.effects_recomputed}")
    if not status.orders:
        say("no orders yet")
        return
    table = Table("order", "job", "phase", "round", "state", "ended", "effects")
    for row in status.orders[:_SHOWN]:
        table.add_row(
            row.digest.hex()[:12], _job(row), row.phase, str(row.round), row.state, _ended(row), _effects(row)
        )
    show(table)
    if len(status.orders) > _SHOWN:
        say(f"and {len(status.orders) - _SHOWN} older orders; --json has them all")


def released_table(left: Sequence[Departure]) -> None:
    """Print what has left, oldest first."""
    if not left:
        say("nothing has left")
        return
    table = Table("left (UTC)", "job", "round", "what", "within", "value", "bytes", "answer")
    for one in left:
        when = dt.datetime.fromtimestamp(one.left_ms / 1000, dt.UTC)
        name = "" if one.kind == "update" else f" {one.name!r}"
        bounds = ", ".join(f"{key} {value}" for key, value in sorted(one.parameters.items()))
        table.add_row(
            f"{when:%Y-%m-%d %H:%M:%S}", _job(one), f"{one.phase} {one.round}", f"{one.kind}{name}",
            f"{bounds} ({one.mechanism}, {one.claim})", "" if one.value is None else repr(one.value),
            str(one.length), one.answer,
        )  # fmt: skip
    show(table)
    say(f"{len(left)} releases in {len({one.order for one in left})} answers; --json has ids and keys too")


def _job(row: OrderRow | Departure) -> str:
    """The job as a person knows it: its name and author, or its id where they were not kept."""
    return f"{row.job_name}, by {row.author}" if row.author else row.job.hex()[:12]


def _ended(row: OrderRow) -> str:
    """How the run ended, with its public code and line; empty while it has not."""
    return ", ".join(part for part in (row.outcome, row.code, line_text(row.line) if row.line else "") if part)


def _effects(row: OrderRow) -> str:
    """How many the run made, and what restarts cost."""
    resumed = f", {row.resumed} resumed" if row.resumed else ""
    return f"{row.effects}{resumed}" + (f", {row.recomputed} recomputed" if row.recomputed else "")
