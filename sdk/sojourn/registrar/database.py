"""The registrar's SQLite file: tables, their versions, and the one way to change them.

Rules:

* Every change is one transaction that holds the write lock from its start, with full sync.
* A file of an older version is brought up to date when it is opened; of a newer one it is refused, unchanged.
* Time never goes back: the highest that was seen is kept.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sojourn.errors import StateVersion, StoreError

__all__ = ["SCHEMA_VERSION", "advance", "connect", "transaction"]

SCHEMA_VERSION: Final = 2
BUSY_TIMEOUT_S: Final = 15.0

_STEPS: Final = (
    """
CREATE TABLE tokens (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_ms INTEGER,
    agent BLOB,
    keys BLOB,
    entry BLOB,
    certificate BLOB
) STRICT;
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), highest_ms INTEGER NOT NULL) STRICT;
INSERT INTO clock VALUES (1, 0);
""",
    """
ALTER TABLE tokens ADD COLUMN replaces BLOB;
ALTER TABLE tokens ADD COLUMN superseded_ms INTEGER;
""",
)
"""What leads from each version to the next. `replaces` is the key id of the agent that a token may supersede."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database at `path`; make it, readable by its owner only, if there is none.

    Raises:
        StateVersion: written by a newer version.
        StoreError: it cannot be opened.
    """
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    try:
        database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        _migrate(database, path)
    except sqlite3.DatabaseError as problem:
        raise StoreError(f"{path} cannot be opened: {problem}") from None
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One transaction with the write lock from its start; rolled back on any error.

    Raises:
        StoreError: the lock cannot be had.
    """
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as problem:
        raise StoreError(f"the registrar's database cannot be written: {problem}") from None
    try:
        yield database
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def advance(database: sqlite3.Connection, clock_ms: int) -> int:
    """The registrar's time: the higher of the clock and the highest seen, kept."""
    highest = int(database.execute("SELECT highest_ms FROM clock").fetchone()[0])
    now = max(clock_ms, highest)
    if now > highest:
        database.execute("UPDATE clock SET highest_ms = ?", (now,))
    return now


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    database.execute("BEGIN IMMEDIATE")
    with closing(database.execute("PRAGMA user_version")) as cursor:
        version = cursor.fetchone()[0]
    if version > SCHEMA_VERSION:
        database.close()
        raise StateVersion(f"{path} has version {version}; this program reads {SCHEMA_VERSION}: update it")
    for step in _STEPS[version:]:
        for statement in step.split(";"):
            if statement.strip():
                database.execute(statement)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    database.execute("COMMIT")
