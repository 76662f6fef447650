"""A policy in plain sentences, for the person who answers for the data.

Rules of this module:

* Every sentence follows from the file; nothing is assumed about jobs.
* What widens more than it seems to gets a warning of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sojourn.codec import digest, encode
from sojourn.contracts import NO_PLAN
from sojourn.privacy.policy import AGENT_EFFECTS, ANY_PLAN, ANY_PROGRAM, AdmitRule, OwnerPolicy, ReleaseRule

__all__ = ["PolicyReport", "check_policy", "explain"]

_NO_PLAN: Final = f"sha256:{digest(encode(NO_PLAN)).hex()}"


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What `sojourn-agent policy check` shows.

    Attributes:
        digest: SHA-256 of the file, hexadecimal.
        lines: the policy in sentences.
        warnings: what deserves a second look; empty when nothing does.
    """

    digest: str
    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def check_policy(path: str | Path) -> PolicyReport:
    """Read a policy file and say what it admits.

    Raises:
        PolicyInvalid: the file is not a policy; one line for each problem.
    """
    policy = OwnerPolicy.load(path)
    warnings = tuple(line for index, rule in enumerate(policy.admit) for line in _warnings(index, rule))
    return PolicyReport(policy.digest.hex(), tuple(explain(policy)), warnings)


def explain(policy: OwnerPolicy) -> list[str]:
    """The policy in sentences, one a line."""
    rules = len(policy.admit)
    lines = [
        f"Policy of {policy.owner} (sha256:{policy.digest.hex()}), {rules} rule{'s' if rules > 1 else ''}.",
        "What no rule admits is refused.",
    ]
    for index, rule in enumerate(policy.admit):
        lines.append(f"Rule admit[{index}]{f' ({rule.name})' if rule.name else ''}:")
        lines += [f"  {line}" for line in _sentences(rule)]
    return lines


def _sentences(rule: AdmitRule) -> Iterator[str]:
    yield f"Jobs signed by {_either(tuple(f'{key[:16]}…' for key in rule.authors))}"
    yield f"for the purpose {_either(tuple(repr(purpose) for purpose in rule.purposes))}"
    if rule.programs == ANY_PROGRAM:
        yield "may run any program that the author signs,"
    else:
        yield f"may run the program {_either(tuple(rule.programs))},"
    if rule.plans == ANY_PLAN:
        yield "with any plan that the author signs,"
    elif tuple(rule.plans) == (_NO_PLAN,):
        yield "with no plan, so without graphs,"
    else:
        yield f"with the plan {_either(tuple('none' if plan == _NO_PLAN else plan for plan in rule.plans))},"
    for stream, fields in rule.streams.items():
        yield f"reading {', '.join(fields)} of stream {stream!r},"
    if not rule.streams:
        yield "reading no stream,"
    yield f"using {', '.join(rule.effects)},"
    yield f"within {rule.max_fuel:,} instructions and {rule.max_memory:,} bytes of program values."
    for release in rule.release:
        yield f"May leave: {_release(release)}."


def _release(rule: ReleaseRule) -> str:
    trust = "bounded but without noise, on trust in the plan"
    if rule.kind == "update":
        return f"a model update of L2 norm {rule.max_clip} or less and weight {rule.max_weight} or less, {trust}"
    if rule.kind == "count":
        return f"the count {rule.name!r} from 0 to {rule.high}, {trust}"
    what = "mean" if rule.kind == "mean" else "sum"
    return f"the {what} {rule.name!r} of one value per unit, each within [{rule.low}, {rule.high}], {trust}"


def _warnings(index: int, rule: AdmitRule) -> Iterator[str]:
    where = f"admit[{index}]"
    if rule.plans == ANY_PLAN:
        yield (
            f"{where}.plans: any plan of the author is trusted. A plan can copy a row of your data into an update. Pin "
            "the hashes of the plans that you have looked at."
        )
    if any(release.kind in {"mean", "sum"} for release in rule.release):
        yield (
            f"{where}.release: a mean or sum over a single unit is that unit's own value; this version has "
            "no key for a smallest number of units (sdk/docs/limitations/privacy.md)."
        )
    unused = sorted(
        effect
        for effect in rule.effects
        if effect.startswith("release.") and effect.removeprefix("release.") not in {r.kind for r in rule.release}
    )
    if unused:
        yield f"{where}.effects: {', '.join(unused)} may be reached, but no [[admit.release]] lets it release anything."
    if len(rule.effects) == len(AGENT_EFFECTS):
        yield f"{where}.effects: every effect there is is admitted."


def _either(values: tuple[str, ...]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"
