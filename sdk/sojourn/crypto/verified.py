"""What `sojourn.crypto.trust` returns. Only that module makes these; to hold one is to hold a verified document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from sojourn.contracts import Entry, Job, Order, Phase, Plan

__all__ = ["Verified", "VerifiedBundle", "VerifiedOrder", "VerifiedSubmission"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """A document whose origin holds.

    Attributes:
        value: the decoded payload.
        digest: SHA-256 of `data`: how other documents name this one.
        signer: entry of who signed it.
        data: the exact signed bytes, to be stored and passed on as they are.
    """

    value: T
    digest: bytes
    signer: Entry
    data: bytes


@dataclass(frozen=True, slots=True)
class VerifiedOrder:
    """An order that this agent may consider: its origin holds and it agrees with the author's job.

    Attributes:
        order: the order.
        digest: SHA-256 of the exact signed bytes.
        data: the exact signed bytes.
        coordinator: who signed it.
        job: the author-signed job inside it.
        author: who signed the job (`job.signer`).
        phase: the phase of the job that it starts.
    """

    order: Order
    digest: bytes
    data: bytes
    coordinator: Entry
    job: Verified[Job]
    author: Entry
    phase: Phase


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """What an order runs, each piece pinned by the author's job.

    Attributes:
        program_bytes: the framed program; the machine still has to verify its code.
        plan: the manifest.
        plan_digest: SHA-256 of the plan record, as owners pin it.
        graphs: ONNX files by graph name, as the manifest pins them.
    """

    program_bytes: bytes
    plan: Plan
    plan_digest: bytes
    graphs: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class VerifiedSubmission:
    """What an operator submits to a coordinator. `initial` and `heldout` are raw: check their roots when unpacking.

    Attributes:
        job: the author-signed job.
        program: signed agent program; `value` is the framed program.
        rounds: signed rounds program; `value` is the framed program.
        plan: signed plan.
        graphs: ONNX files by graph name.
        initial: datoms of the initial model, to be checked against `job.value.initial`.
        heldout: datoms of the held-out data, to be checked against `job.value.heldout`; empty for none.
    """

    job: Verified[Job]
    program: Verified[bytes]
    rounds: Verified[bytes]
    plan: Verified[Plan]
    graphs: dict[str, bytes]
    initial: bytes
    heldout: bytes
