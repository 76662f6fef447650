"""The agent itself: what an app starts. Orders come in, runs go on, answers go out; nothing is lost in between.

Rules:

* The event loop moves messages; judging and running happen in two worker threads, so that the line stays alive. Runs
  take turns.
* An order is accepted after it is durable here; an answer is offered after it is durable here, and inside a lease. A
  restart takes every held order up where it was, under the same epoch, and asks for a lease before it offers.
* Whatever goes wrong with one order concerns that order only: the coordinator gets a public code, the owner's log the
  reason. What goes wrong with this host (disk, ledger) leaves the run where it is; the next start goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sqlite3
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from sojourn.agent.admission import AdmissionDesk, OpenedOrder
from sojourn.agent.bodies import BodyStore
from sojourn.agent.data import AgentStreams
from sojourn.agent.database import AgentDatabase, OrderState
from sojourn.agent.desk import HOST_FAILURES, ReadyAnswer, WorkDesk, stored_answer
from sojourn.agent.faults import Faults
from sojourn.agent.folder import AgentPaths
from sojourn.agent.leases import Leases
from sojourn.agent.link import AgentLink, check_address
from sojourn.agent.narration import narrated, sentence
from sojourn.agent.owner import OwnerLog
from sojourn.agent.policies import PolicyFile
from sojourn.agent.runs import RunBench
from sojourn.agent.serving import serve_until_signal
from sojourn.crypto import Identity, TrustedSet, client_context, read_root_public
from sojourn.errors import BodyUnavailable, PeerError, Refusal, SojournError, TrustError, UsageError
from sojourn.logs import get_log
from sojourn.privacy import OwnerPolicy, PrivacyLedger
from sojourn.streams import StateFolder, write_atomic
from sojourn.wire import HeldOrder, HelloParts

if TYPE_CHECKING:
    from sojourn.interpreters import Interpreter

__all__ = ["Agent"]

_TICK_S: Final = 0.25
_EXPIRY_TICKS: Final = 40

_log: Final = get_log("sojourn.agent", sentence)


class Agent:
    """An agent on this machine. Use it as a context manager, or `close` it.

    Args:
        state: enrolled state folder; held until `close`.
        coordinator: address, `wss://host:port`.
        policy: the owner's policy file; by default `policy.toml` in the state folder. A change of it holds from the
            next order on.
        threads: of one graph.

    Raises:
        ConfigError: the folder is not enrolled, its files do not fit, or the address is no `wss://` URL.
        PolicyInvalid: the policy file has a mistake; the message names it.
        StateInUse: another process holds the folder.
        StateVersion: a newer version wrote it.
    """

    def __init__(
        self, state: str | Path, coordinator: str, policy: str | Path | None = None, *, threads: int = 1
    ) -> None:
        check_address(coordinator)
        self._closing = contextlib.ExitStack()
        try:
            self._open(Path(state), policy, threads)
        except BaseException:
            self._closing.close()
            raise
        self._coordinator = coordinator
        self._link: AgentLink | None = None
        self._opened: dict[bytes, OpenedOrder] = {}
        self._leases = Leases()
        self._answers: dict[bytes, ReadyAnswer] = {}
        self._runs: asyncio.Queue[bytes] = asyncio.Queue()
        self._inbox: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        self._current: tuple[bytes, threading.Event] | None = None

    def _open(self, state: Path, policy: str | Path | None, threads: int) -> None:
        self._paths = paths = AgentPaths(state)
        if not state.exists() or (state.is_dir() and {path.name for path in state.iterdir()} <= {paths.policy.name}):
            paths.require_enrolled()  # says how to enrol, where the folder could only say that it is missing
        folder = self._closing.enter_context(StateFolder.open(state, "agent", create=False))
        paths.require_enrolled()
        paths.prepare()
        self.log = OwnerLog(paths.log)
        self._closing.callback(self.log.close)
        self._policies = PolicyFile(Path(policy) if policy is not None else paths.policy, self.log)
        self._faults = Faults.from_environment(folder.path)
        identity = Identity.load(paths.identity)
        self._database = AgentDatabase(paths.database)
        self._closing.callback(self._database.close)
        self._trusted = TrustedSet(read_root_public(paths.root_key), floor_ms=self._database.highest_time())
        self._trusted.load_roster(paths.roster.read_bytes(), _now_ms())
        self._entry = paths.entry.read_bytes()
        self.me = self._trusted.verify_agent(self._entry, _now_ms())
        self.streams = AgentStreams(paths.streams)
        self._closing.callback(self.streams.close)
        self._bodies = BodyStore(paths.root / "bodies")
        connection = sqlite3.connect(paths.database, isolation_level=None, check_same_thread=False, timeout=10.0)
        self._closing.callback(connection.close)
        ledger = PrivacyLedger(connection, paths.root / "released")
        bench = RunBench(paths, self.streams, self._bodies, ledger, self.log, self._faults, _now_ms)
        self._desk = AdmissionDesk(
            identity, self.me, self._trusted, self._database, self._policies, lambda: _interpreter(threads)
        )
        self._closing.callback(self._desk.close)
        self._work = WorkDesk(identity, self._desk, self._database, bench)
        self._closing.callback(self._work.close)
        self._identity = identity

    # Life

    async def run(self) -> None:
        """Serve until cancelled. Held orders go on, and nothing is lost by stopping.

        Raises:
            TrustError: the roster has no coordinator.
        """
        roster = self._trusted.roster
        pins = [entry.tls for entry in roster.entries if entry.role == "coordinator"]
        if not pins:
            raise TrustError("the roster names no coordinator; ask for a newer roster")
        context = client_context(roster.authority, self._identity)
        self._link = AgentLink(self._coordinator, self, ssl=context, pins=pins)
        judge, worker = (ThreadPoolExecutor(1, name) for name in ("sojourn-judge", "sojourn-run"))
        self._take_up()
        self.log.info("agent started", agent=self.me.name, coordinator=self._coordinator)
        self._policies.check_owner(self.me.name)
        try:
            await _until_first_failure(
                self._link.run(), self._judge_orders(judge), self._work_runs(judge, worker), self._keep_time()
            )
        finally:
            worker.shutdown(wait=True, cancel_futures=True)
            judge.shutdown(wait=True, cancel_futures=True)
            self._link = None
            self.log.info("agent stopped", agent=self.me.name)

    def serve(self) -> signal.Signals:
        """Serve until Ctrl-C (SIGINT) or SIGTERM, and return which it was; blocks, in the main thread.

        An app that has configured no log hears on standard error what `sojourn-agent run` says. An app with an event
        loop of its own makes `run` one of its tasks instead, and cancels it.

        Raises:
            UsageError: not called in the main thread, or while an event loop runs in it.
            SojournError: see `run`.
        """

        async def run() -> None:
            _log.info("agent.serving", agent=self.me.name, url=self._coordinator, owner=self.policy.owner)
            await self.run()

        with narrated():
            stopped = serve_until_signal(run)
            _log.info("agent.stopped", agent=self.me.name)
        return stopped

    def close(self) -> None:
        """Close files and release the state folder."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def policy(self) -> OwnerPolicy:
        """The owner's policy in force when an order was last judged, or when the agent was made."""
        return self._policies.last

    @property
    def connected(self) -> bool:
        """Whether the coordinator has greeted this agent on a line that stands."""
        return self._link is not None and self._link.connected

    def _take_up(self) -> None:
        """Everything that was held when the last process ended."""
        self._expire()
        held = self._database.held()
        for row in held:
            self._leases.resume(row.digest, row.run, row.epoch, 0)
            answer = stored_answer(row, self._paths)
            if answer is not None:
                self._answers[row.digest] = answer
                self._database.offered(row.digest, _now_ms())  # by the last process, for all that is known
            else:
                self._runs.put_nowait(row.digest)
        self._bodies.keep_only(body for row in held for body in (row.weights, row.bundle))

    # Orders

    async def _judge_orders(self, judge: ThreadPoolExecutor) -> None:
        while True:
            order, envelope = await self._inbox.get()
            try:
                await self._judge(order, envelope, judge)
            except (PeerError, UsageError, Refusal) as problem:
                self.log.warning("order declined", order=order, code=problem.code, why=str(problem))
                self._line.declined(order, problem.code)
            except HOST_FAILURES as problem:
                self.log.warning("order not accepted: this host failed", order=order, why=str(problem))
                self._line.declined(order, "store")

    async def _judge(self, order: bytes, envelope: bytes, judge: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        received = _monotonic_ms()
        opened = await loop.run_in_executor(judge, self._desk.open, envelope, _now_ms())
        if opened.order.digest != order:
            raise TrustError("the sealed order is not the one that the coordinator named")
        known = self._database.order(order)
        if known is not None and known.state in {"running", "answered"}:
            self._line.accepted(order)
            return
        self._desk.check_new(opened.order)
        terms = opened.order.order
        if not self._desk.has_prepared(opened.order):
            await self._bodies.ensure(terms.bundle, self._line)
        await loop.run_in_executor(judge, self._work.accept, opened, envelope)
        self._leases.take(order, terms.run, terms.epoch, terms.lease_ms, received)
        self._opened[order] = opened
        self._line.accepted(order)
        self._runs.put_nowait(order)

    # Runs

    async def _work_runs(self, judge: ThreadPoolExecutor, worker: ThreadPoolExecutor) -> None:
        while True:
            order = await self._runs.get()
            try:
                await self._work_run(order, judge, worker)
            except (PeerError, Refusal) as problem:
                self.log.warning("order given up", order=order, code=problem.code, why=str(problem))
                self._finish(order, "expired" if problem.code == "expired" else "closed", problem.code)
            except HOST_FAILURES as problem:
                self.log.warning(
                    "run left as it is: this host failed; start the agent again once that is mended",
                    order=order, why=str(problem),
                )  # fmt: skip
            finally:
                self._current = None

    async def _work_run(self, order: bytes, judge: ThreadPoolExecutor, worker: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        row = self._database.order(order)
        if row is None or row.state != "running" or row.envelope is None:
            return
        stop = threading.Event()
        self._current = (order, stop)
        opened = self._opened.get(order)
        if opened is None:  # held since an earlier process
            opened = await loop.run_in_executor(judge, self._desk.open, row.envelope, _now_ms())
            self._opened[order] = opened
        terms = opened.order.order
        try:
            if not self._desk.has_prepared(opened.order):
                await self._bodies.ensure(terms.bundle, self._line)
            await self._bodies.ensure(terms.weights, self._line)
            answer = await loop.run_in_executor(worker, self._work.work, opened, stop)
        except BodyUnavailable as problem:
            answer = await loop.run_in_executor(worker, self._work.refuse, opened, problem)
        except asyncio.CancelledError:
            stop.set()  # the thread stops at the run's next effect, and seals its state
            raise
        if answer is None:
            return
        self._answers[order] = answer
        self._offer(order)

    def _offer(self, order: bytes) -> None:
        """Offer a stored answer inside a lease, or ask for one; `on_lease` comes back here."""
        answer, row = self._answers.get(order), self._database.order(order)
        if answer is None or row is None or row.state != "answered":
            return
        if not self._leases.may_commit(order, _monotonic_ms()):
            self._line.renew(order, row.epoch)
            return
        del self._answers[order]
        self._database.offered(order, _now_ms())
        self._line.offer(order, answer.packet, answer.body, None if answer.body is None else answer.source)

    def _finish(self, order: bytes, state: OrderState, code: str = "") -> None:
        """The order is no longer held."""
        if not self._database.finish(order, state, code, _now_ms()):
            return
        if self._current is not None and self._current[0] == order:
            self._current[1].set()
        opened = self._opened.pop(order, None)
        self._work.forget(order)
        self._answers.pop(order, None)
        self._leases.drop(order)
        self._paths.outgoing(order).unlink(missing_ok=True)
        if opened is not None:
            wanted = {row.weights for row in self._database.held()}
            if opened.order.order.weights.id not in wanted:
                self._bodies.path(opened.order.order.weights).unlink(missing_ok=True)
        self.log.info("order ended", order=order, state=state, code=code)

    def _expire(self) -> None:
        now = max(_now_ms(), self._database.highest_time())
        for row in self._database.held():
            if now >= row.expires_ms:
                self._finish(row.digest, "expired", "expired")

    async def _keep_time(self) -> None:
        """Renews leases that are half spent, and lets expired orders go."""
        for tick in itertools.count(1):
            await asyncio.sleep(_TICK_S)
            for order, epoch in self._leases.due(_monotonic_ms()):
                self._line.renew(order, epoch)
            if tick % _EXPIRY_TICKS == 0:
                self._expire()

    @property
    def _line(self) -> AgentLink:
        if self._link is None:
            raise SojournError("the agent is not running")
        return self._link

    # What the link tells (`sojourn.wire.LinkHandler`)

    def hello(self) -> HelloParts:
        """Called before each connection."""
        held = tuple(
            HeldOrder(row.digest, "answered" if row.state == "answered" else "running") for row in self._database.held()
        )
        return HelloParts(self._entry, self._trusted.roster.version, held)

    async def on_order(self, order: bytes, envelope: bytes) -> None:
        """A sealed order came."""
        self._inbox.put_nowait((order, envelope))

    async def on_lease(self, order: bytes, epoch: int, lease_ms: int) -> None:
        """Custody was granted, renewed or refused."""
        if self._leases.granted(order, epoch, lease_ms, _monotonic_ms()):
            self._offer(order)
        else:
            self._finish(order, "closed", "lease")

    async def on_committed(self, order: bytes) -> None:
        """The answer counts."""
        self._finish(order, "committed")

    async def on_closed(self, order: bytes) -> None:
        """The phase is over."""
        self._finish(order, "closed", "closed")

    async def on_rejected(self, order: bytes, reason: str) -> None:
        """The answer was refused for good."""
        self._finish(order, "rejected", reason)

    async def on_roster(self, signed: bytes) -> None:
        """A newer roster came."""
        try:
            roster = self._trusted.load_roster(signed, _now_ms())
        except PeerError as problem:
            self.log.warning("roster refused", code=problem.code, why=str(problem))
            return
        write_atomic(self._paths.roster, signed)
        self.log.info("roster updated", version=roster.version)


def _interpreter(threads: int) -> Interpreter:
    from sojourn.interpreters import OnnxInterpreter  # noqa: PLC0415 - heavy; an idle agent may never need it

    return OnnxInterpreter(threads=threads)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def _until_first_failure(*jobs: Coroutine[Any, Any, None]) -> None:
    """Run jobs that never end; when one fails or this is cancelled, end the others and raise."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
