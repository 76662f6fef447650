"""Phases of an export that missed their quorum, and how its job ended: what the verified ledger says.

Rules of this module:

* Nothing of such a phase counts, so nothing of it is signed but the ledger that tells of it.
* An agent is named by its own entry where the export holds it, and that has to verify; else only its key is known.
"""

from __future__ import annotations

from collections.abc import Iterator

from sojourn.client.provenance.archive import Archive
from sojourn.client.provenance.documents import Documents
from sojourn.client.provenance.ledger import LINES, Ledger
from sojourn.client.provenance.results import Heard, MissedTrace
from sojourn.contracts import Job, LedgerEntry, Scalar
from sojourn.errors import ProvenanceBroken

__all__ = ["ending_of", "missed_phases"]

_ENDS = ("done", "failed", "cancelled")


def ending_of(ledger: Ledger) -> tuple[str, dict[str, Scalar]]:
    """State of the job by the ledger's last entry, and what that says; `running` where it tells of no end."""
    last = ledger.entries[-1]
    return (last.kind, dict(last.detail)) if last.kind in _ENDS else ("running", {})


def missed_phases(archive: Archive, documents: Documents, ledger: Ledger, job: Job) -> Iterator[MissedTrace]:
    """Phases without a quorum, oldest first.

    Raises:
        ProvenanceBroken: names the ledger, or the entry of an agent that does not verify.
    """
    quorums = {phase.name: phase.quorum for phase in job.phases}
    opened: LedgerEntry | None = None
    heard: dict[bytes, LedgerEntry] = {}
    for entry in ledger.entries:  # phases of a job follow each other
        if entry.kind == "opened":
            opened, heard = entry, {}
        elif entry.kind in {"answered", "declined"}:
            heard[entry.agent] = entry
        elif entry.kind == "missed":
            yield _missed(archive, documents, quorums, opened, entry, heard)


def _missed(
    archive: Archive,
    documents: Documents,
    quorums: dict[str, int],
    opened: LedgerEntry | None,
    entry: LedgerEntry,
    heard: dict[bytes, LedgerEntry],
) -> MissedTrace:
    name, number = entry.detail.get("phase"), entry.detail.get("round")
    invited = None if opened is None else opened.detail.get("participants")
    if not isinstance(name, str) or name not in quorums or not isinstance(number, int) or not isinstance(invited, int):
        raise ProvenanceBroken(LINES, f"entry {entry.sequence} misses a phase that the job does not have or open")
    said = tuple(_heard(archive, documents, key, each) for key, each in heard.items())
    return MissedTrace(number, name, quorums[name], invited, said)


def _heard(archive: Archive, documents: Documents, key: bytes, entry: LedgerEntry) -> Heard:
    known = f"agents/{key.hex()}.entry" in archive.names
    name = documents.agent(key).name if known else ""
    outcome = str(entry.detail.get("outcome", "declined"))
    state = "answered" if outcome == "done" else outcome
    return Heard(name, key.hex(), state, str(entry.detail.get("code", "")))
