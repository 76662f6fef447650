"""What a session tells its shell: two closed unions, one for each side.

Rules of this module:

* An event is told once to one shell, whatever was cut, resent or superseded below it.
* Payloads are views into the message they came in; they stay valid as long as they are held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sojourn.wire.messages import Lease, Verdict

__all__ = [
    "AgentEvent",
    "AnswerChunk",
    "BodyAsked",
    "BodyChunk",
    "BodyDropped",
    "BodyMissing",
    "CoordinatorEvent",
    "Greeted",
    "LeaseCame",
    "OfferArrived",
    "OfferDropped",
    "OfferSettled",
    "OrderAccepted",
    "OrderArrived",
    "OrderDeclined",
    "PeerLeft",
    "RenewAsked",
    "RosterCame",
]


@dataclass(frozen=True, slots=True)
class Greeted:
    """The coordinator took the hello; the connection is open."""

    coordinator: bytes
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class OrderArrived:
    """An order that this process has not seen yet."""

    order: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True)
class LeaseCame:
    """Custody was granted, renewed or, with length 0, refused."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class OfferSettled:
    """An offered answer has its verdict and is not offered again."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RosterCame:
    """A newer roster, unverified."""

    signed: bytes


@dataclass(frozen=True, slots=True)
class BodyChunk:
    """The next bytes of a fetched body, in order."""

    ticket: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class BodyMissing:
    """The fetched body is not there; the ticket is over."""

    ticket: int


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """The peer said bye: why."""

    reason: str


AgentEvent: TypeAlias = (
    Greeted | OrderArrived | LeaseCame | OfferSettled | RosterCame | BodyChunk | BodyMissing | PeerLeft
)


@dataclass(frozen=True, slots=True)
class OrderAccepted:
    """The order is durable at the agent: it said so, or listed it as held."""

    order: bytes


@dataclass(frozen=True, slots=True)
class OrderDeclined:
    """The order will not run at the agent."""

    order: bytes
    code: str


@dataclass(frozen=True, slots=True)
class RenewAsked:
    """The agent asks for custody; answer with one lease."""

    order: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class BodyAsked:
    """A body is asked for on a channel; answer with `serve` or `missing`."""

    channel: int
    body: bytes
    length: int


@dataclass(frozen=True, slots=True)
class BodyDropped:
    """The agent takes no more of what it asked for on a channel."""

    channel: int


@dataclass(frozen=True, slots=True)
class OfferArrived:
    """An answer that is not in progress here; answer with `want` or `settle`."""

    order: bytes
    packet: bytes
    body: bytes
    length: int


@dataclass(frozen=True, slots=True)
class OfferDropped:
    """An upload in progress ends without its body: a different answer of the same order took its place, or room."""

    order: bytes


@dataclass(frozen=True, slots=True)
class AnswerChunk:
    """The next bytes of an offered body, in order; `last` when they complete it: `settle` is due."""

    order: bytes
    payload: memoryview
    last: bool


CoordinatorEvent: TypeAlias = (
    OrderAccepted
    | OrderDeclined
    | RenewAsked
    | BodyAsked
    | BodyDropped
    | OfferArrived
    | OfferDropped
    | AnswerChunk
    | PeerLeft
)
