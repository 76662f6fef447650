"""Containers, text, variables and iterators."""

from __future__ import annotations

from typing import Final

from sojourn.vm.keys import LONG_KEY
from sojourn.vm.op import EXCEPTIONS, Op
from sojourn.vm.projection.kinds import PLAIN
from sojourn.vm.projection.methods import Methods
from sojourn.vm.tables import ancestors

__all__ = ["Objects"]

_KEYS: Final = frozenset("SIFBN")


class Objects(Methods):
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
        if all(self.free_key(key, kind) for key, kind in zip(names[::2], kinds[::2], strict=True)):
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
        if kind == "D" and key_kind in _KEYS and not self.generic:
            self.key(key, key_kind)
            self._put(target, key, value)
            self.drop(2)
        else:
            self.handled(Op.PUT, 0, 0, 3, kind)

    def _put(self, target: str, key: str, value: str) -> None:
        with self.deeper(f"if {key} not in {target}:"):
            self.take_memory("120")
        self.line(f"{target}[{key}] = {value}")

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
            if kind in "D?":
                self.key(k, key)
            self.line(f"{t} = {o}[{k}]", self.before())  # what is not there, the stepper raises
            self.replace(2, t, "?")
        else:
            self.slow(f"index(R, {o}, {k})", 2, "?")

    def _index_again(self, o: str, k: str, kind: str, key: str) -> None:
        t = self.temporary()
        if kind in "D?" and key in _KEYS:
            test = f"{k} in {o}" if kind == "D" else f"type({o}) is dict and {k} in {o}"
            if not self.free_key(k, key):
                test = f"len({k}) < {LONG_KEY} and {test}"
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
        if kind in "D?":
            self.key(k, key)
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
