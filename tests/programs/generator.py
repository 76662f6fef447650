"""Random programs of the language: they end soon, and mostly do what they set out to do; some fail on their way.

Expressions are made for a kind, with a wrong kind now and then, so that messages are compared too. Loops are short,
functions call only functions before them, and numbers and texts are kept small, so that every program ends. Sets are
never iterated or printed: their order is the one difference that is meant to be.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["program"]

KINDS = ("int", "str", "list", "dict", "bool", "float", "tuple", "set")


def program(rng: random.Random) -> str:
    """The source of a program whose entry is `main`."""
    return _Program(rng).source()


class _Program:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.scopes: list[dict[str, str]] = []
        self.functions: list[dict[str, tuple[int, str]]] = [{}]
        self.loops = 0
        self.count = 0
        self.budget = 60

    def source(self) -> str:
        lines: list[str] = []
        for _ in range(self.rng.randrange(3)):
            lines += self.function(0)
        lines += ["def main():", *self.body(1, ["a", "b"], main=True)]
        return "\n".join(lines) + "\n"

    # Statements.

    def body(self, depth: int, params: list[str], *, main: bool = False) -> list[str]:
        pad = "    " * depth
        self.scopes.append({} if main else dict.fromkeys(params, "int"))
        self.functions.append({})
        lines = []
        for kind in KINDS if main else self.rng.sample(KINDS, 3):
            if self.rng.random() < 0.95:
                lines.append(f"{pad}{self.fresh(kind)} = {self.literal(kind)}")
        loops, self.loops = self.loops, 0
        lines += self.block(depth, 1 + self.rng.randrange(6))
        self.loops = loops
        names = [name for name, kind in self.scopes[-1].items()]
        lines.append(f"{pad}return [{', '.join(names)}]" if main else f"{pad}return {self.expr('int', 2)}")
        self.scopes.pop()
        self.functions.pop()
        return lines

    def block(self, depth: int, count: int) -> list[str]:
        lines: list[str] = []
        for _ in range(count):
            self.budget -= 1
            makers: list[Callable[[int], list[str]]] = [self.assign, self.assign, self.augment, self.change, self.note]
            if depth < 5 and self.budget > 0:
                makers += [self.branch, self.loop, self.attempt, self.attempt, self.search, self.unpack]
                if depth < 3:
                    makers.append(self.function)
            if self.loops and self.rng.random() < 0.25:
                lines.append("    " * depth + self.rng.choice(["break", "continue"]))
                break
            lines += self.rng.choice(makers)(depth)
        return lines

    def fresh(self, kind: str) -> str:
        self.count += 1
        name = f"{kind[0]}{self.count}"
        self.scopes[-1][name] = kind
        return name

    def mine(self, kind: str) -> str:
        """A variable of this function, if it has one of the kind."""
        known = [name for name, have in self.scopes[-1].items() if have == kind]
        return self.rng.choice(known) if known else ""

    def new(self, kind: str) -> str:
        known = [name for name, have in self.scopes[-1].items() if have == kind]
        if known and self.rng.random() < 0.85:
            return self.rng.choice(known)
        return self.fresh(kind)

    def assign(self, depth: int) -> list[str]:
        kind = self.rng.choice(KINDS)
        text = self.expr(kind, 3)
        return [f"{'    ' * depth}{self.new(kind)} = {text}"]

    def augment(self, depth: int) -> list[str]:
        kind = self.rng.choice(("int", "float", "tuple", "set", "bool"))
        op = {"int": "+ - % // & |", "float": "+ - *", "tuple": "+", "set": "| & - ^", "bool": "& |"}[kind]
        text = self.expr(kind, 2)
        name = self.mine(kind)
        if not name:
            return self.assign(depth)
        sign = self.rng.choice(op.split())
        tail = f"; {name} = {name}[:6]" if kind == "tuple" else f"; {name} %= 1013" if kind == "int" else ""
        return [f"{'    ' * depth}{name} {sign}= {text}{tail}"]

    def change(self, depth: int) -> list[str]:
        pad, xs, d = "    " * depth, self.mine("list"), self.mine("dict")
        if not xs or not d:
            return self.assign(depth)
        i, s = self.expr("int", 1), self.expr("str", 1)
        return [pad + self.rng.choice((
            f"{xs}.append({i})", f"{xs}[{i} % 4] = {self.expr('int', 1)}", f"{xs}[1:2] = [{i}]", f"{xs}.sort()",
            f"{xs}.insert({i} % 3, 7)", f"del {xs}[0]", f"{d}[{s}] = {i}", f"{d}.pop({s})", f"{xs}.reverse()",
            f"{d}.setdefault({s}, {i})", f"del {d}[{s}]", f"{self.name('set')}.add({i})", f"{xs}[:] = {xs}[-5:]",
            f"{xs}.remove({i})", f"{xs}[::2] = {self.expr('list', 1)}",
        ))]  # fmt: skip

    def note(self, depth: int) -> list[str]:
        kind = self.rng.choice([kind for kind in KINDS if kind != "set"])
        return [f"{'    ' * depth}log.note(str({self.expr(kind, 2)}))"]

    def branch(self, depth: int) -> list[str]:
        pad = "    " * depth
        lines = [f"{pad}if {self.expr('bool', 2)}:", *self.block(depth + 1, 1 + self.rng.randrange(2))]
        if self.rng.random() < 0.5:
            lines += [f"{pad}else:", *self.block(depth + 1, 1)]
        return lines

    def loop(self, depth: int) -> list[str]:
        pad = "    " * depth
        self.loops += 1
        if self.rng.random() < 0.7:
            source = self.rng.choice((f"range({self.rng.randrange(4)})", f"{self.expr('list', 1)}[:3]", "'ab'",
                                      f"list({self.name('dict')})[:3]", f"{self.expr('tuple', 1)}[:3]"))  # fmt: skip
            kind = "str" if source.startswith(("'", "list")) else "int"
            lines = [f"{pad}for {self.new(kind)} in {source}:", *self.block(depth + 1, 1 + self.rng.randrange(3))]
        else:
            self.count += 1
            n = f"n{self.count}"
            lines = [f"{pad}{n} = 0", f"{pad}while {n} < {self.rng.randrange(4)}:", f"{pad}    {n} += 1"]
            lines += self.block(depth + 1, 1 + self.rng.randrange(3))
        self.loops -= 1
        if self.rng.random() < 0.3:
            lines += [f"{pad}else:", *self.block(depth + 1, 1)]
        return lines

    def attempt(self, depth: int) -> list[str]:
        pad = "    " * depth
        lines = [f"{pad}try:", *self.block(depth + 1, 1 + self.rng.randrange(3))]
        if self.rng.random() < 0.4:
            error = self.rng.choice(("ValueError", "KeyError", "TypeError"))
            lines.append(f"{pad}    raise {error}({self.expr(self.rng.choice(('int', 'str')), 1)})")
        handlers = self.rng.randrange(3)
        for _ in range(handlers):
            classes = self.rng.choice(("ValueError", "(KeyError, IndexError)", "TypeError", "ArithmeticError",
                                       "LookupError", "Exception", "NameError"))  # fmt: skip
            self.count += 1
            lines.append(f"{pad}except {classes} as e{self.count}:")
            lines.append(f"{pad}    log.note(repr(e{self.count}.args) + str(e{self.count}))")
            lines += self.block(depth + 1, self.rng.randrange(2))
            if self.rng.random() < 0.2:
                lines.append(f"{pad}    raise")
        if handlers and self.rng.random() < 0.3:
            lines += [f"{pad}else:", *self.block(depth + 1, 1)]
        if not handlers or self.rng.random() < 0.4:
            lines += [f"{pad}finally:", *self.block(depth + 1, 1 + self.rng.randrange(2))]
        return lines

    def search(self, depth: int) -> list[str]:
        call = self.rng.choice(("max", "min", "sorted"))
        text = f"{call}({self.expr('list', 2)}, key=lambda v: {self.leaf('int')} - v)"
        return [f"{'    ' * depth}{self.new('list' if call == 'sorted' else 'int')} = {text}"]

    def unpack(self, depth: int) -> list[str]:
        text = self.expr("list", 2)
        a, b, xs = self.new("int"), self.new("int"), self.new("list")
        pattern = self.rng.choice((f"{a}, {b}, *{xs}", f"*{xs}, {b}, {a}", f"({a}, {b}), *{xs}", f"{a}, *{xs}, {b}"))
        return [f"{'    ' * depth}{pattern} = {text}"]

    def function(self, depth: int) -> list[str]:
        self.count += 1
        name, params = f"f{self.count}", ["x", "y"][: self.rng.randrange(3)]
        pad, shown = "    " * depth, list(params)
        if shown and self.rng.random() < 0.5:
            shown[-1] += f"={self.rng.randrange(9)}"
        if self.rng.random() < 0.3:
            shown.append("*rest")
        lines = [f"{pad}def {name}({', '.join(shown)}):"]
        outer = [n for scope in self.scopes for n, kind in scope.items() if kind == "int" and depth]
        if outer and self.rng.random() < 0.5 and self.scopes and (own := [
            n for n, kind in self.scopes[-1].items() if kind == "int" and n not in ("x", "y")
        ]):  # fmt: skip
            shared = self.rng.choice(own)
            lines += [f"{pad}    nonlocal {shared}", f"{pad}    {shared} = ({shared} + 1) % 1013"]
        if self.rng.random() < 0.15 and depth:
            lines.append(f"{pad}    log.note('{name}')")
        lines += self.body(depth + 1, params)
        self.functions[-1][name] = (len(params), "int")
        return lines

    # Expressions.

    def name(self, kind: str) -> str:
        known = [name for scope in self.scopes for name, have in scope.items() if have == kind]
        return self.rng.choice(known) if known else self.literal(kind)

    def literal(self, kind: str) -> str:
        n = self.rng.randrange
        return {
            "int": str(n(-3, 12)),
            "str": repr("".join(self.rng.choices("abc ", k=n(4)))),
            "list": f"[{', '.join(str(n(-3, 9)) for _ in range(n(4)))}]",
            "dict": "{" + ", ".join(f"{c!r}: {n(9)}" for c in "abc"[: n(4)]) + "}",
            "bool": self.rng.choice(("True", "False")),
            "float": self.rng.choice(("0.5", "-1.25", "3.0", "0.1", "1e10")),
            "tuple": f"({', '.join(str(n(9)) for _ in range(n(2, 4)))})",
            "set": "{" + ", ".join(str(n(6)) for _ in range(n(1, 4))) + "}",
        }[kind]

    def leaf(self, kind: str) -> str:
        if self.rng.random() < 0.03:
            return f"({self.literal(self.rng.choice(KINDS[:-1]))})"
        return self.name(kind) if self.scopes and self.rng.random() < 0.6 else self.literal(kind)

    def expr(self, kind: str, depth: int) -> str:
        if depth == 0 or self.rng.random() < 0.2:
            return self.leaf(kind)
        e = lambda k: self.expr(k, depth - 1)  # noqa: E731 - read as a shorthand below
        forms: dict[str, tuple[Callable[[], str], ...]] = {
            "int": (
                lambda: f"({e('int')} {self.rng.choice('+-')} {e('int')})",
                lambda: f"({e('int')} * {e('int')} % 101)",
                lambda: f"({e('int')} {self.rng.choice(('//', '%'))} {e('int')})",
                lambda: f"len({e('list')})",
                lambda: f"{e('list')}[{e('int')}]",
                lambda: f"{e('dict')}[{e('str')}]",
                lambda: f"sum({e('list')})",
                lambda: f"int({e('str')})",
                lambda: f"({e('int')} if {e('bool')} else {e('int')})",
                self.call,
                lambda: f"sum(q * {self.leaf('int')} for q in {e('list')}) % 1013",
                lambda: f"abs({e('int')})",
                lambda: f"{e('list')}.index({e('int')})",
                lambda: f"{e('str')}.count({e('str')})",
                lambda: f"{e('dict')}.get({e('str')}, {e('int')})",
                lambda: f"(lambda p, q=2: p - q)({e('int')})",
                lambda: f"round({e('float')})",
                lambda: f"max({e('int')}, {e('int')})",
                lambda: f"len({e('set')})",
            ),
            "str": (
                lambda: f"({e('str')} + {e('str')})[:8]",
                lambda: f"str({e('int')})",
                lambda: f"{e('str')}.upper()",
                lambda: f"f'{{{self.name('int')}:>3}}'",
                lambda: f"{e('str')}[{e('int')}:]",
                lambda: f"repr({e('bool')})",
                lambda: f"','.join([str(q) for q in {e('list')}])",
                lambda: f"{e('str')}[{e('int')}]",
                lambda: f"{e('str')}.replace({e('str')}, 'z')[:8]",
                lambda: f"({e('str')} * 2)[:8]",
                lambda: f"{e('str')}.strip()",
                lambda: f"({e('str')} or 'x')",
            ),
            "list": (
                lambda: f"({e('list')} + {e('list')})[:6]",
                lambda: f"[q + {self.leaf('int')} for q in {e('list')}]",
                lambda: f"[q for q in {e('list')} if q > {self.leaf('int')}]",
                lambda: f"{e('list')}[::-1]",
                lambda: f"sorted({e('list')})",
                lambda: f"[*{e('list')}, {e('int')}][:6]",
                lambda: f"list({e('tuple')})",
                lambda: f"[{e('int')}, {e('int')}]",
                lambda: f"{e('list')}[{e('int')}:{e('int')}]",
                lambda: f"list({e('dict')}.values())",
                lambda: f"[p * q % 7 for p in {e('list')}[:3] for q in range(2)]",
                lambda: f"[f(3) for f in [lambda v: v + q for q in {e('list')}[:3]]]",
                lambda: f"sorted({e('set')})",
                lambda: f"[p for p, q in zip({e('list')}, {e('list')})]",
                lambda: f"list(reversed({e('list')}))",
            ),
            "dict": (
                lambda: f"{{**{e('dict')}, {e('str')}: {e('int')}}}",
                lambda: f"({e('dict')} | {e('dict')})",
                lambda: f"{{str(q): q for q in {e('list')}[:3]}}",
                lambda: f"dict(k={e('int')})",
            ),
            "bool": (
                lambda: f"({e('int')} {self.rng.choice(('<', '<=', '==', '!=', '>'))} {e('int')})",
                lambda: f"({e('int')} in {e('list')})",
                lambda: f"not {e('bool')}",
                lambda: f"({e('str')} < {e('str')})",
                lambda: f"({e('bool')} {self.rng.choice(('and', 'or'))} {e('bool')})",
                lambda: f"({e('str')} in {e('dict')})",
                lambda: f"({e('int')} < {e('int')} < {e('int')})",
                lambda: f"isinstance({e('int')}, (str, bool))",
                lambda: f"any(q > 2 for q in {e('list')})",
                lambda: f"({e('set')} <= {e('set')})",
                lambda: f"({e('list')} == {e('list')})",
                lambda: f"({e('tuple')} < {e('tuple')})",
            ),
            "float": (
                lambda: f"({e('float')} {self.rng.choice('+-*')} {e('float')})",
                lambda: f"({e('int')} / {e('int')})",
                lambda: f"float({e('int')})",
                lambda: f"round({e('float')}, 2)",
            ),
            "tuple": (
                lambda: f"({e('tuple')} + {e('tuple')})[:6]",
                lambda: f"tuple({e('list')})",
                lambda: f"({e('int')}, {e('int')})",
                lambda: f"(*{e('list')}, 1)[:6]",
                lambda: f"divmod({e('int')}, {e('int')})",
                lambda: f"{e('tuple')}[1:]",
            ),
            "set": (
                lambda: f"({e('set')} {self.rng.choice('|&-^')} {e('set')})",
                lambda: f"set({e('list')})",
                lambda: f"{{q % 3 for q in {e('list')}}}",
            ),
        }
        return self.rng.choice(forms[kind])()

    def call(self) -> str:
        known = [(name, count) for scope in self.functions for name, (count, _) in scope.items()]
        if not known:
            return self.leaf("int")
        name, count = self.rng.choice(known)
        count += self.rng.choice((0, 0, 0, 0, 1, -1))
        args = [self.leaf("int") for _ in range(max(count, 0))]
        if args and self.rng.random() < 0.2:
            args[-1] = f"*[{args[-1]}]"
        return f"{name}({', '.join(args)})"
