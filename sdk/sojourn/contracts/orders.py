"""What a coordinator sends an agent: a suspended program's start, with everything that fixes what it may do."""

from __future__ import annotations

from typing import ClassVar

from sojourn.codec import Kind, Record

__all__ = ["BodyRef", "Order", "OrderPacket"]


class BodyRef(Record, frozen=True):
    """A body that was sealed once under a content key. The key travels beside the reference, inside an envelope.

    Attributes:
        id: SHA-256 of the sealed bytes, the name under which it is fetched.
        length: sealed bytes.
        digest: SHA-256 of the plain bytes.
        plain: plain bytes.
    """

    id: bytes
    length: int
    digest: bytes
    plain: int


class Order(Record, frozen=True):
    """Signed by the coordinator, sealed to one agent. It starts `entry` of the job's phase; it never holds frames."""

    KIND: ClassVar[int] = Kind.ORDER
    suite: int
    coordinator: bytes  # key id
    recipient: bytes  # key id of the agent
    sequence: int  # grows with each order of this coordinator to this recipient
    issued_ms: int
    expires_ms: int
    deadline_ms: int  # length of time from receipt, not a point in time
    job: bytes  # the author-signed job, exact bytes of the Signed record
    program: bytes  # digests as in the job, repeated so that an order names what it starts
    plan: bytes
    phase: str
    round: int
    run: bytes
    epoch: int
    lease_ms: int
    clearance: tuple[str, ...]  # labels that the coordinator is cleared to receive: none in version 1
    bundle: BodyRef
    weights: BodyRef  # stream of weight blocks
    weights_root: bytes


class OrderPacket(Record, frozen=True):
    """What is sealed to the agent: the signed order, and the content keys of its two bodies (32 bytes each).

    Keys stand outside the order so that the order itself can be shown in a provenance export.
    """

    KIND: ClassVar[int] = Kind.ORDER_PACKET
    order: bytes  # Signed(Order)
    bundle_key: bytes
    weights_key: bytes

    def __repr__(self) -> str:
        return f"OrderPacket({len(self.order)} bytes, keys …)"
