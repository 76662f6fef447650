"""One round of an export: orders, answers, updates, the closure over them, the model folded from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sojourn.aggregation import RoundFold, fold_of
from sojourn.client.provenance.archive import Archive, must, naming
from sojourn.client.provenance.documents import Documents
from sojourn.client.provenance.ledger import Ledger
from sojourn.client.provenance.results import Contribution, RoundTrace
from sojourn.contracts import (
    Answer,
    Closure,
    Entry,
    Job,
    Plan,
    Publication,
    UpdateSpec,
)
from sojourn.crypto.verified import Verified, VerifiedOrder
from sojourn.datoms import BlockKind, UpdateReader, pack_list, split_datoms
from sojourn.errors import ProvenanceBroken

__all__ = ["Rounds", "Tensors"]

Tensors = Mapping[str, np.ndarray[Any, Any]]

_UNRECORDED: Final = "is signed, but is not what the ledger has"


@dataclass(frozen=True, slots=True)
class _Phase:
    """The phase that a model was folded from.

    Attributes:
        folder: of its items.
        closure: verified.
        recorded: by the ledger: digest of the answer and whether it is done, by key id.
        base: root of the model that its orders start from.
        spec: of its updates.
        trained: shapes of the tensors that an update holds.
        fold: makes its model again; None where that is not asked for.
    """

    folder: str
    closure: Closure
    recorded: Mapping[bytes, tuple[bytes, bool]]
    base: bytes
    spec: UpdateSpec
    trained: dict[str, tuple[int, ...]]
    fold: RoundFold | None

    def item(self, kind: str, key: bytes, ending: str = "signed") -> str:
        """Name of an item of one agent."""
        return f"{self.folder}/{kind}/{key.hex()}.{ending}"


@dataclass(frozen=True, slots=True)
class Rounds:
    """Verifies rounds of one job, each on the model before.

    Attributes:
        archive: the export.
        documents: its documents.
        ledger: its verified ledger.
        job: the verified job.
        plan: the verified plan.
        recompute: derive each model again.
    """

    archive: Archive
    documents: Documents
    ledger: Ledger
    job: Verified[Job]
    plan: Plan
    recompute: bool

    def follow(self, number: int, recorded: bytes, base: bytes, tensors: Tensors) -> tuple[RoundTrace, Tensors]:
        """Verify a round that the ledger says was published.

        Args:
            number: of the round.
            recorded: digest of its publication, as the ledger has it.
            base: root of the model before.
            tensors: of the model before; without `recompute` only their names and shapes matter.

        Returns:
            The link, and the tensors of its model where they were recomputed.

        Raises:
            ProvenanceBroken: names the item that does not hold.
        """
        folder = f"rounds/{number}"
        item = f"{folder}/publication.signed"
        publication = self._publication(item, number, recorded, base)
        metrics = self._metrics(folder, number, publication)
        if not publication.closure:  # a model that is published as it is
            must(item, publication.model == base, "publishes a model that was folded from nothing")
            return RoundTrace(number, base.hex(), base.hex(), (), (), metrics, self.recompute), tensors
        phase = self._phase(folder, number, publication, base, tensors)
        parts = tuple(self._contributions(phase))
        weight = sum(part.weight for part in parts)
        must(item, publication.weight == weight, "states another sum of weights than its updates have")
        if phase.fold is not None:
            tensors = phase.fold.result().tensors
            _, root = pack_list(tensors, BlockKind.WEIGHT)
            must(item, root == publication.model, "recomputing from the recorded updates gives another model")
        names = tuple(self.documents.agent(key).name for key in phase.closure.participants)
        link = RoundTrace(number, base.hex(), publication.model.hex(), names, parts, metrics, self.recompute)
        return link, tensors

    def _publication(self, item: str, number: int, recorded: bytes, base: bytes) -> Publication:
        found = self.documents.publication(item)
        publication = found.value
        same = (publication.job, publication.round) == (self.job.digest, number)
        must(item, same, "belongs to another job or round")
        must(item, found.digest == recorded, _UNRECORDED)
        must(item, publication.base == base, "does not start from the model before")
        if publication.closure:
            same = dict(publication.policy) == dict(self.job.value.policy)
            must(item, same, "was folded under another policy than the job's")
        return publication

    def _metrics(self, folder: str, number: int, publication: Publication) -> dict[str, float]:
        recorded = self.ledger.evaluated.get(number)
        if recorded is None:
            return {}
        item = f"{folder}/evaluation.signed"
        found = self.documents.evaluation(item)
        evaluation = found.value
        stated = (evaluation.job, evaluation.run, evaluation.round, evaluation.model, evaluation.heldout)
        wanted = (self.job.digest, publication.run, number, publication.model, self.job.value.heldout)
        must(item, stated == wanted, "evaluates another model, or on other data")
        must(item, found.digest == recorded, _UNRECORDED)
        return dict(evaluation.metrics)

    def _phase(self, folder: str, number: int, publication: Publication, base: bytes, tensors: Tensors) -> _Phase:
        item = f"{folder}/closure.signed"
        found = self.documents.closure(item)
        closure = found.value
        same = (closure.job, closure.run, closure.round) == (self.job.digest, publication.run, number)
        must(item, same, "belongs to another job, run or round")
        recorded = self.ledger.closed.get(found.digest)
        if recorded is None:
            raise ProvenanceBroken(item, _UNRECORDED)
        must(f"{folder}/publication.signed", publication.closure == found.digest, "was folded from another closure")
        self._check_counted(item, closure, recorded)
        phase = next((phase for phase in self.job.value.phases if phase.name == closure.phase), None)
        releases = () if phase is None else phase.answer
        spec = next((release.update for release in releases if release.update is not None), None)
        if phase is None or spec is None:
            raise ProvenanceBroken(item, f"closes phase {closure.phase!r}, of which the job folds no updates")
        must(item, len(closure.answers) >= phase.quorum, f"counts fewer answers than the quorum of {phase.quorum}")
        trained = {tensor.name: tensor.shape for tensor in self.plan.state if tensor.trained}
        fold = fold_of(self.job.value.policy, tensors, spec, trained) if self.recompute else None
        return _Phase(folder, closure, recorded, base, spec, trained, fold)

    def _check_counted(self, item: str, closure: Closure, recorded: Mapping[bytes, tuple[bytes, bool]]) -> None:
        keys = [key for key, _ in closure.answers]
        must(item, len(set(keys)) == len(keys), "counts an agent twice")
        must(item, set(keys) <= set(closure.participants), "counts an answer of an agent that was not invited")
        done = {key for key, (_, done) in recorded.items() if done}
        must(item, done <= set(keys), "leaves out an answer that the ledger has")

    def _contributions(self, phase: _Phase) -> list[Contribution]:
        counted = dict(phase.closure.answers)
        found: list[Contribution] = []
        for key in phase.closure.participants:
            agent = self.documents.agent(key)
            order = self._order(phase, agent, counted.get(key))
            if order is None:
                continue
            answer = self._answer(phase, agent, order, counted.get(key))
            if answer is not None:
                found.append(self._update(phase, agent, answer))
        return found

    def _order(self, phase: _Phase, agent: Entry, counted: bytes | None) -> VerifiedOrder | None:
        """The order to a participant; one that was revoked before its order went out has none."""
        item = phase.item("orders", agent.key)
        if item not in self.archive.names and counted is None and agent.key not in phase.recorded:
            return None
        found = self.documents.order(item, agent)
        must(item, found.job.digest == self.job.digest, "carries another job")
        same = (found.order.round, found.order.phase) == (phase.closure.round, phase.closure.phase)
        must(item, same, "belongs to another round or phase")
        must(item, found.order.weights_root == phase.base, "starts from another model")
        return found

    def _answer(self, phase: _Phase, agent: Entry, order: VerifiedOrder, counted: bytes | None) -> Answer | None:
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
        must(item, found.digest == recorded, _UNRECORDED)
        return None if counted is None else found.value

    def _update(self, phase: _Phase, agent: Entry, answer: Answer) -> Contribution:
        releases = [release for release in answer.releases if release.kind == "update"]
        must(
            phase.item("answers", agent.key), len(releases) == 1, f"holds {len(releases)} updates; there has to be one"
        )
        release = releases[0]
        item = phase.item("updates", agent.key, "stream")
        data = self.archive[item]
        with naming(item):
            datoms = split_datoms(data)
            reader = UpdateReader(phase.trained, phase.spec)
            for datom in datoms:
                reader.feed(datom)
            weight, root = reader.finish()
            must(item, root == release.root, "is not the stream that the agent signed")
        if phase.fold is not None:
            for _ in phase.fold.add_stream(datoms):
                pass
        return Contribution(
            agent=agent.name,
            key=agent.key.hex(),
            mechanism=release.mechanism,
            claim=release.claim,
            weight=weight,
            update=root.hex(),
            policy=release.policy.hex(),
            released={r.name: r.value for r in answer.releases if r.value is not None},
        )
