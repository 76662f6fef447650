"""What the privacy ledger's rows are: their tables, and the objects made of them.

Rules of this module:

* A row's meaning never changes: a new column has a default that says what older rows meant.
* `epsilon` and `delta` are NULL where no guarantee is claimed. That is not a debit of zero.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Final

from sojourn.contracts import Scalar

__all__ = ["COLUMNS", "SCHEMA", "LedgerConflict", "LedgerEntry", "entry_of"]

SCHEMA: Final = (
    """
    CREATE TABLE IF NOT EXISTS privacy_releases (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        run BLOB NOT NULL,
        operation INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        mechanism TEXT NOT NULL,
        claim TEXT NOT NULL,
        parameters TEXT NOT NULL,
        sources TEXT NOT NULL,
        epsilon REAL,
        delta REAL,
        policy BLOB NOT NULL,
        output_digest BLOB NOT NULL,
        output BLOB,
        recorded_ms INTEGER NOT NULL,
        UNIQUE (run, operation)
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS privacy_conflicts (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        run BLOB NOT NULL,
        operation INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        recorded_digest BLOB NOT NULL,
        offered_digest BLOB NOT NULL,
        noticed_ms INTEGER NOT NULL
    ) STRICT
    """,
)
COLUMNS: Final = (
    "run, operation, kind, name, mechanism, claim, parameters, sources, epsilon, delta, policy, output_digest, "
    "recorded_ms"
)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One release that was written down.

    Attributes:
        run: of the occurrence, 32 bytes.
        operation: of the occurrence.
        kind: `update`, `count`, `sum` or `mean`.
        name: the release's public name.
        mechanism: how the value was bounded.
        claim: `trusted-plan`, or `private` where noise was added.
        parameters: public parameters of the mechanism.
        sources: the private streams that the payload depended on, `"owner/stream"`, sorted.
        epsilon: the debit; None where no guarantee is claimed (`trusted-plan`), which is not zero.
        delta: likewise.
        policy: digest of the policy file that admitted it.
        digest: SHA-256 of the exact output.
        recorded_ms: when, by the caller's clock.
        output: the exact bytes; empty in a listing.
    """

    run: bytes
    operation: int
    kind: str
    name: str
    mechanism: str
    claim: str
    parameters: dict[str, Scalar]
    sources: tuple[str, ...]
    epsilon: float | None
    delta: float | None
    policy: bytes
    digest: bytes
    recorded_ms: int
    output: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class LedgerConflict:
    """A second output that was offered for a recorded occurrence, and refused."""

    run: bytes
    operation: int
    kind: str
    name: str
    recorded: bytes
    offered: bytes
    noticed_ms: int


def entry_of(row: sqlite3.Row, output: bytes) -> LedgerEntry:
    """The entry that a row of `COLUMNS` holds, with its exact output or with none."""
    return LedgerEntry(
        run=row["run"],
        operation=row["operation"],
        kind=row["kind"],
        name=row["name"],
        mechanism=row["mechanism"],
        claim=row["claim"],
        parameters=json.loads(row["parameters"]),
        sources=tuple(json.loads(row["sources"])),
        epsilon=row["epsilon"],
        delta=row["delta"],
        policy=row["policy"],
        digest=row["output_digest"],
        recorded_ms=row["recorded_ms"],
        output=output,
    )
