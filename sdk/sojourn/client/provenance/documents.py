"""The documents of an export, each verified where it is read.

Rules:

* A document counts by its signature under the roster, and the roster by the root key. Nothing is trusted because it is
  in the export.
* What does not verify is named itself, before anything is compared with it.
* Documents are judged as of the time they state: what has expired since does not unmake what was done. Time never goes
  back on the way from the roster to the last round.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from sojourn.client.provenance.archive import Archive, must, naming
from sojourn.codec import decode, digest
from sojourn.contracts import (
    Answer,
    Closure,
    Entry,
    Evaluation,
    Job,
    LedgerHead,
    Order,
    Plan,
    Publication,
    Roster,
)
from sojourn.crypto.documents import open_signed
from sojourn.crypto.trust import TrustedSet
from sojourn.crypto.verified import Verified, VerifiedOrder

__all__ = ["Documents"]


class _Issued(Protocol):
    @property
    def issued_ms(self) -> int: ...


class Documents:
    """Reads documents from `archive` by their names and verifies each under `root_key`."""

    def __init__(self, archive: Archive, root_key: bytes) -> None:
        self._archive = archive
        self._trusted = TrustedSet(root_key)
        self._agents: dict[bytes, Entry] = {}
        self.signatures = 0
        with self._reading("roster.signed") as data:
            self.roster: Roster = self._trusted.load_roster(data, self._time("roster.signed", data, Roster))

    @contextmanager
    def _reading(self, item: str) -> Iterator[bytes]:
        data = self._archive[item]
        with naming(item):
            yield data
        self.signatures += 1

    def _time(self, item: str, data: bytes, cls: type[Roster | Entry | Job | Order]) -> int:
        """The time that a document states, not yet verified; the trusted set never goes back."""
        stated: _Issued = decode(cls, open_signed(data, item).payload)
        return max(self._trusted.now, stated.issued_ms)

    def job(self) -> Verified[Job]:
        """The author's job."""
        with self._reading("job.signed") as data:
            return self._trusted.verify_job(data, self._time("job.signed", data, Job))

    def plan(self, job: Verified[Job]) -> Plan:
        """The job's plan; its graphs are the ones that it pins."""
        with self._reading("plan.signed") as data:
            plan = self._trusted.verify_plan(data, job.signer)
            must("plan.signed", digest(open_signed(data, "plan").payload) == job.value.plan, "is not the job's plan")
        for graph in plan.graphs:
            item = f"graph/{graph.name}"
            must(item, digest(self._archive[item]) == graph.digest, "is not the graph that the plan pins")
        return plan

    def programs(self, job: Verified[Job]) -> None:
        """The job's two programs."""
        for item, wanted in (("program.signed", job.value.program), ("rounds.signed", job.value.rounds)):
            with self._reading(item) as data:
                program = self._trusted.verify_program(data, job.signer)
                must(item, digest(program) == wanted, "is not the program that the job names")

    def ledger_head(self) -> Verified[LedgerHead]:
        """The coordinator's statement of where the ledger stands."""
        with self._reading("ledger.signed") as data:
            return self._trusted.verify_ledger_head(data)

    def closure(self, item: str) -> Verified[Closure]:
        """A closure."""
        with self._reading(item) as data:
            return self._trusted.verify_closure(data)

    def publication(self, item: str) -> Verified[Publication]:
        """A publication."""
        with self._reading(item) as data:
            return self._trusted.verify_publication(data)

    def evaluation(self, item: str) -> Verified[Evaluation]:
        """An evaluation."""
        with self._reading(item) as data:
            return self._trusted.verify_evaluation(data)

    def agent(self, key: bytes) -> Entry:
        """An agent's entry, verified when first needed."""
        if key not in self._agents:
            item = f"agents/{key.hex()}.entry"
            with self._reading(item) as data:
                entry = self._trusted.verify_agent(data, self._time(item, data, Entry))
                must(item, entry.key == key, "is the entry of another agent")
            self._agents[key] = entry
        return self._agents[key]

    def order(self, item: str, agent: Entry) -> VerifiedOrder:
        """An order to `agent`, and the job inside it."""
        with self._reading(item) as data:
            return self._trusted.verify_order(data, agent, self._time(item, data, Order))

    def answer(self, item: str, agent: Entry, order: VerifiedOrder) -> Verified[Answer]:
        """The answer of `agent` to `order`."""
        with self._reading(item) as data:
            return self._trusted.verify_answer(data, agent, order.data)
