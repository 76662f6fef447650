"""Enrolment over real sockets and TLS: the right registrar, one question, one verified answer."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

import msgspec
import pytest
import sojourn.registrar.server as server_module
from sojourn.codec import decode, digest, encode
from sojourn.contracts import SUITE_1, Entry, Signed, key_id
from sojourn.crypto import (
    Authority,
    Identity,
    create_trust,
    load_trusted_set,
    pinned_context,
    server_context,
    sign_document,
)
from sojourn.errors import ConfigError, DecodeError, EnrolmentRefused, PortInUse, StateInUse, TrustError
from sojourn.registrar import EnrolmentReply, RegistrarState, enrol, parse_token, serve
from sojourn.registrar.messages import build_request, format_token, open_request
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed


def an_agent(name="hospital-1"):
    return Identity.generate("agent", name)


def url(server) -> str:
    return f"wss://127.0.0.1:{server.port}"


async def test_an_agent_enrols_and_keeps_what_it_got(state, tmp_path):
    folder = tmp_path / "agent"
    folder.mkdir()
    agent = an_agent()
    agent.save(folder / "identity.key")
    async with await serve(state, "127.0.0.1", 0) as server:
        enrolment = await enrol(state.mint_token("hospital-1", url=url(server)), agent)
    enrolment.save(folder)
    names = ["certificate.pem", "entry.signed", "identity.key", "root.pub", "roster.signed"]
    assert sorted(path.name for path in folder.iterdir()) == names
    loaded, trusted = Identity.load(folder / "identity.key"), load_trusted_set(folder)
    entry = trusted.verify_agent((folder / "entry.signed").read_bytes(), trusted.now)
    assert entry == enrolment.entry == loaded.entry(entry.issued_ms, entry.expires_ms)
    assert (folder / "certificate.pem").read_bytes() == enrolment.certificate_pem


async def test_a_token_used_twice_gets_a_clear_message(state):
    agent = an_agent()
    async with await serve(state, "127.0.0.1", 0) as server:
        token = state.mint_token("hospital-1", url=url(server))
        first = await enrol(token, agent)
        assert (await enrol(token, agent)).entry_signed == first.entry_signed  # the same agent, its reply was lost
        with pytest.raises(EnrolmentRefused, match=r"used already.*ask for a new one"):
            await enrol(token, an_agent())


async def test_five_enrol_at_once(state):
    async with await serve(state, "127.0.0.1", 0) as server:
        agents = [an_agent(f"hospital-{n}") for n in range(5)]
        tokens = [state.mint_token(agent.name, url=url(server)) for agent in agents]
        enrolments = await asyncio.gather(*(enrol(t, a) for t, a in zip(tokens, agents, strict=True)))
    assert [e.entry.key for e in enrolments] == [a.key for a in agents]
    assert len(state.agents()) == 5


async def test_the_wrong_name_or_role_never_leaves_the_agent(state):
    token = state.mint_token("hospital-1", url="wss://127.0.0.1:1")
    with pytest.raises(EnrolmentRefused, match="named 'hospital-1'"):
        await enrol(token, an_agent("hospital-2"))
    with pytest.raises(ConfigError, match="coordinator"):
        await enrol(token, Identity.generate("coordinator", "hospital-1"))


async def test_an_impostor_is_sent_nothing(state):
    """A server with another certificate, even one that TLS can complete with, gets no application byte."""
    impostor = Authority.generate().certify(Identity.generate("registrar", "fake"), hosts=("127.0.0.1",))
    received = bytearray()
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received.extend(await reader.read(4096))
        except (ssl.SSLError, OSError):
            pass
        finally:
            writer.transport.abort()
            ended.set()

    context = server_context(impostor, b"", require_client=False)
    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(EnrolmentRefused, match="nothing was sent"):
        await enrol(state.mint_token("hospital-1", url=f"wss://127.0.0.1:{port}"), an_agent())
    server.close()
    await server.wait_closed()
    if received or not ended.is_set():
        await asyncio.sleep(0.05)
    assert received == b""
    assert state.agents() == []


async def test_the_impostor_test_would_see_a_request(state):
    """The same listener under the pinned certificate does receive bytes: the check above can fail."""
    received = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read(4096))
        writer.transport.abort()

    context = server_context(state.identity, state.authority, require_client=False)
    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConfigError, match="does not answer"):
        await enrol(state.mint_token("hospital-1", url=f"wss://127.0.0.1:{port}"), an_agent())
    assert (await received).startswith(b"GET ")
    server.close()
    await server.wait_closed()


async def test_nobody_listening_says_try_again(state):
    async with await serve(state, "127.0.0.1", 0) as server:
        token = state.mint_token("hospital-1", url=url(server))
    with pytest.raises(ConfigError, match="try again with the same token"):
        await enrol(token, an_agent())


async def test_a_port_in_use_is_named(state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port} is in use"):
            await serve(state, "127.0.0.1", port)
    async with await serve(state, "127.0.0.1", port) as server:  # what was refused holds no lock
        assert server.port == port


async def test_one_listener_a_folder(state, layout):
    with RegistrarState.open(layout.registrar) as other:
        async with await serve(state, "127.0.0.1", 0):
            with pytest.raises(StateInUse, match=rf"registrar folder .* is in use by this process \({os.getpid()}\)"):
                await serve(other, "127.0.0.1", 0)
            other.mint_token("hospital-1", url="wss://h:1")  # minting goes on beside it
        async with await serve(other, "127.0.0.1", 0):
            pass


async def test_a_name_is_refused_to_a_second_agent_with_what_to_do(state):
    """Two tokens were minted before either was used: the second one finds the name taken."""
    async with await serve(state, "127.0.0.1", 0) as server:
        first, second = (state.mint_token("hospital-1", url=url(server)) for _ in range(2))
        await enrol(first, an_agent())
        with pytest.raises(EnrolmentRefused, match=r"enrolled as 'hospital-1'.*another name.*--replace"):
            await enrol(second, an_agent())
        newcomer = an_agent()
        await enrol(state.mint_token("hospital-1", url=url(server), replace=True), newcomer)
    assert state.live_agent("hospital-1").key == newcomer.key


@pytest.mark.parametrize("message", [b"", b"rubbish", "text", b"SJ\x04\x0a\x00\x01\xc0"])
async def test_rubbish_is_answered_with_a_refusal(state, message):
    async with await serve(state, "127.0.0.1", 0) as server:
        pinned = pinned_context(digest(state.identity.certificate))
        async with connect(url(server), ssl=pinned, proxy=None) as connection:
            await connection.send(message)
            reply = decode(EnrolmentReply, await connection.recv())
    assert (reply.outcome, reply.code) == ("refused", "decode")
    assert (reply.entry, reply.certificate, reply.roster) == (b"", b"", b"")


async def test_too_much_and_nothing_end_the_connection(state, monkeypatch):
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT_S", 0.1)
    async with await serve(state, "127.0.0.1", 0) as server:
        pinned = pinned_context(digest(state.identity.certificate))
        async with connect(url(server), ssl=pinned, proxy=None) as connection:
            await connection.send(bytes(20_000))
            with pytest.raises(ConnectionClosed):
                await connection.recv()
        async with connect(url(server), ssl=pinned, proxy=None) as connection:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(connection.recv(), 5)


async def test_a_registrar_that_cannot_enrol_says_so_without_details(state, layout):
    (layout.registrar / "roster.signed").unlink()
    async with await serve(state, "127.0.0.1", 0) as server:
        with pytest.raises(EnrolmentRefused, match="cannot enrol anybody now") as caught:
            await enrol(state.mint_token("hospital-1", url=url(server)), an_agent())
    assert str(layout.registrar) not in str(caught.value)


# A registrar that lies


class Liar:
    """The pinned certificate, and any reply."""

    def __init__(self, state, reply) -> None:
        self.state, self.reply = state, reply

    async def __aenter__(self) -> str:
        async def handle(connection) -> None:
            reply = self.reply(await connection.recv())
            await connection.send(reply if isinstance(reply, bytes) else encode(reply))

        context = server_context(self.state.identity, self.state.authority, require_client=False)
        self.server = await serve_websocket(handle, "127.0.0.1", 0, ssl=context)
        port = next(iter(self.server.sockets)).getsockname()[1]
        return self.state.mint_token("hospital-1", url=f"wss://127.0.0.1:{port}", replace=True)

    async def __aexit__(self, *_) -> None:
        self.server.close()
        await self.server.wait_closed()


async def test_no_field_of_the_reply_is_believed(state, tmp_path):
    other = create_trust(tmp_path / "other")
    with RegistrarState.open(other.registrar) as foreign:
        stranger = an_agent()
        foreign_reply = foreign.enrol(
            build_request(parse_token(foreign.mint_token("hospital-1", url="wss://h:1")), stranger)
        )
    token = state.mint_token("hospital-1", url="wss://h:1")
    replayed = state.enrol(build_request(parse_token(token), an_agent()))
    replace = msgspec.structs.replace
    lies = {
        "another's entry": lambda _: replayed,
        "another root's world": lambda _: foreign_reply,
        "another root's roster": lambda data: replace(state.enrol(data), roster=foreign_reply.roster),
        "another certificate": lambda data: replace(state.enrol(data), certificate=replayed.certificate),
        "no entry": lambda data: replace(state.enrol(data), entry=b""),
        "unknown suite": lambda data: replace(state.enrol(data), suite=2),
        "rubbish": lambda _: b"rubbish",
    }
    for lie in lies.values():
        async with Liar(state, lie) as bait:
            with pytest.raises((TrustError, DecodeError)):
                await enrol(bait, an_agent())
    async with Liar(state, state.enrol) as bait:  # and the same server, telling the truth, is believed
        await enrol(bait, an_agent())


async def test_a_refusals_message_is_bounded(state):
    reply = EnrolmentReply(
        suite=SUITE_1, outcome="refused", code="x", message="m" * 9000, entry=b"", certificate=b"", roster=b""
    )
    async with Liar(state, lambda _: reply) as bait:
        with pytest.raises(EnrolmentRefused) as caught:
            await enrol(bait, an_agent())
    assert len(str(caught.value)) == 500


async def test_a_token_for_another_root_is_noticed(state):
    async with await serve(state, "127.0.0.1", 0) as server:
        token = parse_token(state.mint_token("hospital-1", url=url(server)))
        forged = format_token(msgspec.structs.replace(token, root_key=bytes(32)))
        with pytest.raises(TrustError, match="root key"):
            await enrol(forged, an_agent())


async def test_a_registrar_cannot_slip_in_other_keys(state):
    """Entries that the registrar itself signed, each with one thing wrong."""
    foreign = Authority.generate()

    def lying(data: bytes, **changes) -> EnrolmentReply:
        reply = state.enrol(data)
        entry = msgspec.structs.replace(decode(Entry, decode(Signed, reply.entry).payload), **changes)
        return msgspec.structs.replace(reply, entry=sign_document(state.identity, entry))

    def foreign_certificate(data: bytes) -> EnrolmentReply:
        request = open_request(data)
        certificate = foreign.issue(request.csr, "agent", key_id(request.sign_key, request.seal_key))
        return msgspec.structs.replace(lying(data, tls=digest(certificate)), certificate=certificate)

    lies = [
        (lambda data: lying(data, seal_key=an_agent().seal_key), "this agent's keys"),
        (lambda data: lying(data, name="hospital-2"), "this agent's keys"),
        (lambda data: lying(data, tls=bytes(32)), "another TLS certificate"),
        (foreign_certificate, "roster's authority"),
    ]
    for lie, message in lies:
        async with Liar(state, lie) as bait:
            with pytest.raises(TrustError, match=message):
                await enrol(bait, an_agent())
