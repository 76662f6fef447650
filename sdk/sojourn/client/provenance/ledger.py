"""The ledger of an export: the lines of `ledger.jsonl`, chained, and fixed by the signed head."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sojourn.client.provenance.archive import Archive, must, naming
from sojourn.client.provenance.documents import Documents
from sojourn.codec import digest, encode
from sojourn.contracts import Entry, Job, LedgerEntry, entry_line, verify_chain
from sojourn.contracts.ledger import FIRST_PREVIOUS
from sojourn.crypto.verified import Verified
from sojourn.errors import DecodeError, ProvenanceBroken

__all__ = ["HEAD", "LINES", "Ledger", "read_ledger"]

HEAD = "ledger.signed"
LINES = "ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Ledger:
    """A verified ledger.

    Attributes:
        entries: in order.
        coordinator: who signed the head.
        published: entries of published models, oldest first, each with the number of its round.
        evaluated: digests of the evaluations.
        closed: for each closure, what was answered in its phase: digest of the answer and whether it is done, by key.
    """

    entries: tuple[LedgerEntry, ...]
    coordinator: Entry
    published: tuple[tuple[int, LedgerEntry], ...]
    evaluated: Mapping[int, bytes]
    closed: Mapping[bytes, Mapping[bytes, tuple[bytes, bool]]]


def read_ledger(archive: Archive, documents: Documents, job: Verified[Job]) -> Ledger:
    """Read and verify the ledger of `job`.

    Raises:
        ProvenanceBroken: names `ledger.signed` or `ledger.jsonl`.
    """
    head = documents.ledger_head()
    must(HEAD, head.value.job == job.digest, "is the ledger's head of another job")
    with naming(LINES):
        entries = verify_chain(_entries(archive[LINES]))
    shown = (len(entries), digest(encode(entries[-1])) if entries else FIRST_PREVIOUS)
    must(LINES, shown == (head.value.entries, head.value.head), "is not the ledger that the coordinator signed")
    must(LINES, bool(entries), "is empty")
    must(LINES, all(entry.job == job.digest for entry in entries), "has an entry of another job")
    must(LINES, (entries[0].kind, entries[0].subject) == ("submitted", job.digest), "does not begin with the job")
    published = tuple((_round(entry), entry) for entry in entries if entry.kind == "published")
    evaluated = {_round(entry): entry.subject for entry in entries if entry.kind == "evaluated"}
    return Ledger(tuple(entries), head.signer, published, evaluated, _closed(entries))


def _round(entry: LedgerEntry) -> int:
    number = entry.detail.get("round")
    if not isinstance(number, int) or number < 0:
        raise ProvenanceBroken(LINES, f"entry {entry.sequence} names no round")
    return number


def _closed(entries: Iterable[LedgerEntry]) -> dict[bytes, dict[bytes, tuple[bytes, bool]]]:
    """Phases of a job follow each other, so a phase's answers stand between its opening and its closing."""
    closed: dict[bytes, dict[bytes, tuple[bytes, bool]]] = {}
    answers: dict[bytes, tuple[bytes, bool]] = {}
    for entry in entries:
        if entry.kind == "opened":
            answers = {}
        elif entry.kind == "answered":
            answers[entry.agent] = (entry.subject, entry.detail.get("outcome") == "done")
        elif entry.kind == "closed":
            closed[entry.subject] = answers
    return closed


def _entries(data: bytes) -> Iterator[bytes]:
    """The exact bytes of each entry; what a line says in readable form is what those bytes say."""
    *lines, _ = data.split(b"\n")  # a last line that does not end is none, which the signed head tells
    for number, line in enumerate(lines):
        try:
            entry = bytes.fromhex(json.loads(line)["bytes"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DecodeError("schema", f"line {number + 1} is not a ledger entry") from None
        if entry_line(entry).encode() != line:
            raise DecodeError("canonical", f"line {number + 1} does not say what the entry's bytes say")
        yield entry
