"""The verifier: hostile programs are refused before a step; what passes runs without a fault of the machine."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sojourn.codec import HEADER_BYTES
from sojourn.errors import DecodeError, ProgramInvalid
from sojourn.vm import Machine, Parked, Program, compile_source, verify
from sojourn.vm.op import BUILTINS, EXCEPTIONS, ISA, METHODS, Op, pack
from sojourn.vm.program import BigInt, Function, Handler, TupleConstant
from sojourn.vm.shape import Shape
from sojourn.vm.step import HANDLERS

BASE = Program(
    1, (0,), (), (None, 1, "gpu.run"), ("gpu.run", "private", "release.count", "x"), (Shape(0, ()), Shape(1, ()))
)
RETURN = (pack(Op.CONST, 0), pack(Op.RETURN))


def function(
    *code: int, name: str = "main", params: int = 0, local: tuple[str, ...] = ("a", "b"), **more: Any
) -> Function:
    fields = {"handlers": (), "cells": (), "free": (), "captures": (), **more}
    return Function(name, params, 0, 0, (), (), local, fields["cells"], fields["free"], fields["captures"],
                    fields["handlers"], code, (1,) * len(code))  # fmt: skip


def program(*functions: Function, **changes: Any) -> bytes:
    return msgspec.structs.replace(BASE, functions=functions, **changes).encode()


def test_smallest_program() -> None:
    assert verify(program(function(*RETURN))).entries == ("main",)


BAD = {
    "no functions": (program(), "0 functions"),
    "no entries": (program(function(*RETURN), entries=()), "list of entries"),
    "entry outside": (program(function(*RETURN), entries=(1,)), "list of entries"),
    "entries unordered": (program(function(*RETURN), function(*RETURN, name="b"), entries=(1, 0)), "list of entries"),
    "same name twice": (program(function(*RETURN), function(*RETURN), entries=(0, 1)), "the same name"),
    "empty name": (program(function(*RETURN, name="")), "a name is empty"),
    "long name": (program(function(*RETURN, name="x" * 300)), "longer than 256"),
    "another contract": (program(function(*RETURN), contract=2), "contract 2, this host implements 1"),
    "no code": (program(function()), "no code"),
    "unknown operation": (program(function(pack(255))), "unknown operation 255"),
    "too wide": (program(function(1 << 60)), "does not fit 56 bits"),
    "negative": (program(function(-1)), "does not fit 56 bits"),
    "no such constant": (program(function(pack(Op.CONST, 9), pack(Op.RETURN))), "operand 9 is not a const"),
    "no such local": (program(function(pack(Op.LOAD, 2), pack(Op.RETURN))), "not a local"),
    "no such function": (program(function(pack(Op.CALL, 7, 0), pack(Op.RETURN))), "not a function"),
    "no such shape": (program(function(pack(Op.CALL, 0, 9), pack(Op.RETURN))), "not a shape"),
    "no such name": (program(function(*RETURN[:1], pack(Op.ATTRIBUTE, 9), pack(Op.RETURN))), "not a name"),
    "no such builtin": (program(function(pack(Op.BUILTIN, 200, 0), pack(Op.RETURN))), "not a builtin"),
    "no such effect": (program(function(pack(Op.EFFECT, 3, 0), pack(Op.RETURN))), "unknown effect 'x'"),
    "unused operand": (program(function(pack(Op.CONST, 0, 5), pack(Op.RETURN))), "not a none"),
    "jump outside": (program(function(pack(Op.JUMP, 9))), "not a target"),
    "runs off the end": (program(function(pack(Op.CONST, 0), pack(Op.POP))), "runs off the end"),
    "underflow": (program(function(pack(Op.POP), *RETURN)), "takes 1 values, the stack holds 0"),
    "uneven depths": (
        program(function(pack(Op.CONST, 0), pack(Op.JUMP_IF_FALSE, 3), pack(Op.CONST, 0), *RETURN)),
        "the stack holds",
    ),
    "grows in a loop": (program(function(pack(Op.CONST, 0), pack(Op.JUMP, 0))), "the stack holds"),
    "call that does not fit": (
        program(function(pack(Op.CONST, 0), pack(Op.CALL, 0, 1), pack(Op.RETURN))),
        "takes 0 arguments, 1",
    ),
    "effect that does not fit": (program(function(pack(Op.EFFECT, 0, 0), pack(Op.RETURN))), "lacks 'name'"),
    "builtin that does not fit": (program(function(pack(Op.BUILTIN, 0, 0), pack(Op.RETURN))), "does not take"),
    "region without limits": (program(function(pack(Op.PRIVATE, 0, 0), pack(Op.RETURN))), "fuel= and memory="),
    "iterator as value": (
        program(function(pack(Op.CONST, 0), pack(Op.ITER, 0), pack(Op.LOAD, 0), pack(Op.RETURN))),
        "both an iterator and a value",
    ),
    "iterator as parameter": (
        program(function(pack(Op.CONST, 0), pack(Op.ITER, 0), *RETURN, params=1)),
        "both an iterator and a value",
    ),
    "exception that is not made": (
        program(function(pack(Op.EXCEPTION, 10, 0), pack(Op.RAISE))),
        "does not raise QuorumMissed",
    ),
    "cell that is none": (program(function(pack(Op.LOAD_CELL, 0), pack(Op.RETURN))), "holds no cell"),
    "new cell that is none": (program(function(pack(Op.NEW_CELL, 0), *RETURN)), "holds no cell"),
    "cell as value": (program(function(pack(Op.LOAD, 0), pack(Op.RETURN), cells=(0,))), "both a cell and a value"),
    "cell outside": (program(function(*RETURN, cells=(7,))), "a cell is no local"),
    "cell twice": (
        program(function(*RETURN), function(*RETURN, name="f", cells=(0,), free=(0,), captures=(0,))),
        "named twice",
    ),
    "cells unordered": (program(function(*RETURN, cells=(1, 0))), "unordered"),
    "free parameter": (
        program(function(*RETURN), function(*RETURN, name="f", params=1, free=(0,), captures=(0,))),
        "a variable of another",
    ),
    "captures of nothing": (program(function(*RETURN, free=(0,))), "not one captured cell"),
    "entry that captures": (program(function(*RETURN, free=(0,), captures=(0,))), "other parameters"),
    "function made elsewhere": (
        program(function(pack(Op.CLOSURE, 1), pack(Op.RETURN)), function(*RETURN, name="f", free=(0,), captures=(0,))),
        "variables that it shares are not",
    ),
    "call of what captures": (
        program(function(pack(Op.CALL, 1), pack(Op.RETURN)), function(*RETURN, name="f", free=(0,), captures=(0,))),
        "only called as a value",
    ),
    "class that is none": (
        program(function(pack(Op.CONST, 0), pack(Op.IS_A, 2), pack(Op.RETURN))),
        "a class that the language does not have",
    ),
    "class that is a number": (
        program(function(pack(Op.CONST, 0), pack(Op.IS_A, 1), pack(Op.RETURN))),
        "a class that the language does not have",
    ),
    "handler outside": (program(function(*RETURN, handlers=(Handler(0, 9, 0, 0),))), "covers or leads to"),
    "handler of nothing": (program(function(*RETURN, handlers=(Handler(1, 1, 0, 0),))), "covers or leads to"),
    "handler that leads outside": (program(function(*RETURN, handlers=(Handler(0, 1, 9, 0),))), "covers or leads to"),
    "handler without a local": (program(function(*RETURN, handlers=(Handler(0, 1, 0, 9),))), "has no local"),
    "handlers without end": (
        program(function(*RETURN, handlers=(Handler(0, 2, 0, 0),) * 3)),
        "nested deeper",
    ),
    "effect with a form of its own": (
        program(function(pack(Op.EFFECT, 0, 0), pack(Op.RETURN)), names=("task.spawn",)),
        "a form of its own",
    ),
    "fork of something": (program(function(pack(Op.CONST, 0), pack(Op.FORK, 0, 1), pack(Op.RETURN))), "fuel= and"),
    "unknown extension": (program(function(*[pack(Op.CONST, 0)] * 2, pack(Op.EXTEND, 9), pack(Op.RETURN))), "kind"),
    "tuple constant as value": (
        program(function(*RETURN), constants=(TupleConstant(()), 1, "x")),
        "a tuple constant is not loaded",
    ),
    "tuple constant of itself": (
        program(function(*RETURN), constants=(None, TupleConstant((1,)))),
        "does not stand before it",
    ),
    "tuple constant that explodes": (
        program(function(*RETURN), constants=(None, *(TupleConstant((k,) * 8) for k in range(8)))),
        "more than 256 values",
    ),
    "format that is none": (program(function(pack(Op.CONST, 0), pack(Op.FORMAT, 2), pack(Op.RETURN))), "not a format"),
    "format of a number": (program(function(pack(Op.CONST, 0), pack(Op.FORMAT, 1), pack(Op.RETURN))), "not a format"),
    "argument twice": (program(function(*RETURN), shapes=(Shape(0, ("a", "a")),)), "names an argument twice"),
    "negative shape": (program(function(*RETURN), shapes=(Shape(-1, ()),)), "more than 255"),
    "huge shape": (program(function(*RETURN), shapes=(Shape(10**9, ()),)), "more than 255"),
    "more parameters than locals": (program(function(*RETURN, params=3)), "parameters"),
    "local twice": (program(function(*RETURN, local=("a", "a"))), "two locals"),
    "large integer that is small": (program(function(*RETURN), constants=(None, BigInt(b"\x01"))), "shortest form"),
    "large integer padded": (program(function(*RETURN), constants=(None, BigInt(b"\x00" * 20))), "shortest form"),
    "integer over 63 bits": (program(function(*RETURN), constants=(None, 2**63)), "64 bits"),
    "not a number": (program(function(*RETURN), constants=(None, float("nan"))), "not a number"),
    "read outside of a region": (
        program(function(pack(Op.CONST, 0), pack(Op.EFFECT, 0, 1), pack(Op.RETURN)), names=("stream.first",)),
        "stream.first outside of a private region",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(ProgramInvalid, match=message.replace("(", r"\(")):
        verify(data)


def test_public_effect_in_a_region_is_refused_without_the_compiler() -> None:
    limits = Shape(0, ("fuel", "memory"))
    count = Shape(4, ())
    region = function(*[pack(Op.CONST, 0)] * 4, pack(Op.EFFECT, 2, 1), pack(Op.RETURN), name="f")
    main = function(pack(Op.CONST, 1), pack(Op.CONST, 1), pack(Op.PRIVATE, 1, 0), pack(Op.RETURN))
    with pytest.raises(ProgramInvalid, match=r"function f, instruction 4: release.count inside a private region"):
        verify(program(main, region, shapes=(limits, count)))


def test_next_without_a_loop_is_an_error_of_the_language(kit: Any) -> None:
    data = program(function(pack(Op.NEXT, 0, 1), pack(Op.CONST, 0), pack(Op.RETURN)))
    with pytest.raises(ProgramInvalid):
        verify(data)
    data = program(function(pack(Op.NEXT, 0, 2), pack(Op.POP), *RETURN))
    machine = Machine.start(verify(data), "main", (), kit.RUN, 100, 10_000)
    assert machine.run(100).code == "RuntimeError"


def test_tables_are_complete() -> None:
    assert set(ISA) == set(Op)
    assert {HANDLERS[op].__name__ for op in Op} == {f"_{op.name.lower()}" for op in Op}
    assert [len(BUILTINS), len(METHODS), len(EXCEPTIONS)] == [37, 69, 25]  # new ones go to the end: see test_golden


GOLDEN = "0693599a2a0c9b6cdc4f0711c91065d10956e6614f9983a248bfd6b3ea197efd"


def test_numbers_are_the_format(kit: Any) -> None:
    """The identity of a fixed program: it changes only with the contract."""
    source = "@continuation\ndef main(x):\n    return [x + 1, len('a'), x.get('k')]\n"
    assert compile_source(source, "a.py").digest.hex() == GOLDEN


SOURCES = [
    "from_hospital",
    """
def helper(a, b=2, c="x"):
    for k, v in enumerate(a):
        if k > b:
            break
    else:
        return {"k": k, "c": c[1:]}
    return [k, v, f"{k:>4}{v!r}"]

@continuation
def main(x):
    out = []
    for pair in zip("abc", range(3)):
        out.append(helper([1, 2, 3], c=pair[0] * 2))
        x += 1 if x < 5 else -1
    while x > 0 and out:
        x, y = x - 1, out[-1]
        if not y or x == 3:
            continue
        out[0] = y
    d = {"a": 1, (1, 2): [x]}
    d["a"] += sum([1, 2.5])
    assert d["a"] > 0, "sum"
    log.note(str(d.items()))
    return sorted(out[0], reverse=True) if x else max(1, 2)
""",
]


CODE = 11  # position of the instructions in an encoded function
FUZZ = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def encoded(kit: Any, index: int) -> bytes:
    return compile_source(kit.HOSPITAL if index == 0 else SOURCES[index], "a.py").encode()


def verify_and_run(data: bytes) -> None:
    """Refused in the documented way, or runs to some progress."""
    try:
        verified = verify(data)
    except (DecodeError, ProgramInvalid):
        return
    entry = verified.entries[0]
    code = verified.codes[verified.entry_index(entry)]
    args = [3] * code.params
    machine = Machine.start(verified, entry, args, bytes(32), 3_000, 100_000)
    for _ in range(50):
        progress = machine.run(3_000)
        assert Machine.load(verified, machine.dump()).dump() == machine.dump()
        if not isinstance(progress, Parked):
            return
        machine.resume(None)


@FUZZ
@given(data=st.data())
def test_mutated_bytes(kit: Any, data: st.DataObject) -> None:
    raw = bytearray(encoded(kit, data.draw(st.integers(0, 1))))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    verify_and_run(bytes(raw))


@FUZZ
@given(data=st.data())
def test_mutated_instructions(kit: Any, data: st.DataObject) -> None:
    """Well encoded, other instructions: many of these pass the verifier and must run without a fault."""
    original = encoded(kit, data.draw(st.integers(0, 1)))
    raw = msgspec.msgpack.decode(original[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 4))):
        chosen = data.draw(st.sampled_from(raw[2]))
        position = data.draw(st.integers(0, len(chosen[CODE]) - 1))
        old = chosen[CODE][position]
        op = data.draw(st.sampled_from([old & 255, *Op]))
        a, b = (
            data.draw(st.sampled_from([old >> 8 & 0xFFFFFF, *range(8)])),
            data.draw(st.sampled_from([old >> 32, *range(4)])),
        )
        chosen[CODE][position] = pack(op, a, b)
    verify_and_run(original[:HEADER_BYTES] + msgspec.msgpack.encode(raw))


@FUZZ
@given(
    code=st.lists(st.tuples(st.sampled_from(list(Op)), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=12)
)
def test_random_programs(code: list[tuple[Op, int, int]]) -> None:
    words = [pack(op, a if ISA[op].a else 0, b if ISA[op].b else 0) for op, a, b in code]
    pushes = [pack(Op.CONST, k % 3) for k in range(6)]
    constants = (None, 3, "gpu")
    verify_and_run(program(function(*pushes, *words, *RETURN), constants=constants))
