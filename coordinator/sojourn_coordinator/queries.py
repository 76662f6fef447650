"""What operators ask: jobs, their round tables, models, agents. Plain data, ready for JSON."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any, Final

from sojourn.datoms import BlockKind, join_datoms, pack_list
from sojourn.errors import UsageError
from sqlalchemy import Connection, func, select

from sojourn_coordinator.cancelling import CANCELLED
from sojourn_coordinator.house import House
from sojourn_coordinator.models import ModelShelf
from sojourn_coordinator.reports import read_reports
from sojourn_coordinator.store import Database
from sojourn_coordinator.store.schema import agents, evaluations, events, jobs, phases, publications

__all__ = ["UnknownObject", "agents_view", "job_view", "jobs_view", "known_job", "model_view", "parse_id"]

NO_MODEL: Final = pack_list({}, BlockKind.WEIGHT)[1]
"""Root of the initial model of a job without a model."""


class UnknownObject(UsageError):
    """There is nothing under that name."""

    code = "not_found"


def parse_id(text: str) -> bytes:
    """A job's id from its hexadecimal form.

    Raises:
        UnknownObject: it is not one.
    """
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise UnknownObject(f"{text[:80]!r} is no job; ids are 64 hexadecimal digits, see GET /v1/jobs")
    return found


async def jobs_view(database: Database) -> list[dict[str, Any]]:
    """All jobs, oldest first: id, name, state, error, and how many rounds of how many are through."""
    published = select(func.count()).where(publications.c.job == jobs.c.id).scalar_subquery()
    closed = select(func.count()).where(phases.c.job == jobs.c.id, phases.c.state == "closed").scalar_subquery()
    query = select(jobs, published.label("published"), closed.label("closed")).order_by(jobs.c.number)

    def work(connection: Connection) -> list[Any]:
        return list(connection.execute(query))

    return [_head(row, row.published, row.closed) for row in await database.read(work)]


async def job_view(database: Database, job: bytes) -> dict[str, Any]:
    """One job: state, error, current model where it has one, and its table: a row for each model and each report.

    Raises:
        UnknownObject: there is no such job.
    """
    same = (evaluations.c.job == publications.c.job) & (evaluations.c.operation == publications.c.operation)
    query = select(publications, evaluations.c.loss, evaluations.c.auc).join(evaluations, same, isouter=True)

    def work(connection: Connection) -> tuple[Any, list[Any], list[tuple[int, dict[str, Any]]], dict[str, Any]]:
        row = (connection.execute(select(jobs).where(jobs.c.id == job))).first()
        found = connection.execute(query.where(publications.c.job == job).order_by(publications.c.operation))
        return row, list(found), [] if row is None else read_reports(connection, row.run), _end(connection, job)

    row, rows, reports, end = await database.read(work)
    if row is None:
        raise UnknownObject(f"there is no job {job.hex()}; see GET /v1/jobs")
    table = [(item.operation, {**json.loads(item.summary), "loss": item.loss, "auc": item.auc}) for item in rows]
    ordered = [line for _, line in sorted([*table, *reports], key=lambda pair: pair[0])]
    head, model = _head(row, len(rows), len(reports)), rows[-1].model if rows else row.initial
    if head["error"] is not None:
        head["error"]["message"] = end.get("message", "")
    if row.state == CANCELLED:
        head["cancelled_by"] = end.get("by", "")
    return {**head, "table": ordered, **({} if model == NO_MODEL else {"model": model.hex()})}


def _end(connection: Connection, job: bytes) -> dict[str, Any]:
    """What the last event of a job that has ended says."""
    text = connection.execute(select(events.c.data).where(events.c.job == job, events.c.last)).scalar()
    found: dict[str, Any] = {} if text is None else json.loads(text)
    return found


async def model_view(house: House, job: bytes, round_: int | None) -> tuple[bytes, bytes]:
    """A published model as joined datoms, and its root.

    Args:
        house: shared resources.
        job: id of the job.
        round_: which round's model; None is the last one published, or the initial one before that.

    Raises:
        UnknownObject: there is no such job, or nothing was published in that round.
    """
    query = select(publications.c.model).where(publications.c.job == job).order_by(publications.c.operation.desc())
    if round_ is not None:
        query = query.where(publications.c.round == round_)

    def work(connection: Connection) -> tuple[bytes | None, bytes | None]:
        initial = (connection.execute(select(jobs.c.initial).where(jobs.c.id == job))).scalar()
        return initial, (connection.execute(query.limit(1))).scalar()

    initial, root = await house.database.read(work)
    if initial is None:
        raise UnknownObject(f"there is no job {job.hex()}; see GET /v1/jobs")
    if root is None and round_ is not None:
        raise UnknownObject(f"round {round_} of this job has published no model")
    chosen = root or initial
    if chosen == NO_MODEL:
        raise UnknownObject("this job has no model: what its agents released is in its table, see GET /v1/jobs/{id}")
    return join_datoms(await ModelShelf(house, job).datoms(chosen)), chosen


async def agents_view(database: Database, connected: Container[bytes]) -> list[dict[str, Any]]:
    """Agents that have ever connected, by name."""

    def work(connection: Connection) -> list[Any]:
        return list(connection.execute(select(agents).order_by(agents.c.name, agents.c.key)))

    return [
        {"name": row.name, "key": row.key.hex(), "connected": row.key in connected, "seen_ms": row.seen_ms}
        for row in await database.read(work)
    ]


def _head(row: Any, published: int, closed: int) -> dict[str, Any]:
    """A job that does not say how many rounds it means to run may publish no model: then its phases are counted.

    How many rounds it has is known when it has ended; until then it is None.
    """
    through = published if row.rounds is not None else published or closed
    error = {"code": row.error_code, "line": row.error_line} if row.error_code else None
    return {
        "id": row.id.hex(),
        "name": row.name,
        "state": row.state,
        "round": through,
        "rounds": row.rounds if row.rounds is not None or row.state == "running" else through,
        "error": error,
        "submitted_ms": row.submitted_ms,
        "ended_ms": row.ended_ms,
    }


async def known_job(database: Database, job: bytes) -> bytes:
    """The id itself.

    Raises:
        UnknownObject: there is no such job.
    """

    def work(connection: Connection) -> bool:
        return (connection.execute(select(jobs.c.id).where(jobs.c.id == job))).first() is not None

    if not await database.read(work):
        raise UnknownObject(f"there is no job {job.hex()}; see GET /v1/jobs")
    return job
