"""An open phase: its orders, the answers that are committed, its clock and its fold.

Rules:

* `PhaseLedger` decides; this module commits what it decided and only then tells it. Works on one agent's answer never
  overlap; every work, once begun, ends even if the connection that brought it does not.
* Bytes are synced (`Database`), then one transaction writes the answer's row, the order's state, ledger, event and
  remaining time; then the update is folded from the log; then the agent is told.
* At the deadline no further answer is taken, those being committed are waited for, and then the phase settles.
* Remaining time is stored each second while the phase is served, and with every answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sojourn.aggregation import FoldResult
from sojourn.codec import decode
from sojourn.contracts import Answer, Order, Phase, Scalar, Signed
from sojourn.errors import UsageError
from sojourn.wire import Closed as ClosedVerdict
from sojourn.wire import Committed, Rejected, Verdict
from sqlalchemy import Connection, bindparam, func, select, update

from sojourn_coordinator.feed import append_event
from sojourn_coordinator.folding import PhaseFold
from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import update_of
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.models import ModelShelf
from sojourn_coordinator.rounds import Again, Conflict, Contribution, Late, Open, Outcome, PhaseLedger, Stranger
from sojourn_coordinator.store import pack_extents
from sojourn_coordinator.store.schema import answers, orders, phases

__all__ = ["CheckedAnswer", "HeldOrder", "PhaseDesk", "PhaseFacts"]

_TICK_S: Final = 1.0

# Statements on the path of every answer are built once: building one costs more than running it.
_SET_STATE: Final = update(orders).where(orders.c.digest == bindparam("of")).values(state=bindparam("to"))
_SET_TIME: Final = update(phases).where(phases.c.id == bindparam("of")).values(remaining_ms=bindparam("to"))
_COUNTED: Final = select(func.count()).where(answers.c.phase == bindparam("of"), answers.c.outcome == "done")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HeldOrder:
    """One order of a phase.

    Attributes:
        digest: SHA-256 of the exact signed bytes.
        order: its content.
        envelope: as it was sealed, once.
        epoch: current custody epoch of its run.
    """

    digest: bytes
    order: Order
    envelope: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """An answer whose signature, statement and update hold.

    Attributes:
        digest: SHA-256 of the exact signed bytes.
        signed: those bytes.
        answer: its content.
        weight: integer weight of its update; 0 without one.
        length: sealed bytes of its body.
        positions: one log record for each datom of its update.
    """

    digest: bytes
    signed: bytes
    answer: Answer
    weight: int
    length: int
    positions: tuple[int, ...]

    @classmethod
    def stored(
        cls, digest: bytes, signed: bytes, weight: int, length: int, positions: tuple[int, ...]
    ) -> CheckedAnswer:
        """From a row: it was checked before it was stored."""
        return cls(digest, signed, decode(Answer, decode(Signed, signed).payload), weight, length, positions)


@dataclass(frozen=True, slots=True)
class PhaseFacts:
    """What a phase is.

    Attributes:
        id: identity of its answers, from run and operation.
        job: id of the job.
        operation: of the `fleet.ask`.
        round: number of the round.
        phase: as the job has it.
        weights: root of the model that it starts from.
        opened_ms: when it opened.
    """

    id: bytes
    job: bytes
    operation: int
    round: int
    phase: Phase
    weights: bytes
    opened_ms: int


class PhaseDesk:
    """Serves one phase.

    Args:
        house: shared resources.
        facts: what the phase is.
        ledger: its state, with committed answers already told to it.
        held: its orders.
        moved: bytes of bodies that it moves, answers so far included.
    """

    def __init__(
        self, house: House, facts: PhaseFacts, ledger: PhaseLedger, held: Iterable[HeldOrder], moved: int
    ) -> None:
        self._house = house
        self.facts = facts
        self.ledger = ledger
        self.orders = {item.order.recipient: item for item in held}
        self.answers: dict[bytes, CheckedAnswer] = {}
        self.moved = moved
        self.closure = b""  # Signed(Closure), once closed
        self.recorded = asyncio.Event()  # the closing is durable
        self._settled = asyncio.Event()
        self._expiring = False
        self._committing = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._works: set[asyncio.Task[Any]] = set()
        self._agents: dict[bytes, asyncio.Lock] = {}
        self.update = update_of(facts.phase)
        self._fold: PhaseFold | None = None
        if not isinstance(ledger.outcome, Open):
            self._settled.set()

    # Answers

    async def offer(self, agent: bytes, name: str, checked: CheckedAnswer) -> Verdict:
        """Commit an answer, fold it, and say what the agent is to be told."""
        return await self._whole(self._offer(agent, name, checked))

    async def decline(self, agent: bytes, name: str, code: str) -> None:
        """The agent will not run its order."""
        await self._whole(self._decline(agent, name, code))

    async def _offer(self, agent: bytes, name: str, checked: CheckedAnswer) -> Verdict:
        order = checked.answer.order
        async with self._agents.setdefault(agent, asyncio.Lock()):
            judgement = Late() if self._expiring else self.ledger.judge(agent, checked.digest)
            match judgement:
                case Again():
                    return Committed(order)
                case Conflict():
                    await self.refuse(agent, "duplicate", checked.digest)
                    return Rejected(order, "duplicate")
                case Stranger():
                    await self.refuse(agent, "stranger", checked.digest)
                    return Rejected(order, "stranger")
                case Late():
                    if agent in self.ledger.awaited:
                        await self.recorded.wait()
                    return ClosedVerdict(order)
            self._enter()
            try:
                await self._commit(agent, name, checked)
            finally:
                self._leave()
        if checked.positions and self._fold is not None:
            await self._fold.add(agent, checked.positions)
        return Committed(order)

    async def _commit(self, agent: bytes, name: str, checked: CheckedAnswer) -> None:
        house, facts, done = self._house, self.facts, checked.answer.outcome == "done"
        now = house.now()
        event = {
            "round": facts.round, "agent": name, "outcome": checked.answer.outcome, "code": checked.answer.code,
            "line": checked.answer.line,
        }  # fmt: skip

        def work(connection: Connection) -> None:
            connection.execute(
                answers.insert(),
                {
                    "order": checked.answer.order, "phase": facts.id, "agent": agent, "digest": checked.digest,
                    "signed": checked.signed, "outcome": checked.answer.outcome, "weight": checked.weight,
                    "length": checked.length, "extents": pack_extents(checked.positions),
                },
            )  # fmt: skip
            connection.execute(_SET_STATE, {"of": checked.answer.order, "to": "done" if done else "failed"})
            self._store_time(connection)
            detail = {"round": facts.round, "outcome": checked.answer.outcome, "code": checked.answer.code}
            append_entry(connection, facts.job, now, "answered", agent=agent, subject=checked.digest, detail=detail)
            counted = connection.execute(_COUNTED, {"of": facts.id}).scalar_one()
            count = {"count": counted, "of": len(self.ledger.participants)}
            append_event(connection, facts.job, "answered", event | count)

        await house.database.write(work)
        self.answers[agent] = checked
        self.moved += checked.length
        self._tell(self.ledger.answered(agent, checked.digest) if done else self.ledger.gave_up(agent, checked.digest))
        house.feed.wake(facts.job)
        if house.fault is not None:
            house.fault.strike(house.state, facts.round, len(self.answers))

    async def _decline(self, agent: bytes, name: str, code: str) -> None:
        async with self._agents.setdefault(agent, asyncio.Lock()):
            if self._expiring or agent not in self.ledger.awaited or not isinstance(self.ledger.outcome, Open):
                return
            self._enter()
            try:
                await self._commit_decline(agent, name, code)
            finally:
                self._leave()

    async def _commit_decline(self, agent: bytes, name: str, code: str) -> None:
        facts, now, order = self.facts, self._house.now(), self.orders[agent].digest
        detail: dict[str, Scalar] = {"round": facts.round, "code": code}

        def work(connection: Connection) -> None:
            connection.execute(_SET_STATE, {"of": order, "to": "declined"})
            append_entry(connection, facts.job, now, "declined", agent=agent, subject=order, detail=detail)
            append_event(connection, facts.job, "declined", detail | {"agent": name, "key": agent.hex()})

        await self._house.database.write(work)
        self._tell(self.ledger.gave_up(agent))
        self._house.feed.wake(facts.job)

    async def refuse(self, agent: bytes, reason: str, subject: bytes) -> None:
        """Record misbehaviour of an agent. The round goes on as if nothing had come."""
        facts, now = self.facts, self._house.now()

        def work(connection: Connection) -> None:
            detail: dict[str, Scalar] = {"round": facts.round, "phase": facts.phase.name, "reason": reason}
            append_entry(connection, facts.job, now, "refused", agent=agent, subject=subject, detail=detail)

        await self._house.database.write(work)

    # Time

    async def serve(self) -> Outcome:
        """Serve the phase's clock until the phase settles."""
        while isinstance(self.ledger.outcome, Open):
            began = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_TICK_S, self.ledger.remaining_ms / 1000)):
                    await self._settled.wait()
            spent = round((time.monotonic() - began) * 1000)
            if spent >= self.ledger.remaining_ms:
                self._expiring = True
                await self._idle.wait()
            if isinstance(self.ledger.elapse(spent), Open):
                await self._house.database.write(self._store_time)
        self._settled.set()
        return self.ledger.outcome

    def _store_time(self, connection: Connection) -> None:
        connection.execute(_SET_TIME, {"of": self.facts.id, "to": self.ledger.remaining_ms})

    # Fold

    async def start_fold(self, shelf: ModelShelf, chosen: Mapping[str, Scalar], shapes: Iterable[str]) -> None:
        """Fold updates as they come, onto the model that the phase starts from."""
        if self.update is not None:
            base = await shelf.tensors(self.facts.weights)
            self._fold = PhaseFold(self._house.objects, chosen, self.facts.weights, base, self.update, shapes)

    async def fold(
        self, shelf: ModelShelf, chosen: Mapping[str, Scalar], root: bytes, shapes: Iterable[str]
    ) -> FoldResult:
        """The fold of all answers that count; what is not folded yet is read from the log.

        Args:
            shelf: models of the job.
            chosen: policy record.
            root: of the base.
            shapes: names of the trained tensors.

        Raises:
            UsageError: the phase's answers hold no update, or they do not fit the base.
        """
        if self.update is None:
            raise UsageError(f"the answers of phase {self.facts.phase.name!r} hold no update")
        fold = self._fold
        if fold is None or not fold.serves(chosen, root):
            base = await shelf.tensors(root)
            fold = PhaseFold(self._house.objects, chosen, root, base, self.update, shapes)
        for agent in self.ledger.counted:
            await fold.add(agent, self.answers[agent].positions)
        return fold.result()

    def contributions(self) -> list[Contribution]:
        """The answers that count, for the round table."""
        return [Contribution(agent, self.answers[agent].answer.releases) for agent in self.ledger.counted]

    # Inside

    def _tell(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Open):
            self._settled.set()

    def _enter(self) -> None:
        self._committing += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._committing -= 1
        if self._committing == 0:
            self._idle.set()

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end even when the caller goes away."""
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        return await asyncio.shield(task)

    async def halt(self) -> None:
        """Take no further answer, and wait for those being committed. Whoever comes later waits for the end."""
        self._expiring = True
        await self._idle.wait()

    async def stop(self) -> None:
        """End what is still waiting, when the process stops. Works that commit are waited for."""
        await self._idle.wait()
        for task in self._works:
            task.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
