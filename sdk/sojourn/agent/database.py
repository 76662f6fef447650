"""`agent.db`: what an agent must remember of orders, in SQLite (WAL, full sync).

Rules:

* Every method is one transaction, durable when it returns, but for `finish`, which says why.
* An order is *held* from acceptance until its answer is committed, closed or rejected; while it is held its sealed
  envelope, and later its sealed answer, are kept as they are.
* A seen order is remembered until it expires by the highest time ever seen; that time only grows. So does the highest
  sequence of each issuer.
* The privacy ledger has tables of its own in the same file (see `sojourn.privacy.ledger`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sojourn.errors import StoreError

__all__ = ["AgentDatabase", "OrderRow", "OrderState", "Totals", "read_orders"]

OrderState = Literal["running", "answered", "committed", "closed", "rejected", "expired"]

_BUSY_SECONDS: Final = 10.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), highest_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seen (
    issuer BLOB NOT NULL, digest BLOB NOT NULL, sequence INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
    PRIMARY KEY (issuer, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_sequence ON seen (issuer, sequence);
CREATE TABLE IF NOT EXISTS sequences (issuer BLOB PRIMARY KEY, highest INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE, run BLOB NOT NULL, epoch INTEGER NOT NULL, job BLOB NOT NULL,
    coordinator BLOB NOT NULL, phase TEXT NOT NULL, round INTEGER NOT NULL, weights BLOB NOT NULL,
    bundle BLOB NOT NULL, envelope BLOB, accepted_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
    state TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '',
    line INTEGER NOT NULL DEFAULT 0, effects INTEGER NOT NULL DEFAULT 0, resumed INTEGER NOT NULL DEFAULT 0,
    recomputed INTEGER NOT NULL DEFAULT 0, restarts INTEGER NOT NULL DEFAULT 0, packet BLOB, body BLOB,
    body_length INTEGER NOT NULL DEFAULT 0, sealed BLOB, finished_ms INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS orders_state ON orders (state);
CREATE INDEX IF NOT EXISTS orders_run ON orders (run);
"""
_COLUMNS: Final = (
    "digest, run, epoch, job, coordinator, phase, round, weights, bundle, envelope, accepted_ms, expires_ms, state, "
    "outcome, code, line, effects, resumed, recomputed, restarts, packet, body, body_length, sealed, finished_ms"
)


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One accepted order and what became of it. Times are in ms; `envelope` and `packet` are kept while held."""

    digest: bytes
    run: bytes
    epoch: int
    job: bytes
    coordinator: bytes
    phase: str
    round: int
    weights: bytes  # id of the sealed body
    bundle: bytes  # id of the sealed body
    envelope: bytes | None
    accepted_ms: int
    expires_ms: int
    state: OrderState
    outcome: str = ""
    code: str = ""
    line: int = 0
    effects: int = 0
    resumed: int = 0
    recomputed: int = 0
    restarts: int = 0
    packet: bytes | None = None
    body: bytes | None = None
    body_length: int = 0
    sealed: bytes | None = None  # the sealed body, unless it lies in the outbox
    finished_ms: int = 0

    def __repr__(self) -> str:
        return f"OrderRow({self.digest.hex()[:16]}, {self.phase!r}, round {self.round}, {self.state})"


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all runs: what restarts saved, and what they cost."""

    effects_resumed: int
    effects_recomputed: int
    restarts: int


class AgentDatabase:
    """The store behind one agent. Safe to call from several threads.

    Args:
        path: `agent.db`.

    Raises:
        StoreError: the file cannot be opened or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as problem:
            raise StoreError(f"{path}: {problem}; restore the file from a backup of the state folder") from None

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # What `sojourn.crypto.ReplayStore` asks for

    def highest_time(self) -> int:
        """The highest time ever stored here, Unix milliseconds; 0 at first."""
        with self._lock:
            row = self._db.execute("SELECT highest_ms FROM clock").fetchone()
        return int(row[0]) if row else 0

    def raise_time(self, now_ms: int) -> None:
        """Remember a time; an older one changes nothing."""
        with self._transaction() as db:
            _advance(db, now_ms)

    def seen(self, issuer: bytes, digest: bytes) -> bool:
        """Whether this order of this issuer was accepted before and has not expired since."""
        with self._lock:
            found = self._db.execute("SELECT 1 FROM seen WHERE issuer=? AND digest=?", (issuer, digest)).fetchone()
        return found is not None

    def digest_at(self, issuer: bytes, sequence: int) -> bytes | None:
        """The order remembered under this sequence number, if any."""
        with self._lock:
            row = self._db.execute(
                "SELECT digest FROM seen WHERE issuer=? AND sequence=?", (issuer, sequence)
            ).fetchone()
        return bytes(row[0]) if row else None

    def remember(self, issuer: bytes, digest: bytes, sequence: int, expires_ms: int) -> None:
        """Remember an order until `expires_ms`, and the issuer's highest sequence for ever."""
        with self._transaction() as db:
            _remember(db, issuer, digest, sequence, expires_ms)

    def forget_expired(self, now_ms: int) -> None:
        """Forget orders that expired at or before `now_ms`."""
        with self._transaction() as db:
            db.execute("DELETE FROM seen WHERE expires_ms <= ?", (now_ms,))

    def highest_sequence(self, issuer: bytes) -> int:
        """Highest sequence ever accepted from an issuer, -1 at first."""
        with self._lock:
            row = self._db.execute("SELECT highest FROM sequences WHERE issuer=?", (issuer,)).fetchone()
        return int(row[0]) if row else -1

    # Orders

    def accept(self, row: OrderRow, sequence: int, now_ms: int) -> None:
        """An order becomes held: it is seen, its sequence counts, time moves on, all at once."""
        values = [getattr(row, name) for name in _COLUMNS.split(", ")]
        marks = ", ".join("?" * len(values))
        with self._transaction() as db:
            _advance(db, now_ms)
            db.execute("DELETE FROM seen WHERE expires_ms <= (SELECT highest_ms FROM clock)")
            _remember(db, row.coordinator, row.digest, sequence, row.expires_ms)
            db.execute(f"INSERT INTO orders ({_COLUMNS}) VALUES ({marks})", values)  # noqa: S608 - fixed column names

    def order(self, digest: bytes) -> OrderRow | None:
        """One order, or None."""
        rows = self._select("WHERE digest=?", (digest,))
        return rows[0] if rows else None

    def held(self) -> list[OrderRow]:
        """Held orders, oldest first."""
        return self._select("WHERE state IN ('running', 'answered') ORDER BY number", ())

    def of_run(self, run: bytes) -> list[OrderRow]:
        """All orders of one run, oldest first: more than one when custody came back under a higher epoch."""
        return self._select("WHERE run=? ORDER BY number", (run,))

    def _select(self, where: str, values: tuple[object, ...]) -> list[OrderRow]:
        with self._lock:
            return _rows(self._db, where, values)

    def count(self, digest: bytes, *, effects: int, resumed: int = 0, recomputed: int = 0, restarts: int = 0) -> None:
        """Statistics of a run: `effects` is the new total, the others are added."""
        with self._transaction() as db:
            db.execute(
                "UPDATE orders SET effects=max(effects, ?), resumed=resumed+?, recomputed=recomputed+?, "
                "restarts=restarts+? WHERE digest=?",
                (effects, resumed, recomputed, restarts, digest),
            )

    def answered(
        self,
        digest: bytes,
        packet: bytes,
        body: tuple[bytes, int, bytes] | None,
        ending: tuple[str, str, int],
        effects: int,
    ) -> bool:
        """The sealed answer is durable. False when the order is no longer running, and then nothing changes.

        Args:
            digest: of the order.
            packet: sealed answer packet, offered as it is for ever after.
            body: id and length of the sealed body, and its bytes unless they lie in the outbox; None without one.
            ending: outcome, public code, public line.
            effects: of the run, in all.
        """
        name, length, sealed = body if body is not None else (None, 0, b"")
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE orders SET state='answered', packet=?, body=?, body_length=?, sealed=?, outcome=?, code=?, "
                "line=?, effects=max(effects, ?) WHERE digest=? AND state='running'",
                (packet, name, length, sealed or None, *ending, effects, digest),
            ).rowcount
        return changed == 1

    def finish(self, digest: bytes, state: OrderState, code: str, now_ms: int) -> bool:
        """The order is no longer held; its envelope and answer go. False when it was not held.

        Not synced by itself: if a power cut takes it back, the answer is offered again and gets the same verdict.
        """
        with self._transaction(durable=False) as db:
            _advance(db, now_ms)
            changed = db.execute(
                "UPDATE orders SET state=?, envelope=NULL, packet=NULL, sealed=NULL, finished_ms=?, "
                "code=CASE WHEN ?='' THEN code ELSE ? END WHERE digest=? AND state IN ('running', 'answered')",
                (state, now_ms, code, code, digest),
            ).rowcount
        return changed == 1

    def totals(self) -> Totals:
        """Sums over all runs."""
        with self._lock:
            return _totals(self._db)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()


def read_orders(path: Path) -> tuple[list[OrderRow], Totals]:
    """Read all orders, newest first, beside a running agent; changes nothing.

    Raises:
        StoreError: there is no database, or it cannot be read.
    """
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
        try:
            return _rows(db, "ORDER BY number DESC", ()), _totals(db)
        finally:
            db.close()
    except sqlite3.Error as problem:
        raise StoreError(f"{path}: {problem}") from None


def _advance(db: sqlite3.Connection, now_ms: int) -> None:
    db.execute(
        "INSERT INTO clock (id, highest_ms) VALUES (1, ?) "
        "ON CONFLICT (id) DO UPDATE SET highest_ms = max(highest_ms, excluded.highest_ms)",
        (now_ms,),
    )


def _remember(db: sqlite3.Connection, issuer: bytes, digest: bytes, sequence: int, expires_ms: int) -> None:
    db.execute(
        "INSERT OR REPLACE INTO seen (issuer, digest, sequence, expires_ms) VALUES (?, ?, ?, ?)",
        (issuer, digest, sequence, expires_ms),
    )
    db.execute(
        "INSERT INTO sequences (issuer, highest) VALUES (?, ?) "
        "ON CONFLICT (issuer) DO UPDATE SET highest = max(highest, excluded.highest)",
        (issuer, sequence),
    )


def _rows(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[OrderRow]:
    found = db.execute(f"SELECT {_COLUMNS} FROM orders {where}", values).fetchall()  # noqa: S608 - fixed texts
    return [OrderRow(*row) for row in found]


def _totals(db: sqlite3.Connection) -> Totals:
    sums = "SELECT coalesce(sum(resumed), 0), coalesce(sum(recomputed), 0), coalesce(sum(restarts), 0) FROM orders"
    resumed, recomputed, restarts = db.execute(sums).fetchone()
    return Totals(resumed, recomputed, restarts)
