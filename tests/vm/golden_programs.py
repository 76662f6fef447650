"""The programs behind the golden files; `test_golden` says what is done with them."""

from __future__ import annotations

from typing import Final

__all__ = ["SOURCES"]

LOOPS: Final = """
@continuation
def main():
    out = []
    for k, (a, b) in enumerate(zip("xyz", {"p": 1, "q": 2, "r": 3}.items())):
        for c in reversed([1, 2, 3]):
            if c == 2:
                continue
            for s in {k, c}:
                log.note(f"{k}{a}{b}{c}{s}")
                out.append((k, s))
    else:
        log.note("else")
    return out
"""

FINALLY: Final = """
def risky(n, log_of):
    try:
        try:
            if n % 2:
                raise ValueError("odd", n)
            return n
        except ValueError as e:
            log.note(f"handler {e} {e.args}")
            raise KeyError(n) from e
        finally:
            log.note("inner finally")
            log_of.append(n)
    finally:
        log.note("outer finally")

@continuation
def main():
    seen, out = [], []
    for n in range(4):
        try:
            out.append(risky(n, seen))
        except KeyError as e:
            log.note(f"caught {e!r}")
            out.append(e.args)
            continue
        finally:
            log.note("loop finally")
    return [seen, out]
"""

CLOSURES: Final = """
@continuation
def main():
    total = 0
    def adder(by, *rest, scale=(1, 2), **named):
        def add(x=by):
            nonlocal total
            total += x * scale[0] + len(rest) + len(named)
            log.note(str(total))
            return total
        return add
    adders = [adder(1), adder(2, 3, scale=(5, 6)), adder(4, k=1), lambda: log.note("lambda") or total]
    k = here()
    first = len
    return [f() for f in adders] + [first(adders)]
"""

COMPREHENSIONS: Final = """
@continuation
def main():
    rows = [[1, 2], [3, 4]]
    shown = [[log.note(f"{x}") or x * y for x in row if x != 3] for y, row in enumerate(rows)]
    pairs = {x: {log.note(str(x)) or y for y in range(x)} for x in (1, 2)}
    keyed = sorted([3, 1, 2], key=lambda v: log.note(f"key {v}") or -v)
    return [shown, {k: len(v) for k, v in pairs.items()}, keyed, any(log.note("any") or v > 2 for v in keyed)]
"""

# Its modules stand in `conftest`.
MODULES: Final = """
import tools.counting as c
from shared import LIMIT, inside, step as s
@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    box = private(inside, rows, LIMIT, fuel=1_000, memory=20_000)
    up = c.counter(LIMIT)
    out = [s(up()) for _ in range(LIMIT)]
    try:
        s("x")
    except TypeError as e:
        log.note(str(e))
    return [out, up(by=c.STEP), s(0)]
"""

SOURCES: Final = {
    "loops": LOOPS,
    "finally": FINALLY,
    "closures": CLOSURES,
    "comprehensions": COMPREHENSIONS,
    "modules": MODULES,
}
