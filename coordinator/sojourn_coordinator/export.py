"""The provenance export of one job: a zip of the exact signed bytes and streams that its models consist of.

Rules:

* Items are stored, not compressed, with a fixed date, in a fixed order: the same state gives the same bytes.
* It is written piece by piece; memory is that of one item.
* It holds nothing sealed and no key: whoever has the root key can verify it, and recompute every model, without us.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from sojourn.datoms import join_datoms
from sqlalchemy import Connection, select

from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import read_item
from sojourn_coordinator.ledger import entry_line, read_entries
from sojourn_coordinator.models import ModelShelf
from sojourn_coordinator.queries import UnknownObject
from sojourn_coordinator.store import split_keys, unpack_extents
from sojourn_coordinator.store.schema import agents, answers, evaluations, items, orders, phases, publications

__all__ = ["export_job"]

_DATE: Final = (1980, 1, 1, 0, 0, 0)
_DOCUMENTS: Final = {"job": "job.signed", "program": "program.signed", "rounds": "rounds.signed", "plan": "plan.signed"}
_STREAMS: Final = {"initial": "models/initial.stream", "heldout": "heldout.stream"}


class _Pieces(io.RawIOBase):
    """A file that cannot seek and gives back what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        taken, self._parts = b"".join(self._parts), []
        return taken


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    read: Callable[[], Awaitable[bytes]]


async def export_job(house: House, job: bytes) -> AsyncIterator[bytes]:
    """The export, in pieces.

    Raises:
        UnknownObject: there is no such job (before the first piece).
    """
    listed = await _Listing(house, job).items()
    return _write(listed)


async def _write(listed: list[_Item]) -> AsyncIterator[bytes]:
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for item in listed:
            info = zipfile.ZipInfo(item.name, _DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, await item.read())
            yield pieces.take()
    yield pieces.take()


class _Listing:
    """Which items the export of a job has."""

    def __init__(self, house: House, job: bytes) -> None:
        self._house = house
        self._job = job
        self._shelf = ModelShelf(house, job)

    async def items(self) -> list[_Item]:
        names = await self._rows(select(items.c.name).where(items.c.job == self._job).order_by(items.c.name))
        if not names:
            raise UnknownObject(f"there is no job {self._job.hex()}; see GET /v1/jobs")
        listed = [_constant("roster.signed", self._house.trusted.roster_bytes)]
        listed += await self._agents()
        for row in names:
            listed.append(self._stored(_DOCUMENTS.get(row.name) or _STREAMS.get(row.name) or row.name, row.name))
        query = select(publications).where(publications.c.job == self._job).order_by(publications.c.operation)
        rounds = {row.round: row for row in await self._rows(query)}
        last = b""
        for number, row in rounds.items():
            listed += await self._round(number, row)
            last = row.model
        if rounds:
            listed.append(_Item(f"models/{max(rounds)}.stream", lambda: self._model(last)))
        listed.append(_Item("ledger.jsonl", self._ledger))
        return listed

    async def _agents(self) -> list[_Item]:
        invited: set[bytes] = set()
        for row in await self._rows(select(phases.c.participants).where(phases.c.job == self._job)):
            invited.update(split_keys(row.participants))
        known = {row.key: row.entry for row in await self._rows(select(agents.c.key, agents.c.entry))}
        return [_constant(f"agents/{key.hex()}.entry", known[key]) for key in sorted(invited & known.keys())]

    async def _round(self, number: int, row: Any) -> list[_Item]:
        folder, listed = f"rounds/{number}", list[_Item]()
        if row.phase:
            phase = (await self._rows(select(phases.c.closure).where(phases.c.id == row.phase)))[0]
            listed.append(_constant(f"{folder}/closure.signed", phase.closure))
        listed.append(_constant(f"{folder}/publication.signed", row.signed))
        same = (evaluations.c.job == self._job) & (evaluations.c.operation == row.operation)
        for found in await self._rows(select(evaluations.c.signed).where(same)):
            listed.append(_constant(f"{folder}/evaluation.signed", found.signed))
        query = select(orders.c.agent, orders.c.signed).where(orders.c.phase == row.phase).order_by(orders.c.agent)
        for order in await self._rows(query):
            listed.append(_constant(f"{folder}/orders/{order.agent.hex()}.signed", order.signed))
        given = select(answers.c.agent, answers.c.signed, answers.c.extents).where(answers.c.phase == row.phase)
        for answer in await self._rows(given.order_by(answers.c.agent)):
            listed.append(_constant(f"{folder}/answers/{answer.agent.hex()}.signed", answer.signed))
            if answer.extents:
                listed.append(self._update(f"{folder}/updates/{answer.agent.hex()}.stream", answer.extents))
        return listed

    def _update(self, name: str, extents: bytes) -> _Item:
        async def read() -> bytes:
            return join_datoms(map(self._house.objects.read, unpack_extents(extents)))

        return _Item(name, read)

    def _stored(self, name: str, item: str) -> _Item:
        async def read() -> bytes:
            return await read_item(self._house, self._job, item)

        return _Item(name, read)

    async def _model(self, root: bytes) -> bytes:
        return join_datoms(await self._shelf.datoms(root))

    async def _ledger(self) -> bytes:
        def work(connection: Connection) -> list[bytes]:
            return read_entries(connection, self._job)

        return "".join(entry_line(data) + "\n" for data in await self._house.database.read(work)).encode()

    async def _rows(self, query: Any) -> list[Any]:
        def work(connection: Connection) -> list[Any]:
            return list(connection.execute(query))

        return await self._house.database.read(work)


def _constant(name: str, data: bytes) -> _Item:
    async def read() -> bytes:
        return data

    return _Item(name, read)
