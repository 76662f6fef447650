"""The link over real loopback TLS, against a coordinator that is driven by hand and cuts, lies and stalls."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from sojourn.agent.link import AgentLink
from sojourn.codec import digest
from sojourn.contracts import BodyRef
from sojourn.crypto.certificates import Authority, client_context, server_context
from sojourn.crypto.identity import Identity
from sojourn.errors import ConfigError, StoreError, UsageError
from sojourn.limits import INITIAL_CREDIT_BYTES, MAX_FRAME_BYTES
from sojourn.wire import (
    DATA_BYTES,
    WIRE_VERSION,
    Accepted,
    Bye,
    Committed,
    Data,
    Declined,
    Deliver,
    Fetch,
    HeldOrder,
    Hello,
    HelloParts,
    Lease,
    Offer,
    Rejected,
    Renew,
    Want,
    Welcome,
    decode_message,
    encode_data,
    encode_message,
)
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

ORDER, BODY = digest(b"order"), digest(b"body")
Script = Callable[["Peer"], Awaitable[None]]


@dataclass
class Trust:
    authority: Authority
    coordinator: Identity
    agent: Identity

    def link(self, port: int, handler: "Runtime", **options) -> AgentLink:
        context = client_context(self.authority.certificate, self.agent)
        return AgentLink(f"wss://127.0.0.1:{port}", handler, ssl=context, **options)


@pytest.fixture(scope="module")
def trust() -> Trust:
    authority = Authority.generate()
    coordinator = authority.certify(Identity.generate("coordinator", "c"), hosts=["localhost", "127.0.0.1"])
    return Trust(authority, coordinator, authority.certify(Identity.generate("agent", "a")))


@dataclass
class Peer:
    """One connection, seen from the coordinator's end."""

    socket: ServerConnection
    hello: Hello

    async def say(self, *messages) -> None:
        for message in messages:
            await self.socket.send(message if isinstance(message, bytes) else encode_message(message))

    async def hear(self):
        async with asyncio.timeout(5):
            return decode_message(await self.socket.recv())

    def cut(self) -> None:
        self.socket.transport.abort()

    async def silence(self, seconds: float = 0.1) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.socket.recv()


@dataclass
class Runtime:
    held: tuple[HeldOrder, ...] = ()
    log: list[tuple] = field(default_factory=list)
    slow: float = 0.0

    def hello(self) -> HelloParts:
        return HelloParts(b"entry", 7, self.held)

    async def on_order(self, order: bytes, envelope: bytes) -> None:
        await asyncio.sleep(self.slow)
        self.log.append(("order", order, envelope))

    async def on_lease(self, order: bytes, epoch: int, lease_ms: int) -> None:
        self.log.append(("lease", order, epoch, lease_ms))

    async def on_committed(self, order: bytes) -> None:
        self.log.append(("committed", order))

    async def on_closed(self, order: bytes) -> None:
        self.log.append(("closed", order))

    async def on_rejected(self, order: bytes, reason: str) -> None:
        self.log.append(("rejected", order, reason))

    async def on_roster(self, signed: bytes) -> None:
        self.log.append(("roster", signed))


@contextlib.asynccontextmanager
async def running(
    trust: Trust, handler: Runtime, *scripts: Script, **options
) -> AsyncIterator[tuple[AgentLink, asyncio.Future]]:
    """A link against a server that plays one script for each connection; the future is done after the last one."""
    loop = asyncio.get_running_loop()
    done, left = loop.create_future(), list(scripts)

    async def play(socket: ServerConnection) -> None:
        if not left:
            return
        played = asyncio.create_task(greet(socket, left.pop(0)))
        await asyncio.wait({played})
        error = played.exception()
        if error is not None and not done.done():
            done.set_exception(error)
        elif not left and not done.done():
            done.set_result(None)

    async def greet(socket: ServerConnection, script: Script) -> None:
        hello = decode_message(await socket.recv())
        assert isinstance(hello, Hello)
        await socket.send(encode_message(Welcome(WIRE_VERSION, b"c" * 32, hello.nonce, ())))
        await script(Peer(socket, hello))

    context = server_context(trust.coordinator, trust.authority.certificate)
    async with serve(play, "127.0.0.1", 0, ssl=context, compression=None, max_size=MAX_FRAME_BYTES) as server:
        link = trust.link(next(iter(server.sockets)).getsockname()[1], handler, **options)
        task = asyncio.create_task(link.run())
        try:
            yield link, done
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def within(future: Awaitable[None], seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        await future


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def test_the_hello_says_what_is_held_and_each_nonce_is_new(trust):
    nonces = []

    async def first(peer: Peer) -> None:
        assert peer.hello.held == (HeldOrder(ORDER, "running"),)
        assert (peer.hello.version, peer.hello.entry, peer.hello.roster_version) == (WIRE_VERSION, b"entry", 7)
        nonces.append(peer.hello.nonce)
        peer.cut()

    async def second(peer: Peer) -> None:
        nonces.append(peer.hello.nonce)

    async with running(trust, Runtime((HeldOrder(ORDER, "running"),)), first, second) as (_, done):
        await within(done)
    assert len(set(nonces)) == 2


async def test_an_order_comes_once_and_its_answer_as_often_as_it_is_asked_for(trust):
    handler = Runtime()

    async def first(peer: Peer) -> None:
        await peer.say(Deliver(ORDER, b"sealed"))
        await until(lambda: handler.log)
        peer.cut()

    async def second(peer: Peer) -> None:
        await peer.say(Deliver(ORDER, b"sealed"))
        assert await peer.hear() == Accepted(ORDER)
        peer.cut()

    async def third(peer: Peer) -> None:
        await peer.say(Deliver(ORDER, b"sealed"), Deliver(BODY, b"another"))
        assert {await peer.hear(), await peer.hear()} == {Accepted(ORDER), Declined(BODY, "not_admitted")}

    async with running(trust, handler, first, second, third) as (link, done):
        await until(lambda: handler.log)
        await until(lambda: not link.connected)
        link.accepted(ORDER)  # while the line is cut
        await until(lambda: len(handler.log) == 2)
        link.declined(BODY, "not_admitted")
        await within(done)
    assert handler.log == [("order", ORDER, b"sealed"), ("order", BODY, b"another")]


async def test_an_offer_is_sent_again_until_its_verdict(trust):
    handler = Runtime()
    offer = Offer(1, ORDER, b"packet", BODY, 600_000)

    async def cut_at_the_offer(peer: Peer) -> None:
        assert await peer.hear() == offer
        peer.cut()

    async def cut_in_the_body(peer: Peer) -> None:
        assert await peer.hear() == offer
        await peer.say(Want(1, 0))
        assert isinstance(await peer.hear(), Data)
        peer.cut()

    async def take_the_rest(peer: Peer) -> None:
        assert await peer.hear() == offer
        await peer.say(Want(1, 599_990))
        assert await peer.hear() == Data(1, 599_990, True, memoryview(b"x" * 10))
        await peer.say(Committed(ORDER))
        await until(lambda: handler.log)
        peer.cut()

    async def nothing_more(peer: Peer) -> None:
        await peer.silence()

    scripts = (cut_at_the_offer, cut_in_the_body, take_the_rest, nothing_more)
    async with running(trust, handler, *scripts) as (link, done):
        link.offer(ORDER, b"packet", BodyRef(BODY, 600_000, b"", 0), b"x" * 600_000)
        await within(done)
    assert handler.log == [("committed", ORDER)]


async def test_a_fetch_goes_on_at_the_byte_it_had(trust):
    body = bytes(range(250)) * 4

    async def first(peer: Peer) -> None:
        assert await peer.hear() == Fetch(1, BODY, 0, 1000)
        await peer.say(encode_data(1, 0, False, body[:300]))
        await until(lambda: sum(map(len, got)) == 300)
        peer.cut()

    async def second(peer: Peer) -> None:
        assert await peer.hear() == Fetch(1, BODY, 300, 1000)
        await peer.say(encode_data(1, 300, True, body[300:]))

    got: list[memoryview] = []
    async with running(trust, Runtime(), first, second) as (link, done):
        async for chunk in link.fetch(BODY, 1000):
            got.append(chunk)
        await within(done)
    assert b"".join(got) == body


async def test_a_slow_consumer_is_sent_no_more_than_its_window(trust):
    size = 2 * INITIAL_CREDIT_BYTES

    async def script(peer: Peer) -> None:
        await peer.hear()
        for offset in range(0, INITIAL_CREDIT_BYTES, DATA_BYTES):
            await peer.say(encode_data(1, offset, False, bytes(DATA_BYTES)))
        await peer.silence(0.3)  # no credit while nobody takes a chunk

    async with running(trust, Runtime(), script) as (link, done):
        chunks = link.fetch(BODY, size)
        await anext(chunks)
        await within(done)
        await chunks.aclose()


async def test_a_slow_handler_stops_neither_the_line_nor_a_fetch(trust):
    handler = Runtime(slow=30)

    async def script(peer: Peer) -> None:
        await peer.say(Deliver(ORDER, b"sealed"))
        assert await peer.hear() == Fetch(1, BODY, 0, 3)
        await peer.say(encode_data(1, 0, True, b"abc"))

    async with running(trust, handler, script) as (link, _):
        assert [bytes(chunk) async for chunk in link.fetch(BODY, 3)] == [b"abc"]
        assert [chunk async for chunk in link.fetch(BODY, 0)] == []


async def test_a_lease_counts_from_the_question(trust):
    handler = Runtime()

    async def script(peer: Peer) -> None:
        assert await peer.hear() == Renew(ORDER, 4)
        await peer.silence(0.3)
        await peer.say(Lease(ORDER, 4, 1_000), Lease(BODY, 1, 0))
        await until(lambda: len(handler.log) == 2)

    async with running(trust, handler, script) as (link, done):
        await until(lambda: link.connected)
        link.renew(ORDER, 4)
        link.renew(ORDER, 4)  # one question at a time
        await within(done)
    assert handler.log[0][:3] == ("lease", ORDER, 4)
    assert 300 < handler.log[0][3] <= 700
    assert handler.log[1] == ("lease", BODY, 1, 0)


@pytest.mark.parametrize(
    ("frames", "reason", "code"),
    [
        ([b"SJ\x05\xff\x00\x01\x90"], "decode", 4010),
        (["text"], "decode", 4010),
        ([encode_message(Accepted(ORDER))], "state", 4011),
        ([encode_message(Committed(ORDER))], "state", 4011),
        ([encode_data(1, 7, False, b"x")], "offset", 4013),
        ([encode_data(2, 0, False, b"x")], "state", 4011),
        (
            [encode_data(1, n * DATA_BYTES, False, bytes(DATA_BYTES)) for n in range(33)],
            "credit",
            4012,
        ),
        ([encode_message(Deliver(digest(bytes([n])), b"")) for n in range(65)], "channels", 4014),
    ],
)
async def test_a_coordinator_that_breaks_the_rules_is_left_with_a_code_and_met_again(trust, frames, reason, code):
    async def breaks(peer: Peer) -> None:
        await peer.hear()
        with contextlib.suppress(ConnectionClosed):
            for frame in frames:
                await peer.socket.send(frame)
        last = None
        with contextlib.suppress(ConnectionClosed):
            while True:
                last = await peer.hear()
        assert last == Bye(reason)
        assert peer.socket.close_code == code

    async def behaves(peer: Peer) -> None:
        if reason == "credit":  # what came lies unread: nothing more is asked for
            await peer.silence()
        else:
            assert isinstance(await peer.hear(), Fetch)

    async with running(trust, Runtime(), breaks, behaves) as (link, done):
        fetch = asyncio.create_task(anext(link.fetch(BODY, 4 * INITIAL_CREDIT_BYTES)))
        await within(done)
        fetch.cancel()
        await asyncio.gather(fetch, return_exceptions=True)


async def test_an_unwelcome_agent_waits_longer(trust):
    times = []

    async def refuses(peer: Peer) -> None:
        await peer.say(Bye("superseded"))
        times.append(time.perf_counter())
        await peer.socket.close(4001)

    async def greets(peer: Peer) -> None:
        times.append(time.perf_counter())

    async with running(trust, Runtime(), refuses, greets) as (_, done):
        await within(done)
    assert times[1] - times[0] > 0.9


async def test_a_certificate_that_no_coordinator_of_the_roster_has_is_refused(trust):
    heard = []

    async def never(peer: Peer) -> None:
        heard.append(peer.hello)

    async with running(trust, Runtime(), never, pins=[b"p" * 32]) as (link, _):
        await asyncio.sleep(0.4)
        assert not link.connected
    assert heard == []
    async with running(trust, Runtime(), never, pins=[digest(trust.coordinator.certificate)]) as (_, done):
        await within(done)
    assert len(heard) == 1


async def test_reconnecting_is_fast_and_backs_off(trust):
    stamps = []

    async def cut(peer: Peer) -> None:
        stamps.append(time.perf_counter())
        peer.cut()

    async with running(trust, Runtime(), cut, cut, cut, cut) as (_, done):
        await within(done)
    gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    assert gaps[0] < 0.3
    assert gaps[2] > 0.09


async def test_a_handler_error_ends_the_run(trust):
    class Broken(Runtime):
        async def on_order(self, order: bytes, envelope: bytes) -> None:
            raise RuntimeError("a defect")

    context = server_context(trust.coordinator, trust.authority.certificate)

    async def play(socket: ServerConnection) -> None:
        hello = decode_message(await socket.recv())
        await socket.send(encode_message(Welcome(WIRE_VERSION, b"c" * 32, hello.nonce, ())))
        await socket.send(encode_message(Deliver(ORDER, b"")))
        await socket.wait_closed()

    async with serve(play, "127.0.0.1", 0, ssl=context, compression=None) as server:
        link = trust.link(next(iter(server.sockets)).getsockname()[1], Broken())
        with pytest.raises(ExceptionGroup) as caught:
            await within(link.run())
    assert isinstance(caught.value.exceptions[0], RuntimeError)


async def test_a_rejected_answer_from_a_file_closes_the_file(trust, tmp_path):
    handler = Runtime()
    path = tmp_path / "body"
    path.write_bytes(b"0123456789")

    async def script(peer: Peer) -> None:
        await peer.hear()
        await peer.say(Want(1, 4))
        assert await peer.hear() == Data(1, 4, True, memoryview(b"456789"))
        await peer.say(Rejected(ORDER, "bounds"))
        await until(lambda: handler.log)

    async with running(trust, handler, script) as (link, done):
        link.offer(ORDER, b"packet", BodyRef(BODY, 10, b"", 0), path)
        await within(done)
        assert link._sources == {}
    assert handler.log == [("rejected", ORDER, "bounds")]


@pytest.mark.parametrize("stored", [b"01234", None])
async def test_a_stored_answer_that_is_short_or_gone_ends_the_run_and_is_named(trust, tmp_path, stored):
    path = tmp_path / "body"
    if stored is not None:
        path.write_bytes(stored)

    context = server_context(trust.coordinator, trust.authority.certificate)

    async def play(socket: ServerConnection) -> None:
        hello = decode_message(await socket.recv())
        await socket.send(encode_message(Welcome(WIRE_VERSION, b"c" * 32, hello.nonce, ())))
        await socket.recv()
        await socket.send(encode_message(Want(1, 0)))
        await socket.wait_closed()

    async with serve(play, "127.0.0.1", 0, ssl=context, compression=None) as server:
        link = trust.link(next(iter(server.sockets)).getsockname()[1], Runtime())
        link.offer(ORDER, b"packet", BodyRef(BODY, 10, b"", 0), path)
        with pytest.raises(ExceptionGroup) as caught:
            await within(link.run())
    assert isinstance(caught.value.exceptions[0], StoreError)
    assert str(path) in str(caught.value.exceptions[0])


@pytest.mark.parametrize("url", ["ws://host:1", "https://host", "wss://", "host:7443"])
def test_an_address_of_another_form_is_explained(trust, url):
    with pytest.raises(ConfigError, match=r"write it as wss://host:\w+, with the port of its listener for agents"):
        AgentLink(url, Runtime(), ssl=client_context(trust.authority.certificate, trust.agent))


def test_a_public_code_is_checked_where_it_is_given(trust):
    link = trust.link(1, Runtime())
    with pytest.raises(UsageError, match="a-z"):
        link.declined(ORDER, "The owner's reason")
