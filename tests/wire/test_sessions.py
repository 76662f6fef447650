"""Two sessions over a line that is cut anywhere, with ends that restart: everything arrives once, within its credit."""

from collections import Counter, deque
from contextlib import ExitStack
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sojourn.codec import digest
from sojourn.errors import UsageError
from sojourn.limits import MAX_FRAME_BYTES
from sojourn.wire import events as e
from sojourn.wire import messages as m
from sojourn.wire.agent_session import AgentSession
from sojourn.wire.connection import CoordinatorConnection
from sojourn.wire.coordinator_session import CoordinatorSession
from sojourn.wire.messages import decode_message

WINDOW, GRANT, DATA, CHANNELS, UNANSWERED = 64, 16, 12, 4, 3
COORDINATOR = digest(b"coordinator")
CODES = {"sojourn.wire.flow.INITIAL_CREDIT_BYTES": WINDOW, "sojourn.wire.flow.GRANT_BYTES": GRANT,
         "sojourn.wire.core.DATA_BYTES": DATA, "sojourn.wire.connection.MAX_CHANNELS": CHANNELS,
         "sojourn.wire.coordinator_session.MAX_CHANNELS": CHANNELS,
         "sojourn.wire.connection.MAX_UNANSWERED_ORDERS": UNANSWERED}  # fmt: skip


PICK = st.integers(0, 1000)


def choose(items: list, pick: int):
    return items[pick % len(items)]


def content(name: bytes, size: int) -> bytes:
    return (digest(name) * (size // 32 + 1))[:size]


class Lines(RuleBasedStateMachine):
    """`wire` holds frames under way in each direction; a cut loses them. Handlers' durable state survives restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        for target, value in CODES.items():
            self.stack.enter_context(patch(target, value))
        self.agent, self.coordinator = AgentSession(), CoordinatorSession()
        self.line: CoordinatorConnection | None = None
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.nonce = 0
        self.forgotten = False
        # the agent's durable state, and what its handler was told
        self.held: dict[bytes, str] = {}
        self.declined: set[bytes] = set()
        self.to_answer: dict[bytes, bytes] = {}
        self.told: Counter[bytes] = Counter()  # in this life of the agent
        self.verdicts: Counter[bytes] = Counter()
        self.fetches: dict[int, tuple[bytes, bytearray]] = {}
        self.unread: dict[int, deque[memoryview]] = {}
        self.fetched = 0
        # the coordinator's durable state, and what its handler was told
        self.orders: dict[bytes, str] = {}
        self.commits: dict[bytes, bytes] = {}
        self.closed: set[bytes] = set()
        self.uploads: dict[bytes, bytearray] = {}
        self.offered: dict[bytes, e.OfferArrived] = {}
        self.chunks: dict[bytes, deque[memoryview]] = {}
        self.bodies: dict[bytes, bytes] = {}
        self.served: dict[int, bytes] = {}

    def teardown(self) -> None:
        try:
            self.settle()
            assert set(self.orders.values()) <= {"accepted", "declined"}
            assert {order for order, state in self.orders.items() if state == "accepted"} == set(self.told_ever())
            assert not self.to_answer
            for order, count in self.verdicts.items():
                assert count == 1, order
            for body, got in self.fetches.values():
                assert got == self.bodies[body]
        finally:
            self.stack.close()

    def told_ever(self) -> set[bytes]:
        return set(self.held) | set(self.verdicts)

    # The line.

    @rule()
    def reconnect(self) -> None:
        self.cut()
        self.nonce += 1
        held = tuple(m.HeldOrder(order, state) for order, state in self.held.items())
        self.agent.connect(m.Hello(m.WIRE_VERSION, b"entry", 1, held, self.nonce.to_bytes(16, "big")))
        self.line = CoordinatorConnection()

    @rule()
    def cut(self) -> None:
        self.agent.lost()
        if self.line is not None and self.coordinator.connection is self.line:
            self.coordinator.lost()
        self.line = None
        self.up.clear()
        self.down.clear()
        self.served.clear()

    @rule()
    def restart_coordinator(self) -> None:
        self.cut()
        self.coordinator = CoordinatorSession()
        self.uploads.clear()
        self.offered.clear()
        self.chunks.clear()
        self.forgotten = True

    @rule()
    def coordinator_delivers_again(self) -> None:
        """After a restart, and perhaps after the agent is back."""
        self.forgotten = False
        for order, state in self.orders.items():
            if state == "open":
                self.coordinator.deliver(order, b"envelope of " + order)

    @rule()
    def restart_agent(self) -> None:
        self.cut()
        self.agent = AgentSession()
        self.told.clear()
        self.fetches.clear()
        self.unread.clear()
        for order, body in self.to_answer.items():
            self.offer_stored(order, body)

    @rule(count=st.integers(1, 6))
    def agent_writes(self, count: int) -> None:
        connection = self.agent.connection
        if connection is not None:
            for _, frame in zip(range(count), connection.outgoing(self.agent_piece), strict=False):
                self.up.append(frame)

    @rule(count=st.integers(1, 6))
    def coordinator_writes(self, count: int) -> None:
        if self.line is not None:
            for _, frame in zip(range(count), self.line.outgoing(self.coordinator_piece), strict=False):
                self.down.append(frame)

    @rule(count=st.integers(1, 6))
    def agent_reads(self, count: int) -> None:
        while self.down and count:
            count -= 1
            event = self.agent.receive(self.down.popleft())
            if event is not None:
                self.agent_told(event)

    @rule(count=st.integers(1, 6))
    def coordinator_reads(self, count: int) -> None:
        while self.up and count and self.line is not None:
            count -= 1
            self.coordinator_hears(self.line, self.up.popleft())

    def agent_piece(self, piece) -> bytes:
        body = self.to_answer[self.agent.order_on(piece.channel)]
        return body[piece.offset : piece.offset + piece.size]

    def coordinator_piece(self, piece) -> bytes:
        return self.served[piece.channel][piece.offset : piece.offset + piece.size]

    def coordinator_hears(self, line: CoordinatorConnection, frame: bytes) -> None:
        message = decode_message(frame)
        if isinstance(message, m.Hello):
            line.receive(frame)
            for event in self.coordinator.attach(line, message):
                self.coordinator_told(event)
            assert self.coordinator.welcome(line, COORDINATOR, ())
            return
        for event in self.coordinator.receive(line, frame):
            self.coordinator_told(event)

    # The agent's handler.

    def agent_told(self, event: e.AgentEvent) -> None:
        match event:
            case e.OrderArrived():
                assert event.envelope == b"envelope of " + event.order
                assert event.order not in self.held
                self.told[event.order] += 1
                assert self.told[event.order] == 1
                if event.order in self.declined:  # its durable memory, in a new life
                    self.agent.declined(event.order, "not_admitted")
            case e.OfferSettled():
                order = event.verdict.order
                expected = m.Committed if order in self.commits else m.Closed
                assert type(event.verdict) is expected
                self.verdicts[order] += 1
                del self.to_answer[order], self.held[order]
            case e.BodyChunk():
                self.unread[event.ticket].append(event.payload)
            case e.Greeted():
                assert event.coordinator == COORDINATOR
            case _:
                raise AssertionError(event)

    def waiting(self) -> list[bytes]:
        return [o for o in self.told if o not in self.held and o not in self.declined and o not in self.verdicts]

    @precondition(lambda self: self.waiting())
    @rule(pick=PICK, take=st.booleans())
    def agent_answers_an_order(self, pick: int, take: bool) -> None:
        order = choose(self.waiting(), pick)
        if take:
            self.held[order] = "running"
            self.agent.accepted(order)
        else:
            self.declined.add(order)
            self.agent.declined(order, "not_admitted")

    def running(self) -> list[bytes]:
        return [order for order, state in self.held.items() if state == "running"]

    @precondition(lambda self: self.running())
    @rule(pick=PICK, size=st.integers(0, 300))
    def agent_finishes_a_run(self, pick: int, size: int) -> None:
        order = choose(self.running(), pick)
        self.held[order] = "answered"
        self.to_answer[order] = content(order, size)
        self.offer_stored(order, self.to_answer[order])

    def offer_stored(self, order: bytes, body: bytes) -> None:
        self.agent.offer(order, b"packet of " + order, digest(body) if body else b"", len(body))

    @precondition(lambda self: self.bodies and len(self.fetches) < 6)
    @rule(pick=PICK)
    def agent_fetches(self, pick: int) -> None:
        body = choose(sorted(self.bodies), pick)
        ticket = self.agent.fetch(body, len(self.bodies[body]))
        self.fetches[ticket] = (body, bytearray())
        self.unread[ticket] = deque()

    @precondition(lambda self: self.fetches)
    @rule(pick=PICK)
    def agent_cancels_a_fetch(self, pick: int) -> None:
        ticket = choose(sorted(self.fetches), pick)
        self.agent.cancel(ticket)
        del self.fetches[ticket]
        self.unread[ticket] = deque()

    @rule()
    def agent_consumes(self) -> None:
        for ticket, chunks in self.unread.items():
            if chunks and ticket in self.fetches:
                chunk = chunks.popleft()
                self.fetches[ticket][1].extend(chunk)
                self.agent.consumed(ticket, len(chunk))

    # The coordinator's handler.

    @rule(size=st.integers(1, 300))
    def coordinator_orders(self, size: int) -> None:
        if len(self.orders) < 12:
            order = digest(bytes([len(self.orders)]))
            self.orders[order] = "open"
            self.coordinator.deliver(order, b"envelope of " + order)
            self.bodies[digest(order)] = content(order, size)

    @precondition(lambda self: self.orders)
    @rule(pick=PICK)
    def coordinator_closes_a_phase(self, pick: int) -> None:
        order = choose(sorted(self.orders), pick)
        if order not in self.commits:
            self.closed.add(order)

    def coordinator_told(self, event: e.CoordinatorEvent) -> None:
        match event:
            case e.OrderAccepted():
                assert self.orders[event.order] in {"open", "accepted"}
                self.orders[event.order] = "accepted"
            case e.OrderDeclined():
                assert self.orders[event.order] in {"open", "declined"}
                self.orders[event.order] = "declined"
            case e.BodyAsked():
                assert self.line is not None
                self.served[event.channel] = self.bodies[event.body]
                self.line.serve(event.channel)
            case e.BodyDropped():
                self.served.pop(event.channel, None)
            case e.OfferArrived():
                assert event.order not in self.offered
                self.offered[event.order] = event
            case e.OfferDropped():
                del self.offered[event.order]
                self.uploads.pop(event.order, None)
                self.chunks.pop(event.order, None)
            case e.AnswerChunk():
                self.chunks[event.order].append(event.payload)
            case _:
                raise AssertionError(event)

    @rule()
    def coordinator_judges(self) -> None:
        for order in list(self.offered):
            if order in self.uploads:
                continue
            if order in self.commits:
                self.decide(m.Committed(order))
            elif order in self.closed:
                self.decide(m.Closed(order))
            else:
                self.uploads[order], self.chunks[order] = bytearray(), deque()
                self.coordinator.want(order)

    @rule()
    def coordinator_consumes(self) -> None:
        for order, got in list(self.uploads.items()):
            if self.chunks[order]:
                chunk = self.chunks[order].popleft()
                got.extend(chunk)
                self.coordinator.consumed(order, len(chunk))
            if len(got) == self.offered[order].length:
                assert order not in self.commits, "one answer twice"
                if order in self.closed:
                    self.decide(m.Closed(order))
                else:
                    self.commits[order] = bytes(got)
                    assert bytes(got) == content(order, len(got))
                    self.decide(m.Committed(order))

    def decide(self, verdict: m.Verdict) -> None:
        self.coordinator.settle(verdict)
        del self.offered[verdict.order]
        self.uploads.pop(verdict.order, None)
        self.chunks.pop(verdict.order, None)

    # What always holds.

    @invariant()
    def no_more_than_a_window_lies_unread(self) -> None:
        for chunks in (*self.unread.values(), *self.chunks.values()):
            assert sum(len(chunk) for chunk in chunks) <= WINDOW

    def settle(self) -> None:
        """A calm line: everything comes to its end in a bounded number of turns."""
        self.reconnect()
        self.coordinator_delivers_again()
        for _ in range(400):
            for order in self.waiting():
                self.held[order] = "running"
                self.agent.accepted(order)
            for order in self.running():
                self.held[order] = "answered"
                self.to_answer[order] = content(order, 100)
                self.offer_stored(order, self.to_answer[order])
            self.agent_writes(50)
            self.coordinator_reads(50)
            self.coordinator_judges()
            self.coordinator_consumes()
            self.coordinator_writes(50)
            self.agent_reads(50)
            self.agent_consumes()

    def live(self, rng: Random, steps: int) -> None:
        """A long life with cuts and restarts, where most steps let something happen."""
        for _ in range(steps):
            pick, size = rng.randrange(1000), rng.randrange(200)
            if self.line is None and rng.random() < 0.5:
                self.reconnect()
            match rng.choices(range(12), weights=(2, 2, 1, 1, 40, 40, 40, 40, 6, 12, 40, 40))[0]:
                case 0:
                    self.reconnect()
                case 1:
                    self.cut()
                case 2:
                    self.restart_coordinator()
                case 3:
                    self.restart_agent()
                case 4:
                    self.agent_writes(rng.randint(1, 6))
                case 5:
                    self.coordinator_writes(rng.randint(1, 6))
                case 6:
                    self.agent_reads(rng.randint(1, 6))
                case 7:
                    self.coordinator_reads(rng.randint(1, 6))
                case 8:
                    self.coordinator_orders(size + 1)
                    if self.bodies and len(self.fetches) < 6 and pick % 2:
                        self.agent_fetches(pick)
                    if self.fetches and pick % 5 == 0:
                        self.agent_cancels_a_fetch(pick)
                    if pick % 9 == 0:
                        self.coordinator_closes_a_phase(pick)
                case 9:
                    if self.waiting():
                        self.agent_answers_an_order(pick, pick % 6 != 0)
                    if self.running():
                        self.agent_finishes_a_run(pick, size)
                case 10:
                    if self.forgotten and pick % 10 == 0:
                        self.coordinator_delivers_again()
                    self.coordinator_judges()
                    self.coordinator_consumes()
                case 11:
                    self.agent_consumes()
            self.no_more_than_a_window_lies_unread()


@pytest.mark.parametrize("seed", range(30))
def test_a_long_life(seed):
    lines = Lines()
    try:
        lines.live(Random(seed), 1500)
    finally:
        lines.teardown()
    assert lines.verdicts


Lines.TestCase.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
TestLines = Lines.TestCase


def test_another_answer_of_the_same_order_is_a_mistake_of_the_caller():
    session = AgentSession()
    session.offer(b"o" * 32, b"packet")
    session.offer(b"o" * 32, b"packet")
    with pytest.raises(UsageError):
        session.offer(b"o" * 32, b"another")
    with pytest.raises(UsageError):
        session.offer(b"p" * 32, bytes(MAX_FRAME_BYTES))
    with pytest.raises(UsageError):
        CoordinatorSession().deliver(b"p" * 32, bytes(MAX_FRAME_BYTES))
    with pytest.raises(UsageError):
        session.declined(b"o" * 32, "Because the owner said so")


def test_an_agent_that_offers_another_answer_after_a_restart_replaces_its_upload():
    agent, coordinator = AgentSession(), CoordinatorSession()
    order = b"o" * 32

    def connect() -> CoordinatorConnection:
        hello = m.Hello(m.WIRE_VERSION, b"", 0, (), b"n" * 16)
        line = CoordinatorConnection()
        for frame in agent.connect(hello).outgoing(lambda piece: bytes(piece.size)):
            line.receive(frame)
        coordinator.attach(line, hello)
        coordinator.welcome(line, COORDINATOR, ())
        for frame in line.outgoing(lambda piece: bytes(piece.size)):
            agent.receive(frame)
        return line

    def carry(line: CoordinatorConnection) -> list[e.CoordinatorEvent]:
        assert agent.connection is not None
        frames = list(agent.connection.outgoing(lambda piece: bytes(piece.size)))
        return [event for frame in frames for event in coordinator.receive(line, frame)]

    agent.offer(order, b"packet", b"b" * 32, 9)
    assert carry(connect()) == [e.OfferArrived(order, b"packet", b"b" * 32, 9)]
    assert carry(connect()) == []  # the same again goes on where it was
    agent = AgentSession()
    agent.offer(order, b"other", b"c" * 32, 7)
    assert carry(connect()) == [e.OfferDropped(order), e.OfferArrived(order, b"other", b"c" * 32, 7)]
    coordinator.lost()
    assert coordinator.abandon() == (order,)
    assert coordinator.idle


def test_an_order_that_the_hello_lists_is_accepted_and_not_sent_again():
    coordinator, line = CoordinatorSession(), CoordinatorConnection()
    held, open_order = b"h" * 32, b"o" * 32
    coordinator.deliver(held, b"")
    coordinator.deliver(open_order, b"")
    hello = m.Hello(m.WIRE_VERSION, b"", 0, (m.HeldOrder(held, "running"),), b"n" * 16)
    line.receive(m.encode_message(hello))
    assert coordinator.attach(line, hello) == (e.OrderAccepted(held),)
    coordinator.welcome(line, COORDINATOR, ())
    sent = [decode_message(frame) for frame in line.outgoing(lambda piece: b"")]
    assert sent[1:] == [m.Deliver(open_order, b"")]


def test_an_order_that_the_agent_holds_is_answered_without_asking_its_handler():
    agent, line = AgentSession(), CoordinatorConnection()
    held = b"h" * 32
    hello = m.Hello(m.WIRE_VERSION, b"", 0, (m.HeldOrder(held, "running"),), b"n" * 16)
    connection = agent.connect(hello)
    for frame in connection.outgoing(lambda piece: b""):
        line.receive(frame)
    line.welcome(COORDINATOR, ())
    line.deliver(held, b"")
    told = [agent.receive(frame) for frame in line.outgoing(lambda piece: b"")]
    assert told == [e.Greeted(COORDINATOR, ()), None]
    assert [line.receive(frame) for frame in connection.outgoing(lambda piece: b"")] == [m.Accepted(held)]


def test_a_superseded_connection_is_not_heard():
    coordinator = CoordinatorSession()
    hello = m.Hello(m.WIRE_VERSION, b"", 0, (), b"n" * 16)
    lines = [CoordinatorConnection(), CoordinatorConnection()]
    for line in lines:
        line.receive(m.encode_message(hello))
        coordinator.attach(line, hello)
    assert lines[0].ended == "superseded"
    assert not coordinator.welcome(lines[0], COORDINATOR, ())
    assert coordinator.welcome(lines[1], COORDINATOR, ())
    assert coordinator.receive(lines[0], m.encode_message(m.Renew(b"o" * 32, 1))) == ()
    assert coordinator.receive(lines[1], m.encode_message(m.Renew(b"o" * 32, 1))) == (e.RenewAsked(b"o" * 32, 1),)
