"""The listener for agents: a shell of sockets and tasks around `sojourn.wire.CoordinatorSession`.

Rules of this module:

* The protocol is decided in `sojourn.wire`; here bytes are moved, certificates are compared, and events are handed on.
* An agent is who its registrar-signed entry says *and* the holder of the TLS certificate that the entry names.
* One session for each agent outlives its connections. A newer connection supersedes the older one.
* A bad message ends its own connection with a code; no peer and no error of a handler ends the server.
* Handler calls of one connection are made one after the other while its reader waits (which parks the agent); only
  answers' bodies are taken by a task each, so that a slow sink parks its own channel and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import structlog
from sojourn.contracts import Entry
from sojourn.crypto.certificates import peer_digest
from sojourn.errors import ContributionRefused, DecodeError, PeerError, PortInUse, WireViolation
from sojourn.limits import MAX_FRAME_BYTES, MIB
from sojourn.wire import (
    AnswerSink,
    BodySource,
    Closed,
    Committed,
    GatewayHandler,
    Hello,
    Lease,
    Rejected,
    Verdict,
)
from sojourn.wire.connection import CoordinatorConnection
from sojourn.wire.coordinator_session import CoordinatorSession
from sojourn.wire.core import Slice
from sojourn.wire.events import (
    AnswerChunk,
    BodyAsked,
    BodyDropped,
    CoordinatorEvent,
    OfferArrived,
    OfferDropped,
    OrderAccepted,
    OrderDeclined,
    PeerLeft,
    RenewAsked,
)
from sojourn.wire.tables import CLOSE_CODES
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

__all__ = ["AnswerSink", "Gateway", "GatewayHandler"]

_WRITE_LIMIT: Final = 1 * MIB
_KEEPALIVE_S: Final = 20.0
_CLOSE_S: Final = 2.0
_HELLO_S: Final = 10.0
_PARKED_S: Final = 60.0  # half-received answers of an agent that is away are kept this long

_log = structlog.get_logger("sojourn.gateway")


@dataclass(slots=True)
class _Upload:
    """One answer being taken."""

    chunks: asyncio.Queue[memoryview]
    task: asyncio.Task[None]


@dataclass(slots=True, eq=False)
class _Line:
    """One connection."""

    socket: ServerConnection
    connection: CoordinatorConnection = field(default_factory=CoordinatorConnection)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sources: dict[int, BodySource] = field(default_factory=dict)

    def bye(self, reason: str) -> None:
        self.connection.bye(reason)
        self.wake.set()

    def piece(self, piece: Slice) -> bytes | memoryview:
        source = self.sources.pop(piece.channel) if piece.last else self.sources[piece.channel]
        return source.read(piece.offset, piece.size)


@dataclass(slots=True)
class _Peer:
    """One agent, connected or not."""

    session: CoordinatorSession = field(default_factory=CoordinatorSession)
    line: _Line | None = None
    entry: Entry | None = None  # set while greeted
    uploads: dict[bytes, _Upload] = field(default_factory=dict)
    expiry: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        if self.line is not None:
            self.line.wake.set()


def _binary(data: str | bytes) -> bytes:
    if isinstance(data, str):
        raise WireViolation("decode", "a text message came; this protocol is binary")
    return data


class Gateway:
    """Listens for agents; an async context manager.

    Args:
        handler: what stands behind the gateway.
        verify_agent: verifies a signed entry as of now (`TrustedSet.verify_agent`); raises a `PeerError`.
        ssl: TLS 1.3 context that requires a client certificate (`sojourn.crypto.certificates.server_context`).
        host: address to listen on.
        port: 0 takes a free one; see `port`.
    """

    def __init__(
        self,
        handler: GatewayHandler,
        verify_agent: Callable[[bytes], Entry],
        *,
        ssl: ssl.SSLContext,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._handler, self._verify_agent, self._ssl = handler, verify_agent, ssl
        self._host, self._port = host, port
        self._peers: dict[bytes, _Peer] = {}
        self._lines: set[_Line] = set()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        """Start listening.

        Raises:
            PortInUse: the address is taken.
        """
        try:
            self._server = await serve(
                self._accept,
                self._host,
                self._port,
                ssl=self._ssl,
                compression=None,
                max_size=MAX_FRAME_BYTES,
                write_limit=_WRITE_LIMIT,
                ping_interval=_KEEPALIVE_S,
                ping_timeout=_KEEPALIVE_S,
                close_timeout=_CLOSE_S,
            )
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(
                f"{self._host}:{self._port} is taken; stop what listens there or choose another port for agents"
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say bye to every agent and stop."""
        for line in self._lines:
            line.bye("going")
        if self._server is not None:
            await asyncio.sleep(0)
            self._server.close()
            await self._server.wait_closed()
        tasks = [upload.task for peer in self._peers.values() for upload in peer.uploads.values()]
        for peer in self._peers.values():
            if peer.expiry is not None:
                peer.expiry.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._server is None:
            return self._port
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    def deliver(self, agent: bytes, order: bytes, envelope: bytes) -> None:
        """Deliver a sealed order, now or when the agent comes, until it is answered or withdrawn.

        Args:
            agent: key id.
            order: digest of the signed order.
            envelope: the sealed `OrderPacket`.

        Raises:
            UsageError: the envelope does not fit a message.
        """
        peer = self._peers.setdefault(agent, _Peer())
        peer.session.deliver(order, envelope)
        peer.wake()

    def withdraw(self, agent: bytes, order: bytes) -> None:
        """Deliver an order no more; one that is on the way may still be answered."""
        peer = self._peers.get(agent)
        if peer is not None:
            peer.session.withdraw(order)

    def connected(self) -> list[Entry]:
        """The agents that are greeted and connected now."""
        return [peer.entry for peer in self._peers.values() if peer.entry is not None]

    def announce(self, roster: bytes) -> None:
        """Send a newer signed roster to every connected agent."""
        for peer in self._peers.values():
            if peer.line is not None and peer.line.connection.is_open:
                peer.line.connection.roster(roster)
                peer.wake()

    # One connection.

    async def _accept(self, socket: ServerConnection) -> None:
        line = _Line(socket)
        self._lines.add(line)
        writer = asyncio.create_task(self._write(line), name="gateway-write")
        reader = asyncio.create_task(self._read(line), name="gateway-read")
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if line.connection.ended:  # the bye goes out, unless the peer has stopped reading
                await asyncio.wait({reader, writer}, timeout=_CLOSE_S)
        finally:
            self._lines.discard(line)
            reader.cancel()
            writer.cancel()
            results = await asyncio.gather(reader, writer, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ConnectionClosed | asyncio.CancelledError):
                raise result

    async def _write(self, line: _Line) -> None:
        while True:
            line.wake.clear()
            for frame in line.connection.outgoing(line.piece):
                await line.socket.send(frame)
            reason = line.connection.ended
            if reason:
                await line.socket.close(CLOSE_CODES.get(reason, 1000), reason)
                return
            await line.wake.wait()

    async def _read(self, line: _Line) -> None:
        await self._listen(line)
        # What is still under way is read and dropped: the peer's closing handshake stands behind it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                while True:
                    await line.socket.recv(decode=False)

    async def _listen(self, line: _Line) -> None:
        """Hear one agent out: from its hello to a bye, a violation or a cut."""
        peer: _Peer | None = None
        entry: Entry | None = None
        try:
            hello, entry = await self._hello(line)
            peer = self._peers.setdefault(entry.key, _Peer())
            await self._greet(peer, line, entry, hello)
            while not line.connection.ended:
                data = _binary(await line.socket.recv())
                for event in peer.session.receive(line.connection, data):
                    await self._take(peer, line, entry, event)
                line.wake.set()
        except PeerError as problem:
            reason = "decode" if isinstance(problem, DecodeError) else getattr(problem, "reason", "refused")
            _log.warning(
                "agent.violation",
                agent="unknown" if entry is None else entry.name,
                address=line.socket.remote_address,
                reason=reason,
                problem=str(problem),
            )
            line.bye(reason)
        finally:
            if peer is not None and entry is not None and peer.line is line:
                await self._gone(peer, entry)

    async def _hello(self, line: _Line) -> tuple[Hello, Entry]:
        """The first message, and the entry that it and the connection's certificate prove."""
        try:
            async with asyncio.timeout(_HELLO_S):
                data = _binary(await line.socket.recv())
        except TimeoutError:
            raise WireViolation("unheard", f"no hello within {_HELLO_S:.0f} s") from None
        hello = line.connection.receive(data)
        if not isinstance(hello, Hello):
            raise WireViolation("state", "the agent left without a hello")
        entry = self._verify_agent(hello.entry)
        if peer_digest(line.socket.transport.get_extra_info("ssl_object")) != entry.tls:
            raise WireViolation("refused", f"the TLS certificate is not the one of the entry of {entry.name!r}")
        return hello, entry

    async def _greet(self, peer: _Peer, line: _Line, entry: Entry, hello: Hello) -> None:
        """Make this the agent's line, tell the handler, and open it."""
        old, peer.line = peer.line, line
        accepted = peer.session.attach(line.connection, hello)
        if old is not None:
            _log.info("agent.superseded", agent=entry.name)
            old.wake.set()
        if peer.expiry is not None:
            peer.expiry.cancel()
            peer.expiry = None
        greeting = await self._handler.on_hello(entry, hello)
        for event in accepted:
            await self._take(peer, line, entry, event)
        if not peer.session.welcome(line.connection, greeting.coordinator, greeting.leases):
            return
        if greeting.roster is not None:
            line.connection.roster(greeting.roster)
        peer.entry = entry
        line.wake.set()
        _log.info("agent.connected", agent=entry.name, held=len(hello.held))

    async def _gone(self, peer: _Peer, entry: Entry) -> None:
        peer.session.lost()
        peer.line = peer.entry = None
        peer.expiry = asyncio.get_running_loop().call_later(_PARKED_S, self._expire, entry.key)
        _log.info("agent.gone", agent=entry.name)
        await self._handler.on_gone(entry)

    def _expire(self, agent: bytes) -> None:
        """An agent stayed away: its half-received answers go, and all memory of it when nothing is pending."""
        peer = self._peers[agent]
        peer.expiry = None
        for order in peer.session.abandon():
            self._cancel(peer, order)
        if peer.session.idle:
            del self._peers[agent]

    # What came.

    async def _take(self, peer: _Peer, line: _Line, entry: Entry, event: CoordinatorEvent) -> None:
        match event:
            case AnswerChunk():
                upload = peer.uploads.get(event.order)
                if upload is not None:
                    upload.chunks.put_nowait(event.payload)
            case OrderAccepted():
                await self._handler.on_accepted(entry, event.order)
            case OrderDeclined():
                await self._handler.on_declined(entry, event.order, event.code)
            case RenewAsked():
                lease_ms = await self._handler.on_renew(entry, event.order, event.epoch)
                if line.connection.is_open:
                    line.connection.lease(Lease(event.order, event.epoch, lease_ms))
            case BodyAsked():
                source = self._handler.open_body(entry, event.body)
                if source is None or source.length != event.length:
                    line.connection.missing(event.channel)
                else:
                    line.sources[event.channel] = source
                    line.connection.serve(event.channel)
            case BodyDropped():
                line.sources.pop(event.channel, None)
            case OfferArrived():
                chunks: asyncio.Queue[memoryview] = asyncio.Queue()
                task = asyncio.create_task(self._receive(peer, entry, event, chunks), name="gateway-answer")
                peer.uploads[event.order] = _Upload(chunks, task)
                task.add_done_callback(lambda done: self._received(peer, event.order, done))
            case OfferDropped():
                self._cancel(peer, event.order)
            case PeerLeft():
                _log.info("agent.bye", agent=entry.name, reason=event.reason)

    async def _receive(self, peer: _Peer, entry: Entry, offer: OfferArrived, chunks: asyncio.Queue[memoryview]) -> None:
        """Take one answer from its offer to its verdict, through any number of reconnects."""
        try:
            verdict = await self._judge(peer, entry, offer, chunks)
        except PeerError as problem:
            reason = problem.reason if isinstance(problem, ContributionRefused | DecodeError) else problem.code
            _log.warning(
                "answer.rejected", agent=entry.name, order=offer.order.hex(), reason=reason, problem=str(problem)
            )
            verdict = Rejected(offer.order, reason)
        peer.session.settle(verdict)
        peer.wake()

    async def _judge(
        self, peer: _Peer, entry: Entry, offer: OfferArrived, chunks: asyncio.Queue[memoryview]
    ) -> Verdict:
        taken = await self._handler.on_offer(entry, offer.order, offer.packet, offer.body, offer.length)
        if isinstance(taken, Committed | Closed | Rejected):
            return taken
        finished, left = False, offer.length
        try:
            if left:
                peer.session.want(offer.order)
                peer.wake()
            while left:
                chunk = await chunks.get()
                await taken.feed(chunk)
                left -= len(chunk)
                peer.session.consumed(offer.order, len(chunk))
                peer.wake()
            verdict = await taken.finish()
            finished = True
        finally:
            if not finished:
                await taken.abort()
        return verdict

    def _received(self, peer: _Peer, order: bytes, task: asyncio.Task[None]) -> None:
        """An answer's task ended. One that broke (a full disk, a defect) ends the line; the agent offers again."""
        upload = peer.uploads.get(order)
        if upload is not None and upload.task is task:
            del peer.uploads[order]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("answer.failed", order=order.hex(), exc_info=error)
            peer.session.drop(order)
            if peer.line is not None:
                peer.line.bye("failed")

    def _cancel(self, peer: _Peer, order: bytes) -> None:
        upload = peer.uploads.pop(order, None)
        if upload is not None:
            upload.task.cancel()
