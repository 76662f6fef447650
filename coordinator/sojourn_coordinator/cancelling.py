"""Ending a job because an operator says so.

Rules:

* One transaction ends it: state, open phases, ledger entry and last event. Before it nothing is cancelled: a
  coordinator that is killed there goes on with the job. After it nothing of the job goes on, in no life of it.
* A job that has ended stays what it is: cancelling it again is no second entry, and what is done or failed cannot be
  cancelled any more.
* The operators of a coordinator share one token, so `by` is what they say of themselves. It is recorded, not verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sojourn.contracts import Scalar
from sojourn.errors import UsageError
from sqlalchemy import Connection, select, update

from sojourn_coordinator.feed import append_event
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.store.schema import jobs, phases

__all__ = ["CANCELLED", "Cancelled", "JobEnded", "cancel_rows", "check_name"]

CANCELLED: Final = "cancelled"
_MAX_NAME: Final = 100  # characters of `by`


class JobEnded(UsageError):
    """The job is done or has failed: there is nothing to cancel."""

    code = "ended"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a request to cancel came to.

    Attributes:
        new: this request ended the job; False where it had been cancelled before.
        ended_ms: when the job was cancelled.
    """

    new: bool
    ended_ms: int


def check_name(by: str) -> str:
    """Who cancels, as it goes into the ledger.

    Raises:
        UsageError: empty, too long, or with characters that are not printable.
    """
    if not by or len(by) > _MAX_NAME or not by.isprintable():
        raise UsageError(f"say who cancels: a name of 1 to {_MAX_NAME} printable characters, for example alice")
    return by


def cancel_rows(connection: Connection, job: bytes, now_ms: int, by: str) -> Cancelled:
    """End a running job, inside the caller's transaction.

    Args:
        connection: of the writer.
        job: id of a job that is stored.
        now_ms: Unix milliseconds.
        by: see `check_name`.

    Raises:
        JobEnded: it is done or has failed.
    """
    row = connection.execute(select(jobs.c.state, jobs.c.ended_ms).where(jobs.c.id == job)).one()
    if row.state == CANCELLED:
        return Cancelled(False, row.ended_ms)
    if row.state != "running":
        how = "is done" if row.state == "done" else "has failed"
        raise JobEnded(f"job {job.hex()[:16]} {how}, there is nothing to cancel; `sojourn job` shows it")
    detail: dict[str, Scalar] = {"by": by}
    connection.execute(update(jobs).where(jobs.c.id == job).values(state=CANCELLED, ended_ms=now_ms))
    left = update(phases).where(phases.c.job == job, phases.c.state == "open")
    connection.execute(left.values(state=CANCELLED, remaining_ms=0))
    append_entry(connection, job, now_ms, CANCELLED, detail=detail)
    append_event(connection, job, CANCELLED, detail, last=True)
    return Cancelled(True, now_ms)
