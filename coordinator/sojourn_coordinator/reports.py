"""Rows of a job's table: what the answers of a closed phase came to.

A phase whose answers hold an update gets its row when the model is published. A phase without one is an end in itself
(analytics): its row, a *report*, is written with the phase's closing, in the same transaction, and says what each agent
released besides the total. Everything here was released by its owner; nothing is private any more.

Which release was a mechanism's neutral element is private to its owner. What is said here is which numbers read like
one: a count or sum of 0, a mean in the middle of its bounds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from sojourn.contracts import Released
from sqlalchemy import Connection, select

from sojourn_coordinator.desk import PhaseDesk
from sojourn_coordinator.rounds import mean_weights, summarise
from sojourn_coordinator.store.schema import operations

__all__ = ["REPORT", "phase_report", "phase_summary", "read_reports"]

REPORT: Final = "report"
"""Key of a report in the recorded detail of its `fleet.ask`."""


def phase_summary(desk: PhaseDesk, round_: int, now_ms: int) -> dict[str, Any]:
    """The row of a published model. Released scalars stand under their names, and two of them under fixed ones."""
    row = _closed(desk, round_, now_ms)
    released = row["released"]
    return {**row, "patients": released.get("patients"), "train_loss": released.get("loss")}


def _closed(desk: PhaseDesk, round_: int, now_ms: int) -> dict[str, Any]:
    return {
        "round": round_,
        "participants": len(desk.ledger.counted),
        "invited": len(desk.ledger.participants),
        "bytes": desk.moved,
        "seconds": max(0, now_ms - desk.facts.opened_ms) / 1000,
        "released": summarise(desk.contributions()),
    }


def phase_report(desk: PhaseDesk, now_ms: int, name_of: Callable[[bytes], str]) -> dict[str, Any]:
    """The row of a closed phase without an update, with what each agent released, by agent's name."""
    parts = [
        {
            "agent": name_of(part.agent),
            "key": part.agent.hex(),
            "released": {each.name: each.value for each in part.releases if each.value is not None},
            "neutral": [each.name for each in part.releases if _reads_neutral(each)],
        }
        for part in desk.contributions()
    ]
    listed = sorted(parts, key=lambda part: (part["agent"], part["key"]))
    row = _closed(desk, desk.facts.round, now_ms)
    phase = desk.facts.phase
    names, weights = [spec.name for spec in phase.answer], mean_weights(desk.contributions())
    return {**row, "phase": phase.name, "agents": listed, "names": names, "weights": weights}


def _reads_neutral(released: Released) -> bool:
    """Whether a number is the one that its mechanism gives for nothing; a true number may be the same."""
    if released.kind != "mean":
        return released.value == 0.0
    low, high = released.parameters.get("low"), released.parameters.get("high")
    return isinstance(low, float) and isinstance(high, float) and released.value == low + (high - low) / 2


def read_reports(connection: Connection, run: bytes) -> list[tuple[int, dict[str, Any]]]:
    """The reports of a run, each with the operation of its `fleet.ask`, oldest first."""
    query = select(operations.c.operation, operations.c.detail).where(
        operations.c.run == run, operations.c.effect == "fleet.ask"
    )
    rows = [
        (row.operation, json.loads(row.detail)) for row in connection.execute(query.order_by(operations.c.operation))
    ]
    return [(operation, detail[REPORT]) for operation, detail in rows if REPORT in detail]
