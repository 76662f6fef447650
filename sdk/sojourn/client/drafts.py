"""A draft of an owner's policy that admits one submission and nothing more. The owner reads it, edits it and keeps it.

Rules of this module:

* A draft is as wide as the job and no wider: this author, purpose, program and plan, these streams, fields, effects
  and budgets, and releases within the job's own bounds.
* It is written from the submission's bytes; whoever got only the file can draft too. Nothing is verified here: what the
  policy pins are hashes of what is in the file, and the agent verifies every order before it asks the policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sojourn.client.review import Code, streams_of
from sojourn.client.submission import Submission
from sojourn.codec import decode, digest, encode
from sojourn.contracts import NO_PLAN, Bundle, Job, ReleaseSpec, Signed
from sojourn.crypto.documents import MAX_SIGNED_BYTES
from sojourn.errors import DecodeError
from sojourn.limits import MAX_BUNDLE_BYTES
from sojourn.vm import EFFECTS, verify

__all__ = ["PolicyTerms", "policy_for", "policy_text"]


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """What a policy of one rule says.

    Attributes:
        title: how the owner's log names the rule.
        author: key id, hexadecimal.
        purpose: of the job.
        program: digest of the agent program, hexadecimal.
        plan: digest of the plan, hexadecimal.
        streams: streams that may be opened, with the fields that may be read.
        effects: that may be made.
        fuel: instructions of one run.
        memory: bytes of program values of one run.
        releases: what may leave.
    """

    title: str
    author: str
    purpose: str
    program: str
    plan: str
    streams: Mapping[str, Sequence[str]]
    effects: Iterable[str]
    fuel: int
    memory: int
    releases: Iterable[ReleaseSpec]


def policy_for(
    submission: Submission | bytes, owner: str, *, streams: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The text of a policy file that admits exactly this submission.

    Args:
        submission: what `build_submission` gave, or the bytes of a submission file.
        owner: name of the data's owner.
        streams: streams and fields; by default those that the program names as literals.

    Raises:
        DecodeError: not a submission.
        ProgramInvalid: its program is refused.
        UsageError: the program does not name its streams as literals, and `streams` is not given.
    """
    data = submission.data if isinstance(submission, Submission) else submission
    items = decode(Bundle, data, limit=MAX_BUNDLE_BYTES).items
    if not {"job", "program"} <= items.keys():
        raise DecodeError("schema", "this is no submission: it holds no job or no program")
    signed = decode(Signed, items["job"])
    job = decode(Job, signed.payload)
    code = Code(verify(decode(Signed, items["program"], limit=MAX_SIGNED_BYTES).payload), "program")
    entries = sorted({phase.entry for phase in job.phases})
    terms = PolicyTerms(
        title=job.name,
        author=signed.signer.hex(),
        purpose=job.purpose,
        program=job.program.hex(),
        plan=job.plan.hex(),
        streams=streams_of(code, entries) if streams is None else streams,
        effects=frozenset[str]().union(*(code.program.effects(entry) for entry in entries)),
        fuel=job.fuel,
        memory=job.memory,
        releases=_distinct(spec for phase in job.phases for spec in phase.answer),
    )
    return policy_text(owner, terms)


def policy_text(owner: str, terms: PolicyTerms) -> str:
    """A policy file of one rule."""
    order = list(EFFECTS)
    effects = sorted(terms.effects, key=order.index)
    streams = ", ".join(f"{_key(name)} = {_list(fields)}" for name, fields in terms.streams.items())
    head = f"""\
# What {_quoted(owner)} lets happen to its rows. Whatever is not written here is refused.
version = 1
owner = {_quoted(owner)}

[[admit]]
name = {_quoted(terms.title)}
authors = [{_quoted(terms.author)}]
purposes = [{_quoted(terms.purpose)}]
{_comment(terms.plan)}
programs = [{_quoted(f"sha256:{terms.program}")}]
plans = [{_quoted(f"sha256:{terms.plan}")}]
streams = {{{f" {streams} " if streams else ""}}}
effects = {_list(effects)}
max_fuel = {terms.fuel}
max_memory = {terms.memory}
"""
    return "\n".join([head, *(_release(spec) for spec in terms.releases)])


def _comment(plan: str) -> str:
    if plan == digest(encode(NO_PLAN)).hex():
        return """\
# Read the program before you leave its hash here. Nothing adds noise to what leaves: it rests on it. This job has no
# plan: the hash below is the same for every job without graphs."""
    return """\
# Read the program and look at the plan before you leave their hashes here. Nothing adds noise to what leaves: it rests
# on them."""


def _release(spec: ReleaseSpec) -> str:
    if spec.update is not None:
        why = "The change of the model, as one vector cut to this length, from at most this many units."
        bounds = [f"max_clip = {spec.update.clip!r}", f"max_weight = {spec.update.max_weight}"]
    elif spec.kind == "count":
        why = "One whole number, moved into 0 to high."
        bounds = [f"name = {_quoted(spec.name)}", f"high = {spec.high!r}"]
    else:
        why = f"The {spec.kind} of one value per unit, each moved into low to high."
        bounds = [f"name = {_quoted(spec.name)}", f"low = {spec.low!r}", f"high = {spec.high!r}"]
    lines = [f"# {why}", "[[admit.release]]", f'kind = "{spec.kind}"', 'claim = "trusted-plan"', *bounds]
    return "\n".join(lines) + "\n"


def _distinct(specs: Iterable[ReleaseSpec]) -> Iterator[ReleaseSpec]:
    """Each spec once; two phases may release under one name and with one range."""
    seen: list[ReleaseSpec] = []
    for spec in specs:
        if spec not in seen:
            seen.append(spec)
            yield spec


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(text: str) -> str:
    bare = text.replace("-", "").replace("_", "")
    return text if bare.isascii() and bare.isalnum() else _quoted(text)


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(map(_quoted, values)) + "]"
