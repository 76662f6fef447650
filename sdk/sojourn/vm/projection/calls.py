"""Calls between generated functions, functions as values, and the ways out of a function."""

from __future__ import annotations

from sojourn.vm.costs import CELL_BYTES, FRAME_BYTES, SLOT
from sojourn.vm.program import NAMED, REST
from sojourn.vm.projection.kinds import kind_of
from sojourn.vm.projection.meter import Mode, Row
from sojourn.vm.projection.objects import Objects
from sojourn.vm.projection.writer import Term

__all__ = ["Calls"]


class Calls(Objects):
    """Writes calls. A call is a call of the host's, so that no frame is made while nothing stops."""

    returned = "-"  # the kind of what the function returns
    ended = False  # control does not go on behind the call
    entered = False  # the stepper's frame is below: it also returns

    def call(self, function: int, _shape: int) -> None:
        """CALL: bound beforehand."""
        program = self.context.program
        callee, bound = program.codes[function], self.code.calls[self.at]
        values, value_kinds = self.top(bound.total)
        args, kinds = [], []
        size = FRAME_BYTES + SLOT * (len(callee.locals) + callee.most) + CELL_BYTES * len(callee.cells)
        for source in bound.sources:
            if source >= 0:
                args.append(values[source])
                kinds.append(value_kinds[source])
                continue
            index = -1 - source
            default = (*callee.defaults, *callee.keyword_defaults)[index]
            if type(callee.constant_defaults[index]) is tuple:
                self._left(bound.total)
                return
            args.append(self.constant(default))
            kinds.append(self.kind_of_constant(default))
        if callee.flags & REST:
            size += 56 + 40 * len(bound.rest)
            args.append(f"({''.join(f'{values[at]}, ' for at in bound.rest)})")
            kinds.append("T")
        if callee.flags & NAMED:
            size += 56 + 120 * len(bound.named)
            words = [(self.object(f"y{self.function}_{self.at}_{at}", name), at) for name, at in bound.named]
            args.append(f"{{{', '.join(f'{word}: {values[at]}' for word, at in words)}}}")
            kinds.append("D")
        known = tuple(kinds)
        made = self.context.result(function, known)
        self.stop(f"not d or mem < {size}")
        self.line(f"fuel_ = fuel; mem_ = mem - {size}")
        self.drop(bound.total)
        name = self.context.callee(function, known) if self.out is not None else "g"
        self._calling(f"{self.temporary()} = {name}({', '.join([*args, 'd - 1'])})")
        self.ended = made == "-"  # nothing is known to come back, so far or at all
        self.push(self.temporary(), "?" if self.ended else made)
        self._go_on()

    def kind_of_constant(self, index: int) -> str:
        """The kind of a constant."""
        return kind_of(self.context.program.constants[index])

    def _left(self, count: int) -> None:
        """An instruction that is always the stepper's."""
        self.line("raise S", self.before())
        self.replace(count, "None", "?")
        self._go_on()

    def _calling(self, text: str) -> None:
        self.line(text, Row(self.at + 1, tuple(self.state.names), 0, Mode.CALLING))

    def _go_on(self) -> None:
        """Pay for what follows a call."""
        need = self.graph.stretch(self.code, self.here, self.at + 1)
        self.line(f"fuel = fuel_ - {need}; mem = mem_" if need else "fuel = fuel_; mem = mem_")
        self.paid = need + 1
        if need:
            self.after(need)

    def call_value(self, shape: int) -> None:
        """CALL_VALUE: of a function with exactly these parameters, or of a builtin; others are the stepper's."""
        wanted = self.context.program.program.shapes[shape]
        (callee, *args), (kind, *kinds) = self.top(wanted.total + 1)
        if wanted.names:
            self._left(wanted.total + 1)
            return
        if kind[0] == "f" and self._known(int(kind[1:]), callee, args, kinds):
            return
        t = self.temporary()
        table = f"u{wanted.positional}"
        if self.out is not None:
            self.context.values(wanted.positional)
        test = f"type({callee}) is FunctionValue and {callee}.function in {table}"
        with self.deeper(f"if {test}:"):
            self.line(f"{t}, size = {table}[{callee}.function]")
            self.stop("not d or mem < size")
            self.line("fuel_ = fuel; mem_ = mem - size")
            state = self.state.copy()
            self.drop(wanted.total + 1)
            self._calling(f"{t} = {t}({', '.join([*args, f'{callee}.cells', 'd - 1'])})")
            self.state = state
        with self.deeper(f"elif type({callee}) is BuiltinValue:"):
            self.line("R.fuel = fuel; R.memory = mem")
            self.line(f"{t} = call_value(R, {callee}, [{', '.join(args)}], {{}})", self.within(Mode.METER))
            self.line("fuel_ = R.fuel; mem_ = R.memory")
        with self.deeper("else:"):
            self.line("raise S", self.before())
        self.replace(wanted.total + 1, t, "?")
        self._go_on()

    def _known(self, function: int, callee: str, args: list[str], kinds: list[str]) -> bool:
        """A call of a value that is known to be a certain function; False where its parameters are not just these."""
        code = self.context.program.codes[function]
        if code.params != len(args) or code.keyword_only or code.flags or "U" in kinds or "!" in kinds:
            return False
        size = FRAME_BYTES + SLOT * (len(code.locals) + code.most) + CELL_BYTES * len(code.cells)
        self.stop(f"not d or mem < {size}")
        self.line(f"fuel_ = fuel; mem_ = mem - {size}")
        self.drop(len(args) + 1)
        name = self.context.valued(function, tuple(kinds)) if self.out is not None else "g"
        self._calling(f"{self.temporary()} = {name}({', '.join([*args, f'{callee}.cells', 'd - 1'])})")
        self.push(self.temporary(), "?")
        self._go_on()
        return True

    def closure(self, function: int, count: int) -> None:
        made = self.context.program.codes[function]
        defaults, _ = self.top(count)
        self.take_memory(str(56 + 40 * (count + len(made.captures))))
        name = self.object(f"o{function}", made.name)
        cells = "".join(f"v{local}, " for local in made.captures)
        values = "".join(f"{value}, " for value in defaults)
        self.line(f"{self.temporary()} = FunctionValue({function}, {name}, ({values}), ({cells}))")
        self.replace(count, self.temporary(), f"f{function}")

    def returns(self) -> Term:
        (x,), (kind,) = self.top(1)
        self.returned = self.joined([self.returned], [kind], frozenset())[0]
        if self.entered:
            self.line("raise S", self.before())
            return Term()
        left = self.paid - 1
        self.line(f"fuel_ = fuel + {left}; mem_ = mem" if left else "fuel_ = fuel; mem_ = mem")
        self.line(f"return {x}")
        return Term()

    def raises(self, cause: int) -> Term:
        (x,), (kind,) = self.top(1)
        line = self.code.lines[self.at]
        if cause or not line or (kind != "E" and self.generic):
            self.line("raise S", self.before())
            return Term()
        if kind != "E":
            self.guard(f"type({x}) is not ExcValue")
        with self.deeper(f"if not {x}.line:"):
            self.line(f"{x}.line = {line}")
        if self.block.trap < 0:
            left = self.paid - 1
            self.line(f"fuel_ = fuel + {left}; mem_ = mem" if left else "fuel_ = fuel; mem_ = mem")
            self.line(f"raise V({x}.name, '', {x})", self.within(Mode.CALLING))
            return Term()
        slot = self.code.handlers[self.code.handler_at[self.at]].slot
        self.paid -= 1
        self.drop(len(self.state.names))
        if x != f"v{slot}":
            self.line(f"v{slot} = {x}")
        self.state.locals[slot] = "E"
        return Term(then=self.block.trap, then_state=self.state)
