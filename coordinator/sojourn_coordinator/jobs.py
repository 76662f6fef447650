"""Jobs: what is checked when one is submitted, how it is stored, and what a running one consists of.

Everything is verified before anything is stored. The same job bytes submitted again are the same job.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sojourn.aggregation import policy_of
from sojourn.codec import decode, digest, encode
from sojourn.contracts import Bundle, Job, Phase, Plan, Signed, UpdateSpec, root_run
from sojourn.crypto import VerifiedSubmission
from sojourn.datoms import split_datoms
from sojourn.errors import StoreError
from sojourn.submissions import check_submission, evaluation_graph
from sojourn.vm import VerifiedProgram, verify
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from sojourn_coordinator.feed import append_event
from sojourn_coordinator.house import House
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.store import ObjectWriter, StoredBody, pack_extents, unpack_extents
from sojourn_coordinator.store.schema import items, jobs, models, objects

__all__ = [
    "JobContext",
    "judge_submission",
    "keep_object",
    "load_job",
    "read_item",
    "store_job",
    "update_of",
]

_OBJECT: Final = insert(objects).on_conflict_do_nothing()
_DOCUMENTS: Final = ("job", "program", "rounds", "plan")


@dataclass(frozen=True, slots=True)
class JobContext:
    """A stored job, ready to run.

    Attributes:
        id: SHA-256 of the exact signed job.
        signed: those bytes.
        job: its content.
        run: the run of its rounds continuation.
        rounds: the verified rounds program.
        plan: manifest of its graphs.
        bundle: what agents fetch once: programs, plan, graphs; an encoded `Bundle`.
        shapes: shapes of the trained tensors, by name.
    """

    id: bytes
    signed: bytes
    job: Job
    run: bytes
    rounds: VerifiedProgram
    plan: Plan
    bundle: bytes
    shapes: dict[str, tuple[int, ...]]

    @property
    def phases(self) -> Mapping[str, Phase]:
        """Phases by name."""
        return {phase.name: phase for phase in self.job.phases}

    @property
    def evaluates(self) -> bool:
        """Whether models of this job are evaluated."""
        return bool(self.job.heldout) and evaluation_graph(self.plan) is not None


def update_of(phase: Phase) -> UpdateSpec | None:
    """The update that a phase's answers hold, if they hold one."""
    return next((spec.update for spec in phase.answer if spec.kind == "update"), None)


def trained_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that an update of this plan holds."""
    return {tensor.name: tensor.shape for tensor in plan.state if tensor.trained}


def judge_submission(submission: VerifiedSubmission) -> None:
    """Check what signatures do not: everything fits together, and the policy is one that this coordinator has.

    Raises:
        SojournError: as `sojourn.submissions.check_submission` does.
        ConfigError: the aggregation policy is not installed here, or has no such option.
    """
    policy_of(submission.job.value.policy)
    check_submission(submission)


async def store_job(house: House, submission: VerifiedSubmission) -> bytes:
    """Store a checked submission, once. Returns the job's id."""
    job = submission.job
    contents: dict[str, bytes] = {
        "roster": house.trusted.roster_bytes,  # by which the job was judged: its provenance is judged by it too
        "job": job.data,
        "program": submission.program.data,
        "rounds": submission.rounds.data,
        "plan": submission.plan.data,
        "initial": submission.initial,
        **{f"graph/{name}": data for name, data in submission.graphs.items()},
    }
    if job.value.heldout:
        contents["heldout"] = submission.heldout
    bodies = {name: _append(house, data) for name, data in contents.items()}
    initial = house.objects.append_all(split_datoms(submission.initial))
    nonce, now = secrets.token_bytes(16), house.now()

    def work(connection: Connection) -> None:
        if (connection.execute(select(jobs.c.id).where(jobs.c.id == job.digest))).first() is not None:
            return
        connection.execute(
            jobs.insert().values(
                id=job.digest, name=job.value.name, nonce=nonce, run=root_run(job.digest, nonce), state="running",
                error_code="", error_line=0, rounds=_planned(job.value), initial=job.value.initial, submitted_ms=now,
            )
        )  # fmt: skip
        for name, body in bodies.items():
            insert_object(connection, body)
            connection.execute(items.insert().values(job=job.digest, name=name, object=body.id))
        connection.execute(
            models.insert().values(job=job.digest, root=job.value.initial, extents=pack_extents(initial))
        )
        detail = {"name": job.value.name, "purpose": job.value.purpose, "author": job.signer.key.hex()}
        append_entry(connection, job.digest, now, "submitted", subject=job.digest, detail=detail)
        append_event(connection, job.digest, "submitted", detail)
        house.stamp(connection)

    await house.database.write(work)
    house.feed.wake(job.digest)
    return job.digest


def _planned(job: Job) -> int | None:
    """How many rounds a job means to run, if it says so the way the packaged programs do."""
    rounds = job.args.get("rounds")
    return rounds if isinstance(rounds, int) and not isinstance(rounds, bool) and rounds >= 0 else None


def _append(house: House, data: bytes) -> StoredBody:
    writer = ObjectWriter(house.objects)
    writer.feed(data)
    return writer.finish()


def insert_object(connection: Connection, body: StoredBody) -> None:
    """Make a synced body known, inside the caller's transaction. The same bytes twice are one object."""
    row = {"id": body.id, "length": body.length, "extents": pack_extents(body.positions)}
    connection.execute(_OBJECT, row)


async def read_item(house: House, job: bytes, name: str) -> bytes:
    """One item of a stored submission.

    Raises:
        StoreError: the job has no such item.
    """
    query = (
        select(objects.c.id, objects.c.length, objects.c.extents)
        .join(items, items.c.object == objects.c.id)
        .where(items.c.job == job, items.c.name == name)
    )

    def work(connection: Connection) -> Any:
        return (connection.execute(query)).first()

    row = await house.database.read(work)
    if row is None:
        raise StoreError(f"job {job.hex()[:16]} has no item {name!r}")
    return StoredBody(house.objects, row.id, row.length, unpack_extents(row.extents)).whole()


async def load_job(house: House, job: bytes) -> JobContext:
    """Load a stored job. Its documents were verified before they were stored.

    Raises:
        StoreError: there is no such job, or an item is missing.
    """

    def work(connection: Connection) -> Any:
        return (connection.execute(select(jobs.c.run).where(jobs.c.id == job))).scalar()

    run = await house.database.read(work)
    if run is None:
        raise StoreError(f"there is no job {job.hex()[:16]}")
    documents = {name: await read_item(house, job, name) for name in _DOCUMENTS}
    payloads = {name: decode(Signed, data).payload for name, data in documents.items()}
    plan = decode(Plan, payloads["plan"])
    graphs = {f"graph/{graph.name}": await read_item(house, job, f"graph/{graph.name}") for graph in plan.graphs}
    bundle = encode(Bundle({"program": documents["program"], "plan": documents["plan"], **graphs}))
    if digest(documents["job"]) != job:
        raise StoreError(f"the stored bytes of job {job.hex()[:16]} are not that job; restore the state from a backup")
    return JobContext(
        id=job,
        signed=documents["job"],
        job=decode(Job, payloads["job"]),
        run=run,
        rounds=verify(payloads["rounds"]),
        plan=plan,
        bundle=bundle,
        shapes=trained_shapes(plan),
    )


async def keep_object(house: House, data: bytes) -> bytes:
    """Store bytes under their SHA-256, durably; returns that."""
    body = _append(house, data)

    def work(connection: Connection) -> None:
        insert_object(connection, body)

    await house.database.write(work)
    return body.id
