"""What a program does with the boxes of its entry, as far as the code shows it: what it may not, and what it releases.

Rules of this module:

* A box is known where `private(f, ...)` gives it, and through a variable that is assigned once. Only the entry's own
  function is looked at: it runs in the public world.
* Only what is certain is said. What stands under a handler is left out: the program may mean it. What a region returns
  is known where each of its returns is a dict display with literal keys.
* Nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sojourn.vm.op import BUILTINS, METHODS, Op
from sojourn.vm.program import NAMED, REST
from sojourn.vm.sites import UNKNOWN, literal_of, traced
from sojourn.vm.verifier import Code, VerifiedProgram

__all__ = ["BoxUse", "PayloadSite", "box_uses", "payload_sites"]

_WORDS: Final = {
    Op.INDEX: "index",
    Op.SLICE: "slice",
    Op.ATTRIBUTE: "read an attribute of",
    Op.COMPARE: "compare",
    Op.NOT: "test",
    Op.JUMP_IF_FALSE: "test",
    Op.JUMP_IF_TRUE: "test",
    Op.JUMP_IF_FALSE_OR_POP: "test",
    Op.JUMP_IF_TRUE_OR_POP: "test",
    Op.BINARY: "compute with",
    Op.UNARY: "compute with",
    Op.ITER: "iterate over",
    Op.FORMAT: "print",
}
_BUILTINS: Final = {"len": "measure", "int": "convert", "float": "convert", "str": "print", "bool": "test"}
_PAYLOADS: Final = ("of", "weight")


@dataclass(frozen=True, slots=True)
class BoxUse:
    """One place where a box is used as if it were open.

    Attributes:
        function: the entry.
        line: source line.
        word: what is done, as the machine would say it: `index`, `test`, `compare`.
    """

    function: str
    line: int
    word: str


@dataclass(frozen=True, slots=True)
class PayloadSite:
    """One key under which a release looks into a box.

    Attributes:
        line: source line.
        effect: `release.count`.
        parameter: `of` or `weight`.
        key: the literal.
        region: the function whose result is in the box.
        keys: what that returns, in order.
    """

    line: int
    effect: str
    parameter: str
    key: str
    region: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Box:
    function: int


@dataclass(frozen=True, slots=True)
class _Keys:
    """A dict display with literal keys."""

    names: tuple[str, ...]


def box_uses(program: VerifiedProgram, entry: str) -> tuple[BoxUse, ...]:
    """Where the entry's own function uses a box as if it were open, in the order of its code.

    Raises:
        ProgramInvalid: the program has no such entry.
    """
    return tuple(_Entry(program, program.codes[program.entry_index(entry)]).uses())


def payload_sites(program: VerifiedProgram, entry: str) -> tuple[PayloadSite, ...]:
    """The literal keys of the entry's releases from boxes whose content is known by its keys.

    Raises:
        ProgramInvalid: the program has no such entry.
    """
    return tuple(_Entry(program, program.codes[program.entry_index(entry)]).payloads())


class _Entry:
    """Follows boxes through one function."""

    def __init__(self, program: VerifiedProgram, code: Code) -> None:
        self.program, self.code = program, code
        stores = [a for op, a, _ in code.instructions if op == Op.STORE]
        filled = code.params + code.keyword_only + bool(code.flags & REST) + bool(code.flags & NAMED)  # by the call
        once = {local for local in stores if stores.count(local) == 1 and local >= filled}
        self.locals: dict[int, object] = {}
        for _, op, a, taken in traced(program, code, self._follow):
            if op == Op.STORE and a in once and isinstance(taken[0], _Box):
                self.locals[a] = taken[0]

    def uses(self) -> Iterator[BoxUse]:
        for at, op, a, taken in traced(self.program, self.code, self._follow):
            if self.code.handler_at[at] < 0 and any(isinstance(value, _Box) for value in taken):
                word = _word(op, a, taken)
                if word:
                    yield BoxUse(self.code.name, self.code.lines[at], word)

    def payloads(self) -> Iterator[PayloadSite]:
        for at, op, a, taken in traced(self.program, self.code, self._follow):
            name = self.program.program.names[a] if op == Op.EFFECT else ""
            if not name.startswith("release."):
                continue
            args = dict(zip(self.code.effects[at], taken, strict=True))
            box = args.get("box")
            keys = _returned(self.program, box.function) if isinstance(box, _Box) else None
            for parameter in _PAYLOADS:
                key = args.get(parameter)
                if isinstance(box, _Box) and keys is not None and isinstance(key, str):
                    region = self.program.codes[box.function].name
                    yield PayloadSite(self.code.lines[at], name, parameter, key, region, keys)

    def _follow(self, op: int, a: int, taken: list[object]) -> object:
        if op == Op.LOAD:
            return self.locals.get(a, UNKNOWN)
        if op == Op.PRIVATE:
            return _Box(a)
        return literal_of(self.program, op, a, taken)


def _word(op: int, a: int, taken: list[object]) -> str:
    """What an instruction that takes a box would be refused for; empty where it may take one, or nothing is certain."""
    if op == Op.BUILTIN:
        return _BUILTINS.get(tuple(BUILTINS)[a], "") if len(taken) == 1 else ""
    if op == Op.METHOD:
        return f"call .{tuple(METHODS)[a]}() of" if isinstance(taken[0], _Box) else ""
    if op in {Op.INDEX, Op.SLICE, Op.ATTRIBUTE} and not isinstance(taken[0], _Box):
        return ""
    return _WORDS.get(Op(op), "")


def _returned(program: VerifiedProgram, function: int) -> tuple[str, ...] | None:
    """Keys of the dict that a function returns, of all its returns together; None where that is not known."""
    code = program.codes[function]

    def follow(op: int, a: int, taken: list[object]) -> object:
        if op == Op.DICT and all(isinstance(key, str) for key in taken[::2]):
            return _Keys(tuple(str(key) for key in taken[::2]))
        return literal_of(program, op, a, taken)

    found: dict[str, None] = {}
    for _, op, _, taken in traced(program, code, follow):
        if op == Op.RETURN:
            if not isinstance(taken[0], _Keys):
                return None
            found |= dict.fromkeys(taken[0].names)
    return tuple(found) if found else None
