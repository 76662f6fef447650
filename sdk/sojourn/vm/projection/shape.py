"""Control flow as nested Python: branches, loops and `try` come out of the dominator tree.

A block that several ways lead to is written behind all that they pass. A way to it is then to fall out of the nested
statements; where it has to skip other blocks on its way, `b` says where it goes and those are behind a test of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sojourn.vm.op import Op
from sojourn.vm.projection.leaves import Leaves
from sojourn.vm.projection.meter import Mode, Row
from sojourn.vm.projection.writer import Line, State, Term

__all__ = ["Shape"]


@dataclass(slots=True)
class _Place:
    """Something around the current line: a block that comes behind it, or the loop it is in."""

    block: int
    loop: bool
    native: bool = False
    exits: list[int] = field(default_factory=list)


class Shape(Leaves):
    """Writes a function out of its blocks."""

    # Structure.

    def write(self, entry: int) -> list[Line]:
        """The body of the function."""
        self.places: list[_Place] = []
        self.tested: set[int] = set()
        self.out = []
        self.indent = 0
        if self._native(entry):
            self._charge(entry, 0, entry)
        self._node(entry)
        lines = self.out
        self.out = None
        for line in lines:
            if line.only_for >= 0 and line.only_for not in self.tested:
                line.text = "pass"
        return lines

    def _capture(self) -> list[Line]:
        """Begin to collect lines on their own; the lines so far."""
        before, self.out = self.out, []
        assert before is not None  # noqa: S101 - lines are collected only while they are written
        return before

    def _node(self, start: int) -> bool:
        """A block and all that it dominates; whether control can come out at its end."""
        after = self.graph.after.get(start, [])
        if start not in self.graph.loops:
            return self._body(start)
        for block in reversed(after):
            self.places.append(_Place(block, loop=False))
        before = self._capture()
        loop = _Place(start, loop=True, native=self._native(start))
        self.places.append(loop)
        if loop.native:
            self._for(start, loop)
        else:
            with self.deeper("while True:"):
                self._body(start)
        self.places.pop()
        falls = self._leave_loop(loop)
        lines, self.out = self.out or [], before
        return self._behind(lines, after, falls)

    def _for(self, start: int, loop: _Place) -> None:
        """A loop over an iterator of the host's. Fuel for its head is paid on each way into it."""
        term = self.straight(start)
        local = term.slot
        at, need = self.at, self.graph.blocks[start].need
        kind = self.states[start].locals[local]
        undrawn = Row(at, tuple((term.other_state or self.state).names), need, Mode.BEFORE)
        with self.deeper(f"for t{at} in n{local}:"):
            size = {"s": 49, "P": 136}.get(kind, 0)
            tests = [f"mem < {size}"] if size else []
            if kind in "KVP":
                tests += [f"len(m{local}) != l{local}", f"t{at} not in m{local}"]
            if tests:
                with self.deeper(f"if {' or '.join(tests)}:"):
                    self.line(f"n{local} = back(n{local}, q{local})")
                    self.line("raise S", undrawn)
            if size:
                self.line(f"mem -= {size}")
            if kind == "V":
                self.line(f"t{at} = m{local}[t{at}]")
            elif kind == "P":
                self._pair(local, at, term)
            self._following(start, term.then, term.then_state or self.state, self.paid)
        with self.deeper("else:"):
            if kind in "KVP":
                with self.deeper(f"if len(m{local}) != l{local}:"):
                    self.line(f"n{local} = ended(q{local})")
                    self.line("raise S", undrawn)
            self.line(f"n{local} = q{local} = None")
            ended = term.other_state or self.state
            self._edge(start, term.other, ended, self.graph.blocks[start].need - 1)
            self.line(f"b = {term.other}")
            if term.other not in loop.exits:
                loop.exits.append(term.other)

    def _pair(self, local: int, at: int, term: Term) -> None:
        """A key and its value: as a tuple, unless that is taken apart at once."""
        block = self.graph.blocks[term.then]
        if self.code.instructions[block.start][:2] == (Op.UNPACK, 2) and term.then in self.graph.children:
            self.line(f"t{at}_1 = m{local}[t{at}]")
            self.pairs[term.then] = [(f"t{at}", "?"), (f"t{at}_1", "?")]
        else:
            self.line(f"t{at} = (t{at}, m{local}[t{at}])")

    def _leave_loop(self, loop: _Place) -> bool:
        """Behind a loop: go where its `break` was meant to go."""
        if len(loop.exits) <= 1:
            return self._go(loop.exits[0]) if loop.exits else False
        falls = False
        self.tested.update(loop.exits)
        for target in loop.exits:
            before = self._capture()
            self.indent += 1
            falls = self._go(target) or falls
            self.indent -= 1
            lines, self.out = self.out or [], before
            if any(line.only_for < 0 for line in lines):
                self.line(f"if b == {target}:")
                before.extend(lines)
        return falls

    def _behind(self, lines: list[Line], blocks: list[int], falls: bool) -> bool:
        """`lines`, then the blocks that come behind them; those that handle exceptions get a `try` around the rest."""
        for block in blocks:
            place = self.places.pop()
            if block not in self.states:  # nothing leads to it
                continue
            if block in self.graph.traps:
                lines = self._guarded(lines, block)
            before = self._capture()
            test = block in self.tested
            self.indent += test
            falls = self._node(block) or (falls and test)
            self.indent -= test
            written, self.out = self.out or [], before
            if test:
                lines.append(Line(self.indent, f"if b == {block}:"))
                written = written or [Line(self.indent + 1, "pass")]
            lines.extend(written)
            del place
        assert self.out is not None  # noqa: S101 - as in _capture
        self.out.extend(lines)
        return falls

    def _guarded(self, lines: list[Line], target: int) -> list[Line]:
        at = self.graph.blocks[target].start
        slot = next(row.slot for row in self.code.handlers if row.target == at)
        pad = self.indent
        body = [Line(line.indent + 1, line.text, line.row, line.only_for) for line in lines]
        return [
            Line(pad, "try:"),
            *(body or [Line(pad + 1, "pass")]),
            Line(pad, "except W as e:"),
            Line(pad + 1, f"if not H(e, Y, fuel, mem, {at}):"),
            Line(pad + 2, "raise"),
            Line(pad + 1, f"v{slot} = e.value; fuel = fuel_; mem = mem_"),
            Line(pad + 1, f"b = {target}", only_for=target),
        ]

    def _body(self, start: int) -> bool:
        merges = self.graph.merges.get(start, [])
        for block in reversed(merges):
            self.places.append(_Place(block, loop=False))
        before = self._capture()
        need = self.graph.blocks[start].need
        if start in self.graph.paying:
            self.line(f"fuel -= {need}")
            with self.deeper("if fuel < 0:"):
                names = tuple(f"s{k}" for k in range(len(self.states[start].kinds)))
                self.line("raise S", Row(self.graph.blocks[start].start, names, need, Mode.BEFORE))
        falls = self._ending(start, self.straight(start))
        lines, self.out = self.out or [], before
        return self._behind(lines, merges, falls)

    def _ending(self, start: int, term: Term) -> bool:
        paid = self.paid
        if not term.condition:
            return term.then >= 0 and self._following(start, term.then, term.then_state or self.state, paid)
        ways = []
        for target, state in ((term.then, term.then_state), (term.other, term.other_state)):
            before = self._capture()
            self.indent += 1
            falls = self._following(start, target, state or self.state, paid)
            self.indent -= 1
            lines, self.out = self.out or [], before
            ways.append((lines, falls))
        (yes, yes_falls), (no, no_falls) = ways
        out = self.out
        assert out is not None  # noqa: S101 - as in _capture
        # Neither is empty: a way says at least where it goes, or leaves.
        if not no_falls:
            self._one_way(f"if not ({term.condition}):", no)
            self._same_level(yes)
        else:
            self._one_way(f"if {term.condition}:", yes)
            if yes_falls:
                self.line("else:")
                out.extend(no)
            else:
                self._same_level(no)
        return yes_falls or no_falls

    def _one_way(self, heading: str, lines: list[Line]) -> None:
        self.line(heading)
        (self.out or []).extend(lines)

    def _same_level(self, lines: list[Line]) -> None:
        """Lines that no `else` is needed for: the other way does not come here."""
        for line in lines:
            line.indent -= 1
        (self.out or []).extend(lines)

    # Ways from block to block.

    def _following(self, start: int, target: int, state: State, paid: int) -> bool:
        """Go from a block to the next, `paid` units of fuel ahead; whether control comes out behind."""
        if target in self.graph.children and self.graph.idom[target] == start:
            if target not in self.graph.paying:
                self.carried[target] = list(state.names)
                state = State(state.locals, [], [])
            self._edge(start, target, state, paid)
            return self._node(target)
        self._edge(start, target, state, paid)
        return self._go(target)

    def _edge(self, start: int, target: int, state: State, paid: int) -> None:
        size = len(state.names)
        moved = [(f"s{k}", name) for k, name in enumerate(state.names) if name != f"s{k}"]
        if moved:
            self.line(f"{', '.join(to for to, _ in moved)} = {', '.join(name for _, name in moved)}")
        if target in self.graph.paying:
            if self._native(target):
                self._charge(target, paid, size)
            elif paid:
                self.line(f"fuel += {paid}")
        elif paid != self.graph.blocks[target].need:
            self.line(f"fuel += {paid - self.graph.blocks[target].need}")

    def _charge(self, target: int, paid: int, _size: int) -> None:
        """Pay for the head of a `for` before it draws."""
        need = self.graph.blocks[target].need
        if paid >= need:
            if paid > need:
                self.line(f"fuel += {paid - need}")
            return
        self.line(f"fuel -= {need - paid}")
        names = tuple(f"s{k}" for k in range(len(self.states[target].kinds)))
        with self.deeper("if fuel < 0:"):
            self.line("raise S", Row(self.graph.blocks[target].start, names, need, Mode.BEFORE))

    def _go(self, target: int) -> bool:
        """Jump; whether it is done by falling out of the statements here."""
        near = self.places[::-1]
        # There is one: a graph that is reducible, with handlers that are only raised to.
        found = next(k for k, place in enumerate(near) if place.loop or place.block == target)
        place, skipped = near[found], [further.block for further in near[:found]]
        if place.block == target and place.loop:
            self.line("continue")
            return False
        if place.block == target:
            self.tested.update(skipped)
            self._say(target, always=bool(skipped))
            return True
        self._say(target, always=False)
        self.line("break")
        if target not in place.exits:
            place.exits.append(target)
        return False

    def _say(self, target: int, *, always: bool) -> None:
        assert self.out is not None  # noqa: S101 - as in _capture
        self.out.append(Line(self.indent, f"b = {target}", None, -1 if always else target))
