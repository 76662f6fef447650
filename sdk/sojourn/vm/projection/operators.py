"""Operators: a fast way for known kinds, a guess where one operand is known, the machine's operation for the rest."""

from __future__ import annotations

from typing import Final

from sojourn.vm.keys import LONG_KEY
from sojourn.vm.op import BINARY, COMPARE, UNARY, Op, stack_effect
from sojourn.vm.projection.kinds import NUMBERS, PLAIN
from sojourn.vm.projection.writer import Writer

__all__ = ["Operators"]

DIGIT: Final = 1 << 30  # comparisons of integers below it are the host's fastest
_SMALL: Final = f"-{DIGIT} < {{0}} < {DIGIT}"
_NOT_SMALL: Final = f"({{0}} > {DIGIT - 1} or {{0}} < {1 - DIGIT}) and not NLIM < {{0}} < LIM"
_TOO_LARGE: Final = {1: f"{{0}} > {DIGIT - 1} and {{0}} >= LIM", -1: f"{{0}} < {1 - DIGIT} and {{0}} <= NLIM"}
_ARITHMETIC: Final = frozenset((Op.BINARY, Op.INPLACE, Op.UNARY, Op.COMPARE))
_KEYS: Final = frozenset("SIFBN")  # kinds that are keys of a dict without a look at them
_NO_KEY: Final = "type({0}) not in KEYS or (type({0}) is int and not NLIM < {0} < LIM)"  # hashing long ones is work
_LONG: Final = f"len({{0}}) > {LONG_KEY - 1}"  # so is comparing them
_CHECKS: Final = {"I": "type({0}) is not int", "F": "type({0}) is not float", "S": "type({0}) is not str"}


class Operators(Writer):
    """Writes operators, comparisons and tests."""

    def binary(self, number: int, name: str) -> None:
        """BINARY, or INPLACE: `name` is the machine's function."""
        op = BINARY[number]
        (x, y), (kx, ky) = self.top(2)
        if "?" in (kx, ky) and kx != ky and not self.generic and op != "**":
            kx, ky = self._guess(op, x, y, kx, ky)
        if kx in NUMBERS and ky in NUMBERS and self._arithmetic(op, x, y, kx, ky, name):
            return
        if op == "+" and kx == ky == "S" and not self.generic:
            self._concatenate(x, y)
        elif kx in "?IF" and ky in "?IF" and op in ("+", "-", "*", "/", "//", "%"):
            self._mixed(op, x, y, kx, ky, name)
        else:
            self.slow(f"{name}(R, {op!r}, {x}, {y})", 2, kx if name == "inplace" and kx in "LD" else "?")

    def _guess(self, op: str, x: str, y: str, kx: str, ky: str) -> tuple[str, str]:
        """The unknown operand is of the kind of the known one, or the stepper takes over."""
        known, unknown = (kx, y) if ky == "?" else (ky, x)
        if known not in "IF" and not (known == "S" and op == "+"):
            return kx, ky
        check = _CHECKS[known].format(unknown)
        if known == "I":
            check += f" or {_NOT_SMALL.format(unknown)}"
        self.guard(check)
        return known, known

    def _arithmetic(self, op: str, x: str, y: str, kx: str, ky: str, name: str) -> bool:
        """Two numbers; False where the machine's operation has to do it."""
        t = self.temporary()
        if "F" in (kx, ky):
            if op not in ("+", "-", "*", "/", "//", "%"):
                return False
            self._divided(op, x, y, name, f"{t} = {x} {op} {y}")
            self._one_nan(t)
            self.replace(2, t, "F")
            return True
        if op in ("/", "//", "%"):
            self._divided(op, x, y, name, f"{t} = {x} {op} {y}")
            self.replace(2, t, "F" if op == "/" else "I")
            return True
        if op in ("+", "-", "*") or (op in "&|^" and "I" in (kx, ky)):
            self._checked(op, x, y, name, t)
            return True
        if op in ("<<", ">>") and not self.generic:
            self.guard(f"not 0 <= {y} < 62" if op == "<<" else f"{y} < 0")
            self.line(f"{t} = {x} {op} {y}")
            if op == "<<":
                self.guard(_NOT_SMALL.format(t))
            self.replace(2, t, "I")
            return True
        return False

    def _one_nan(self, t: str) -> None:
        """Every not-a-number is one object, except between operators, where nothing can tell."""
        if self._consumer() not in _ARITHMETIC:
            with self.deeper(f"if {t} != {t}:"):
                self.line(f"{t} = NAN")

    def _consumer(self) -> int:
        """The operation of this block that takes what this instruction makes; 0 where that is not plain."""
        above = 0
        for at in range(self.at + 1, self.block.end):
            op, a, b = self.code.instructions[at]
            pops, pushes = stack_effect(op, a, b, self.context.program.program.shapes)
            if op in (Op.DUP, Op.ROT):
                return 0
            if pops > above:
                return op if op != Op.COMPARE or a < 6 else 0
            above += pushes - pops
        return 0

    def _divided(self, op: str, x: str, y: str, name: str, text: str) -> None:
        if not self.generic:
            self.line(text, self.before())  # division by zero: the stepper raises it
            return
        with self.deeper(f"if {y}:"):
            self.line(text)
        with self.deeper("else:"):
            self._aside(f"{name}(R, {op!r}, {x}, {y})", 2)

    def _checked(self, op: str, x: str, y: str, name: str, t: str) -> None:
        """Integers whose result may be too large for a slot."""
        self.line(f"{t} = {x} {op} {y}")
        check = _TOO_LARGE.get(self._direction(op, x, y), _NOT_SMALL).format(t)
        if not self.generic:
            self.guard(check)
            self.replace(2, t, "I")
            return
        with self.deeper(f"if {check}:"):
            self._aside(f"{name}(R, {op!r}, {x}, {y})", 2)
        self.replace(2, t, "?")

    def _direction(self, op: str, x: str, y: str) -> int:
        """Where a sum with a constant can only pass one of the limits: 1 for the upper one, -1 for the lower."""
        if op not in "+-":
            return 0
        for name, sign in ((y, 1 if op == "+" else -1), (x, 1 if op == "+" else 0)):
            if name[0] == "c":
                return sign if self.context.namespace[name] >= 0 else -sign
        return 0

    def _aside(self, text: str, count: int) -> None:
        """The machine's operation on one of two ways; the state stays as it was before the instruction."""
        state = self.state.copy()
        self.slow(text, count, "?")
        self.state = state

    def _mixed(self, op: str, x: str, y: str, kx: str, ky: str, name: str) -> None:
        """Numbers of unknown kinds."""
        t = self.temporary()
        floats = [f"type({n}) is float" for n, kind in ((x, kx), (y, ky)) if kind == "?"]
        if "I" not in (kx, ky):
            zero = f" and {y}" if op in ("/", "//", "%") else ""
            with self.deeper(f"if {' and '.join(floats)}{zero}:"):
                self.line(f"{t} = {x} {op} {y}")
                with self.deeper(f"if {t} != {t}:"):
                    self.line(f"{t} = NAN")
        word = "el" if "I" not in (kx, ky) else ""
        if "F" not in (kx, ky):
            ints = [f"type({n}) is int" for n, kind in ((x, kx), (y, ky)) if kind == "?"]
            zero = f" and {y}" if op in ("/", "//", "%") else ""
            small = f"{_SMALL.format(x)} and {_SMALL.format(y)}"
            with self.deeper(f"{word}if {' and '.join(ints)} and {small}{zero}:"):
                self.line(f"{t} = {x} {op} {y}")
        with self.deeper("else:"):
            self._aside(f"{name}(R, {op!r}, {x}, {y})", 2)
        self.replace(2, t, "?")

    def _concatenate(self, x: str, y: str) -> None:
        t = self.temporary()
        self.line(f"{t} = len({x}) + len({y})")
        self.stop(f"mem < 96 + {t} or fuel < {t} >> 5")
        self.line(f"fuel -= {t} >> 5; mem -= 96 + {t}; {t} = {x} + {y}")
        with self.deeper(f"if not {t}.isascii():"):
            # The other width: give back, and let the machine do it.
            self.line(f"{t} = len({x}) + len({y}); fuel += {t} >> 5; mem += 96 + {t}")
            self._aside(f"binary(R, '+', {x}, {y})", 2)
        self.replace(2, t, "S")

    def unary(self, number: int) -> None:
        op = UNARY[number]
        (x,), (kind,) = self.top(1)
        t = self.temporary()
        if kind == "I" and (op != "~" or not self.generic):
            self.line(f"{t} = {op}{x}")
            if op == "~":
                self.guard(_NOT_SMALL.format(t))
            self.replace(1, t, "I")
        elif kind == "F" and op != "~":
            self.line(f"{t} = {op}{x}")
            self._one_nan(t)
            self.replace(1, t, "F")
        else:
            self.slow(f"unary(R, {op!r}, {x})", 1, "?")

    def compare(self, number: int, *, fuse: bool) -> None:
        """COMPARE; with `fuse` the next instruction branches on it."""
        op = COMPARE[number]
        (x, y), (kx, ky) = self.top(2)
        if op in ("in", "not in"):
            self._contains(op, x, y, kx, ky, fuse=fuse)
            return
        if "?" in (kx, ky) and kx != ky and not self.generic and (kx + ky).strip("?") in "IFS":
            self.guard(_CHECKS[(kx + ky).strip("?")].format(x if kx == "?" else y))
            kx = ky = (kx + ky).strip("?")
        if kx in NUMBERS and ky in NUMBERS:
            self._tested(f"{x} {op} {y}", 2, fuse=fuse)
        elif kx == ky == "S" and not self.generic:
            if not self._short(x) and not self._short(y):
                self.guard(f"len({x}) > 63 and len({y}) > 63")
            self._tested(f"{x} {op} {y}", 2, fuse=fuse)
        else:
            t = self.temporary()
            with self.deeper(f"if type({x}) in NUM and type({y}) in NUM and NLIM < {x} < LIM:"):
                self.line(f"{t} = {x} {op} {y}")
            with self.deeper(f"elif type({x}) is str and type({y}) is str and len({x}) < 64:"):
                self.line(f"{t} = {x} {op} {y}")
            with self.deeper("else:"):
                self._aside(f"compare(R, {op!r}, {x}, {y})", 2)
            self.replace(2, t, "B")

    def _short(self, name: str) -> bool:
        """Whether an operand is a short constant."""
        return name[0] == "c" and len(self.context.namespace[name]) < 64

    def _contains(self, op: str, x: str, y: str, kx: str, ky: str, *, fuse: bool) -> None:
        if kx == ky == "S" and not self.generic:
            self.guard(f"len({x}) + len({y}) > 31")
            self._tested(f"{x} {op} {y}", 2, fuse=fuse)
            return
        if self.generic or ky not in "D?":
            self.slow(f"compare(R, {op!r}, {x}, {y})", 2, "B")
            return
        if ky == "?":
            self.guard(f"type({y}) is not dict")
        self.key(x, kx)
        self._tested(f"{x} {op} {y}", 2, fuse=fuse)

    def key(self, name: str, kind: str) -> None:
        """The stepper takes over where a key is none that can be looked for at no cost."""
        if kind == "S":
            if not self._short(name):
                self.guard(_LONG.format(name))
        elif kind not in _KEYS:
            self.guard(f"{_NO_KEY.format(name)} or (type({name}) is str and {_LONG.format(name)})")

    def free_key(self, name: str, kind: str) -> bool:
        """Whether what is known of a key is enough to look for it at no cost."""
        return kind in _KEYS and (kind != "S" or self._short(name))

    def _tested(self, text: str, count: int, *, fuse: bool) -> None:
        """A test without effects; not written yet where the branch behind it takes it."""
        if fuse:
            self.fused = text
        else:
            self.line(f"{self.temporary()} = {text}")
        self.replace(count, self.temporary(), "B")

    def negate(self, *, fuse: bool) -> None:
        (x,), (kind,) = self.top(1)
        if kind in PLAIN:
            self._tested(f"not {x}", 1, fuse=fuse)
        elif self.generic:
            self.slow(f"not truth({x})", 1, "B")
        else:
            self.guard(f"type({x}) not in PLAIN")
            self._tested(f"not {x}", 1, fuse=fuse)

    def is_none(self, negative: int, *, fuse: bool) -> None:
        (x,), (kind,) = self.top(1)
        if kind == "?":
            self.guard(f"type({x}) is Box")
        self._tested(f"{x} is {'not ' * negative}None", 1, fuse=fuse)

    def condition(self) -> str:
        """The operand that a branch looks at, as an expression that is its truth."""
        if self.fused:
            text, self.fused = self.fused, ""
            return text
        (x,), (kind,) = self.top(1)
        if kind in PLAIN:
            return x
        if not self.generic:
            self.guard(f"type({x}) not in PLAIN")
            return x
        state = self.state.copy()
        self.slow(f"truth({x})", 0, "B")
        self.state = state
        return self.temporary()
