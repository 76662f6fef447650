"""Calls of builtins and methods, and text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from sojourn.vm.builtins import BUILTIN_FUNCTIONS
from sojourn.vm.methods import BY_CLASS
from sojourn.vm.op import BUILTINS, CONVERSIONS, METHODS, Op
from sojourn.vm.projection.namespace import handler_of
from sojourn.vm.projection.operators import Operators
from sojourn.vm.values import BuiltinValue, DictView, ViewKind

__all__ = ["Methods"]

_KEYS: Final = frozenset("SIFBN")
_SHORT: Final = 4_096  # characters: what texts up to here make is small, whether it is paid for before or behind
_CLASSES: Final = {"S": str, "L": list, "D": dict, "T": tuple, "F": float, "I": int}
_VIEWS: Final = {name: partial(DictView, ViewKind[name.upper()]) for name in ("keys", "values", "items")}
_VIEW_KINDS: Final = {"keys": "K", "values": "V", "items": "P"}
_SAME: Final = {"float": "F", "int": "I", "str": "S", "tuple": "T"}  # conversions that give the value itself
_METHODS: Final = tuple(METHODS)
_BUILTINS: Final = tuple(BUILTINS)
# Kinds of what builtins, and methods of a known class, make.
_MADE: Final = {
    **dict.fromkeys(("str", "repr", "ascii", "bin", "hex", "oct", "chr", "format"), "S"),
    **dict.fromkeys(("all", "any", "bool", "callable"), "B"),
    "sorted": "L",
    "list": "L",
    "dict": "D",
    "tuple": "T",
    "divmod": "T",
    "float": "F",
    "ord": "I",
}
_METHOD_MADE: Final = {
    "S": {
        **dict.fromkeys(("join", "lower", "upper", "strip", "lstrip", "rstrip", "replace", "title", "zfill"), "S"),
        **dict.fromkeys(("capitalize", "center", "ljust", "rjust", "swapcase", "removeprefix", "removesuffix"), "S"),
        **dict.fromkeys(("startswith", "endswith", "isdigit", "isalpha", "isalnum", "isspace"), "B"),
        "split": "L",
        "rsplit": "L",
        "splitlines": "L",
        "partition": "T",
        "find": "I",
        "count": "I",
        "index": "I",
    },
    "L": {**dict.fromkeys(("extend", "insert", "remove", "reverse", "clear", "sort"), "N"), "copy": "L", "index": "I"},
    "D": {"copy": "D", "update": "N", "clear": "N"},
}

# Methods that only text has, or mostly: an unknown owner is taken for text.
_OF_TEXT: Final = frozenset(
    ("endswith", "find", "isalpha", "isdigit", "join", "lower", "replace", "split", "startswith", "strip", "upper")
)


class Methods(Operators):
    """Writes calls of builtins and methods."""

    def handled(self, op: int, a: int, b: int, count: int, kind: str) -> None:
        """Have the stepper's handler do the instruction, on a stack of its own; it makes one value."""
        name = f"h{self.function}_{self.at}"
        self.object(name, handler_of(self.function, self.at, op, a, b))
        self.slow(f"{name}(R, [{', '.join(self.state.names)}])[-1]", count, kind)

    # Text.

    def format(self, spec: int, conversion: int) -> None:
        (x,), (kind,) = self.top(1)
        plain = self.context.program.constants[spec] == "" and not CONVERSIONS[conversion]
        if plain and kind == "S":
            return
        if plain and kind in "IB":
            self._digits(x)
        else:
            self.slow(f"format_of(R, {x}, {self.constant(spec)}, {CONVERSIONS[conversion]!r})", 1, "S")

    def _digits(self, x: str) -> None:
        """`str` of a small integer: what `text.repr_of` charges for it."""
        t = self.temporary()
        self.line(f"{t} = str({x})")
        self.stop(f"mem < 48 + 2 * len({t}) or fuel < 1")
        self.line(f"fuel -= 1; mem -= 48 + 2 * len({t})")
        self.replace(1, t, "S")

    def join(self, count: int) -> None:
        names, kinds = self.top(count)
        if not count or self.generic or any(kind != "S" for kind in kinds):
            self.handled(Op.JOIN, count, 0, count, "S")
            return
        t = self.temporary()
        # What it would take is known before it is made.
        self.line(f"z = {' + '.join(f'len({name})' for name in names)}")
        self.stop(f"mem < {48 * count} + z or fuel < z >> 5")
        self.line(f'{t} = f"{"".join(f"{{{name}}}" for name in names)}"')
        self.guard(f"not {t}.isascii()")
        self.line(f"fuel -= len({t}) >> 5; mem -= {48 * count} + len({t})")
        self.replace(count, t, "S")

    # Builtins and methods.

    def builtin(self, number: int, shape: int) -> None:
        wanted = self.context.program.program.shapes[shape]
        args, kinds = self.top(wanted.total)
        name = _BUILTINS[number]
        if not wanted.names and self._special(name, args, kinds):
            return
        function = self.object(f"b{number}", BUILTIN_FUNCTIONS[number])
        made = _MADE.get(name, "?")
        if name == "range" and all(kind in "IB" for kind in kinds):
            made = "R"
        if name in ("min", "max", "abs", "sum", "round") or (name == "int" and kinds != ["I"]):
            made = "?"
        self.slow(f"{function}(R, {self._arguments(shape, args)})", wanted.total, made)

    def _arguments(self, shape: int, args: list[str]) -> str:
        wanted = self.context.program.program.shapes[shape]
        named = []
        for position, name in enumerate(wanted.names):
            word = self.object(f"w{shape}_{position}", name)
            named.append(f"{word}: {args[wanted.positional + position]}")
        return f"[{', '.join(args[: wanted.positional])}], {{{', '.join(named)}}}"

    def _special(self, name: str, args: list[str], kinds: list[str]) -> bool:
        t = self.temporary()
        if name == "len" and (kinds[0] in "LDTS" or not self.generic):
            if kinds[0] not in "LDTS":
                self.guard(f"type({args[0]}) not in SIZED")
            self.line(f"{t} = len({args[0]})")
            self.replace(1, t, "I")
        elif len(args) == 1 and _SAME.get(name) == kinds[0]:
            self.replace(1, args[0], kinds[0])
        elif name == "str" and kinds == ["I"]:
            self._digits(args[0])
        elif name == "float" and kinds == ["I"]:
            self.line(f"{t} = float({args[0]})")
            self.replace(1, t, "F")
        elif name == "abs" and kinds[0] in "IF":
            self.line(f"{t} = abs({args[0]})")
            self.replace(1, t, kinds[0])
        elif name in ("min", "max") and len(args) == 2 and set(kinds) in ({"I"}, {"F"}):
            self.line(f"{t} = {args[1]} if {args[1]} {'<' if name == 'min' else '>'} {args[0]} else {args[0]}")
            self.replace(2, t, kinds[0])
        else:
            return False
        return True

    def builtin_value(self, number: int) -> None:
        self.push(self.object(f"z{number}", BuiltinValue(number, _BUILTINS[number])), "?")

    def method(self, number: int, shape: int) -> None:
        wanted = self.context.program.program.shapes[shape]
        total = wanted.total
        (owner, *args), (kind, *kinds) = self.top(total + 1)
        name = _METHODS[number]
        if name == "append" and kind in "L?" and not self.generic:
            if kind == "?":
                self.guard(f"type({owner}) is not list")
            self.take_memory("40")
            self.line(f"{owner}.append({args[0]})")
            self.replace(2, "None", "N")
            return
        if name == "get" and kind in "D?" and not self.generic and not wanted.names:
            if kind == "?":
                self.guard(f"type({owner}) is not dict")
            self.key(args[0], kinds[0])
            self.line(f"{self.temporary()} = {owner}.get({', '.join(args)})")
            self.replace(total + 1, self.temporary(), "?")
            return
        if name in _VIEWS and kind in "D?" and not self.generic:
            if kind == "?":
                self.guard(f"type({owner}) is not dict")
            self.take_memory("56")
            self.line(f"{self.temporary()} = {self.object(f'x{name[0]}', _VIEWS[name])}({owner})")
            self.replace(1, self.temporary(), _VIEW_KINDS[name])
            return
        if kind == "?" and name in _OF_TEXT and not self.generic:
            self.guard(f"type({owner}) is not str")
            kind = "S"
        if kind == "S" and not wanted.names and not self.generic and self._text_method(name, owner, args, kinds):
            return
        made = _METHOD_MADE.get(kind, {}).get(name, "?")
        row = (
            BY_CLASS.get((_CLASSES[kind], name)) if kind in _CLASSES and not wanted.names and name != "update" else None
        )
        if row is not None and row[0] <= len(args) <= row[1]:
            function = self.object(f"m{number}{kind}", row[2])
            self.slow(f"{function}(R, {owner}, [{', '.join(args)}])", total + 1, made)
        else:
            self.slow(f"call_method(R, {number}, {owner}, {self._arguments(shape, args)})", total + 1, made)

    def _text_method(self, name: str, owner: str, args: list[str], kinds: list[str]) -> bool:
        """Methods of short ASCII text, with what `textmethods` charges for them; False where there is no fast way."""
        write = _FAST.get((name, "".join(kinds)))
        if write is None:
            return False
        write(self, owner, args)
        return True

    def _cased(self, name: str, owner: str, _: list[str]) -> None:
        t = self.temporary()
        self.guard(f"len({owner}) > 31 or not {owner}.isascii()")
        self.line(f"{t} = {owner}.{name}()")
        if name in ("isalpha", "isdigit"):
            self.replace(1, t, "B")
            return
        self.take_memory(f"48 + len({t})")
        self.replace(1, t, "S")

    def _stripped(self, owner: str, _: list[str]) -> None:
        self.guard(f"len({owner}) > 31 or not {owner}.isascii()")
        self.take_memory(f"48 + len({owner})")
        self.line(f"{self.temporary()} = {owner}.strip(BLANKS)")
        self.replace(1, self.temporary(), "S")

    def _edged(self, name: str, owner: str, args: list[str]) -> None:
        self.guard(f"len({args[0]}) > 31")
        self.line(f"{self.temporary()} = {owner}.{name}({args[0]})")
        self.replace(2, self.temporary(), "B")

    def _found(self, name: str, owner: str, args: list[str]) -> None:
        self.stop(f"fuel < len({owner}) >> 4")
        self.line(f"fuel -= len({owner}) >> 4; {self.temporary()} = {owner}.{name}({args[0]})")
        self.replace(2, self.temporary(), "I")

    def _divided_text(self, owner: str, args: list[str]) -> None:
        t = self.temporary()
        self.guard(f"not {args[0]} or len({owner}) > {_SHORT} or not {owner}.isascii()")
        self.line(f"{t} = {owner}.split({args[0]})")
        self.stop(f"mem < 104 + 88 * len({t}) + len({owner}) or fuel < len({owner}) >> 4")
        self.line(f"fuel -= len({owner}) >> 4; mem -= 104 + 88 * len({t}) + len({owner})")
        self.replace(2, t, "L")

    def _joined_text(self, owner: str, args: list[str]) -> None:
        t, items = self.temporary(), args[0]
        self.guard(f"not {items}")
        self.line(f"z = sum(map(len, {items}))", self.before())  # an item that is no text: the stepper raises
        self.line(f"y = 56 + (136 + len({owner})) * len({items}) + z; "
                  f"z = (len({items}) >> 3) + (z >> 5) + (len({owner}) * len({items}) >> 9)")  # fmt: skip
        self.stop("mem < y or fuel < z")
        self.line(f"{t} = {owner}.join({items})", self.before())
        self.guard(f"not {t}.isascii() or not {owner}.isascii()")
        self.line("mem -= y; fuel -= z")
        self.replace(2, t, "S")


def _fast() -> dict[tuple[str, str], Callable[[Methods, str, list[str]], None]]:
    """Fast ways by method and kinds of the arguments."""

    def named(write: Callable[[Methods, str, str, list[str]], None], name: str) -> Callable[..., None]:
        return lambda methods, owner, args: write(methods, name, owner, args)

    return {
        **{(name, ""): named(Methods._cased, name) for name in ("lower", "upper", "isalpha", "isdigit")},
        **{(name, "S"): named(Methods._edged, name) for name in ("startswith", "endswith")},
        **{(name, "S"): named(Methods._found, name) for name in ("find", "count")},
        ("strip", ""): Methods._stripped,
        ("split", "S"): Methods._divided_text,
        ("join", "L"): Methods._joined_text,
    }


_FAST: Final = _fast()
