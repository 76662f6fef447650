"""What a run consists of while it lives: frames, budgets, and the boxes of the public world.

Costs come from the table in this module, never from the host. Memory is counted down as values are made; when the
counter runs out, the live values are counted again at that instruction, which is deterministic because the counter is
part of the state. What an instruction is still making (`Run.building`) is live too. Text, bytes and large integers
count once by value (their sharing is not kept in a snapshot), containers once by identity. A box counts what was
charged when it was made, whatever it holds. No value costs less than the bytes that it takes in a snapshot, so that
whether a state can be stored depends on its budgets only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from sojourn.labels import Label
from sojourn.limits import MAX_INSTRUCTION_FUEL
from sojourn.vm.faults import Exhausted
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
from sojourn.vm.verifier import VerifiedProgram

__all__ = [
    "BOX_BYTES",
    "CELL_BYTES",
    "FRAME_BYTES",
    "HASHED_APART",
    "MEMBER",
    "OPAQUE_BYTES",
    "REGION_BYTES",
    "SLOT",
    "TEXT_BYTES",
    "TWIN_BYTES",
    "BoxContent",
    "Frame",
    "Run",
    "by_value",
    "bytes_of_int",
    "bytes_of_label",
    "bytes_of_parts",
    "bytes_of_text",
    "size_of",
    "walk",
    "within",
]

# Bytes. A slot pays for a small number that lies in it, so that arithmetic on 64 bits is free of charge.
SLOT: Final = 40
OBJECT: Final = 56
TEXT_BYTES: Final = 48  # of text and bytes, besides their characters
KEY_AND_VALUE: Final = 3 * SLOT
MEMBER: Final = 2 * SLOT
CELL_BYTES: Final = OBJECT
EXCEPTION_BYTES: Final = 2 * OBJECT
OPAQUE_BYTES: Final = 160
BOX_BYTES: Final = 4_096  # of a box that an effect made; a region's box is charged what the region was
REGION_BYTES: Final = 256  # what a region costs at least: a box with a short error
FRAME_BYTES: Final = 200
LABEL_PAID, NAME_PAID, CLASS_PAID = 100, 90, 36  # of names: by OPAQUE_BYTES, by KEY_AND_VALUE, by OBJECT


def bytes_of_text(text: str) -> int:
    """Cost of a string."""
    return TEXT_BYTES + (len(text) if text.isascii() else 4 * len(text))


def bytes_of_parts(parts: Sequence[str]) -> int:
    """Cost of joining strings: one that is not ASCII makes every character of the result as wide."""
    width = 1 if all(map(str.isascii, parts)) else 4
    return TEXT_BYTES * len(parts) + width * sum(map(len, parts))


def bytes_of_int(bits: int) -> int:
    """Cost of an integer of so many bits; none below 64, where its slot pays."""
    return 0 if bits < 64 else 32 + bits // 8


def beyond(texts: Iterable[str], paid: int) -> int:
    """Cost of names, where they are longer than the `paid` bytes that belong to what they are part of."""
    return max(sum(3 + (len(text) if text.isascii() else 4 * len(text)) for text in texts) - paid, 0)


def bytes_of_label(label: Label) -> int:
    """Cost of a label beyond what OPAQUE_BYTES pays of it: none for one that is short."""
    return beyond(label.sources, LABEL_PAID) if label.sources else 0


def within(error: RegionError, charge: int) -> RegionError:
    """The error with as much of its text as a box of this charge pays for."""
    room = max(charge, REGION_BYTES) - OPAQUE_BYTES
    text = error.message
    if bytes_of_text(text) <= room:
        return error
    return replace(error, message=text[: (room - TEXT_BYTES) // (1 if text.isascii() else 4)])


def size_of(value: Value) -> int:  # noqa: PLR0911 - one return for each kind
    """Cost of one value without what it refers to."""
    kind = type(value)
    if kind is int:
        return bytes_of_int(value.bit_length())
    if kind is str:
        return bytes_of_text(value)
    if kind is bytes:
        return TEXT_BYTES + len(value)
    if kind is list or kind is tuple:
        return OBJECT + SLOT * len(value)
    if kind is dict:
        return OBJECT + KEY_AND_VALUE * len(value)
    if kind is Handle or kind is Box:
        return OPAQUE_BYTES + bytes_of_label(value.label)
    if kind is RecordValue:
        names = sum(beyond((name,), NAME_PAID) for name in value.fields)
        return OBJECT + KEY_AND_VALUE * len(value.fields) + beyond((value.type_name,), CLASS_PAID) + names
    if kind is SetValue:
        return OBJECT + MEMBER * len(value.items)
    if kind is Iter:
        return 2 * OBJECT + SLOT * (len(value.keys) + len(value.inner))
    if kind is FunctionValue:
        return OBJECT + SLOT * (len(value.defaults) + len(value.cells))
    if kind is Suspended:
        return sum(FRAME_BYTES + SLOT * (len(frame.locals) + len(frame.stack)) for frame in value.frames)
    return _FIXED.get(kind, 0)


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


_FIXED: Final[dict[type, int]] = {
    BuiltinValue: 0,
    Cell: CELL_BYTES,
    DictView: OBJECT,
    ExcValue: EXCEPTION_BYTES,
    range: OBJECT,
}
_BY_VALUE: Final = frozenset((int, str, bytes, Handle, Box, BuiltinValue))
_FREE: Final = frozenset((type(None), bool, float))

# The host hashes integers modulo 2**61 - 1: a program can make many that a table has in one place. The tables that the
# machine itself keeps know integers from here on by their bytes.
HASHED_APART: Final = 1 << 60

# Shorter ones are paid for, or nearly, by the slots that they lie in: each of those pays for itself.
TWIN_BYTES: Final = 80


def by_value(value: Value) -> object:
    """The key under which a text, bytes or large integer is known: no other kind has it, and no other value."""
    if type(value) is int and not -HASHED_APART < value < HASHED_APART:
        return (bytes, int, big_bytes(value))
    return (type(value), value)


def walk(
    roots: Iterable[Value], boxes: dict[bytes, BoxContent] | None = None, twins: list[int] | None = None
) -> Iterator[Value]:
    """Every value reachable from `roots` once, in a fixed order; numbers that are free of charge are left out.

    Args:
        roots: where to begin.
        boxes: with them, the walk goes on inside of boxes.
        twins: gets the bytes of each value that has `TWIN_BYTES` and equals an earlier one, but is another object.
    """
    seen: dict[object, Value] = {}
    work = list(roots)
    position = 0
    while position < len(work):
        value = work[position]
        position += 1
        kind = type(value)
        if kind in _FREE:
            continue
        if kind in _BY_VALUE:
            if id(value) in seen:  # one that many slots share is looked at once, as long as it is
                continue
            seen[id(value)] = None
            if seen.setdefault(by_value(value), value) is not value:
                if twins is not None and (size := size_of(value)) >= TWIN_BYTES:
                    twins.append(size)
                continue
        elif id(value) in seen:
            continue
        else:
            seen[id(value)] = None
        yield value
        work.extend(children(value))
        if kind is Box and boxes is not None:
            content = boxes[value.id].content
            if not isinstance(content, RegionError):
                work.append(content)


@dataclass(frozen=True, slots=True)
class BoxContent:
    """What a box holds.

    Attributes:
        content: the value, or how making it failed.
        charge: bytes that the public world pays while the box lives; does not depend on the content.
    """

    content: Value | RegionError = field(repr=False)
    charge: int


@dataclass(slots=True)
class Frame:
    """One call. `pc` is the next instruction; variables before their assignment hold `UNBOUND`."""

    function: int
    pc: int
    locals: list[Value]
    stack: list[Value]


@dataclass(slots=True)
class Run:
    """One run: the public one, or the private region that it is waiting for.

    Attributes:
        id: 32 bytes.
        label: PUBLIC for the public world, else what the region depends on.
        region: whether this is a private region.
        operation: number of the next effect.
        fuel: instructions that are left.
        memory: bytes that may be taken before the live values are counted again.
        limit: bytes that live values may cost.
        boxes: content of the boxes of the public world; empty in a region.
        building: what the current instruction is making piece by piece; empty between instructions.
        bottom: where `fuel` stands when it is spent; not 0 only where generated code counts its slice.
        least: where `fuel` stands when the current operation has used what one instruction may use.
        twins: bytes of equal values that the host held more than once when the live values were last counted. No state.
    """

    program: VerifiedProgram
    id: bytes
    label: Label
    region: bool
    operation: int
    fuel: int
    memory: int
    limit: int
    frames: list[Frame]
    boxes: dict[bytes, BoxContent]
    building: list[Value] = field(default_factory=list)
    bottom: int = 0
    least: int = 0
    twins: int = 0

    def spend(self, fuel: int) -> None:
        """Pay for work beyond the one instruction that is already paid; raises `Exhausted`."""
        if fuel > self.fuel - self.least or fuel > MAX_INSTRUCTION_FUEL:
            if fuel > self.fuel - self.bottom:
                self.fuel = self.bottom
                raise Exhausted("fuel")
            raise Exhausted("fuel", instruction=True)
        self.fuel -= fuel

    def hand_over(self, fuel: int) -> None:
        """Take off what a region or a child may use; raises `Exhausted`."""
        if fuel > self.fuel:
            self.fuel = 0
            raise Exhausted("fuel")
        self.fuel -= fuel

    def begin(self) -> int:
        """Begin an operation that pays step by step; gives what the caller puts back into `least` behind it.

        Of operations within each other only the outermost one counts.
        """
        before = self.least
        if before == self.bottom:
            self.least = max(before, self.fuel - MAX_INSTRUCTION_FUEL)
        return before

    def allocate(self, size: int) -> None:
        """Pay for memory before it is taken; raises `Exhausted`."""
        if size <= self.memory:
            self.memory -= size
            return
        if size > self.limit:
            raise Exhausted("memory")
        live = self._live()
        self.memory = max(self.limit - live, 0)
        if size > self.limit - live:
            raise Exhausted("memory")
        self.memory -= size

    @contextmanager
    def making(self, value: Value) -> Iterator[None]:
        """Count `value` among the live values while it grows within one instruction."""
        self.building.append(value)
        try:
            yield
        finally:
            self.building.pop()

    def roots(self) -> Iterator[Value]:
        """The values in all frames, in order."""
        for frame in self.frames:
            yield from frame.locals
            yield from frame.stack

    def frame_bytes(self, function: int) -> int:
        """Cost of a frame."""
        code = self.program.codes[function]
        return FRAME_BYTES + SLOT * (len(code.locals) + code.most)

    def _live(self) -> int:
        """Cost of the live values. The work is paid for by the slots looked at, whatever lies in them."""
        total = sum(self.frame_bytes(frame.function) for frame in self.frames)
        work = 0
        twins: list[int] = []
        for value in walk((*self.roots(), *self.building), twins=twins):
            size = size_of(value)
            work += 1 + (size >> 7 if type(value) not in _BY_VALUE else size >> 9)
            total += size
            if type(value) is Box:
                total += self.boxes[value.id].charge
        self.twins = sum(twins)
        self.spend(work // 8)
        return total
