"""Where a library speaks: structlog if the app has configured it, the standard library's `logging` otherwise.

structlog's own default prints to standard output, which belongs to the app that embeds an agent. The names are
`sojourn.<part>`; like any library's, they are silent below warnings until the app asks for more.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

__all__ = ["Log", "get_log"]


class Log:
    """A named log. Events are dotted names, fields are keywords; nothing secret is ever a field."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

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
            log.log(level, "%s", " ".join([event, *(f"{name}={value!r}" for name, value in fields.items())]))


def get_log(name: str) -> Log:
    """The log `name`, for example `sojourn.link`."""
    return Log(name)
