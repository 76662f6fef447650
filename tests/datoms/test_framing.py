"""Many datoms in one body: aligned, exact, whole or in chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.datoms import DatomSplitter, join_datoms, split_datoms
from sojourn.errors import DecodeError, UsageError


def address(buffer):
    return np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]


bodies = st.lists(st.binary(min_size=7, max_size=200), max_size=6)


@given(bodies)
def test_round_trip_and_alignment(datoms):
    body = join_datoms(datoms)
    views = split_datoms(body)
    assert [bytes(view) for view in views] == datoms
    assert [(address(view) - address(body)) % 64 for view in views] == [0] * len(datoms)


def test_layout():
    body = join_datoms([b"1234567", b"x" * 64])
    assert body == bytes(60) + b"\0\0\0\7" + b"1234567" + bytes(53) + b"\0\0\0\x40" + b"x" * 64
    assert join_datoms([]) == b""
    assert split_datoms(b"") == []


@given(bodies, st.lists(st.integers(1, 90), min_size=1))
def test_chunks_do_not_matter(datoms, sizes):
    body, splitter, found, position, turn = join_datoms(datoms), DatomSplitter(), [], 0, 0
    while position < len(body):
        size = sizes[turn % len(sizes)]
        found += splitter.feed(body[position : position + size])
        position, turn = position + size, turn + 1
    splitter.finish()
    assert found == datoms


def whole(body):
    return split_datoms(body)


def chunked(body):
    splitter = DatomSplitter()
    for index in range(len(body)):
        splitter.feed(body[index : index + 1])
    splitter.finish()


@pytest.mark.parametrize("read", [whole, chunked])
def test_every_cut_is_refused_or_between_datoms(read):
    datoms = [b"1234567", b"abcdefgh", b"x" * 65]
    body = join_datoms(datoms)
    borders = {len(join_datoms(datoms[:count])) for count in range(4)}
    for size in range(len(body)):
        if size in borders:
            read(body[:size])
        else:
            with pytest.raises(DecodeError):
                read(body[:size])


@pytest.mark.parametrize("read", [whole, chunked])
@pytest.mark.parametrize("offset", [0, 59, 60, 71, 123])
def test_gaps_are_zero_and_lengths_sane(read, offset):
    body = bytearray(join_datoms([b"1234567", b"abcdefgh"]))
    body[offset] = 0x80
    with pytest.raises(DecodeError):
        read(bytes(body))


@pytest.mark.parametrize("length", [0, 6, 2**32 - 1])
def test_lengths_out_of_bounds_are_refused_before_they_are_waited_for(length):
    splitter = DatomSplitter()
    with pytest.raises(DecodeError) as caught:
        splitter.feed(bytes(60) + length.to_bytes(4, "big"))
    assert caught.value.reason == "oversize"


def test_empty_datoms_are_not_written():
    with pytest.raises(UsageError):
        join_datoms([b""])
