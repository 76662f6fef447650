"""The privacy ledger: what left this host, written down before it leaves.

Rules of this module (DESIGN.md section 7):

* One SQLite transaction, fully synced, holds debit, occurrence, policy digest and the exact output. An output that is
  too large for a row lies in a file, named by its digest and synced before the transaction; the row holds the digest.
* An occurrence is recorded once. Recording the same output again returns the stored entry, whose bytes are resent: a
  re-dispatch is never a new draw. Another output for it is kept as misbehaviour and raises `ReleaseConflict`.
* Rows are only ever added. Stored bytes are compared with their digest whenever they are read.
* Time is passed in. A connection is used by one thread at a time, as its owner arranges.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sojourn.codec import DIGEST_BYTES, digest
from sojourn.contracts import Occurrence, Released
from sojourn.errors import ReleaseConflict, StoreError, UsageError
from sojourn.privacy.entries import COLUMNS, SCHEMA, LedgerConflict, LedgerEntry, entry_of
from sojourn.privacy.outputs import OutputFolder

__all__ = ["INLINE_OUTPUT_BYTES", "PrivacyLedger"]

INLINE_OUTPUT_BYTES: Final = 1024 * 1024  # larger outputs lie in a file beside the database, at three syncs more


class PrivacyLedger:
    """The releases of one agent.

    Args:
        database: path of a SQLite file, made if needed; or an open connection, which stays the caller's to close.
        bodies: folder of large outputs, made if needed. Default: `<database>.bodies` beside the file; a connection
            without a folder takes small outputs only.

    Raises:
        StoreError: the database cannot be opened.
        UsageError: the connection is in the middle of a transaction.
    """

    def __init__(self, database: str | Path | sqlite3.Connection, bodies: str | Path | None = None) -> None:
        self._owned = not isinstance(database, sqlite3.Connection)
        if isinstance(database, sqlite3.Connection):
            self._connection = database
        else:
            bodies = bodies if bodies is not None else f"{database}.bodies"
            self._connection = _open(Path(database))
        self._bodies = OutputFolder(Path(bodies)) if bodies is not None else None
        if self._connection.in_transaction:
            raise UsageError("the connection given to the privacy ledger is in a transaction; commit it first")
        with _as_store_error("prepared"), contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._connection.execute("PRAGMA synchronous = FULL")
            for statement in SCHEMA:
                self._connection.execute(statement)
            undo.pop_all()

    def record(
        self,
        run: bytes,
        statement: Released,
        output: bytes,
        *,
        sources: tuple[str, ...],
        now_ms: int,
        epsilon: float | None = None,
        delta: float | None = None,
    ) -> LedgerEntry:
        """Write a release down, durably, before any byte of it leaves.

        Args:
            run: of the occurrence, 32 bytes; the operation is the statement's.
            statement: what the signed answer will say.
            output: the exact bytes that may leave (`Release.output`).
            sources: the private streams behind the payload.
            now_ms: the caller's clock.
            epsilon: the debit of a mechanism with noise.
            delta: likewise.

        Returns:
            The stored entry, with the stored output: what is sent. On a re-dispatch it is that of the first time.

        Raises:
            ReleaseConflict: the occurrence was recorded with another output, kind or name. Nothing may be sent.
            StoreError: the disk or the database failed, or a stored output is damaged. Nothing may be sent.
            UsageError: the connection is in the middle of a transaction, or the output is too large without a folder.
        """
        connection = self._connection
        if connection.in_transaction:
            raise UsageError("a release is recorded in a transaction of its own; commit the open one first")
        if len(run) != DIGEST_BYTES:
            raise UsageError(f"a run has {DIGEST_BYTES} bytes, this has {len(run)}")
        found = digest(output)
        stored = self.find(Occurrence(run, statement.operation))
        if stored is None:
            inline = output if len(output) <= INLINE_OUTPUT_BYTES else None
            if inline is None:
                self._folder().keep(found, output)
            self._insert(run, statement, found, inline, sources, now_ms, epsilon, delta)
            stored = self._entry(Occurrence(run, statement.operation))
        if (stored.digest, stored.kind, stored.name) != (found, statement.kind, statement.name):
            self._refuse(stored, statement, found, now_ms)
        return stored

    def find(self, occurrence: Occurrence) -> LedgerEntry | None:
        """What was recorded for an occurrence, with its exact output; None if nothing was.

        A mechanism that draws noise looks here first, so that nothing is drawn twice.

        Raises:
            StoreError: the stored output is missing or damaged.
        """
        rows = self._rows(
            f"SELECT {COLUMNS}, output FROM privacy_releases WHERE run = ? AND operation = ?",  # noqa: S608
            (occurrence.run, occurrence.operation),
        )
        if not rows:
            return None
        row = rows[0]
        output: bytes = row["output"] if row["output"] is not None else self._folder().fetch(row["output_digest"])
        if digest(output) != row["output_digest"]:
            raise StoreError(
                f"privacy ledger: the stored output of operation {occurrence.operation} is damaged; restore it from a "
                "backup, nothing is released for this occurrence meanwhile"
            )
        return entry_of(row, output)

    def released(self, run: bytes | None = None) -> list[LedgerEntry]:
        """What has left, oldest first, without the outputs.

        Args:
            run: only that of this run.
        """
        where, values = ("", ()) if run is None else (" WHERE run = ?", (run,))
        rows = self._rows(f"SELECT {COLUMNS} FROM privacy_releases{where} ORDER BY position", values)  # noqa: S608
        return [entry_of(row, b"") for row in rows]

    def conflicts(self) -> list[LedgerConflict]:
        """Second outputs that were refused, oldest first."""
        rows = self._rows(
            "SELECT run, operation, kind, name, recorded_digest, offered_digest, noticed_ms "
            "FROM privacy_conflicts ORDER BY position"
        )
        return [LedgerConflict(*row) for row in rows]

    def close(self) -> None:
        """Close the database if the ledger opened it."""
        if self._owned:
            self._connection.close()

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        with _as_store_error("read"):
            cursor = self._connection.cursor()
            cursor.row_factory = sqlite3.Row
            return cursor.execute(statement, values).fetchall()

    def _folder(self) -> OutputFolder:
        if self._bodies is None:
            raise UsageError(
                f"an output of more than {INLINE_OUTPUT_BYTES} bytes lies in a file; give the privacy ledger its folder"
            )
        return self._bodies

    def _entry(self, occurrence: Occurrence) -> LedgerEntry:
        entry = self.find(occurrence)
        if entry is None:
            raise StoreError("privacy ledger: a release is missing right after it was committed; check the disk")
        return entry

    def _insert(
        self,
        run: bytes,
        statement: Released,
        found: bytes,
        inline: bytes | None,
        sources: tuple[str, ...],
        now_ms: int,
        epsilon: float | None,
        delta: float | None,
    ) -> None:
        values = (
            run,
            statement.operation,
            statement.kind,
            statement.name,
            statement.mechanism,
            statement.claim,
            json.dumps(statement.parameters, sort_keys=True),
            json.dumps(sorted(sources)),
            epsilon,
            delta,
            statement.policy,
            found,
            now_ms,
            inline,
        )
        marks = ", ".join("?" * len(values))
        with self._transaction():
            # Another connection may have recorded the occurrence since it was looked up: the first one counts.
            self._connection.execute(
                f"INSERT INTO privacy_releases ({COLUMNS}, output) VALUES ({marks}) "  # noqa: S608
                "ON CONFLICT (run, operation) DO NOTHING",
                values,
            )

    def _refuse(self, stored: LedgerEntry, statement: Released, offered: bytes, now_ms: int) -> None:
        with self._transaction():
            self._connection.execute(
                "INSERT INTO privacy_conflicts "
                "(run, operation, kind, name, recorded_digest, offered_digest, noticed_ms) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (stored.run, stored.operation, statement.kind, statement.name, stored.digest, offered, now_ms),
            )
        raise ReleaseConflict(
            f"operation {stored.operation} of run {stored.run.hex()[:16]} already released {stored.kind} "
            f"{stored.name!r}; another output was offered for it as {statement.kind} {statement.name!r}, and is kept "
            "back. This is a defect or an attack: do not resend, look at the owner's log"
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _as_store_error("written"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    with _as_store_error("opened"):
        connection = sqlite3.connect(path, isolation_level=None)
        with contextlib.ExitStack() as undo:
            undo.callback(connection.close)
            connection.execute("PRAGMA journal_mode = WAL")
            undo.pop_all()
        return connection


@contextlib.contextmanager
def _as_store_error(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        raise StoreError(f"privacy ledger: it cannot be {what}: {problem}; nothing was released") from None
