"""What an agent says when it cannot connect: the likely cause and what to check, once a kind."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from sojourn.agent.diagnosis import Diagnosis, cause_of
from sojourn.agent.link import AgentLink
from sojourn.crypto import Authority, Identity, client_context, server_context
from structlog.testing import capture_logs
from websockets.asyncio.server import serve

NOW = 100.0


def told(url: str, cause: str) -> str:
    diagnosis = Diagnosis(url)
    return next(text for text in (diagnosis.met(cause, NOW + second) for second in range(10)) if text)


def test_what_waiting_may_mend_is_told_after_the_first_tries() -> None:
    diagnosis = Diagnosis("wss://hub:7443")
    assert [diagnosis.met("nobody", NOW + tenth / 10) for tenth in range(20)] == [""] * 20  # it may be starting
    assert "nobody listens at hub:7443" in diagnosis.met("nobody", NOW + 4)
    assert diagnosis.met("nobody", NOW + 5) == ""


def test_what_waiting_does_not_mend_is_told_at_once_and_once() -> None:
    diagnosis = Diagnosis("wss://hub:7443")
    assert "another federation" in diagnosis.met("authority", NOW)
    assert diagnosis.met("authority", NOW + 100) == ""
    assert "operators" in diagnosis.met("http", NOW + 101), "another kind is told too"
    assert diagnosis.met("authority", NOW + 102) == ""
    diagnosis.greeted()
    assert "another federation" in diagnosis.met("authority", NOW + 103), "after a greeting it is news again"


def test_what_is_not_known_says_nothing() -> None:
    assert Diagnosis("wss://hub:7443").met("going", NOW) == ""


def test_an_address_without_a_port_says_which_is_tried() -> None:
    assert "443 is tried" in told("wss://hub", "nobody")
    assert "443 is tried" not in told("wss://hub:7443", "nobody")
    assert "[::1]:7443" in told("wss://[::1]:7443", "nobody")


@pytest.mark.parametrize(
    ("problem", "cause"),
    [
        (ConnectionRefusedError(111, "refused"), "nobody"),
        (OSError("Multiple exceptions: [Errno 111] …, [Errno 111] …"), "nobody"),
        (OSError(113, "No route to host"), "silent"),
        (TimeoutError("timed out during opening handshake"), "silent"),
        (ConnectionResetError(104, "reset"), "cut"),
        (ConnectionResetError(), "cut"),
        (ssl.SSLError(1, "anything else"), "cut"),
    ],
)
def test_causes_of_the_network(problem: Exception, cause: str) -> None:
    assert cause_of(problem) == cause


# Real listeners


class Nobody:
    """A handler that no connection here ever reaches."""

    def hello(self):
        raise AssertionError("no listener of these tests is to be greeted")


async def advice(url: str, context: ssl.SSLContext, seconds: float = 10) -> str:
    """The first advice of a link that tries to connect."""
    with capture_logs() as logs:
        running = asyncio.create_task(AgentLink(url, Nobody(), ssl=context, pins=[bytes(32)]).run())
        async with asyncio.timeout(seconds):
            while not (found := [log["advice"] for log in logs if log["event"] == "coordinator.advice"]):
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return found[0]


@pytest.fixture
def authority() -> Authority:
    return Authority.generate()


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return client_context(authority.certificate)


def speaks(authority: Authority, *hosts: str) -> ssl.SSLContext:
    party = authority.certify(Identity.generate("coordinator", "hub"), hosts=hosts or ("127.0.0.1",))
    return server_context(party, authority.certificate, require_client=False)


async def dialled(context: ssl.SSLContext, listening: ssl.SSLContext | None, answer=None) -> str:
    async def handle(socket) -> None:
        await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0, ssl=listening, process_request=answer) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        return await advice(f"wss://127.0.0.1:{port}", context)


async def test_nobody_there(context) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert f"nobody listens at 127.0.0.1:{port}; check" in await advice(f"wss://127.0.0.1:{port}", context, 20)


async def test_another_federation(context) -> None:
    assert "another federation" in await dialled(context, speaks(Authority.generate()))


async def test_another_host_in_the_certificate(context, authority) -> None:
    assert "trust init --host" in await dialled(context, speaks(authority, "hub.example.org"))


async def test_another_party_of_the_federation(context, authority) -> None:
    assert "is it the registrar's?" in await dialled(context, speaks(authority))


async def test_a_port_for_operators(context, authority) -> None:
    said = await dialled(context, speaks(authority), lambda socket, _: socket.respond(404, "no such route\n"))
    assert "port for operators" in said


async def test_a_port_without_tls(context) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "does not speak TLS" in await advice(f"wss://127.0.0.1:{port}", context)


async def test_a_listener_that_hangs_up(context) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "takes the connection and ends it" in await advice(f"wss://127.0.0.1:{port}", context, 20)


async def test_a_name_that_is_not_known(context) -> None:
    assert "nowhere.invalid is not known" in await advice("wss://nowhere.invalid:1", context)
