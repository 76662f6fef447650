"""The worker side of an agent: judges one order, or works one run to its sealed answer. Blocking; made for threads.

Rules: judging ends with the order durable as accepted, working ends with the answer durable in the outbox; between the
two a restart takes the order up again. What the owner's policy said when an order was accepted holds until it ends,
whatever becomes of the file meanwhile; after a restart the order is judged anew, by the policy of then. Whatever
concerns one order becomes its public outcome; what concerns this host (`StoreError`, `OSError`) is raised, and leaves
the run where it was.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sojourn.agent.admission import AdmissionDesk, OpenedOrder, Prepared
from sojourn.agent.answers import seal_answer
from sojourn.agent.database import AgentDatabase, OrderRow
from sojourn.agent.folder import AgentPaths
from sojourn.agent.host import Finished, Stopped
from sojourn.agent.journal import Journal
from sojourn.agent.records import Begin
from sojourn.agent.releases import released_in_run
from sojourn.agent.runs import RunBench, begin_of, run_order
from sojourn.agent.shelf import JournalShelf
from sojourn.contracts import BodyRef
from sojourn.crypto import Identity
from sojourn.errors import BudgetExhausted, ReleaseConflict, SojournError, StateInUse, StoreError
from sojourn.limits import MAX_RUN_RESTARTS, MIB
from sojourn.privacy import Admission
from sojourn.streams import write_atomic

__all__ = ["HOST_FAILURES", "ReadyAnswer", "WorkDesk", "stored_answer"]

HOST_FAILURES: Final = (StoreError, StateInUse, OSError, sqlite3.Error)
"""What concerns this host and no order: the run stays as it is."""

INLINE_BODY_BYTES: Final = 1 * MIB
"""Sealed bodies up to this size lie in the order's row: one sync for both. Larger ones lie in the outbox."""


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """An answer that is durable here and may be offered inside a lease."""

    order: bytes
    packet: bytes
    body: BodyRef | None
    source: bytes | Path

    def __repr__(self) -> str:
        return f"ReadyAnswer({self.order.hex()[:16]}, body {0 if self.body is None else self.body.length} bytes)"


class WorkDesk:
    """Judges and works orders.

    Args:
        identity: signs answers.
        desk: verifies.
        database: orders.
        bench: what runs need.
    """

    def __init__(self, identity: Identity, desk: AdmissionDesk, database: AgentDatabase, bench: RunBench) -> None:
        self._identity = identity
        self._desk = desk
        self._database = database
        self._bench = bench
        self._journals = JournalShelf(bench.paths.runs)
        self._admissions: dict[bytes, Admission] = {}  # by order, of those that this process has judged

    def prepare(self, opened: OpenedOrder) -> tuple[Prepared, Admission]:
        """Program, graphs and the owner's admission of an order whose bundle was fetched.

        The admission is the one under which the order was accepted, or else what the policy says now.

        Raises:
            PeerError: bundle, program or graphs do not hold.
            AdmissionRefused: the owner's policy says no.
        """
        packet, terms = opened.packet, opened.order.order
        prepared = self._desk.prepare(opened.order, lambda: self._bench.bodies.read(terms.bundle, packet.bundle_key))
        admission = self._admissions.get(opened.order.digest)
        return prepared, admission or self._desk.admit(opened.order, prepared)

    def accept(self, opened: OpenedOrder, envelope: bytes) -> None:
        """Judge an order whose bundle was fetched, and make it durable as accepted.

        Raises:
            PeerError, UsageError, Refusal: it is not accepted.
        """
        self.forget(opened.order.digest)
        _, admission = self.prepare(opened)
        row = self._desk.row(opened, envelope, self._bench.now_ms())
        self._database.accept(row, opened.order.order.sequence, row.accepted_ms)
        self._admissions[opened.order.digest] = admission
        self._bench.log.info(
            "order accepted",
            order=opened.order.digest,
            run=opened.order.order.run,
            job=opened.order.job.value.name,
            purpose=opened.order.job.value.purpose,
            author=opened.order.author.name,
            phase=opened.order.order.phase,
            round=opened.order.order.round,
            rule=admission.title,
            policy=admission.policy,
        )

    def work(self, opened: OpenedOrder, stop: threading.Event) -> ReadyAnswer | None:
        """Work an accepted order to its answer. None when it was stopped first.

        Raises:
            StoreError, OSError, sqlite3.Error: this host failed; the run stays as it is.
        """
        journal: Journal | None = None
        answer: ReadyAnswer | None = None
        ending: Finished | Stopped
        try:
            try:
                prepared, admission = self.prepare(opened)
                self._check_restarts(opened)
                journal = self._take_journal(begin_of(opened, prepared))
                ending = run_order(
                    self._bench, opened, prepared, admission, journal, stop, self._tell(opened), self._restarted(opened)
                )
            except ReleaseConflict as problem:
                ending = Finished("failed", problem.code, 0, str(problem))
            except HOST_FAILURES:
                raise
            except SojournError as problem:
                ending = Finished("refused", problem.code, 0, str(problem))
            if isinstance(ending, Finished):
                answer = self._answer(opened, ending)
            return answer
        finally:
            self._give_back(journal, answered=answer is not None)

    def forget(self, order: bytes) -> None:
        """An order is no longer held."""
        self._admissions.pop(order, None)

    def refuse(self, opened: OpenedOrder, problem: SojournError) -> ReadyAnswer | None:
        """The answer to an accepted order that cannot be started: its code is public, its text is the owner's."""
        return self._answer(opened, Finished("refused", problem.code, 0, str(problem)))

    def _check_restarts(self, opened: OpenedOrder) -> None:
        row = self._database.order(opened.order.digest)
        if row is not None and row.restarts >= MAX_RUN_RESTARTS:
            raise BudgetExhausted(
                f"restarted {row.restarts} times without an end; what stops it each time is in the log"
            )

    def _take_journal(self, begin: Begin) -> Journal:
        return self._journals.take(begin, {row.digest for row in self._database.held()})

    def _give_back(self, journal: Journal | None, *, answered: bool) -> None:
        if journal is None:
            return
        if answered:
            self._journals.retire(journal)
        else:
            self._journals.keep(journal)

    def close(self) -> None:
        """Close the journals; what is held goes on from them."""
        self._journals.close()

    def _tell(self, opened: OpenedOrder) -> Callable[[int, int, int], None]:
        def tell(effects: int, resumed: int, recomputed: int) -> None:
            self._database.count(opened.order.digest, effects=effects, resumed=resumed, recomputed=recomputed)

        return tell

    def _restarted(self, opened: OpenedOrder) -> Callable[[], None]:
        def restarted() -> None:
            self._database.count(opened.order.digest, effects=0, restarts=1)
            self._bench.log.info("run resumed", order=opened.order.digest, run=opened.order.order.run)

        return restarted

    def _answer(self, opened: OpenedOrder, ending: Finished) -> ReadyAnswer | None:
        """Seal the answer into the outbox. Only a run that is done lets anything out."""
        order = opened.order
        log = self._bench.log.info if ending.outcome == "done" else self._bench.log.warning
        log(
            "run ended", order=order.digest, run=order.order.run, outcome=ending.outcome, code=ending.code,
            line=ending.line, detail=ending.detail,
        )  # fmt: skip
        done = ending.outcome == "done"
        released, update = released_in_run(self._bench.ledger, order.order.run) if done else ((), b"")
        sealed = seal_answer(self._identity, order, ending, released, update, self._desk.now(self._bench.now_ms()))
        path = self._bench.paths.outgoing(order.digest)
        inline = sealed.sealed if len(sealed.sealed) <= INLINE_BODY_BYTES else b""
        if sealed.body is not None and not inline:
            write_atomic(path, sealed.sealed)
        body = None if sealed.body is None else (sealed.body.id, sealed.body.length, inline)
        terms = (ending.outcome, ending.code, ending.line)
        if not self._database.answered(order.digest, sealed.packet, body, terms, ending.effects):
            path.unlink(missing_ok=True)
            return None
        return ReadyAnswer(order.digest, sealed.packet, sealed.body, inline or path)


def stored_answer(row: OrderRow, paths: AgentPaths) -> ReadyAnswer | None:
    """The answer that a restart offers again, exactly as it was sealed."""
    if row.packet is None:
        return None
    body = None if row.body is None else BodyRef(row.body, row.body_length, b"", 0)
    return ReadyAnswer(row.digest, row.packet, body, row.sealed or paths.outgoing(row.digest))
