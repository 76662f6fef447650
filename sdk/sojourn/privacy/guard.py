"""The guard: does the owner's policy admit this order, and this effect of its run?

Rules of this module:

* It decides on verified things only: an order whose origin holds, a bundle that the author's job names, a program
  that the verifier passed. What it computes from them it says; it does nothing itself.
* One rule has to admit all of an order. Rules are tried in the file's order and the first that admits counts.
* A refusal tells the owner's log, for each rule, the first thing that it does not admit. The coordinator gets the
  refusal's public code and nothing else.
* An admission fixes, before anything runs, what may be opened and what is released with which parameters. During the
  run a program can do less than that, in the stated order, and never more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sojourn.contracts import ReleaseSpec, Scalar
from sojourn.crypto.trust import VerifiedBundle, VerifiedOrder
from sojourn.errors import AdmissionRefused
from sojourn.limits import MAX_RELEASES
from sojourn.privacy.policy import ANY_PLAN, ANY_PROGRAM, AdmitRule, OwnerPolicy, ReleaseRule
from sojourn.vm import VerifiedProgram

__all__ = ["Admission", "decide"]


@dataclass(frozen=True, slots=True)
class Admission:
    """What one admitted order may do.

    Attributes:
        rule: index of the rule that admits it, from 0.
        title: how the owner's log names the rule.
        owner: the data owner of the policy.
        policy: digest of the policy file, 32 bytes; every release names it.
        streams: streams that may be opened, each with the fields that may be read.
        effects: effects that may be made.
        releases: what is released, in this order, with these parameters.
    """

    rule: int
    title: str
    owner: str
    policy: bytes
    streams: Mapping[str, frozenset[str]]
    effects: frozenset[str]
    releases: tuple[ReleaseSpec, ...]

    def check_open(self, stream: str, fields: Iterable[str]) -> None:
        """Judge a `stream.open`.

        Raises:
            AdmissionRefused: the stream or a field is not admitted.
        """
        admitted = self.streams.get(stream)
        if admitted is None:
            raise AdmissionRefused(
                f"{self.title} does not admit stream {stream!r}; it admits {', '.join(sorted(self.streams)) or 'none'}"
            )
        beyond = sorted(set(fields) - admitted)
        if beyond:
            raise AdmissionRefused(
                f"{self.title} does not admit field {beyond[0]!r} of stream {stream!r}; "
                f"it admits {', '.join(sorted(admitted))}"
            )

    def check_effect(self, name: str) -> None:
        """Judge any effect by its name, `"gpu.run"`.

        Raises:
            AdmissionRefused: the rule does not list it.
        """
        if name not in self.effects:
            raise AdmissionRefused(f"{self.title} does not admit the effect {name}")

    def check_release(
        self, kind: str, name: str, parameters: Mapping[str, Scalar], *, position: int | None = None
    ) -> ReleaseSpec:
        """Judge a release, and say which of the answer's releases it is.

        Args:
            kind: `"update"`, `"count"`, `"mean"` or `"sum"`.
            name: the release's public name; `"update"` for an update.
            parameters: the public numbers that the program gave: `high` of a count, `low` and `high` of a mean or sum,
                none of an update.
            position: releases that this run has made so far; given, the order of the answer is enforced.

        Raises:
            AdmissionRefused: it is not what the author's job says that this phase answers.
        """
        self.check_effect(f"release.{kind}")
        expected = {(spec.kind, spec.name): place for place, spec in enumerate(self.releases)}
        place = next((at for key, at in expected.items() if key == (kind, name)), None)
        if place is None:
            stated = ", ".join(_title(spec) for spec in self.releases) or "nothing"
            raise AdmissionRefused(f"the program releases {kind} {name!r}, the job's answer holds {stated}")
        if position is not None and place != position:
            raise AdmissionRefused(
                f"the program releases {kind} {name!r} as number {position + 1}, the job's answer has it as number "
                f"{place + 1}"
            )
        spec = self.releases[place]
        wanted = _parameters(spec)
        if dict(parameters) != wanted:
            raise AdmissionRefused(
                f"the program releases {kind} {name!r} with {_shown(parameters)}, "
                f"the job's answer says {_shown(wanted)}"
            )
        return spec


def decide(policy: OwnerPolicy, order: VerifiedOrder, bundle: VerifiedBundle, program: VerifiedProgram) -> Admission:
    """Ask the owner's policy about an order.

    Args:
        policy: the owner's.
        order: verified.
        bundle: verified against the order.
        program: the bundle's program, verified.

    Raises:
        AdmissionRefused: no rule admits it. The message says what each rule does not admit, for the owner's log.
    """
    job = order.job.value
    if program.digest != job.program or bundle.plan_digest != job.plan:
        raise AdmissionRefused("program or plan are not those that the author's job names")
    general = next(_general(order, program), None)
    if general is not None:
        raise AdmissionRefused(general)
    refusals = []
    for index, rule in enumerate(policy.admit):
        title = rule_title(index, rule)
        why = next(_objections(rule, order, program), None)
        if why is None:
            return Admission(
                rule=index,
                title=title,
                owner=policy.owner,
                policy=policy.digest,
                streams=MappingProxyType({name: frozenset(fields) for name, fields in rule.streams.items()}),
                effects=frozenset(rule.effects),
                releases=order.phase.answer,
            )
        refusals.append(f"{title} {why}")
    raise AdmissionRefused(f"{policy.file}: {'; '.join(refusals)}")


def rule_title(index: int, rule: AdmitRule) -> str:
    """How messages name a rule."""
    return f"rule admit[{index}]" + (f" ({rule.name})" if rule.name else "")


def _general(order: VerifiedOrder, program: VerifiedProgram) -> Iterator[str]:
    """What no rule can admit."""
    phase = order.phase
    if order.order.clearance:
        yield "the order claims clearance for private labels; a coordinator has none"
    if phase.entry not in program.entries:
        yield f"phase {phase.name!r} starts {phase.entry!r}, which is no entry of the program"
    if len(phase.answer) > MAX_RELEASES:
        yield f"phase {phase.name!r} answers more than {MAX_RELEASES} releases"
    titles = [(spec.kind, spec.name) for spec in phase.answer]
    if len(set(titles)) != len(titles) or sum(spec.kind == "update" for spec in phase.answer) > 1:
        yield f"phase {phase.name!r} answers two releases of the same kind and name, or two updates"
    for spec in phase.answer:
        if (spec.kind == "update") != (spec.update is not None):
            yield f"phase {phase.name!r}: {_title(spec)} does not have the parameters of its kind"


def _objections(rule: AdmitRule, order: VerifiedOrder, program: VerifiedProgram) -> Iterator[str]:
    """What one rule does not admit, the most telling first."""
    job = order.job.value
    if order.author.key.hex() not in rule.authors:
        yield f"does not admit author {order.author.name!r} ({order.author.key.hex()})"
    if job.purpose not in rule.purposes:
        yield f"does not admit purpose {job.purpose!r}"
    if rule.programs != ANY_PROGRAM and f"sha256:{job.program.hex()}" not in rule.programs:
        yield f"does not admit program sha256:{job.program.hex()}"
    if rule.plans != ANY_PLAN and f"sha256:{job.plan.hex()}" not in rule.plans:
        yield f"does not admit plan sha256:{job.plan.hex()}: its owner has not pinned this hash"
    if job.fuel > rule.max_fuel:
        yield f"admits {rule.max_fuel} instructions, the job asks for {job.fuel}"
    if job.memory > rule.max_memory:
        yield f"admits {rule.max_memory} bytes of memory, the job asks for {job.memory}"
    beyond = sorted(program.effects(order.phase.entry) - set(rule.effects))
    if beyond:
        yield f"does not admit the effects {', '.join(beyond)}, which the program can reach"
    for spec in order.phase.answer:
        why = _release_objection(rule.release, spec)
        if why:
            yield why


def _release_objection(rules: Iterable[ReleaseRule], spec: ReleaseSpec) -> str:
    """Why no release of a rule covers `spec`; empty when one does."""
    same = [rule for rule in rules if rule.kind == spec.kind and (spec.kind == "update" or rule.name == spec.name)]
    if not same:
        return f"does not admit the release of {_title(spec)}"
    problems = [_too_wide(rule, spec) for rule in same]
    return "" if "" in problems else problems[0]


def _too_wide(rule: ReleaseRule, spec: ReleaseSpec) -> str:
    """Each comparison is written so that a NaN in the job is refused."""
    title = _title(spec)
    if spec.update is not None and rule.max_clip is not None and rule.max_weight is not None:
        if not 0 < spec.update.clip <= rule.max_clip:
            return f"admits {title} up to clip {rule.max_clip}, the job says {spec.update.clip}"
        if not 0 < spec.update.max_weight <= rule.max_weight:
            return f"admits {title} up to weight {rule.max_weight}, the job says {spec.update.max_weight}"
        return ""
    low, high = rule.low if rule.low is not None else 0.0, rule.high if rule.high is not None else 0.0
    start = spec.low if spec.kind in {"mean", "sum"} else 0.0
    if not (low <= start < spec.high <= high):
        return f"admits {title} within [{low}, {high}], the job says [{start}, {spec.high}]"
    return ""


def _title(spec: ReleaseSpec) -> str:
    return "update" if spec.kind == "update" else f"{spec.kind} {spec.name!r}"


def _parameters(spec: ReleaseSpec) -> dict[str, Scalar]:
    if spec.kind == "update":
        return {}
    if spec.kind == "count":
        return {"high": spec.high}
    return {"low": spec.low, "high": spec.high}


def _shown(parameters: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(parameters.items())) or "no parameters"
