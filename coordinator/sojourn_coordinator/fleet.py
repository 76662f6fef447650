"""The agents that the coordinator knows, who is connected, and the open phases that they work on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from sojourn.contracts import Entry
from sojourn.errors import PeerError
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from sojourn_coordinator.bodies import BodyDesk
from sojourn_coordinator.desk import HeldOrder, PhaseDesk
from sojourn_coordinator.house import House
from sojourn_coordinator.rounds import Cohort, Waiting, choose_cohort
from sojourn_coordinator.store.schema import agents, jobs, phases

FIRST_SEQUENCE: Final = 1

__all__ = ["FIRST_SEQUENCE", "Agent", "Fleet", "Links"]


class Links(Protocol):
    """How sealed orders reach agents; see `sojourn_coordinator.gateway.Gateway`."""

    def deliver(self, agent: bytes, order: bytes, envelope: bytes) -> None:
        """Deliver an order now or when the agent comes, until it is answered or withdrawn."""

    def withdraw(self, agent: bytes, order: bytes) -> None:
        """Deliver it no more."""


@dataclass(slots=True)
class Agent:
    """An agent that connected at least once.

    Attributes:
        entry: its verified entry.
        signed: the registrar-signed bytes of it.
        next_sequence: of orders to it.
        connected: now.
    """

    entry: Entry
    signed: bytes
    next_sequence: int
    connected: bool = False


class Fleet:
    """Presence, and the index from orders to open phases."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._agents: dict[bytes, Agent] = {}
        self._orders: dict[bytes, PhaseDesk] = {}
        self._changed = asyncio.Condition()
        self._links: Links | None = None
        self._awaited: dict[bytes, bytes] = {}  # phases that an earlier life left open, with their jobs
        self._ready = asyncio.Event()
        self.bodies = BodyDesk()

    async def load(self) -> None:
        """Read what earlier lives left: agents, without those that are no longer trusted, and open phases."""
        query = select(phases.c.id, phases.c.job).join(jobs, jobs.c.id == phases.c.job)
        left_open = query.where(jobs.c.state == "running", phases.c.state == "open")

        def work(connection: Connection) -> tuple[list[tuple[bytes, int]], dict[bytes, bytes]]:
            rows = connection.execute(select(agents.c.entry, agents.c.next_sequence))
            known = [(row.entry, row.next_sequence) for row in rows]
            return known, {row.id: row.job for row in connection.execute(left_open)}

        known, self._awaited = await self._house.database.read(work)
        self._settle()
        for signed, sequence in known:
            try:
                entry = self._house.trusted.verify_agent(signed, self._house.now())
            except PeerError:
                continue
            self._agents[entry.key] = Agent(entry, signed, sequence)

    def attach(self, links: Links) -> None:
        """From now on orders can be delivered."""
        self._links = links

    @property
    def agents(self) -> Mapping[bytes, Agent]:
        """Agents by key id."""
        return self._agents

    async def arrived(self, entry: Entry, signed: bytes) -> None:
        """A verified agent connected."""
        known = self._agents.get(entry.key)
        if known is None or known.signed != signed:
            await self._remember(entry, signed)
            known = Agent(entry, signed, FIRST_SEQUENCE if known is None else known.next_sequence)
            self._agents[entry.key] = known
        known.connected = True
        await self._notify()

    async def left(self, entry: Entry) -> None:
        """Its connection ended."""
        known = self._agents.get(entry.key)
        if known is not None:
            known.connected = False
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def choose(self, wanted: int, quorum: int) -> Cohort:
        """The cohort that could be invited now."""
        present = [key for key, agent in self._agents.items() if agent.connected]
        return choose_cohort(present, wanted, quorum)

    async def change(self, seen: Waiting, wanted: int, quorum: int) -> Cohort:
        """The next cohort that differs from `seen`."""
        async with self._changed:
            while (found := self.choose(wanted, quorum)) == seen:
                await self._changed.wait()
        return found

    # Orders of open phases

    async def ready(self) -> None:
        """Return once every phase that an earlier life left open is served again.

        Until then nobody may be told that an order is unknown or over.
        """
        await self._ready.wait()

    def give_up(self, job: bytes) -> None:
        """The job will not serve its phases again."""
        self._awaited = {phase: of for phase, of in self._awaited.items() if of != job}
        self._settle()

    def _settle(self) -> None:
        if not self._awaited:
            self._ready.set()

    def desk_of(self, order: bytes) -> PhaseDesk | None:
        """The open phase that this order belongs to."""
        return self._orders.get(order)

    def held(self, agent: bytes, order: bytes) -> HeldOrder | None:
        """The open order of this agent with that digest."""
        desk = self._orders.get(order)
        found = None if desk is None else desk.orders.get(agent)
        return found if found is not None and found.digest == order else None

    def open(self, desk: PhaseDesk) -> None:
        """Serve a phase whose opening is committed: its bodies may be fetched, its orders go out."""
        self._awaited.pop(desk.facts.id, None)
        self._settle()
        for agent, order in desk.orders.items():
            self._orders[order.digest] = desk
            if agent in desk.ledger.awaited and self._links is not None:
                self._links.deliver(agent, order.digest, order.envelope)

    def close(self, desk: PhaseDesk) -> None:
        """Serve a phase no more: its closing is committed. Doing it again changes nothing."""
        if desk.recorded.is_set():
            return
        desk.recorded.set()
        for agent, order in desk.orders.items():
            self._orders.pop(order.digest, None)
            for body in (order.order.bundle.id, order.order.weights.id):
                self.bodies.withdraw(agent, body)
            if self._links is not None:
                self._links.withdraw(agent, order.digest)

    def desks(self) -> Iterable[PhaseDesk]:
        """Every open phase, once."""
        return {id(desk): desk for desk in self._orders.values()}.values()

    async def _remember(self, entry: Entry, signed: bytes) -> None:
        now = self._house.now()

        def work(connection: Connection) -> None:
            row = insert(agents).values(
                key=entry.key, name=entry.name, entry=signed, next_sequence=FIRST_SEQUENCE, seen_ms=now
            )
            fresh = {"name": entry.name, "entry": signed, "seen_ms": now}
            connection.execute(row.on_conflict_do_update(index_elements=["key"], set_=fresh))

        await self._house.database.write(work)
