"""The coordinator's ledger of one job: a hash chain of entries, and the signed statement of where it stands.

An entry names the SHA-256 of the one before, so that nothing can be left out, put in or moved without changing every
later digest; a signed head fixes the last one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import ClassVar, Final

from sojourn.codec import DIGEST_BYTES, Kind, Record, decode, digest
from sojourn.contracts.jobs import Scalar
from sojourn.errors import DecodeError

__all__ = ["FIRST_PREVIOUS", "LedgerEntry", "LedgerHead", "entry_line", "verify_chain"]

FIRST_PREVIOUS: Final = bytes(DIGEST_BYTES)


class LedgerEntry(Record, frozen=True):
    """One statement of the coordinator about a job.

    Attributes:
        job: SHA-256 of the exact signed job.
        sequence: 0, 1, … without a gap.
        previous: digest of the entry before; 32 zero bytes for the first.
        time_ms: the coordinator's time, which never goes back.
        kind: submitted, opened, declined, answered, refused, closed, missed, published, evaluated, note, done or
            failed.
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


class LedgerHead(Record, frozen=True):
    """Signed by the coordinator when it shows a ledger: how long it is, and the digest of its last entry."""

    KIND: ClassVar[int] = Kind.LEDGER_HEAD
    suite: int
    job: bytes  # SHA-256 of the exact signed job bytes
    entries: int
    head: bytes  # digest of the last entry; 32 zero bytes of an empty ledger


def verify_chain(entries: Iterable[bytes]) -> list[LedgerEntry]:
    """Decode a job's entries and check that each one continues the chain.

    Raises:
        DecodeError: an entry was changed, left out or put in another place; the message names it.
    """
    found: list[LedgerEntry] = []
    previous = FIRST_PREVIOUS
    for number, data in enumerate(entries):
        entry = decode(LedgerEntry, data)
        if entry.sequence != number or entry.previous != previous:
            raise DecodeError("digest", f"ledger entry {number} does not continue the chain")
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
