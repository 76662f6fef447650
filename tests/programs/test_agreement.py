"""One corpus runs on the machine and on CPython 3.11, and must agree: values, classes of exceptions, messages, logs.

Each program is also stopped at sampled instructions, one after the other in one run: the same result, and the same
state at the end, byte for byte. `test_stopping` has another process go on.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
from sojourn.vm.op import BUILTINS, EXCEPTIONS, METHODS, RAISABLE, Op, unpack

on_311 = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the language is CPython 3.11's")


@on_311
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_program_agrees(oracle: Any, corpus: dict[str, str], corpus_name: str) -> None:
    source = corpus[corpus_name]
    assert oracle.on_machine(source) == oracle.on_cpython(source)


def test_program_stops_anywhere(oracle: Any, corpus: dict[str, str], corpus_name: str) -> None:
    program = oracle.compiled(corpus[corpus_name])
    result, state, fuel = oracle.straight(program)
    assert oracle.stopping(program, oracle.sampled_stops(corpus_name, fuel, 4)) == (result, state)


def test_the_corpus_leaves_nothing_of_the_language_out(oracle: Any, corpus: dict[str, str]) -> None:
    """Every instruction that CPython has a counterpart of, every builtin, method and exception occurs."""
    assert len(corpus) >= 400
    seen: set[tuple[int, int]] = set()
    for source in corpus.values():
        for function in oracle.compiled(source).program.functions:
            seen.update(unpack(instruction)[:2] for instruction in function.code)
    apart = {Op.PRIVATE, Op.PRIVATE_VALUE, Op.HERE, Op.FORK, Op.SPAWN}
    assert set(Op) - {op for op, _ in seen} == apart
    called = {a for op, a in seen if op in (Op.BUILTIN, Op.BUILTIN_VALUE)}
    assert [name for number, name in enumerate(BUILTINS) if number not in called] == []
    assert [name for number, name in enumerate(METHODS) if (Op.METHOD, number) not in seen] == []
    assert [name for n, name in enumerate(EXCEPTIONS) if name in RAISABLE and (Op.EXCEPTION, n) not in seen] == []


@on_311
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_expression_agrees(oracle: Any, expression: str) -> None:
    source = f"def main():\n    x = {expression}\n    return str(x)\n"
    assert oracle.on_machine(source) == oracle.on_cpython(source)
