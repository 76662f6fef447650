"""What an agent says while it serves: the same words in an app's log, in an app that has none, and in the command.

Rules:

* An event of `sojourn.logs` has one sentence, made here. What the other end chose of it stands on one line.
* An app that has configured `logging` or structlog gets events there and nowhere else. For one that has not,
  `Agent.serve` says them on standard error, as `sojourn-agent run` does: that is the same code.
* There, what was said of the line is not said again before a coordinator has greeted; of the policy it is each time.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Final

import structlog

from sojourn.logs import PART, plainly

__all__ = ["Narrator", "narrated", "sentence"]

_ROOT: Final = "sojourn"
_REMEMBERED: Final = 64  # sentences
_SENTENCES: Final = {
    "agent.serving": "{agent} serves {url} under the policy of {owner}; stop with Ctrl-C",
    "agent.stopped": "stopped; the state is intact",
    "coordinator.unreachable": "cannot reach {url} ({problem}); trying again",
    "coordinator.greeted": "connected to {url}",
    "coordinator.left": "the line to {url} ended ({reason}); connecting again",
    "coordinator.refused": "{url} is refused: {why}",
    "coordinator.violation": "{url} broke the protocol: {problem}",
    "coordinator.bye": "{url} said goodbye: {reason}",
    "coordinator.advice": "{advice}",
    "policy.changed": "{file} has changed; the next order is judged by it, owner.log says what is new",
    "policy.invalid": "no order is admitted until the policy is mended: {why}",
    "policy.owner": "{file} is the policy of {owner}, and this agent is {agent}: its releases would name {owner} as "
    "the rows' owner; if that is a mistake, draft its own: sojourn policy draft SUBMISSION --owner {agent}",
}
_OURS: Final = frozenset({"policy.invalid"})  # the owner's own file is shown with its line breaks


def sentence(event: str, fields: Mapping[str, object]) -> str:
    """The words of an event; the event and its fields as they are where it has none."""
    form = _SENTENCES.get(event)
    if form is None:
        return plainly(event, fields)
    texts = {name: str(value) for name, value in fields.items()}
    return form.format_map(texts if event in _OURS else {name: _on_one_line(text) for name, text in texts.items()})


def _on_one_line(text: str) -> str:
    return _printable(" ".join(text.split()))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


class Narrator(logging.Handler):
    """Says events on standard error."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Say one event, unless it has been said."""
        event = str(getattr(record, PART, ""))
        text = record.getMessage()
        if event == "coordinator.greeted":
            self._said.clear()
        if event.startswith("coordinator."):
            if text in self._said:
                return
            if len(self._said) > _REMEMBERED:  # the other end chooses some of the words
                self._said.clear()
            self._said.add(text)
        sys.stderr.write(_printable(text) + "\n")
        sys.stderr.flush()


@contextlib.contextmanager
def narrated() -> Iterator[None]:
    """Say events on standard error, unless the app has a log of its own."""
    log = logging.getLogger(_ROOT)
    if structlog.is_configured() or log.hasHandlers():
        yield
        return
    narrator, level = Narrator(), log.level
    log.addHandler(narrator)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(narrator)
        log.setLevel(level)
