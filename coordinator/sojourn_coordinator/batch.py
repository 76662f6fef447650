"""What a rounds continuation has done since its last commit.

Works are collected while nothing has left the host, and written by one transaction together with the next snapshot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from sqlalchemy import Connection

__all__ = ["Batch", "Work"]

Work: TypeAlias = Callable[[Connection], None]


@dataclass(slots=True)
class Batch:
    """Works in order, and what is to be done once they are committed.

    Attributes:
        works: issue statements on the connection that they get.
        afterwards: called after the commit, in order.
        due: whether to commit before the next effect is performed.
    """

    works: list[Work] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)
    due: bool = False

    def add(self, work: Work, afterwards: Callable[[], None] | None = None, *, due: bool = False) -> None:
        """Collect one work."""
        self.works.append(work)
        if afterwards is not None:
            self.afterwards.append(afterwards)
        self.due = self.due or due

    def take(self) -> tuple[list[Work], list[Callable[[], None]]]:
        """Everything collected; the batch is empty then."""
        taken = self.works, self.afterwards
        self.works, self.afterwards, self.due = [], [], False
        return taken
