"""What a run consists of while it lives: frames, budgets, and the boxes of the public world.

Memory is counted down as values are made (`costs`); when the counter runs out, the live values are counted again at
that instruction, which is deterministic because the counter is part of the state. What an instruction is still making
(`Run.building`) is live too. A box counts what was charged when it was made, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sojourn.labels import Label
from sojourn.limits import MAX_INSTRUCTION_FUEL
from sojourn.vm.costs import FRAME_BYTES, SLOT, size_of
from sojourn.vm.faults import Exhausted
from sojourn.vm.values import Box, Value
from sojourn.vm.verifier import VerifiedProgram
from sojourn.vm.walking import BY_VALUE, BoxContent, Equals, walk

__all__ = ["Frame", "Run"]


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
        equals: what is known of equal values since the live values were last counted. No state.
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
    equals: Equals | None = None

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

    def recount(self) -> None:
        """Count the live values now, where some of them were not paid for one by one; raises `Exhausted`."""
        live = self._live()
        self.memory = max(self.limit - live, 0)
        if live > self.limit:
            raise Exhausted("memory")

    @property
    def twins(self) -> int:
        """Bytes of equal values that the host held more than once when the live values were last counted."""
        return self.equals.twins if self.equals is not None else 0

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
        self.spend(total >> 10)  # slots of frames that hold nothing are looked at too
        work = 0
        if self.equals is None:
            self.equals = Equals()
        self.equals.begin()
        for value in walk((*self.roots(), *self.building), equals=self.equals):
            size = size_of(value)
            work += 1 + (size >> 7 if type(value) not in BY_VALUE else size >> 9)
            if work >> 9:  # while it goes on: a child with little fuel is not looked at for long
                self.spend(work >> 3)
                work &= 7
            total += size
            if type(value) is Box:
                total += self.boxes[value.id].charge
        self.equals.end()
        self.spend(work >> 3)
        return total
