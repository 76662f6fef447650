"""The canonical encoding: one value, one byte string, and nothing else is accepted."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.codec import HEADER_BYTES, Kind, decode, digest, digest_parts, encode, header_of
from sojourn.contracts import Answer, Job, Order, Plan, Publication, Released, Roster, Signed
from sojourn.errors import DecodeError

SIGNED = Signed(1, b"k" * 32, b"payload", b"s" * 64)
PUBLICATION = Publication(1, b"j", b"r", 3, 2, b"b", b"m", b"c", {"name": "fedavg", "alpha": 0.5}, 429)

scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=12)


def reason(data: bytes, cls: type = Signed, **more: int) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(cls, data, **more)
    return caught.value.reason


@given(st.integers(0, 2**32), st.binary(max_size=40), st.binary(max_size=400), st.binary(max_size=70))
def test_what_was_encoded_comes_back(suite: int, signer: bytes, payload: bytes, signature: bytes) -> None:
    record = Signed(suite, signer, payload, signature)
    assert decode(Signed, encode(record)) == record


@given(st.dictionaries(st.text(max_size=8), scalars, max_size=6))
def test_the_order_of_a_map_does_not_show(policy: dict[str, object]) -> None:
    one = encode(msgspec.structs.replace(PUBLICATION, policy=policy))
    other = encode(msgspec.structs.replace(PUBLICATION, policy=dict(reversed(policy.items()))))
    assert one == other
    assert decode(Publication, one).policy == policy


def test_every_truncation_and_every_extra_byte_is_refused() -> None:
    data = encode(SIGNED)
    for length in range(len(data)):
        assert reason(data[:length]) in {"magic", "schema"}
    assert reason(data + b"\x00") == "trailing"


def test_frame_is_checked_first() -> None:
    data = encode(SIGNED)
    assert reason(b"XX" + data[2:]) == "magic"
    assert reason(data[:2] + b"\x09\x09" + data[4:]) == "kind"
    assert reason(data[:4] + b"\x00\x02" + data[6:]) == "version"
    assert reason(data, limit=len(data) - 1) == "oversize"
    assert header_of(data) == (Kind.SIGNED, 1)


def test_other_encodings_of_the_same_value_are_refused() -> None:
    body = encode(SIGNED)[HEADER_BYTES:]
    head = encode(SIGNED)[:HEADER_BYTES]
    assert body[:2] == b"\x94\x01"
    assert reason(head + b"\x94\xcc\x01" + body[2:]) == "canonical"  # the suite as a two-byte integer
    assert reason(head + b"\xdc\x00\x04" + body[1:]) == "canonical"  # a long array header
    assert reason(head + b"\x95" + body[1:] + b"\xc0") == "schema"  # a fifth field


def test_duplicate_and_unsorted_map_keys_are_refused() -> None:
    data = encode(PUBLICATION)
    sorted_map = b"\x82\xa5alpha\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\xa4name\xa6fedavg"
    assert sorted_map in data
    unsorted = b"\x82\xa4name\xa6fedavg\xa5alpha\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00"
    assert reason(data.replace(sorted_map, unsorted), Publication) == "canonical"
    twice = b"\x83\xa5alpha\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00" + sorted_map[1:]
    assert reason(data.replace(sorted_map, twice), Publication) == "canonical"


@given(st.binary(max_size=200))
@pytest.mark.parametrize("cls", [Signed, Roster, Job, Plan, Order, Answer, Publication])
def test_noise_raises_only_the_documented_error(cls: type, noise: bytes) -> None:
    framed = b"SJ" + int(cls.KIND).to_bytes(2, "big") + b"\x00\x01" + noise
    for data in (noise, framed):
        try:
            decode(cls, data)
        except DecodeError:
            continue


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_a_flipped_bit_never_decodes_to_the_same_value(position: int, bit: int) -> None:
    data = bytearray(encode(SIGNED))
    data[position % len(data)] ^= 1 << bit
    try:
        found = decode(Signed, bytes(data))
    except DecodeError:
        return
    assert found != SIGNED


def test_released_value_may_be_none_but_not_text() -> None:
    release = Released("count", "patients", "bounded-count", "trusted-plan", {}, 3.0, b"", 4, b"p" * 32)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(release), type=Released) == release
    wrong = msgspec.msgpack.encode([*msgspec.to_builtins(release)[:5], "3", b"", 4, b"p"])
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(wrong, type=Released)


def test_digest_is_sha256() -> None:
    # FIPS 180-4 example
    assert digest(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_no_two_lists_of_parts_share_a_digest(one: list[bytes], other: list[bytes]) -> None:
    assert (digest_parts("t", *one) == digest_parts("t", *other)) == (one == other)
    assert digest_parts("t", *one) != digest_parts("u", *one)


def test_kinds_are_unique_and_frozen() -> None:
    numbers = [int(kind) for kind in Kind]
    assert len(set(numbers)) == len(numbers)
    assert (Kind.PROGRAM, Kind.SIGNED, Kind.ORDER, Kind.ENVELOPE) == (0x0101, 0x0301, 0x0306, 0x0401)
