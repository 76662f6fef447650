"""What an agent's state folder says, read beside a running agent or without one. Changes nothing.

Rules: no private value and no key is shown; counts of effects are those of `agent.db`, durable across restarts.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from sojourn.agent.database import OrderRow, Totals, read_orders
from sojourn.agent.folder import AgentPaths
from sojourn.codec import decode
from sojourn.contracts import Entry, Signed
from sojourn.errors import ConfigError

if sys.platform != "win32":
    import fcntl

__all__ = ["AgentStatus", "read_status"]


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """An agent as its folder shows it.

    Attributes:
        name: of the agent; empty before enrolment.
        key: key id as hexadecimal; empty before enrolment.
        running: whether a process holds the folder.
        orders: newest first.
        totals: over all runs.
    """

    name: str
    key: str
    running: bool
    orders: tuple[OrderRow, ...]
    totals: Totals

    def as_json(self) -> dict[str, object]:
        """Plain data for `--json`."""
        return {
            "name": self.name,
            "key": self.key,
            "running": self.running,
            "effects_resumed": self.totals.effects_resumed,
            "effects_recomputed": self.totals.effects_recomputed,
            "restarts": self.totals.restarts,
            "orders": [
                {
                    "order": row.digest.hex(),
                    "run": row.run.hex(),
                    "job": row.job.hex(),
                    "job_name": row.job_name,
                    "author": row.author,
                    "phase": row.phase,
                    "round": row.round,
                    "state": row.state,
                    "outcome": row.outcome,
                    "code": row.code,
                    "line": row.line,
                    "effects": row.effects,
                    "effects_resumed": row.resumed,
                    "effects_recomputed": row.recomputed,
                    "restarts": row.restarts,
                }
                for row in self.orders
            ],
        }


def read_status(state: str | Path) -> AgentStatus:
    """Read the status of a state folder.

    Raises:
        ConfigError: there is no agent's state folder.
        StoreError: its database cannot be read.
    """
    path = Path(state)
    paths = AgentPaths(path)
    if not paths.database.exists() and not paths.identity.exists():
        raise ConfigError(f"there is no agent's state at {path}; enrol it first: sojourn-agent enrol --state {path}")
    name = key = ""
    if paths.entry.exists():
        entry = decode(Entry, decode(Signed, paths.entry.read_bytes()).payload)
        name, key = entry.name, entry.key.hex()
    orders, totals = read_orders(paths.database) if paths.database.exists() else ([], Totals(0, 0, 0))
    return AgentStatus(name, key, _is_held(path), tuple(orders), totals)


def _is_held(state: Path) -> bool:
    """Whether a process holds the folder.

    The lock is tried only where the process that last took it still lives, so that looking does not keep an agent
    from starting.
    """
    try:
        holder = int((state / "lock").read_text("ascii"))
        os.kill(holder, 0)
    except (OSError, ValueError):
        return False
    if sys.platform == "win32":
        return True
    with (state / "lock").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
