"""Tables of `coordinator.db`.

Rules:

* Documents are kept as the exact bytes that were signed. Bodies are not in the database: `extents` name their records
  in the object log (see `sojourn_coordinator.store.objects`).
* Nothing secret is stored: content keys live in one process only, and orders are stored as sealed envelopes.
* Numbers that order things (`sequence`) are given out inside the transaction that uses them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, Float, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

__all__ = [
    "SCHEMA_VERSION",
    "agents",
    "answers",
    "cohorts",
    "evaluations",
    "events",
    "items",
    "jobs",
    "ledger",
    "meta",
    "metadata",
    "models",
    "objects",
    "operations",
    "orders",
    "phases",
    "publications",
]

SCHEMA_VERSION: Final = 1

metadata: Final = MetaData()

meta: Final = Table(
    "meta", metadata, Column("name", String, primary_key=True), Column("value", Integer, nullable=False)
)

# Sealed or public bodies, by the SHA-256 of their bytes.
objects: Final = Table(
    "objects",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("length", Integer, nullable=False),
    Column("extents", LargeBinary, nullable=False),
)

# Agents that connected with a verified entry.
agents: Final = Table(
    "agents",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("name", String, nullable=False),
    Column("entry", LargeBinary, nullable=False),  # registrar-signed
    Column("next_sequence", Integer, nullable=False),  # of orders to this recipient
    Column("seen_ms", Integer, nullable=False),
)

jobs: Final = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", LargeBinary, nullable=False, unique=True),  # SHA-256 of the exact signed job
    Column("name", String, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("run", LargeBinary, nullable=False),
    Column("state", String, nullable=False),  # running, done, failed, cancelled
    Column("snapshot", LargeBinary),  # of the rounds continuation; NULL before its first park
    Column("error_code", String, nullable=False),
    Column("error_line", Integer, nullable=False),
    Column("rounds", Integer),  # planned, where the job says so; for progress only
    Column("initial", LargeBinary, nullable=False),  # root
    Column("submitted_ms", Integer, nullable=False),
    Column("ended_ms", Integer),
)

# Documents and streams of a submission: job, program, rounds, plan, graph/<name>, initial, heldout.
items: Final = Table(
    "items",
    metadata,
    Column("job", LargeBinary, primary_key=True),
    Column("name", String, primary_key=True),
    Column("object", LargeBinary, nullable=False),
)

# Committed effects of the rounds continuation: at most one result for an occurrence.
operations: Final = Table(
    "operations",
    metadata,
    Column("run", LargeBinary, primary_key=True),
    Column("operation", Integer, primary_key=True),
    Column("effect", String, nullable=False),
    Column("subject", LargeBinary, nullable=False),  # id of the resulting handle
    Column("detail", String, nullable=False),  # JSON: what the effect was made of
)

cohorts: Final = Table(
    "cohorts",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("job", LargeBinary, nullable=False),
    Column("round", Integer, nullable=False),
    Column("participants", LargeBinary, nullable=False),  # key ids, sorted, 32 bytes each
)

phases: Final = Table(
    "phases",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("job", LargeBinary, nullable=False, index=True),
    Column("operation", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("participants", LargeBinary, nullable=False),
    Column("remaining_ms", Integer, nullable=False),
    Column("state", String, nullable=False),  # open, closed, missed, cancelled
    Column("weights", LargeBinary, nullable=False),  # root of the model that the phase starts from
    Column("bytes", Integer, nullable=False),  # bodies moved, both ways
    Column("opened_ms", Integer, nullable=False),
    Column("closure", LargeBinary),  # Signed(Closure)
)

orders: Final = Table(
    "orders",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # SHA-256 of the exact signed order
    Column("phase", LargeBinary, nullable=False, index=True),
    Column("job", LargeBinary, nullable=False),
    Column("agent", LargeBinary, nullable=False),
    Column("run", LargeBinary, nullable=False),
    Column("epoch", Integer, nullable=False),  # current custody epoch
    Column("signed", LargeBinary, nullable=False),  # Signed(Order), shown in exports
    Column("envelope", LargeBinary, nullable=False),  # sealed once, re-sent as it is
    Column("bundle", LargeBinary, nullable=False),  # body ids that this agent may fetch
    Column("weights", LargeBinary, nullable=False),
    Column("state", String, nullable=False),  # open, done, failed, declined
    UniqueConstraint("phase", "agent"),
)

answers: Final = Table(
    "answers",
    metadata,
    Column("order", LargeBinary, primary_key=True),
    Column("phase", LargeBinary, nullable=False, index=True),
    Column("agent", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the exact signed answer
    Column("signed", LargeBinary, nullable=False),
    Column("outcome", String, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("length", Integer, nullable=False),  # sealed bytes of the body
    Column("extents", LargeBinary, nullable=False),  # one record for each datom of the update
)

models: Final = Table(
    "models",
    metadata,
    Column("job", LargeBinary, primary_key=True),
    Column("root", LargeBinary, primary_key=True),
    Column("extents", LargeBinary, nullable=False),  # one record for each datom
)

publications: Final = Table(
    "publications",
    metadata,
    Column("job", LargeBinary, primary_key=True),
    Column("operation", Integer, primary_key=True),
    Column("round", Integer, nullable=False),
    Column("phase", LargeBinary, nullable=False),  # folded from; empty for none
    Column("model", LargeBinary, nullable=False),
    Column("signed", LargeBinary, nullable=False),
    Column("summary", String, nullable=False),  # JSON: row of the round table
)

evaluations: Final = Table(
    "evaluations",
    metadata,
    Column("job", LargeBinary, primary_key=True),
    Column("operation", Integer, primary_key=True),  # of the publication
    Column("round", Integer, nullable=False),
    Column("signed", LargeBinary, nullable=False),
    Column("loss", Float),
    Column("auc", Float),
)

ledger: Final = Table(
    "ledger",
    metadata,
    Column("job", LargeBinary, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("entry", LargeBinary, nullable=False),
)

events: Final = Table(
    "events",
    metadata,
    Column("job", LargeBinary, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("data", String, nullable=False),  # JSON
    Column("last", Boolean, nullable=False),  # nothing follows
)
