"""What stands behind a link and a gateway: the protocols that the agent's runtime and the coordinator implement.

Rules of this module:

* Methods are called one after the other in the order in which their messages arrived. They should return soon;
  long work belongs in a task of the implementer's own.
* Everything may be told twice: after a crash of either side the same order, verdict or acceptance comes again, and
  the implementer's durable state drops the duplicate by the order's digest.

What the two shells offer their implementers (both are driven from one event loop, no method blocks):

* `AgentLink(url, handler, *, ssl, pins=None)`: `await run()` until cancelled, `fetch(body, length)` an async iterator
  of chunks, `accepted(order)`, `declined(order, code)`, `offer(order, packet, body: BodyRef | None, source: Path |
  bytes | None)`, `renew(order, epoch)`, `connected`.
* `Gateway(handler, verify_agent, *, ssl, host, port)`, an async context manager: `deliver(agent_key, order, envelope)`
  (kept and sent again until accepted, declined or `withdraw(agent_key, order)`; the agent need not be connected yet),
  `connected() -> list[Entry]`, `announce(roster)`, `port`. `verify_agent(signed entry) -> Entry` raises a `PeerError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sojourn.contracts import Entry
from sojourn.wire.messages import HeldOrder, Hello, Lease, Verdict

__all__ = ["AnswerSink", "BodySource", "GatewayHandler", "Greeting", "HelloParts", "LinkHandler"]


@dataclass(frozen=True, slots=True)
class HelloParts:
    """What an agent says of itself when it connects.

    Attributes:
        entry: its registrar-signed entry, exact bytes.
        roster_version: of the roster it trusts.
        held: orders that are durable here and neither committed, closed nor rejected.
    """

    entry: bytes
    roster_version: int
    held: tuple[HeldOrder, ...]


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a coordinator answers to a hello.

    Attributes:
        coordinator: its key id, 32 bytes.
        leases: for held orders; `lease_ms` 0 tells the agent that the order is not its own any more.
        roster: a newer signed roster, or None when the agent's is current.
    """

    coordinator: bytes
    leases: tuple[Lease, ...] = ()
    roster: bytes | None = None


class LinkHandler(Protocol):
    """The agent's runtime, as its link sees it."""

    def hello(self) -> HelloParts:
        """Called before each connection."""

    async def on_order(self, order: bytes, envelope: bytes) -> None:
        """A sealed order came; answer with `AgentLink.accepted` or `declined`, at any later time.

        `order` is the sender's claim of the digest of the signed order inside; compare it once that is open.
        """

    async def on_lease(self, order: bytes, epoch: int, lease_ms: int) -> None:
        """Custody was granted or renewed for `lease_ms` from now; 0 means that it was not."""

    async def on_committed(self, order: bytes) -> None:
        """The answer is durable at the coordinator: the stored one may go."""

    async def on_closed(self, order: bytes) -> None:
        """The order's phase is over: the stored answer may go."""

    async def on_rejected(self, order: bytes, reason: str) -> None:
        """The answer was refused for good."""

    async def on_roster(self, signed: bytes) -> None:
        """A newer roster; verify it before use."""


class BodySource(Protocol):
    """A stored body. `read` returns 1..n bytes at `offset` (exactly n unless the body ends there)."""

    @property
    def length(self) -> int:
        """Bytes of the whole body."""

    def read(self, offset: int, n: int, /) -> bytes | memoryview:
        """Bytes at `offset`; must not block for long."""


class AnswerSink(Protocol):
    """Takes one offered body. A `PeerError` from `feed` or `finish` rejects the offer with the error's reason."""

    async def feed(self, chunk: memoryview, /) -> None:
        """The next bytes of the body, in order, without gap or repetition. The view stays valid."""

    async def finish(self) -> Verdict:
        """All bytes were fed: make the answer durable, then say so. Not called when the body stays incomplete."""

    async def abort(self) -> None:
        """The body will not be completed on this sink; what was fed is garbage."""


class GatewayHandler(Protocol):
    """The coordinator, as its gateway sees it. `agent` is always the verified entry of the connection's agent."""

    async def on_hello(self, agent: Entry, hello: Hello) -> Greeting:
        """A verified agent connected. Its pending deliveries are sent after the greeting, without being asked for."""

    async def on_gone(self, agent: Entry) -> None:
        """Its connection ended, and no newer one of the same agent took its place."""

    async def on_accepted(self, agent: Entry, order: bytes) -> None:
        """The order is durable at the agent: it accepted it, or lists it as held (told at every hello)."""

    async def on_declined(self, agent: Entry, order: bytes, code: str) -> None:
        """The order will not run at this agent."""

    async def on_renew(self, agent: Entry, order: bytes, epoch: int) -> int:
        """The agent asks for custody under the same epoch: returns the lease in ms, 0 to refuse."""

    def open_body(self, agent: Entry, body: bytes) -> BodySource | None:
        """The stored body of that id, or None when there is none that this agent may have."""

    async def on_offer(
        self, agent: Entry, order: bytes, packet: bytes, body: bytes, length: int
    ) -> AnswerSink | Verdict:
        """An answer is offered: a sink for its body (for none, `finish` follows at once), or the verdict at once."""
