"""What may come when, as data: the connection's phases, the channels' states, and how a connection ends.

Rules of this module:

* A message that is not listed for its side and phase, or for its channel's state, is a violation.
* Some messages cross the end of their channel on the way (`LATE`): those, and only those, are dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from sojourn.wire.messages import (
    Accepted,
    Bye,
    Cancel,
    Closed,
    Committed,
    Credit,
    Data,
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
    Want,
    Welcome,
)

__all__ = ["CHANNEL", "CLOSE_CODES", "LATE", "RECEIVES", "ChannelState", "Phase", "Side"]


class Side(Enum):
    """Which end of the connection a machine is."""

    AGENT = "agent"
    COORDINATOR = "coordinator"


class Phase(Enum):
    """Life of one connection: `NEW` until the hello, `GREETING` until the welcome, `ENDED` from either side's bye."""

    NEW = "new"
    GREETING = "greeting"
    OPEN = "open"
    ENDED = "ended"


class ChannelState(Enum):
    """Life of one channel, as its own side sees it."""

    FETCHING = "fetching"  # agent: takes data
    ASKED = "asked"  # coordinator: a fetch came, the body is looked up
    OFFERED = "offered"  # both: an offer went or came, nothing was wanted yet
    SENDING = "sending"  # both: sends data within its credit
    RECEIVING = "receiving"  # coordinator: takes the offered body
    COMPLETE = "complete"  # both: all data of an offer went or came; a verdict is due


Kinds = frozenset[type[Message]]
_VERDICTS: Final[Kinds] = frozenset({Committed, Closed, Rejected})
_NONE: Final[Kinds] = frozenset()

RECEIVES: Final[Mapping[Side, Mapping[Phase, Kinds]]] = {
    Side.AGENT: {
        Phase.NEW: _NONE,
        Phase.GREETING: frozenset({Welcome, Bye}),
        Phase.OPEN: _VERDICTS | {Deliver, Data, Credit, Want, Lease, Roster, Missing, Bye},
        Phase.ENDED: _NONE,
    },
    Side.COORDINATOR: {
        Phase.NEW: frozenset({Hello, Bye}),
        Phase.GREETING: frozenset({Bye}),
        Phase.OPEN: frozenset({Accepted, Declined, Fetch, Data, Credit, Offer, Renew, Cancel, Bye}),
        Phase.ENDED: _NONE,
    },
}

CHANNEL: Final[Mapping[Side, Mapping[ChannelState, Kinds]]] = {
    Side.AGENT: {
        ChannelState.FETCHING: frozenset({Data, Missing}),
        ChannelState.OFFERED: _VERDICTS | {Want},
        ChannelState.SENDING: _VERDICTS | {Credit},
        ChannelState.COMPLETE: _VERDICTS | {Credit},
    },
    Side.COORDINATOR: {
        ChannelState.ASKED: frozenset({Cancel}),
        ChannelState.SENDING: frozenset({Credit, Cancel}),
        ChannelState.OFFERED: _NONE,
        ChannelState.RECEIVING: frozenset({Data}),
        ChannelState.COMPLETE: _NONE,
    },
}

LATE: Final[Mapping[Side, Kinds]] = {
    Side.AGENT: frozenset({Data, Missing}),  # after its own cancel
    Side.COORDINATOR: frozenset({Data, Credit, Cancel}),  # after its early verdict, or its last data
}

CLOSE_CODES: Final[Mapping[str, int]] = {
    "unheard": 1008,  # no hello came in time
    "going": 1001,  # this side stops; come again
    "failed": 1011,  # this side could not go on; its log says why
    "superseded": 4001,  # a newer connection of the same agent took over
    "refused": 4003,  # the hello's entry, or the certificate of the connection, does not hold
    "version": 4004,  # of the wire protocol
    "decode": 4010,  # not one canonical message of a known kind
    "state": 4011,  # a message that the phase or the channel does not allow
    "credit": 4012,  # more data, or more credit, than was granted
    "offset": 4013,  # data or a request at the wrong place of a body
    "channels": 4014,  # too many channels or orders at once, or a channel number that does not grow
    "slow": 4015,  # the peer asks and does not read
}
"""Reason of a `Bye` and the websocket close code that goes with it."""
