"""The durable event sequence of each job, for operators.

An event is a row, written in the transaction that commits what it tells of; followers are woken after the commit.
A follower names the last sequence number it has seen and misses nothing across reconnects and restarts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select

from sojourn_coordinator.store.database import Database
from sojourn_coordinator.store.schema import events

__all__ = ["Event", "Feed", "append_event"]

_PAGE: Final = 500
_NEWEST: Final = select(func.max(events.c.sequence)).where(events.c.job == bindparam("of"))
_AFTER: Final = (
    select(events)
    .where(events.c.job == bindparam("of"), events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(_PAGE)
)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. `data` is JSON text; `last` says that nothing follows."""

    sequence: int
    name: str
    data: str
    last: bool


def append_event(connection: Connection, job: bytes, name: str, data: Mapping[str, Any], *, last: bool = False) -> None:
    """Append one event, inside the caller's transaction. Call `Feed.wake` after the commit."""
    sequence = (connection.execute(_NEWEST, {"of": job}).scalar() or 0) + 1
    text = json.dumps(data, sort_keys=True, allow_nan=False)
    row = {"job": job, "sequence": sequence, "name": name, "data": text, "last": last}
    connection.execute(events.insert(), row)


class Feed:
    """Wakes the followers of a job."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bells: dict[bytes, set[asyncio.Event]] = {}
        self._closed = False

    def wake(self, job: bytes) -> None:
        """Something new is committed for this job."""
        for bell in self._bells.get(job, ()):
            bell.set()

    def close(self) -> None:
        """End every `follow`."""
        self._closed = True
        for bells in self._bells.values():
            for bell in bells:
                bell.set()

    async def follow(self, job: bytes, after: int) -> AsyncIterator[Event]:
        """Events of the job with a sequence number above `after`, as they are committed, until the last one."""
        bell = asyncio.Event()
        bells = self._bells.setdefault(job, set())
        bells.add(bell)
        try:
            while not self._closed:
                bell.clear()
                page = await self._page(job, after)
                for found in page:
                    after = found.sequence
                    yield found
                    if found.last:
                        return
                if not page:
                    await bell.wait()
        finally:
            bells.discard(bell)
            if not bells:
                self._bells.pop(job, None)

    async def _page(self, job: bytes, after: int) -> list[Event]:
        def work(connection: Connection) -> list[Event]:
            rows = connection.execute(_AFTER, {"of": job, "after": after})
            return [Event(row.sequence, row.name, row.data, row.last) for row in rows]

        return await self._database.read(work)
