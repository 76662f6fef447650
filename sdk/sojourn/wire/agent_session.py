"""What an agent's link keeps across connections: orders seen, answers on offer, bodies half fetched.

Rules of this module:

* An order is told to the shell once in the life of the session, however often it is delivered. Its answer is kept
  and sent again when the order comes again, because an answer may be lost with a connection.
* An answer is offered on every connection until its verdict comes.
* A fetch goes on at the byte it had. It is asked for again only when all that came was consumed, so that a line that
  is cut over and over never makes this side hold more than one window.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from sojourn.errors import UsageError
from sojourn.limits import MAX_HELD_ORDERS
from sojourn.wire.connection import AgentConnection
from sojourn.wire.events import (
    AgentEvent,
    BodyChunk,
    BodyMissing,
    Greeted,
    LeaseCame,
    OfferSettled,
    OrderArrived,
    PeerLeft,
    RosterCame,
)
from sojourn.wire.messages import (
    Accepted,
    Bye,
    Closed,
    Committed,
    Data,
    Declined,
    Deliver,
    Hello,
    Lease,
    Message,
    Missing,
    Rejected,
    Roster,
    Welcome,
    check_code,
    check_sealed,
)

__all__ = ["AgentSession"]


@dataclass(slots=True)
class _Offering:
    order: bytes
    packet: bytes
    body: bytes
    length: int
    channel: int | None = None


@dataclass(slots=True)
class _Fetching:
    ticket: int
    body: bytes
    length: int
    offset: int = 0  # bytes that came
    unconsumed: int = 0  # of them, not used up by the consumer
    channel: int | None = None


class AgentSession:
    """The agent's side of the protocol from the first connection to the last."""

    def __init__(self) -> None:
        self.connection: AgentConnection | None = None
        self._orders: OrderedDict[bytes, Accepted | Declined | None] = OrderedDict()
        self._held: frozenset[bytes] = frozenset()
        self._offers: dict[bytes, _Offering] = {}
        self._fetches: dict[int, _Fetching] = {}
        self._channels: dict[int, _Offering | _Fetching] = {}
        self._tickets = 0

    # Connections come and go.

    def connect(self, hello: Hello) -> AgentConnection:
        """Begin a connection; the one before, if any, is over."""
        self.lost()
        self._held = frozenset(held.order for held in hello.held)
        connection = AgentConnection()
        connection.hello(hello)
        self.connection = connection
        return connection

    def lost(self) -> None:
        """The connection is gone; everything open waits for the next one."""
        for transfer in self._channels.values():
            transfer.channel = None
        self._channels.clear()
        self.connection = None

    def receive(self, data: bytes) -> AgentEvent | None:
        """Take one message of the current connection.

        Returns:
            What the shell must hear of it, or None.

        Raises:
            DecodeError: not a message.
            WireViolation: not allowed here; say bye with its reason.
        """
        connection = self.connection
        if connection is None or connection.ended:
            return None
        message = connection.receive(data)
        return None if message is None else self._event(connection, message)

    def _event(self, connection: AgentConnection, message: Message) -> AgentEvent | None:
        match message:
            case Data():
                return self._chunk(message)
            case Deliver():
                return self._order(connection, message)
            case Committed() | Closed() | Rejected():
                return self._settled(message)
            case Missing():
                return self._missing(message)
            case Welcome():
                self._open_waiting()
                return Greeted(message.coordinator, message.leases)
            case Lease():
                return LeaseCame(message)
            case Roster():
                return RosterCame(message.signed)
            case Bye():
                return PeerLeft(message.code)
            case _:
                return None

    # Orders.

    def accepted(self, order: bytes) -> None:
        """The order is durable here."""
        self._answer(Accepted(order))

    def declined(self, order: bytes, code: str) -> None:
        """The order will not run here; `code` is public.

        Raises:
            UsageError: it is no public code.
        """
        self._answer(Declined(order, check_code(code)))

    def renew(self, order: bytes, epoch: int) -> bool:
        """Ask for custody, if connected; a reconnect brings leases by itself."""
        if self.connection is None or not self.connection.is_open:
            return False
        self.connection.renew(order, epoch)
        return True

    def _order(self, connection: AgentConnection, message: Deliver) -> AgentEvent | None:
        order = message.order
        if order not in self._orders and order not in self._held:
            self._remember(order, None)
            return OrderArrived(order, message.envelope)
        known = self._orders.get(order)
        if known is None and order in self._held:
            known = Accepted(order)
        if known is not None:
            connection.answer_order(known)
        return None

    def _answer(self, answer: Accepted | Declined) -> None:
        self._remember(answer.order, answer)
        if self.connection is not None and self.connection.may_answer(answer.order):
            self.connection.answer_order(answer)

    def _remember(self, order: bytes, answer: Accepted | Declined | None) -> None:
        self._orders[order] = answer
        self._orders.move_to_end(order)
        if len(self._orders) > MAX_HELD_ORDERS:
            oldest = next((name for name, known in self._orders.items() if known is not None), None)
            if oldest is not None:
                del self._orders[oldest]

    # Answers.

    def offer(self, order: bytes, packet: bytes, body: bytes = b"", length: int = 0) -> None:
        """Offer an answer until its verdict comes. Offering the same again changes nothing.

        Raises:
            UsageError: the same order with another packet or body: sealed answers are stored and sent as they are.
                Or a packet that does not fit a message.
        """
        present = self._offers.get(order)
        if present is not None:
            if (present.packet, present.body, present.length) != (packet, body, length):
                raise UsageError("this order has another answer on offer; offer the stored one again, as it is")
            return
        self._offers[order] = _Offering(order, check_sealed(packet), body, length)
        self._open_waiting()

    def order_on(self, channel: int) -> bytes:
        """The order whose body goes out on a channel that is ready to send."""
        transfer = self._channels[channel]
        return transfer.order if isinstance(transfer, _Offering) else b""

    def _settled(self, verdict: Committed | Closed | Rejected) -> AgentEvent | None:
        offering = self._offers.pop(verdict.order)
        if offering.channel is not None:
            del self._channels[offering.channel]
        self._open_waiting()
        return OfferSettled(verdict)

    # Bodies.

    def fetch(self, body: bytes, length: int) -> int:
        """Fetch a body of `length` > 0 bytes; returns the ticket that its chunks carry."""
        self._tickets += 1
        self._fetches[self._tickets] = _Fetching(self._tickets, body, length)
        self._open_waiting()
        return self._tickets

    def consumed(self, ticket: int, size: int) -> None:
        """The consumer used up `size` bytes: grants credit, or asks again for what a cut left out."""
        fetching = self._fetches.get(ticket)
        if fetching is None:
            return
        fetching.unconsumed -= size
        if fetching.channel is not None and self.connection is not None:
            self.connection.consumed(fetching.channel, size)
        elif fetching.unconsumed == 0:
            self._open_waiting()

    def cancel(self, ticket: int) -> None:
        """The consumer takes no more; an unknown or finished ticket is nothing."""
        fetching = self._fetches.pop(ticket, None)
        if fetching is not None and fetching.channel is not None and self.connection is not None:
            del self._channels[fetching.channel]
            self.connection.cancel(fetching.channel)
            self._open_waiting()

    def _chunk(self, message: Data) -> AgentEvent | None:
        fetching = self._channels[message.channel]
        if not isinstance(fetching, _Fetching):
            return None
        size = len(message.payload)
        fetching.offset += size
        fetching.unconsumed += size
        if message.last:
            del self._channels[message.channel], self._fetches[fetching.ticket]
            self._open_waiting()
        return BodyChunk(fetching.ticket, message.payload)

    def _missing(self, message: Missing) -> AgentEvent | None:
        fetching = self._channels.pop(message.channel)
        if not isinstance(fetching, _Fetching):
            return None
        del self._fetches[fetching.ticket]
        self._open_waiting()
        return BodyMissing(fetching.ticket)

    def _open_waiting(self) -> None:
        """Open channels for what waits, answers first, as far as the connection has room."""
        connection = self.connection
        if connection is None or not connection.channels_left:
            return
        for offering in self._offers.values():
            if offering.channel is None and connection.channels_left:
                channel = connection.offer(offering.order, offering.packet, offering.body, offering.length)
                offering.channel = channel
                self._channels[channel] = offering
        for fetching in self._fetches.values():
            if fetching.channel is None and fetching.unconsumed == 0 and connection.channels_left:
                channel = connection.fetch(fetching.body, fetching.offset, fetching.length)
                fetching.channel = channel
                self._channels[channel] = fetching
