"""The effects that a coordinator performs for a rounds continuation.

Rules:

* What an effect does is collected in the job's batch. A flush writes the batch and the snapshot in one transaction;
  nothing leaves the host before the flush that holds it (an opened phase is flushed before its orders go out).
* A flush leaves the machine parked at an effect. After a restart that effect is performed again: a phase that was
  opened is found by its identity and served on, one that was closed is not opened again, and everything that no
  transaction holds had not left the host.
* A wrong argument is an exception of the language, thrown into the program.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sojourn.codec import digest, digest_parts
from sojourn.contracts import SUITE_1, Closure
from sojourn.errors import Expired, StoreError, UsageError
from sojourn.labels import PUBLIC
from sojourn.vm import Effect, Handle, Value
from sqlalchemy import Connection, bindparam, select, update

from sojourn_coordinator.batch import Batch
from sojourn_coordinator.desk import PhaseDesk, PhaseFacts
from sojourn_coordinator.feed import append_event
from sojourn_coordinator.fleet import Fleet
from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import JobContext
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.models import ModelShelf
from sojourn_coordinator.opening import PhaseOpener
from sojourn_coordinator.publishing import Publisher
from sojourn_coordinator.reports import REPORT, phase_report
from sojourn_coordinator.rounds import Closed, Missed, Outcome, Waiting
from sojourn_coordinator.store import join_keys, split_keys
from sojourn_coordinator.store.schema import cohorts, operations, phases

__all__ = ["EffectFailed", "RoundEffects"]

_MAX_NOTE: Final = 1000  # characters of one log.note

_RESULT: Final = select(operations).where(
    operations.c.run == bindparam("of"), operations.c.operation == bindparam("at")
)
_CLOSE: Final = (
    update(phases)
    .where(phases.c.id == bindparam("of"), phases.c.state == "open")
    .values(state=bindparam("to"), remaining_ms=0, closure=bindparam("document"))
)


class EffectFailed(Exception):
    """An effect fails as an exception of the language.

    Attributes:
        type_name: class in the language.
        message: for the program and the operator; holds nothing private.
    """

    def __init__(self, type_name: str, message: str) -> None:
        self.type_name, self.message = type_name, message
        super().__init__(message)


class RoundEffects:
    """Performs effects for one job.

    Args:
        house: shared resources.
        fleet: agents and open phases.
        context: the job.
        shelf: its models.
        batch: collects what is to be committed.
        flush: commits the batch with the machine's snapshot.
    """

    def __init__(
        self,
        house: House,
        fleet: Fleet,
        context: JobContext,
        shelf: ModelShelf,
        batch: Batch,
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._house = house
        self._fleet = fleet
        self._context = context
        self._shelf = shelf
        self._batch = batch
        self._flush = flush
        self._opener = PhaseOpener(house, fleet, context, shelf)
        self._cohorts: dict[bytes, tuple[int, tuple[bytes, ...]]] = {}
        self._desks: dict[bytes, PhaseDesk] = {}
        self._resuming = True  # until the first effect is performed: only that one can have been begun before
        self.publisher = Publisher(house, context, shelf, batch, self._desk)

    async def perform(self, effect: Effect) -> Value:
        """The result of an effect.

        Raises:
            EffectFailed: to be thrown into the program.
        """
        args, operation = effect.args, effect.occurrence.operation
        try:
            return await self._perform(effect.name, operation, args)
        except UsageError as problem:
            raise EffectFailed("ValueError", str(problem)) from problem
        except Expired as problem:
            raise EffectFailed("RuntimeError", str(problem)) from problem
        finally:
            self._resuming = False

    async def _perform(self, name: str, operation: int, args: Mapping[str, Value]) -> Value:
        match name:
            case "fleet.invite":
                return await self._invite(operation, _number(args["round"], "round"))
            case "fleet.ask":
                return await self._ask(operation, args)
            case "updates.aggregate":
                return await self._aggregate(operation, args)
            case "model.publish":
                round_ = _number(args["round"], "round")
                root = await self.publisher.publish(operation, _handle(args["model"], "model"), round_)
                self._record(operation, name, root, {"round": round_})
                return Handle("model", root, PUBLIC)
            case "log.note":
                return self._note(operation, args["text"])
        raise EffectFailed("RuntimeError", f"{name} is not an effect of a coordinator")

    # fleet.invite

    async def _invite(self, operation: int, round_: int) -> Value:
        job = self._context.job
        wanted, quorum = job.participants, max(phase.quorum for phase in job.phases)
        found = self._fleet.choose(wanted, quorum)
        while isinstance(found, Waiting):
            waiting = {"round": round_, "connected": found.connected, "needed": found.needed, "quorum": quorum}
            await self._tell("waiting", waiting)
            found = await self._fleet.change(found, wanted, quorum)
        identity = self._identity("cohort", operation)
        participants = found.participants
        self._cohorts[identity] = (round_, participants)

        def work(connection: Connection) -> None:
            members = join_keys(participants)
            row = {"id": identity, "job": self._context.id, "round": round_, "participants": members}
            connection.execute(cohorts.insert(), row)

        self._batch.add(work)
        self._record(operation, "fleet.invite", identity, {"round": round_})
        return Handle("cohort", identity, PUBLIC)

    async def _cohort(self, identity: bytes) -> tuple[int, tuple[bytes, ...]]:
        found = self._cohorts.get(identity)
        if found is None:
            query = select(cohorts).where(cohorts.c.id == identity, cohorts.c.job == self._context.id)

            def work(connection: Connection) -> Any:
                return (connection.execute(query)).first()

            row = await self._house.database.read(work)
            if row is None:
                raise StoreError(f"cohort {identity.hex()[:16]} is not stored; restore the state from a backup")
            found = self._cohorts[identity] = (row.round, split_keys(row.participants))
        return found

    # fleet.ask

    async def _ask(self, operation: int, args: Mapping[str, Value]) -> Value:
        identity = self._identity("answers", operation)
        desk = await self._opener.reopen(identity) if self._resuming else None
        if desk is None:
            desk = await self._open(identity, operation, args)
            await self._flush()
        self._desks[identity] = desk
        await desk.start_fold(self._shelf, self._context.job.policy, self._context.shapes)
        self._fleet.open(desk)
        try:
            outcome = await desk.serve()
            await self._settle(operation, desk, outcome)
        except BaseException:
            await desk.halt()
            raise
        if isinstance(outcome, Missed):
            what = f"phase {desk.facts.phase.name!r} of round {desk.facts.round}"
            answers = "1 answer" if outcome.answers == 1 else f"{outcome.answers} answers"
            raise EffectFailed("QuorumMissed", f"{what} has {answers}, its quorum is {outcome.quorum}")
        return Handle("answers", identity, PUBLIC)

    async def _open(self, identity: bytes, operation: int, args: Mapping[str, Value]) -> PhaseDesk:
        extra = sorted(set(args) - {"cohort", "phase", "weights"})
        if extra:
            raise EffectFailed("TypeError", f"fleet.ask() takes weights; put {extra[0]!r} into the job's args instead")
        if "weights" not in args and self._context.plan.state:
            raise EffectFailed("TypeError", "fleet.ask() lacks 'weights'")
        phase = self._context.phases.get(args["phase"]) if isinstance(args["phase"], str) else None
        if phase is None:
            names = ", ".join(repr(name) for name in self._context.phases)
            raise EffectFailed("ValueError", f"the job has no phase {args['phase']!r}; it has {names}")
        round_, participants = await self._cohort(_handle(args["cohort"], "cohort"))
        weights = _handle(args["weights"], "model") if "weights" in args else self._context.job.initial
        now = self._house.now()
        facts = PhaseFacts(identity, self._context.id, operation, round_, phase, weights, now)
        return await self._opener.open(facts, participants, self._batch)

    async def _settle(self, operation: int, desk: PhaseDesk, outcome: Outcome) -> None:
        """Put the closing into the batch, and commit it at once unless nobody can come late."""
        facts, closure = desk.facts, b""
        detail: dict[str, Any] = {"round": facts.round, "phase": facts.phase.name}
        if isinstance(outcome, Closed):
            closure = self._sign_closure(desk, outcome)
            name, state, detail["answers"] = "closed", "closed", len(outcome.answers)
        else:
            name, state, detail["answers"] = "missed", "missed", len(desk.ledger.counted)
        now, job = self._house.now(), self._context.id
        report: dict[str, Any] = {}
        if isinstance(outcome, Closed) and desk.update is None:
            report = {REPORT: phase_report(desk, now, self._name_of)}

        def work(connection: Connection) -> None:
            changed = connection.execute(_CLOSE, {"of": facts.id, "to": state, "document": closure or None})
            if changed.rowcount:
                subject = digest(closure) if closure else facts.id
                append_entry(connection, job, now, name, subject=subject, detail=detail)
                append_event(connection, job, name, {**detail, **report})

        self._batch.add(work, lambda: self._close(desk))
        self._record(operation, "fleet.ask", facts.id, {"state": state, **report})
        if desk.ledger.awaited or isinstance(outcome, Missed):
            await self._flush()

    def _name_of(self, key: bytes) -> str:
        agent = self._fleet.agents.get(key)
        return key.hex()[:16] if agent is None else agent.entry.name

    def _sign_closure(self, desk: PhaseDesk, outcome: Closed) -> bytes:
        facts = desk.facts
        closure = Closure(
            suite=SUITE_1,
            job=self._context.id,
            run=self._context.run,
            operation=facts.operation,
            round=facts.round,
            phase=facts.phase.name,
            participants=desk.ledger.participants,
            answers=outcome.answers,
        )
        desk.closure = self._house.identity.sign(closure)
        return desk.closure

    def _close(self, desk: PhaseDesk) -> None:
        self._fleet.close(desk)
        for identity in [key for key in self._desks if key != desk.facts.id]:
            del self._desks[identity]

    async def _desk(self, identity: bytes) -> PhaseDesk:
        """The desk of a phase of this job that is over or is being closed."""
        desk = self._desks.get(identity) or await self._opener.reopen(identity)
        if desk is None:
            raise StoreError(f"phase {identity.hex()[:16]} is not stored; restore the state from a backup")
        self._desks[identity] = desk
        return desk

    # updates.aggregate, log.note

    async def _aggregate(self, operation: int, args: Mapping[str, Value]) -> Value:
        chosen = args["policy"]
        if not isinstance(chosen, dict) or not all(isinstance(key, str) for key in chosen):
            raise EffectFailed("TypeError", "updates.aggregate() takes the job's policy, a dict: policy=job.policy")
        answers, base = _handle(args["answers"], "answers"), _handle(args["base"], "model")
        root, detail = await self.publisher.aggregate(await self._desk(answers), chosen, base)
        self._record(operation, "updates.aggregate", root, detail)
        return Handle("model", root, PUBLIC)

    def _note(self, operation: int, text: Value) -> None:
        if not isinstance(text, str):
            raise EffectFailed("TypeError", "log.note() takes a str")
        now, job, short = self._house.now(), self._context.id, text[:_MAX_NOTE]

        def work(connection: Connection) -> None:
            append_entry(connection, job, now, "note", detail={"text": short})
            append_event(connection, job, "note", {"text": short})

        self._batch.add(work)
        self._record(operation, "log.note", b"", {})

    # Shared

    def close(self) -> None:
        """The job has ended: its phases are not served any more."""
        for desk in list(self._desks.values()):
            self._fleet.close(desk)
        self._desks.clear()

    def _identity(self, domain: str, operation: int) -> bytes:
        return digest_parts(domain, self._context.run, operation.to_bytes(8, "big"))

    def _record(self, operation: int, effect: str, subject: bytes, detail: Mapping[str, Any]) -> None:
        """Collect the operation's result; the primary key refuses a second result of one occurrence."""
        run, text = self._context.run, json.dumps(detail, sort_keys=True)
        same = (effect, subject)

        def work(connection: Connection) -> None:
            row = connection.execute(_RESULT, {"of": run, "at": operation}).first()
            if row is None:
                values = {"run": run, "operation": operation, "effect": effect, "subject": subject, "detail": text}
                connection.execute(operations.insert(), values)
            elif (row.effect, row.subject) != same:
                raise StoreError(f"operation {operation} of run {run.hex()[:16]} already has another result")

        self._batch.add(work)

    async def _tell(self, name: str, data: Mapping[str, Any]) -> None:
        """An event about waiting, which is not part of the program's state."""
        job = self._context.id

        def work(connection: Connection) -> None:
            append_event(connection, job, name, data)

        await self._house.database.write(work)
        self._house.feed.wake(job)


def _number(value: Value, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value >= 1 << 53:
        raise EffectFailed("ValueError", f"{what} is a whole number from 0")
    return value


def _handle(value: Value, kind: str) -> bytes:
    if not isinstance(value, Handle) or value.kind != kind:
        raise EffectFailed("TypeError", f"expected a {kind} handle")
    identity: bytes = value.id
    return identity
