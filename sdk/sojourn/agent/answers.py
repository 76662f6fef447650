"""The answer of a run: signed once, its update sealed once, both durable before they are offered.

Rules:

* Statements and update come from the privacy ledger, never from the machine: what is answered is what was debited.
* The update's body is sealed under a fresh content key, written to the outbox and synced; the key travels in the
  sealed answer packet only. After a restart the stored bytes are offered again: nothing is sealed twice.
* The public side of a failure is its code and line. Everything else stays in the owner's log.
"""

from __future__ import annotations

from dataclasses import dataclass

from sojourn.agent.host import Finished
from sojourn.codec import encode
from sojourn.contracts import SUITE_1, Answer, AnswerPacket, BodyRef, Released
from sojourn.crypto import ANSWER, Identity, VerifiedOrder, seal_body, seal_envelope

__all__ = ["SealedAnswer", "seal_answer"]


@dataclass(frozen=True, slots=True)
class SealedAnswer:
    """What goes into the outbox.

    Attributes:
        packet: envelope for the coordinator.
        body: reference of the sealed update, None without one.
        sealed: its bytes; empty without one.
    """

    packet: bytes
    body: BodyRef | None
    sealed: bytes

    def __repr__(self) -> str:
        return f"SealedAnswer({len(self.packet)} bytes, body {len(self.sealed)} bytes)"


def seal_answer(
    identity: Identity,
    order: VerifiedOrder,
    ending: Finished,
    released: tuple[Released, ...],
    update: bytes,
    now_ms: int,
) -> SealedAnswer:
    """Sign and seal the answer to an order.

    Args:
        identity: this agent.
        order: what is answered.
        ending: how the run ended; only code and line get into the answer.
        released: statements from the privacy ledger, in their order.
        update: joined stream of the update; empty for none.
        now_ms: the trusted set's time.
    """
    terms = order.order
    answer = Answer(
        suite=SUITE_1,
        agent=identity.key,
        order=order.digest,
        job=order.job.digest,
        program=terms.program,
        plan=terms.plan,
        run=terms.run,
        epoch=terms.epoch,
        round=terms.round,
        phase=terms.phase,
        weights_root=terms.weights_root,
        outcome=ending.outcome,
        code=ending.code,
        line=ending.line,
        releases=released,
        issued_ms=now_ms,
    )
    sealed, body, key = seal_body(update) if update else (b"", None, b"")
    packet = encode(AnswerPacket(identity.sign(answer), body, key))
    expires = max(terms.expires_ms, now_ms + 1)
    return SealedAnswer(seal_envelope(identity, order.coordinator, ANSWER, packet, now_ms, expires), body, sealed)
