"""Attempts by source: refused with a place and what to write instead, or an ordinary end in which only values are."""

from __future__ import annotations

import builtins
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.errors import ProgramRefused
from sojourn.vm import Done, Machine, compile_source

CORPUS = "sources.txt"
WHOLE = ("@continuation", "async def main")


def whole(text: str) -> str:
    if any(mark in text for mark in WHOLE):
        return text
    return "@continuation\ndef main():\n" + "".join(f"    {line}\n" for line in text.splitlines())


def test_stays_inside(kit: Any, escapes: Any, attempt: Any) -> None:
    before = set(vars(builtins))
    begin = time.process_time()
    if attempt.expected == "refused":
        with pytest.raises(ProgramRefused) as refusal:
            kit.program_of(whole(attempt.text))
        assert str(refusal.value).startswith(f"program.py:{refusal.value.line}:")
        assert refusal.value.why
        assert refusal.value.instead
        return
    for slice_fuel in (10**9, 11):
        machine = kit.start(whole(attempt.text), fuel=3000, memory=60_000)
        progress = escapes.drive(machine, lambda machine, _: machine.resume(None), slice_fuel)
        assert ("done" if isinstance(progress, Done) else progress.code) == attempt.expected
        assert Machine.load(machine.program, machine.dump()).dump() == machine.dump()
    assert time.process_time() - begin < escapes.SECOND
    assert set(vars(builtins)) == before


FILENAMES = ("x\n    import os", "\x00", "\ud800", "'\"\\", "<string>", "/dev/stdin", "", "x" * 10_000, "\u202egnp.py")


@pytest.mark.parametrize("filename", FILENAMES, ids=range(len(FILENAMES)))
def test_the_name_of_a_file_is_only_shown(filename: str) -> None:
    good, bad = "@continuation\ndef main():\n    return 1\n", "@continuation\ndef main():\n    return eval\n"
    try:
        assert compile_source(good, filename).encode() == compile_source(good, "program.py").encode()
    except ProgramRefused as refusal:
        assert refusal.line == 1  # noqa: PT017 - a name that CPython's own compiler does not take
    with pytest.raises(ProgramRefused):
        compile_source(bad, filename)


DEEP = {
    "parentheses": "return " + "(" * 5000 + "1" + ")" * 5000,
    "brackets": "return " + "[" * 90 + "1" + "]" * 90,
    "operators": "return " + "1+" * 20_000 + "1",
    "signs": "return " + "-" * 20_000 + "1",
    "attributes": "return x" + ".a" * 20_000,
    "calls": "return x" + "()" * 20_000,
    "lambdas": "return " + "lambda:" * 2000 + "1",
    "conditions": "return " + "1 if 1 else " * 5000 + "1",
    "comparisons": "return " + "1 < " * 2_000 + "1",
    "elifs": "if 1:\n    pass\n" + "elif 1:\n    pass\n" * 5000,
    "f-strings": "return f'" + "{1}" * 3_000 + "'",
    "keywords": "return dict(" + ",".join(f"k{k}=1" for k in range(300)) + ")",
    "targets": "(" * 150 + "a" + ",)" * 150 + " = 1",
    "comprehensions": "return [" + "1 for k in [1] " * 2000 + "]",
    "parameters": "def f(" + ",".join(f"p{k}" for k in range(2000)) + "):\n    pass",
    "literals": "return [" + "12345678," * 5_000 + "]",
    "digits": "return " + "9" * 5000,
    "long hexadecimal": "return 0x" + "f" * 100_000,
    "long text": "return '" + "x" * 900_000 + "'",
}


SIZES = {
    "literal used by many functions": "A = (" + ("(" + "1," * 900 + "),") * 60 + ")\n"
    + "".join(f"def f{k}():\n return A\n" for k in range(200)) + "@continuation\ndef main():\n pass\n",
    "literal as the default of many functions": "A = (" + ("(" + "1," * 900 + "),") * 60 + ")\n"
    + "".join(f"def f{k}(x=A):\n pass\n" for k in range(200)) + "@continuation\ndef main():\n pass\n",
    "regions that reach everything": "".join(f"def f{k}():\n" + f" f{(k + 1) % 300}()\n" * 20 for k in range(300))
    + "@continuation\ndef main():\n" + "".join(f" private(f{k}, fuel=1, memory=1)\n" for k in range(300)),
    "functions beyond the table": "@continuation\ndef main():\n return [" + "lambda: 1, " * 4200 + "]\n",
    "functions inside of finally": "@continuation\ndef main():\n" + "".join(
        f"{pad}try: pass\n{pad}finally:\n{pad} def f():\n" for pad in (" " * (2 * k + 1) for k in range(25))
    ) + " " * 51 + "pass\n",
    "nothing inside of finally": "@continuation\ndef main():\n" + "".join(
        f"{' ' * (k + 1)}try: pass\n{' ' * (k + 1)}finally:\n" for k in range(16)
    ) + (" " * 17 + "pass\n") * 2000,
}  # fmt: skip


@pytest.mark.parametrize("name", [*DEEP, *SIZES])
def test_large_and_deep_sources_are_refused_at_once(kit: Any, escapes: Any, name: str) -> None:
    source = SIZES.get(name) or whole(DEEP[name])
    begin = time.process_time()
    try:
        kit.program_of(source)
    except ProgramRefused as refusal:
        assert refusal.instead  # noqa: PT017 - a few of these are small enough for the language
    assert time.process_time() - begin < 3 * escapes.SECOND  # the compiler is the author's own


PIECES = st.sampled_from(
    [
        *("__class__", "__globals__", "log", "eval", "x", "_1", ".1", "lambda:", "f'{x!r:{x}}'", "(", ")", "[", "]"),
        *("{", "}", "=", ":=", "*", "**", ",", ":", "@", "if ", " else ", " for ", " in ", "not ", "await ", "yield "),
        *("\n    ", "\n", "1", "''", "b''", "\\", "#", "\x00", "\ud800", "\u2028", "here()", "private(", "raise "),
        *("fork(fuel=1,memory=1)", "try:", "del "),
    ]
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=12))
def test_any_source_is_a_program_or_refused(pieces: list[str]) -> None:
    source = "@continuation\ndef main():\n    " + "".join(pieces) + "\n"
    try:
        compile_source(source, "program.py")
    except ProgramRefused as refusal:
        assert refusal.line >= 0  # noqa: PT017
