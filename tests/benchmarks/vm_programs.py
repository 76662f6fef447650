"""The programs that `vm.py` measures, by group, each with the argument of its `main`."""

from __future__ import annotations

from typing import Final

__all__ = ["EFFECTS", "GROUPS", "RAISES", "REGION", "THREE_FRAMES", "long_function"]

GROUPS: Final[dict[str, dict[str, tuple[str, int]]]] = {
    "scalar": {
        "while": (
            """
def main(n):
    i = 0
    while i < n:
        i = i + 1
    return i
""",
            200_000,
        ),
        "branches": (
            """
def main(n):
    s = 0
    for i in range(n):
        if i % 3 == 0:
            s = s + i
        else:
            s = s - 1
    return s
""",
            100_000,
        ),
        "logistic": (
            """
def main(n):
    x, y = 0.5, 0.0
    for i in range(n):
        x = 3.7 * x * (1.0 - x)
        y = y + x / 2.0
    return y
""",
            50_000,
        ),
        "collatz": (
            """
def main(n):
    most = 0
    for start in range(1, n):
        k, steps = start, 0
        while k != 1:
            if k % 2 == 0:
                k = k // 2
            else:
                k = 3 * k + 1
            steps += 1
        if steps > most:
            most = steps
    return most
""",
            1_000,
        ),
        "nested": (
            """
def main(n):
    hits = 0
    for y in range(n):
        for x in range(n):
            a = x * 0.03 - 2.0
            b = y * 0.03 - 1.5
            if a * a + b * b < 4.0:
                hits += 1
    return hits
""",
            200,
        ),
    },
    "call": {
        "fib": (
            """
def fib(n):
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)

def main(n):
    return fib(n)
""",
            21,
        ),
        "add": (
            """
def add(a, b):
    return a + b

def main(n):
    s = 0
    for i in range(n):
        s = add(s, i)
    return s
""",
            50_000,
        ),
        "even_odd": (
            """
def even(n):
    return True if n == 0 else odd(n - 1)

def odd(n):
    return False if n == 0 else even(n - 1)

def main(n):
    found = 0
    for i in range(n):
        if even(i % 20):
            found += 1
    return found
""",
            5_000,
        ),
        "defaults": (
            """
def scaled(x, factor=2.0, offset=1.0):
    return x * factor + offset

def main(n):
    s = 0.0
    for i in range(n):
        s += scaled(0.5) + scaled(1.5, offset=2.0)
    return s
""",
            25_000,
        ),
        "closure": (
            """
def main(n):
    total = 0

    def add(x):
        nonlocal total
        total += x
        return total

    last = 0
    for i in range(n):
        last = add(i)
    return last
""",
            30_000,
        ),
    },
    "container": {
        "list": (
            """
def main(n):
    a = []
    for i in range(n):
        a.append(i * 2)
    s = 0
    for x in a:
        s = s + x
    for i in range(n):
        a[i] = a[i] + 1
    return s + a[n - 1]
""",
            30_000,
        ),
        "dict": (
            """
def main(n):
    d = {}
    for i in range(n):
        k = i % 1000
        if k in d:
            d[k] = d[k] + 1
        else:
            d[k] = 1
    return len(d)
""",
            30_000,
        ),
        "comprehension": (
            """
def main(n):
    t = 0
    for k in range(n):
        xs = [i * i for i in range(50) if i % 2 == 0]
        t = t + len(xs) + xs[3]
    return t
""",
            600,
        ),
        "items": (
            """
def main(n):
    d = {}
    for i in range(500):
        d[i] = i * 3
    s = 0
    for _ in range(n):
        for k, v in d.items():
            if v % 2 == 0:
                s += k
    return s
""",
            60,
        ),
        "records": (
            """
def main(n):
    rows = []
    for i in range(n):
        rows.append({"id": i, "age": i % 90, "dose": i * 0.25})
    total = 0.0
    for row in rows:
        if row["age"] > 40:
            total += row["dose"]
    return total
""",
            10_000,
        ),
        "sieve": (
            """
def main(n):
    flags = [True] * n
    count = 0
    for i in range(2, n):
        if flags[i]:
            count += 1
            j = i * i
            while j < n:
                flags[j] = False
                j += i
    return count
""",
            20_000,
        ),
    },
    "string": {
        "concatenate": (
            """
def main(n):
    s, c = "", 0
    for i in range(n):
        s = s + "ab"
        if len(s) > 200:
            s = ""
            c = c + len(str(i))
    return c
""",
            30_000,
        ),
        "format": (
            """
def main(n):
    c = 0
    for i in range(n):
        line = f"row {i}: {i % 7}"
        c += len(line)
    return c
""",
            20_000,
        ),
        "scan": (
            """
def main(n):
    text = "the quick brown fox jumps over the lazy dog"
    vowels = 0
    for _ in range(n):
        for ch in text:
            if ch == "e" or ch == "o":
                vowels += 1
    return vowels
""",
            1_000,
        ),
        "split_join": (
            """
def main(n):
    line = "alpha,beta,gamma,delta,epsilon,zeta"
    c = 0
    for i in range(n):
        parts = line.split(",")
        parts.append(str(i))
        c += len("-".join(parts))
    return c
""",
            10_000,
        ),
        "methods": (
            """
def main(n):
    names = ["Ada Lovelace", "alan turing", "Grace Hopper", "edsger dijkstra"]
    c = 0
    for i in range(n):
        name = names[i % 4].strip().lower()
        if name.startswith("a"):
            c += len(name.upper())
        if "e" in name:
            c += name.find("e")
    return c
""",
            10_000,
        ),
    },
}

# `main(2 * n + 1)` raises n times, `main(2 * n)` does the same without raising.
RAISES: Final[dict[str, tuple[str, int]]] = {
    "here": (
        """
def main(n):
    caught, raising = 0, n % 2 == 1
    for i in range(n // 2):
        try:
            if raising:
                raise ValueError("no")
        except ValueError:
            caught += 1
    return caught
""",
        10_000,
    ),
    "called": (
        """
def check(raising):
    if raising:
        raise ValueError("no")
    return 1

def main(n):
    caught, raising = 0, n % 2 == 1
    for i in range(n // 2):
        try:
            check(raising)
        except ValueError as problem:
            caught += 1
    return caught
""",
        10_000,
    ),
    "key": (
        """
def main(n):
    caught, raising, d = 0, n % 2 == 1, {1: 1}
    key = 2 if raising else 1
    for i in range(n // 2):
        try:
            d[key]
        except KeyError:
            caught += 1
    return caught
""",
        10_000,
    ),
    "zero": (
        """
def main(n):
    caught, raising = 0, n % 2 == 1
    by = 0 if raising else 1
    for i in range(n // 2):
        try:
            i // by
        except ZeroDivisionError:
            caught += 1
    return caught
""",
        10_000,
    ),
}

EFFECTS: Final = """
def main(n):
    last = 0
    for i in range(n):
        last = gpu.run("step", i=i)
    return last
"""

THREE_FRAMES: Final = """
def inner(i, label):
    return gpu.run("step", i=i)

def outer(i, scale):
    made = inner(i, "phase")
    return made

def main(n):
    last, losses = 0, []
    for i in range(n):
        last = outer(i, 0.5)
    return last
"""

REGION: Final = """
def nothing():
    return 1

def main(n):
    box = None
    for i in range(n):
        box = private(nothing, fuel=100, memory=5000)
    return box is None if n == 0 else n
"""


def long_function(instructions: int) -> str:
    """A program of about so many instructions: loops, branches, calls and containers in turn."""
    part = """
    for i{k} in range(n):
        if i{k} % 3 == 0:
            s = s + i{k} * 2
        else:
            t.append(s - {k})
    d["k{k}"] = len(t)
    while s > {k}:
        s = s // 2
"""
    parts = "".join(part.format(k=k) for k in range(max(instructions // 36, 1)))
    split = [f"def part{j}(n):\n    s, t, d = n, [], {{}}{body}    return s\n" for j, body in enumerate(_cut(parts))]
    calls = "".join(f"    n = part{j}(n)\n" for j in range(len(split)))
    return "\n".join(split) + f"\n@continuation\ndef main(n):\n{calls}    return n\n"


def _cut(parts: str) -> list[str]:
    """Four stretches of the body a function: it is loops of their own that programs have, not one long function."""
    pieces = parts.split("\n    for ")[1:]
    bodies = ["\n    for " + piece for piece in pieces]
    return ["".join(bodies[k : k + 4]) for k in range(0, len(bodies), 4)]
