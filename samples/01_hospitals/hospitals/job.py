"""What the author signs and submits, and what a hospital's owner admits.

Rules of this module:

* Everything that decides what runs, and with which numbers, is in the job; the job names programs, plan, initial
  model and held-out set by hash.
* An owner's policy admits this author, this purpose, this program and this plan, and no release wider than these.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from sojourn.codec import digest, encode
from sojourn.contracts import SUITE_1, Bundle, Job, Phase, ReleaseSpec, UpdateSpec
from sojourn.crypto import Identity, sign_document
from sojourn.datoms import BlockKind, join_datoms, pack_list
from sojourn.vm import Program, compile_source

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
NONCE_BYTES: Final = 16


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


def phases() -> tuple[Phase, ...]:
    """The job's one phase: what `hospital` answers, and within which bounds."""
    update = UpdateSpec(clip=CLIP, scale=SCALE, bound=BOUND, max_weight=COUNT_HIGH)
    answer = (
        ReleaseSpec("update", "update", 0.0, 0.0, update),
        ReleaseSpec("count", "patients", 0.0, float(COUNT_HIGH), None),
        ReleaseSpec("mean", "loss", LOSS_LOW, LOSS_HIGH, None),
    )
    return (Phase("train", "collect", "hospital", QUORUM, DEADLINE_MS, answer),)


def build_submission(author: Identity, seed: int, now_ms: int | None = None) -> tuple[bytes, SubmissionInfo]:
    """The signed submission of one seed.

    Args:
        author: who signs job, program and plan.
        seed: draws the held-out set, which is part of the submission.
        now_ms: time of issue; default now.

    Returns:
        An encoded `Bundle`, as `sojourn submit` sends it, and what stands in it.
    """
    study, program = load(seed), compiled()
    plan, graphs = load_plan()
    initial, initial_root = pack_list(initial_weights(), BlockKind.WEIGHT)
    held_out = {"x": study.held_out.x, "y": study.held_out.y}
    heldout, heldout_root = pack_list(held_out, BlockKind.RECORD)
    issued = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    job = Job(
        suite=SUITE_1,
        name=f"hospitals-{seed}",
        purpose=PURPOSE,
        program=program.digest,
        rounds=program.digest,
        rounds_entry="rounds",
        plan=digest(encode(plan)),
        initial=initial_root,
        heldout=heldout_root,
        policy={"name": "fedavg"},
        args={"epochs": EPOCHS, "size": BATCH, "fuel": REGION_FUEL, "memory": REGION_MEMORY, "rounds": ROUNDS},
        phases=phases(),
        participants=HOSPITALS,
        fuel=JOB_FUEL,
        memory=JOB_MEMORY,
        issued_ms=issued,
        expires_ms=issued + JOB_LIFETIME_MS,
        nonce=secrets.token_bytes(NONCE_BYTES),
    )
    signed_job, signed_program = sign_document(author, job), sign_document(author, program)
    items = {
        "job": signed_job,
        "program": signed_program,
        "rounds": signed_program,
        "plan": sign_document(author, plan),
        "initial": join_datoms(initial),
        "heldout": join_datoms(heldout),
        **{f"graph/{name}": data for name, data in graphs.items()},
    }
    info = SubmissionInfo(
        job=digest(signed_job),
        program_digest=program.digest,
        plan_digest=job.plan,
        initial_root=initial_root,
        heldout_root=heldout_root,
        rounds=ROUNDS,
        steps_by_hospital=tuple(steps_of_round(hospital) for hospital in study.hospitals),
    )
    return encode(Bundle(items)), info


def policy_toml(author: str, plan: str, name: str, program: str | None = None) -> str:
    """The policy file of one hospital.

    Args:
        author: key id of the author whose jobs may run, hexadecimal.
        plan: digest of the plan that the owner has looked at, hexadecimal.
        name: the hospital's.
        program: digest of the agent program, hexadecimal; default the one of `program.py`.
    """
    pinned = compiled().digest.hex() if program is None else program
    return f"""\
# What {name} lets happen to its patients' rows. Whatever is not written here is refused.
version = 1
owner = "{name}"

[[admit]]
name = "breast cancer study"
authors = ["{author}"]
purposes = ["{PURPOSE}"]
# Both were read before they were written here. Nothing adds noise to what leaves, so what may leave rests on them.
programs = ["sha256:{pinned}"]
plans = ["sha256:{plan}"]
streams = {{ {STREAM} = ["x", "y"] }}
effects = [
    "stream.open", "stream.first", "stream.batch", "gpu.run",
    "release.update", "release.count", "release.mean",
]
max_fuel = {JOB_FUEL}
max_memory = {JOB_MEMORY}

# The change of the model, as one vector cut to this length, from at most this many patients.
[[admit.release]]
kind = "update"
claim = "trusted-plan"
max_clip = {CLIP}
max_weight = {COUNT_HIGH}

[[admit.release]]
kind = "count"
claim = "trusted-plan"
name = "patients"
high = {float(COUNT_HIGH)}

[[admit.release]]
kind = "mean"
claim = "trusted-plan"
name = "loss"
low = {LOSS_LOW}
high = {LOSS_HIGH}
"""
