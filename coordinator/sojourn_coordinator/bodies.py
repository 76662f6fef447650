"""Sealed bodies that agents fetch: what is stored, and who may have it.

A body is sealed once under a key of its own. Keys are never stored: a process that needs to wrap a key which only an
earlier process had seals the plain bytes again, as another body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sojourn.contracts import BodyRef
from sojourn.crypto import BodySealer
from sojourn.errors import StoreError
from sqlalchemy import Connection, select

from sojourn_coordinator.store import Database, ObjectLog, ObjectWriter, StoredBody, unpack_extents
from sojourn_coordinator.store.schema import objects

__all__ = ["BodyDesk", "SealedBody", "load_body", "seal_into"]


@dataclass(frozen=True, slots=True)
class SealedBody:
    """A body sealed by this process.

    Attributes:
        ref: goes into orders.
        key: content key; goes into envelopes only.
        stored: where its bytes are.
    """

    ref: BodyRef
    key: bytes
    stored: StoredBody

    def __repr__(self) -> str:
        return f"SealedBody({self.ref!r}, key …)"


def seal_into(log: ObjectLog, plain: Iterable[bytes]) -> SealedBody:
    """Seal a body piece by piece into the log; durable after `ObjectLog.sync`."""
    sealer, writer = BodySealer(), ObjectWriter(log)
    for part in plain:
        for piece in sealer.feed(part):
            writer.feed(piece)
    last, ref, key = sealer.finish()
    for piece in last:
        writer.feed(piece)
    return SealedBody(ref, key, writer.finish())


async def load_body(database: Database, log: ObjectLog, body: bytes) -> StoredBody:
    """A stored body by its id.

    Raises:
        StoreError: there is none.
    """

    def work(connection: Connection) -> tuple[int, bytes] | None:
        row = (connection.execute(select(objects).where(objects.c.id == body))).first()
        return None if row is None else (row.length, row.extents)

    found = await database.read(work)
    if found is None:
        raise StoreError(f"there is no body {body.hex()[:16]}")
    return StoredBody(log, body, found[0], unpack_extents(found[1]))


class BodyDesk:
    """Which agent may fetch which body: those of its open orders."""

    def __init__(self) -> None:
        self._stored: dict[bytes, StoredBody] = {}
        self._grants: dict[bytes, dict[bytes, int]] = {}  # body -> agent -> open orders that name it

    def known(self, body: bytes) -> StoredBody | None:
        """The body, if some agent may fetch it."""
        return self._stored.get(body)

    def grant(self, agent: bytes, body: StoredBody) -> None:
        """Let an agent fetch a body, once more."""
        self._stored[body.id] = body
        agents = self._grants.setdefault(body.id, {})
        agents[agent] = agents.get(agent, 0) + 1

    def withdraw(self, agent: bytes, body: bytes) -> None:
        """Undo one `grant`."""
        agents = self._grants.get(body, {})
        agents[agent] = agents.get(agent, 0) - 1
        if agents[agent] <= 0:
            del agents[agent]
        if not agents:
            self._grants.pop(body, None)
            self._stored.pop(body, None)

    def open(self, agent: bytes, body: bytes) -> StoredBody | None:
        """The body, if this agent may have it."""
        return self._stored.get(body) if agent in self._grants.get(body, ()) else None

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stored)
