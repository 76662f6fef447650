"""One life of a connection: the agent's end and the coordinator's end of the protocol.

Rules of this module:

* A method is one thing that the side may say; said where the tables do not allow it, it raises `WireViolation` and
  nothing was sent. What comes in is checked in `_own_step`, after the tables of `sojourn.wire.tables`.
* The agent numbers the channels 1, 2, … without gaps; a number is used once in a connection.
"""

from __future__ import annotations

from sojourn.errors import WireViolation
from sojourn.limits import MAX_CHANNELS, MAX_UNANSWERED_ORDERS
from sojourn.wire.core import Channel, Connection, Slice
from sojourn.wire.messages import (
    WIRE_VERSION,
    Accepted,
    Cancel,
    Closed,
    Committed,
    Declined,
    Deliver,
    Fetch,
    Hello,
    Lease,
    Message,
    Missing,
    Offer,
    Rejected,
    Renew,
    Roster,
    Verdict,
    Want,
    Welcome,
    check_code,
)
from sojourn.wire.tables import ChannelState, Phase, Side

__all__ = ["AgentConnection", "CoordinatorConnection", "Slice"]


class AgentConnection(Connection):
    """The agent's end. It opens the channels; `channels_left` says how many more it may open now."""

    SIDE = Side.AGENT

    def __init__(self) -> None:
        super().__init__()
        self._nonce = b""

    @property
    def channels_left(self) -> int:
        """How many more channels may be opened now; 0 unless the connection is open."""
        return MAX_CHANNELS - len(self._channels) if self.phase is Phase.OPEN else 0

    def hello(self, hello: Hello) -> None:
        """Say who this is; the first message."""
        self._require(Phase.NEW, "a hello")
        self._nonce, self.phase = hello.nonce, Phase.GREETING
        self._queue(hello)

    def may_answer(self, order: bytes) -> bool:
        """Whether the order was delivered on this connection and not answered yet."""
        return self.phase is Phase.OPEN and order in self._unanswered

    def answer_order(self, answer: Accepted | Declined) -> None:
        """Accept or decline a delivered order."""
        if not self.may_answer(answer.order):
            raise WireViolation("state", "an answer to an order that this connection did not deliver")
        self._unanswered.discard(answer.order)
        self._queue(answer)

    def fetch(self, body: bytes, offset: int, length: int) -> int:
        """Ask for a body from `offset` on; returns the channel."""
        channel = self._new(ChannelState.FETCHING, length)
        channel.offset = offset
        self._queue(Fetch(channel.number, body, offset, length))
        return channel.number

    def cancel(self, number: int) -> None:
        """Take no more of a fetched body."""
        channel = self._channels.get(number)
        if channel is not None and channel.state is ChannelState.FETCHING:
            self._late += channel.incoming.open
            self._end(channel)
            self._queue(Cancel(number))

    def offer(self, order: bytes, packet: bytes, body: bytes, length: int) -> int:
        """Offer an answer; returns the channel."""
        if order in self._offers:
            raise WireViolation("state", "this order's answer is already on offer")
        channel = self._new(ChannelState.OFFERED, length, order)
        self._queue(Offer(channel.number, order, packet, body, length))
        return channel.number

    def renew(self, order: bytes, epoch: int) -> None:
        """Ask for custody of an order's run."""
        self._require(Phase.OPEN, "a renewal")
        self._queue(Renew(order, epoch))

    def _new(self, state: ChannelState, length: int, order: bytes = b"") -> Channel:
        self._require(Phase.OPEN, "a new channel")
        if not self.channels_left:
            raise WireViolation("channels", f"{MAX_CHANNELS} channels are open")
        channel = Channel(self._highest + 1, state, length, order=order)
        self._open(channel)
        return channel

    def _own_step(self, message: Message) -> bool:
        match message:
            case Welcome():
                if message.version != WIRE_VERSION:
                    raise WireViolation("version", f"the coordinator speaks version {message.version}")
                if message.nonce != self._nonce:
                    raise WireViolation("refused", "the welcome answers another hello")
                self.phase = Phase.OPEN
            case Deliver():
                if message.order in self._unanswered or len(self._unanswered) >= MAX_UNANSWERED_ORDERS:
                    raise WireViolation("channels", "an order twice, or too many unanswered ones")
                self._unanswered.add(message.order)
            case Want():
                channel = self._channel(message.channel, Want)
                if channel is None or message.offset >= channel.length:
                    raise WireViolation("offset", f"a body is wanted from {message.offset}, beyond its end")
                self._start_sending(channel, message.offset)
            case Committed() | Closed() | Rejected():
                number = self._offers.get(message.order)
                channel = None if number is None else self._channel(number, type(message))
                if channel is None:
                    raise WireViolation("state", "a verdict on an answer that is not on offer")
                self._end(channel)
            case Missing():
                channel = self._channel(message.channel, Missing)
                if channel is None:
                    return False
                self._end(channel)
            case _:
                pass
        return True


class CoordinatorConnection(Connection):
    """The coordinator's end."""

    SIDE = Side.COORDINATOR

    def __init__(self) -> None:
        super().__init__()
        self._nonce = b""

    @property
    def orders_left(self) -> int:
        """How many more orders may be delivered now; 0 unless the connection is open."""
        return MAX_UNANSWERED_ORDERS - len(self._unanswered) if self.phase is Phase.OPEN else 0

    def welcome(self, coordinator: bytes, leases: tuple[Lease, ...]) -> None:
        """Greet a verified agent; the connection is open from here on."""
        self._require(Phase.GREETING, "a welcome")
        self.phase = Phase.OPEN
        self._queue(Welcome(WIRE_VERSION, coordinator, self._nonce, leases))

    def delivered(self, order: bytes) -> bool:
        """Whether the order is on the way and unanswered on this connection."""
        return order in self._unanswered

    def deliver(self, order: bytes, envelope: bytes) -> None:
        """Send an order."""
        self._require(Phase.OPEN, "a delivery")
        if order in self._unanswered or not self.orders_left:
            raise WireViolation("channels", "an order twice, or too many unanswered ones")
        self._queue(Deliver(order, envelope))
        self._unanswered.add(order)

    def serve(self, number: int) -> None:
        """Send the body that was asked for on a channel, unless that was cancelled meanwhile."""
        channel = self._channels.get(number)
        if channel is not None and channel.state is ChannelState.ASKED:
            self._start_sending(channel, channel.offset)

    def missing(self, number: int) -> None:
        """Say that there is no such body."""
        channel = self._channels.get(number)
        if channel is not None and channel.state is ChannelState.ASKED:
            self._end(channel)
            self._queue(Missing(number))

    def on_offer(self, number: int) -> bool:
        """Whether an offer waits on a channel for `want` or a verdict."""
        channel = self._channels.get(number)
        return channel is not None and channel.state is ChannelState.OFFERED

    def want(self, number: int, offset: int) -> None:
        """Ask for an offered body from `offset` on."""
        channel = self._channels.get(number)
        if channel is None or channel.state is not ChannelState.OFFERED:
            raise WireViolation("state", f"nothing is on offer on channel {number}")
        channel.state, channel.offset = ChannelState.RECEIVING, offset
        self._queue(Want(number, offset))

    def verdict(self, verdict: Verdict) -> None:
        """End an offer of this connection, at whatever state it is."""
        number = self._offers.get(verdict.order)
        if number is None:
            raise WireViolation("state", "a verdict on an answer that is not on offer")
        if isinstance(verdict, Rejected):
            check_code(verdict.reason)
        channel = self._channels[number]
        if channel.state is ChannelState.RECEIVING:
            self._late += channel.incoming.open
        self._end(channel)
        self._queue(verdict)

    def lease(self, lease: Lease) -> None:
        """Grant, or with length 0 end, custody."""
        self._require(Phase.OPEN, "a lease")
        self._queue(lease)

    def roster(self, signed: bytes) -> None:
        """Send a newer roster."""
        self._require(Phase.OPEN, "a roster")
        self._queue(Roster(signed))

    def _own_step(self, message: Message) -> bool:
        match message:
            case Hello():
                if message.version != WIRE_VERSION:
                    raise WireViolation("version", f"the agent speaks version {message.version}")
                self._nonce, self.phase = message.nonce, Phase.GREETING
            case Accepted() | Declined():
                if message.order not in self._unanswered:
                    raise WireViolation("state", "an answer to an order that was not delivered here")
                self._unanswered.discard(message.order)
            case Fetch():
                if message.offset >= message.length:
                    raise WireViolation("offset", f"a body of {message.length} bytes from {message.offset} on")
                channel = self._take(message.channel, ChannelState.ASKED, message.length)
                channel.offset = message.offset
            case Offer():
                if message.order in self._offers:
                    raise WireViolation("state", "this order's answer is already on offer")
                self._take(message.channel, ChannelState.OFFERED, message.length, message.order)
            case Cancel():
                channel_or_none = self._channel(message.channel, Cancel)
                if channel_or_none is None:
                    return False
                self._end(channel_or_none)
            case _:
                pass
        return True

    def _take(self, number: int, state: ChannelState, length: int, order: bytes = b"") -> Channel:
        """Open a channel that the agent numbered."""
        if len(self._channels) >= MAX_CHANNELS:
            raise WireViolation("channels", f"more than {MAX_CHANNELS} channels")
        if number != self._highest + 1:
            raise WireViolation("channels", f"channel {number} after channel {self._highest}")
        channel = Channel(number, state, length, order=order)
        self._open(channel)
        return channel
