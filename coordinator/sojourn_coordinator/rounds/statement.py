"""Does a signed answer answer this order, with the releases that its phase asks for?

The signature is verified before (`sojourn.crypto.trust`), the update's blocks after (`sojourn.datoms.UpdateReader`);
here the statement is held against the order. Whatever does not fit is `ContributionRefused` with a reason.
"""

from __future__ import annotations

import math

from sojourn.codec import digest
from sojourn.contracts import SUITE_1, Answer, Order, Phase, Released, ReleaseSpec
from sojourn.errors import ContributionRefused

__all__ = ["check_statement"]


def check_statement(answer: Answer, order: Order, order_digest: bytes, phase: Phase, epoch: int, agent: bytes) -> None:
    """Check an answer against its order.

    Args:
        answer: a verified answer.
        order: the order that it claims to answer.
        order_digest: SHA-256 of that order's exact signed bytes.
        phase: the order's phase as the job has it.
        epoch: the current custody epoch of the order's run.
        agent: key id of the connection's verified agent.

    Raises:
        ContributionRefused: reason `stranger`, `digest`, `epoch`, `schema` or `bounds`.
    """
    if answer.agent != agent or order.recipient != agent:
        raise ContributionRefused("stranger", "the answer is not of the agent that the order was addressed to")
    stated = (answer.order, answer.job, answer.program, answer.plan, answer.run, answer.weights_root)
    expected = (order_digest, digest(order.job), order.program, order.plan, order.run, order.weights_root)
    if stated != expected or (answer.round, answer.phase) != (order.round, order.phase):
        raise ContributionRefused("digest", "the answer names another order, job, program, plan, run or model")
    if answer.epoch != epoch:
        raise ContributionRefused("epoch", f"the answer is of epoch {answer.epoch}, custody is at epoch {epoch}")
    if answer.suite != SUITE_1:
        raise ContributionRefused("schema", f"the answer is of suite {answer.suite}, not {SUITE_1}")
    if answer.outcome == "done":
        _check_done(answer, phase)
    elif answer.releases or not answer.code:
        raise ContributionRefused("schema", "an answer that is not done has a code and no releases")


def _check_done(answer: Answer, phase: Phase) -> None:
    if answer.code or answer.line:
        raise ContributionRefused("schema", "an answer that is done has neither code nor line")
    if len(answer.releases) != len(phase.answer):
        count = f"{len(answer.releases)} releases, phase {phase.name!r} asks for {len(phase.answer)}"
        raise ContributionRefused("schema", f"the answer has {count}")
    for released, spec in zip(answer.releases, phase.answer, strict=True):
        if (released.kind, released.name) != (spec.kind, spec.name):
            what = f"{released.kind} {released.name!r} where the phase asks for {spec.kind} {spec.name!r}"
            raise ContributionRefused("schema", f"the answer releases {what}")
        if spec.kind == "update":
            if released.value is not None or len(released.root) != 32:
                raise ContributionRefused("schema", "a released update has a root and no value")
        else:
            _check_scalar(released, spec)


def _check_scalar(released: Released, spec: ReleaseSpec) -> None:
    value = released.value
    if value is None or released.root:
        raise ContributionRefused("schema", f"released {spec.kind} {spec.name!r} has a value and no root")
    low = 0.0 if spec.kind == "count" else spec.low
    # A sum is bounded by the number of units that the agent holds, which the coordinator does not know.
    inside = low <= value <= spec.high or spec.kind == "sum"
    if not math.isfinite(value) or not inside:
        raise ContributionRefused("bounds", f"released {spec.kind} {spec.name!r} is not in {low:g}..{spec.high:g}")
