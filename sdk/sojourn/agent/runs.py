"""One run from its order to its end, in a worker thread: sets machine, handles, effects and journal up, and drives.

Rules: what a run starts from is fixed by its order, so that the same order gives the same first snapshot; weights are
untrusted, and are compared with the plan before a program sees them; tensors of the state that the weights do not
bring (they are not trained) begin as zeros on every agent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from sojourn.agent.admission import OpenedOrder, Prepared
from sojourn.agent.bodies import BodyStore
from sojourn.agent.data import AdmittedStreams, AgentStreams
from sojourn.agent.effects import Effects
from sojourn.agent.faults import Faults
from sojourn.agent.folder import AgentPaths
from sojourn.agent.host import Finished, RunHost, Stopped
from sojourn.agent.journal import Journal
from sojourn.agent.objects import Array, Loaders, ObjectTable, Weights
from sojourn.agent.owner import OwnerLog
from sojourn.agent.records import Begin
from sojourn.agent.releases import LedgerReleases
from sojourn.codec import digest_parts
from sojourn.contracts import Order, Plan
from sojourn.datoms import DType
from sojourn.errors import PlanMismatch
from sojourn.labels import PUBLIC
from sojourn.privacy import Admission, PrivacyLedger
from sojourn.vm import Handle, Machine, RecordValue

__all__ = ["RunBench", "begin_of", "complete_state", "run_order"]

_WEIGHTS: Final = "weights"


@dataclass(frozen=True, slots=True)
class RunBench:
    """What every run of an agent needs of its host.

    Attributes:
        paths: of the state folder.
        streams: the owner's.
        bodies: fetched bodies.
        ledger: the privacy ledger.
        log: the owner's log.
        faults: test hooks.
        now_ms: the host's clock.
    """

    paths: AgentPaths
    streams: AgentStreams
    bodies: BodyStore
    ledger: PrivacyLedger
    log: OwnerLog
    faults: Faults
    now_ms: Callable[[], int]


def complete_state(plan: Plan, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The plan's whole state out of an order's weights.

    Raises:
        PlanMismatch: a trained tensor is missing, one is unknown, or a type or shape differs.
    """
    state: dict[str, Array] = {}
    unknown = sorted(set(weights) - {tensor.name for tensor in plan.state})
    if unknown:
        raise PlanMismatch(f"the order's weights hold {unknown[0]!r}, which is not in the plan's state")
    for tensor in plan.state:
        dtype = DType.from_name(tensor.dtype).numpy
        found = weights.get(tensor.name)
        if found is None and tensor.trained:
            raise PlanMismatch(f"the order's weights lack tensor {tensor.name!r}, which the plan trains")
        array = np.zeros(tensor.shape, dtype) if found is None else found
        if array.dtype != dtype or array.shape != tensor.shape:
            raise PlanMismatch(
                f"tensor {tensor.name!r} of the order's weights is {array.dtype} {list(array.shape)}, "
                f"the plan states {tensor.dtype} {list(tensor.shape)}"
            )
        state[tensor.name] = array
    return state


def run_order(
    bench: RunBench,
    opened: OpenedOrder,
    prepared: Prepared,
    admission: Admission,
    journal: Journal,
    stop: threading.Event,
    tell: Callable[[int, int, int], None],
    restarted: Callable[[], None],
) -> Finished | Stopped:
    """Start a run, or go on with it, until it ends or is stopped.

    Args:
        bench: this host.
        opened: the verified order.
        prepared: program and graphs.
        admission: the owner's.
        journal: of this run.
        stop: set to stop between two effects.
        tell: takes `(effects so far, newly resumed, newly recomputed)` and makes them durable.
        restarted: called when there is a journal to go on from.

    Raises:
        PeerError: the weights are not what the order names.
        PlanMismatch: the weights are not the plan's.
        StoreError: journal, ledger or a stream failed; the run can be tried again.
    """
    if journal.recovered is not None:
        restarted()
        if bench.faults.ignore_journal:
            lost = journal.recovered.sealed.effects + len(journal.recovered.tail)
            journal.restart()
            tell(0, 0, lost)
    return _host(bench, opened, prepared, admission, journal, stop, tell).drive()


def begin_of(opened: OpenedOrder, prepared: Prepared) -> Begin:
    """Whose journal a run's journal is."""
    order = opened.order.order
    return Begin(opened.order.digest, order.run, order.epoch, prepared.program.digest)


def _host(
    bench: RunBench,
    opened: OpenedOrder,
    prepared: Prepared,
    admission: Admission,
    journal: Journal,
    stop: threading.Event,
    tell: Callable[[int, int, int], None],
) -> RunHost:
    order, job = opened.order.order, opened.order.job.value
    plan = prepared.bundle.plan
    streams = AdmittedStreams(bench.streams, admission)

    def weights() -> dict[str, Array]:
        found = bench.bodies.tensors(order.weights, opened.packet.weights_key, order.weights_root)
        return complete_state(plan, found)

    objects = ObjectTable(Loaders(journal.body, streams.read, weights))
    if journal.recovered is not None:
        machine = Machine.load(prepared.program, journal.recovered.sealed.snapshot)
        for entry in journal.recovered.sealed.objects:
            objects.restore(entry.handle, entry.ref)
    else:
        handle = Handle("state", digest_parts("handle/weights", order.run, order.weights_root), PUBLIC)
        objects.put(handle.id, Weights(order.weights_root, weights()))
        record = _order_record(order, handle, dict(job.args))
        entry_name = opened.order.phase.entry
        machine = Machine.start(prepared.program, entry_name, (record,), order.run, job.fuel, job.memory)
    releases = LedgerReleases(
        order.run, plan, admission, admission.policy, bench.ledger, objects, bench.log, bench.now_ms,
        prepared.program.program.modules,
    )  # fmt: skip

    def serve(served: Machine) -> Effects:
        return Effects(served.run_id, served, objects, streams, prepared.run_graph, releases, bench.log)

    return RunHost(machine, serve, objects, journal, bench.faults, stop, tell, bench.now_ms)


def _order_record(order: Order, weights: Handle, args: dict[str, object]) -> RecordValue:
    """What a program's entry gets."""
    return RecordValue("order", {_WEIGHTS: weights, "round": order.round, "args": args})
