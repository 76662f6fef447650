"""The append-only ledger: one hash chain for each job.

Rules:

* An entry is a canonical record; its digest is the SHA-256 of its exact bytes, and the next entry holds that digest.
  Nothing is ever updated or deleted.
* An entry is appended in the transaction that commits what it tells of.
* Documents stand in the ledger by digest; the documents themselves are in the tables and in an export.
* Misbehaviour of a peer is an entry of kind `refused`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from sojourn.codec import Kind, Record, decode, digest, encode
from sojourn.contracts import Scalar
from sojourn.errors import StoreError
from sqlalchemy import Connection, select

from sojourn_coordinator.store.schema import ledger

__all__ = ["LedgerEntry", "append_entry", "entry_line", "read_entries", "verify_chain"]

_FIRST: Final = bytes(32)


class LedgerEntry(Record, frozen=True):
    """One statement of the coordinator about a job.

    Attributes:
        job: SHA-256 of the exact signed job.
        sequence: 0, 1, … without a gap.
        previous: digest of the entry before; 32 zero bytes for the first.
        time_ms: the coordinator's time, which never goes back.
        kind: submitted, opened, declined, answered, refused, closed, missed, published, evaluated, done or failed.
        agent: key id of the agent concerned; empty for none.
        subject: digest of the document concerned; empty for none.
        detail: public facts.
    """

    KIND: ClassVar[int] = Kind.LEDGER
    job: bytes
    sequence: int
    previous: bytes
    time_ms: int
    kind: str
    agent: bytes
    subject: bytes
    detail: dict[str, Scalar]


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
    newest = select(ledger.c.sequence, ledger.c.digest).where(ledger.c.job == job)
    last = (connection.execute(newest.order_by(ledger.c.sequence.desc()).limit(1))).first()
    sequence, previous = (0, _FIRST) if last is None else (last.sequence + 1, last.digest)
    entry = LedgerEntry(job, sequence, previous, time_ms, kind, agent, subject, dict(detail or {}))
    data = encode(entry)
    connection.execute(ledger.insert().values(job=job, sequence=sequence, digest=digest(data), entry=data))
    return entry


def read_entries(connection: Connection, job: bytes) -> list[bytes]:
    """The job's entries in order, exact bytes."""
    rows = connection.execute(select(ledger.c.entry).where(ledger.c.job == job).order_by(ledger.c.sequence))
    return [row.entry for row in rows]


def verify_chain(entries: Iterable[bytes]) -> list[LedgerEntry]:
    """Decode a job's entries and check that each one continues the chain.

    Raises:
        StoreError: an entry was changed, left out or put in another place; the message names it.
    """
    found: list[LedgerEntry] = []
    previous = _FIRST
    for number, data in enumerate(entries):
        entry = decode(LedgerEntry, data)
        if entry.sequence != number or entry.previous != previous:
            raise StoreError(f"ledger entry {number} does not continue the chain; restore the database from a backup")
        previous = digest(data)
        found.append(entry)
    return found


def entry_line(data: bytes) -> str:
    """One line of `ledger.jsonl`: the entry in readable form, its exact bytes and their digest, in hexadecimal."""
    entry = decode(LedgerEntry, data)
    return json.dumps(
        {
            "sequence": entry.sequence,
            "time_ms": entry.time_ms,
            "kind": entry.kind,
            "agent": entry.agent.hex(),
            "subject": entry.subject.hex(),
            "detail": entry.detail,
            "previous": entry.previous.hex(),
            "digest": digest(data).hex(),
            "bytes": data.hex(),
        },
        sort_keys=True,
    )
