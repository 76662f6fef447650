"""Where a library speaks: structlog if the app has configured it, the standard library's `logging` otherwise.

structlog's own default prints to standard output, which belongs to the app that embeds an agent. The names are
`sojourn.<part>`; like any library's, they are silent below warnings until the app asks for more. structlog gets the
event and its fields; a line of `logging` is made of them by the log's own words, one renderer for each part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

__all__ = ["PART", "Log", "get_log", "plainly"]

PART: Final = "sojourn_event"
"""Attribute of a record of `logging` that holds the event's name."""


def plainly(event: str, fields: Mapping[str, object]) -> str:
    """An event and its fields on one line, as they are."""
    return " ".join([event, *(f"{name}={value!r}" for name, value in fields.items())])


class Log:
    """A named log. Events are dotted names, fields are keywords; nothing secret is ever a field."""

    __slots__ = ("_name", "_words")

    def __init__(self, name: str, words: Callable[[str, Mapping[str, object]], str] = plainly) -> None:
        self._name, self._words = name, words

    def info(self, event: str, **fields: Any) -> None:
        """What happened."""
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What somebody should look at."""
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """What went wrong here."""
        self._say(logging.ERROR, event, fields)

    def _say(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if structlog.is_configured():
            structlog.get_logger(self._name).log(level, event, **fields)
            return
        log = logging.getLogger(self._name)
        if log.isEnabledFor(level):
            log.log(level, "%s", self._words(event, fields), extra={PART: event})


def get_log(name: str, words: Callable[[str, Mapping[str, object]], str] = plainly) -> Log:
    """The log `name`, for example `sojourn.link`, whose lines `words` makes of an event and its fields."""
    return Log(name, words)
