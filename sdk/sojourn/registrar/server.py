"""The registrar's listener: one websocket message in, one out, over TLS 1.3.

Rules:

* A caller has no certificate yet, so TLS authenticates the registrar only; the request proves the rest.
* A refusal is a reply with a public code and a message that says what to do. It never repeats a secret.
* One listener a folder: it holds the folder's lock from before it binds until it is closed.
* A connection that says nothing, too much, or something else is closed; it costs bounded time and memory.
"""

from __future__ import annotations

import asyncio
import errno
from types import TracebackType
from typing import Final

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed

from sojourn.codec import encode
from sojourn.contracts import SUITE_1
from sojourn.crypto import server_context
from sojourn.errors import PeerError, PortInUse, SojournError
from sojourn.logs import get_log
from sojourn.registrar.messages import MAX_REQUEST_BYTES, EnrolmentReply
from sojourn.registrar.state import RegistrarState
from sojourn.streams.files import FileLock

__all__ = ["RegistrarServer", "serve"]

REQUEST_TIMEOUT_S: Final = 10.0

_log: Final = get_log("sojourn.registrar")


class RegistrarServer:
    """A running listener. Use it as an async context manager, or call `close`."""

    def __init__(self, server: Server, lock: FileLock) -> None:
        """Use `serve`."""
        self._server, self._lock = server, lock

    @property
    def port(self) -> int:
        """The port that it listens on (useful when port 0 was asked for)."""
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def close(self) -> None:
        """Stop listening, let open requests end, and return when all is closed."""
        self._server.close()
        await self._server.wait_closed()
        self._lock.release()

    async def serve_forever(self) -> None:
        """Run until cancelled."""
        await self._server.serve_forever()

    async def __aenter__(self) -> RegistrarServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def serve(state: RegistrarState, host: str, port: int) -> RegistrarServer:
    """Start listening for enrolments.

    Args:
        state: open, and kept open by the caller for as long as the server runs.
        host: address to bind.
        port: 0 for any free one.

    Raises:
        StateInUse: another listener runs on this registrar's folder; the message names its process.
        PortInUse: the address is taken.
    """
    lock = state.lock_listener()
    try:
        return RegistrarServer(await _listen(state, host, port), lock)
    except BaseException:
        lock.release()
        raise


async def _listen(state: RegistrarState, host: str, port: int) -> Server:

    async def handle(connection: ServerConnection) -> None:
        await _answer(state, connection)

    context = server_context(state.identity, state.authority, require_client=False)
    try:
        return await serve_websocket(
            handle,
            host,
            port,
            ssl=context,
            compression=None,
            max_size=MAX_REQUEST_BYTES,
            open_timeout=REQUEST_TIMEOUT_S,
            close_timeout=REQUEST_TIMEOUT_S,
            server_header=None,
        )
    except OSError as problem:
        if problem.errno == errno.EADDRINUSE:
            raise PortInUse(f"{host}:{port} is in use; stop what listens there or choose another port") from None
        raise


async def _answer(state: RegistrarState, connection: ServerConnection) -> None:
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            message = await connection.recv()
    except (TimeoutError, ConnectionClosed):
        return
    data = message.encode("utf-8") if isinstance(message, str) else message
    try:
        reply = state.enrol(data)
        _log.info("agent enrolled")
    except PeerError as problem:
        _log.warning("enrolment refused", code=problem.code, reason=str(problem))
        reply = _refusal(problem.code, str(problem))
    except SojournError as problem:
        _log.error("enrolment failed", code=problem.code, reason=str(problem))
        reply = _refusal("registrar", "the registrar cannot enrol anybody now; its log says why")
    try:
        await connection.send(encode(reply))
    except ConnectionClosed:
        _log.warning("the reply was lost; the agent may ask again with the same keys")


def _refusal(code: str, message: str) -> EnrolmentReply:
    return EnrolmentReply(
        suite=SUITE_1, outcome="refused", code=code, message=message, entry=b"", certificate=b"", roster=b""
    )
