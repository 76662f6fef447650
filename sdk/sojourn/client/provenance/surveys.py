"""The surveys of an export: closed phases whose answers hold no update. What agents released stands as they signed it.

Rules of this module:

* The ledger says which surveys there are: each has to be in the export, in the ledger's order.
* A release is held against the job: its kind, its name, and the bounds that the phase states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sojourn.client.provenance.archive import must
from sojourn.client.provenance.phases import UNRECORDED, ClosedPhase, Phases
from sojourn.client.provenance.results import SurveyAnswer, SurveyTrace
from sojourn.contracts import Answer, Entry, LedgerEntry, ReleaseSpec

__all__ = ["Surveys"]


@dataclass(frozen=True, slots=True)
class Surveys:
    """Verifies the surveys of one job.

    Attributes:
        phases: verifies closures, orders and answers.
    """

    phases: Phases

    def recorded(self) -> tuple[LedgerEntry, ...]:
        """The ledger's entries of closed surveys, oldest first."""
        plain = {phase.name for phase in self.phases.job.value.phases if all(s.kind != "update" for s in phase.answer)}
        return tuple(
            entry
            for entry in self.phases.ledger.entries
            if entry.kind == "closed" and entry.detail.get("phase") in plain
        )

    def verify(self, number: int, entry: LedgerEntry, models: frozenset[bytes]) -> SurveyTrace:
        """Verify the survey that an entry of the ledger says was closed.

        Args:
            number: among the surveys of the job, from 0.
            entry: of the ledger.
            models: roots of the models that there were by then.

        Raises:
            ProvenanceBroken: names the item that does not hold.
        """
        phase = self.phases.closed(f"surveys/{number}", models)
        stated = (phase.digest, phase.closure.phase, phase.closure.round)
        wanted = (entry.subject, entry.detail.get("phase"), entry.detail.get("round"))
        must(f"{phase.folder}/closure.signed", stated == wanted, UNRECORDED)
        parts = tuple(_part(phase, agent, answer) for agent, answer in self.phases.answers(phase))
        names = tuple(self.phases.documents.agent(key).name for key in phase.closure.participants)
        return SurveyTrace(phase.closure.round, phase.closure.phase, names, parts)


def _part(phase: ClosedPhase, agent: Entry, answer: Answer) -> SurveyAnswer:
    item = phase.item("answers", agent.key)
    made = [(release.kind, release.name) for release in answer.releases]
    asked = [(spec.kind, spec.name) for spec in phase.phase.answer]
    must(item, made == asked, "releases something else than the phase asks for")
    released: dict[str, float] = {}
    for release, spec in zip(answer.releases, phase.phase.answer, strict=True):
        inside = release.value is not None and _inside(release.value, spec)
        must(item, inside, f"releases {spec.kind} {spec.name!r} out of its bounds")
        released[release.name] = release.value or 0.0
    return SurveyAnswer(
        agent=agent.name,
        key=agent.key.hex(),
        mechanisms={release.name: release.mechanism for release in answer.releases},
        claims={release.name: release.claim for release in answer.releases},
        policy=next((release.policy.hex() for release in answer.releases), ""),
        released=released,
    )


def _inside(value: float, spec: ReleaseSpec) -> bool:
    """A sum is bounded by the number of units that its agent holds, which nobody else knows."""
    return math.isfinite(value) and (spec.kind == "sum" or spec.low <= value <= spec.high)
