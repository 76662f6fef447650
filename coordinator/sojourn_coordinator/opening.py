"""Opening a phase: bodies sealed and logged, orders signed and sealed, rows prepared; and again, from rows."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sojourn.codec import decode, digest, encode
from sojourn.contracts import Order, OrderPacket, Scalar, Signed
from sojourn.crypto import ORDER, seal_envelope
from sojourn.datoms import join_datoms
from sojourn.errors import StoreError
from sqlalchemy import Connection, bindparam, select, update

from sojourn_coordinator.batch import Batch
from sojourn_coordinator.bodies import SealedBody, load_body, seal_into
from sojourn_coordinator.desk import CheckedAnswer, HeldOrder, PhaseDesk, PhaseFacts
from sojourn_coordinator.feed import append_event
from sojourn_coordinator.fleet import Fleet
from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import JobContext, insert_object
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.models import ModelShelf
from sojourn_coordinator.rounds import Open, Opening, PhaseLedger, draft_order
from sojourn_coordinator.store import join_keys, split_keys, unpack_extents
from sojourn_coordinator.store.schema import agents, answers, orders, phases

__all__ = ["PhaseOpener"]

_BREATH: Final = 64  # orders sealed before others may run
_SEQUENCE: Final = update(agents).where(agents.c.key == bindparam("of")).values(next_sequence=bindparam("to"))


class PhaseOpener:
    """Opens the phases of one job.

    Content keys live here, in this process: the bundle is sealed once in each life of the coordinator, the weights
    once for each model.
    """

    def __init__(self, house: House, fleet: Fleet, context: JobContext, shelf: ModelShelf) -> None:
        self._house = house
        self._fleet = fleet
        self._context = context
        self._shelf = shelf
        self._bundle: SealedBody | None = None
        self._weights: tuple[bytes, SealedBody] | None = None

    async def open(self, facts: PhaseFacts, participants: tuple[bytes, ...], batch: Batch) -> PhaseDesk:
        """A new phase. Its rows are in the batch; serve it (`Fleet.open`) once that is committed.

        Args:
            facts: what the phase is.
            participants: the frozen cohort, sorted.
            batch: of the job.

        Raises:
            UsageError: the quorum cannot be reached.
            Expired: the job has expired.
        """
        bundle, weights = self._seal_bundle(), await self._seal_weights(facts.weights)
        held, sequences, packets = [], {}, []
        opening = self._opening(facts, bundle, weights)
        for index, key in enumerate(participants):
            agent = self._fleet.agents.get(key)
            if agent is None:  # revoked or expired since it was invited: it has no order and is through
                continue
            order = draft_order(opening, index, key, agent.next_sequence)
            signed = self._house.identity.sign(order)
            packet = encode(OrderPacket(signed, bundle.key, weights.key))
            envelope = seal_envelope(
                self._house.identity, agent.entry, ORDER, packet, order.issued_ms, order.expires_ms
            )
            held.append(HeldOrder(digest(signed), order, envelope, order.epoch))
            packets.append(signed)
            agent.next_sequence += 1
            sequences[key] = agent.next_sequence
            if index % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
        gone = {key: b"" for key in participants if key not in sequences}
        ledger = PhaseLedger.restore(participants, facts.phase.quorum, facts.phase.deadline_ms, {}, gone)
        desk = PhaseDesk(self._house, facts, ledger, held, weights.ref.length * len(held))
        self._grant(desk, bundle, weights)
        rows = [_order_row(facts, item, signed) for item, signed in zip(held, packets, strict=True)]
        batch.add(self._opening_work(facts, ledger, desk.moved, rows, sequences, (bundle, weights)))
        return desk

    async def reopen(self, phase_id: bytes) -> PhaseDesk | None:
        """The phase as an earlier life left it, None where there is none of that id."""

        def work(connection: Connection) -> tuple[Any, list[Any], list[Any]] | None:
            row = (connection.execute(select(phases).where(phases.c.id == phase_id))).first()
            if row is None:
                return None
            found = connection.execute(select(orders).where(orders.c.phase == phase_id))
            given = connection.execute(select(answers).where(answers.c.phase == phase_id))
            return row, list(found), list(given)

        stored = await self._house.database.read(work)
        if stored is None:
            return None
        row, order_rows, answer_rows = stored
        desk = self._restore(row, order_rows, answer_rows)
        if isinstance(desk.ledger.outcome, Open) or row.state == "open":
            for item in order_rows:
                for body in (item.bundle, item.weights):
                    stored_body = self._fleet.bodies.known(body)
                    if stored_body is None:
                        stored_body = await load_body(self._house.database, self._house.objects, body)
                    self._fleet.bodies.grant(item.agent, stored_body)
        return desk

    def _restore(self, row: Any, order_rows: list[Any], answer_rows: list[Any]) -> PhaseDesk:
        phase = self._context.phases.get(row.name)
        if phase is None:
            raise StoreError(f"phase {row.name!r} is not one of job {self._context.id.hex()[:16]}")
        facts = PhaseFacts(row.id, row.job, row.operation, row.round, phase, row.weights, row.opened_ms)
        checked = {
            item.agent: CheckedAnswer.stored(
                item.digest, item.signed, item.weight, item.length, unpack_extents(item.extents)
            )
            for item in answer_rows
        }
        done = {key: item.digest for key, item in checked.items() if item.answer.outcome == "done"}
        participants = split_keys(row.participants)
        ordered = {item.agent for item in order_rows}
        gone = {key: b"" for key in participants if key not in ordered}
        gone |= {item.agent: b"" for item in order_rows if item.state == "declined"}
        gone |= {key: item.digest for key, item in checked.items() if key not in done}
        remaining = row.remaining_ms if row.state == "open" else 0
        ledger = PhaseLedger.restore(participants, phase.quorum, remaining, done, gone)
        held = [
            HeldOrder(item.digest, decode(Order, decode(Signed, item.signed).payload), item.envelope, item.epoch)
            for item in order_rows
        ]
        desk = PhaseDesk(self._house, facts, ledger, held, row.bytes + sum(item.length for item in checked.values()))
        desk.answers.update(checked)
        desk.closure = row.closure or b""
        return desk

    def _opening(self, facts: PhaseFacts, bundle: SealedBody, weights: SealedBody) -> Opening:
        context = self._context
        return Opening(
            signed_job=context.signed,
            job=context.job,
            coordinator=self._house.identity.key,
            phase=facts.phase,
            round=facts.round,
            run=context.run,
            operation=facts.operation,
            bundle=bundle.ref,
            weights=weights.ref,
            weights_root=facts.weights,
            now_ms=facts.opened_ms,
        )

    def _opening_work(
        self,
        facts: PhaseFacts,
        ledger: PhaseLedger,
        moved: int,
        rows: list[dict[str, Any]],
        sequences: dict[bytes, int],
        bodies: tuple[SealedBody, ...],
    ) -> Any:
        def work(connection: Connection) -> None:
            connection.execute(
                phases.insert(),
                {
                    "id": facts.id, "job": facts.job, "operation": facts.operation, "round": facts.round,
                    "name": facts.phase.name, "participants": join_keys(ledger.participants),
                    "remaining_ms": ledger.remaining_ms, "state": "open", "weights": facts.weights, "bytes": moved,
                    "opened_ms": facts.opened_ms,
                },
            )  # fmt: skip
            for body in bodies:
                insert_object(connection, body.stored)
            if rows:
                connection.execute(orders.insert(), rows)
                connection.execute(_SEQUENCE, [{"of": key, "to": value} for key, value in sequences.items()])
            count = len(ledger.participants)
            detail: dict[str, Scalar] = {"round": facts.round, "phase": facts.phase.name, "participants": count}
            append_entry(connection, facts.job, facts.opened_ms, "opened", subject=facts.id, detail=detail)
            append_event(connection, facts.job, "opened", detail | {"quorum": ledger.quorum})

        return work

    def _grant(self, desk: PhaseDesk, *bodies: SealedBody) -> None:
        for agent in desk.orders:
            for body in bodies:
                self._fleet.bodies.grant(agent, body.stored)

    def _seal_bundle(self) -> SealedBody:
        if self._bundle is None:
            self._bundle = seal_into(self._house.objects, [self._context.bundle])
        return self._bundle

    async def _seal_weights(self, root: bytes) -> SealedBody:
        if self._weights is None or self._weights[0] != root:
            joined = join_datoms(await self._shelf.datoms(root))
            self._weights = (root, seal_into(self._house.objects, [joined]))
        return self._weights[1]


def _order_row(facts: PhaseFacts, held: HeldOrder, signed: bytes) -> dict[str, Any]:
    return {
        "digest": held.digest,
        "phase": facts.id,
        "job": facts.job,
        "agent": held.order.recipient,
        "run": held.order.run,
        "epoch": held.epoch,
        "signed": signed,
        "envelope": held.envelope,
        "bundle": held.order.bundle.id,
        "weights": held.order.weights.id,
        "state": "open",
    }
