"""The journals of one agent: which one a run uses, and which one it finds again after a restart.

Rules: a journal of a held order is that order's; any other one is free for the next run, because making a log costs
several syncs; one that has grown is not worth reading at a restart and is removed.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sojourn.agent.journal import Journal
from sojourn.agent.records import Begin

__all__ = ["JournalShelf"]


class JournalShelf:
    """The journals of one agent, below one folder.

    Args:
        folder: `runs/` of the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free: list[Journal] = []
        self._known: dict[bytes, Journal] | None = None
        self._number = 0

    def take(self, begin: Begin, held: Collection[bytes]) -> Journal:
        """The journal of a run, for this process to go on with or to begin.

        Args:
            begin: whose journal.
            held: digests of the orders that are held; a journal of any other order is free.

        Raises:
            LogCorrupt: a journal is damaged.
        """
        if self._known is None:
            self._known = self._find()
        journal = self._known.pop(begin.order, None)
        if journal is None:
            self._free += [self._known.pop(order) for order in list(self._known) if order not in held]
            journal = self._free.pop() if self._free else self._new()
        journal.start(begin)
        return journal

    def _find(self) -> dict[bytes, Journal]:
        found: dict[bytes, Journal] = {}
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if not path.name.isdigit():
                continue
            self._number = max(self._number, int(path.name))
            journal = Journal(path)
            if journal.begin is None or journal.begin.order in found:
                self._free.append(journal)
            else:
                found[journal.begin.order] = journal
        return found

    def _new(self) -> Journal:
        self._number += 1
        return Journal(self._folder / f"{self._number:04d}")

    def keep(self, journal: Journal) -> None:
        """Take back the journal of a run that is held and stopped."""
        if self._known is None or journal.begin is None:
            journal.close()
        else:
            self._known[journal.begin.order] = journal

    def retire(self, journal: Journal) -> None:
        """Take back the journal of a run whose answer is durable."""
        if journal.large or self._free:
            journal.remove()
        else:
            self._free.append(journal)

    def close(self) -> None:
        """Close every journal."""
        for journal in (*self._free, *(self._known or {}).values()):
            journal.close()
        self._free, self._known = [], None
