"""Random programs with regions, boxes and effects: what a careless or a hostile author might write.

In regions everything may depend on private values: branches, loops, failures, budgets, mutation of what was given. In
the public world boxes are kept, aliased, passed on, released, given to effects and, now and then, opened by force.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["program"]

REGIONS = 3


def program(rng: random.Random) -> str:
    """The source of a program whose entry is `main(order)`."""
    return _Program(rng).source()


class _Program:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.budget = 26

    def source(self) -> str:
        lines: list[str] = []
        for k in range(REGIONS):
            lines += self.region(k)
        lines += ["@continuation", "def main(order):"]
        lines += ["    rows = stream.open('patients', fields=['x'])", "    private_tensor = order.private"]
        lines += ["    items, held, table, n = [1, 2], [], {'a': 1}, 3"]
        lines += ["    box = private(region0, rows, items, fuel=2000, memory=60_000)"]
        lines += self.block(1, 3 + self.rng.randrange(7), self.public)
        lines.append(f"    return {self.rng.choice(('[n, items]', 'held', 'table', self.box(), 'None'))}")
        return "\n".join(lines) + "\n"

    def pick(self, *options: str) -> str:
        return self.rng.choice(options)

    def block(self, depth: int, count: int, maker: Callable[[int], list[str]]) -> list[str]:
        lines: list[str] = []
        for _ in range(count):
            self.budget -= 1
            lines += maker(depth)
        return lines or [f"{'    ' * depth}pass"]

    # The public world.

    def box(self) -> str:
        return self.pick("box", "box", "box", "(held or [box])[0]", "table.get('b', box)")

    def limits(self) -> str:
        fuel = self.pick("60", "400", "2000", "n * 100")
        return f"fuel={fuel}, memory={self.pick('3_000', '20_000', '60_000')}"

    def start(self) -> str:
        """An expression that starts a region."""
        given = self.pick("rows", "private_tensor", self.box(), "rows", f"[{self.box()}, rows]")
        which = self.pick(
            *(f"region{k}" for k in range(REGIONS)), "(lambda a, b: [region1(a, b), b])", "lambda_of(rows)"
        )
        if which == "lambda_of(rows)":
            return f"private(lambda: region0(rows, items), {self.limits()})"
        return f"private({which}, {given}, {self.pick('items', 'table', 'held', 'n', self.box())}, {self.limits()})"

    def public(self, depth: int) -> list[str]:
        pad = "    " * depth
        makers: list[Callable[[], list[str]]] = [
            self.new_box, self.new_box, self.new_box, self.effect, self.effect, self.release, self.release, self.note,
            self.keep, self.keep, self.alias, self.outward, self.work, self.child,
        ]  # fmt: skip
        if depth < 4 and self.budget > 0:
            makers += [lambda: self.guarded(depth), lambda: self.guarded(depth), lambda: self.loop(depth)]
            makers += [lambda: self.branch(depth)]
        if self.rng.random() < 0.04:
            return [f"{pad}{self.misuse()}"]
        return [line if line.startswith(" ") else pad + line for line in self.rng.choice(makers)()]

    def new_box(self) -> list[str]:
        return [self.pick(f"box = {self.start()}", f"held.append({self.start()})", f"table['b'] = {self.start()}")]

    def effect(self) -> list[str]:
        return [self.pick(
            f"box = gpu.run('g', x={self.box()})",
            f"box = gpu.run('fails', x={self.box()}, y=n)",
            f"box = tensor.item({self.box()})",
            "box = tensor.item(private_tensor)",
            f"box = gpu.run('g', x=[private_tensor, {self.box()}])",
            "out = gpu.run('g', x=n)",
            f"held.append(tensor.item({self.box()}))",
        )]  # fmt: skip

    def release(self) -> list[str]:
        box, name = self.box(), self.pick("'n'", "f'n{n}'", "str(len(held))")
        return [self.pick(
            f"release.count({box}, of='n', name={name}, high=10)",
            f"release.sum({box}, of=n, name={name}, low=0.0, high=1.0)",
            f"release.mean({box}, of='losses', name={name}, low=0.0, high=1.0)",
            f"release.update({box}, of='state', weight='n', base=n)",
            f"items.append(release.count({box}, of='n', name='n', high=n))",
        )]  # fmt: skip

    def note(self) -> list[str]:
        return [f"log.note({self.pick('str(items)', 'str(len(held))', 'str(n)', 'str(sorted(table))', 'repr(n)')})"]

    def keep(self) -> list[str]:
        box = self.box()
        return [self.pick(
            f"held.append({box})", f"table['b'] = {box}", "held = held[-2:]", "table.pop('b', None)", "held.reverse()",
            f"items = [*items, {box}][:2]", "n = (n + len(held)) % 7 + 1", "held = held + held[:1]",
            "kept = here()", "table = {**table, 'c': held[:1]}",
        )]  # fmt: skip

    def alias(self) -> list[str]:
        return [self.pick(
            "box = (held or [box])[-1]", "box = table.get('b', box)", "other = box", "box, other = [box, box]",
            "f = lambda: box", "get = lambda k=box: k", "box = [k for k in [box]][0]", "box = (lambda k: k)(box)",
        )]  # fmt: skip

    def outward(self) -> list[str]:
        return [self.pick(
            "fleet.invite(round=n)", "model.publish(n, round=len(items))",
            "answers = fleet.ask(n, 'train', weights=items)", "s = stream.open(f's{n}', fields=['x'])",
        )]  # fmt: skip

    def work(self) -> list[str]:
        return [self.pick(
            "n = (n * 3 + 1) % 8", "x = 'a' * 200_000", "x = [k for k in range(50)]", "items = items + [n]",
            "x = ['a' * 90_000 for k in range(12)]", "n += 1", "table[str(n)] = n", "x = [held] * 3000",
        )]  # fmt: skip

    def child(self) -> list[str]:
        limits = self.pick("fuel=3000, memory=150_000", "fuel=600, memory=90_000")
        task = "task"
        body = self.pick("box", self.start(), f"[{self.start()}, n][1]", "len(held)", "items.append(1)")
        return self.rng.choice((
            [f"{task} = spawn(lambda: {body}, {limits})", f"n = 1 if join({task}) is None else 2"],
            [f"{task} = spawn(lambda: {body}, {limits})", f"items = [join({task})]"],
            [f"{task} = fork({limits})", f"if {task} is None: return n"],
            [f"{task} = spawn(here(), n, {limits})"] if self.rng.random() < 0.2 else ["n = 4"],
        ))  # fmt: skip

    def guarded(self, depth: int) -> list[str]:
        pad = "    " * depth
        lines = [f"{pad}try:", f"{pad}    {self.misuse()}"]
        if self.rng.random() < 0.4:
            lines += self.block(depth + 1, 1, self.public)
        caught = self.pick("TypeError", "Exception", "(TypeError, ValueError) as e", "BaseException")
        return [*lines, f"{pad}except {caught}:", *self.block(depth + 1, 1, self.public)] + (
            [f"{pad}finally:", f"{pad}    n = (n + 1) % 9"] if self.rng.random() < 0.4 else []
        )

    def loop(self, depth: int) -> list[str]:
        head = self.pick("for k in range(2):", "for k in held[:2]:", "for k in list(table)[:2]:", "for k in items[:2]:")
        return [f"{'    ' * depth}{head}", *self.block(depth + 1, 1 + self.rng.randrange(2), self.public)]

    def branch(self, depth: int) -> list[str]:
        pad = "    " * depth
        lines = [f"{pad}if {self.pick('n > 2', 'held', 'len(items) > 2', 'n in items')}:"]
        return [*lines, *self.block(depth + 1, 1, self.public), f"{pad}else:", *self.block(depth + 1, 1, self.public)]

    def misuse(self) -> str:
        """Something that opens a box, or hands it where it does not belong."""
        b = self.box()
        return self.pick(
            f"n = 1 if {b} else 2", f"n = {b} + 1", f"log.note(str({b}))", f"n = len({b})", f"n = [1, 2, 3][{b}]",
            f"log.note({b})", f"n = {b} == 3", f"n = 3 in [{b}]", f"for k in {b}: log.note('k')", f"table[{b}] = 1",
            f"release.count({b}, of='n', name={b}, high=1)", f"fleet.invite(round={b})", f"raise ValueError({b})",
            f"private(region0, rows, n, fuel={b}, memory=9000)", f"n = max([1, {b}])", f"n = {b}['n']", f"assert {b}",
            f"stream.open({b}, fields=[])", f"n = isinstance({b}, int)", f"log.note(f'{{{b}}}')", f"n = {b} is None",
            f"items += {b}", f"n = {{{b}}}", f"n = sorted([{b}, 1])", f"n, m = {b}",
            f"release.count(n, of={b}, name='n', high=1)", f"n = rows == {b}", "n = rows.label", "n = str(rows)",
        )  # fmt: skip

    # Regions.

    def region(self, k: int) -> list[str]:
        """A function for regions: `a` is private or holds something private, `b` came from the public world."""
        lines = [f"def region{k}(a, b):", f"    s, out = {self.pick('5', '0')}, []"]
        if self.rng.random() < 0.8:
            lines += ["    try:", "        s = tensor.item(a)", f"    except {self.pick('TypeError', 'Exception')}:"]
            lines += [f"        s = {self.pick('1', 'len(str(a))', '0')}"]
        if self.rng.random() < 0.4:
            lines += ["    try:", "        cursor = stream.first(a)", "        while cursor is not None:",
                      f"            batch, cursor = stream.batch(a, cursor, {self.pick('1', '2')})",
                      f"            s, out = s + batch['rows'], out + [batch[{self.pick(repr('rows'), repr('x'))}]]",
                      "    except Exception as e:", "        out.append(str(e))"]  # fmt: skip
        lines += self.block(1, 1 + self.rng.randrange(4), lambda depth: self.inside(depth, k))
        return [*lines, f"    return {self.result()}"]

    def result(self) -> str:
        return self.pick("s", "{'n': s, 'losses': out}", "out", "[s] * 5", "b", "a", "None", "iter(out)", "lambda: s",
                         "{'n': out, 'state': b}", "f'{s}'", "(s, (s, out))", "s > 5", "out[0]")  # fmt: skip

    def inside(self, depth: int, k: int) -> list[str]:
        pad = "    " * depth
        if depth < 3 and self.rng.random() < 0.45:
            head = self.pick("if s > 5:", "if s:", "while s > 7:", "for k in range(9):", "for k in out[:3]:",
                             "for k in [s, s][:2]:", "try:")  # fmt: skip
            lines = [pad + head, *self.block(depth + 1, 1, lambda at: self.inside(at, k))]
            if head == "try:":
                lines += [f"{pad}except {self.pick('ValueError', 'Exception')} as e:", f"{pad}    out.append(str(e))"]
                lines += [f"{pad}finally:", *self.block(depth + 1, 1, lambda at: self.inside(at, k))]
            return lines
        simple = [
            "out.append(s)", "b.append(s)", "b['k'] = s", "s = s - 1", "s += len(out)",
            "out = [s] * (s if s < 50 else 9)", "raise ValueError(f'private {s}')", "raise KeyError(s)",
            "assert s < 5, 'large'", "log.note(f'private {s}')",
            "out.append(gpu.run('g', x=a))", "gpu.run('fails', x=a)", "out.append('x' * 2000)",
            "s = 'x' * 10**9 if s > 5 else 1",
            "(lambda: fleet.invite(round=1))() if s > 5 else 0", "(lambda: stream.open(str(s), fields=['x']))()",
            "(lambda: fork(fuel=1, memory=9000))()", "b.clear()", "b.sort()", "s = [1, 2, 3][s]", "return s",
            "(lambda: model.publish(s, round=1))() if s > 3 else 0", "s = sum([k for k in range(200)])", "out = here()",
        ]  # fmt: skip
        if k < REGIONS - 1:
            limits = self.pick("fuel=200, memory=4000", "fuel=s, memory=4000", "fuel=50, memory=s * 1000")
            simple += [f"out = private(region{k + 1}, a, s, {limits})", f"out.append(private(lambda: s, {limits}))"]
        return [pad + self.rng.choice(simple)]
