"""How a job stands: what it waits for, and what each agent of its latest phase has said so far.

Everything here is public: an agent's code and line are those of its signed answer, or of its decline.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sojourn.codec import decode
from sojourn.contracts import Answer, Job, Phase, Signed
from sojourn.vm import Program
from sqlalchemy import Connection, select

from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import read_item
from sojourn_coordinator.store import split_keys
from sojourn_coordinator.store.schema import agents, answers, events, jobs, orders, phases

__all__ = ["programs_view", "standing_view"]

_UNANSWERED: Final = {
    "open": "awaited",
    "cancelled": "withdrawn",
}  # by the state of the phase; "silent" when it is over


@dataclass(frozen=True, slots=True)
class _Found:
    """Rows of the latest phase, and the newest event that tells of waiting."""

    waiting: dict[str, Any] | None
    phase: Any
    orders: dict[bytes, str]
    answers: dict[bytes, bytes]
    names: dict[bytes, str]
    declines: dict[bytes, str]


async def standing_view(house: House, job: bytes) -> dict[str, Any]:
    """What a running job waits for, and its latest phase by agent.

    Args:
        house: shared resources.
        job: id of a stored job.

    Returns:
        `waiting`: round, connected, needed, quorum; None where the job does not wait for agents to connect.
        `phase`: name, round, state, quorum, deadline_ms, remaining_ms, and `agents`: agent, key, state, code and line
        of each, and `released` where it has released numbers; None before the first phase.
    """
    found = await house.database.read(lambda connection: _find(connection, job))
    phase = None
    if found.phase is not None:
        document = decode(Job, decode(Signed, await read_item(house, job, "job")).payload)
        listed = {each.name: each for each in document.phases}
        phase = _phase(found, listed[found.phase.name])
    return {"waiting": found.waiting, "phase": phase}


async def programs_view(house: House, job: bytes) -> dict[str, Any]:
    """Digests of a stored job's programs, `agent` and `rounds`, and the `entry` of the rounds.

    Where a program stands in several modules, `agent_modules` and `rounds_modules` name those beside its own file: what
    places in it are of (see `sojourn.vm.places`).
    """
    document = decode(Job, decode(Signed, await read_item(house, job, "job")).payload)
    found: dict[str, Any] = {"agent": document.program.hex(), "rounds": document.rounds.hex()}
    for key, item in (("agent_modules", "program"), ("rounds_modules", "rounds")):
        program = Program.decode(decode(Signed, await read_item(house, job, item)).payload)
        if program.modules:
            found[key] = list(program.modules)
    return {**found, "entry": document.rounds_entry}


def _find(connection: Connection, job: bytes) -> _Found:
    phase = connection.execute(
        select(phases).where(phases.c.job == job).order_by(phases.c.operation.desc()).limit(1)
    ).first()
    if phase is None:
        return _Found(_waiting(connection, job), None, {}, {}, {}, {})
    asked = connection.execute(select(orders.c.agent, orders.c.state).where(orders.c.phase == phase.id))
    given = connection.execute(select(answers.c.agent, answers.c.signed).where(answers.c.phase == phase.id))
    members = split_keys(phase.participants)
    known = connection.execute(select(agents.c.key, agents.c.name).where(agents.c.key.in_(members)))
    told = connection.execute(
        select(events.c.data).where(events.c.job == job, events.c.name == "declined").order_by(events.c.sequence)
    )
    declines = [json.loads(data) for data in told.scalars()]
    return _Found(
        _waiting(connection, job),
        phase,
        {row.agent: row.state for row in asked},
        {row.agent: row.signed for row in given},
        {row.key: row.name for row in known},
        {bytes.fromhex(data["key"]): data["code"] for data in declines if data["round"] == phase.round},
    )


def _waiting(connection: Connection, job: bytes) -> dict[str, Any] | None:
    """The newest event of waiting, unless a phase was opened since or the job has ended."""
    if connection.execute(select(jobs.c.state).where(jobs.c.id == job)).scalar() != "running":
        return None
    query = select(events.c.name, events.c.data).where(events.c.job == job, events.c.name.in_(("waiting", "opened")))
    row = connection.execute(query.order_by(events.c.sequence.desc()).limit(1)).first()
    return json.loads(row.data) if row is not None and row.name == "waiting" else None


def _phase(found: _Found, document: Phase) -> dict[str, Any]:
    row = found.phase
    return {
        "name": row.name,
        "round": row.round,
        "state": row.state,
        "quorum": document.quorum,
        "deadline_ms": document.deadline_ms,
        "remaining_ms": row.remaining_ms if row.state == "open" else 0,
        "agents": sorted(
            (_agent(found, key) for key in split_keys(row.participants)), key=lambda part: (part["agent"], part["key"])
        ),
    }


def _agent(found: _Found, key: bytes) -> dict[str, Any]:
    """How one participant stands: answered, failed, refused, declined, gone, awaited, silent or withdrawn."""
    state, code, line = "gone", "", 0  # gone: revoked or expired between its invitation and its order
    released: dict[str, float] = {}
    signed, order = found.answers.get(key), found.orders.get(key)
    if signed is not None:
        answer = decode(Answer, decode(Signed, signed).payload)
        state, code, line = "answered" if answer.outcome == "done" else answer.outcome, answer.code, answer.line
        released = {each.name: each.value for each in answer.releases if each.value is not None}
    elif order == "declined":
        state, code = "declined", found.declines.get(key, "")
    elif order is not None:
        state = _UNANSWERED.get(found.phase.state, "silent")
    name = found.names.get(key, key.hex()[:16])
    part = {"agent": name, "key": key.hex(), "state": state, "code": code, "line": line}
    return {**part, "released": released} if released else part
