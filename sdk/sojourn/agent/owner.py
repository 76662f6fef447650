"""The owner's log: JSON lines for the data owner's eyes. Private details of failures go here and nowhere else.

Rules: the file is mode 0600; one line is one event, written and flushed at once; keys of the sealing kind never get
here, because nothing passes them. A line that belongs to an effect carries its occurrence, so that a restart knows
that it was already written. A line that a killed process did not finish is no event; the next one begins a new line.
"""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import Final, Protocol

import structlog

from sojourn.contracts import Occurrence

__all__ = ["OwnerLog"]

_TAIL_BYTES: Final = 1 << 20  # where a restart looks for notes that were written but not yet journalled


class _Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


class OwnerLog:
    """Append-only log of one agent.

    Args:
        path: the file, created if missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        if _is_cut(path):
            self._file.write("\n")  # what a killed process left of its last line stands alone
            self._file.flush()
        self._log: _Logger = structlog.wrap_logger(
            structlog.WriteLogger(self._file),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(sort_keys=True, default=str),
            ],
            wrapper_class=structlog.BoundLogger,
        )

    def info(self, event: str, **fields: object) -> None:
        """Something that the owner may want to know."""
        self._log.info(event, **_plain(fields))

    def warning(self, event: str, **fields: object) -> None:
        """Something that the owner should look at: a refusal, a failure, a neutral release."""
        self._log.warning(event, **_plain(fields))

    def note(self, occurrence: Occurrence, text: str) -> None:
        """`log.note(text)` of a program."""
        self._log.info("note", run=occurrence.run.hex(), operation=occurrence.operation, text=text)

    def noted(self) -> frozenset[Occurrence]:
        """Occurrences of the notes near the end of the file: what a restart must not write twice."""
        found: set[Occurrence] = set()
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = deque(file.read().split(b"\n"))
        for line in lines:
            if b'"event": "note"' not in line:
                continue
            try:
                fields = json.loads(line)
                found.add(Occurrence(bytes.fromhex(fields["run"]), int(fields["operation"])))
            except (ValueError, KeyError, TypeError):
                continue  # the first line of the window may be cut
        return frozenset(found)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _is_cut(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read() not in (b"", b"\n")


def _plain(fields: dict[str, object]) -> dict[str, object]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
