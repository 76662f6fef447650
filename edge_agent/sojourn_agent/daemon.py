"""The process behind `sojourn-agent run`.

Rules: SIGTERM ends it with 0, Ctrl-C with 130; both stop the run at its next effect and leave the state intact. What
the link meets (a coordinator that cannot be reached, one that is refused) is said in words on standard error, once for
each change, and what to check once for each kind of cause; it keeps trying.
"""

from __future__ import annotations

import signal
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import structlog
from sojourn.agent import Agent
from sojourn.console import EXIT_INTERRUPTED, print_json, tell

__all__ = ["serve"]

_REMEMBERED: Final = 64  # sentences


def serve(state: Path, coordinator: str, policy: Path | None, threads: int, *, as_json: bool = False) -> int:
    """Run the agent until it is told to stop; returns the exit code.

    Raises:
        UsageError: state folder, policy or address do not fit.
        SojournError: see `Agent.run`.
    """
    structlog.configure(processors=[_Narrator(coordinator)], logger_factory=structlog.ReturnLoggerFactory())
    with Agent(state, coordinator, policy, threads=threads) as agent:
        tell(f"{agent.me.name} serves {coordinator} under the policy of {agent.policy.owner}; stop with Ctrl-C")
        if as_json:
            print_json({"name": agent.me.name, "key": agent.me.key.hex(), "coordinator": coordinator})
        stopped = agent.serve()
    tell("stopped; the state is intact")
    return EXIT_INTERRUPTED if stopped == signal.SIGINT else 0


class _Narrator:
    """Turns events into sentences. What was said of the line is not said again before a coordinator has greeted."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._said: set[str] = set()

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        if event.get("event") == "coordinator.greeted":
            self._said.clear()
        text = self._sentence(event)
        if str(event.get("event")).startswith("policy."):
            tell(text)
        elif text not in self._said:
            if len(self._said) > _REMEMBERED:  # the other end chooses some of the words
                self._said.clear()
            self._said.add(text)
            tell(text)
        raise structlog.DropEvent

    def _sentence(self, event: MutableMapping[str, Any]) -> str:
        match event.get("event"):
            case "coordinator.unreachable":
                return f"cannot reach {self._url} ({event.get('problem')}); trying again"
            case "coordinator.greeted":
                return f"connected to {self._url}"
            case "coordinator.left":
                return f"the line to {self._url} ended ({event.get('reason')}); connecting again"
            case "coordinator.refused":
                return f"{self._url} is refused: {event.get('why')}"
            case "coordinator.violation":
                return f"{self._url} broke the protocol: {event.get('problem')}"
            case "coordinator.bye":
                return f"{self._url} said goodbye: {event.get('reason')}"
            case "coordinator.advice":
                return f"{event.get('advice')}"
            case "policy.changed":
                return f"{event.get('file')} has changed; the next order is judged by it, owner.log says what is new"
            case "policy.invalid":
                return f"no order is admitted until the policy is mended: {event.get('why')}"
            case other:
                return f"{other}"
