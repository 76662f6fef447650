"""From source, plan and numbers to a signed submission: what a data scientist calls instead of assembling records.

    submission = build_submission(
        Identity.load(Path("federation/author/identity.key")),
        name="blood pressure", purpose="survey", program=Path("program.py"),
        phases=[phase("survey", entry="clinic", quorum=3, answer=[count("patients", high=1000)])],
    )
    Path("survey.submission").write_bytes(submission.data)

Rules of this module:

* Every mistake is a `UsageError` that says what to write. Nothing is signed before all of it is in order.
* What is returned has passed the checks that a coordinator makes (`TrustedSet.verify_submission`, `check_submission`).
* Program, plan and model are pinned by hash in the job; the job is signed by the author, and so is each of them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from sojourn.client.arguments import review_args
from sojourn.client.inside import review_inside
from sojourn.client.parts import (
    ROUNDS_ENTRY,
    Tensors,
    args_of,
    model_of,
    packed,
    phases_of,
    plan_of,
    policy_of,
    programs_of,
)
from sojourn.client.phases import count, mean, phase, total, update
from sojourn.client.review import Code, review_limits, review_phase, review_rounds, streams_of
from sojourn.codec import digest, encode, normalised
from sojourn.contracts import SUITE_1, Bundle, Job, Phase, Plan, Roster, Scalar
from sojourn.crypto import Identity, RootKey, TrustedSet, sign_document
from sojourn.datoms import BlockKind
from sojourn.errors import SojournError, UsageError
from sojourn.limits import MIB
from sojourn.submissions import check_submission

__all__ = ["Submission", "build_submission", "count", "mean", "phase", "total", "update"]

NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Submission:
    """A signed submission, and what an owner, an operator or a test may want to know of it.

    Attributes:
        data: the bytes that `sojourn submit` sends.
        id: SHA-256 of the exact signed job: the id that the coordinator answers with.
        job: content of the job.
        plan: content of the plan; without graphs where the job has none.
        author: key id of who signed.
        effects: what the entry of each phase can reach, by phase.
        streams: streams that those entries open with the fields they read, where the code has them as literals; None
            where it does not.
    """

    data: bytes = field(repr=False)
    id: bytes
    job: Job
    plan: Plan
    author: bytes
    effects: Mapping[str, frozenset[str]]
    streams: Mapping[str, tuple[str, ...]] | None

    @property
    def program_digest(self) -> bytes:
        """Of the agent program: what an owner pins."""
        return self.job.program

    @property
    def plan_digest(self) -> bytes:
        """Of the plan: what an owner pins."""
        return self.job.plan


def build_submission(
    author: Identity,
    *,
    name: str,
    purpose: str,
    program: Path | str,
    phases: Iterable[Phase],
    rounds: Path | str | None = None,
    rounds_entry: str = ROUNDS_ENTRY,
    plan: Plan | None = None,
    graphs: Mapping[str, bytes | Path] | None = None,
    initial: Tensors | None = None,
    heldout: Tensors | None = None,
    policy: str | Mapping[str, Scalar] = "fedavg",
    args: Mapping[str, Scalar] | None = None,
    participants: int = 0,
    fuel: int = 10_000_000,
    memory: int = 64 * MIB,
    lifetime: timedelta = timedelta(days=1),
    now_ms: int | None = None,
) -> Submission:
    """Compile, check, sign and verify a submission.

    Args:
        author: who signs; stands in the roster as an author.
        name: of the job, for people.
        purpose: what owners admit it for.
        program: the agent program: a file, or source text.
        phases: see `phase`.
        rounds: the rounds program: a file, source text, or the name of a packaged one (`"fedavg"`). By default the
            agent program itself where it has `rounds_entry`, else the packaged `"fedavg"`, which asks for a phase
            `"train"` `args["rounds"]` times. A program that asks agents under another name has to say `rounds_entry`.
        rounds_entry: the continuation of the rounds program that starts.
        plan: manifest of the graphs; None for a job without graphs. An empty digest in it is filled in.
        graphs: the graphs' ONNX files, or their bytes, by name.
        initial: the initial model: float32 tensors by name; every trained tensor of the plan.
        heldout: public data for the plan's `evaluate` graph: one array for each field, first axis rows.
        policy: how updates are combined: a name, or a record with the policy's options.
        args: numbers and texts for the programs: `order.args` and `job.args`.
        participants: agents of one cohort, drawn from those that are connected whatever their owners admit; 0 is all
            that are connected. With as many as the quorum, none of them may decline.
        fuel: instructions of one agent's run. What `private(...)` takes is charged to it, so that it has to be more.
        memory: bytes of program values of one agent's run. What `private(...)` takes is charged to it too.
        lifetime: after this the job has expired, and no agent runs an order of it.
        now_ms: time of issue; by default now.

    Raises:
        UsageError: anything is wrong; the message says what to write.
    """
    if author.role != "author":
        raise UsageError(f"{author.name!r} is a {author.role}; a submission is signed by an author of the roster")
    listed = phases_of(phases, participants)
    code, loop = programs_of(program, rounds, rounds_entry)
    bare, files = plan_of(plan, graphs)
    given = _reviewed(code, loop, rounds_entry, listed, bare, args, fuel, memory)
    streams, initial_root, heldout_root = _packed(bare, initial, heldout)
    issued = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    expires = issued + round(lifetime / timedelta(milliseconds=1))
    job = Job(
        suite=SUITE_1, name=name, purpose=purpose, program=code.program.digest, rounds=loop.program.digest,
        rounds_entry=rounds_entry, plan=digest(encode(bare)), initial=initial_root, heldout=heldout_root,
        policy=policy_of(policy), args=given, phases=listed, participants=participants, fuel=fuel, memory=memory,
        issued_ms=issued, expires_ms=expires, nonce=secrets.token_bytes(NONCE_BYTES),
    )  # fmt: skip
    return _signed(author, normalised(job), code, loop, bare, {**streams, **_files(files)})


def _reviewed(
    code: Code,
    loop: Code,
    rounds_entry: str,
    phases: tuple[Phase, ...],
    plan: Plan,
    args: Mapping[str, Scalar] | None,
    fuel: int,
    memory: int,
) -> dict[str, Scalar]:
    """The job's arguments, once the code does what phases, plan, arguments and limits say."""
    for each in phases:
        review_phase(code, each, plan)
        review_inside(code, each.entry)
    review_rounds(loop, rounds_entry, phases)
    given = args_of(args, loop)
    for each in phases:
        review_limits(code, each.entry, given, fuel, memory)
    for each in phases:
        review_args(code, each.entry, given)
    review_args(loop, rounds_entry, given)
    return given


def _packed(plan: Plan, initial: Tensors | None, heldout: Tensors | None) -> tuple[dict[str, bytes], bytes, bytes]:
    """The streams of a submission by name, and the roots of initial model and held-out data."""
    model, model_root = packed(model_of(plan, initial), BlockKind.WEIGHT, "initial")
    if not heldout:
        return {"initial": model}, model_root, b""
    public, public_root = packed(heldout, BlockKind.RECORD, "heldout")
    return {"initial": model, "heldout": public}, model_root, public_root


def _files(graphs: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"graph/{name}": data for name, data in graphs.items()}


def _signed(
    author: Identity, job: Job, code: Code, loop: Code, plan: Plan, unsigned: Mapping[str, bytes]
) -> Submission:
    """Sign each document, put all into one bundle, and verify that."""
    signed = sign_document(author, job)
    items = {
        "job": signed,
        "program": sign_document(author, code.program.program),
        "rounds": sign_document(author, loop.program.program),
        "plan": sign_document(author, plan),
        **unsigned,
    }
    data = encode(Bundle(items))
    _verify(author, data, job)
    effects = {each.name: code.program.effects(each.entry) for each in job.phases}
    return Submission(data, digest(signed), job, plan, author.key, effects, _streams(code, job))


def _streams(code: Code, job: Job) -> dict[str, tuple[str, ...]] | None:
    try:
        return streams_of(code, sorted({each.entry for each in job.phases}))
    except UsageError:
        return None


def _verify(author: Identity, data: bytes, job: Job) -> None:
    """Ask what a coordinator asks, under a roster made for this moment in which the author stands."""
    root, now = RootKey.generate(), job.issued_ms
    entry = author.entry(now, now + 1 if job.expires_ms <= now else job.expires_ms)
    roster = Roster(SUITE_1, 1, now, entry.expires_ms, b"none", (entry,), ())
    trusted = TrustedSet(root.public)
    trusted.load_roster(root.sign_roster(roster), now)
    try:
        check_submission(trusted.verify_submission(data, now))
    except UsageError:
        raise
    except SojournError as problem:
        raise UsageError(f"a coordinator would refuse this: {problem}") from problem
