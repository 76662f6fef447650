"""What `agent.db` holds of orders: its tables, and the rows made of them.

Rules: a row's meaning never changes; a table that is added later has nothing to say of older orders. `jobs` and
`offers` are apart from `orders`: many orders have one job, and an offer is noted while the answer is under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["COLUMNS", "FROM", "SCHEMA", "OrderRow", "OrderState", "Totals"]

OrderState = Literal["running", "answered", "committed", "closed", "rejected", "expired"]

SCHEMA: Final = {
    "clock": """
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), highest_ms INTEGER NOT NULL)""",
    "seen": """
CREATE TABLE IF NOT EXISTS seen (
    issuer BLOB NOT NULL, digest BLOB NOT NULL, sequence INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
    PRIMARY KEY (issuer, digest)
) WITHOUT ROWID""",
    "seen_sequence": "CREATE INDEX IF NOT EXISTS seen_sequence ON seen (issuer, sequence)",
    "sequences": """
CREATE TABLE IF NOT EXISTS sequences (issuer BLOB PRIMARY KEY, highest INTEGER NOT NULL) WITHOUT ROWID""",
    "orders": """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE, run BLOB NOT NULL, epoch INTEGER NOT NULL, job BLOB NOT NULL,
    coordinator BLOB NOT NULL, phase TEXT NOT NULL, round INTEGER NOT NULL, weights BLOB NOT NULL,
    bundle BLOB NOT NULL, envelope BLOB, accepted_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
    state TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '',
    line INTEGER NOT NULL DEFAULT 0, effects INTEGER NOT NULL DEFAULT 0, resumed INTEGER NOT NULL DEFAULT 0,
    recomputed INTEGER NOT NULL DEFAULT 0, restarts INTEGER NOT NULL DEFAULT 0, packet BLOB, body BLOB,
    body_length INTEGER NOT NULL DEFAULT 0, sealed BLOB, finished_ms INTEGER NOT NULL DEFAULT 0
)""",
    "orders_state": "CREATE INDEX IF NOT EXISTS orders_state ON orders (state)",
    "orders_run": "CREATE INDEX IF NOT EXISTS orders_run ON orders (run)",
    "jobs": """
CREATE TABLE IF NOT EXISTS jobs (
    job BLOB PRIMARY KEY, name TEXT NOT NULL, author TEXT NOT NULL, author_key BLOB NOT NULL
) WITHOUT ROWID""",
    "offers": """
CREATE TABLE IF NOT EXISTS offers (digest BLOB PRIMARY KEY, offered_ms INTEGER NOT NULL) WITHOUT ROWID""",
}
"""What makes each table and index, by its name."""

COLUMNS: Final = (
    "digest, run, epoch, job, coordinator, phase, round, weights, bundle, envelope, accepted_ms, expires_ms, state, "
    "outcome, code, line, effects, resumed, recomputed, restarts, packet, body, body_length, sealed, finished_ms"
)
"""Of the table `orders`, in the order of `OrderRow`."""

FROM: Final = (
    ", ".join(f"orders.{name}" for name in COLUMNS.split(", "))
    + ", coalesce(jobs.name, ''), coalesce(jobs.author, ''), coalesce(jobs.author_key, x''), "
    "coalesce(offers.offered_ms, 0) "
    "FROM orders LEFT JOIN jobs ON jobs.job = orders.job LEFT JOIN offers ON offers.digest = orders.digest"
)
"""What to select for an `OrderRow`, and from where."""


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
    job_name: str = ""  # of the job, as its author signed it
    author: str = ""  # the roster's name of who signed it
    author_key: bytes = b""
    offered_ms: int = 0  # when the answer was first given to the line; 0 for never

    def __repr__(self) -> str:
        return f"OrderRow({self.digest.hex()[:16]}, {self.phase!r}, round {self.round}, {self.state})"


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all runs: what restarts saved, and what they cost."""

    effects_resumed: int
    effects_recomputed: int
    restarts: int
