"""The agent's end of the line: a shell of sockets and tasks around `sojourn.wire.AgentSession`.

Rules of this module:

* The protocol is decided in `sojourn.wire`; here bytes are moved, time is measured, and events are handed on.
* One task reads, one writes, one calls the handler; none waits for another's work, so that a slow handler or a slow
  disk never stops the line, and neither end can wait for the other in a circle.
* The link reconnects for ever, with jitter; nothing that was offered, asked for or answered is lost on the way. What
  keeps it from connecting is told once a kind, with what to check (`diagnosis`), as a warning of the log.
* All methods belong to the event loop in which `run` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidURI

from sojourn.agent.diagnosis import Diagnosis, cause_of
from sojourn.agent.narration import sentence
from sojourn.contracts import BodyRef
from sojourn.crypto.certificates import peer_digest
from sojourn.errors import BodyUnavailable, ConfigError, DecodeError, StoreError, WireViolation
from sojourn.limits import MAX_FRAME_BYTES, MAX_HELD_ORDERS, MIB
from sojourn.logs import get_log
from sojourn.wire import WIRE_VERSION, Closed, Committed, Hello, LinkHandler, Rejected
from sojourn.wire.agent_session import AgentSession
from sojourn.wire.connection import AgentConnection
from sojourn.wire.core import Slice
from sojourn.wire.events import (
    AgentEvent,
    BodyChunk,
    BodyMissing,
    Greeted,
    LeaseCame,
    OfferSettled,
    OrderArrived,
    PeerLeft,
    RosterCame,
)
from sojourn.wire.tables import CLOSE_CODES

__all__ = ["AgentLink", "LinkHandler", "check_address"]

_WRITE_LIMIT: Final = 1 * MIB
_KEEPALIVE_S: Final = 20.0
_CLOSE_S: Final = 2.0
_FIRST_DELAY_S: Final = 0.05
_LOOPBACK_DELAY_S: Final = 2.0
_LONGEST_DELAY_S: Final = 60.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_UNWELCOME: Final = frozenset({"refused", "superseded", "version"})

_log = get_log("sojourn.link", sentence)


def check_address(url: str) -> str:
    """The host of a coordinator's address.

    Raises:
        ConfigError: it is not of the form `wss://host:port`; the message says what to write.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme == "wss" and parts.hostname and parts.port != 0:
            return parts.hostname
        bare = parts.netloc if "://" in url else url.partition("/")[0]
        bare = bare if ":" in bare.rpartition("]")[2] or not bare else f"{bare}:7443"
    except ValueError:  # brackets that do not close, or a port that is no number
        bare = ""
    suggested = f"wss://{bare}" if bare and not bare.startswith(":") else "wss://host:port"
    raise ConfigError(
        f"the coordinator's address is {url!r}; write it as {suggested}, with the port of its listener for agents "
        "(`sojourn-coordinator run --agents`, 7443 unless it says otherwise)"
    )


class _Source:
    """The bytes of one offered body: in memory, or in a file that is opened when it is first read.

    A file that is gone or shorter than its reference raises `StoreError`, which ends the link: offering it again
    would not help.
    """

    def __init__(self, source: Path | bytes) -> None:
        self._memory = memoryview(source if isinstance(source, bytes) else b"")
        self._path = source if isinstance(source, Path) else None
        self._file: int | None = None

    def read(self, offset: int, size: int) -> bytes | memoryview:
        if self._path is None:
            return self._memory[offset : offset + size]
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY)
            data = os.pread(self._file, size, offset)
        except OSError as problem:
            raise StoreError(f"the stored answer {self._path} cannot be read: {problem.strerror}") from None
        if not data:
            raise StoreError(f"the stored answer {self._path} ends at {offset} bytes, its reference says more")
        return data

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _binary(data: str | bytes) -> bytes:
    if isinstance(data, str):
        raise WireViolation("decode", "a text message came; this protocol is binary")
    return data


class AgentLink:
    """Connects an agent to its coordinator and keeps it connected.

    Args:
        url: `wss://host:port`.
        handler: what stands behind the link.
        ssl: TLS 1.3 context with the agent's own certificate (`sojourn.crypto.certificates.client_context`).
        pins: SHA-256 of the certificates that may answer, from the roster's coordinators; None takes any certificate
            of the context's authority.

    Raises:
        ConfigError: the URL is not of that form.
    """

    def __init__(
        self, url: str, handler: LinkHandler, *, ssl: ssl.SSLContext, pins: Collection[bytes] | None = None
    ) -> None:
        host = check_address(url)
        self._url, self._handler, self._ssl, self._pins = url, handler, ssl, pins
        self._longest = _LOOPBACK_DELAY_S if host in _LOOPBACK else _LONGEST_DELAY_S
        self._session = AgentSession()
        self._wake = asyncio.Event()
        self._events: asyncio.Queue[tuple[AgentEvent, float]] = asyncio.Queue()
        self._bodies: dict[int, asyncio.Queue[memoryview | None]] = {}
        self._sources: dict[bytes, _Source] = {}
        self._asked: dict[bytes, float] = {}  # order -> when its renewal was asked for
        self._hello_at = 0.0
        self._coordinator: bytes | None = None
        self._diagnosis = Diagnosis(url)

    @property
    def coordinator(self) -> bytes | None:
        """Key id of the coordinator while connected, else None."""
        return self._coordinator

    @property
    def connected(self) -> bool:
        """Whether the coordinator has greeted this agent on a line that still stands."""
        return self._coordinator is not None

    async def run(self) -> None:
        """Connect, and connect again, until cancelled. An error of the handler, or of a stored answer, ends it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._dispatch(), name="link-dispatch")
                tasks.create_task(self._keep_connected(), name="link-connect")
        finally:
            for source in self._sources.values():
                source.close()

    def accepted(self, order: bytes) -> None:
        """The order is verified, admitted and durable here."""
        self._session.accepted(order)
        self._wake.set()

    def declined(self, order: bytes, code: str) -> None:
        """The order will not run here; `code` is public: lower-case letters, digits, `_` and `-`, at most 64."""
        self._session.declined(order, code)
        self._wake.set()

    def renew(self, order: bytes, epoch: int) -> None:
        """Ask for custody again; `on_lease` brings the answer. Without a connection the next greeting brings it.

        While one question is under way another one is not asked.
        """
        if order not in self._asked and self._session.renew(order, epoch):
            self._asked[order] = asyncio.get_running_loop().time()
            self._wake.set()

    def offer(
        self, order: bytes, packet: bytes, body: BodyRef | None = None, source: Path | bytes | None = None
    ) -> None:
        """Offer an answer on every connection until `on_committed`, `on_closed` or `on_rejected` tells its end.

        Args:
            order: digest of the signed order.
            packet: the sealed `AnswerPacket`, sent as it is each time.
            body: reference of the sealed body, or None when the answer has none.
            source: the sealed bytes, or the file that holds exactly them.
        """
        if body is None or source is None:
            self._session.offer(order, packet)
        else:
            self._session.offer(order, packet, body.id, body.length)
            self._sources.setdefault(order, _Source(source))
        self._wake.set()

    async def fetch(self, body: bytes, length: int) -> AsyncIterator[memoryview]:
        """Chunks of a sealed body in order, through any number of reconnects.

        A consumer that stops taking chunks parks the sender.

        Args:
            body: id of the body, SHA-256 of its sealed bytes. The caller verifies them.
            length: sealed bytes.

        Raises:
            BodyUnavailable: the coordinator does not have it.
        """
        if length == 0:
            return
        ticket = self._session.fetch(body, length)
        chunks = self._bodies[ticket] = asyncio.Queue()
        self._wake.set()
        try:
            while length:
                chunk = await chunks.get()
                if chunk is None:
                    raise BodyUnavailable(f"the coordinator has no body {body.hex()[:16]} of that length")
                yield chunk
                length -= len(chunk)
                self._session.consumed(ticket, len(chunk))
                self._wake.set()
        finally:
            del self._bodies[ticket]
            self._session.cancel(ticket)
            self._wake.set()

    # The line.

    async def _keep_connected(self) -> None:
        loop, delay = asyncio.get_running_loop(), _FIRST_DELAY_S
        while True:
            began, reason = None, ""
            try:
                async with connect(
                    self._url,
                    ssl=self._ssl,
                    compression=None,
                    max_size=MAX_FRAME_BYTES,
                    write_limit=_WRITE_LIMIT,
                    ping_interval=_KEEPALIVE_S,
                    ping_timeout=_KEEPALIVE_S,
                    close_timeout=_CLOSE_S,
                ) as socket:
                    began = loop.time()
                    reason = await self._serve(socket)
            except InvalidURI as problem:
                raise ConfigError(f"{self._url}: {problem}; write the address as wss://host:port") from None
            except (OSError, EOFError, TimeoutError, InvalidHandshake, InvalidMessage, ConnectionClosed) as problem:
                _log.info("coordinator.unreachable", url=self._url, problem=str(problem) or type(problem).__name__)
                self._advise(cause_of(problem))
            if reason in _UNWELCOME:
                delay = self._longest
            elif began is not None and loop.time() - began > self._longest:
                delay = _FIRST_DELAY_S
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, self._longest)

    def _advise(self, cause: str) -> None:
        advice = self._diagnosis.met(cause, asyncio.get_running_loop().time())
        if advice:
            _log.warning("coordinator.advice", url=self._url, advice=advice)

    async def _serve(self, socket: ClientConnection) -> str:
        """Speak on one connection until it ends; returns the reason of its bye, if there was one."""
        certificate = peer_digest(socket.transport.get_extra_info("ssl_object"))
        if self._pins is not None and certificate not in self._pins:
            _log.error("coordinator.refused", url=self._url, why="its certificate is no roster coordinator's")
            self._advise("party")
            return "refused"
        parts = self._handler.hello()
        self._asked.clear()
        self._hello_at = asyncio.get_running_loop().time()
        held = parts.held[:MAX_HELD_ORDERS]
        hello = Hello(WIRE_VERSION, parts.entry, parts.roster_version, held, os.urandom(16))
        connection = self._session.connect(hello)
        reader = asyncio.create_task(self._read(socket, connection), name="link-read")
        writer = asyncio.create_task(self._write(socket, connection), name="link-write")
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if connection.ended:  # the bye goes out, unless the peer has stopped reading
                await asyncio.wait({reader, writer}, timeout=_CLOSE_S)
        finally:
            self._coordinator = None
            self._session.lost()
            reader.cancel()
            writer.cancel()
            results = await asyncio.gather(reader, writer, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ConnectionClosed | asyncio.CancelledError):
                raise result
        _log.info("coordinator.left", url=self._url, reason=connection.ended or "cut")
        return connection.ended

    async def _read(self, socket: ClientConnection, connection: AgentConnection) -> None:
        try:
            while not connection.ended:
                event = self._session.receive(_binary(await socket.recv()))
                if event is not None:
                    self._take(event)
                self._wake.set()
        except (DecodeError, WireViolation) as problem:
            reason = problem.reason if isinstance(problem, WireViolation) else "decode"
            _log.error("coordinator.violation", url=self._url, reason=reason, problem=str(problem))
            connection.bye(reason)
            self._wake.set()
        # What is still under way is read and dropped: the peer's closing handshake stands behind it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                while True:
                    await socket.recv(decode=False)

    async def _write(self, socket: ClientConnection, connection: AgentConnection) -> None:
        while True:
            self._wake.clear()
            for frame in connection.outgoing(self._piece):
                await socket.send(frame)
            if connection.ended:
                await socket.close(CLOSE_CODES.get(connection.ended, 1000), connection.ended)
                return
            await self._wake.wait()

    def _piece(self, piece: Slice) -> bytes | memoryview:
        return self._sources[self._session.order_on(piece.channel)].read(piece.offset, piece.size)

    # What came.

    def _take(self, event: AgentEvent) -> None:
        """Chunks go straight to their fetch; everything else waits for the handler, in order."""
        match event:
            case BodyChunk():
                chunks = self._bodies.get(event.ticket)
                if chunks is not None:
                    chunks.put_nowait(event.payload)
            case BodyMissing():
                chunks = self._bodies.get(event.ticket)
                if chunks is not None:
                    chunks.put_nowait(None)
            case PeerLeft():
                level = _log.error if event.reason in _UNWELCOME else _log.info
                level("coordinator.bye", url=self._url, reason=event.reason)
                self._advise(event.reason)
            case _:
                if isinstance(event, Greeted):
                    self._coordinator = event.coordinator
                    self._diagnosis.greeted()
                    _log.info("coordinator.greeted", url=self._url, coordinator=event.coordinator.hex()[:16])
                now = asyncio.get_running_loop().time()
                asked = self._asked.pop(event.lease.order, now) if isinstance(event, LeaseCame) else now
                self._events.put_nowait((event, self._hello_at if isinstance(event, Greeted) else asked))

    async def _dispatch(self) -> None:
        """Hand events to the handler, one after the other."""
        while True:
            event, asked = await self._events.get()
            match event:
                case OrderArrived():
                    await self._handler.on_order(event.order, event.envelope)
                case LeaseCame():
                    await self._lease(event.lease.order, event.lease.epoch, event.lease.lease_ms, asked)
                case Greeted():
                    for lease in event.leases:
                        await self._lease(lease.order, lease.epoch, lease.lease_ms, asked)
                case OfferSettled():
                    await self._settled(event.verdict)
                case RosterCame():
                    await self._handler.on_roster(event.signed)
                case _:
                    pass

    async def _lease(self, order: bytes, epoch: int, lease_ms: int, asked: float) -> None:
        """A lease runs from the moment it was asked for, so that it ends here before it ends over there."""
        spent = int((asyncio.get_running_loop().time() - asked) * 1000)
        await self._handler.on_lease(order, epoch, max(lease_ms - spent, 0))

    async def _settled(self, verdict: Committed | Closed | Rejected) -> None:
        source = self._sources.pop(verdict.order, None)
        if source is not None:
            source.close()
        match verdict:
            case Committed():
                await self._handler.on_committed(verdict.order)
            case Closed():
                await self._handler.on_closed(verdict.order)
            case Rejected():
                await self._handler.on_rejected(verdict.order, verdict.reason)
