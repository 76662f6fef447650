"""From a sealed envelope to a run that may start: the order of the checks, and what is cached between orders.

Rules:

* Envelope (sender in the roster, signature, address, time), then order and job (`TrustedSet`), then replay and custody,
  then bundle (author's signatures and pins), program (verifier), graphs (interpreter), and last the owner's guard.
  Nothing of an order is stored before all of them passed.
* What a job pins is verified once: programs by their digest, plans with their sessions by theirs.
* Public codes leave this host, reasons stay in the owner's log.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sojourn.agent.database import AgentDatabase, OrderRow
from sojourn.agent.objects import Tensors
from sojourn.agent.policies import PolicyFile
from sojourn.codec import decode, digest
from sojourn.contracts import Entry, OrderPacket
from sojourn.crypto import (
    ORDER,
    Identity,
    ReplayGuard,
    TrustedSet,
    VerifiedBundle,
    VerifiedOrder,
    open_envelope,
    peek_envelope,
)
from sojourn.errors import Replayed, TrustError
from sojourn.privacy import Admission, decide
from sojourn.vm import VerifiedProgram, verify

if TYPE_CHECKING:  # the runtime behind it is heavy; an agent that never gets an order never loads it
    from sojourn.interpreters import Interpreter, PlanHandle

__all__ = ["AdmissionDesk", "OpenedOrder", "Prepared"]

_PREPARED_JOBS: Final = 4


@dataclass(frozen=True, slots=True)
class OpenedOrder:
    """A verified order and the content keys that came with it."""

    order: VerifiedOrder
    packet: OrderPacket

    def __repr__(self) -> str:
        return f"OpenedOrder({self.order.digest.hex()[:16]}, keys …)"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the orders of one job share: verified program, plan, and the plan's loaded graphs.

    Attributes:
        bundle: without its graph files, which the interpreter has.
        program: verified code.
        plan: handle of the loaded plan.
        interpreter: that loaded it.
    """

    bundle: VerifiedBundle
    program: VerifiedProgram
    plan: PlanHandle
    interpreter: Interpreter

    def run_graph(self, graph: str, inputs: Mapping[str, Tensors]) -> Mapping[str, Tensors]:
        """Run one graph of the plan. Raises `GraphFailed`."""
        return self.interpreter.run(self.plan, graph, inputs)


class AdmissionDesk:
    """Judges orders for one agent.

    Args:
        identity: this agent's keys.
        me: its verified entry.
        trusted: roster and time.
        database: seen orders.
        policies: the owner's policy, as it is when it is asked.
        interpreter: makes the interpreter when the first plan needs one; its runtime is heavy to import.
    """

    def __init__(
        self,
        identity: Identity,
        me: Entry,
        trusted: TrustedSet,
        database: AgentDatabase,
        policies: PolicyFile,
        interpreter: Callable[[], Interpreter],
    ) -> None:
        self._identity = identity
        self._me = me
        self._trusted = trusted
        self._database = database
        self._replay = ReplayGuard(database)
        self._policies = policies
        self._make_interpreter = interpreter
        self._interpreter: Interpreter | None = None
        self._prepared: OrderedDict[tuple[bytes, bytes], Prepared] = OrderedDict()
        self._lock = threading.Lock()  # the two worker threads prepare one after the other

    def now(self, clock_ms: int) -> int:
        """The trusted set's time, which never goes back."""
        return self._trusted.observe(clock_ms)

    def open(self, envelope: bytes, clock_ms: int) -> OpenedOrder:
        """Verify and open an envelope, and verify the order in it.

        Args:
            envelope: untrusted bytes.
            clock_ms: the host's clock; for a stored envelope, the time at which it was accepted.

        Raises:
            PeerError: of which kind says what does not hold.
        """
        now = self._trusted.observe(clock_ms)
        header = peek_envelope(envelope)
        coordinator = self._trusted.entry(header.sender, "coordinator", now)
        packet = decode(OrderPacket, open_envelope(self._identity, envelope, coordinator, ORDER, now))
        order = self._trusted.verify_order(packet.order, self._me, now)
        if order.coordinator.key != coordinator.key:
            raise TrustError("the order was signed by another coordinator than the one that sealed it")
        return OpenedOrder(order, packet)

    def check_new(self, order: VerifiedOrder) -> None:
        """Check that an order is new, and that its custody is not older than what this host has taken.

        Raises:
            Replayed: seen before; nothing happens to the run that it started.
            TrustError: its epoch is not above that of an order of the same run.
        """
        self._replay.check(order)
        known = self._database.of_run(order.order.run)
        if any(row.epoch >= order.order.epoch for row in known):
            raise Replayed(f"run {order.order.run.hex()[:16]}… was started here under this epoch or a later one")

    def prepare(self, order: VerifiedOrder, bundle: Callable[[], bytes]) -> Prepared:
        """Verify what the order runs and load its graphs, or find it loaded.

        Args:
            order: verified.
            bundle: gives the plain bundle; called only when the job is new here.

        Raises:
            PeerError: bundle, program or a graph does not hold.
            PlanMismatch: a graph is not what the plan's manifest says.
        """
        key = (order.job.digest, order.order.bundle.digest)
        with self._lock:
            return self._prepare(key, order, bundle)

    def _prepare(self, key: tuple[bytes, bytes], order: VerifiedOrder, bundle: Callable[[], bytes]) -> Prepared:
        found = self._prepared.get(key)
        if found is None:
            verified = self._trusted.verify_bundle(bundle(), order)
            program = self._program(verified.program_bytes)
            interpreter = self._interpreter or self._make_interpreter()
            self._interpreter = interpreter
            handle = interpreter.load(verified.plan, verified.graphs)
            found = Prepared(dataclasses.replace(verified, graphs={}), program, handle, interpreter)
            self._prepared[key] = found
        self._prepared.move_to_end(key)
        while len(self._prepared) > _PREPARED_JOBS:
            _, old = self._prepared.popitem(last=False)
            old.interpreter.unload(old.plan)
        return found

    def has_prepared(self, order: VerifiedOrder) -> bool:
        """Whether `prepare` would need no bundle."""
        return (order.job.digest, order.order.bundle.digest) in self._prepared

    def _program(self, data: bytes) -> VerifiedProgram:
        name = digest(data)
        for prepared in self._prepared.values():
            if digest(prepared.bundle.program_bytes) == name:
                return prepared.program
        return verify(data)

    def admit(self, order: VerifiedOrder, prepared: Prepared) -> Admission:
        """Ask the owner's policy, as its file is now.

        Raises:
            AdmissionRefused: it says no, or there is none; the reason is for the owner's log.
        """
        return decide(self._policies.now(), order, prepared.bundle, prepared.program)

    def row(self, opened: OpenedOrder, envelope: bytes, now_ms: int) -> OrderRow:
        """The database row of an order that is about to be accepted."""
        terms = opened.order.order
        return OrderRow(
            digest=opened.order.digest,
            run=terms.run,
            epoch=terms.epoch,
            job=opened.order.job.digest,
            coordinator=opened.order.coordinator.key,
            phase=terms.phase,
            round=terms.round,
            weights=terms.weights.id,
            bundle=terms.bundle.id,
            envelope=envelope,
            accepted_ms=now_ms,
            expires_ms=terms.expires_ms,
            state="running",
            job_name=opened.order.job.value.name,
            author=opened.order.author.name,
            author_key=opened.order.author.key,
        )

    def close(self) -> None:
        """Free the interpreter."""
        self._prepared.clear()
        if self._interpreter is not None:
            self._interpreter.close()
            self._interpreter = None
