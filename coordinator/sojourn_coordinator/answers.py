"""Taking answers: from an offered packet to a checked answer, or to the reason why not.

Rules:

* Nothing an agent sends is believed: its envelope is opened as this agent's, its statement is verified and held against
  the order, its blocks are checked one by one as they arrive and logged as they are.
* Whatever is refused is recorded as misbehaviour in the job's ledger; the round goes on unharmed.
* An answer to a phase that is over is told so, or acknowledged again if it is the one that was committed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sojourn.codec import decode
from sojourn.contracts import Answer, AnswerPacket, BodyRef, Entry
from sojourn.crypto import ANSWER, BodyOpener, Verified, open_envelope
from sojourn.datoms import DatomSplitter, UpdateReader
from sojourn.errors import ContributionRefused, DecodeError, PeerError, SojournError
from sojourn.limits import MAX_DOCUMENT_BYTES, MIB
from sojourn.wire import AnswerSink, Closed, Committed, Rejected, Verdict
from sqlalchemy import Connection, select

from sojourn_coordinator.desk import CheckedAnswer, PhaseDesk
from sojourn_coordinator.fleet import Fleet
from sojourn_coordinator.house import House
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.rounds import Again, Conflict, check_statement
from sojourn_coordinator.store.schema import answers, orders

__all__ = ["Intake", "UpdateSink", "reason_of"]


def reason_of(problem: SojournError) -> str:
    """The public reason of a refusal."""
    if isinstance(problem, ContributionRefused | DecodeError):
        return problem.reason
    return problem.code


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database says of an order whose phase is not open here."""

    job: bytes
    agent: bytes
    answer: bytes | None  # digest of the committed answer


class Intake:
    """Judges offers.

    Args:
        house: shared resources.
        fleet: open phases.
        shapes: shapes of the trained tensors of a job.
    """

    def __init__(self, house: House, fleet: Fleet, shapes: dict[bytes, dict[str, tuple[int, ...]]]) -> None:
        self._house = house
        self._fleet = fleet
        self._shapes = shapes

    async def offer(self, agent: Entry, order: bytes, packet: bytes, body: bytes, length: int) -> AnswerSink | Verdict:
        """An answer is offered: a sink for its body, or the verdict at once."""
        desk = self._fleet.desk_of(order)
        if desk is None:
            return await self._without_phase(agent, order, packet)
        try:
            held = desk.orders.get(agent.key)
            if held is None or held.digest != order:
                raise ContributionRefused("stranger", "the order was not addressed to this agent")
            opened, answer = self._open(agent, packet)
            check_statement(answer.value, held.order, order, desk.facts.phase, held.epoch, agent.key)
            ref = self._body_of(desk, opened, answer.value, body, length)
        except PeerError as problem:
            await desk.refuse(agent.key, reason_of(problem), order)
            return Rejected(order, reason_of(problem))
        match desk.ledger.judge(agent.key, answer.digest):
            case Again():
                return Committed(order)
            case Conflict():
                await desk.refuse(agent.key, "duplicate", answer.digest)
                return Rejected(order, "duplicate")
        return UpdateSink(self._house, desk, agent, answer, ref, opened.key, self._shapes[desk.facts.job])

    def _open(self, agent: Entry, packet: bytes) -> tuple[AnswerPacket, Verified[Answer]]:
        house = self._house
        plain = open_envelope(house.identity, packet, agent, ANSWER, house.now())
        opened = decode(AnswerPacket, plain, limit=MAX_DOCUMENT_BYTES)
        return opened, house.trusted.verify_answer(opened.answer, agent)

    def _body_of(
        self, desk: PhaseDesk, opened: AnswerPacket, answer: Answer, body: bytes, length: int
    ) -> BodyRef | None:
        """The body that belongs to the answer: exactly one where it is done and holds an update, else none."""
        expected = answer.outcome == "done" and desk.update is not None
        ref = opened.body
        if (ref is not None) != expected:
            raise ContributionRefused("schema", "an answer has a body exactly when it is done and holds an update")
        if (b"" if ref is None else ref.id, 0 if ref is None else ref.length) != (body, length):
            raise ContributionRefused("digest", "the offered body is not the one that the sealed answer names")
        if ref is not None:
            payload = 4 * sum(math.prod(shape) for shape in self._shapes[desk.facts.job].values())
            if ref.plain > 2 * payload + MIB:
                raise ContributionRefused("blocks", f"a body of {ref.plain} bytes for an update of {payload}")
        return ref

    async def _without_phase(self, agent: Entry, order: bytes, packet: bytes) -> Verdict:
        query = (
            select(orders.c.job, orders.c.agent, answers.c.digest)
            .join(answers, answers.c.order == orders.c.digest, isouter=True)
            .where(orders.c.digest == order)
        )

        def work(connection: Connection) -> _Known | None:
            row = (connection.execute(query)).first()
            return None if row is None else _Known(row.job, row.agent, row.digest)

        known = await self._house.database.read(work)
        if known is None:
            return Rejected(order, "stranger")
        if known.agent != agent.key:
            await self._record(known.job, agent.key, "stranger", order)
            return Rejected(order, "stranger")
        if known.answer is None:
            return Closed(order)
        try:
            _, answer = self._open(agent, packet)
        except PeerError as problem:
            await self._record(known.job, agent.key, reason_of(problem), order)
            return Rejected(order, reason_of(problem))
        if answer.digest == known.answer:
            return Committed(order)
        await self._record(known.job, agent.key, "duplicate", answer.digest)
        return Rejected(order, "duplicate")

    async def _record(self, job: bytes, agent: bytes, reason: str, subject: bytes) -> None:
        now = self._house.now()

        def work(connection: Connection) -> None:
            append_entry(connection, job, now, "refused", agent=agent, subject=subject, detail={"reason": reason})

        await self._house.database.write(work)


class UpdateSink:
    """Takes the sealed body of one answer; implements `sojourn.wire.AnswerSink`."""

    def __init__(
        self,
        house: House,
        desk: PhaseDesk,
        agent: Entry,
        answer: Verified[Answer],
        ref: BodyRef | None,
        key: bytes,
        shapes: dict[str, tuple[int, ...]],
    ) -> None:
        self._house = house
        self._desk = desk
        self._agent = agent
        self._answer = answer
        self._opener = None if ref is None else BodyOpener(ref, key)
        self._length = 0 if ref is None else ref.length
        self._splitter = DatomSplitter()
        self._reader = None if desk.update is None or ref is None else UpdateReader(shapes, desk.update)
        self._positions: list[int] = []

    async def feed(self, chunk: memoryview, /) -> None:
        """Open, check and log the next bytes."""
        try:
            self._take(chunk)
        except PeerError as problem:
            await self._refuse(problem)
            raise

    async def finish(self) -> Verdict:
        """Check the whole, then commit it."""
        try:
            weight = self._complete()
        except PeerError as problem:
            await self._refuse(problem)
            raise
        answer = self._answer
        checked = CheckedAnswer(answer.digest, answer.data, answer.value, weight, self._length, tuple(self._positions))
        return await self._desk.offer(self._agent.key, self._agent.name, checked)

    async def abort(self) -> None:
        """What was logged is garbage: no row names it."""
        self._positions.clear()

    def _take(self, chunk: memoryview) -> None:
        if self._opener is None or self._reader is None:
            raise ContributionRefused("schema", "bytes of a body that this answer does not have")
        for plain in self._opener.feed(chunk):
            for datom in self._splitter.feed(plain):
                self._reader.feed(datom)
                self._positions.append(self._house.objects.append(datom))

    def _complete(self) -> int:
        if self._opener is None or self._reader is None:
            return 0
        self._opener.finish()
        self._splitter.finish()
        weight, root = self._reader.finish()
        stated = next(released.root for released in self._answer.value.releases if released.kind == "update")
        if root != stated:
            raise ContributionRefused("digest", "the update is not the one that the agent signed")
        return weight

    async def _refuse(self, problem: PeerError) -> None:
        await self._desk.refuse(self._agent.key, reason_of(problem), self._answer.digest)
