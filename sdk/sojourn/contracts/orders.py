"""What a coordinator sends an agent: a suspended program's start, with everything that fixes what it may do."""

from __future__ import annotations

from typing import ClassVar

from sojourn.codec import Kind, Record

__all__ = ["BodyRef", "Order"]


class BodyRef(Record):
    """A body that was sealed once under a content key; whoever holds this reference can fetch and open it.

    Attributes:
        id: SHA-256 of the sealed bytes, the name under which it is fetched.
        length: sealed bytes.
        key: content key, 32 bytes; so a reference itself travels only inside an envelope.
        digest: SHA-256 of the plain bytes.
        plain: plain bytes.
    """

    id: bytes
    length: int
    key: bytes
    digest: bytes
    plain: int

    def __repr__(self) -> str:
        return f"BodyRef(id={self.id.hex()[:12]}, length={self.length}, key=…)"


class Order(Record):
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
