"""What can be reached from values, and which long ones are equal.

Text, bytes and large integers count once by value (their sharing is not kept in a snapshot), everything else once by
identity. To find equal ones they are hashed and compared, which takes as long as they are: `Equals` remembers what an
earlier walk has met of long ones, so that this is done once for each that a program makes, however often live values
are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sojourn.vm.costs import size_of
from sojourn.vm.program import big_bytes
from sojourn.vm.values import (
    Box,
    BuiltinValue,
    Cell,
    DictView,
    ExcValue,
    FunctionValue,
    Handle,
    Iter,
    RecordValue,
    RegionError,
    SetValue,
    Suspended,
    Value,
)

if TYPE_CHECKING:
    from sojourn.vm.state import Run

__all__ = ["BY_VALUE", "HASHED_APART", "TWIN_BYTES", "BoxContent", "Equals", "by_value", "paid_walk", "walk", "work_of"]


@dataclass(frozen=True, slots=True)
class BoxContent:
    """What a box holds.

    Attributes:
        content: the value, or how making it failed.
        charge: bytes that the public world pays while the box lives; does not depend on the content.
    """

    content: Value | RegionError = field(repr=False)
    charge: int


def children(value: Value) -> Iterable[Value]:  # noqa: PLR0911 - one return for each kind
    """What a value refers to, in a fixed order. A box refers to nothing here."""
    kind = type(value)
    if kind is list or kind is tuple:
        return value  # type: ignore[no-any-return]
    if kind is dict:
        return (*value, *value.values())
    if kind is RecordValue:
        return value.fields.values()  # type: ignore[no-any-return]
    if kind is Iter:
        return (value.source, *value.keys, *value.inner)
    if kind is range:
        return (value.start, value.stop, value.step)
    if kind is SetValue:
        return value.items  # type: ignore[no-any-return]
    if kind is Cell:
        return (value.content,)
    if kind is FunctionValue:
        return (*value.defaults, *value.cells)
    if kind is ExcValue:
        return (value.args,)
    if kind is Suspended:
        return [item for frame in value.frames for item in (*frame.locals, *frame.stack)]
    return (value.mapping,) if kind is DictView else ()


# The host hashes integers modulo 2**61 - 1: a program can make many that a table has in one place. The tables that the
# machine itself keeps know integers from here on by their bytes.
HASHED_APART: Final = 1 << 60

# Shorter ones are paid for, or nearly, by the slots that they lie in: each of those pays for itself.
TWIN_BYTES: Final = 80

# From here on it pays to remember what a value is equal to.
LONG_BYTES: Final = 512

BY_VALUE: Final = frozenset((int, str, bytes, Handle, Box, BuiltinValue))
_FREE: Final = frozenset((type(None), bool, float))
_LEAST, _MOST = -(1 << 63), 1 << 63  # integers between them are free of charge too


def by_value(value: Value) -> object:
    """The key under which a text, bytes or large integer is known: no other kind has it, and no other value."""
    if type(value) is int and not -HASHED_APART < value < HASHED_APART:
        return (bytes, int, big_bytes(value))
    return (type(value), value)


class Equals:
    """The long texts, bytes and integers of a run by value, as the last count of its live values has met them.

    They are kept until the next count, so that no identity is used twice.

    Attributes:
        twins: bytes of what has `TWIN_BYTES` and equals an earlier value of this walk, but is another object.
    """

    __slots__ = ("_keys", "_known", "_met", "_of", "twins")

    def __init__(self) -> None:
        self._of: dict[int, tuple[Value, object]] = {}  # a value and its key, by the value's identity
        self._keys: dict[object, object] = {}  # the one object for all equal keys
        self.begin()

    def begin(self) -> None:
        """Begin a walk."""
        self._known: dict[int, tuple[Value, object]] = {}
        self._met: dict[int, object] = {}
        self.twins = 0

    def first(self, value: Value, size: int) -> bool:
        """Whether the walk meets a value of `size` bytes for the first time."""
        entry = self._of.get(id(value))
        if entry is None:
            key = by_value(value)
            entry = (value, self._keys.setdefault(key, key))
        self._known[id(value)] = entry
        if id(entry[1]) in self._met:
            self.twins += size
            return False
        self._met[id(entry[1])] = entry[1]
        return True

    def end(self) -> None:
        """End the walk: what it has not met is forgotten."""
        self._of = self._known
        self._keys = {key: key for key in self._met.values()}


def walk(
    roots: Iterable[Value], boxes: dict[bytes, BoxContent] | None = None, equals: Equals | None = None
) -> Iterator[Value]:
    """Every value reachable from `roots` once, in a fixed order; numbers that are free of charge are left out.

    Args:
        roots: where to begin.
        boxes: with them, the walk goes on inside of boxes.
        equals: remembers which long values are equal, and counts twins.
    """
    seen: set[object] = set()  # identities, and keys of what is equal by value
    texts: set[Value] = set()  # without keys: there may be many short ones
    work = list(roots)
    position = 0
    while position < len(work):
        value = work[position]
        position += 1
        kind = type(value)
        if kind in _FREE or (kind is int and _LEAST < value < _MOST):
            continue
        if kind is str and len(value) < 32 and (len(value) < 8 or value.isascii()):  # no twin, see `TWIN_BYTES`
            if value in texts:
                continue
            texts.add(value)
        elif id(value) in seen:  # one that many slots share is looked at once, as long as it is
            continue
        else:
            seen.add(id(value))
            if kind in BY_VALUE:
                size = size_of(value)
                if equals is not None and size >= LONG_BYTES:
                    if not equals.first(value, size):
                        continue
                elif (key := by_value(value)) in seen:
                    if equals is not None and size >= TWIN_BYTES:
                        equals.twins += size
                    continue
                else:
                    seen.add(key)
        yield value
        work.extend(children(value))
        if kind is Box and boxes is not None:
            content = boxes[value.id].content
            if not isinstance(content, RegionError):
                work.append(content)


def work_of(value: Value) -> int:
    """Fuel for looking at a value and all that it refers to, in eighths of a unit; as a copy of it costs."""
    return 1 if type(value) in BY_VALUE else 1 + (size_of(value) >> 9 << 3)


def paid_walk(run: Run, roots: Iterable[Value]) -> Iterator[Value]:
    """As `walk`, paid for by `run` while it goes on."""
    work = 0
    for value in walk(roots):
        work += work_of(value)
        if work >> 3:
            run.spend(work >> 3)
            work &= 7
        yield value
