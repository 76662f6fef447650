"""The provenance export of one job: a zip of the exact signed bytes and streams that its models consist of.

Rules:

* Items are stored, not compressed, with a fixed date, in a fixed order: the same state gives the same bytes.
* It is written piece by piece; memory is that of one item.
* Its roster is the one under which the job was submitted: keys that are revoked or replaced later do not unmake it.
* It holds nothing sealed and no key: whoever has the root key can verify it, and recompute every model, without us.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from sojourn.codec import decode, digest
from sojourn.contracts import SUITE_1, Job, LedgerHead, Signed, entry_line
from sojourn.contracts.ledger import FIRST_PREVIOUS
from sojourn.datoms import join_datoms
from sqlalchemy import Connection, select

from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import read_item, update_of
from sojourn_coordinator.ledger import read_entries
from sojourn_coordinator.models import ModelShelf
from sojourn_coordinator.queries import known_job
from sojourn_coordinator.store import split_keys, unpack_extents
from sojourn_coordinator.store.schema import agents, answers, evaluations, items, orders, phases, publications

__all__ = ["export_job"]

_DATE: Final = (1980, 1, 1, 0, 0, 0)
_DOCUMENTS: Final = {name: f"{name}.signed" for name in ("roster", "job", "program", "rounds", "plan")}
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
    """The export, in pieces, of what is committed now.

    Raises:
        UnknownObject: there is no such job (before the first piece).
    """
    await known_job(house.database, job)
    document = decode(Job, decode(Signed, await read_item(house, job, "job")).payload)
    plain = {phase.name for phase in document.phases if update_of(phase) is None}
    rows = await house.database.read(lambda connection: _read(connection, job, plain))
    return _write(_Listing(house, job, rows).items())


async def _write(listed: list[_Item]) -> AsyncIterator[bytes]:
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for item in listed:
            info = zipfile.ZipInfo(item.name, _DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, await item.read())
            yield pieces.take()
    yield pieces.take()


@dataclass(frozen=True, slots=True)
class _Phase:
    """Rows of one closed phase, or of none."""

    closure: bytes | None
    participants: tuple[bytes, ...]
    orders: list[Any]
    answers: list[Any]


@dataclass(frozen=True, slots=True)
class _Round:
    """Rows of one published round."""

    publication: Any
    evaluation: bytes | None
    phase: _Phase


@dataclass(frozen=True, slots=True)
class _Rows:
    """Everything the database says of a job, read in one transaction."""

    items: list[str]
    agents: dict[bytes, bytes]
    rounds: list[_Round]
    surveys: list[_Phase]
    ledger: list[bytes]


def _read(connection: Connection, job: bytes, plain: set[str]) -> _Rows:
    """Rows of a job.

    Args:
        connection: of one transaction.
        job: id of the job.
        plain: names of its phases without an update: each that was closed is a survey.
    """
    names = list(connection.execute(select(items.c.name).where(items.c.job == job).order_by(items.c.name)).scalars())
    query = select(publications).where(publications.c.job == job).order_by(publications.c.operation)
    rounds = [_read_round(connection, row) for row in connection.execute(query).all()]
    closed = select(phases.c.id).where(phases.c.job == job, phases.c.state == "closed", phases.c.name.in_(plain))
    asked = connection.execute(closed.order_by(phases.c.operation)).scalars().all()
    surveys = [_read_phase(connection, phase) for phase in asked]
    invited = {key for phase in [each.phase for each in rounds] + surveys for key in phase.participants}
    invited |= _heard_in_vain(connection, job)
    known = connection.execute(select(agents.c.key, agents.c.entry))
    entries = {row.key: row.entry for row in known if row.key in invited}
    return _Rows(names, entries, rounds, surveys, read_entries(connection, job))


def _heard_in_vain(connection: Connection, job: bytes) -> set[bytes]:
    """Agents that the ledger names in phases that missed their quorum."""
    missed = select(phases.c.id).where(phases.c.job == job, phases.c.state == "missed")
    answered = select(answers.c.agent).where(answers.c.phase.in_(missed))
    declined = select(orders.c.agent).where(orders.c.phase.in_(missed), orders.c.state == "declined")
    return set(connection.execute(answered.union(declined)).scalars())


def _read_round(connection: Connection, row: Any) -> _Round:
    same = (evaluations.c.job == row.job) & (evaluations.c.operation == row.operation)
    evaluation = connection.execute(select(evaluations.c.signed).where(same)).scalar()
    return _Round(row, evaluation, _read_phase(connection, row.phase))


def _read_phase(connection: Connection, identity: bytes) -> _Phase:
    phase = connection.execute(select(phases).where(phases.c.id == identity)).first()
    sent = connection.execute(select(orders).where(orders.c.phase == identity).order_by(orders.c.agent)).all()
    given = connection.execute(select(answers).where(answers.c.phase == identity).order_by(answers.c.agent)).all()
    closure, participants = (None, ()) if phase is None else (phase.closure, split_keys(phase.participants))
    return _Phase(closure, participants, list(sent), list(given))


class _Listing:
    """Which items the export of a job has, in order."""

    def __init__(self, house: House, job: bytes, rows: _Rows) -> None:
        self._house = house
        self._job = job
        self._rows = rows
        self._shelf = ModelShelf(house, job)

    def items(self) -> list[_Item]:
        rows = self._rows
        listed = [_constant(f"agents/{key.hex()}.entry", entry) for key, entry in sorted(rows.agents.items())]
        listed += [self._stored(_DOCUMENTS.get(name) or _STREAMS.get(name) or name, name) for name in rows.items]
        for each in rows.rounds:
            listed += self._round(each)
        for number, phase in enumerate(rows.surveys):
            listed += self._phase(f"surveys/{number}", phase)
        if rows.rounds:
            last = rows.rounds[-1].publication
            listed.append(_Item(f"models/{last.round}.stream", lambda: self._model(last.model)))
        lines = "".join(entry_line(entry) + "\n" for entry in rows.ledger)
        newest = digest(rows.ledger[-1]) if rows.ledger else FIRST_PREVIOUS
        head = LedgerHead(suite=SUITE_1, job=self._job, entries=len(rows.ledger), head=newest)
        return [
            *listed,
            _constant("ledger.jsonl", lines.encode()),
            _constant("ledger.signed", self._house.identity.sign(head)),
        ]

    def _round(self, each: _Round) -> list[_Item]:
        folder = f"rounds/{each.publication.round}"
        documents = {"publication": each.publication.signed, "evaluation": each.evaluation}
        listed = [_constant(f"{folder}/{name}.signed", data) for name, data in documents.items() if data]
        return [*listed, *self._phase(folder, each.phase)]

    def _phase(self, folder: str, phase: _Phase) -> list[_Item]:
        listed = [_constant(f"{folder}/closure.signed", phase.closure)] if phase.closure else []
        listed += [_constant(f"{folder}/orders/{order.agent.hex()}.signed", order.signed) for order in phase.orders]
        for answer in phase.answers:
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


def _constant(name: str, data: bytes) -> _Item:
    async def read() -> bytes:
        return data

    return _Item(name, read)
