"""Blocks in their order: the kinds at the beginning of each, and the instructions in it up to its jump."""

from __future__ import annotations

from sojourn.vm.op import Op
from sojourn.vm.projection.calls import Calls
from sojourn.vm.projection.graph import STOPS
from sojourn.vm.projection.kinds import NATIVE, join
from sojourn.vm.projection.meter import Mode, Row
from sojourn.vm.projection.writer import State, Term

__all__ = ["Blocks"]


class Blocks(Calls):
    """Writes the instructions of one block, and finds the kinds at all of them by doing so without writing."""

    # Kinds.

    def analyse(self, entry: int, state: State) -> None:
        """Find the state at the beginning of each block, and what is returned."""
        self.states: dict[int, State] = {entry: state}
        self.pairs: dict[int, list[tuple[str, str]]] = {}
        self.carried: dict[int, list[str]] = {}  # operands of a block that only one way leads to
        self.returned = "-"
        self.out = None
        position = {start: k for k, start in enumerate(self.graph.order)}
        work = {entry}
        while work:
            start = min(work, key=position.__getitem__)
            work.discard(start)
            term = self.straight(start)
            for target, locals_ in self.trapped:
                self._merge(target, locals_, [], work)
            for target, found in ((term.then, term.then_state), (term.other, term.other_state)):
                if target >= 0 and found is not None:
                    self._merge(target, found.locals, found.kinds, work)

    def _merge(self, target: int, locals_: list[str], kinds: list[str], work: set[int]) -> None:
        if target in self.graph.traps:
            slots = {row.slot for row in self.code.handlers if row.target == self.graph.blocks[target].start}
            locals_ = ["E" if local in slots else kind for local, kind in enumerate(locals_)]
        known = self.states.get(target)
        if known is None:
            self.states[target] = State(list(locals_), [], list(kinds))
            work.add(target)
            return
        merged = self.joined(known.locals, locals_, self.code.loops)
        stack = [join(a, b) for a, b in zip(known.kinds, kinds, strict=True)]
        if merged != known.locals or stack != known.kinds:
            self.states[target] = State(merged, [], stack)
            work.add(target)

    # Blocks.

    def straight(self, start: int) -> Term:
        """The instructions of a block, except for the jump at its end."""
        self.here = start
        self.block = block = self.graph.blocks[start]
        found = self.states[start]
        names = self.carried.pop(start, None) or [f"s{k}" for k in range(len(found.kinds))]
        self.state = State(list(found.locals), names, list(found.kinds))
        self.paid = block.need
        self.parts = self.pairs.pop(start, [])
        self.trapped = []
        self.changed()
        for at in range(block.start, block.end):
            self.at = at
            op, a, b = self.code.instructions[at]
            term = self._end(op, a, b)
            if term is not None:
                return term
            self._instruction(op, a, b, at)
            self.paid -= 1
            if self.ended:
                self.ended = False
                self.line("raise S", Row(at + 1, tuple(self.state.names), self.paid, Mode.BEFORE))
                return Term()
        self.at = block.end
        return Term(then=block.next[0], then_state=self.state)

    def _fuses(self, at: int) -> bool:
        """Whether the next instruction is a branch on what this one makes."""
        return at + 2 == self.block.end and self.code.instructions[at + 1][0] in (Op.JUMP_IF_FALSE, Op.JUMP_IF_TRUE)

    def _end(self, op: int, a: int, b: int) -> Term | None:
        """The jump, if this is one; its fuel is spent."""
        if op in STOPS:
            self.line("raise S", self.before())
            return Term()
        if op == Op.RETURN:
            return self.returns()
        if op == Op.RAISE:
            return self.raises(a)
        if op == Op.JUMP:
            self.paid -= 1
            return Term(then=self.block.next[0], then_state=self.state)
        if op == Op.NEXT:
            return self._next(a, b)
        if op in (Op.JUMP_IF_FALSE, Op.JUMP_IF_TRUE):
            condition = self.condition()
            self.drop(1)
            self.paid -= 1
            return self._branch(op == Op.JUMP_IF_TRUE, condition, self.state, self.state.copy())
        if op in (Op.JUMP_IF_FALSE_OR_POP, Op.JUMP_IF_TRUE_OR_POP):
            condition = self.condition()
            self.paid -= 1
            jumping = self.state.copy()
            self.drop(1)
            return self._branch(op == Op.JUMP_IF_TRUE_OR_POP, condition, self.state, jumping)
        return None

    def _branch(self, if_true: bool, condition: str, going_on: State, jumping: State) -> Term:
        behind, target = self.block.next
        if if_true:
            return Term(condition, target, behind, jumping, going_on)
        return Term(condition, behind, target, going_on, jumping)

    def _next(self, local: int, target: int) -> Term:
        kind = self.state.locals[local]
        ended = self.state.copy()
        ended.locals[local] = "U"
        item = self.temporary()
        behind, ending = self.block.next
        if kind in NATIVE and self._native(self.here):
            self.paid -= 1
            self.push(item, "I" if kind == "r" else "S" if kind == "s" else "T" if kind == "P" else "?")
            return Term("", behind, ending, self.state, ended, slot=local)
        self.guard(f"n{local} is None")
        if kind in "rk":
            self.line(f"{item} = next(n{local}, END)")
            self.paid -= 1
            with self.deeper(f"if {item} is END:"):
                self.line(f"n{local} = q{local} = None")
            self.push(item, "I" if kind == "r" else "?")
            return Term(f"{item} is not END", behind, ending, self.state, ended)
        with self.deeper(f"if type(q{local}) in KEPT:"):
            self.line(f"n{local} = close(n{local}, q{local}); q{local} = None")
        with self.deeper(f"if type(n{local}) is Iter:"):
            left = self.paid - 1
            self.line(f"R.fuel = fuel + {left}; R.memory = mem" if left else "R.fuel = fuel; R.memory = mem")
            self.line(f"{item} = advance(R, n{local})", self.within(Mode.METER))
            self.line(f"fuel = R.fuel - {left}; mem = R.memory" if left else "fuel = R.fuel; mem = R.memory")
        with self.deeper("else:"):
            self.line(f"{item} = next(n{local}, END)")
        self.paid -= 1
        with self.deeper(f"if {item} is END:"):
            self.line(f"n{local} = q{local} = None")
        # Drawing may have spent more than was paid: stop behind it, on either way.
        with self.deeper("if fuel < 0:"):
            with self.deeper(f"if {item} is END:"):
                self.line("raise S", Row(target, tuple(self.state.names), self.paid, Mode.BEFORE))
            self.push(item, "?")
            self.line("raise S", Row(self.at + 1, tuple(self.state.names), self.paid, Mode.BEFORE))
        return Term(f"{item} is not END", behind, ending, self.state, ended)

    def _native(self, start: int) -> bool:
        """Whether a block is the head of a loop that becomes a `for`."""
        if start not in self.graph.draws:
            return False
        _, local, _ = self.code.instructions[self.graph.blocks[start].start]
        return self.states[start].locals[local] in NATIVE

    def _instruction(self, op: int, a: int, b: int, at: int) -> None:  # noqa: C901, PLR0912, PLR0915 - one table
        match op:
            case Op.CONST:
                self.push(self.constant(a), self.kind_of_constant(a))
            case Op.LOAD:
                self.load(a, self.state.locals[a])
            case Op.STORE:
                self.store(a)
            case Op.CLEAR:
                self.clear(a)
            case Op.POP:
                self.drop(1)
            case Op.DUP:
                names, kinds = self.top(a) if a else ([], [])
                self.state.names += names
                self.state.kinds += kinds
            case Op.ROT:
                if a:
                    size = len(self.state.names) - a
                    self.state.names.insert(size, self.state.names.pop())
                    self.state.kinds.insert(size, self.state.kinds.pop())
            case Op.DELETE:
                self.delete(a, b)
            case Op.LOAD_CELL:
                self.load_cell(a)
            case Op.STORE_CELL:
                (x,), _ = self.top(1)
                self.line(f"v{a}.content = {x}")
                self.drop(1)
            case Op.DELETE_CELL:
                self.delete_cell(a, b)
            case Op.NEW_CELL:
                self.new_cell(a)
            case Op.BINARY:
                self.binary(a, "binary")
            case Op.INPLACE:
                self.binary(a, "inplace")
            case Op.UNARY:
                self.unary(a)
            case Op.NOT:
                self.negate(fuse=self._fuses(at))
            case Op.COMPARE:
                self.compare(a, fuse=self._fuses(at))
            case Op.IS_NONE:
                self.is_none(a, fuse=self._fuses(at))
            case Op.IS_A:
                self.is_a(a)
            case Op.ITER:
                self.iterate(a)
            case Op.TUPLE | Op.LIST:
                self.sequence(a, mutable=op == Op.LIST)
            case Op.DICT:
                self.dictionary(a)
            case Op.SET:
                self.handled(op, a, b, a, "?")
            case Op.APPEND:
                self.append()
            case Op.PUT:
                self.put()
            case Op.EXTEND:
                self.handled(op, a, b, 2, self.state.kinds[-2])
            case Op.TUPLE_OF:
                self.handled(op, a, b, 1, "T")
            case Op.INDEX:
                self.index()
            case Op.SLICE:
                self.slice()
            case Op.STORE_INDEX:
                self.store_index()
            case Op.DELETE_INDEX:
                self.changing("delete_index", 2)
            case Op.STORE_SLICE:
                self.changing("store_slice", 5)
            case Op.DELETE_SLICE:
                self.changing("delete_slice", 4)
            case Op.UNPACK:
                self.unpack(a)
            case Op.UNPACK_REST:
                self.unpack_rest(a, b)
            case Op.ATTRIBUTE:
                self.attribute(a)
            case Op.FORMAT:
                self.format(a, b)
            case Op.FORMAT_BY:
                self.handled(op, a, b, 2, "S")
            case Op.JOIN:
                self.join(a)
            case Op.CALL:
                self.call(a, b)
            case Op.CALL_VALUE:
                self.call_value(b)
            case Op.BUILTIN:
                self.builtin(a, b)
            case Op.METHOD:
                self.method(a, b)
            case Op.CLOSURE:
                self.closure(a, b)
            case Op.BUILTIN_VALUE:
                self.builtin_value(a)
            case _:
                assert op == Op.EXCEPTION  # noqa: S101 - every other one is above, or ends the block
                self.exception(a, b)
