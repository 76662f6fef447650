"""Tables for people."""

from __future__ import annotations

from rich.table import Table
from sojourn.agent.database import OrderRow
from sojourn.agent.status import AgentStatus
from sojourn.console import say, show

__all__ = ["status_table"]

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
    table = Table("order", "phase", "round", "state", "ended", "effects")
    for row in status.orders[:_SHOWN]:
        table.add_row(row.digest.hex()[:12], row.phase, str(row.round), row.state, _ended(row), _effects(row))
    show(table)
    if len(status.orders) > _SHOWN:
        say(f"and {len(status.orders) - _SHOWN} older orders; --json has them all")


def _ended(row: OrderRow) -> str:
    """How the run ended, with its public code and line; empty while it has not."""
    return ", ".join(part for part in (row.outcome, row.code, f"line {row.line}" if row.line else "") if part)


def _effects(row: OrderRow) -> str:
    """How many the run made, and what restarts cost."""
    resumed = f", {row.resumed} resumed" if row.resumed else ""
    return f"{row.effects}{resumed}" + (f", {row.recomputed} recomputed" if row.recomputed else "")
