"""Driving one job: its rounds continuation on the machine, from its stored snapshot to its end.

The loop is: run to the next park; commit what is due together with the snapshot taken there; perform the effect; give
its result to the machine. A coordinator that is killed anywhere loads the latest snapshot and performs the effect that
it is parked at again; see `sojourn_coordinator.effects` for why nothing is done twice.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from sojourn.contracts import Scalar
from sojourn.errors import MachineError, SojournError, StoreError
from sojourn.labels import PUBLIC
from sojourn.limits import MIB
from sojourn.vm import Done, Failed, Handle, Machine, Parked, RecordValue, Sliced
from sojourn.vm.places import in_file
from sqlalchemy import Connection, bindparam, select, update

from sojourn_coordinator.batch import Batch
from sojourn_coordinator.effects import EffectFailed, RoundEffects
from sojourn_coordinator.evaluations import Evaluations
from sojourn_coordinator.feed import append_event
from sojourn_coordinator.fleet import Fleet
from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import JobContext
from sojourn_coordinator.ledger import append_entry
from sojourn_coordinator.models import ModelShelf
from sojourn_coordinator.store.schema import jobs

__all__ = ["ROUNDS_FUEL", "ROUNDS_MEMORY", "JobRunner"]

ROUNDS_FUEL: Final = 10**9  # instructions of one rounds continuation
ROUNDS_MEMORY: Final = 64 * MIB
_SNAPSHOT: Final = update(jobs).where(jobs.c.id == bindparam("of")).values(snapshot=bindparam("to"))
_SLICE: Final = 50_000  # instructions before other jobs may run

_log = structlog.get_logger("sojourn.rounds")


class JobRunner:
    """Runs one job to its end.

    Args:
        house: shared resources.
        fleet: agents and open phases.
        context: the job.
    """

    def __init__(self, house: House, fleet: Fleet, context: JobContext) -> None:
        self._house = house
        self._fleet = fleet
        self._context = context
        self._batch = Batch()
        self._shelf = ModelShelf(house, context.id)
        self._evaluations = Evaluations(house, context, self._shelf)
        self._effects = RoundEffects(house, fleet, context, self._shelf, self._batch, self._flush)
        self._effects.publisher.on_published = self._evaluations.add
        self._machine: Machine | None = None

    async def run(self) -> None:
        """Run to the end of the job. Cancelling loses nothing: the next life goes on from the last commit."""
        try:
            await self._evaluations.recover()
            await self._drive()
        except StoreError:
            raise
        except SojournError as problem:
            _log.error("job.failed", job=self._context.id.hex(), code=problem.code, problem=str(problem))
            self._effects.close()
            await self._end("failed", problem.code, 0, str(problem))
        finally:
            await self._evaluations.stop()

    async def _drive(self) -> None:
        machine = self._machine = await self._load()
        progress = machine.run(_SLICE)
        while True:
            match progress:
                case Parked(effect):
                    if self._batch.due:
                        await self._flush()
                    try:
                        machine.resume(await self._effects.perform(effect))
                    except EffectFailed as problem:
                        machine.throw(problem.type_name, problem.message)
                case Sliced():
                    await asyncio.sleep(0)
                case Done():
                    await self._flush()
                    await self._evaluations.wait()
                    await self._end("done", "", 0, "")
                    return
                case Failed(code, line, text):
                    detail = in_file(text, line, self._context.rounds.program.modules)
                    _log.error("job.failed", job=self._context.id.hex(), code=code, line=line, detail=detail)
                    await self._flush()
                    await self._evaluations.wait()
                    await self._end("failed", code, line, detail)
                    return
            progress = machine.run(_SLICE)

    async def _load(self) -> Machine:
        context = self._context

        def work(connection: Connection) -> bytes | None:
            return (connection.execute(select(jobs.c.snapshot).where(jobs.c.id == context.id))).scalar()

        snapshot = await self._house.database.read(work)
        if snapshot is not None:
            return Machine.load(context.rounds, snapshot)
        job = RecordValue(
            "job",
            {
                "name": context.job.name,
                "initial": Handle("model", context.job.initial, PUBLIC),
                "args": dict(context.job.args),
                "policy": dict(context.job.policy),
                "participants": context.job.participants,
            },
        )
        return Machine.start(context.rounds, context.job.rounds_entry, (job,), context.run, ROUNDS_FUEL, ROUNDS_MEMORY)

    async def _flush(self) -> None:
        """Commit the batch and the snapshot in one transaction; the database syncs the bytes that it names first."""
        if self._machine is None:
            raise MachineError("a batch of a machine that was not started")
        works, afterwards = self._batch.take()
        snapshot, job = self._machine.dump(), self._context.id

        def work(connection: Connection) -> None:
            for each in works:
                each(connection)
            connection.execute(_SNAPSHOT, {"of": job, "to": snapshot})
            self._house.stamp(connection)

        await self._house.database.write(work)
        self._house.feed.wake(job)
        for call in afterwards:
            call()

    async def _end(self, state: str, code: str, line: int, message: str) -> None:
        job, now = self._context.id, self._house.now()
        detail: dict[str, Scalar] = {} if state == "done" else {"code": code, "line": line, "message": message}

        def work(connection: Connection) -> None:
            row = update(jobs).where(jobs.c.id == job)
            connection.execute(row.values(state=state, error_code=code, error_line=line, ended_ms=now))
            append_entry(connection, job, now, state, detail=detail)
            append_event(connection, job, state, detail, last=True)
            self._house.stamp(connection)

        await self._house.database.write(work)
        self._house.feed.wake(job)
