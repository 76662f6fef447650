"""Bodies: sealed once, opened in any pieces, refused when anything is missing, moved or changed."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.codec import digest
from sojourn.contracts import BodyRef
from sojourn.crypto import BodyOpener, BodySealer, open_body, seal_body, sealed_length
from sojourn.crypto.bodies import BODY_HEADER_BYTES
from sojourn.errors import DecodeError, PeerError, SignatureInvalid, UsageError
from sojourn.limits import MAX_BODY_BYTES, SEAL_CHUNK_BYTES

CHUNK = SEAL_CHUNK_BYTES
EDGES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5]


def a_plain(size: int) -> bytes:
    return bytes(n * 7 % 253 for n in range(min(size, 4096))).ljust(size, b"\x5a")


@pytest.mark.parametrize("size", EDGES)
def test_what_is_sealed_is_opened(size):
    plain = a_plain(size)
    sealed, ref, key = seal_body(plain)
    assert ref == BodyRef(id=digest(sealed), length=len(sealed), digest=digest(plain), plain=size)
    assert len(sealed) == sealed_length(size)
    assert open_body(sealed, ref, key) == plain


@settings(max_examples=20, deadline=None)
@given(size=st.sampled_from(EDGES), cuts=st.lists(st.integers(0, 2 * CHUNK + 64), max_size=6))
def test_pieces_may_have_any_size(size, cuts):
    plain = a_plain(size)
    sealer = BodySealer()
    pieces = []
    bounds = sorted({0, size, *(cut for cut in cuts if cut < size)})
    for start, end in pairwise(bounds):
        pieces += sealer.feed(memoryview(plain)[start:end])
    last, ref, key = sealer.finish()
    sealed = b"".join((*pieces, *last))
    opener = BodyOpener(ref, key)
    bounds = sorted({0, len(sealed), *(cut for cut in cuts if cut < len(sealed))})
    got = []
    for start, end in pairwise(bounds):
        got += opener.feed(memoryview(sealed)[start:end])
    opener.finish()
    assert b"".join(got) == plain
    assert all(len(chunk) <= CHUNK for chunk in got)


def test_each_altered_byte_of_a_body_is_refused():
    plain = b"a small body"
    sealed, ref, key = seal_body(plain)
    for index in range(len(sealed)):
        altered = sealed[:index] + bytes([sealed[index] ^ 0x40]) + sealed[index + 1 :]
        with pytest.raises(PeerError):
            open_body(altered, ref, key)
        # also where the reference follows the change: the content key still refuses
        with pytest.raises(PeerError):
            open_body(altered, msgspec.structs.replace(ref, id=digest(altered)), key)


def test_missing_moved_and_added_chunks_are_refused():
    plain = a_plain(3 * CHUNK)
    sealed, ref, key = seal_body(plain)
    step = CHUNK + 16
    head, chunks = (
        sealed[:BODY_HEADER_BYTES],
        [sealed[at : at + step] for at in range(BODY_HEADER_BYTES, len(sealed), step)],
    )
    assert len(chunks) == 3

    def refer(data: bytes, size: int) -> BodyRef:
        return msgspec.structs.replace(ref, id=digest(data), length=len(data), plain=size)

    for arranged in ([chunks[1], chunks[0], chunks[2]], chunks[:2], [*chunks, chunks[2]], [chunks[2]], chunks[1:]):
        data = head + b"".join(arranged)
        with pytest.raises(SignatureInvalid, match="chunk"):
            open_body(data, refer(data, len(arranged) * CHUNK), key)
    with pytest.raises(DecodeError, match="more bytes"):
        open_body(sealed + b"!", ref, key)
    with pytest.raises(DecodeError, match="came"):
        open_body(sealed[:-step], ref, key)


def test_nothing_is_final_before_finish():
    sealed, ref, key = seal_body(a_plain(2 * CHUNK))
    opener = BodyOpener(ref, key)
    first = opener.feed(sealed[: BODY_HEADER_BYTES + CHUNK + 16])
    assert len(first) == 1
    with pytest.raises(DecodeError):
        opener.finish()


def test_another_body_under_the_same_key_is_not_this_one():
    sealed, ref, key = seal_body(b"one")
    for changes in ({"digest": digest(b"two")}, {"id": bytes(32)}):
        with pytest.raises(DecodeError) as caught:
            open_body(sealed, msgspec.structs.replace(ref, **changes), key)
        assert caught.value.reason == "digest"


def test_a_reference_that_contradicts_itself_is_refused():
    _, ref, key = seal_body(b"one")
    for changes in ({"plain": 4}, {"length": ref.length + 1}, {"plain": -1}, {"plain": MAX_BODY_BYTES + 1}):
        with pytest.raises(DecodeError):
            BodyOpener(msgspec.structs.replace(ref, **changes), key)
    for bad in (b"", bytes(31)):
        with pytest.raises(DecodeError, match="content key"):
            BodyOpener(ref, bad)


def test_the_wrong_key_opens_nothing():
    sealed, ref, _ = seal_body(b"one")
    with pytest.raises(SignatureInvalid):
        open_body(sealed, ref, seal_body(b"one")[2])


def test_each_body_has_its_own_key():
    one, two = seal_body(b"same"), seal_body(b"same")
    assert one[2] != two[2]
    assert one[0] != two[0]


def test_a_finished_sealer_takes_nothing_more():
    sealer = BodySealer()
    sealer.finish()
    with pytest.raises(UsageError):
        sealer.feed(b"more")
    with pytest.raises(UsageError):
        sealer.finish()


def test_neither_side_shows_its_key():
    sealer = BodySealer()
    _, ref, key = sealer.finish()
    for shown in (repr(sealer), repr(BodyOpener(ref, key))):
        assert key.hex() not in shown
        assert repr(key) not in shown


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_only_ever_raise_the_documented_errors(data):
    _, ref, key = seal_body(bytes(100))
    with pytest.raises(PeerError):
        open_body(data, ref, key)


@pytest.mark.parametrize(
    ("at", "reason"), [(0, "magic"), (3, "kind"), (5, "version"), (7, "version"), (9, "value"), (15, "value")]
)
def test_another_header_says_what_it_is(at, reason):
    sealed, ref, key = seal_body(b"one")
    altered = sealed[:at] + bytes([sealed[at] ^ 0x40]) + sealed[at + 1 :]
    with pytest.raises(DecodeError) as caught:
        open_body(altered, ref, key)
    assert caught.value.reason == reason


def test_bodies_are_bounded(monkeypatch):
    huge = MAX_BODY_BYTES + 1
    ref = BodyRef(id=bytes(32), length=sealed_length(huge), digest=bytes(32), plain=huge)
    with pytest.raises(DecodeError, match="at most"):
        BodyOpener(ref, bytes(32))
    monkeypatch.setattr("sojourn.crypto.bodies.MAX_BODY_BYTES", 10)
    sealer = BodySealer()
    sealer.feed(bytes(10))
    with pytest.raises(UsageError, match="at most 10"):
        sealer.feed(b"!")
