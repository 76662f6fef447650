"""The append-only ledger: one hash chain for each job.

Rules:

* An entry is a canonical record; its digest is the SHA-256 of its exact bytes, and the next entry holds that digest.
  Nothing is ever updated or deleted.
* An entry is appended in the transaction that commits what it tells of.
* Documents stand in the ledger by digest; the documents themselves are in the tables and in an export.
* Misbehaviour of a peer is an entry of kind `refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sojourn.codec import digest, encode
from sojourn.contracts import LedgerEntry, Scalar
from sojourn.contracts.ledger import FIRST_PREVIOUS
from sqlalchemy import Connection, bindparam, select

from sojourn_coordinator.store.schema import ledger

__all__ = ["append_entry", "read_entries"]

# Statements on the path of every answer are built once: building one costs more than running it.
_NEWEST: Final = (
    select(ledger.c.sequence, ledger.c.digest)
    .where(ledger.c.job == bindparam("of"))
    .order_by(ledger.c.sequence.desc())
    .limit(1)
)


def append_entry(
    connection: Connection,
    job: bytes,
    time_ms: int,
    kind: str,
    *,
    agent: bytes = b"",
    subject: bytes = b"",
    detail: Mapping[str, Scalar] | None = None,
) -> LedgerEntry:
    """Append one entry to the job's chain, inside the caller's transaction."""
    last = connection.execute(_NEWEST, {"of": job}).first()
    sequence, previous = (0, FIRST_PREVIOUS) if last is None else (last.sequence + 1, last.digest)
    entry = LedgerEntry(job, sequence, previous, time_ms, kind, agent, subject, dict(detail or {}))
    data = encode(entry)
    connection.execute(ledger.insert(), {"job": job, "sequence": sequence, "digest": digest(data), "entry": data})
    return entry


def read_entries(connection: Connection, job: bytes) -> list[bytes]:
    """The job's entries in order, exact bytes."""
    rows = connection.execute(select(ledger.c.entry).where(ledger.c.job == job).order_by(ledger.c.sequence))
    return [row.entry for row in rows]
