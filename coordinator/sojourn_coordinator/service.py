"""The coordinator: jobs, agents, and what the gateway asks of it.

`Coordinator` implements `sojourn.wire.GatewayHandler`. It owns no socket: the gateway moves bytes, the operators'
listener calls `submit` and the queries of `sojourn_coordinator.queries`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

import structlog
from sojourn.contracts import Entry
from sojourn.errors import StoreError
from sojourn.wire import AnswerSink, BodySource, Greeting, Hello, Lease, Verdict
from sqlalchemy import Connection, select

from sojourn_coordinator.answers import Intake
from sojourn_coordinator.cancelling import Cancelled, JobEnded, cancel_rows, check_name
from sojourn_coordinator.faults import Fault
from sojourn_coordinator.fleet import Fleet, Links
from sojourn_coordinator.house import House
from sojourn_coordinator.jobs import judge_submission, load_job, store_job
from sojourn_coordinator.rounds.opening import LEASE_MS
from sojourn_coordinator.runner import JobRunner
from sojourn_coordinator.store.schema import jobs

__all__ = ["Coordinator"]

_log = structlog.get_logger("sojourn.coordinator")


class Coordinator:
    """One coordinator process. Open with `open`, then `start`; `close` loses nothing.

    Attributes:
        house: shared resources, for queries.
        fleet: agents and open phases, for queries.
    """

    def __init__(self, house: House, fleet: Fleet) -> None:
        self.house = house
        self.fleet = fleet
        self._shapes: dict[bytes, dict[str, tuple[int, ...]]] = {}
        self._intake = Intake(house, fleet, self._shapes)
        self._runners: dict[bytes, asyncio.Task[None]] = {}
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deciding = asyncio.Lock()  # held while it is decided which jobs run

    @classmethod
    async def open(cls, state: Path, fault: Fault | None = None) -> Self:
        """Open the state folder; the caller holds its lock. Nothing runs before `start`.

        Raises:
            ConfigError: not an initialised folder.
            TrustError: the roster does not hold.
            StoreError: a store cannot be opened.
        """
        house = await House.open(state, fault)
        fleet = Fleet(house)
        await fleet.load()
        return cls(house, fleet)

    async def start(self, links: Links) -> None:
        """Go on with every job that has not ended.

        Args:
            links: how orders reach agents.
        """
        self.fleet.attach(links)
        query = select(jobs.c.id).where(jobs.c.state == "running").order_by(jobs.c.number)

        def work(connection: Connection) -> list[bytes]:
            return list((connection.execute(query)).scalars())

        async with self._deciding:
            for job in await self.house.database.read(work):
                await self._run(job)

    async def submit(self, data: bytes) -> bytes:
        """Verify, check and store a submission, and begin to run it. The same job again is the same job.

        Args:
            data: an encoded `Bundle`; see `TrustedSet.verify_submission`.

        Returns:
            The job's id, 32 bytes.

        Raises:
            SojournError: anything does not hold; nothing of it was stored.
        """
        submission = self.house.trusted.verify_submission(data, self.house.now())
        job = submission.job.digest
        if not await self._stored(job):
            await asyncio.to_thread(judge_submission, submission)
        async with self._deciding:
            if not await self._stored(job):
                await store_job(self.house, submission)
                _log.info("job.submitted", job=job.hex(), name=submission.job.value.name)
                await self._run(job)
        return job

    async def cancel(self, job: bytes, by: str) -> Cancelled:
        """End a job. Its orders are withdrawn; an answer that comes later is told that its phase is over.

        Args:
            job: id of a stored job.
            by: who says so; see `sojourn_coordinator.cancelling`.

        Raises:
            UsageError: `by` does not do.
            JobEnded: the job is done or has failed.
        """
        check_name(by)
        async with self._deciding:
            await self._halt(job)
            now = self.house.now()

            def work(connection: Connection) -> Cancelled:
                cancelled = cancel_rows(connection, job, now, by)
                self.house.stamp(connection)
                return cancelled

            try:
                found = await self.house.database.write(work)
            except StoreError as problem:  # the job neither runs nor is cancelled: a new life has to go on with it
                self._break(problem)
                raise
            except JobEnded:
                self._over(job)
                raise
            self._over(job)
            return found

    def _over(self, job: bytes) -> None:
        """The end of a job is committed: nobody is served in its name any more."""
        for desk in [desk for desk in self.fleet.desks() if desk.facts.job == job]:
            self.fleet.close(desk)
        self.house.feed.wake(job)

    async def _halt(self, job: bytes) -> None:
        """Stop a job's runner where it is; what it has begun to commit is committed, and nothing comes after it."""
        task = self._runners.get(job)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def failed(self) -> None:
        """Wait until a store or a defect ends a job's runner; raises what it raised. Never returns otherwise."""
        await asyncio.shield(self._broken)

    async def close(self) -> None:
        """Stop all jobs where they are and close the stores."""
        for task in self._runners.values():
            task.cancel()
        await asyncio.gather(*self._runners.values(), return_exceptions=True)
        for desk in list(self.fleet.desks()):
            await desk.stop()
        if self._broken.done():
            self._broken.exception()
        await self.house.close()

    def verify_agent(self, signed: bytes) -> Entry:
        """The agent of a registrar-signed entry, as of now; for the gateway."""
        return self.house.trusted.verify_agent(signed, self.house.now())

    async def _stored(self, job: bytes) -> bool:
        def work(connection: Connection) -> bool:
            return (connection.execute(select(jobs.c.id).where(jobs.c.id == job))).first() is not None

        return await self.house.database.read(work)

    async def _run(self, job: bytes) -> None:
        context = await load_job(self.house, job)
        self._shapes[job] = context.shapes
        task = asyncio.create_task(JobRunner(self.house, self.fleet, context).run(), name=f"job {job.hex()[:16]}")
        self._runners[job] = task
        task.add_done_callback(lambda done: self._ended(job, done))

    def _ended(self, job: bytes, task: asyncio.Task[None]) -> None:
        self._runners.pop(job, None)
        self.fleet.give_up(job)
        problem = None if task.cancelled() else task.exception()
        if problem is not None:
            _log.error("job.stopped", job=job.hex(), exc_info=problem)
            self._break(problem)

    def _break(self, problem: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(problem)

    # GatewayHandler

    async def on_hello(self, agent: Entry, hello: Hello) -> Greeting:
        """A verified agent connected: leases for what it holds, a newer roster if it needs one."""
        await self.fleet.ready()
        await self.fleet.arrived(agent, hello.entry)
        leases = []
        for held in hello.held:
            order = self.fleet.held(agent.key, held.order)
            if order is None:
                leases.append(Lease(held.order, 0, 0))
            else:
                leases.append(Lease(held.order, order.epoch, LEASE_MS))
        trusted = self.house.trusted
        newer = trusted.roster_bytes if hello.roster_version < trusted.roster.version else None
        return Greeting(self.house.identity.key, tuple(leases), newer)

    async def on_gone(self, agent: Entry) -> None:
        """Its connection ended. Its open orders wait for it."""
        await self.fleet.left(agent)

    async def on_accepted(self, agent: Entry, order: bytes) -> None:
        """The order is durable at the agent; it needs no row, since orders are idempotent."""
        _log.debug("order.accepted", agent=agent.name, order=order.hex())

    async def on_declined(self, agent: Entry, order: bytes, code: str) -> None:
        """The order will not run at this agent."""
        desk = self.fleet.desk_of(order)
        if desk is not None and self.fleet.held(agent.key, order) is not None:
            _log.warning("order.declined", agent=agent.name, order=order.hex(), code=code)
            await desk.decline(agent.key, agent.name, code)

    async def on_renew(self, agent: Entry, order: bytes, epoch: int) -> int:
        """Custody under the same epoch, while the phase is open."""
        held = self.fleet.held(agent.key, order)
        return LEASE_MS if held is not None and held.epoch == epoch else 0

    def open_body(self, agent: Entry, body: bytes) -> BodySource | None:
        """A body that one of the agent's open orders names."""
        return self.fleet.bodies.open(agent.key, body)

    async def on_offer(
        self, agent: Entry, order: bytes, packet: bytes, body: bytes, length: int
    ) -> AnswerSink | Verdict:
        """An answer is offered."""
        return await self._intake.offer(agent, order, packet, body, length)
