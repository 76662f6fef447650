"""Running a coordinator: its two listeners in one event loop, until a signal.

Rules:

* Both addresses are bound before any job goes on: a port that is taken stops the start, with nothing begun.
* SIGINT and SIGTERM stop the listeners and then the jobs where they are; the state folder is as good after them as
  after a kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI
from sojourn.crypto import server_context
from sojourn.errors import ConfigError, PortInUse
from sojourn.streams import StateFolder

from sojourn_coordinator.api import create_app
from sojourn_coordinator.faults import Fault
from sojourn_coordinator.gateway import Gateway
from sojourn_coordinator.service import Coordinator
from sojourn_coordinator.state import ROLE, read_token

__all__ = ["Address", "Running", "run", "serve"]

_log = structlog.get_logger("sojourn.coordinator")

_STOPS: Final = (signal.SIGINT, signal.SIGTERM)
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on
_GRACE_S: Final = 2  # for requests that are under way when the process stops


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (all interfaces of loopback).

        Raises:
            ConfigError: it is not of that form.
        """
        host, colon, port = text.rpartition(":")
        if not colon or "/" in host or not port.isdecimal() or int(port) > 65_535:
            raise ConfigError(f"{text!r} is not an address; write HOST:PORT, for example 127.0.0.1:7443")
        return cls(host.strip("[]") or "127.0.0.1", int(port))


@dataclass(frozen=True, slots=True)
class Running:
    """A coordinator that serves.

    Attributes:
        coordinator: the coordinator.
        agents: port of the agents' listener.
        operators: port of the operators' listener.
    """

    coordinator: Coordinator
    agents: int
    operators: int


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to `run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve(state: Path, agents: Address, operators: Address, fault: Fault | None = None) -> AsyncIterator[Running]:
    """Serve a state folder for as long as the context is open.

    Args:
        state: an initialised state folder.
        agents: where agents connect.
        operators: where operators connect.
        fault: test hook.

    Raises:
        StateInUse: another process serves this folder.
        StateVersion: another version wrote it.
        PortInUse: an address is taken.
        ConfigError: the folder is not initialised, an address does not exist here, or both are one.
    """
    _check_apart(agents, operators)
    with StateFolder.open(state, ROLE, create=False), _bind(operators) as listening:
        token = read_token(state)
        coordinator = await Coordinator.open(state, fault)
        try:
            identity, authority = coordinator.house.identity, coordinator.house.trusted.roster.authority
            gateway = Gateway(
                coordinator,
                coordinator.verify_agent,
                ssl=server_context(identity, authority),
                host=agents.host,
                port=agents.port,
            )
            context = server_context(identity, authority, require_client=False)
            async with gateway, _http(create_app(coordinator, token), listening, context):
                await coordinator.start(gateway)
                yield Running(coordinator, gateway.port, listening.getsockname()[1])
                coordinator.house.feed.close()
        finally:
            await coordinator.close()


def _check_apart(agents: Address, operators: Address) -> None:
    """Two listeners need two ports, but on different addresses of this machine."""
    same = agents.host == operators.host or not {agents.host, operators.host}.isdisjoint(_EVERYWHERE)
    if agents.port and agents.port == operators.port and same:
        raise ConfigError(
            f"--agents and --operators both name port {agents.port}; each needs a port of its own, such as "
            f"--operators {operators.host}:{7444 if agents.port != 7444 else 7445}"
        )


def run(state: Path, agents: Address, operators: Address, announce: Callable[[Running], None]) -> signal.Signals:
    """Serve until SIGINT or SIGTERM; returns which it was.

    Args:
        state: an initialised state folder.
        agents: where agents connect.
        operators: where operators connect.
        announce: called once both listeners serve.
    """
    import os  # noqa: PLC0415 - the environment is read here and nowhere else

    fault = Fault.from_environment(os.environ)
    before = {number: signal.getsignal(number) for number in _STOPS}
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run(state, agents, operators, announce, fault))
    finally:
        for number, handler in before.items():  # uvloop's own would call into a loop that is closed
            signal.signal(number, handler)


async def _run(
    state: Path, agents: Address, operators: Address, announce: Callable[[Running], None], fault: Fault | None
) -> signal.Signals:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(which: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(which)

    for which in _STOPS:
        loop.add_signal_handler(which, stop, which)
    async with serve(state, agents, operators, fault) as running:
        announce(running)
        broken = asyncio.create_task(running.coordinator.failed())
        ends: set[asyncio.Future[Any]] = {stopped, broken}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if broken.done():
            broken.result()
        broken.cancel()
        _log.info("coordinator.stopping", signal=stopped.result().name)
    return stopped.result()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 - not on every platform

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


@contextlib.contextmanager
def _bind(address: Address) -> Iterator[socket.socket]:
    """A listening socket for operators."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server((address.host, address.port), family=family, backlog=128)
    except OSError as problem:
        where = f"{address.host}:{address.port}"
        if problem.errno == errno.EADDRINUSE:
            raise PortInUse(f"{where} is taken; stop what listens there or choose another port for operators") from None
        raise ConfigError(f"cannot listen on {where}: {problem.strerror}; choose an address of this host") from None
    with listening:
        yield listening


@contextlib.asynccontextmanager
async def _http(app: FastAPI, listening: socket.socket, context: ssl.SSLContext) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=_GRACE_S, ws="none"
    )
    config.load()
    config.ssl = context
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
