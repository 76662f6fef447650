"""One closed phase of an export: who was invited, the order to each, and the answers that its closure counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sojourn.client.provenance.archive import Archive, must
from sojourn.client.provenance.documents import Documents
from sojourn.client.provenance.ledger import Ledger
from sojourn.contracts import Answer, Closure, Entry, Job, Phase
from sojourn.crypto.verified import Verified, VerifiedOrder
from sojourn.errors import ProvenanceBroken

__all__ = ["UNRECORDED", "ClosedPhase", "Phases"]

UNRECORDED: Final = "is signed, but is not what the ledger has"


@dataclass(frozen=True, slots=True)
class ClosedPhase:
    """A phase whose closure holds.

    Attributes:
        folder: of its items.
        closure: verified.
        digest: of the signed closure.
        phase: as the job has it.
        recorded: by the ledger: digest of the answer and whether it is done, by key id.
        bases: roots of the models that its orders may start from.
    """

    folder: str
    closure: Closure
    digest: bytes
    phase: Phase
    recorded: Mapping[bytes, tuple[bytes, bool]]
    bases: frozenset[bytes]

    def item(self, kind: str, key: bytes, ending: str = "signed") -> str:
        """Name of an item of one agent."""
        return f"{self.folder}/{kind}/{key.hex()}.{ending}"


@dataclass(frozen=True, slots=True)
class Phases:
    """Verifies phases of one job.

    Attributes:
        archive: the export.
        documents: its documents.
        ledger: its verified ledger.
        job: the verified job.
    """

    archive: Archive
    documents: Documents
    ledger: Ledger
    job: Verified[Job]

    def closed(self, folder: str, bases: frozenset[bytes]) -> ClosedPhase:
        """The phase in a folder.

        Args:
            folder: of its items.
            bases: roots of the models that its orders may start from.

        Raises:
            ProvenanceBroken: names the closure.
        """
        item = f"{folder}/closure.signed"
        found = self.documents.closure(item)
        closure = found.value
        must(item, closure.job == self.job.digest, "belongs to another job")
        recorded = self.ledger.closed.get(found.digest)
        if recorded is None:
            raise ProvenanceBroken(item, UNRECORDED)
        _check_counted(item, closure, recorded)
        phase = next((phase for phase in self.job.value.phases if phase.name == closure.phase), None)
        if phase is None:
            raise ProvenanceBroken(item, f"closes phase {closure.phase!r}, which the job does not have")
        must(item, len(closure.answers) >= phase.quorum, f"counts fewer answers than the quorum of {phase.quorum}")
        return ClosedPhase(folder, closure, found.digest, phase, recorded, bases)

    def answers(self, phase: ClosedPhase) -> Iterator[tuple[Entry, Answer]]:
        """The counted answers, each with its agent; what is not counted is looked at too.

        Raises:
            ProvenanceBroken: names the entry, order or answer that does not hold.
        """
        counted = dict(phase.closure.answers)
        for key in phase.closure.participants:
            agent = self.documents.agent(key)
            order = self._order(phase, agent, counted.get(key))
            if order is None:
                continue
            answer = self._answer(phase, agent, order, counted.get(key))
            if answer is not None:
                yield agent, answer

    def _order(self, phase: ClosedPhase, agent: Entry, counted: bytes | None) -> VerifiedOrder | None:
        """The order to a participant; one that was revoked before its order went out has none."""
        item = phase.item("orders", agent.key)
        if item not in self.archive.names and counted is None and agent.key not in phase.recorded:
            return None
        found = self.documents.order(item, agent)
        must(item, found.job.digest == self.job.digest, "carries another job")
        same = (found.order.round, found.order.phase) == (phase.closure.round, phase.closure.phase)
        must(item, same, "belongs to another round or phase")
        must(item, found.order.weights_root in phase.bases, "starts from another model")
        return found

    def _answer(self, phase: ClosedPhase, agent: Entry, order: VerifiedOrder, counted: bytes | None) -> Answer | None:
        """A participant's answer, where it is counted; one that is not has to say why."""
        item = phase.item("answers", agent.key)
        recorded, _ = phase.recorded.get(agent.key, (None, False))
        if item not in self.archive.names and counted is None and recorded is None:
            return None
        found = self.documents.answer(item, agent, order)
        if counted is None:
            must(item, found.value.outcome != "done", "is not an answer that the closure counts")
        else:
            must(item, found.digest == counted, "is not the answer that the closure counts")
            must(item, found.value.outcome == "done", f"is counted, but its run is {found.value.outcome}")
        must(item, found.digest == recorded, UNRECORDED)
        return None if counted is None else found.value


def _check_counted(item: str, closure: Closure, recorded: Mapping[bytes, tuple[bytes, bool]]) -> None:
    keys = [key for key, _ in closure.answers]
    must(item, len(set(keys)) == len(keys), "counts an agent twice")
    must(item, set(keys) <= set(closure.participants), "counts an answer of an agent that was not invited")
    done = {key for key, (_, done) in recorded.items() if done}
    must(item, done <= set(keys), "leaves out an answer that the ledger has")
