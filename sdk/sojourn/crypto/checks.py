"""What the fields of a document must satisfy beyond their types. Pure; used by `sojourn.crypto.trust` only.

Each function raises `DecodeError("value", …)` naming document and field. Origin, address and time are not judged here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from sojourn.codec import DIGEST_BYTES
from sojourn.contracts import BodyRef, Entry, Job, Order, Plan, ReleaseSpec, Roster
from sojourn.crypto.bodies import sealed_length
from sojourn.crypto.suite import SEAL_KEY_BYTES, SIGN_KEY_BYTES, check_suite
from sojourn.errors import DecodeError
from sojourn.limits import (
    MAX_BODY_BYTES,
    MAX_BUNDLE_GRAPHS,
    MAX_FUEL,
    MAX_MEMORY_BYTES,
    MAX_NAME_CHARS,
    MAX_PARTICIPANTS,
    MAX_PHASES,
    MAX_RANK,
    MAX_RELEASES,
    MAX_TENSORS,
)

__all__ = ["check_entry", "check_job", "check_order", "check_plan", "check_roster"]

NONCE_BYTES: Final = 16


def _require(holds: bool, what: str, message: str) -> None:
    if not holds:
        raise DecodeError("value", f"{what}: {message}")


def _check_name(name: str, what: str, field: str = "name") -> None:
    _require(
        0 < len(name) <= MAX_NAME_CHARS and name.isprintable(),
        what,
        f"{field} has to be 1 to {MAX_NAME_CHARS} printable characters",
    )


def _check_digests(what: str, **fields: bytes) -> None:
    for field, value in fields.items():
        _require(len(value) == DIGEST_BYTES, what, f"{field} has to have {DIGEST_BYTES} bytes")


def _check_unique(names: Iterable[object], what: str, field: str) -> None:
    listed = list(names)
    _require(len(set(listed)) == len(listed), what, f"{field} occurs twice")


def check_entry(entry: Entry) -> None:
    """An entry has keys of the right lengths for its role."""
    check_suite(entry.suite, "entry")
    what = f"entry of {entry.role}"
    _check_name(entry.name, what)
    author = entry.role == "author"
    _require(len(entry.sign_key) == SIGN_KEY_BYTES, what, f"sign_key has to have {SIGN_KEY_BYTES} bytes")
    _require(len(entry.seal_key) == (0 if author else SEAL_KEY_BYTES), what, "seal_key has the wrong length")
    _require(len(entry.tls) == (0 if author else DIGEST_BYTES), what, "tls has the wrong length")
    _require(0 <= entry.issued_ms < entry.expires_ms, what, "expires_ms has to be after issued_ms")


def check_roster(roster: Roster) -> None:
    """A roster names each party once, agents not at all (a registrar signs those)."""
    check_suite(roster.suite, "roster")
    _require(roster.version >= 1, "roster", "version has to be 1 or more")
    _require(0 <= roster.issued_ms < roster.expires_ms, "roster", "expires_ms has to be after issued_ms")
    _require(len(roster.authority) > 0, "roster", "authority is missing")
    for entry in roster.entries:
        check_entry(entry)
        _require(entry.role != "agent", "roster", f"agent {entry.name!r} has to be signed by a registrar instead")
    _check_unique((entry.sign_key for entry in roster.entries), "roster", "a sign_key")
    _check_digests("roster", **{f"revoked[{index}]": key for index, key in enumerate(roster.revoked)})


def check_job(job: Job) -> None:
    """A job's digests, phases and budgets are within bounds."""
    check_suite(job.suite, "job")
    _check_name(job.name, "job")
    _check_name(job.purpose, "job", "purpose")
    _check_name(job.rounds_entry, "job", "rounds_entry")
    _check_digests("job", program=job.program, rounds=job.rounds, plan=job.plan, initial=job.initial)
    _require(len(job.heldout) in {0, DIGEST_BYTES}, "job", f"heldout has to have {DIGEST_BYTES} bytes or none")
    _require(0 <= job.issued_ms < job.expires_ms, "job", "expires_ms has to be after issued_ms")
    _require(0 <= job.participants <= MAX_PARTICIPANTS, "job", f"participants is at most {MAX_PARTICIPANTS}")
    _require(0 < job.fuel <= MAX_FUEL, "job", f"fuel has to be 1 to {MAX_FUEL}")
    _require(0 < job.memory <= MAX_MEMORY_BYTES, "job", f"memory has to be 1 to {MAX_MEMORY_BYTES}")
    _require(len(job.nonce) == NONCE_BYTES, "job", f"nonce has to have {NONCE_BYTES} bytes")
    _require(0 < len(job.phases) <= MAX_PHASES, "job", f"has to have 1 to {MAX_PHASES} phases")
    _check_unique((phase.name for phase in job.phases), "job", "a phase's name")
    for phase in job.phases:
        what = f"job, phase {phase.name!r}"
        _check_name(phase.name, what)
        _check_name(phase.entry, what, "entry")
        _require(1 <= phase.quorum <= MAX_PARTICIPANTS, what, "quorum has to be 1 or more")
        _require(not 0 < job.participants < phase.quorum, what, "quorum is larger than participants")
        _require(phase.deadline_ms > 0, what, "deadline_ms has to be above 0")
        _require(len(phase.answer) <= MAX_RELEASES, what, f"an answer has at most {MAX_RELEASES} releases")
        _check_unique(((spec.kind, spec.name) for spec in phase.answer), what, "a release")
        for spec in phase.answer:
            _check_release(spec, f"{what}, release {spec.name!r}")


def _check_release(spec: ReleaseSpec, what: str) -> None:
    _check_name(spec.name, what)
    _require(math.isfinite(spec.low) and math.isfinite(spec.high), what, "low and high have to be finite")
    _require(spec.low <= spec.high, what, "low is above high")
    _require((spec.update is not None) == (spec.kind == "update"), what, "exactly an update has an update spec")
    if spec.update is not None:
        update = spec.update
        _require(math.isfinite(update.clip) and update.clip > 0, what, "clip has to be above 0")
        _require(math.isfinite(update.scale) and update.scale > 0, what, "scale has to be above 0")
        _require(0 < update.bound < 1 << 31, what, "bound has to fit 32 bits")
        _require(0 < update.max_weight < 1 << 31, what, "max_weight has to fit 32 bits")


def check_plan(plan: Plan) -> None:
    """A plan's graphs and state tensors have distinct names and sane shapes. Without a graph there is no state."""
    check_suite(plan.suite, "plan")
    _check_name(plan.name, "plan")
    _require(len(plan.graphs) <= MAX_BUNDLE_GRAPHS, "plan", f"has at most {MAX_BUNDLE_GRAPHS} graphs")
    _require(bool(plan.graphs) or not (plan.state or plan.constants), "plan", "has state or constants, and no graph")
    _require(len(plan.state) <= MAX_TENSORS, "plan", f"has at most {MAX_TENSORS} state tensors")
    _check_unique((graph.name for graph in plan.graphs), "plan", "a graph's name")
    _check_unique((tensor.name for tensor in plan.state), "plan", "a state tensor's name")
    for tensor in plan.state:
        what = f"plan, state tensor {tensor.name!r}"
        _check_name(tensor.name, what)
        _require(len(tensor.shape) <= MAX_RANK and all(size > 0 for size in tensor.shape), what, "shape is not usable")
    for graph in plan.graphs:
        what = f"plan, graph {graph.name!r}"
        _check_name(graph.name, what)
        _check_digests(what, digest=graph.digest)
        _check_unique((port.name for port in graph.inputs), what, "an input's name")
        _check_unique((port.name for port in graph.outputs), what, "an output's name")
    for name, value in plan.constants.items():
        _check_name(name, "plan", "a constant's name")
        _require(math.isfinite(value), "plan", f"constant {name!r} has to be finite")


def check_order(order: Order) -> None:
    """An order's own numbers are sane; whether they agree with its job is checked beside the job."""
    check_suite(order.suite, "order")
    _check_digests(
        "order",
        coordinator=order.coordinator,
        recipient=order.recipient,
        program=order.program,
        plan=order.plan,
        run=order.run,
        weights_root=order.weights_root,
    )
    _require(order.sequence >= 0, "order", "sequence is negative")
    _require(order.round >= 0, "order", "round is negative")
    _require(order.epoch >= 0, "order", "epoch is negative")
    _require(order.deadline_ms > 0, "order", "deadline_ms has to be above 0")
    _require(order.lease_ms > 0, "order", "lease_ms has to be above 0")
    _require(order.issued_ms >= 0, "order", "issued_ms is negative")
    _require(not order.clearance, "order", "clearance: this version clears a coordinator for no label")
    _check_body(order.bundle, "order, bundle")
    _check_body(order.weights, "order, weights")


def _check_body(ref: BodyRef, what: str) -> None:
    _check_digests(what, id=ref.id, digest=ref.digest)
    _require(0 <= ref.plain <= MAX_BODY_BYTES, what, f"has at most {MAX_BODY_BYTES} bytes")
    _require(ref.length == sealed_length(ref.plain), what, "the sealed and the plain length do not belong together")
