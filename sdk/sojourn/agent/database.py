"""`agent.db`: what an agent must remember of orders, in SQLite (WAL, full sync).

Rules:

* Every method is one transaction, durable when it returns, but for `finish`, which says why.
* An order is *held* from acceptance until its answer is committed, closed or rejected; while it is held its sealed
  envelope, and later its sealed answer, are kept as they are.
* A seen order is remembered until it expires by the highest time ever seen; that time only grows. So does the highest
  sequence of each issuer.
* An order is *offered* once its answer was given to the line, or may have been: a restart that finds an answer takes
  it for offered. So what is not marked has not left.
* Tables and rows are those of `sojourn.agent.orders`; the privacy ledger has tables of its own in the same file (see
  `sojourn.privacy.ledger`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sojourn.agent.orders import COLUMNS, FROM, SCHEMA, OrderRow, OrderState, Totals
from sojourn.errors import StoreError

__all__ = ["AgentDatabase", "OrderRow", "OrderState", "Totals", "read_database", "read_orders", "select_orders"]

_BUSY_SECONDS: Final = 10.0


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
            self._db.executescript(";".join(SCHEMA.values()))
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
        values = [getattr(row, name) for name in COLUMNS.split(", ")]
        marks = ", ".join("?" * len(values))
        with self._transaction() as db:
            _advance(db, now_ms)
            db.execute("DELETE FROM seen WHERE expires_ms <= (SELECT highest_ms FROM clock)")
            _remember(db, row.coordinator, row.digest, sequence, row.expires_ms)
            job = (row.job, row.job_name, row.author, row.author_key)
            db.execute("INSERT OR IGNORE INTO jobs (job, name, author, author_key) VALUES (?, ?, ?, ?)", job)
            db.execute(f"INSERT INTO orders ({COLUMNS}) VALUES ({marks})", values)  # noqa: S608 - fixed column names

    def order(self, digest: bytes) -> OrderRow | None:
        """One order, or None."""
        rows = self._select("WHERE orders.digest=?", (digest,))
        return rows[0] if rows else None

    def held(self) -> list[OrderRow]:
        """Held orders, oldest first."""
        return self._select("WHERE state IN ('running', 'answered') ORDER BY number", ())

    def of_run(self, run: bytes) -> list[OrderRow]:
        """All orders of one run, oldest first: more than one when custody came back under a higher epoch."""
        return self._select("WHERE run=? ORDER BY number", (run,))

    def _select(self, where: str, values: tuple[object, ...]) -> list[OrderRow]:
        with self._lock:
            return select_orders(self._db, where, values)

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

    def offered(self, digest: bytes, now_ms: int) -> None:
        """The answer leaves now, or may have left in an earlier process; the first time counts.

        Not synced by itself: after a power cut, the restart that finds the answer says it again.
        """
        with self._transaction(durable=False) as db:
            db.execute("INSERT OR IGNORE INTO offers (digest, offered_ms) VALUES (?, ?)", (digest, now_ms))

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
    with read_database(path, SCHEMA) as db:
        return select_orders(db, "ORDER BY number DESC", ()), _totals(db)


@contextmanager
def read_database(path: Path, tables: Mapping[str, str]) -> Iterator[sqlite3.Connection]:
    """A connection that reads `agent.db` beside a running agent and changes nothing.

    Args:
        path: `agent.db`.
        tables: what makes them, by name; one that the file does not have yet is as if it were empty.

    Raises:
        StoreError: there is no database, or it cannot be read, also within the `with`.
    """
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
        try:
            there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            for name in tables.keys() - there:
                db.execute(tables[name].replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
            yield db
        finally:
            db.close()
    except sqlite3.Error as problem:
        raise StoreError(f"{path}: {problem}") from None


def select_orders(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[OrderRow]:
    """The orders that an SQL clause selects."""
    found = db.execute(f"SELECT {FROM} {where}", values).fetchall()
    return [OrderRow(*row) for row in found]


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


def _totals(db: sqlite3.Connection) -> Totals:
    sums = "SELECT coalesce(sum(resumed), 0), coalesce(sum(recomputed), 0), coalesce(sum(restarts), 0) FROM orders"
    resumed, recomputed, restarts = db.execute(sums).fetchone()
    return Totals(resumed, recomputed, restarts)
