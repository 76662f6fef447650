"""One round of an export: orders, answers, updates, the closure over them, the model folded from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sojourn.aggregation import RoundFold, fold_of
from sojourn.client.provenance.archive import must, naming
from sojourn.client.provenance.documents import Documents
from sojourn.client.provenance.phases import UNRECORDED, ClosedPhase, Phases
from sojourn.client.provenance.results import Contribution, RoundTrace
from sojourn.contracts import Answer, Entry, Job, Plan, Publication, UpdateSpec
from sojourn.crypto.verified import Verified
from sojourn.datoms import BlockKind, UpdateReader, pack_list, split_datoms
from sojourn.errors import ProvenanceBroken

__all__ = ["Rounds", "Tensors"]

Tensors = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class _Fold:
    """What a model is folded from.

    Attributes:
        phase: the closed phase.
        spec: of its updates.
        trained: shapes of the tensors that an update holds.
        fold: makes the model again; None where that is not asked for.
    """

    phase: ClosedPhase
    spec: UpdateSpec
    trained: dict[str, tuple[int, ...]]
    fold: RoundFold | None


@dataclass(frozen=True, slots=True)
class Rounds:
    """Verifies rounds of one job, each on the model before.

    Attributes:
        phases: verifies closures, orders and answers.
        plan: the verified plan.
        recompute: derive each model again.
    """

    phases: Phases
    plan: Plan
    recompute: bool

    @property
    def documents(self) -> Documents:
        """The export's documents."""
        return self.phases.documents

    @property
    def job(self) -> Verified[Job]:
        """The verified job."""
        return self.phases.job

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
        made = self._fold(folder, number, publication, base, tensors)
        parts = tuple(self._update(made, agent, answer) for agent, answer in self.phases.answers(made.phase))
        weight = sum(part.weight for part in parts)
        must(item, publication.weight == weight, "states another sum of weights than its updates have")
        if made.fold is not None:
            tensors = made.fold.result().tensors
            _, root = pack_list(tensors, BlockKind.WEIGHT)
            must(item, root == publication.model, "recomputing from the recorded updates gives another model")
        names = tuple(self.documents.agent(key).name for key in made.phase.closure.participants)
        link = RoundTrace(number, base.hex(), publication.model.hex(), names, parts, metrics, self.recompute)
        return link, tensors

    def _publication(self, item: str, number: int, recorded: bytes, base: bytes) -> Publication:
        found = self.documents.publication(item)
        publication = found.value
        same = (publication.job, publication.round) == (self.job.digest, number)
        must(item, same, "belongs to another job or round")
        must(item, found.digest == recorded, UNRECORDED)
        must(item, publication.base == base, "does not start from the model before")
        if publication.closure:
            same = dict(publication.policy) == dict(self.job.value.policy)
            must(item, same, "was folded under another policy than the job's")
        return publication

    def _metrics(self, folder: str, number: int, publication: Publication) -> dict[str, float]:
        recorded = self.phases.ledger.evaluated.get(number)
        if recorded is None:
            return {}
        item = f"{folder}/evaluation.signed"
        found = self.documents.evaluation(item)
        evaluation = found.value
        stated = (evaluation.job, evaluation.run, evaluation.round, evaluation.model, evaluation.heldout)
        wanted = (self.job.digest, publication.run, number, publication.model, self.job.value.heldout)
        must(item, stated == wanted, "evaluates another model, or on other data")
        must(item, found.digest == recorded, UNRECORDED)
        return dict(evaluation.metrics)

    def _fold(self, folder: str, number: int, publication: Publication, base: bytes, tensors: Tensors) -> _Fold:
        item = f"{folder}/closure.signed"
        phase = self.phases.closed(folder, frozenset((base,)))
        same = (phase.closure.run, phase.closure.round) == (publication.run, number)
        must(item, same, "belongs to another job, run or round")
        must(f"{folder}/publication.signed", publication.closure == phase.digest, "was folded from another closure")
        spec = next((release.update for release in phase.phase.answer if release.update is not None), None)
        if spec is None:
            raise ProvenanceBroken(item, f"closes phase {phase.phase.name!r}, of which the job folds no updates")
        trained = {tensor.name: tensor.shape for tensor in self.plan.state if tensor.trained}
        fold = fold_of(self.job.value.policy, tensors, spec, trained) if self.recompute else None
        return _Fold(phase, spec, trained, fold)

    def _update(self, made: _Fold, agent: Entry, answer: Answer) -> Contribution:
        phase = made.phase
        releases = [release for release in answer.releases if release.kind == "update"]
        must(
            phase.item("answers", agent.key), len(releases) == 1, f"holds {len(releases)} updates; there has to be one"
        )
        release = releases[0]
        item = phase.item("updates", agent.key, "stream")
        data = self.phases.archive[item]
        with naming(item):
            datoms = split_datoms(data)
            reader = UpdateReader(made.trained, made.spec)
            for datom in datoms:
                reader.feed(datom)
            weight, root = reader.finish()
            must(item, root == release.root, "is not the stream that the agent signed")
        if made.fold is not None:
            for _ in made.fold.add_stream(datoms):
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
