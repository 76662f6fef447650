"""One corpus runs on the machine and on CPython 3.11, and must agree: values, classes of exceptions, messages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sojourn.vm import Done, Failed, Machine, compile_source, verify

HERE = Path(__file__).parent


def _programs() -> dict[str, str]:
    sections = (HERE / "corpus.txt").read_text(encoding="utf-8").split("=== ")[1:]
    return {name: body for name, _, body in (section.partition("\n") for section in sections)}


PROGRAMS = _programs()
EXPRESSIONS = (HERE / "expressions.txt").read_text(encoding="utf-8").splitlines()


def on_cpython(source: str) -> tuple[str, str]:
    scope: dict[str, Any] = {}
    exec(compile(source, "program.py", "exec", dont_inherit=True), scope)
    try:
        value = scope["main"]()
    except Exception as problem:  # noqa: BLE001 - whatever it is, the machine must say the same
        return type(problem).__name__, str(problem)
    return "value", repr(value)


def on_machine(source: str) -> tuple[str, str]:
    program = verify(compile_source(source.replace("def main(", "@continuation\ndef main("), "program.py").encode())
    machine = Machine.start(program, "main", (), bytes(32), 10**7, 10**8)
    progress = machine.run(10**7)
    if isinstance(progress, Done):
        return "value", repr(progress.value)
    assert isinstance(progress, Failed)
    _, _, message = progress.detail.partition(": ")
    return progress.code, message


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the language is CPython 3.11's")
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_agrees(name: str) -> None:
    assert on_machine(PROGRAMS[name]) == on_cpython(PROGRAMS[name])


def test_corpus_is_not_empty() -> None:
    assert len(PROGRAMS) >= 40
    assert len(EXPRESSIONS) >= 200


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the language is CPython 3.11's")
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expression_agrees(text: str) -> None:
    source = f"def main():\n    x = {text}\n    return str(x)\n"
    assert on_machine(source) == on_cpython(source)
