"""What every implementation of `sojourn.streams.Stream` has to do, as checks that anybody can run on theirs.

A check takes a `StreamFactory` and raises `AssertionError` with what is wrong. Run them one by one under pytest::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_stream(check, factory):
        check(factory)

or all at once with `check_stream(factory)`. A factory says what its streams can do, and checks that need more than that
pass without doing anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sojourn.codec import decode, encode
from sojourn.errors import UsageError
from sojourn.streams import START, Appended, Blocked, Cursor, Data, Descriptor, End, Full, Gap, Sealed, Stream

__all__ = ["CHECKS", "StreamFactory", "check_stream"]


@dataclass(frozen=True, slots=True)
class StreamFactory:
    """How to get the streams that are checked.

    Attributes:
        make: a new, empty stream that takes at least four datoms of 1 KiB.
        bounded: an append of very many datoms, none of which is released, meets `Full` or displaces the oldest.
        release: lets a bounded stream drop what lies before a cursor; None where there is no such thing.
        reopen: closes a durable stream and opens it again; None where streams end with their process.
    """

    make: Callable[[], Stream]
    bounded: bool = False
    release: Callable[[Stream, Cursor], None] | None = None
    reopen: Callable[[Stream], Stream] | None = None


def _require(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def _append(stream: Stream, datom: bytes) -> int:
    match stream.append(datom):
        case Appended(position):
            return position
        case refused:
            raise AssertionError(f"append of {len(datom)} bytes gave {refused}, not Appended")


def _drain(stream: Stream, cursor: Cursor, limit: int) -> tuple[list[bytes], Cursor]:
    found: list[bytes] = []
    while isinstance(outcome := stream.read(cursor, limit), Data):
        _require(0 < len(outcome.datoms) <= limit, f"Data with {len(outcome.datoms)} datoms under a limit of {limit}")
        _require(outcome.next > cursor, "the next cursor does not lie behind the one that was read from")
        found += outcome.datoms
        cursor = outcome.next
    return found, cursor


def empty_stream_blocks(factory: StreamFactory) -> None:
    """Nothing to read, and more may come."""
    _require(factory.make().read(START, 1) == Blocked(), "a new stream read from its start is Blocked")


def order_and_bytes_are_kept(factory: StreamFactory) -> None:
    """What was appended comes out, byte for byte, in order, whatever the limit."""
    datoms = [b"\0", b"one", bytes(1024), b"\xff" * 7]
    for limit in (1, 2, 3, 100):
        stream = factory.make()
        for datom in datoms:
            _append(stream, datom)
        found, cursor = _drain(stream, START, limit)
        _require(found == datoms, f"datoms read with limit {limit} are not those that were appended")
        _require(stream.read(cursor, limit) == Blocked(), "a reader that has read everything is Blocked")


def positions_grow(factory: StreamFactory) -> None:
    """Each append's position lies behind the one before, and a cursor at it reads that datom."""
    stream = factory.make()
    positions = [_append(stream, bytes([index])) for index in range(4)]
    _require(positions == sorted(set(positions)), "positions do not grow")
    for index, position in enumerate(positions):
        outcome = stream.read(Cursor(position), 1)
        _require(isinstance(outcome, Data) and outcome.datoms == (bytes([index]),), "a position reads another datom")


def reading_does_not_destroy(factory: StreamFactory) -> None:
    """Two readers, and one reader twice, see the same."""
    stream = factory.make()
    for index in range(4):
        _append(stream, bytes([index]))
    _require(stream.read(START, 4) == stream.read(START, 4), "reading twice from one cursor gives two results")
    _require(_drain(stream, START, 1)[0] == _drain(stream, START, 3)[0], "two readers see two streams")


def a_blocked_cursor_goes_on(factory: StreamFactory) -> None:
    """The cursor that was Blocked reads what is appended later."""
    stream = factory.make()
    _append(stream, b"first")
    _, cursor = _drain(stream, START, 10)
    _append(stream, b"second")
    _require(_drain(stream, cursor, 10)[0] == [b"second"], "a cursor at the end misses the next datom")


def sealing_ends(factory: StreamFactory) -> None:
    """After a seal: appends are refused, readers get the rest and then End, and sealing again is nothing."""
    stream = factory.make()
    _append(stream, b"last")
    stream.seal()
    stream.seal()
    _require(stream.append(b"more") == Sealed(), "a sealed stream takes a datom")
    found, cursor = _drain(stream, START, 10)
    _require(found == [b"last"], "sealing loses or adds something")
    _require(stream.read(cursor, 1) == End(), "behind the last datom of a sealed stream is End")
    empty = factory.make()
    empty.seal()
    _require(empty.read(START, 1) == End(), "a sealed, empty stream is at its End")


def misuse_is_refused(factory: StreamFactory) -> None:
    """Empty datoms, limits below one and cursors behind the end are the caller's mistakes."""
    stream = factory.make()
    for what, wrong in (
        ("an empty datom", lambda: stream.append(b"")),
        ("a limit of 0", lambda: stream.read(START, 0)),
        ("a cursor behind the end", lambda: stream.read(Cursor(1 << 40), 1)),
        ("a cursor before the start", lambda: stream.read(Cursor(-1), 1)),
    ):
        try:
            wrong()
        except UsageError:
            continue
        raise AssertionError(f"{what} is not refused with UsageError")


def descriptors_are_plain_data(factory: StreamFactory) -> None:
    """A descriptor survives encoding, and two streams have two."""
    one, other = factory.make(), factory.make()
    _require(decode(Descriptor, encode(one.descriptor)) == one.descriptor, "a descriptor changes when it is encoded")
    _require(one.descriptor.stream != other.descriptor.stream, "two streams have one identity")
    _require(isinstance(one, Stream), "the object does not have the methods of a Stream")


def nothing_is_lost_in_silence(factory: StreamFactory) -> None:
    """Random appends, reads and releases against a list: every reader sees each datom, or a Gap that says which not."""
    rng = random.Random(20)  # noqa: S311 - a fixed walk, not a secret
    stream, model, cursor, seen = factory.make(), list[tuple[int, bytes]](), START, START
    for step in range(400):
        if rng.random() < 0.6:
            datom = step.to_bytes(2, "big") * rng.randint(1, 20)
            match stream.append(datom):
                case Appended(position):
                    model.append((position, datom))
                case refused:
                    _require(refused == Full() and factory.bounded, f"an append gave {refused}")
                    if factory.release is not None:
                        factory.release(stream, seen)
                    cursor = seen
            continue
        match stream.read(cursor, rng.randint(1, 4)):
            case Data(datoms, after):
                expected = [datom for position, datom in model if cursor.position <= position < after.position]
                _require(list(datoms) == expected, "a read skipped, repeated or changed datoms")
                cursor = seen = max(seen, after)
            case Gap(earliest):
                _require(factory.bounded and earliest > cursor, "a Gap that leads nowhere")
                cursor = seen = earliest
            case Blocked():
                _require(all(position < cursor.position for position, _ in model), "Blocked before the last datom")
            case outcome:
                raise AssertionError(f"a read of an open stream gave {outcome}")


def a_bound_pushes_back(factory: StreamFactory) -> None:
    """A bounded stream that is never released ends in Full or in a Gap for who stayed at the start."""
    if not factory.bounded:
        return
    stream = factory.make()
    outcomes = [stream.append(bytes(64)) for _ in range(10_000)]
    full, gap = Full() in outcomes, isinstance(stream.read(START, 1), Gap)
    _require(full != gap, "a bounded stream took 10,000 datoms and kept them, or refused and dropped as well")
    if full and factory.release is not None:
        kept = outcomes.index(Full())
        _, cursor = _drain(stream, START, kept)
        factory.release(stream, cursor)
        _require(isinstance(stream.append(b"room again"), Appended), "a release makes no room")
        _require(isinstance(stream.read(START, 1), Gap), "a reader before what was released gets no Gap")


def reopening_keeps_everything(factory: StreamFactory) -> None:
    """A durable stream that is closed and opened again has the same datoms, positions, identity and seal."""
    if factory.reopen is None:
        return
    stream = factory.make()
    positions = [_append(stream, bytes([index]) * 100) for index in range(4)]
    descriptor, cursor = stream.descriptor, Cursor(positions[2])
    stream = factory.reopen(stream)
    _require(stream.descriptor == descriptor, "a reopened stream has another descriptor")
    _require(_drain(stream, cursor, 1)[0] == [bytes([2]) * 100, bytes([3]) * 100], "reopening loses a cursor")
    _require(_append(stream, b"more") > positions[-1], "positions start again after reopening")
    stream.seal()
    stream = factory.reopen(stream)
    _require(stream.append(b"x") == Sealed(), "a seal does not survive reopening")
    _require(len(_drain(stream, START, 10)[0]) == 5, "reopening a sealed stream loses datoms")


CHECKS: Final[tuple[Callable[[StreamFactory], None], ...]] = (
    empty_stream_blocks,
    order_and_bytes_are_kept,
    positions_grow,
    reading_does_not_destroy,
    a_blocked_cursor_goes_on,
    sealing_ends,
    misuse_is_refused,
    descriptors_are_plain_data,
    nothing_is_lost_in_silence,
    a_bound_pushes_back,
    reopening_keeps_everything,
)
"""Every check, to parametrise a test with."""


def check_stream(factory: StreamFactory) -> None:
    """Run every check.

    Raises:
        AssertionError: the first thing that is not as the contract says.
    """
    for check in CHECKS:
        check(factory)
