"""Drafting the orders of a phase: everything that an order says follows from the job, the phase and the participant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sojourn.contracts import SUITE_1, BodyRef, Job, Order, Phase, child_run
from sojourn.errors import Expired
from sojourn.limits import MAX_ORDER_LIFETIME_MS

__all__ = ["FIRST_EPOCH", "LEASE_MS", "Opening", "draft_order"]

FIRST_EPOCH: Final = 1
LEASE_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Opening:
    """What all orders of one phase share.

    Attributes:
        signed_job: exact bytes of the author-signed job.
        job: its content.
        coordinator: key id of the coordinator.
        phase: the phase as the job has it.
        round: number of the round.
        run: the run of the rounds continuation.
        operation: operation number of the `fleet.ask`.
        bundle: sealed programs, plan and graphs.
        weights: sealed stream of the model that the phase starts from.
        weights_root: its root.
        now_ms: time of issue.
    """

    signed_job: bytes
    job: Job
    coordinator: bytes
    phase: Phase
    round: int
    run: bytes
    operation: int
    bundle: BodyRef
    weights: BodyRef
    weights_root: bytes
    now_ms: int


def draft_order(opening: Opening, index: int, recipient: bytes, sequence: int) -> Order:
    """The order of participant number `index` of the sorted participant list.

    Args:
        opening: what all orders of the phase share.
        index: place in the frozen list; it fixes the child run.
        recipient: key id of the agent.
        sequence: next number of this coordinator's orders to this agent.

    Raises:
        Expired: the job's own expiry has passed.
    """
    expires = min(opening.job.expires_ms, opening.now_ms + MAX_ORDER_LIFETIME_MS)
    if expires <= opening.now_ms:
        raise Expired(f"job {opening.job.name!r} has expired; have its author sign it again with a later expiry")
    return Order(
        suite=SUITE_1,
        coordinator=opening.coordinator,
        recipient=recipient,
        sequence=sequence,
        issued_ms=opening.now_ms,
        expires_ms=expires,
        deadline_ms=opening.phase.deadline_ms,
        job=opening.signed_job,
        program=opening.job.program,
        plan=opening.job.plan,
        phase=opening.phase.name,
        round=opening.round,
        run=child_run(opening.run, opening.operation, index),
        epoch=FIRST_EPOCH,
        lease_ms=LEASE_MS,
        clearance=(),
        bundle=opening.bundle,
        weights=opening.weights,
        weights_root=opening.weights_root,
    )
