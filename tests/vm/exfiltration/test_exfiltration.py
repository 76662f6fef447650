"""Exfiltration: each program is stopped, and leaks when the one rule that stops it is taken out.

*Stopped* means that it is refused, or that everything that may leave is equal for two private inputs. The observer of
`conftest.py` is the same in both directions, so that a rule that
no program needs, or an observer that sees nothing, fails.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
HEAD = """
def secret(r):
    return tensor.item(r)

def large(r):
    return tensor.item(r) * 1000

def listed(r):
    return [k for k in range(tensor.item(r))]

def maybe(r):
    return None if tensor.item(r) > 5 else 1

def counted(r):
    n, cursor = 0, stream.first(r)
    while cursor is not None:
        batch, cursor = stream.batch(r, cursor, 1)
        n += batch["rows"]
    return n

def failing(r):
    if tensor.item(r) > 5:
        raise ValueError("it is large")
    return 1

def failing_by_line(r):
    if tensor.item(r) > 5:
        raise ValueError("x")
    raise ValueError("x")

def failing_by_class(r):
    raise KeyError("x") if tensor.item(r) > 5 else IndexError("x")

def failing_with_text(r):
    raise ValueError(str(tensor.item(r)))

def endless(r):
    while tensor.item(r) > 5:
        pass

def greedy(r):
    return "x" * 10 ** tensor.item(r)

def recursive(r):
    return recursive(r) if tensor.item(r) > 5 else 1

def odd_result(r):
    return iter([1]) if tensor.item(r) > 5 else 1

def nested(r):
    return private(listed, r, fuel=tensor.item(r) * 100, memory=9000)

def nested_failing(r):
    return private(failing, r, fuel=1000, memory=9000)

def chatty(r):
    for k in range(tensor.item(r)):
        log.note("inside")

def appending(r, out):
    for k in range(tensor.item(r)):
        out.append(k)

def storing(r, out):
    out["k" * tensor.item(r)] = 1

def adding(r, out):
    out.add(tensor.item(r))
    out.add(3)
    out.add(1 if tensor.item(r) > 5 else 2)

def reordering(r, out):
    if tensor.item(r) > 5:
        out["a"] = out.pop("a")

def drawing(r, walk):
    for k in range(tensor.item(r)):
        next(walk)

def releasing(r):
    held = private(failing, r, fuel=500, memory=5000)
    for k in range(tensor.item(r)):
        release.count(held, of="n", name="n", high=1)

def inviting(r):
    for k in range(tensor.item(r)):
        fleet.invite(round=k)

def finishing(r):
    try:
        return tensor.item(r)
    finally:
        if tensor.item(r) > 5:
            fleet.invite(round=1)

@continuation
def main(order):
    rows = stream.open("patients", fields=["x"])
    box = private(secret, rows, fuel=3000, memory=30_000)
    kept = private(secret, rows, fuel=3000, memory=30_000)
"""
INPUTS = ((3, 2), (7, 5))  # what is read, and rows of the stream


def _sections() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for section in (HERE / "programs.txt").read_text(encoding="utf-8").split("\n=== ")[1:]:
        head, _, body = section.partition("\n")
        name, _, rule = head.partition(" | ")
        assert name not in found
        found[name] = (rule, head_of(body) + "".join(f"    {line}\n" for line in body.strip().splitlines()))
    return found


def head_of(body: str) -> str:
    """The functions that a program uses, and the beginning of its `main`: what it does not use may be refused."""
    functions = ("\n" + HEAD.lstrip("\n")).split("\n\n")
    names = [text.split("(")[0].split()[-1] for text in functions[:-1]]
    wanted = {name for name in names if name + "(" in body or name + "," in body}
    while True:
        more = {
            other
            for name, text in zip(names, functions[:-1], strict=True)
            for other in names
            if name in wanted and other != name and (other + "(" in text or other + "," in text)
        }
        if more <= wanted:
            break
        wanted |= more
    wanted.add("secret")
    return "\n\n".join([t for n, t in zip(names, functions[:-1], strict=True) if n in wanted] + [functions[-1]])


def _rules() -> dict[str, Callable[[pytest.MonkeyPatch], None]]:
    spec = importlib.util.spec_from_file_location("exfiltration_rules", HERE / "rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.RULES)


PROGRAMS, RULES = _sections(), _rules()


@pytest.mark.parametrize("name", PROGRAMS)
def test_stopped(leaks: Any, name: str) -> None:
    _, source = PROGRAMS[name]
    first, second = (leaks.observe(source, *given) for given in INPUTS)
    assert first == second
    assert leaks.observe(source, *INPUTS[1], slice_fuel=7) == second


@pytest.mark.parametrize("name", PROGRAMS)
def test_leaks_without_its_rule(leaks: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    rule, source = PROGRAMS[name]
    RULES[rule](monkeypatch)
    first, second = (leaks.observe(source, *given) for given in INPUTS)
    assert first[0][0] != "refused"
    assert first != second


def test_every_rule_is_needed_and_there_are_enough_programs() -> None:
    assert {rule for rule, _ in PROGRAMS.values()} == set(RULES)
    assert len(PROGRAMS) >= 40
