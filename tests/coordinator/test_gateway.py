"""The gateway over real loopback TLS: with agents' links, and with peers that break the rules by hand."""

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from sojourn.agent.link import AgentLink
from sojourn.codec import digest, encode
from sojourn.contracts import BodyRef, Entry, Signed
from sojourn.crypto.certificates import Authority, client_context, server_context
from sojourn.crypto.identity import Identity
from sojourn.errors import BodyUnavailable, ContributionRefused, PortInUse, UnknownSigner
from sojourn.limits import INITIAL_CREDIT_BYTES, KIB, MAX_CHANNELS, MAX_FRAME_BYTES, MIB
from sojourn.wire import (
    DATA_BYTES,
    WIRE_VERSION,
    Accepted,
    Bye,
    Closed,
    Committed,
    Credit,
    Declined,
    Fetch,
    Greeting,
    HeldOrder,
    Hello,
    HelloParts,
    Lease,
    Missing,
    Offer,
    Rejected,
    Renew,
    Want,
    Welcome,
    decode_message,
    encode_data,
    encode_message,
)
from sojourn_coordinator.gateway import Gateway
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

ORDER, OTHER = digest(b"order"), digest(b"other")
COORDINATOR = digest(b"coordinator")


@dataclass
class World:
    """One authority, one coordinator, two agents; entries are checked against a table instead of a roster."""

    authority: Authority
    server: ssl.SSLContext
    agents: list[Identity]
    entries: dict[bytes, Entry]

    def verify(self, data: bytes) -> Entry:
        if data not in self.entries:
            raise UnknownSigner("no registrar signed this entry")
        return self.entries[data]

    def hello(self, n: int, held: tuple[HeldOrder, ...] = ()) -> HelloParts:
        return HelloParts(self.signed(n), 3, held)

    def signed(self, n: int) -> bytes:
        return encode(Signed(1, b"r" * 32, encode(self.agents[n].entry(0, 1)), b""))

    def client(self, n: int) -> ssl.SSLContext:
        return client_context(self.authority.certificate, self.agents[n])


@pytest.fixture(scope="module")
def world() -> World:
    authority = Authority.generate()
    coordinator = authority.certify(Identity.generate("coordinator", "c"), hosts=["localhost", "127.0.0.1"])
    agents = [authority.certify(Identity.generate("agent", f"agent-{n}")) for n in range(2)]
    made = World(authority, server_context(coordinator, authority.certificate), agents, {})
    made.entries = {made.signed(n): agents[n].entry(0, 1) for n in range(2)}
    return made


@dataclass
class Body:
    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def read(self, offset: int, n: int) -> memoryview:
        return memoryview(self.data)[offset : offset + n]


@dataclass
class Sink:
    host: "Coordinator"
    order: bytes
    got: bytearray = field(default_factory=bytearray)
    aborted: bool = False

    async def feed(self, chunk: memoryview) -> None:
        await self.host.gate.wait()
        self.host.fed += len(chunk)
        self.got += chunk
        if self.host.fault is not None:
            raise self.host.fault

    async def finish(self) -> Committed | Closed | Rejected:
        self.host.answers.append((self.order, bytes(self.got)))
        self.host.seen.set()
        return Committed(self.order)

    async def abort(self) -> None:
        self.aborted = True


@dataclass
class Coordinator:
    """A handler that writes down what it is told."""

    bodies: dict[bytes, Body] = field(default_factory=dict)
    log: list[tuple] = field(default_factory=list)
    answers: list[tuple[bytes, bytes]] = field(default_factory=list)
    sinks: list[Sink] = field(default_factory=list)
    leases: tuple[Lease, ...] = ()
    roster: bytes | None = None
    at_once: Committed | Closed | Rejected | None = None
    fault: Exception | None = None
    broken: Exception | None = None
    fed: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def on_hello(self, agent: Entry, hello: Hello) -> Greeting:
        self.log.append(("hello", agent.name, hello.held))
        return Greeting(COORDINATOR, self.leases, self.roster)

    async def on_gone(self, agent: Entry) -> None:
        self.log.append(("gone", agent.name))

    async def on_accepted(self, agent: Entry, order: bytes) -> None:
        if self.broken is not None:
            raise self.broken
        self.log.append(("accepted", agent.name, order))

    async def on_declined(self, agent: Entry, order: bytes, code: str) -> None:
        self.log.append(("declined", agent.name, order, code))

    async def on_renew(self, agent: Entry, order: bytes, epoch: int) -> int:
        return 9000 if epoch == 1 else 0

    def open_body(self, agent: Entry, body: bytes) -> Body | None:
        return self.bodies.get(body)

    async def on_offer(self, agent: Entry, order: bytes, packet: bytes, body: bytes, length: int):
        self.log.append(("offer", agent.name, order, packet, length))
        if self.at_once is not None:
            return self.at_once
        self.sinks.append(Sink(self, order))
        return self.sinks[-1]


@dataclass
class Runtime:
    """An agent's handler that writes down what it is told."""

    parts: HelloParts
    log: list[tuple] = field(default_factory=list)
    accept: AgentLink | None = None

    def hello(self) -> HelloParts:
        return self.parts

    async def on_order(self, order: bytes, envelope: bytes) -> None:
        self.log.append(("order", order, envelope))
        if self.accept is not None:
            self.accept.accepted(order)

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


async def until(condition, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def agent(world: World, port: int, n: int = 0, held=()) -> AsyncIterator[tuple[AgentLink, Runtime]]:
    runtime = Runtime(world.hello(n, held))
    link = runtime.accept = AgentLink(f"wss://127.0.0.1:{port}", runtime, ssl=world.client(n))
    task = asyncio.create_task(link.run())
    try:
        await until(lambda: link.connected)
        yield link, runtime
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def raw(world: World, port: int, n: int = 0, *, greet: bool = True) -> AsyncIterator[ClientConnection]:
    async with connect(
        f"wss://127.0.0.1:{port}", ssl=world.client(n), compression=None, max_size=MAX_FRAME_BYTES
    ) as socket:
        if greet:
            await socket.send(encode_message(Hello(WIRE_VERSION, world.signed(n), 3, (), b"n" * 16)))
            assert isinstance(decode_message(await socket.recv()), Welcome)
        yield socket


async def expect_close(socket: ClientConnection, reason: str, code: int) -> None:
    """The next messages end with a bye of that reason, and the connection with that code."""
    last = None
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionClosed):
            while True:
                last = decode_message(await socket.recv())
    assert last == Bye(reason)
    assert socket.close_code == code


async def test_an_order_an_answer_and_their_bodies_travel(world):
    handler = Coordinator(leases=(Lease(ORDER, 1, 60_000),), roster=b"new roster")
    bundle = os.urandom(3 * MIB + 17)
    handler.bodies[digest(bundle)] = Body(bundle)
    async with Gateway(handler, world.verify, ssl=world.server) as gateway:
        key = world.agents[0].key
        gateway.deliver(key, ORDER, b"sealed order")  # before the agent came
        async with agent(world, gateway.port) as (link, runtime):
            await until(lambda: ("accepted", "agent-0", ORDER) in handler.log)
            await until(lambda: len(runtime.log) == 3)
            assert runtime.log[0][:3] == ("lease", ORDER, 1)
            assert 59_000 < runtime.log[0][3] <= 60_000
            assert sorted(runtime.log[1:]) == [("order", ORDER, b"sealed order"), ("roster", b"new roster")]
            assert link.coordinator == COORDINATOR
            assert gateway.connected() == [world.entries[world.signed(0)]]
            got = b"".join([bytes(chunk) async for chunk in link.fetch(digest(bundle), len(bundle))])
            assert got == bundle
            answer = os.urandom(20 * MIB + 5)
            link.offer(ORDER, b"sealed packet", BodyRef(digest(answer), len(answer), b"", 0), answer)
            await until(lambda: ("committed", ORDER) in runtime.log)
            assert handler.answers == [(ORDER, answer)]
        await until(lambda: ("gone", "agent-0") in handler.log)
        assert gateway.connected() == []


async def test_an_answer_from_a_file_and_one_without_a_body(world, tmp_path):
    handler = Coordinator()
    path = tmp_path / "answer"
    path.write_bytes(os.urandom(700 * KIB))
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port) as (link, told):
        link.offer(ORDER, b"p", BodyRef(b"i" * 32, 700 * KIB, b"", 0), path)
        link.offer(OTHER, b"q")
        await until(lambda: len(told.log) == 2)
        assert sorted(handler.answers) == sorted([(ORDER, path.read_bytes()), (OTHER, b"")])


async def test_small_orders_go_round_well_under_ten_milliseconds(world):
    handler = Coordinator()
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port):
        times = []
        for n in range(50):
            order, began = digest(bytes([n])), time.perf_counter()
            gateway.deliver(world.agents[0].key, order, b"e" * 4000)
            while ("accepted", "agent-0", order) not in handler.log:
                await asyncio.sleep(0)
            times.append(time.perf_counter() - began)
        assert sorted(times)[25] < 0.010


async def test_a_slow_sink_parks_the_sender(world):
    handler = Coordinator()
    handler.gate.clear()
    answer = bytes(3 * INITIAL_CREDIT_BYTES)
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port) as (link, told):
        link.offer(ORDER, b"p", BodyRef(b"i" * 32, len(answer), b"", 0), answer)
        link.offer(OTHER, b"q")  # is not held up by it
        await until(lambda: ("committed", OTHER) in told.log)
        await asyncio.sleep(0.2)
        upload = next(iter(gateway._peers.values())).uploads[ORDER]
        waiting = sum(len(chunk) for chunk in upload.chunks._queue)
        assert handler.fed == 0
        assert waiting == INITIAL_CREDIT_BYTES - DATA_BYTES  # one chunk is in the sink's hands
        handler.gate.set()
        await until(lambda: ("committed", ORDER) in told.log)
        assert len(handler.answers[-1][1]) == len(answer)


async def test_a_slow_consumer_parks_the_coordinator(world):
    handler = Coordinator()
    body = os.urandom(2 * INITIAL_CREDIT_BYTES)
    handler.bodies[digest(body)] = Body(body)
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port) as (link, _):
        chunks = link.fetch(digest(body), len(body))
        got = [bytes(await anext(chunks))]
        await asyncio.sleep(0.2)
        queued = sum(len(chunk) for chunk in next(iter(link._bodies.values()))._queue)
        assert queued == INITIAL_CREDIT_BYTES - DATA_BYTES
        got += [bytes(chunk) async for chunk in chunks]
        assert b"".join(got) == body


async def test_verdicts_leases_and_missing_bodies(world):
    handler = Coordinator(at_once=Closed(ORDER))
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port) as (link, told):
        link.offer(ORDER, b"p", BodyRef(b"i" * 32, 10, b"", 0), b"0123456789")
        await until(lambda: ("closed", ORDER) in told.log)
        handler.at_once = Rejected(OTHER, "duplicate")
        link.offer(OTHER, b"p")
        await until(lambda: ("rejected", OTHER, "duplicate") in told.log)
        link.renew(ORDER, 1)
        link.renew(OTHER, 2)
        await until(lambda: len(told.log) == 4)
        assert told.log[2][:3] == ("lease", ORDER, 1)
        assert 8_000 < told.log[2][3] <= 9_000
        assert told.log[3] == ("lease", OTHER, 2, 0)
        with pytest.raises(BodyUnavailable):
            await anext(link.fetch(b"x" * 32, 5))
        handler.bodies[b"x" * 32] = Body(b"1234")
        with pytest.raises(BodyUnavailable):  # another length than the order says
            await anext(link.fetch(b"x" * 32, 5))
        gateway.announce(b"roster 4")
        await until(lambda: told.log[-1] == ("roster", b"roster 4"))


async def test_a_sink_that_refuses_rejects_the_offer_and_the_line_goes_on(world):
    handler = Coordinator(fault=ContributionRefused("bounds", "|q| too large"))
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port) as (link, told):
        link.offer(ORDER, b"p", BodyRef(b"i" * 32, 9 * MIB, b"", 0), bytes(9 * MIB))
        await until(lambda: ("rejected", ORDER, "bounds") in told.log)
        assert handler.sinks[0].aborted
        handler.fault = None
        link.offer(OTHER, b"p", BodyRef(b"i" * 32, 9 * MIB, b"", 0), bytes(9 * MIB))
        await until(lambda: ("committed", OTHER) in told.log)
        assert sum(entry[0] == "hello" for entry in handler.log) == 1


@pytest.mark.filterwarnings("ignore")
async def test_a_sink_that_breaks_costs_one_reconnect(world):
    handler = Coordinator(fault=RuntimeError("disk full"))
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port) as (link, told):
        link.offer(ORDER, b"p", BodyRef(b"i" * 32, 1000, b"", 0), bytes(1000))
        await until(lambda: len(handler.sinks) == 1 and handler.sinks[0].aborted)
        handler.fault = None
        await until(lambda: ("committed", ORDER) in told.log)
        assert sum(entry[0] == "hello" for entry in handler.log) >= 2


@pytest.mark.filterwarnings("ignore")
async def test_a_handler_that_breaks_ends_that_line_only(world):
    handler = Coordinator()
    async with (
        Gateway(handler, world.verify, ssl=world.server) as gateway,
        agent(world, gateway.port, 0),
        agent(world, gateway.port, 1) as (other, _),
    ):
        handler.broken = RuntimeError("a defect")
        gateway.deliver(world.agents[0].key, ORDER, b"e")
        await until(lambda: ("gone", "agent-0") in handler.log)
        assert other.connected
        handler.broken = None
        await until(lambda: sum(entry[:2] == ("hello", "agent-0") for entry in handler.log) == 2)


async def test_a_cut_line_resumes_an_upload_and_a_fetch(world):
    handler = Coordinator()
    body = os.urandom(3 * INITIAL_CREDIT_BYTES)
    handler.bodies[digest(body)] = Body(body)
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port) as (link, told):
        link.offer(ORDER, b"p", BodyRef(digest(body), len(body), b"", 0), body)
        got = bytearray()
        async for chunk in link.fetch(digest(body), len(body)):
            got += chunk
            if len(got) // DATA_BYTES in {10, 40, 70} and gateway._lines:
                for line in list(gateway._lines):
                    line.socket.transport.abort()
                await asyncio.sleep(0)
        assert got == body
        await until(lambda: ("committed", ORDER) in told.log)
        assert handler.answers == [(ORDER, body)]
        assert len(handler.sinks) == 1  # one sink took it, across the cuts
        assert sum(entry[0] == "hello" for entry in handler.log) >= 2


async def test_a_restarted_coordinator_costs_a_reconnect(world):
    handler = Coordinator()
    handler.gate.clear()
    answer = os.urandom(INITIAL_CREDIT_BYTES + 1)
    async with Gateway(handler, world.verify, ssl=world.server) as first:
        port, held = first.port, (HeldOrder(ORDER, "answered"),)
        runtime = Runtime(world.hello(0, held))
        link = AgentLink(f"wss://127.0.0.1:{port}", runtime, ssl=world.client(0))
        task = asyncio.create_task(link.run())
        link.offer(ORDER, b"p", BodyRef(b"i" * 32, len(answer), b"", 0), answer)
        await until(lambda: handler.sinks)
    assert handler.sinks[0].aborted
    began = time.perf_counter()
    again = Coordinator()
    async with Gateway(again, world.verify, ssl=world.server, port=port) as second:
        second.deliver(world.agents[0].key, ORDER, b"e")  # it does not know yet that the agent has it
        await until(lambda: ("committed", ORDER) in runtime.log)
        assert time.perf_counter() - began < 4
        assert again.answers == [(ORDER, answer)]
        assert ("accepted", "agent-0", ORDER) in again.log
        assert not any(entry[0] == "order" for entry in runtime.log)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_second_connection_of_an_agent_supersedes_the_first(world):
    handler = Coordinator()
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, raw(world, gateway.port) as first:
        async with raw(world, gateway.port) as second:
            await expect_close(first, "superseded", 4001)
            gateway.deliver(world.agents[0].key, ORDER, b"e")
            assert decode_message(await second.recv()).order == ORDER
            assert len(gateway.connected()) == 1
            assert not any(entry[0] == "gone" for entry in handler.log)
        await until(lambda: ("gone", "agent-0") in handler.log)


async def test_orders_wait_for_answers_and_withdrawn_ones_are_not_sent(world):
    handler = Coordinator()
    async with Gateway(handler, world.verify, ssl=world.server) as gateway:
        key = world.agents[0].key
        gateway.deliver(key, ORDER, b"e")
        gateway.deliver(key, OTHER, b"f")
        gateway.withdraw(key, ORDER)
        async with raw(world, gateway.port) as socket:
            assert decode_message(await socket.recv()).envelope == b"f"
            await socket.send(encode_message(Declined(OTHER, "not_admitted")))
            await until(lambda: ("declined", "agent-0", OTHER, "not_admitted") in handler.log)
        async with raw(world, gateway.port) as socket:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await socket.recv()


VIOLATIONS = {
    "unknown message": ([b"SJ\x05\xff\x00\x01\x90"], "decode", 4010),
    "not a message": ([b"hello"], "decode", 4010),
    "text": (["hello"], "decode", 4010),
    "hello again": ([encode_message(Hello(WIRE_VERSION, b"", 0, (), b"n" * 16))], "state", 4011),
    "coordinator's message": ([encode_message(Committed(ORDER))], "state", 4011),
    "order never delivered": ([encode_message(Accepted(ORDER))], "state", 4011),
    "data on no channel": ([encode_data(1, 0, True, b"x")], "state", 4011),
    "data not wanted": (
        [encode_message(Offer(1, ORDER, b"", b"", 5)), encode_data(1, 0, True, b"12345")],
        "state",
        4011,
    ),
    "offer twice": ([encode_message(Offer(n, ORDER, b"", b"", 5)) for n in (1, 2)], "state", 4011),
    "channel gap": ([encode_message(Fetch(2, ORDER, 0, 9))], "channels", 4014),
    "fetch beyond the end": ([encode_message(Fetch(1, ORDER, 9, 9))], "offset", 4013),
    "too many channels": (
        [encode_message(Offer(n, digest(bytes([n])), b"", b"", 5)) for n in range(1, MAX_CHANNELS + 2)],
        "channels",
        4014,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_a_violation_ends_its_own_connection_with_a_code(world, name):
    frames, reason, code = VIOLATIONS[name]
    handler = Coordinator()
    handler.at_once = None
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, agent(world, gateway.port, 1) as (other, _):
        held_back = asyncio.Event()

        async def never(*_: object) -> None:
            await held_back.wait()

        handler.on_offer = never
        async with raw(world, gateway.port) as socket:
            with contextlib.suppress(ConnectionClosed):
                for frame in frames:
                    await socket.send(frame)
            await expect_close(socket, reason, code)
        await until(lambda: ("gone", "agent-0") in handler.log)
        assert other.connected


async def test_data_at_a_wrong_offset_and_beyond_credit(world):
    handler = Coordinator()
    handler.gate.clear()
    size = 2 * INITIAL_CREDIT_BYTES
    async with Gateway(handler, world.verify, ssl=world.server) as gateway:
        async with raw(world, gateway.port) as socket:
            await socket.send(encode_message(Offer(1, ORDER, b"p", b"i" * 32, size)))
            assert decode_message(await socket.recv()) == Want(1, 0)
            await socket.send(encode_data(1, 1, False, b"x"))
            await expect_close(socket, "offset", 4013)
        async with raw(world, gateway.port) as socket:
            await socket.send(encode_message(Offer(1, ORDER, b"p", b"i" * 32, size)))
            assert decode_message(await socket.recv()) == Want(1, 0)
            for offset in range(0, INITIAL_CREDIT_BYTES + 1, MIB):
                await socket.send(encode_data(1, offset, False, bytes(MIB)))
            await expect_close(socket, "credit", 4012)


async def test_a_credit_overrun_and_a_body_sent_within_credit(world):
    handler = Coordinator()
    handler.bodies[ORDER] = Body(bytes(INITIAL_CREDIT_BYTES + DATA_BYTES))
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, raw(world, gateway.port) as socket:
        await socket.send(encode_message(Fetch(1, ORDER, 0, INITIAL_CREDIT_BYTES + DATA_BYTES)))
        got = 0
        while got < INITIAL_CREDIT_BYTES:
            got += len(decode_message(await socket.recv()).payload)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await socket.recv()
        await socket.send(encode_message(Credit(1, INITIAL_CREDIT_BYTES + 1)))
        await expect_close(socket, "credit", 4012)


async def test_a_frame_over_the_limit_is_refused_by_size(world):
    handler = Coordinator()
    async with Gateway(handler, world.verify, ssl=world.server) as gateway:
        async with raw(world, gateway.port) as socket:
            with contextlib.suppress(ConnectionClosed):
                await socket.send(bytes(MAX_FRAME_BYTES + 1))
                await socket.recv()
            assert socket.close_code == 1009
        async with raw(world, gateway.port):
            pass


async def test_who_is_not_who_he_says_is_refused(world):
    handler = Coordinator()
    async with Gateway(handler, world.verify, ssl=world.server) as gateway:
        hello = Hello(WIRE_VERSION, world.signed(1), 3, (), b"n" * 16)
        async with raw(world, gateway.port, 0, greet=False) as socket:  # agent 0's certificate, agent 1's entry
            await socket.send(encode_message(hello))
            await expect_close(socket, "refused", 4003)
        async with raw(world, gateway.port, 0, greet=False) as socket:
            await socket.send(encode_message(Hello(WIRE_VERSION, b"unsigned", 3, (), b"n" * 16)))
            await expect_close(socket, "refused", 4003)
        async with raw(world, gateway.port, 0, greet=False) as socket:
            await socket.send(encode_message(Hello(WIRE_VERSION + 1, world.signed(0), 3, (), b"n" * 16)))
            await expect_close(socket, "version", 4004)
        async with raw(world, gateway.port, 0, greet=False) as socket:
            await socket.send(encode_message(Renew(ORDER, 1)))
            await expect_close(socket, "state", 4011)
        with pytest.raises((ssl.SSLError, ConnectionClosed, OSError, InvalidMessage)):
            async with connect(
                f"wss://127.0.0.1:{gateway.port}", ssl=client_context(world.authority.certificate)
            ) as socket:
                await socket.recv()
        assert handler.log == []


async def test_asking_without_reading_ends_the_line(world, monkeypatch):
    monkeypatch.setattr("sojourn.wire.core.MAX_QUEUED_FRAMES", 8)
    handler = Coordinator()
    async with Gateway(handler, world.verify, ssl=world.server) as gateway, raw(world, gateway.port) as socket:
        line = next(iter(gateway._lines))
        line.wake.set = lambda: None  # the writer never gets to write: as with a peer that does not read
        for n in range(1, 12):
            await socket.send(encode_message(Fetch(n, ORDER, 0, 9)))
        await until(lambda: line.connection.ended == "slow")


async def test_a_taken_port_is_named(world):
    async with Gateway(Coordinator(), world.verify, ssl=world.server) as gateway:
        with pytest.raises(PortInUse, match=str(gateway.port)):
            async with Gateway(Coordinator(), world.verify, ssl=world.server, port=gateway.port):
                pass


async def test_an_agent_that_stays_away_leaves_nothing_behind(world, monkeypatch):
    monkeypatch.setattr("sojourn_coordinator.gateway._PARKED_S", 0.05)
    handler = Coordinator()
    async with Gateway(handler, world.verify, ssl=world.server) as gateway:
        async with raw(world, gateway.port) as socket:
            await socket.send(encode_message(Offer(1, ORDER, b"p", b"i" * 32, 100)))
            assert decode_message(await socket.recv()) == Want(1, 0)
            await socket.send(encode_data(1, 0, False, b"half"))
            await until(lambda: handler.fed == 4)
        await until(lambda: handler.sinks[0].aborted)
        assert gateway._peers == {}
        async with raw(world, gateway.port) as socket:
            await socket.send(encode_message(Fetch(1, ORDER, 0, 9)))
            assert decode_message(await socket.recv()) == Missing(1)
