"""Messages: canonical, strict, sized; the hand-made encoding of Data is the canonical one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.codec import Record, encode
from sojourn.errors import DecodeError
from sojourn.limits import MAX_BODY_BYTES, MAX_FRAME_BYTES, MAX_HELD_ORDERS
from sojourn.wire import messages as m
from sojourn.wire.messages import decode_message, encode_data, encode_message

D = b"d" * 32
ALL = (
    m.Hello(1, b"entry", 7, (m.HeldOrder(D, "running"), m.HeldOrder(D, "answered")), b"n" * 16),
    m.Welcome(1, D, b"n" * 16, (m.Lease(D, 1, 60_000),)),
    m.Deliver(D, b"envelope"),
    m.Accepted(D),
    m.Declined(D, "not_admitted"),
    m.Fetch(1, D, 0, 10),
    m.Data(1, 0, True, memoryview(b"payload")),
    m.Credit(1, 1),
    m.Offer(2, D, b"packet", D, 10),
    m.Want(2, 5),
    m.Committed(D),
    m.Closed(D),
    m.Rejected(D, "bounds"),
    m.Lease(D, 1, 0),
    m.Renew(D, 1),
    m.Roster(b"signed"),
    m.Cancel(1),
    m.Missing(1),
    m.Bye("going"),
)


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_every_message_comes_back_and_every_cut_or_extra_byte_is_refused(message):
    data = encode_message(message)
    assert decode_message(data) == message
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            decode_message(data[:end])
    with pytest.raises(DecodeError):
        decode_message(data + b"\x00")


def test_the_samples_are_all_messages_with_kinds_of_their_own():
    assert {type(message) for message in ALL} == set(m.Message.__args__)
    assert len({cls.KIND for cls in m.Message.__args__}) == len(m.Message.__args__)


@given(
    st.integers(1, 1 << 53),
    st.integers(0, MAX_BODY_BYTES),
    st.booleans(),
    st.sampled_from([0, 1, 31, 32, 255, 256, 65535, 65536, 262144]),
)
def test_data_is_encoded_canonically_and_decoded_without_a_copy(channel, offset, last, size):
    payload = bytes(size)
    data = encode_data(channel, offset, last, payload)
    assert data == encode(m.Data(channel, offset, last, memoryview(payload)))
    message = decode_message(data)
    assert (message.channel, message.offset, message.last, message.payload) == (channel, offset, last, payload)
    assert message.payload.obj is data


@given(st.sampled_from(ALL), st.data())
def test_a_changed_byte_never_decodes_to_the_same_message_nor_crashes(message, draw):
    data = bytearray(encode_message(message))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    try:
        got = decode_message(bytes(data))
    except DecodeError:
        return
    assert got != message
    assert encode_message(got) == bytes(data)


@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    for head in (b"", b"SJ\x05\x07\x00\x01", b"SJ\x05\x01\x00\x01"):
        try:
            decode_message(head + data)
        except DecodeError:
            continue


def test_a_non_canonical_data_is_refused():
    good = encode_data(5, 0, True, b"x")
    body = msgspec.msgpack.encode((5, 0, True, b"x"))
    assert good[6:] == body
    wide = good[:6] + b"\x94\xcc\x05\x00\xc3\xc4\x01x"  # the channel as uint8 where a fixint does
    with pytest.raises(DecodeError) as caught:
        decode_message(wide)
    assert caught.value.reason == "canonical"
    long = good[:6] + b"\x94\x05\x00\xc3\xc5\x00\x01x"  # a 16-bit length where 8 bits do
    with pytest.raises(DecodeError) as caught:
        decode_message(long)
    assert caught.value.reason == "canonical"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(MAX_FRAME_BYTES + 1), "oversize"),
        (b"", "magic"),
        (b"SJ\x05\xff\x00\x01\x90", "kind"),
        (b"SJ\x03\x04\x00\x01\x90", "kind"),
        (encode(m.Cancel(1))[:4] + b"\x00\x02" + encode(m.Cancel(1))[6:], "version"),
        (encode_data(1, 0, True, b"x")[:4] + b"\x00\x02" + encode_data(1, 0, True, b"x")[6:], "version"),
    ],
)
def test_what_is_no_message_says_why(data, reason):
    with pytest.raises(DecodeError) as caught:
        decode_message(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "message",
    [
        m.Accepted(b"short"),
        m.Declined(D, "Not A Code"),
        m.Declined(D, "line\nbreak"),
        m.Declined(D, "x" * 65),
        m.Declined(D, "ok\n"),
        m.Rejected(D, ""),
        m.Credit(1, 0),
        m.Credit(0, 5),
        m.Cancel(-1),
        m.Fetch(1, D, 0, MAX_BODY_BYTES + 1),
        m.Fetch(1, D, -1, 5),
        m.Offer(1, D, b"", b"x" * 33, 0),
        m.Hello(1, b"", 0, (m.HeldOrder(D, "dreaming"),), b"n" * 16),
        m.Hello(1, b"", 0, (m.HeldOrder(D, "running"),) * (MAX_HELD_ORDERS + 1), b"n" * 16),
        m.Hello(1, b"", 0, (), b"n" * 15),
    ],
)
def test_values_outside_their_bounds_are_refused(message: Record):
    with pytest.raises(DecodeError):
        decode_message(encode(message))
