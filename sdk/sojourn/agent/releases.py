"""`release.*` on an agent: selects the payload, lets the mechanism bound it, writes the privacy ledger.

Rules:

* What an order's runs release, children among them, is one list: one order of names, one budget, one numbering.
* What an occurrence has released stands in the ledger; a second time nothing is computed and nothing is drawn.
* Everything but the payload is public and is checked first, so that a wrong name or bound fails the same way whatever
  the payload is: it must be what the author's phase promises and what the owner's policy admits.
* A payload that does not fit is released as the mechanism's neutral element. The owner's log says why, nobody else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
import numpy as np

from sojourn.agent.objects import Array, ObjectTable
from sojourn.agent.owner import OwnerLog
from sojourn.agent.records import Raised
from sojourn.codec import decode, digest_parts
from sojourn.contracts import Occurrence, Plan, Released, ReleaseSpec, Scalar
from sojourn.datoms import Seal, split_datoms
from sojourn.errors import DecodeError, ReleaseInvalid, StoreError
from sojourn.privacy import (
    LedgerEntry,
    Misfit,
    PrivacyLedger,
    Release,
    release_count,
    release_mean,
    release_sum,
    release_update,
)
from sojourn.vm import Box, Effect, Handle, RegionError, Value
from sojourn.vm.places import line_text

__all__ = ["LedgerReleases", "ReleaseGuard", "release_number", "released_in_run", "trained_shapes"]


_KEYS, _KEY_CHARS = 12, 40  # of a box, in the owner's log


class ReleaseGuard(Protocol):
    """The owner's admission of this order."""

    def check_release(
        self, kind: str, name: str, parameters: Mapping[str, Scalar], *, position: int | None = None
    ) -> ReleaseSpec:
        """The promised release; raises `AdmissionRefused` where phase and policy do not let this one out."""


def trained_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Shapes of the plan's trained tensors, by name."""
    return {tensor.name: tensor.shape for tensor in plan.state if tensor.trained}


class LedgerReleases:
    """The releases of one run.

    Args:
        run: the order's own run.
        plan: whose trained tensors an update has.
        guard: what the owner admits of what the author's phase promises.
        policy: digest of the owner's policy file, 32 bytes.
        ledger: where releases become durable.
        objects: items of handles.
        log: the owner's.
        now_ms: the host's clock.
        modules: the program's table, so that what is logged of a region's failure names the file.
    """

    def __init__(
        self,
        run: bytes,
        plan: Plan,
        guard: ReleaseGuard,
        policy: bytes,
        ledger: PrivacyLedger,
        objects: ObjectTable,
        log: OwnerLog,
        now_ms: Callable[[], int],
        modules: tuple[str, ...] = (),
    ) -> None:
        self._run = run
        self._modules = modules
        self._shapes = trained_shapes(plan)
        self._guard = guard
        self._policy = policy
        self._ledger = ledger
        self._objects = objects
        self._log = log
        self._now_ms = now_ms

    def release(self, effect: Effect, payload: Value | RegionError) -> Raised | None:
        """Make one release durable in the ledger, once for its occurrence.

        Raises:
            AdmissionRefused: the owner's policy does not let it out.
            ReleaseInvalid: public parameters that make no sense, or that the author's phase does not promise.
            StoreError: the ledger cannot be written.
        """
        number = release_number(self._run, effect.occurrence)
        if self._ledger.find(Occurrence(self._run, number)) is not None:
            return None
        kind = effect.name.removeprefix("release.")
        name = "update" if kind == "update" else effect.args["name"]
        parameters: dict[str, Scalar] = {key: effect.args[key] for key in ("low", "high") if key in effect.args}
        position = len(self._ledger.released(self._run))
        spec = self._guard.check_release(kind, str(name), parameters, position=position)
        release = self._make(spec, effect, payload)
        box = effect.args["box"]
        self._ledger.record(
            self._run,
            release.statement(spec.name, number, self._policy),
            release.output,
            sources=box.label.names if isinstance(box, Box) else (),
            now_ms=self._now_ms(),
        )
        details = {"run": self._run, "operation": number, "kind": kind, "name": spec.name}
        if release.neutral:
            self._log.warning("neutral release", why=release.note, **details)
        else:
            self._log.info("released", note=release.note, mechanism=release.mechanism, **details)
        return None

    def _make(self, spec: ReleaseSpec, effect: Effect, payload: Value | RegionError) -> Release:
        chosen = self._select(payload, effect.args["of"])
        match spec.kind:
            case "update":
                if spec.update is None:
                    raise ReleaseInvalid("release.update: the phase promises an update without its bounds")
                base = self._base(effect.args["base"])
                weight = self._select(payload, effect.args["weight"])
                return release_update(chosen, base, weight, spec.update, self._shapes)
            case "count":
                return release_count(chosen, effect.args["high"])
            case "mean":
                return release_mean(chosen, effect.args["low"], effect.args["high"])
            case "sum":
                return release_sum(chosen, effect.args["low"], effect.args["high"])

    def _base(self, value: Value) -> Mapping[str, Array]:
        public = isinstance(value, Handle) and value.label.is_public
        tensors = self._objects.tensors(value.id) if public else None
        if tensors is None or isinstance(tensors, np.ndarray):
            raise ReleaseInvalid("release.update: base is a public state, such as order.weights")
        return tensors

    def _select(self, payload: Value | RegionError, of: Value) -> object:
        """The payload under a public key, with its handles replaced by what they stand for."""
        if not isinstance(of, str):
            raise ReleaseInvalid("a release names its payload by a str key, such as of='state'")
        if isinstance(payload, RegionError):
            where = line_text(payload.line, self._modules)
            return Misfit(f"the region failed: {payload.type_name} at {where}: {payload.message}")
        if not isinstance(payload, dict):
            return Misfit(f"the box holds no {of!r}: the region returned no dict")
        if of not in payload:
            keys = ", ".join(repr(key)[:_KEY_CHARS] for key in list(payload)[:_KEYS]) or "nothing"
            return Misfit(f"the box holds no {of!r}; it holds {keys}{', …' if len(payload) > _KEYS else ''}")
        value = payload[of]
        if isinstance(value, list | tuple):
            return [self._content(item) for item in value]
        return self._content(value)

    def _content(self, value: Value) -> object:
        if not isinstance(value, Handle):
            return value
        tensors = self._objects.tensors(value.id)
        return Misfit("the payload is a handle to no tensor") if tensors is None else tensors


def release_number(run: bytes, at: Occurrence) -> int:
    """The number of a release among those of an order: the run's own operation, or what stands for a child's.

    A child's is 2^52 and 52 bits of a hash of its occurrence, so that a replay gives the same in whatever order runs
    release, and JSON readers keep it exact. Were two the same, the second would count as made already.

    Args:
        run: the order's own run, 32 bytes.
        at: of the release.
    """
    if at.run == run:
        return at.operation
    name = digest_parts("release/child", at.run, at.operation.to_bytes(8, "big"))
    return 1 << 52 | int.from_bytes(name[:8], "big") >> 12


def released_in_run(ledger: PrivacyLedger, run: bytes) -> tuple[tuple[Released, ...], bytes]:
    """What a run has released, from the ledger: the answer's statements, and the update's joined stream (empty: none).

    Raises:
        StoreError: a stored output is damaged or not what its statement says.
    """
    statements: list[Released] = []
    body = b""
    for listed in ledger.released(run):
        entry = ledger.find(Occurrence(run, listed.operation))
        if entry is None:
            raise StoreError("the privacy ledger lost a release; restore the state folder from a backup")
        if entry.kind == "update":
            body = entry.output
        statements.append(_statement(entry))
    return tuple(statements), body


def _statement(entry: LedgerEntry) -> Released:
    value: float | None = None
    root = b""
    try:
        if entry.kind == "update":
            root = decode(Seal, split_datoms(entry.output)[-1]).root
        else:
            (value,) = struct.unpack(">d", entry.output)
        return msgspec.convert(
            [
                entry.kind,
                entry.name,
                entry.mechanism,
                entry.claim,
                entry.parameters,
                value,
                root,
                entry.operation,
                entry.policy,
            ],
            Released,
        )
    except (DecodeError, struct.error, IndexError, msgspec.ValidationError) as problem:
        raise StoreError(f"the privacy ledger holds a release that cannot be read: {problem}") from None
