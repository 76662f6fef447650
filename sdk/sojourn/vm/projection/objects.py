"""Containers, text, variables and iterators."""

from __future__ import annotations

from functools import partial
from typing import Final

from sojourn.vm.builtins import BUILTIN_FUNCTIONS
from sojourn.vm.methods import BY_CLASS
from sojourn.vm.op import BUILTINS, CONVERSIONS, EXCEPTIONS, METHODS, Op
from sojourn.vm.projection.kinds import PLAIN
from sojourn.vm.projection.namespace import handler_of
from sojourn.vm.projection.operators import Operators
from sojourn.vm.tables import ancestors
from sojourn.vm.values import BuiltinValue, DictView, ViewKind

__all__ = ["Objects"]

_KEYS: Final = frozenset("SIFBN")
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


class Objects(Operators):
    """Writes what is neither an operator nor a call."""

    # Variables.

    def load(self, local: int, kind: str) -> None:
        if kind in "U!":
            self.guard(f"v{local} is U")
            kind = "?"
        self.push(f"v{local}", kind)

    def store(self, local: int) -> None:
        (x,), (kind,) = self.top(1)
        self.drop(1)
        self.keep(f"v{local}")
        if x != f"v{local}":
            self.line(f"v{local} = {x}")
        self.state.locals[local] = kind
        self.changed()

    def delete(self, local: int, silent: int) -> None:
        if not silent and self.state.locals[local] in "U!":
            self.guard(f"v{local} is U")
        self.keep(f"v{local}")
        self.line(f"v{local} = U")
        self.state.locals[local] = "U"
        self.changed()

    def clear(self, local: int) -> None:
        self.line(f"n{local} = q{local} = None")
        self.state.locals[local] = "U"
        self.changed()

    def load_cell(self, local: int) -> None:
        t = self.temporary()
        self.line(f"{t} = v{local}.content")
        self.guard(f"{t} is U")
        self.push(t, "?")

    def delete_cell(self, local: int, silent: int) -> None:
        if not silent:
            self.guard(f"v{local}.content is U")
        self.line(f"v{local}.content = U")

    def new_cell(self, local: int) -> None:
        self.take_memory("56")
        self.line(f"v{local} = Cell()")

    # Displays.

    def sequence(self, count: int, *, mutable: bool) -> None:
        names, kinds = self.top(count)
        self.take_memory(str(56 + 40 * count))
        if not mutable and self.unpacked(count):
            self.parts = list(zip(names, kinds, strict=True))
            self.replace(count, self.temporary(), "T")
            return
        inside = "".join(f"{name}, " for name in names)
        self.line(f"{self.temporary()} = {'[' if mutable else '('}{inside}{']' if mutable else ')'}")
        self.replace(count, self.temporary(), "L" if mutable else "T")

    def dictionary(self, count: int) -> None:
        names, kinds = self.top(2 * count)
        pairs = list(zip(names[::2], names[1::2], strict=True))
        if all(kind in _KEYS for kind in kinds[::2]):
            self.take_memory(str(56 + 120 * count))
            self.line(f"{self.temporary()} = {{{', '.join(f'{k}: {v}' for k, v in pairs)}}}")
            self.replace(2 * count, self.temporary(), "D")
        else:
            self.slow(f"make_dict(R, [{', '.join(names)}])", 2 * count, "D")

    def append(self) -> None:
        (target, item), (kind, _) = self.top(2)
        if kind == "L":
            self.take_memory("40")
            self.line(f"{target}.append({item})")
            self.drop(1)
        else:
            self.slow(f"append(R, {target}, {item})", 1, None)

    def put(self) -> None:
        (target, key, value), (kind, key_kind, _) = self.top(3)
        if kind == "D" and key_kind in _KEYS:
            self._put(target, key, value)
            self.drop(2)
        else:
            self.handled(Op.PUT, 0, 0, 3, kind)

    def _put(self, target: str, key: str, value: str) -> None:
        with self.deeper(f"if {key} not in {target}:"):
            self.take_memory("120")
        self.line(f"{target}[{key}] = {value}")

    def handled(self, op: int, a: int, b: int, count: int, kind: str) -> None:
        """Have the stepper's handler do the instruction, on a stack of its own; it makes one value."""
        name = f"h{self.function}_{self.at}"
        self.object(name, handler_of(self.function, self.at, op, a, b))
        self.slow(f"{name}(R, [{', '.join(self.state.names)}])[-1]", count, kind)

    # Subscripts.

    def index(self) -> None:
        (o, k), (kind, key) = self.top(2)
        t = self.temporary()
        if self.generic:
            self._index_again(o, k, kind, key)
        elif kind == "S":
            if key != "I":
                self.guard(f"type({k}) is not int")
            self.line(f"{t} = {o}[{k}]", self.before())
            self.guard(f"mem < 49 or not {t}.isascii()")
            self.line("mem -= 49")
            self.replace(2, t, "S")
        elif kind in "LT?" or (kind == "D" and key in "?SIFBN"):
            if kind == "?":
                self.guard(f"type({o}) not in LDT")
            if kind in "D?" and key not in _KEYS:
                self.guard(f"type({k}) not in KEYS")
            self.line(f"{t} = {o}[{k}]", self.before())  # what is not there, the stepper raises
            self.replace(2, t, "?")
        else:
            self.slow(f"index(R, {o}, {k})", 2, "?")

    def _index_again(self, o: str, k: str, kind: str, key: str) -> None:
        t = self.temporary()
        if kind in "D?" and key in _KEYS:
            test = f"{k} in {o}" if kind == "D" else f"type({o}) is dict and {k} in {o}"
        elif kind in "LT" and key == "I":
            test = f"-len({o}) <= {k} < len({o})"
        else:
            self.slow(f"index(R, {o}, {k})", 2, "?")
            return
        with self.deeper(f"if {test}:"):
            self.line(f"{t} = {o}[{k}]")
        with self.deeper("else:"):
            self._aside(f"index(R, {o}, {k})", 2)
        self.replace(2, t, "?")

    def store_index(self) -> None:
        (value, o, k), (_, kind, key) = self.top(3)
        if self.generic or kind not in "LD?":
            self.slow(f"store_index(R, {o}, {k}, {value})", 3, None)
            return
        if kind in "D?" and key not in _KEYS:
            self.guard(f"type({k}) not in KEYS")
        if kind == "L":
            self.line(f"{o}[{k}] = {value}", self.before())
        elif kind == "D":
            self._put(o, k, value)
        else:
            with self.deeper(f"if type({o}) is list:"):
                self.line(f"{o}[{k}] = {value}", self.before())
            with self.deeper(f"elif type({o}) is dict:"):
                self._put(o, k, value)
            with self.deeper("else:"):
                self.line("raise G", self.before())
        self.drop(3)

    def slice(self) -> None:
        (o, *bounds), (kind, *_) = self.top(4)
        self.slow(f"slice_of(R, {o}, [{', '.join(bounds)}])", 4, kind if kind in "SLT" else "?")

    def changing(self, function: str, count: int) -> None:
        """STORE_SLICE, DELETE_INDEX, DELETE_SLICE."""
        names, _ = self.top(count)
        if function == "store_slice":
            value, container, *bounds = names
            text = f"store_slice(R, {container}, [{', '.join(bounds)}], {value})"
        elif function == "delete_slice":
            text = f"delete_slice(R, {names[0]}, [{', '.join(names[1:])}])"
        else:
            text = f"delete_index(R, {names[0]}, {names[1]})"
        self.slow(text, count, None)

    def unpacked(self, count: int) -> bool:
        """Whether the next instruction of the block takes a tuple of so many items apart."""
        behind = self.at + 1
        return count > 0 and behind < self.block.end and self.code.instructions[behind][:2] == (Op.UNPACK, count)

    def unpack(self, count: int) -> None:
        (x,), (kind,) = self.top(1)
        if self.parts:
            self.drop(1)
            for name, part in reversed(self.parts):
                self.push(name, part)
            self.parts = []
            return
        made = [self.temporary(f"_{k}") for k in range(count)]
        if count and not self.generic:
            if kind not in "TL":
                self.guard(f"type({x}) is not tuple")
            self.line(f"({''.join(f'{name}, ' for name in made)}) = {x}", self.before())
            self.drop(1)
            for name in reversed(made):
                self.push(name, "?")
        else:
            backwards = [(name, "?") for name in reversed(made)]
            self.slowly(f"unpack_values(R, {x}, {count})[::-1]", 1, backwards, several=bool(made))

    def unpack_rest(self, before: int, after: int) -> None:
        (x,), _ = self.top(1)
        made = [(self.temporary(f"_{k}"), "L" if k == before else "?") for k in range(before + after + 1)]
        self.slowly(f"unpack_rest(R, {x}, {before}, {after})[::-1]", 1, made[::-1], several=True)

    def attribute(self, name: int) -> None:
        (x,), _ = self.top(1)
        field = self.object(f"a{name}", self.context.program.program.names[name])
        if self.generic:
            self.slow(f"attribute({x}, {field})", 1, "?")
            return
        self.guard(f"type({x}) is not RecordValue or {field} not in {x}.fields")
        self.line(f"{self.temporary()} = {x}.fields[{field}]")
        self.replace(1, self.temporary(), "?")

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
        self.line(f'{t} = f"{"".join(f"{{{name}}}" for name in names)}"')
        self.guard(f"mem < {48 * count} + len({t}) or fuel < len({t}) >> 5 or not {t}.isascii()")
        self.line(f"fuel -= len({t}) >> 5; mem -= {48 * count} + len({t})")
        self.replace(count, t, "S")

    # Classes and exceptions.

    def is_a(self, classes: int) -> None:
        (x,), (kind,) = self.top(1)
        names: str = self.context.program.constants[classes]
        wanted = set(names.split(" "))
        matching = frozenset(name for name in EXCEPTIONS if not wanted.isdisjoint(ancestors(name)))
        known = self.object(f"x{self.function}_{self.at}", matching)
        if kind == "E":
            self.line(f"{self.temporary()} = {x}.name in {known}")
            self.replace(1, self.temporary(), "B")
        else:
            self.slow(f"is_a({x}, {self.constant(classes)})", 1, "B")

    def exception(self, number: int, count: int) -> None:
        names, kinds = self.top(count)
        if any(kind not in PLAIN for kind in kinds):
            self.handled(Op.EXCEPTION, number, count, count, "E")
            return
        self.take_memory(str(112 + 56 + 40 * count))
        name = self.object(f"e{number}", EXCEPTIONS[number])
        self.line(f"{self.temporary()} = ExcValue({name}, ({''.join(f'{arg}, ' for arg in names)}))")
        self.replace(count, self.temporary(), "E")

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
            if kinds[0] not in _KEYS:
                self.guard(f"type({args[0]}) not in KEYS")
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
        made = _METHOD_MADE.get(kind, {}).get(name, "?")
        row = BY_CLASS.get((_CLASSES[kind], name)) if kind in _CLASSES and not wanted.names else None
        if row is not None and row[0] <= len(args) <= row[1]:
            function = self.object(f"m{number}{kind}", row[2])
            self.slow(f"{function}(R, {owner}, [{', '.join(args)}])", total + 1, made)
        else:
            self.slow(f"call_method(R, {number}, {owner}, {self._arguments(shape, args)})", total + 1, made)

    # Iterators.

    def iterate(self, local: int) -> None:
        (x,), (kind,) = self.top(1)
        if kind in "LTR":
            self.take_memory("112")
            self.line(f"n{local} = iter({x}); q{local} = {x}")
            self.drop(1)
            self.state.locals[local] = "r" if kind == "R" else "k"
        elif kind in "DKVP":
            self.slow(f"q{local} = make_iter(R, {x}); n{local} = iter(q{local}.keys)", 1, None)
            self.line(f"m{local} = q{local}.source.mapping; l{local} = len(q{local}.keys)")
            self.state.locals[local] = "K" if kind == "D" else kind
        elif kind == "S" and not self.generic:
            self.guard(f"not {x}.isascii()")
            self.take_memory("112")
            self.line(f"n{local} = iter({x}); q{local} = {x}")
            self.drop(1)
            self.state.locals[local] = "s"
        else:
            self.slow(f"n{local}, q{local} = open_any(R, {x})", 1, None)
            self.state.locals[local] = "*"
        self.changed()
