"""What every part of the coordinator shares: identity, trust, time, stores, and the feed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sojourn.crypto import Identity, TrustedSet, load_trusted_set
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from sojourn_coordinator.evaluating import Evaluator
from sojourn_coordinator.faults import Fault
from sojourn_coordinator.feed import Feed
from sojourn_coordinator.state import DATABASE_FILE, OBJECTS_FOLDER
from sojourn_coordinator.store import Database, ObjectLog
from sojourn_coordinator.store.schema import meta

__all__ = ["House", "wall_clock_ms"]

_TIME: Final = "time_ms"
_INSERT: Final = insert(meta)
_STAMP: Final = _INSERT.on_conflict_do_update(index_elements=["name"], set_={"value": _INSERT.excluded.value})


def wall_clock_ms() -> int:
    """The host's clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class House:
    """Shared resources of one coordinator process. The state folder's lock is held by whoever opened this.

    Attributes:
        state: the state folder.
        identity: the coordinator's keys.
        trusted: roster and highest time seen.
        database: rows.
        objects: bodies.
        feed: wakes operators that follow a job.
        evaluator: runs `evaluate` graphs.
        fault: test hook, None in service.
    """

    state: Path
    identity: Identity
    trusted: TrustedSet
    database: Database
    objects: ObjectLog
    feed: Feed
    evaluator: Evaluator
    fault: Fault | None

    @classmethod
    async def open(cls, state: Path, fault: Fault | None = None) -> Self:
        """Open identity, trust and stores of a state folder.

        Raises:
            ConfigError: not an initialised folder.
            TrustError: the roster does not hold.
            StateVersion: written by another version.
            LogCorrupt: the object log is damaged.
        """
        identity = Identity.load(state / "identity.key")
        objects = ObjectLog.open(state / OBJECTS_FOLDER)
        try:
            database = await Database.open(state / DATABASE_FILE, objects.sync)
        except BaseException:
            objects.close()
            raise
        try:
            trusted = load_trusted_set(state, floor_ms=await database.read(_read_time))
        except BaseException:
            await database.close()
            objects.close()
            raise
        return cls(state, identity, trusted, database, objects, Feed(database), Evaluator(), fault)

    async def close(self) -> None:
        """End followers, wait for started writes, close the stores."""
        self.feed.close()
        self.evaluator.close()
        await self.database.close()
        self.objects.close()

    def now(self) -> int:
        """Unix milliseconds that never go back, across restarts too (see `stamp`)."""
        return self.trusted.observe(wall_clock_ms())

    def stamp(self, connection: Connection) -> None:
        """Make the highest time seen durable, inside the caller's transaction."""
        now = self.trusted.now
        connection.execute(_STAMP, {"name": _TIME, "value": now})


def _read_time(connection: Connection) -> int:
    found = (connection.execute(select(meta.c.value).where(meta.c.name == _TIME))).scalar()
    return int(found or 0)
