"""What comes back, and what a coordinator records about it."""

from __future__ import annotations

from typing import ClassVar, Literal

from sojourn.codec import Kind, Record
from sojourn.contracts.jobs import Scalar
from sojourn.contracts.orders import BodyRef

__all__ = ["Answer", "AnswerPacket", "Closure", "Evaluation", "Publication", "Released"]


class Released(Record, frozen=True):
    """One release that the agent's host made: what, by which mechanism, under which policy, and on whose trust.

    `claim` is `private` where noise was added, `trusted-plan` where the value was only clipped or bounded and the
    owner pinned the plan. `value` is None for an update, whose bytes are the body with seal root `root`.
    """

    kind: Literal["update", "count", "sum", "mean"]
    name: str
    mechanism: str  # "clip", "bounded-count", "bounded-sum", "bounded-mean"
    claim: Literal["trusted-plan", "private"]
    parameters: dict[str, Scalar]
    value: float | None
    root: bytes  # seal root of the update's stream; empty for a scalar
    operation: int  # occurrence within the run
    policy: bytes  # digest of the owner's policy file


class Answer(Record, frozen=True):
    """Signed by the agent: how a run ended and what was released on the way."""

    KIND: ClassVar[int] = Kind.ANSWER
    suite: int
    agent: bytes  # key id
    order: bytes  # SHA-256 of the exact signed order bytes
    job: bytes  # SHA-256 of the exact signed job bytes
    program: bytes
    plan: bytes
    run: bytes
    epoch: int
    round: int
    phase: str
    weights_root: bytes
    outcome: Literal["done", "failed", "refused"]
    code: str  # public code of a failure; empty when done
    line: int  # public source line of a failure; 0 when done
    releases: tuple[Released, ...]
    issued_ms: int


class AnswerPacket(Record, frozen=True):
    """What an agent seals to the coordinator: the signed answer, its body's reference if any, and the content key."""

    KIND: ClassVar[int] = Kind.ANSWER_PACKET
    answer: bytes  # Signed(Answer)
    body: BodyRef | None
    key: bytes  # 32 bytes; empty without a body

    def __repr__(self) -> str:
        return f"AnswerPacket({len(self.answer)} bytes, {self.body!r}, key …)"


class Closure(Record, frozen=True):
    """Signed by the coordinator when a phase closes: the frozen participants and the answers that count."""

    KIND: ClassVar[int] = Kind.CLOSURE
    suite: int
    job: bytes  # SHA-256 of the exact signed job bytes
    run: bytes
    operation: int
    round: int
    phase: str
    participants: tuple[bytes, ...]  # key ids, sorted
    answers: tuple[tuple[bytes, bytes], ...]  # (key id, SHA-256 of the exact signed answer), sorted


class Publication(Record, frozen=True):
    """Signed by the coordinator: a model, the one before, and the closure it was folded from."""

    KIND: ClassVar[int] = Kind.PUBLICATION
    suite: int
    job: bytes
    run: bytes
    operation: int
    round: int
    base: bytes  # root of the model before
    model: bytes  # root of this model
    closure: bytes  # SHA-256 of the exact signed closure; empty for the initial model
    policy: dict[str, Scalar]
    weight: int  # sum of the integer weights


class Evaluation(Record, frozen=True):
    """Signed by the coordinator: the plan's `evaluate` graph on the public held-out data."""

    KIND: ClassVar[int] = Kind.EVALUATION
    suite: int
    job: bytes
    run: bytes
    round: int
    model: bytes
    heldout: bytes
    metrics: dict[str, float]
