"""A coordinator that sends whatever a test gives it, with the roster's own coordinator's keys, over real TLS.

It is what an agent has to stand against: it may sign and seal anything as itself, and nothing as the author.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from hospitals.baselines import initial_weights
from security_federation import HOUR_MS, Submission, Trust, now_ms
from sojourn.agent import Agent
from sojourn.codec import decode, digest, encode
from sojourn.contracts import SUITE_1, BodyRef, Bundle, Entry, Order, OrderPacket, child_run
from sojourn.crypto import ORDER, seal_body, seal_envelope, server_context, sign_document
from sojourn.datoms import BlockKind, join_datoms, pack_list
from sojourn.wire import Committed, Greeting
from sojourn_coordinator.gateway import Gateway

__all__ = ["Rogue", "Sealed"]


@dataclass(frozen=True, slots=True)
class Sealed:
    """An order that is ready to be sent, and what its bodies need."""

    order: Order
    signed: bytes
    envelope: bytes

    @property
    def digest(self) -> bytes:
        return digest(self.signed)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A sealed body with its key, as a gateway serves it."""

    sealed: bytes
    ref: BodyRef
    key: bytes

    @property
    def length(self) -> int:
        return len(self.sealed)

    def read(self, offset: int, n: int, /) -> memoryview:
        return memoryview(self.sealed)[offset : offset + n]


class _Sink:
    def __init__(self, rogue: Rogue, order: bytes) -> None:
        self.rogue, self.order = rogue, order

    async def feed(self, chunk: memoryview, /) -> None:
        """Nobody looks at it."""

    async def finish(self) -> Committed:
        self.rogue.tell("answered", self.order)
        return Committed(self.order)

    async def abort(self) -> None:
        """Nothing was kept."""


@dataclass
class Rogue:
    """Mints orders of one submission to one agent; implements `sojourn.wire.GatewayHandler`.

    Attributes:
        told: what the agent said: ("accepted" | "answered", order) and ("declined", order, code).
    """

    trust: Trust
    given: Submission
    entry: Entry
    told: list[tuple[Any, ...]] = field(default_factory=list)
    bodies: dict[bytes, _Stored] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _sequences: itertools.count = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        items = decode(Bundle, self.given.data, limit=1 << 20).items
        self.items = {name: data for name, data in items.items() if name in {"program", "plan"} or "/" in name}
        self.job = items["job"]
        datoms, self.root = pack_list(initial_weights(), BlockKind.WEIGHT)
        self.bundle = self.keep(encode(Bundle(self.items)))
        self.weights = self.keep(join_datoms(datoms))

    def keep(self, plain: bytes) -> _Stored:
        """Seal a body and serve it."""
        stored = _Stored(*seal_body(plain))
        self.bodies[stored.ref.id] = stored
        return stored

    def order(self, **changes: Any) -> Order:
        """An order that holds, but for `changes`."""
        now = now_ms()
        order = Order(
            suite=SUITE_1, coordinator=self.trust.coordinator.key, recipient=self.entry.key,
            sequence=next(self._sequences), issued_ms=now, expires_ms=now + HOUR_MS, deadline_ms=20_000, job=self.job,
            program=self.given.job.program, plan=self.given.job.plan, phase="train", round=0,
            run=child_run(secrets.token_bytes(32), 0, 0), epoch=1, lease_ms=30_000, clearance=(),
            bundle=self.bundle.ref, weights=self.weights.ref, weights_root=self.root,
        )  # fmt: skip
        return msgspec.structs.replace(order, **changes)

    def sign(self, order: Order) -> bytes:
        """Sign as the coordinator."""
        return sign_document(self.trust.coordinator, order)

    def seal(self, signed: bytes, to: Entry | None = None) -> bytes:
        """Seal any bytes as an order's packet, as the coordinator."""
        now = now_ms()
        packet = encode(OrderPacket(signed, self.bundle.key, self.weights.key))
        return seal_envelope(self.trust.coordinator, to or self.entry, ORDER, packet, now, now + HOUR_MS)

    def mint(self, **changes: Any) -> Sealed:
        """A signed and sealed order."""
        order = self.order(**changes)
        signed = self.sign(order)
        return Sealed(order, signed, self.seal(signed))

    # Talking to the agent

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Gateway]:
        """The agents' listener."""
        trusted = self.trust.trusted()
        context = server_context(self.trust.coordinator, trusted.roster.authority)
        async with Gateway(self, lambda signed: trusted.verify_agent(signed, now_ms()), ssl=context) as gateway:
            yield gateway

    @contextlib.asynccontextmanager
    async def meeting(self, folder: Path) -> AsyncIterator[tuple[Gateway, Agent]]:
        """The listener, and an agent of that folder connected to it."""
        async with self.listening() as gateway:
            with Agent(folder, f"wss://127.0.0.1:{gateway.port}") as agent:
                task = asyncio.create_task(agent.run())
                try:
                    yield gateway, agent
                finally:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

    async def until(self, *wanted: tuple[Any, ...], seconds: float = 15.0) -> None:
        """Wait until the agent has said all of it."""
        async with asyncio.timeout(seconds):
            while not set(wanted) <= set(self.told):
                self.changed.clear()
                await self.changed.wait()

    async def heard(self, orders: int, seconds: float = 20.0) -> dict[bytes, str]:
        """Wait until the agent has declined or accepted that many orders; public code by order, empty if accepted."""
        async with asyncio.timeout(seconds):
            while len(said := {told[1]: told[2] if told[0] == "declined" else "" for told in self.told}) < orders:
                self.changed.clear()
                await self.changed.wait()
        return said

    def tell(self, *what: Any) -> None:
        self.told.append(what)
        self.changed.set()

    async def on_hello(self, agent: Entry, hello: Any) -> Greeting:
        return Greeting(self.trust.coordinator.key)

    async def on_gone(self, agent: Entry) -> None:
        """It comes again."""

    async def on_accepted(self, agent: Entry, order: bytes) -> None:
        self.tell("accepted", order)

    async def on_declined(self, agent: Entry, order: bytes, code: str) -> None:
        self.tell("declined", order, code)

    async def on_renew(self, agent: Entry, order: bytes, epoch: int) -> int:
        return 30_000

    def open_body(self, agent: Entry, body: bytes) -> _Stored | None:
        return self.bodies.get(body)

    async def on_offer(self, agent: Entry, order: bytes, packet: bytes, body: bytes, length: int) -> _Sink:
        return _Sink(self, order)
