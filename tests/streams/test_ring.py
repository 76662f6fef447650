"""The ring's own rules; the contract is checked in tests/testing."""

import gc

import pytest
from sojourn.errors import UsageError
from sojourn.streams import START, Appended, Blocked, Cursor, Data, Full, Gap, RingStream


def filled(**options):
    ring = RingStream(3, **options)
    return ring, [ring.append(bytes([index])) for index in range(5)]


def test_full_until_released():
    ring, outcomes = filled()
    assert outcomes == [Appended(0), Appended(1), Appended(2), Full(), Full()]
    assert ring.read(START, 9) == Data((b"\0", b"\1", b"\2"), Cursor(3))
    ring.release(Cursor(2))
    assert ring.append(b"x") == Appended(3)
    assert ring.read(START, 9) == ring.read(Cursor(1), 9) == Gap(Cursor(2))
    assert ring.read(Cursor(2), 9) == Data((b"\2", b"x"), Cursor(4))
    ring.release(Cursor(1))  # nothing left to let go of
    assert ring.read(Cursor(2), 1) == Data((b"\2",), Cursor(3))


def test_overwriting_is_said():
    ring, outcomes = filled(overwrite=True)
    assert outcomes == [Appended(index) for index in range(5)]
    assert ring.read(START, 9) == Gap(Cursor(2))
    assert ring.read(Cursor(2), 9) == Data((b"\2", b"\3", b"\4"), Cursor(5))
    assert ring.read(Cursor(5), 9) == Blocked()


def test_what_was_appended_is_a_copy():
    ring, datom = RingStream(1), bytearray(b"one")
    ring.append(datom)
    datom[:] = b"two"
    assert ring.read(START, 1).datoms == (b"one",)


def test_attach_within_the_process_only():
    ring = RingStream(1, "queue")
    descriptor = ring.descriptor
    assert RingStream.attach(descriptor) is ring
    del ring
    gc.collect()
    with pytest.raises(UsageError, match="'queue' is not in this process"):
        RingStream.attach(descriptor)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: RingStream(0),
        lambda: RingStream(1).release(Cursor(1)),
        lambda: RingStream(1).release(Cursor(-1)),
        lambda: RingStream(1).append(b""),
        lambda: RingStream(1).read(Cursor(1), 1),
        lambda: RingStream(1).read(START, 0),
    ],
)
def test_misuse(wrong):
    with pytest.raises(UsageError):
        wrong()
