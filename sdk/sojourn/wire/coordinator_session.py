"""What a coordinator keeps for one agent across its connections: pending orders and bodies half received.

Rules of this module:

* An order is delivered on every connection until the agent accepts or declines it, lists it as held, or it is
  withdrawn. Never more than `MAX_UNANSWERED_ORDERS` are on the way.
* An upload goes on at the byte it had when the agent offers the same answer again. It is wanted again only when all
  that came was consumed, so that what lies unread is never more than one window.
* At most `MAX_CHANNELS` uploads are kept; the oldest one without a connection makes room.
"""

from __future__ import annotations

from dataclasses import dataclass

from sojourn.codec import digest
from sojourn.limits import MAX_CHANNELS
from sojourn.wire.connection import CoordinatorConnection
from sojourn.wire.events import (
    AnswerChunk,
    BodyAsked,
    BodyDropped,
    CoordinatorEvent,
    OfferArrived,
    OfferDropped,
    OrderAccepted,
    OrderDeclined,
    PeerLeft,
    RenewAsked,
)
from sojourn.wire.messages import (
    Accepted,
    Bye,
    Cancel,
    Data,
    Declined,
    Fetch,
    Hello,
    Lease,
    Message,
    Offer,
    Renew,
    Verdict,
    check_sealed,
)

__all__ = ["CoordinatorSession"]


@dataclass(slots=True)
class _Upload:
    order: bytes
    packet: bytes  # SHA-256
    body: bytes
    length: int
    received: int = 0
    unconsumed: int = 0
    wanted: bool = False
    channel: int | None = None


class CoordinatorSession:
    """The coordinator's side of the protocol with one agent, from its first connection to its last."""

    def __init__(self) -> None:
        self.connection: CoordinatorConnection | None = None
        self._pending: dict[bytes, bytes] = {}  # order -> envelope, in the order of delivery
        self._uploads: dict[bytes, _Upload] = {}
        self._channels: dict[int, _Upload] = {}

    # Connections come and go.

    def attach(self, connection: CoordinatorConnection, hello: Hello) -> tuple[CoordinatorEvent, ...]:
        """Go on with a connection whose hello was verified; the one before is told that it is superseded."""
        if self.connection is not None:
            self.connection.bye("superseded")
        self.lost()
        self.connection = connection
        for held in hello.held:
            self._pending.pop(held.order, None)
        return tuple(OrderAccepted(held.order) for held in hello.held)

    def welcome(self, connection: CoordinatorConnection, coordinator: bytes, leases: tuple[Lease, ...]) -> bool:
        """Open the connection and send what is pending; False when it ended or was superseded meanwhile."""
        if connection is not self.connection or connection.ended:
            return False
        connection.welcome(coordinator, leases)
        self._deliver_waiting()
        return True

    def lost(self) -> None:
        """The connection is gone; everything open waits for the next one."""
        for upload in self._channels.values():
            upload.channel = None
        self._channels.clear()
        self.connection = None

    def receive(self, connection: CoordinatorConnection, data: bytes) -> tuple[CoordinatorEvent, ...]:
        """Take one message of a connection; one that was superseded or has ended is not heard.

        Raises:
            DecodeError: not a message.
            WireViolation: not allowed here; say bye with its reason.
        """
        if connection is not self.connection or connection.ended:
            return ()
        message = connection.receive(data)
        return () if message is None else self._events(message)

    def _events(self, message: Message) -> tuple[CoordinatorEvent, ...]:
        match message:
            case Data():
                return (self._chunk(message),)
            case Accepted():
                self._answered(message.order)
                return (OrderAccepted(message.order),)
            case Declined():
                self._answered(message.order)
                return (OrderDeclined(message.order, message.code),)
            case Offer():
                return self._offered(message)
            case Fetch():
                return (BodyAsked(message.channel, message.body, message.length),)
            case Renew():
                return (RenewAsked(message.order, message.epoch),)
            case Cancel():
                return (BodyDropped(message.channel),)
            case Bye():
                return (PeerLeft(message.code),)
            case _:
                return ()

    # Orders.

    def deliver(self, order: bytes, envelope: bytes) -> None:
        """Deliver an order until it is answered; delivering a pending one again changes nothing.

        Raises:
            UsageError: the envelope does not fit a message.
        """
        self._pending.setdefault(order, check_sealed(envelope))
        self._deliver_waiting()

    def withdraw(self, order: bytes) -> None:
        """Deliver an order no more."""
        self._pending.pop(order, None)

    @property
    def idle(self) -> bool:
        """Whether nothing is kept for the agent: no connection, no pending order, no upload."""
        return self.connection is None and not self._pending and not self._uploads

    def _answered(self, order: bytes) -> None:
        self._pending.pop(order, None)
        self._deliver_waiting()

    def _deliver_waiting(self) -> None:
        connection = self.connection
        if connection is None or not connection.orders_left:
            return
        for order, envelope in self._pending.items():
            if not connection.orders_left:
                return
            if not connection.delivered(order):
                connection.deliver(order, envelope)

    # Answers.

    def want(self, order: bytes) -> None:
        """Take the body of an offer that arrived."""
        upload = self._uploads.get(order)
        if upload is not None:
            upload.wanted = True
            self._resume(upload)

    def consumed(self, order: bytes, size: int) -> None:
        """`size` bytes of an upload were used up: grants credit, or wants again what a cut left out."""
        upload = self._uploads.get(order)
        if upload is None:
            return
        upload.unconsumed -= size
        if upload.channel is None or self.connection is None:
            return
        if self.connection.on_offer(upload.channel):  # they came on an earlier connection
            self._resume(upload)
        else:
            self.connection.consumed(upload.channel, size)

    def settle(self, verdict: Verdict) -> None:
        """End an offer. While the agent is away the verdict is not kept: its next offer is judged anew."""
        upload = self._uploads.pop(verdict.order, None)
        if upload is not None and upload.channel is not None and self.connection is not None:
            del self._channels[upload.channel]
            self.connection.verdict(verdict)

    def drop(self, order: bytes) -> None:
        """Forget an upload without a verdict; say bye after that, so that the agent offers it again."""
        self._uploads.pop(order, None)

    def abandon(self) -> tuple[bytes, ...]:
        """Forget the uploads of an agent that stays away; returns their orders."""
        orders = tuple(
            order
            for order, upload in self._uploads.items()
            if upload.channel is None and upload.received < upload.length
        )
        for order in orders:
            del self._uploads[order]
        return orders

    def _offered(self, message: Offer) -> tuple[CoordinatorEvent, ...]:
        packet, events = digest(message.packet), []
        upload = self._uploads.get(message.order)
        same = upload is not None and (upload.packet, upload.body, upload.length) == (
            packet,
            message.body,
            message.length,
        )
        if upload is None or not same:
            if upload is None and len(self._uploads) >= MAX_CHANNELS:
                upload = next(kept for kept in self._uploads.values() if kept.channel is None)
            if upload is not None:
                del self._uploads[upload.order]
                events.append(OfferDropped(upload.order))
            upload = _Upload(message.order, packet, message.body, message.length)
            self._uploads[message.order] = upload
        upload.channel = message.channel
        self._channels[message.channel] = upload
        if same:
            self._resume(upload)
            return ()
        return (*events, OfferArrived(message.order, message.packet, message.body, message.length))

    def _resume(self, upload: _Upload) -> None:
        connection = self.connection
        if (
            upload.wanted
            and connection is not None
            and upload.channel is not None
            and upload.unconsumed == 0
            and upload.received < upload.length
            and connection.on_offer(upload.channel)
        ):
            connection.want(upload.channel, upload.received)

    def _chunk(self, message: Data) -> AnswerChunk:
        upload = self._channels[message.channel]
        size = len(message.payload)
        upload.received += size
        upload.unconsumed += size
        return AnswerChunk(upload.order, message.payload, message.last)
