"""Where an entry starts private regions, and what their budgets come from, as far as the code shows it.

Rules of this module:

* A limit is a literal, or an item of the order's arguments (`order.args["fuel"]`, also through variables that are
  assigned once); anything else is unknown and left out. Nothing is run.
* Only what is certain is said: where the arguments could be changed or are handed on, none of their items is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sojourn.vm.binding import REGION_LIMITS
from sojourn.vm.op import ISA, METHODS, Op, Operand
from sojourn.vm.program import NAMED, REST
from sojourn.vm.reach import walk_functions
from sojourn.vm.sites import UNKNOWN, literal_of, traced
from sojourn.vm.values import Value
from sojourn.vm.verifier import Code, VerifiedProgram

__all__ = ["Argument", "RegionSite", "region_sites"]


@dataclass(frozen=True, slots=True)
class Argument:
    """An item of the order's arguments: `order.args[key]`."""

    key: str


@dataclass(frozen=True, slots=True)
class RegionSite:
    """One `private(...)` in the code.

    Attributes:
        function: the function that it stands in.
        line: source line.
        starts: name of the function that the region runs; empty where it is a value.
        limits: what `fuel` and `memory` are: a literal or an `Argument`; without those that are unknown.
        always: no call of the function returns without having come here.
    """

    function: str
    line: int
    starts: str
    limits: Mapping[str, Value | Argument]
    always: bool


_ORDER: Final = object()
_ARGS: Final = object()
_READS: Final = frozenset(tuple(METHODS).index(name) for name in ("get", "items", "keys", "values"))


def region_sites(program: VerifiedProgram, entry: str) -> tuple[RegionSite, ...]:
    """Every place where a run of `entry` can start a private region, nested ones included.

    Raises:
        ProgramInvalid: the program has no such entry.
    """
    start = program.entry_index(entry)
    found: list[RegionSite] = []
    for index in walk_functions(program.codes, [start]):
        found += _Function(program, program.codes[index], order=index == start).sites()
    return tuple(found)


class _Function:
    """Follows literals, the order and its arguments through one function, twice: variables, then regions."""

    def __init__(self, program: VerifiedProgram, code: Code, *, order: bool) -> None:
        self.program, self.code = program, code
        stores = [a for op, a, _ in code.instructions if op == Op.STORE]
        filled = code.params + code.keyword_only + bool(code.flags & REST) + bool(code.flags & NAMED)  # by the call
        self.once = {local for local in stores if stores.count(local) == 1 and local >= filled}
        self.locals: dict[int, object] = {0: _ORDER} if order and code.params and 0 not in stores else {}
        self.changed = False

    def sites(self) -> list[RegionSite]:
        for _, op, a, taken in traced(self.program, self.code, self._follow):
            if op == Op.STORE and a in self.once:
                self.locals[a] = taken[0]
            self.changed = self.changed or not _harmless(op, a, taken)
        found = []
        for at, op, a, taken in traced(self.program, self.code, self._follow):
            if op in {Op.PRIVATE, Op.PRIVATE_VALUE}:
                positions = self.code.calls[at].limits
                values = taken[1:] if op == Op.PRIVATE_VALUE else taken
                limits = {name: values[k] for name, k in zip(REGION_LIMITS, positions, strict=True)}
                known = {name: value for name, value in limits.items() if self._is_known(value)}
                starts = self.program.codes[a].name if op == Op.PRIVATE else ""
                line, always = self.code.lines[at], not _returns_without(self.code, at)
                found.append(RegionSite(self.code.name, line, starts, MappingProxyType(known), always))
        return found

    def _follow(self, op: int, a: int, taken: list[object]) -> object:
        if op == Op.LOAD:
            return self.locals.get(a, UNKNOWN)
        if op == Op.ATTRIBUTE:
            return _ARGS if taken[0] is _ORDER and self.program.program.names[a] == "args" else UNKNOWN
        if op == Op.INDEX:
            return Argument(taken[1]) if taken[0] is _ARGS and isinstance(taken[1], str) else UNKNOWN
        return literal_of(self.program, op, a, taken)

    def _is_known(self, value: object) -> bool:
        if isinstance(value, Argument):
            return not self.changed
        return value is not UNKNOWN and value is not _ORDER and value is not _ARGS


def _returns_without(code: Code, at: int) -> bool:
    """Whether control can come to a return of the function without the instruction at `at`."""
    seen, work = {at}, [0]
    while work:
        here = work.pop()
        if here in seen:
            continue
        seen.add(here)
        op, a, b = code.instructions[here]
        spec = ISA[op]
        if op == Op.RETURN:
            return True
        if not spec.ends:
            work.append(here + 1)
        work += [operand for kind, operand in ((spec.a, a), (spec.b, b)) if kind is Operand.TARGET]
        if code.handler_at[here] >= 0:
            work.append(code.handlers[code.handler_at[here]].target)
    return False


def _harmless(op: int, a: int, taken: list[object]) -> bool:
    """Whether an instruction leaves the arguments as they are, and lets no other function have them."""
    if _ORDER in taken:
        return op in {Op.ATTRIBUTE, Op.STORE, Op.POP}
    if _ARGS not in taken:
        return True
    reads = op == Op.INDEX or (op == Op.METHOD and a in _READS)
    return op in {Op.STORE, Op.POP} or (reads and taken[0] is _ARGS and _ARGS not in taken[1:])
