"""What has left an agent, read from its own durable records beside a running agent or without one. Changes nothing.

Rules:

* A release has left when the answer that holds it was given to the line (`offered`); one that was written down for a
  run that then failed, was cancelled or stopped has not, and is not shown.
* A number is the exact one that the answer states; of an update only its bounds and its length are shown.
* Stored outputs are compared with their digests. Nothing here shows a row, a key or why a value was what it was.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sojourn.agent.database import read_database, select_orders
from sojourn.agent.folder import AgentPaths
from sojourn.agent.orders import SCHEMA, OrderRow
from sojourn.codec import digest
from sojourn.contracts import Scalar
from sojourn.errors import StoreError, UsageError
from sojourn.privacy.entries import COLUMNS, LedgerEntry, entry_of
from sojourn.privacy.entries import SCHEMA as LEDGER

__all__ = ["Departure", "read_released"]

_TABLES: Final = {**SCHEMA, "privacy_releases": LEDGER[0]}
_LEFT: Final = "WHERE outcome='done' AND (offered_ms IS NOT NULL OR state IN ('committed', 'rejected')) ORDER BY number"
_ENTRIES: Final = (
    f"SELECT {COLUMNS}, CASE WHEN kind='update' THEN x'' ELSE output END AS output, length(output) AS size "  # noqa: S608
    "FROM privacy_releases WHERE run=? ORDER BY position"
)


@dataclass(frozen=True, slots=True)
class Departure:
    """One release that has left.

    Attributes:
        left_ms: when its answer was first given to the line, Unix milliseconds.
        job: id of the job; `sojourn job` takes it.
        job_name: as the author signed it; empty for orders of before it was kept.
        author: the roster's name of who signed the job.
        author_key: key id of that author.
        order: digest of the signed order.
        phase: of the job.
        round: of the phase.
        kind: `update`, `count`, `sum` or `mean`.
        name: the release's public name.
        mechanism: how it was bounded.
        claim: `trusted-plan`, or `private` where noise was added.
        parameters: of the mechanism, public.
        value: what a bounded number is; None for an update.
        length: bytes of the released output, before it was sealed.
        policy: digest of the policy file that admitted it.
        answer: what became of the answer: `committed` (it counts), `rejected`, `closed` or `expired` (no word that it
            was taken), or `answered` (under way).
    """

    left_ms: int
    job: bytes
    job_name: str
    author: str
    author_key: bytes
    order: bytes
    phase: str
    round: int
    kind: str
    name: str
    mechanism: str
    claim: str
    parameters: Mapping[str, Scalar]
    value: float | None = field(repr=False)
    length: int
    policy: bytes
    answer: str

    def as_json(self) -> dict[str, object]:
        """Plain data for `--json`."""
        return {
            "left_ms": self.left_ms,
            "job": self.job.hex(),
            "job_name": self.job_name,
            "author": self.author,
            "author_key": self.author_key.hex(),
            "order": self.order.hex(),
            "phase": self.phase,
            "round": self.round,
            "kind": self.kind,
            "name": self.name,
            "mechanism": self.mechanism,
            "claim": self.claim,
            "parameters": dict(self.parameters),
            "value": self.value,
            "bytes": self.length,
            "policy": self.policy.hex(),
            "answer": self.answer,
        }


def read_released(state: str | Path, job: str = "", since_ms: int = 0) -> list[Departure]:
    """What has left an agent, in the order in which it did.

    Args:
        state: the agent's state folder.
        job: name, id or beginning of the id of a job; empty for all.
        since_ms: only what left at this time or later, Unix milliseconds.

    Raises:
        ConfigError: there is no agent's state folder.
        UsageError: no order of such a job was accepted here.
        StoreError: the records cannot be read, or are damaged.
    """
    paths = AgentPaths(state)
    if not paths.database.exists():
        paths.require_enrolled()  # says how; an agent that never ran has released nothing
        return []
    found: list[Departure] = []
    runs: set[bytes] = set()
    with read_database(paths.database, _TABLES) as db:
        db.execute("BEGIN")  # one state of orders and ledger
        if job:
            _check_job(db, job)
        for order in select_orders(db, _LEFT, ()):
            if order.run in runs:  # another custody of the run answers with the same releases
                continue
            runs.add(order.run)
            if _is_of(order, job) and _left_ms(order) >= since_ms:
                found += _of_run(db, order, paths.root / "released")
    return sorted(found, key=lambda one: one.left_ms)


def _left_ms(order: OrderRow) -> int:
    return order.offered_ms or order.finished_ms


def _is_of(order: OrderRow, job: str) -> bool:
    return not job or order.job_name == job or order.job.hex().startswith(job.lower())


def _check_job(db: sqlite3.Connection, job: str) -> None:
    orders = select_orders(db, "ORDER BY number", ())
    if not any(_is_of(order, job) for order in orders):
        known = dict.fromkeys(f"{order.job_name!r} ({order.job.hex()[:12]})" for order in orders)
        raise UsageError(f"no order of a job {job!r} was accepted here; jobs: {', '.join(known) or 'none yet'}")


def _of_run(db: sqlite3.Connection, order: OrderRow, outputs: Path) -> list[Departure]:
    cursor = db.cursor()
    cursor.row_factory = sqlite3.Row
    found: list[Departure] = []
    for row in cursor.execute(_ENTRIES, (order.run,)):
        entry = entry_of(row, row["output"] or b"")
        length = row["size"] if row["size"] is not None else _file_size(outputs / entry.digest.hex())
        found.append(_departure(order, entry, length))
    return found


def _departure(order: OrderRow, entry: LedgerEntry, length: int) -> Departure:
    return Departure(
        left_ms=_left_ms(order),
        job=order.job,
        job_name=order.job_name,
        author=order.author,
        author_key=order.author_key,
        order=order.digest,
        phase=order.phase,
        round=order.round,
        kind=entry.kind,
        name=entry.name,
        mechanism=entry.mechanism,
        claim=entry.claim,
        parameters=entry.parameters,
        value=None if entry.kind == "update" else _value(entry),
        length=length,
        policy=entry.policy,
        answer=order.state,
    )


def _value(entry: LedgerEntry) -> float:
    if len(entry.output) != 8 or digest(entry.output) != entry.digest:
        raise StoreError(
            f"the privacy ledger's {entry.kind} {entry.name!r} of run {entry.run.hex()[:16]} is damaged; restore the "
            "state folder from a backup"
        )
    (value,) = struct.unpack(">d", entry.output)
    return float(value)


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as problem:
        raise StoreError(f"the stored output {path} cannot be read: {problem.strerror}") from None
