"""Tables for people."""

from __future__ import annotations

from rich.table import Table
from sojourn.agent.status import AgentStatus
from sojourn.console import say, show

__all__ = ["status_table"]

_SHOWN = 20


def status_table(status: AgentStatus) -> None:
    """Print an agent's status."""
    state = "running" if status.running else "not running"
    say(f"{status.name or 'not enrolled'} {status.key[:16]} · {state}")
    totals = status.totals
    say(f"restarts {totals.restarts}, effects resumed {totals.effects_resumed}, recomputed {totals.effects_recomputed}")
    table = Table("order", "phase", "round", "state", "outcome", "code", "line", "effects", "resumed", "recomputed")
    for row in status.orders[:_SHOWN]:
        cells = (row.round, row.state, row.outcome, row.code, row.line or "", row.effects, row.resumed, row.recomputed)
        table.add_row(row.digest.hex()[:12], row.phase, *map(str, cells))
    show(table)
    if len(status.orders) > _SHOWN:
        say(f"and {len(status.orders) - _SHOWN} older orders")
