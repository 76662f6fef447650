"""The tables: every message in every phase and channel state, and every violation by its reason."""

import itertools

import pytest
from sojourn.errors import DecodeError, WireViolation
from sojourn.limits import INITIAL_CREDIT_BYTES, KIB, MAX_CHANNELS, MAX_FRAME_BYTES, MAX_UNANSWERED_ORDERS
from sojourn.wire import messages as m
from sojourn.wire.connection import AgentConnection, CoordinatorConnection
from sojourn.wire.messages import decode_message, encode_data, encode_message
from sojourn.wire.tables import CHANNEL, CLOSE_CODES, RECEIVES, ChannelState, Phase, Side

D, E = b"d" * 32, b"e" * 32
HELLO = m.Hello(m.WIRE_VERSION, b"entry", 1, (), b"n" * 16)
SAMPLES = (
    HELLO,
    m.Welcome(m.WIRE_VERSION, D, b"n" * 16, ()),
    m.Deliver(D, b"e"),
    m.Accepted(D),
    m.Declined(D, "no"),
    m.Fetch(1, D, 0, 9),
    m.Data(1, 0, True, memoryview(b"x")),
    m.Credit(1, 1),
    m.Offer(1, D, b"", b"", 0),
    m.Want(1, 0),
    m.Committed(D),
    m.Closed(D),
    m.Rejected(D, "no"),
    m.Lease(D, 1, 1),
    m.Renew(D, 1),
    m.Roster(b""),
    m.Cancel(1),
    m.Missing(1),
    m.Bye("going"),
)


def pair() -> tuple[AgentConnection, CoordinatorConnection]:
    """Two open ends."""
    agent, coordinator = AgentConnection(), CoordinatorConnection()
    agent.hello(HELLO)
    move(agent, coordinator)
    coordinator.welcome(D, ())
    move(coordinator, agent)
    assert agent.is_open
    assert coordinator.is_open
    return agent, coordinator


def move(source, target) -> list[m.Message | None]:
    """Carry everything that waits from one end to the other; bodies are zeros."""
    return [target.receive(frame) for frame in source.outgoing(lambda piece: bytes(piece.size))]


def refused(machine, message: m.Message | bytes) -> str:
    with pytest.raises(WireViolation) as caught:
        machine.receive(message if isinstance(message, bytes) else encode_message(message))
    assert caught.value.reason in CLOSE_CODES
    return caught.value.reason


def ended(side: type, phase: Phase):
    machine = side()
    machine.phase = phase
    return machine


@pytest.mark.parametrize(
    ("side", "phase", "message"),
    [
        (side, phase, message)
        for side, phase, message in itertools.product((AgentConnection, CoordinatorConnection), Phase, SAMPLES)
        if type(message) not in RECEIVES[side.SIDE][phase]
    ],
)
def test_what_is_not_in_the_table_is_a_violation(side, phase, message):
    assert refused(ended(side, phase), message) == "state"


def test_the_tables_are_complete():
    for side in Side:
        assert set(RECEIVES[side]) == set(Phase)
    listed = set().union(*(kinds for phases in RECEIVES.values() for kinds in phases.values()))
    assert listed == set(m.Message.__args__)
    states = set().union(*(set(states) for states in CHANNEL.values()))
    assert states == set(ChannelState)


def test_a_fetch_from_an_offset_to_its_end():
    agent, coordinator = pair()
    channel = agent.fetch(D, 5, 600 * KIB)
    assert move(agent, coordinator) == [m.Fetch(channel, D, 5, 600 * KIB)]
    coordinator.serve(channel)
    came = move(coordinator, agent)
    assert [message.offset for message in came] == [5, 5 + m.DATA_BYTES, 5 + 2 * m.DATA_BYTES]
    assert [message.last for message in came] == [False, False, True]
    assert agent.channels_left == MAX_CHANNELS
    assert coordinator.ready() is None


def test_an_offer_its_body_and_its_verdict():
    agent, coordinator = pair()
    channel = agent.offer(D, b"packet", E, 300 * KIB)
    assert agent.ready() is None
    move(agent, coordinator)
    coordinator.want(channel, 10)
    assert move(coordinator, agent) == [m.Want(channel, 10)]
    assert [message.offset for message in move(agent, coordinator)] == [10, 10 + m.DATA_BYTES]
    coordinator.verdict(m.Committed(D))
    assert move(coordinator, agent) == [m.Committed(D)]
    assert refused(agent, m.Committed(D)) == "state"


def test_the_sender_parks_at_its_credit_and_goes_on_with_the_grant():
    agent, coordinator = pair()
    channel = agent.fetch(D, 0, 3 * INITIAL_CREDIT_BYTES)
    move(agent, coordinator)
    coordinator.serve(channel)
    came = move(coordinator, agent)
    assert sum(len(message.payload) for message in came) == INITIAL_CREDIT_BYTES
    with pytest.raises(WireViolation):
        coordinator.data(channel, b"one more")
    for message in came[:7]:
        agent.consumed(channel, len(message.payload))
    assert move(agent, coordinator) == []  # grants go out in quarters
    agent.consumed(channel, m.DATA_BYTES)
    assert move(agent, coordinator) == [m.Credit(channel, 8 * m.DATA_BYTES)]
    assert sum(len(message.payload) for message in move(coordinator, agent)) == 8 * m.DATA_BYTES


def test_channels_take_turns():
    agent, coordinator = pair()
    channels = [agent.fetch(D, 0, 4 * m.DATA_BYTES) for _ in range(3)]
    move(agent, coordinator)
    for channel in channels:
        coordinator.serve(channel)
    assert [message.channel for message in move(coordinator, agent)] == channels * 4


def test_control_goes_before_data():
    agent, coordinator = pair()
    channel = agent.fetch(D, 0, 4 * m.DATA_BYTES)
    move(agent, coordinator)
    coordinator.serve(channel)
    frames = coordinator.outgoing(lambda piece: bytes(piece.size))
    assert isinstance(decode_message(next(frames)), m.Data)
    coordinator.lease(m.Lease(D, 1, 5))
    assert isinstance(decode_message(next(frames)), m.Lease)


def test_data_at_a_wrong_offset_too_long_empty_or_wrongly_last():
    for data in (
        encode_data(1, 1, False, b"x"),
        encode_data(1, 0, False, b""),
        encode_data(1, 0, True, b"x"),
        encode_data(1, 0, False, b"x" * 10),
        encode_data(1, 0, True, b"x" * 11),
    ):
        agent, _ = pair()
        agent.fetch(D, 0, 10)
        assert refused(agent, data) == "offset"


def test_an_overrun_of_credit():
    agent, _ = pair()
    agent.fetch(D, 0, 2 * INITIAL_CREDIT_BYTES)
    size = 1024 * KIB
    for offset in range(0, INITIAL_CREDIT_BYTES, size):
        agent.receive(encode_data(1, offset, False, bytes(size)))
    assert refused(agent, encode_data(1, INITIAL_CREDIT_BYTES, False, b"x")) == "credit"


def test_a_grant_of_what_was_not_consumed():
    agent, coordinator = pair()
    channel = agent.fetch(D, 0, INITIAL_CREDIT_BYTES * 2)
    move(agent, coordinator)
    coordinator.serve(channel)
    assert refused(coordinator, m.Credit(channel, 1)) == "credit"


def test_late_data_is_dropped_within_the_credit_that_was_out_and_not_beyond():
    agent, coordinator = pair()
    channel = agent.fetch(D, 0, 2 * INITIAL_CREDIT_BYTES)
    move(agent, coordinator)
    coordinator.serve(channel)
    agent.cancel(channel)
    assert set(move(coordinator, agent)) == {None}  # it was on the way
    assert refused(agent, encode_data(channel, 0, False, b"x")) == "credit"
    assert refused(agent, encode_data(channel + 1, 0, False, b"x")) == "state"
    assert move(agent, coordinator) == [m.Cancel(channel)]
    assert coordinator.ready() is None


def test_data_after_an_early_verdict_is_dropped():
    agent, coordinator = pair()
    channel = agent.offer(D, b"", E, 3 * m.DATA_BYTES)
    move(agent, coordinator)
    coordinator.want(channel, 0)
    move(coordinator, agent)
    coordinator.verdict(m.Closed(D))
    assert set(move(agent, coordinator)) == {None}
    assert move(coordinator, agent) == [m.Closed(D)]
    left = INITIAL_CREDIT_BYTES - 3 * m.DATA_BYTES
    for _ in range(left // m.DATA_BYTES):
        assert coordinator.receive(encode_data(channel, 0, False, bytes(m.DATA_BYTES))) is None
    assert refused(coordinator, encode_data(channel, 0, False, b"x")) == "credit"


def test_too_many_channels():
    agent, coordinator = pair()
    for n in range(MAX_CHANNELS):
        agent.fetch(bytes([n]) * 32, 0, 9)
    with pytest.raises(WireViolation) as caught:
        agent.fetch(D, 0, 9)
    assert caught.value.reason == "channels"
    move(agent, coordinator)
    assert refused(coordinator, m.Fetch(MAX_CHANNELS + 1, D, 0, 9)) == "channels"


@pytest.mark.parametrize("number", [1, 3])
def test_a_channel_number_used_again_or_out_of_turn(number):
    agent, coordinator = pair()
    agent.fetch(D, 0, 9)
    move(agent, coordinator)
    assert refused(coordinator, m.Fetch(number, D, 0, 9)) == "channels"


def test_too_many_unanswered_orders():
    agent, coordinator = pair()
    for n in range(MAX_UNANSWERED_ORDERS):
        coordinator.deliver(bytes([n]) * 32, b"")
    with pytest.raises(WireViolation):
        coordinator.deliver(b"x" * 32, b"")
    move(coordinator, agent)
    assert refused(agent, m.Deliver(b"x" * 32, b"")) == "channels"
    assert refused(agent, m.Deliver(bytes(32), b"")) == "channels"


def test_a_message_over_the_frame_limit_is_neither_sent_nor_taken():
    agent, coordinator = pair()
    with pytest.raises(WireViolation):
        coordinator.deliver(D, bytes(MAX_FRAME_BYTES))
    assert coordinator.next_frame() is None
    with pytest.raises(DecodeError) as caught:
        agent.receive(bytes(MAX_FRAME_BYTES + 1))
    assert caught.value.reason == "oversize"


def test_a_welcome_of_another_version_or_to_another_hello():
    for welcome, reason in (
        (m.Welcome(m.WIRE_VERSION + 1, D, HELLO.nonce, ()), "version"),
        (m.Welcome(m.WIRE_VERSION, D, b"x" * 16, ()), "refused"),
    ):
        agent = AgentConnection()
        agent.hello(HELLO)
        assert refused(agent, welcome) == reason


def test_a_hello_of_another_version():
    assert refused(CoordinatorConnection(), m.Hello(m.WIRE_VERSION + 1, b"", 0, (), b"n" * 16)) == "version"


def test_nothing_goes_out_after_a_bye_and_nothing_comes_in():
    agent, coordinator = pair()
    coordinator.lease(m.Lease(D, 1, 1))
    coordinator.bye("going")
    coordinator.bye("superseded")
    assert move(coordinator, agent) == [m.Bye("going")]
    assert agent.ended == coordinator.ended == "going"
    with pytest.raises(WireViolation):
        coordinator.lease(m.Lease(D, 1, 1))
    assert coordinator.next_frame() is None
    assert refused(agent, m.Lease(D, 1, 1)) == "state"


def test_a_want_beyond_the_body():
    agent, _ = pair()
    agent.offer(D, b"", E, 10)
    assert refused(agent, m.Want(1, 10)) == "offset"


def test_an_answer_to_what_was_not_delivered():
    agent, coordinator = pair()
    assert refused(coordinator, m.Accepted(D)) == "state"
    with pytest.raises(WireViolation):
        agent.answer_order(m.Accepted(D))


def test_a_peer_that_asks_and_does_not_read(monkeypatch):
    monkeypatch.setattr("sojourn.wire.core.MAX_QUEUED_FRAMES", 4)
    _, coordinator = pair()
    for n in range(1, 6):
        coordinator.receive(encode_message(m.Fetch(n, D, 0, 9)))
        coordinator.missing(n)
    assert refused(coordinator, m.Fetch(6, D, 0, 9)) == "slow"
