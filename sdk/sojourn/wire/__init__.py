"""The protocol between an agent and its coordinator, without I/O.

Rules of this package:

* Pure: messages come in as bytes and go out as bytes; no socket, clock, randomness or task. The shells are
  `sojourn.agent.link` and `sojourn_coordinator.gateway`.
* What each message may do in which state is a table (`tables`); everything else is a `ProtocolError`, which ends the
  connection and nothing more.
* A sender never exceeds its credit, a receiver never grants what it has no room for, and a cut loses nothing: bodies
  resume at an offset, orders and answers are sent again until acknowledged, duplicates are dropped by identity.
"""

from sojourn.wire.handlers import AnswerSink, BodySource, GatewayHandler, Greeting, HelloParts, LinkHandler
from sojourn.wire.messages import (
    DATA_BYTES,
    WIRE_VERSION,
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
    HeldOrder,
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
    decode_message,
    encode_data,
    encode_message,
)

__all__ = [
    "DATA_BYTES",
    "WIRE_VERSION",
    "Accepted",
    "AnswerSink",
    "BodySource",
    "Bye",
    "Cancel",
    "Closed",
    "Committed",
    "Credit",
    "Data",
    "Declined",
    "Deliver",
    "Fetch",
    "GatewayHandler",
    "Greeting",
    "HeldOrder",
    "Hello",
    "HelloParts",
    "Lease",
    "LinkHandler",
    "Message",
    "Missing",
    "Offer",
    "Rejected",
    "Renew",
    "Roster",
    "Verdict",
    "Want",
    "Welcome",
    "decode_message",
    "encode_data",
    "encode_message",
]
