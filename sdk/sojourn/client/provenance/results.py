"""What a verified provenance is: plain values, for people and for JSON."""

from __future__ import annotations

from dataclasses import dataclass

from sojourn.contracts import Scalar

__all__ = ["Contribution", "Heard", "MissedTrace", "Provenance", "RoundTrace", "SurveyAnswer", "SurveyTrace"]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One agent's verified part in one round.

    Attributes:
        agent: name in the agent's entry, which a registrar signed.
        key: key id, hexadecimal.
        mechanism: how the agent's host released the update.
        claim: `private` or `trusted-plan`.
        weight: the update's integer weight.
        update: seal root of the update's stream, hexadecimal.
        policy: digest of the owner's policy file, hexadecimal.
        released: bounded scalars by name.
    """

    agent: str
    key: str
    mechanism: str
    claim: str
    weight: int
    update: str
    policy: str
    released: dict[str, float]


@dataclass(frozen=True, slots=True)
class RoundTrace:
    """One verified link of the chain of models.

    Attributes:
        round: its number.
        base: root of the model before, hexadecimal.
        model: root of the published model, hexadecimal.
        participants: names of the agents that were invited.
        contributions: the answers that the closure counts.
        metrics: of the signed evaluation; empty for none.
        recomputed: the model was derived again from the updates, and came out the same.
    """

    round: int
    base: str
    model: str
    participants: tuple[str, ...]
    contributions: tuple[Contribution, ...]
    metrics: dict[str, float]
    recomputed: bool


@dataclass(frozen=True, slots=True)
class SurveyAnswer:
    """What one agent released in one survey, as it signed it.

    Attributes:
        agent: name in the agent's entry, which a registrar signed.
        key: key id, hexadecimal.
        mechanisms: how the agent's host made each release, by name.
        claims: `private` or `trusted-plan`, by name.
        policy: digest of the owner's policy file, hexadecimal.
        released: bounded scalars by name.
    """

    agent: str
    key: str
    mechanisms: dict[str, str]
    claims: dict[str, str]
    policy: str
    released: dict[str, float]


@dataclass(frozen=True, slots=True)
class SurveyTrace:
    """One verified survey: a phase that publishes no model.

    Attributes:
        round: its number.
        phase: its name.
        participants: names of the agents that were invited.
        answers: those that the closure counts.
    """

    round: int
    phase: str
    participants: tuple[str, ...]
    answers: tuple[SurveyAnswer, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What one agent said in a phase that missed its quorum.

    Attributes:
        agent: name in the agent's entry, which a registrar signed; empty where the export does not hold the entry.
        key: key id, hexadecimal.
        state: `answered`, or how its run ended: `failed`, `refused`, `declined`.
        code: public reason; empty for an answer.
    """

    agent: str
    key: str
    state: str
    code: str


@dataclass(frozen=True, slots=True)
class MissedTrace:
    """A phase that missed its quorum, as the ledger has it. Nothing of it counts, so nobody signs a closure.

    Attributes:
        round: its number.
        phase: its name.
        quorum: answers that it needed.
        invited: how many agents were.
        heard: agents that were heard of before the deadline, in the ledger's order.
    """

    round: int
    phase: str
    quorum: int
    invited: int
    heard: tuple[Heard, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """The whole verified chain of one job, from its initial model to its newest one.

    Attributes:
        job: SHA-256 of the exact signed job, hexadecimal.
        name: the job's name.
        purpose: what the author says it is for.
        author: who signed job, programs and plan.
        coordinator: who signed the ledger.
        roster_version: of the roster by which everything was judged.
        programs: digests of the programs `agent` and `rounds`, hexadecimal.
        plan: digest of the plan, hexadecimal.
        initial: root of the model that the job began with, hexadecimal.
        model: root of the newest published model, hexadecimal.
        rounds: oldest first.
        surveys: oldest first.
        missed: phases that missed their quorum, oldest first.
        state: `running`, `done`, `failed` or `cancelled`, by the ledger's last entry.
        ending: what that entry says: `code`, `line` and `message` of a failure, `by` of a cancelling.
        signatures: how many were verified.
        ledger: entries of the verified ledger.
        policy: how updates were combined.
    """

    job: str
    name: str
    purpose: str
    author: str
    coordinator: str
    roster_version: int
    programs: dict[str, str]
    plan: str
    initial: str
    model: str
    rounds: tuple[RoundTrace, ...]
    surveys: tuple[SurveyTrace, ...]
    missed: tuple[MissedTrace, ...]
    state: str
    ending: dict[str, Scalar]
    signatures: int
    ledger: int
    policy: dict[str, Scalar]
