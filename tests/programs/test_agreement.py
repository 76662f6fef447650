"""One corpus runs on the machine and on CPython 3.11, and must agree: values, classes of exceptions, messages, logs.

Each program is also stopped at sampled instructions, dumped, loaded and gone on with: the same result, and the same
state at the end, byte for byte.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

on_311 = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the language is CPython 3.11's")


@on_311
def test_program_agrees(oracle: Any, corpus: dict[str, str], corpus_name: str) -> None:
    source = corpus[corpus_name]
    assert oracle.on_machine(source) == oracle.on_cpython(source)


def test_program_stops_anywhere(oracle: Any, corpus: dict[str, str], corpus_name: str) -> None:
    program = oracle.compiled(corpus[corpus_name])
    result, state, fuel = oracle.straight(program)
    assert oracle.stopping(program, oracle.sampled_stops(corpus_name, fuel, 12)) == (result, state)


def test_corpus_is_not_empty(oracle: Any, corpus: dict[str, str]) -> None:
    assert len(corpus) + len(oracle.expressions()) >= 400


@on_311
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_expression_agrees(oracle: Any, expression: str) -> None:
    source = f"def main():\n    x = {expression}\n    return str(x)\n"
    assert oracle.on_machine(source) == oracle.on_cpython(source)
