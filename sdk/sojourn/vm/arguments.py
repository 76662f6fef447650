"""Which arguments of its job a program names as literals: `order.args["epochs"]`, `job.args["rounds"]`.

Rules of this module:

* Only records and exceptions have a field `args`, and an exception's takes no text as an index: so every text that
  stands in the index of `.args`, directly or through a variable that is assigned once, is the key of an argument.
* Only what is certain is said: a key that the program itself looks for (`"epochs" in order.args`), stores, or reads
  where a handler stands is left out; where the arguments are changed otherwise, all of them are.
* Nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sojourn.vm.op import BINARY, COMPARE, METHODS, Op
from sojourn.vm.program import NAMED, REST
from sojourn.vm.reach import walk_functions
from sojourn.vm.sites import UNKNOWN, literal_of, traced
from sojourn.vm.verifier import Code, VerifiedProgram

__all__ = ["ArgumentSite", "argument_sites"]

_ARGS: Final = object()
_READS: Final = frozenset(tuple(METHODS).index(name) for name in ("copy", "get", "items", "keys", "values"))
_FILLS: Final = frozenset(tuple(METHODS).index(name) for name in ("setdefault", "update"))
_MERGE: Final = BINARY.index("|")
_MEMBER: Final = frozenset(COMPARE.index(name) for name in ("in", "not in"))


@dataclass(frozen=True, slots=True)
class ArgumentSite:
    """One `....args[key]` in the code.

    Attributes:
        function: that it stands in.
        line: source line.
        key: the literal.
    """

    function: str
    line: int
    key: str


def argument_sites(program: VerifiedProgram, entry: str) -> tuple[ArgumentSite, ...]:
    """Every literal key that a run of `entry` reads from its job's arguments, regions included, once each place.

    Raises:
        ProgramInvalid: the program has no such entry.
    """
    codes = [program.codes[index] for index in walk_functions(program.codes, [program.entry_index(entry)])]
    functions = [_Function(program, code) for code in codes]
    if any(function.changes for function in functions):
        return ()
    if any(function.escapes for function in functions) and any(function.fills for function in functions):
        return ()
    own = set().union(*(function.own for function in functions))
    return tuple(site for function in functions for site in function.sites() if site.key not in own)


class _Function:
    """Follows the arguments through one function.

    Attributes:
        own: keys that the function looks for or stores, in any dict.
        changes: it changes the arguments in another way.
        escapes: it hands them on.
        fills: it fills some dict by `update`, `setdefault` or `|=`, or under a key that is computed.
    """

    def __init__(self, program: VerifiedProgram, code: Code) -> None:
        self.program, self.code = program, code
        stores = [a for op, a, _ in code.instructions if op == Op.STORE]
        filled = code.params + code.keyword_only + bool(code.flags & REST) + bool(code.flags & NAMED)  # by the call
        once = {local for local in stores if stores.count(local) == 1 and local >= filled}
        self.locals: dict[int, object] = {}
        self.own: set[str] = set()
        self.changes = self.escapes = self.fills = False
        for _, op, a, taken in traced(program, code, self._follow):
            if op == Op.STORE and a in once:
                self.locals[a] = taken[0]
            elif op == Op.STORE:
                self.escapes = self.escapes or taken[0] is _ARGS
            self._judge(op, a, taken)

    def sites(self) -> Iterator[ArgumentSite]:
        for at, op, _, taken in traced(self.program, self.code, self._follow):
            if op == Op.INDEX and taken[0] is _ARGS and isinstance(taken[1], str) and self.code.handler_at[at] < 0:
                yield ArgumentSite(self.code.name, self.code.lines[at], taken[1])

    def _judge(self, op: int, a: int, taken: list[object]) -> None:
        """Note what an instruction does with the arguments."""
        if op == Op.STORE_INDEX or (op == Op.COMPARE and a in _MEMBER):
            self.own |= {value for value in taken if isinstance(value, str)}
            if op == Op.STORE_INDEX and taken[2] is UNKNOWN:  # a value, a container and a key
                self.fills = True
                self.changes = self.changes or taken[1] is _ARGS
        elif (op == Op.METHOD and a in _FILLS) or (op == Op.INPLACE and a == _MERGE):
            self.fills = True
            self.changes = self.changes or taken[0] is _ARGS
        elif op in {Op.STORE, Op.POP, Op.INDEX} or _ARGS not in taken:
            return
        elif op == Op.DELETE_INDEX or (op == Op.METHOD and taken[0] is _ARGS and a not in _READS):
            self.changes = True
        else:
            self.escapes = True

    def _follow(self, op: int, a: int, taken: list[object]) -> object:
        if op == Op.LOAD:
            return self.locals.get(a, UNKNOWN)
        if op == Op.ATTRIBUTE:
            return _ARGS if self.program.program.names[a] == "args" else UNKNOWN
        return literal_of(self.program, op, a, taken)
