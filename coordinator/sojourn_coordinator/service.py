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
from sojourn.wire import AnswerSink, BodySource, Greeting, Hello, Lease, Verdict
from sqlalchemy import Connection, select

from sojourn_coordinator.answers import Intake
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
        self._submitting = asyncio.Lock()

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
        async with self._submitting:
            if not await self._stored(submission.job.digest):
                await asyncio.to_thread(judge_submission, submission)
                await store_job(self.house, submission)
                _log.info("job.submitted", job=submission.job.digest.hex(), name=submission.job.value.name)
                await self._run(submission.job.digest)
        return submission.job.digest

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
        if problem is not None and not self._broken.done():
            _log.error("job.stopped", job=job.hex(), exc_info=problem)
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
