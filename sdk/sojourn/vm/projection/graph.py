"""The control flow of one function from one entry: blocks, dominators, loops, and what a block pays ahead.

Fuel is paid where control enters a stretch (the entry, a loop's head, what follows a loop, a handler, and behind each
call) for the longest way through it; a shorter way gives the rest back. A function whose flow is not made of nested
loops and branches has no graph: the stepper runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sojourn.vm.op import ISA, Op, Operand
from sojourn.vm.reach import Code

__all__ = ["CALLS", "STOPS", "Block", "Graph", "Unprojectable"]

# Always left to the stepper: they end in the host or in another run, or are rare.
STOPS: Final = frozenset(
    (Op.EFFECT, Op.PRIVATE, Op.PRIVATE_VALUE, Op.FORK, Op.SPAWN, Op.HERE, Op.CALL_SPREAD)
)  # fmt: skip
CALLS: Final = frozenset((Op.CALL, Op.CALL_VALUE))
_OF_SLOTS: Final = frozenset((Op.ITER, Op.NEXT, Op.CLEAR))
MAX_BLOCKS: Final = 500  # the host nests some 300 statements; and dominators take the square of it
MAX_NESTED: Final = 20  # loops within each other, as the host has them
COPY: Final = 1 << 20


class Unprojectable(Exception):
    """The stepper has to run this."""


@dataclass(slots=True)
class Block:
    """Instructions that follow each other.

    Attributes:
        start, end: instructions `start` to `end - 1`.
        next: where control goes on; for a branch first the next instruction, then the jump's target.
        trap: where an exception in it goes on; -1 for out of the function.
        need: fuel of the longest way from here to where fuel is paid again.
    """

    start: int
    end: int
    next: tuple[int, ...]
    trap: int
    need: int = 0


@dataclass(slots=True)
class Graph:
    """See the module; `order` is a reverse postorder. A block is known by its first instruction, a copy by `COPY` more.

    Attributes:
        loops: for each head, the blocks of its loop.
        inside: for each block, the heads of the loops around it.
        draws: heads of the loops that may become a `for` of the host's.
        paying: blocks that pay on entry.
        children: blocks that are written where their only predecessor jumps to them.
        merges: for each block, blocks that are written after all that it dominates before them, in order.
        after: for each loop's head, blocks that are written after the loop, in order.
    """

    blocks: dict[int, Block]
    entry: int
    order: list[int] = field(default_factory=list)
    idom: dict[int, int] = field(default_factory=dict)
    loops: dict[int, set[int]] = field(default_factory=dict)
    inside: dict[int, list[int]] = field(default_factory=dict)
    draws: set[int] = field(default_factory=set)
    paying: set[int] = field(default_factory=set)
    children: set[int] = field(default_factory=set)
    merges: dict[int, list[int]] = field(default_factory=dict)
    after: dict[int, list[int]] = field(default_factory=dict)
    traps: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, code: Code, entry: int) -> Graph:
        """The graph; raises `Unprojectable`."""
        if len({row.target for row in code.handlers}) < len({(row.target, row.slot) for row in code.handlers}):
            raise Unprojectable  # no compiler has two variables take the exception at one place
        blocks = _blocks(code, entry)
        inner = _inner(code, entry, blocks)
        if inner:
            blocks, entry = _unrolled(blocks, inner), entry + COPY
        graph = cls(blocks, entry)
        graph._number(entry)
        graph._dominate(entry)
        graph._find_loops(code)
        graph._place(entry)
        graph._pay(code, entry)
        return graph

    def edges(self, start: int) -> list[int]:
        """All successors of a block, the handler of its exceptions included."""
        block = self.blocks[start]
        return [*block.next, *([block.trap] if block.trap >= 0 else [])]

    def _number(self, entry: int) -> None:
        state = {entry: 1}
        work: list[tuple[int, list[int]]] = [(entry, self.edges(entry))]
        while work:
            start, left = work[-1]
            if left:
                following = left.pop()
                if following not in state:
                    state[following] = 1
                    work.append((following, self.edges(following)))
            else:
                work.pop()
                self.order.append(start)
        self.order.reverse()

    def _dominate(self, entry: int) -> None:
        position = {start: k for k, start in enumerate(self.order)}
        before: dict[int, list[int]] = {start: [] for start in self.order}
        for start in self.order:
            for following in self.edges(start):
                before[following].append(start)
        idom = self.idom
        idom[entry] = entry
        changed = True
        while changed:
            changed = False
            for start in self.order[1:]:
                known = [k for k in before[start] if k in idom]
                best = known[0]
                for further in known[1:]:
                    other = further
                    while best != other:
                        while position[best] > position[other]:
                            best = idom[best]
                        while position[other] > position[best]:
                            other = idom[other]
                if idom.get(start) != best:
                    idom[start] = best
                    changed = True
        for start in self.order:
            for following in self.edges(start):
                if position[following] <= position[start]:
                    if not self._dominates(following, start) or following == self.blocks[start].trap:
                        raise Unprojectable
                    self._loop(following, start, before)

    def _dominates(self, one: int, other: int) -> bool:
        while other != one:
            up = self.idom[other]
            if up == other:
                return False
            other = up
        return True

    def _loop(self, head: int, last: int, before: dict[int, list[int]]) -> None:
        body = self.loops.setdefault(head, {head})
        if sum(map(len, self.loops.values())) > MAX_NESTED * len(self.order):
            raise Unprojectable
        work = [last]
        while work:
            start = work.pop()
            if start not in body:
                body.add(start)
                work.extend(before[start])

    def _find_loops(self, code: Code) -> None:
        heads = sorted(self.loops, key=lambda head: -len(self.loops[head]))
        self.inside = {start: [head for head in heads if start in self.loops[head]] for start in self.order}
        self.draws = {head for head in heads if self._draws(code, head)}

    def _draws(self, code: Code, head: int) -> bool:
        """Whether a loop draws from an iterator, ends where that ends, and nothing else in it touches the iterator.

        Drawing is not guarded inside of it: the handler would be written beside the `for`.
        """
        block, body = self.blocks[head], self.loops[head]
        op, slot, _ = code.instructions[block.start]
        if op != Op.NEXT or block.next[1] in body or block.trap in body:
            return False
        inside = (at for start in body for at in range(self.blocks[start].start, self.blocks[start].end))
        return sum(code.instructions[at][0] in _OF_SLOTS and code.instructions[at][1] == slot for at in inside) == 1

    def _place(self, entry: int) -> None:
        count = dict.fromkeys(self.order, 0)
        for start in self.order:
            block = self.blocks[start]
            for following in block.next:
                if not (following in self.loops and start in self.loops[following]):
                    count[following] += 1
            if block.trap >= 0:
                self.traps.add(block.trap)
        if any(following in self.traps for block in self.blocks.values() for following in block.next):
            raise Unprojectable  # a handler that is jumped to: there its variable may hold anything
        for start in self.order:
            if start == entry:
                continue
            owner = self.idom[start]
            left = [head for head in self.inside[owner] if start not in self.loops[head]]
            if left:
                self.after.setdefault(left[0], []).append(start)
            elif count[start] > 1 or start in self.traps:
                self.merges.setdefault(owner, []).append(start)
            else:
                self.children.add(start)

    def _pay(self, code: Code, entry: int) -> None:
        self.paying = {entry, *self.loops, *self.traps}
        for start in self.order:
            for following in self.blocks[start].next:
                if set(self.inside[start]) - set(self.inside[following]):
                    self.paying.add(following)
        for start in reversed(self.order):
            block = self.blocks[start]
            block.need = self.stretch(code, start, block.start)

    def stretch(self, code: Code, start: int, position: int) -> int:
        """Fuel to pay at `position` of a block: up to its next call, or to where fuel is paid again."""
        block = self.blocks[start]
        for at in range(position, block.end):
            if code.instructions[at][0] in CALLS:
                return at + 1 - position
        more = [self.blocks[k].need for k in block.next if k not in self.paying]
        return block.end - position + max(more, default=0)


def _blocks(code: Code, entry: int) -> dict[int, Block]:
    starts = {0, entry}
    for at, (op, a, b) in enumerate(code.instructions):
        spec = ISA[op]
        if spec.on_jump is not None:
            starts |= {b if spec.b is Operand.TARGET else a, at + 1}
        elif spec.ends or op in STOPS:
            starts.add(at + 1)
    for row in code.handlers:
        starts |= {row.start, row.end, row.target}
    found: dict[int, Block] = {}
    work = [entry]
    while work:
        start = work.pop()
        if start in found:
            continue
        found[start] = block = _block(code, start, starts)
        work += block.next
        if block.trap >= 0:
            work.append(block.trap)
        if len(found) > MAX_BLOCKS:
            raise Unprojectable
    return found


def _inner(code: Code, entry: int, blocks: dict[int, Block]) -> set[int]:
    """The blocks of the loop that begins at the entry, where it lies in another loop."""
    last = max(
        (at for at, (op, a, b) in enumerate(code.instructions) if at >= entry and _target(op, a, b) == entry),
        default=-1,
    )
    inside = {start for start in blocks if entry <= start <= last}
    around = any(
        following in inside
        for start, block in blocks.items()
        if start not in inside
        for following in (*block.next, block.trap)
    )
    return inside if around else set()


def _target(op: int, a: int, b: int) -> int:
    spec = ISA[op]
    return -1 if spec.on_jump is None else b if spec.b is Operand.TARGET else a


def _unrolled(blocks: dict[int, Block], inner: set[int]) -> dict[int, Block]:
    """The inner loop, entered at its head, stands before everything else once more: so the outer one has one entry."""

    def moved(start: int) -> int:
        return start + COPY if start in inner else start

    copies = {
        start + COPY: Block(block.start, block.end, tuple(map(moved, block.next)), moved(block.trap))
        for start, block in blocks.items()
        if start in inner
    }
    return {**copies, **blocks}


def _block(code: Code, start: int, starts: set[int]) -> Block:
    handler = code.handler_at[start]
    trap = code.handlers[handler].target if handler >= 0 else -1
    at = start
    while True:
        op, a, b = code.instructions[at]
        spec = ISA[op]
        at += 1
        if op in STOPS:
            return Block(start, at, (), trap)
        if spec.on_jump is not None:
            target = b if spec.b is Operand.TARGET else a
            return Block(start, at, (target,) if spec.ends else (at, target), trap)
        if spec.ends:
            return Block(start, at, (), trap)
        if at in starts:
            return Block(start, at, (at,), trap)
