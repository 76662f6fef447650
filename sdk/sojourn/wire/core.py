"""What both ends of a connection share: phase, channels, credits, and what waits to be sent.

Rules of this module (models: h11, and the sans-I/O core of websockets):

* `receive` takes the bytes of one message and returns the message once every rule holds for it, None for one that
  crossed the end of its channel on the way, and raises `DecodeError` or `WireViolation` otherwise.
* What goes out is pulled: `next_frame` gives control messages in the order of their making, `ready` says which
  channel may send how much, round robin, and `data` makes the frame of what the shell has read.
* Nothing here outlives the connection; what does is in `agent_session` and `coordinator_session`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from sojourn.errors import WireViolation
from sojourn.limits import MAX_FRAME_BYTES, MAX_QUEUED_FRAMES
from sojourn.wire.flow import ReceiveWindow, SendWindow
from sojourn.wire.messages import (
    DATA_BYTES,
    Bye,
    Credit,
    Data,
    Message,
    decode_message,
    encode_data,
    encode_message,
)
from sojourn.wire.tables import CHANNEL, LATE, RECEIVES, ChannelState, Phase, Side

__all__ = ["Channel", "Connection", "Slice"]


@dataclass(frozen=True, slots=True)
class Slice:
    """What may be sent now: `size` bytes of the channel's body at `offset`; `last` when they end it."""

    channel: int
    offset: int
    size: int
    last: bool


@dataclass(slots=True)
class Channel:
    """A channel as one side sees it. `offset` is the next byte to go or come."""

    number: int
    state: ChannelState
    length: int
    offset: int = 0
    order: bytes = b""
    outgoing: SendWindow = field(default_factory=SendWindow)
    incoming: ReceiveWindow = field(default_factory=ReceiveWindow)


class Connection(ABC):
    """What both sides share: the tables, the channels, the credits and the queue of control messages."""

    SIDE: ClassVar[Side]

    def __init__(self) -> None:
        self.phase = Phase.NEW
        self.ended = ""  # reason of the bye that was said or heard
        self._control: deque[bytes] = deque()
        self._channels: dict[int, Channel] = {}
        self._sending: deque[int] = deque()
        self._offers: dict[bytes, int] = {}  # order -> channel
        self._unanswered: set[bytes] = set()
        self._highest = 0  # channel number
        self._late = 0  # bytes that may still come on channels that this side ended early

    @property
    def is_open(self) -> bool:
        """Whether the hello was welcomed and nobody has said bye."""
        return self.phase is Phase.OPEN

    # What comes in.

    def receive(self, data: bytes) -> Message | None:
        """Take one message.

        Returns:
            The message, which now counts, or None when it came too late to matter.

        Raises:
            DecodeError: not a message.
            WireViolation: a message that is not allowed here; its `reason` is a key of `CLOSE_CODES`.
        """
        if len(self._control) > MAX_QUEUED_FRAMES:
            raise WireViolation("slow", f"{len(self._control)} messages wait for a peer that keeps asking")
        message = decode_message(data)
        if type(message) not in RECEIVES[self.SIDE][self.phase]:
            name = type(message).__name__
            raise WireViolation("state", f"a {name} came to the {self.SIDE.value} in phase {self.phase.value}")
        return message if self._step(message) else None

    def _step(self, message: Message) -> bool:
        """Apply an allowed message; False when it crossed the end of its channel."""
        match message:
            case Data():
                return self._data_came(message)
            case Credit():
                channel = self._channel(message.channel, Credit)
                if channel is not None:
                    channel.outgoing.grant(message.size)
                return channel is not None
            case Bye():
                self.phase, self.ended = Phase.ENDED, message.code
                return True
            case _:
                return self._own_step(message)

    @abstractmethod
    def _own_step(self, message: Message) -> bool:
        """The messages that only this side receives; whether it was one of them."""

    def _data_came(self, message: Data) -> bool:
        size = len(message.payload)
        channel = self._channel(message.channel, Data)
        if channel is None:
            self._late -= size
            if self._late < 0 or size == 0:
                raise WireViolation("credit", f"{size} bytes came on a channel that is over, beyond its credit")
            return False
        end = message.offset + size
        if message.offset != channel.offset or size == 0:
            raise WireViolation("offset", f"{size} bytes came at {message.offset}, expected at {channel.offset}")
        if end > channel.length or message.last != (end == channel.length):
            raise WireViolation(
                "offset", f"data up to {end} (last: {message.last}) of a body of {channel.length} bytes"
            )
        channel.incoming.receive(size)
        channel.offset = end
        if message.last:
            if channel.state is ChannelState.FETCHING:
                self._end(channel)
            else:
                channel.state = ChannelState.COMPLETE
        return True

    def _channel(self, number: int, kind: type[Message]) -> Channel | None:
        """The open channel that may receive `kind`; None for one that is over and may still get it."""
        channel = self._channels.get(number)
        if channel is None:
            if number <= self._highest and kind in LATE[self.SIDE]:
                return None
            raise WireViolation("state", f"a {kind.__name__} on channel {number}, which is not open")
        if kind not in CHANNEL[self.SIDE][channel.state]:
            raise WireViolation("state", f"a {kind.__name__} on channel {number}, which is {channel.state.value}")
        return channel

    # What goes out.

    def next_frame(self) -> bytes | None:
        """The next control message to send, or None."""
        return self._control.popleft() if self._control else None

    def outgoing(self, read: Callable[[Slice], bytes | memoryview]) -> Iterator[bytes]:
        """Frames to send, one at a time, until nothing more can go now. Control messages go before data.

        Args:
            read: gives the bytes of a slice, at least one and at most all of them.
        """
        while True:
            frame = self.next_frame()
            if frame is None:
                piece = self.ready()
                if piece is None:
                    return
                frame = self.data(piece.channel, read(piece))
            yield frame

    def ready(self) -> Slice | None:
        """The next piece of a body that may be sent, taking the channels in turn; None when all are parked."""
        for _ in range(len(self._sending)):
            channel = self._channels.get(self._sending[0])
            if channel is None or channel.state is not ChannelState.SENDING:
                self._sending.popleft()
                continue
            self._sending.rotate(-1)
            left = channel.length - channel.offset
            size = min(DATA_BYTES, channel.outgoing.credit, left)
            if size:
                return Slice(channel.number, channel.offset, size, size == left)
        return None

    def data(self, number: int, payload: bytes | bytearray | memoryview) -> bytes:
        """The frame of the next `payload` bytes of a channel, which now count as sent.

        Raises:
            WireViolation: the channel does not send, or not that much: a defect of the caller.
        """
        channel, size = self._channels.get(number), len(payload)
        if channel is None or channel.state is not ChannelState.SENDING:
            raise WireViolation("state", f"nothing is to be sent on channel {number}")
        if not 0 < size <= channel.length - channel.offset:
            raise WireViolation("offset", f"{size} bytes to send, {channel.length - channel.offset} are left")
        channel.outgoing.take(size)
        offset, channel.offset = channel.offset, channel.offset + size
        last = channel.offset == channel.length
        if last:
            if channel.order:
                channel.state = ChannelState.COMPLETE
            else:
                self._end(channel)
        return encode_data(number, offset, last, payload)

    def consumed(self, number: int, size: int) -> None:
        """`size` bytes of a channel were used up here: grants credit in time."""
        channel = self._channels.get(number)
        if channel is None:
            return
        grant = channel.incoming.consume(size, channel.length - channel.offset)
        if grant:
            self._queue(Credit(number, grant))

    def bye(self, reason: str) -> None:
        """End the connection: what is queued goes nowhere any more except this."""
        if self.phase is not Phase.ENDED:
            self._control.clear()
            self._sending.clear()
            self._control.append(encode_message(Bye(reason)))
            self.phase, self.ended = Phase.ENDED, reason

    def _queue(self, message: Message) -> None:
        if self.phase is Phase.ENDED:
            return  # nothing follows a bye; whoever resumes will say it again
        frame = encode_message(message)
        if len(frame) > MAX_FRAME_BYTES:
            raise WireViolation("decode", f"a {type(message).__name__} of {len(frame)} bytes, the peer takes less")
        self._control.append(frame)

    def _open(self, channel: Channel) -> None:
        self._highest = channel.number
        self._channels[channel.number] = channel
        if channel.order:
            self._offers[channel.order] = channel.number

    def _start_sending(self, channel: Channel, offset: int) -> None:
        channel.state, channel.offset = ChannelState.SENDING, offset
        self._sending.append(channel.number)

    def _end(self, channel: Channel) -> None:
        del self._channels[channel.number]
        self._offers.pop(channel.order, None)

    def _require(self, phase: Phase, doing: str) -> None:
        if self.phase is not phase:
            raise WireViolation("state", f"{doing} in phase {self.phase.value}")
