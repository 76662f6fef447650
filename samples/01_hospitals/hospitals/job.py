"""What the author signs and submits, and what a hospital's owner admits.

Rules of this module:

* Everything that decides what runs, and with which numbers, is in the job; the job names programs, plan, initial
  model and held-out set by hash.
* An owner's policy admits this author, this purpose, this program and this plan, and no release wider than these.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

from sojourn.client.drafts import PolicyTerms, policy_text
from sojourn.client.submission import build_submission as build
from sojourn.client.submission import count, mean, phase, update
from sojourn.codec import encode
from sojourn.contracts import Phase
from sojourn.crypto import Identity
from sojourn.vm import Program, compile_source, verify

from hospitals.baselines import initial_weights, steps_of_round
from hospitals.data import load
from hospitals.graphs import load_plan
from hospitals.settings import (
    BATCH,
    BOUND,
    CLIP,
    COUNT_HIGH,
    DEADLINE_MS,
    EPOCHS,
    HOSPITALS,
    JOB_FUEL,
    JOB_LIFETIME_MS,
    JOB_MEMORY,
    LOSS_HIGH,
    LOSS_LOW,
    PURPOSE,
    QUORUM,
    REGION_FUEL,
    REGION_MEMORY,
    ROUNDS,
    SCALE,
    STREAM,
)

__all__ = ["PROGRAM_FILE", "SubmissionInfo", "build_submission", "compiled", "phases", "policy_toml"]

PROGRAM_FILE: Final = Path(__file__).resolve().parent.parent / "program.py"


@dataclass(frozen=True, slots=True)
class SubmissionInfo:
    """What stands in a submission, for whoever submits it.

    Attributes:
        job: digest of the exact signed job bytes.
        program_digest: of the one program that holds both entries, `hospital` and `rounds`.
        plan_digest: of the plan record; what an owner pins.
        initial_root: seal root of the initial model's stream.
        heldout_root: seal root of the held-out set's stream.
        rounds: rounds of the job.
        steps_by_hospital: `gpu.run` effects of each hospital in one round.
    """

    job: bytes
    program_digest: bytes
    plan_digest: bytes
    initial_root: bytes
    heldout_root: bytes
    rounds: int
    steps_by_hospital: tuple[int, ...]


@cache
def compiled() -> Program:
    """`program.py` as one program with the entries `hospital` and `rounds`."""
    return compile_source(PROGRAM_FILE.read_text(encoding="utf-8"), PROGRAM_FILE.name)


def phases(quorum: int = QUORUM) -> tuple[Phase, ...]:
    """The job's one phase: what `hospital` answers, and within which bounds."""
    answer = [
        update(clip=CLIP, max_weight=COUNT_HIGH, scale=SCALE, bound=BOUND),
        count("patients", high=COUNT_HIGH),
        mean("loss", low=LOSS_LOW, high=LOSS_HIGH),
    ]
    return (phase("train", entry="hospital", quorum=quorum, deadline_s=DEADLINE_MS / 1000, answer=answer),)


def build_submission(
    author: Identity, seed: int, now_ms: int | None = None, *, rounds: int = ROUNDS, hospitals: int = HOSPITALS
) -> tuple[bytes, SubmissionInfo]:
    """The signed submission of one seed.

    Args:
        author: who signs job, program and plan.
        seed: draws the held-out set, which is part of the submission.
        now_ms: time of issue; default now.
        rounds: how many; a short job is enough for a test.
        hospitals: how many of the five are invited; all but one of them are the quorum.

    Returns:
        An encoded `Bundle`, as `sojourn submit` sends it, and what stands in it.
    """
    study, (plan, graphs) = load(seed), load_plan()
    submission = build(
        author,
        name=f"hospitals-{seed}",
        purpose=PURPOSE,
        program=PROGRAM_FILE,
        phases=phases(hospitals - HOSPITALS + QUORUM),
        plan=plan,
        graphs=graphs,
        initial=initial_weights(),
        heldout={"x": study.held_out.x, "y": study.held_out.y},
        args={"epochs": EPOCHS, "size": BATCH, "fuel": REGION_FUEL, "memory": REGION_MEMORY, "rounds": rounds},
        participants=hospitals,
        fuel=JOB_FUEL,
        memory=JOB_MEMORY,
        lifetime=timedelta(milliseconds=JOB_LIFETIME_MS),
        now_ms=now_ms,
    )
    info = SubmissionInfo(
        job=submission.id,
        program_digest=submission.program_digest,
        plan_digest=submission.plan_digest,
        initial_root=submission.job.initial,
        heldout_root=submission.job.heldout,
        rounds=rounds,
        steps_by_hospital=tuple(steps_of_round(hospital) for hospital in study.hospitals),
    )
    return submission.data, info


def policy_toml(author: str, plan: str, name: str, program: str | None = None) -> str:
    """The policy file of one hospital.

    Args:
        author: key id of the author whose jobs may run, hexadecimal.
        plan: digest of the plan that the owner has looked at, hexadecimal.
        name: the hospital's.
        program: digest of the agent program, hexadecimal; default the one of `program.py`.
    """
    (train,) = phases()
    terms = PolicyTerms(
        title="breast cancer study",
        author=author,
        purpose=PURPOSE,
        program=compiled().digest.hex() if program is None else program,
        plan=plan,
        streams={STREAM: ("x", "y")},
        effects=verify(encode(compiled())).effects(train.entry),
        fuel=JOB_FUEL,
        memory=JOB_MEMORY,
        releases=train.answer,
    )
    return policy_text(name, terms)
