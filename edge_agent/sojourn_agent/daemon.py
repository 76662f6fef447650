"""The process behind `sojourn-agent run`.

Rules: SIGTERM ends it with 0, Ctrl-C with 130; both stop the run at its next effect and leave the state intact. What
the link meets (a coordinator that cannot be reached, one that is refused) is said in words on standard error, as an app
with an agent in it says it (`sojourn.agent.narration`); it keeps trying.
"""

from __future__ import annotations

import signal
from pathlib import Path

from sojourn.agent import Agent
from sojourn.console import EXIT_INTERRUPTED, print_json

__all__ = ["serve"]


def serve(state: Path, coordinator: str, policy: Path | None, threads: int, *, as_json: bool = False) -> int:
    """Run the agent until it is told to stop; returns the exit code.

    Raises:
        UsageError: state folder, policy or address do not fit.
        SojournError: see `Agent.run`.
    """
    with Agent(state, coordinator, policy, threads=threads) as agent:
        if as_json:
            print_json({"name": agent.me.name, "key": agent.me.key.hex(), "coordinator": coordinator})
        return EXIT_INTERRUPTED if agent.serve() == signal.SIGINT else 0
