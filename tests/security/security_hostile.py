"""An enrolled agent that answers what a test tells it to, with its own true keys, over its real link.

It may sign, seal and send anything as itself; a coordinator has to stand against that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hospitals.baselines import initial_weights
from security_federation import HOUR_MS, Trust, now_ms
from sojourn.agent.link import AgentLink
from sojourn.codec import decode, digest, encode
from sojourn.contracts import SUITE_1, Answer, AnswerPacket, BodyRef, OrderPacket, Released, UpdateSpec
from sojourn.crypto import ANSWER, ORDER, Identity, client_context, open_envelope, seal_body, seal_envelope
from sojourn.crypto import VerifiedOrder as Verified
from sojourn.datoms import BlockKind, join_datoms, pack_list, update_manifest
from sojourn.wire import HelloParts

__all__ = ["SHAPES", "Hostile", "Offer", "blocks"]

SHAPES = {name: tensor.shape for name, tensor in initial_weights().items()}


def blocks(arrays: Mapping[str, np.ndarray], weight: int, spec: UpdateSpec, **meta: Any) -> tuple[list[bytes], bytes]:
    """A stream of update blocks with any contents: `(datoms, root)`."""
    tensors = {**arrays, "#weight": np.array([weight], np.int64)}
    return pack_list(tensors, BlockKind.UPDATE, {**update_manifest(SHAPES, spec).meta, **meta})


def zeros() -> dict[str, np.ndarray]:
    """The integer blocks that change nothing."""
    return {name: np.zeros(shape, np.int32) for name, shape in SHAPES.items()}


@dataclass(frozen=True, slots=True)
class Offer:
    """A sealed answer."""

    packet: bytes
    body: BodyRef | None
    sealed: bytes


@dataclass
class Hostile:
    """Implements `sojourn.wire.LinkHandler`.

    Attributes:
        orders: that came, verified.
        verdicts: (name, order, reason) in the order in which they came.
        packets: what the envelopes held, by envelope.
    """

    trust: Trust
    name: str
    url: str
    orders: asyncio.Queue[Verified] = field(default_factory=asyncio.Queue)
    verdicts: asyncio.Queue[tuple[str, bytes, str]] = field(default_factory=asyncio.Queue)
    packets: dict[bytes, OrderPacket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.identity, self.entry, self.signed_entry = self.trust.agent(self.name)
        self.trusted = self.trust.trusted()
        self.link = AgentLink(self.url, self, ssl=client_context(self.trusted.roster.authority, self.identity))
        (self.coordinator,) = (e for e in self.trusted.roster.entries if e.role == "coordinator")

    @property
    def key(self) -> str:
        return self.entry.key.hex()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Hostile]:
        task = asyncio.create_task(self.link.run())
        try:
            async with asyncio.timeout(10):
                while not self.link.connected:
                    await asyncio.sleep(0.01)
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def order(self) -> Verified:
        """The next order; it is accepted."""
        async with asyncio.timeout(10):
            verified = await self.orders.get()
        self.link.accepted(verified.digest)
        return verified

    async def verdict(self) -> tuple[str, str]:
        """The next verdict and its reason."""
        async with asyncio.timeout(10):
            name, _, reason = await self.verdicts.get()
        return name, reason

    def offer(self, order: Verified, offer: Offer) -> None:
        self.link.offer(order.digest, offer.packet, offer.body, None if offer.body is None else offer.sealed)

    async def try_offer(self, order: Verified, offer: Offer) -> tuple[str, str]:
        """Offer and wait for what becomes of it."""
        self.offer(order, offer)
        return await self.verdict()

    # Answers

    def spec(self, order: Verified) -> UpdateSpec:
        return next(one.update for one in order.phase.answer if one.update is not None)

    def update(self, order: Verified, arrays: Mapping[str, np.ndarray] | None = None, weight: int = 0) -> tuple:
        return blocks(arrays if arrays is not None else zeros(), weight, self.spec(order))

    def releases(self, root: bytes, patients: float = 0.0, loss: float = 5.0) -> tuple[Released, ...]:
        made = ("trusted-plan", {})
        return (
            Released("update", "update", "clip", *made, None, root, 3, bytes(32)),
            Released("count", "patients", "bounded-count", *made, patients, b"", 4, bytes(32)),
            Released("mean", "loss", "bounded-mean", *made, loss, b"", 5, bytes(32)),
        )

    def seal(
        self,
        order: Verified,
        datoms: list[bytes],
        root: bytes,
        *,
        signer: Identity | None = None,
        joined: bytes | None = None,
        **changes: Any,
    ) -> Offer:
        """A sealed answer with this update; `changes` are fields of the statement."""
        terms = order.order
        fields: dict[str, Any] = {
            "suite": SUITE_1, "agent": self.entry.key, "order": order.digest, "job": digest(terms.job),
            "program": terms.program, "plan": terms.plan, "run": terms.run, "epoch": terms.epoch,
            "round": terms.round, "phase": terms.phase, "weights_root": terms.weights_root, "outcome": "done",
            "code": "", "line": 0, "releases": self.releases(root), "issued_ms": now_ms(),
        }  # fmt: skip
        fields |= changes
        sealed, ref, key = seal_body(joined if joined is not None else join_datoms(datoms))
        if fields["outcome"] != "done":
            sealed, ref, key = b"", None, b""
        packet = encode(AnswerPacket((signer or self.identity).sign(Answer(**fields)), ref, key))
        now = now_ms()
        return Offer(seal_envelope(self.identity, self.coordinator, ANSWER, packet, now, now + HOUR_MS), ref, sealed)

    def nothing(self, order: Verified) -> Offer:
        """The honest neutral answer: zero blocks of weight zero."""
        return self.seal(order, *self.update(order))

    def failed(self, order: Verified) -> Offer:
        """An honest answer that says that the run failed."""
        return self.seal(order, [], b"", outcome="failed", code="fuel", line=7, releases=())

    # LinkHandler

    def hello(self) -> HelloParts:
        return HelloParts(self.signed_entry, self.trusted.roster.version, ())

    async def on_order(self, order: bytes, envelope: bytes) -> None:
        now = now_ms()
        packet = decode(OrderPacket, open_envelope(self.identity, envelope, self.coordinator, ORDER, now))
        self.packets[envelope] = packet
        self.orders.put_nowait(self.trusted.verify_order(packet.order, self.entry, now))

    async def on_lease(self, order: bytes, epoch: int, lease_ms: int) -> None:
        """A hostile agent needs none."""

    async def on_committed(self, order: bytes) -> None:
        self.verdicts.put_nowait(("committed", order, ""))

    async def on_closed(self, order: bytes) -> None:
        self.verdicts.put_nowait(("closed", order, ""))

    async def on_rejected(self, order: bytes, reason: str) -> None:
        self.verdicts.put_nowait(("rejected", order, reason))

    async def on_roster(self, signed: bytes) -> None:
        """The same as before."""
