"""Every message between an agent and its coordinator, one strict record each.

Rules of this module:

* A message is one binary websocket message of at most `MAX_FRAME_BYTES`: a framed `Record` whose kind is
  `Kind.WIRE + n`. Unknown kinds, versions, fields and non-canonical bytes raise `DecodeError`, sizes first.
* `order` is always the SHA-256 of the exact signed order bytes. It is a correlation name: what is trusted stands
  signed inside the sealed `envelope` or `packet`, which this package never opens.
* A channel carries one body in one direction. The agent opens channels (`Fetch`, `Offer`) and numbers them 1, 2, …
* `Data` is the hot path: its payload is the last field, so that encoding costs one copy and decoding none. Its bytes
  are those of the canonical encoder.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import msgspec

from sojourn.codec import HEADER_BYTES, Kind, Record, decode, encode, header_of
from sojourn.errors import DecodeError, UsageError
from sojourn.limits import KIB, MAX_BODY_BYTES, MAX_DOCUMENT_BYTES, MAX_FRAME_BYTES, MAX_HELD_ORDERS, MIB

__all__ = [
    "DATA_BYTES",
    "WIRE_VERSION",
    "Accepted",
    "Bye",
    "Cancel",
    "Closed",
    "Committed",
    "Credit",
    "Data",
    "Declined",
    "Deliver",
    "Fetch",
    "HeldOrder",
    "Hello",
    "Lease",
    "Message",
    "Missing",
    "Offer",
    "Rejected",
    "Renew",
    "Roster",
    "Verdict",
    "Want",
    "Welcome",
    "check_code",
    "check_sealed",
    "decode_message",
    "encode_data",
    "encode_message",
]

WIRE_VERSION: Final = 1
DATA_BYTES: Final = 256 * KIB  # payload of one Data message; larger ones are slower (FACTS: websockets 17)

_SEALED_BYTES: Final = MAX_FRAME_BYTES - 64 * KIB  # leaves room for the other fields
_CODE: Final = r"\A[a-z0-9_\-]{1,64}\Z"  # public, and safe in a log line

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Nonce = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Document = Annotated[bytes, msgspec.Meta(max_length=MAX_DOCUMENT_BYTES)]
Sealed = Annotated[bytes, msgspec.Meta(max_length=_SEALED_BYTES)]
Channel = Annotated[int, msgspec.Meta(ge=1, le=(1 << 53))]
Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_BODY_BYTES)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53))]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53))]
Code = Annotated[str, msgspec.Meta(max_length=64, pattern=_CODE)]


class HeldOrder(Record, frozen=True):
    """An order that the agent durably holds: its run is going on, or its answer waits to be committed."""

    order: Digest
    state: Literal["running", "answered"]


class Lease(Record, frozen=True):
    """To the agent: custody of `order`'s run under `epoch` for `lease_ms` from receipt. 0: not (or no longer) yours."""

    KIND: ClassVar[int] = Kind.WIRE + 14
    order: Digest
    epoch: Count
    lease_ms: Milliseconds


class Hello(Record, frozen=True):
    """First message of an agent. `entry` is its registrar-signed entry; `nonce` returns in `Welcome`."""

    KIND: ClassVar[int] = Kind.WIRE + 1
    version: Count
    entry: Annotated[bytes, msgspec.Meta(max_length=64 * KIB)]
    roster_version: Count
    held: Annotated[tuple[HeldOrder, ...], msgspec.Meta(max_length=MAX_HELD_ORDERS)]
    nonce: Nonce


class Welcome(Record, frozen=True):
    """First message of a coordinator: who it is, and the leases it grants for orders of the hello."""

    KIND: ClassVar[int] = Kind.WIRE + 2
    version: Count
    coordinator: Digest  # key id
    nonce: Nonce
    leases: Annotated[tuple[Lease, ...], msgspec.Meta(max_length=MAX_HELD_ORDERS)]


class Deliver(Record, frozen=True):
    """To the agent: an order, sealed. Sent again after a reconnect until it is accepted or declined."""

    KIND: ClassVar[int] = Kind.WIRE + 3
    order: Digest
    envelope: Sealed


class Accepted(Record, frozen=True):
    """To the coordinator: the order is verified, admitted and durable here."""

    KIND: ClassVar[int] = Kind.WIRE + 4
    order: Digest


class Declined(Record, frozen=True):
    """To the coordinator: the order will not run here. `code` is public, the reason is in the owner's log."""

    KIND: ClassVar[int] = Kind.WIRE + 5
    order: Digest
    code: Code


class Fetch(Record, frozen=True):
    """To the coordinator: open `channel` and send the body from `offset` on. `length` is the body's whole length."""

    KIND: ClassVar[int] = Kind.WIRE + 6
    channel: Channel
    body: Digest
    offset: Size
    length: Size


class Data(Record, frozen=True):
    """Both ways: the next bytes of a channel's body. `last` is set exactly where the body ends. Never empty."""

    KIND: ClassVar[int] = Kind.WIRE + 7
    channel: Channel
    offset: Size
    last: bool
    payload: memoryview


class Credit(Record, frozen=True):
    """Both ways, by the receiver: that many more payload bytes may be sent on the channel."""

    KIND: ClassVar[int] = Kind.WIRE + 8
    channel: Channel
    size: Annotated[int, msgspec.Meta(ge=1, le=64 * MIB)]


class Offer(Record, frozen=True):
    """To the coordinator: an answer, sealed, and the body that goes with it (length 0: none)."""

    KIND: ClassVar[int] = Kind.WIRE + 9
    channel: Channel
    order: Digest
    packet: Sealed
    body: Annotated[bytes, msgspec.Meta(max_length=32)]  # id; empty without a body
    length: Size


class Want(Record, frozen=True):
    """To the agent: send the offered body from `offset` on."""

    KIND: ClassVar[int] = Kind.WIRE + 10
    channel: Channel
    offset: Size


class Committed(Record, frozen=True):
    """To the agent: the answer is durable and counts. The agent may forget it."""

    KIND: ClassVar[int] = Kind.WIRE + 11
    order: Digest


class Closed(Record, frozen=True):
    """To the agent: the order's phase is over; the answer does not count and nothing is wrong."""

    KIND: ClassVar[int] = Kind.WIRE + 12
    order: Digest


class Rejected(Record, frozen=True):
    """To the agent: the answer is refused for good."""

    KIND: ClassVar[int] = Kind.WIRE + 13
    order: Digest
    reason: Code


class Renew(Record, frozen=True):
    """To the coordinator: extend custody of the order's run under the same epoch. Answered by one `Lease`."""

    KIND: ClassVar[int] = Kind.WIRE + 15
    order: Digest
    epoch: Count


class Roster(Record, frozen=True):
    """To the agent: a newer root-signed roster."""

    KIND: ClassVar[int] = Kind.WIRE + 16
    signed: Document


class Cancel(Record, frozen=True):
    """To the coordinator: stop sending on this channel."""

    KIND: ClassVar[int] = Kind.WIRE + 17
    channel: Channel


class Missing(Record, frozen=True):
    """To the agent: there is no such body here, or none of that length; the channel is closed."""

    KIND: ClassVar[int] = Kind.WIRE + 18
    channel: Channel


class Bye(Record, frozen=True):
    """Both ways, last message of a connection: why it ends. See `connection.CLOSE_CODES`."""

    KIND: ClassVar[int] = Kind.WIRE + 19
    code: Code


Verdict: TypeAlias = Committed | Closed | Rejected
"""How an offer ends."""

Message: TypeAlias = (
    Hello
    | Welcome
    | Deliver
    | Accepted
    | Declined
    | Fetch
    | Data
    | Credit
    | Offer
    | Want
    | Committed
    | Closed
    | Rejected
    | Lease
    | Renew
    | Roster
    | Cancel
    | Missing
    | Bye
)

_CLASSES: Final[dict[int, type[Message]]] = {
    int(cls.KIND): cls
    for cls in (
        Hello, Welcome, Deliver, Accepted, Declined, Fetch, Credit, Offer, Want, Committed, Closed, Rejected, Lease,
        Renew, Roster, Cancel, Missing, Bye,
    )
}  # fmt: skip
_DATA_HEADER: Final = encode(Bye("x"))[:2] + int(Data.KIND).to_bytes(2, "big") + Data.VERSION.to_bytes(2, "big")
_data_decoder: Final = msgspec.msgpack.Decoder(Data, strict=True)
_field_encoder: Final = msgspec.msgpack.Encoder()


def check_code(code: str) -> str:
    """`code` as it stands, when it may travel as the code of a message.

    Raises:
        UsageError: it may not.
    """
    if re.match(_CODE, code) is None:
        raise UsageError(f"{code!r} is no public code; write 1 to 64 of a-z, 0-9, _ and -")
    return code


def check_sealed(data: bytes) -> bytes:
    """`data` as it stands, when it fits a message as an envelope or a packet.

    Raises:
        UsageError: it does not.
    """
    if len(data) > _SEALED_BYTES:
        raise UsageError(f"a sealed document of {len(data)} bytes; {_SEALED_BYTES} fit a message, put more into a body")
    return data


def encode_message(message: Message) -> bytes:
    """The canonical bytes of a message. For bodies use `encode_data`, which copies once."""
    return encode(message)


def encode_data(channel: int, offset: int, last: bool, payload: bytes | bytearray | memoryview) -> bytes:
    """The canonical bytes of a `Data` message, with one copy of `payload`."""
    return b"".join((_data_prefix(channel, offset, last, len(payload)), payload))


def decode_message(data: bytes) -> Message:
    """Decode one message.

    The payload of a `Data` is a view into `data`.

    Raises:
        DecodeError: see its `reason`; `oversize` is checked before anything else.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise DecodeError("oversize", f"a wire message of {len(data)} bytes, the limit is {MAX_FRAME_BYTES}")
    kind, version = header_of(data)
    if kind == Data.KIND:
        return _decode_data(data, version)
    cls = _CLASSES.get(kind)
    if cls is None:
        raise DecodeError("kind", f"kind {kind:#06x} is not a wire message of version {WIRE_VERSION}")
    return decode(cls, data, limit=MAX_FRAME_BYTES)


def _decode_data(data: bytes, version: int) -> Data:
    if version != Data.VERSION:
        raise DecodeError("version", f"Data: version {version} is not version {Data.VERSION} of this program")
    view = memoryview(data)
    try:
        message = _data_decoder.decode(view[HEADER_BYTES:])
    except msgspec.ValidationError as problem:
        raise DecodeError("schema", f"Data: {problem}") from None
    except (msgspec.DecodeError, ValueError) as problem:
        raise DecodeError("trailing" if "trailing" in str(problem) else "schema", f"Data: {problem}") from None
    size = len(message.payload)
    prefix = _data_prefix(message.channel, message.offset, message.last, size)
    if len(data) != len(prefix) + size or not data.startswith(prefix):
        raise DecodeError("canonical", "Data: not the canonical encoding")
    return message


def _data_prefix(channel: int, offset: int, last: bool, size: int) -> bytes:
    """Everything before the payload: frame header, array of four, three fields, and the payload's length."""
    if size < 1 << 8:
        length = b"\xc4" + size.to_bytes(1, "big")
    elif size < 1 << 16:
        length = b"\xc5" + size.to_bytes(2, "big")
    else:
        length = b"\xc6" + size.to_bytes(4, "big")
    return _DATA_HEADER + b"\x94" + _field_encoder.encode((channel, offset, last))[1:] + length
