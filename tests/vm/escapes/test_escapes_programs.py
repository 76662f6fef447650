"""Programs made past the compiler: refused by the verifier at once, or run to a documented end.

The names are what a code generator might trip over: a projection to Python functions must treat them as data.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sojourn.codec import encode
from sojourn.errors import DecodeError, ProgramInvalid
from sojourn.limits import MAX_NAME_CHARS
from sojourn.vm import Done, Machine, Program, disassemble, verify
from sojourn.vm.op import BUILTINS, EXTENDS, METHODS, Op, pack
from sojourn.vm.program import NAMED, REST, BigInt, BytesConstant, Function, Handler, TupleConstant
from sojourn.vm.shape import Shape
from sojourn.vm.sites import effect_sites

NONE, ONE, TEXT, LIMIT = 0, 1, 2, 3
BASE = Program(1, (0,), (), (None, 1, "text", 1000), ("log.note", "x"), (Shape(0, ()), Shape(1, ()), Shape(2, ())))
RETURN = (pack(Op.CONST, NONE), pack(Op.RETURN))


def function(*code: int, name: str = "main", local: tuple[str, ...] = ("a", "b"), **more: Any) -> Function:
    fields = {"params": 0, "keyword_only": 0, "flags": 0, "defaults": (), "keyword_defaults": (), "cells": (),
              "free": (), "captures": (), "handlers": (), "lines": (1,) * len(code), **more}  # fmt: skip
    return Function(name=name, locals=local, code=code, **fields)


def program(*functions: Function, **changes: Any) -> Program:
    return msgspec.structs.replace(BASE, functions=functions, **changes)


def const(*numbers: int) -> tuple[int, ...]:
    return tuple(pack(Op.CONST, number) for number in numbers)


# Refused: no step of these is taken.

WIDE = (1 << 24) - 1
REFUSED: dict[str, Callable[[], Program]] = {
    "constant beyond the table": lambda: program(function(pack(Op.CONST, WIDE), pack(Op.RETURN))),
    "local beyond the frame": lambda: program(function(pack(Op.LOAD, WIDE), pack(Op.RETURN))),
    "function beyond the program": lambda: program(function(pack(Op.CALL, WIDE, 0), pack(Op.RETURN))),
    "method beyond the table": lambda: program(function(*const(0), pack(Op.METHOD, len(METHODS), 0), pack(Op.RETURN))),
    "builtin beyond the table": lambda: program(function(pack(Op.BUILTIN_VALUE, len(BUILTINS)), pack(Op.RETURN))),
    "operation 0": lambda: program(function(0, *RETURN)),
    "operation between two": lambda: program(function(pack(13), *RETURN)),
    "operand where none is": lambda: program(function(*const(0), pack(Op.RETURN, 1))),
    "jump past the end": lambda: program(function(pack(Op.JUMP, 3), *RETURN)),
    "jump to itself with a growing stack": lambda: program(function(*const(0), pack(Op.JUMP, 0))),
    "jump into an expression": lambda: program(
        function(*const(0), pack(Op.JUMP_IF_TRUE, 3), *const(0), pack(Op.RETURN))
    ),
    "loop left with an item too many": lambda: program(
        function(*const(0), pack(Op.ITER, 0), pack(Op.NEXT, 0, 1), pack(Op.JUMP, 2))
    ),
    "stack below nothing": lambda: program(function(pack(Op.ROT, 2), *RETURN)),
    "copy of what is not there": lambda: program(function(pack(Op.DUP, 1), pack(Op.RETURN))),
    "huge counts": lambda: program(function(*const(0), pack(Op.TUPLE, WIDE), pack(Op.RETURN))),
    "unpacking to a stack too deep": lambda: program(
        function(*const(0), *[pack(Op.UNPACK, 1000)] * 2, pack(Op.RETURN))
    ),
    "arguments beyond 255": lambda: program(function(*RETURN), shapes=(Shape(256, ()),)),
    "arguments below none": lambda: program(function(*RETURN), shapes=(Shape(-(2**60), ()),)),
    "parameters below none": lambda: program(function(*RETURN, params=-1)),
    "flags that there are not": lambda: program(function(*RETURN, flags=4)),
    "more defaults than parameters": lambda: program(function(*RETURN, defaults=(0,))),
    "default that is no constant": lambda: program(function(*RETURN, params=1, defaults=(99,))),
    "entry with a computed default": lambda: program(function(*RETURN, params=1, defaults=(-1,))),
    "entry that takes anything": lambda: program(function(*RETURN, flags=REST | NAMED)),
    "constant that holds itself": lambda: program(function(*RETURN), constants=(None, TupleConstant((1,)))),
    "constant that holds a later one": lambda: program(function(*RETURN), constants=(TupleConstant((1,)), None)),
    "constants that double": lambda: program(
        function(*RETURN), constants=(None, *(TupleConstant((k, k)) for k in range(60)))
    ),
    "tuple constant loaded": lambda: program(
        function(pack(Op.CONST, 1), pack(Op.RETURN)), constants=(None, TupleConstant((0,)))
    ),
    "format that is bytes": lambda: program(
        function(*const(0), pack(Op.FORMAT, 1), pack(Op.RETURN)), constants=(None, BytesConstant(b">3"))
    ),
    "format of a billion": lambda: program(
        function(*const(0), pack(Op.FORMAT, 1), pack(Op.RETURN)), constants=(None, ">1000000000")
    ),
    "format of an attribute": lambda: program(
        function(*const(0), pack(Op.FORMAT, 1), pack(Op.RETURN)), constants=(None, "{0.__class__}")
    ),
    "class that is object": lambda: program(
        function(*const(0), pack(Op.IS_A, 1), pack(Op.RETURN)), constants=(None, "object")
    ),
    "number that is not one": lambda: program(function(*RETURN), constants=(None, float("nan"))),
    "long integer written long": lambda: program(function(*RETURN), constants=(None, BigInt(bytes(9)))),
    "handlers that cover each other for ever": lambda: program(
        function(*RETURN, handlers=tuple(Handler(0, 2, 0, 0) for _ in range(200)))
    ),
    "handler that ends before it begins": lambda: program(function(*RETURN, handlers=(Handler(1, 0, 0, 0),))),
    "handler into the middle of an expression": lambda: program(
        function(*const(0), pack(Op.POP), *RETURN, handlers=(Handler(0, 1, 1, 0),))
    ),
    "handler that writes a cell": lambda: program(function(*RETURN, cells=(0,), handlers=(Handler(0, 1, 0, 0),))),
    "handler that writes an iterator": lambda: program(
        function(*const(0), pack(Op.ITER, 0), *RETURN, handlers=(Handler(0, 1, 2, 0),))
    ),
    "cell read as a value": lambda: program(function(pack(Op.LOAD, 0), pack(Op.RETURN), cells=(0,))),
    "value read as a cell": lambda: program(function(pack(Op.LOAD_CELL, 0), pack(Op.RETURN))),
    "cells of nobody": lambda: program(function(*RETURN), function(*RETURN, name="f", free=(0,))),
    "cells of a function that has none": lambda: program(
        function(pack(Op.CLOSURE, 1), pack(Op.RETURN)), function(*RETURN, name="f", free=(0,), captures=(1,))
    ),
    "region of what does not fit": lambda: program(
        function(*const(3, 3), pack(Op.PRIVATE, 1, 0), pack(Op.RETURN)), function(*RETURN, name="f", params=1),
        shapes=(Shape(0, ("fuel", "memory")),),
    ),
    "region without limits": lambda: program(
        function(*const(0), pack(Op.PRIVATE_VALUE, 0, 0), pack(Op.RETURN)), shapes=(Shape(0, ()),)
    ),
    "effect of another namespace": lambda: program(
        function(pack(Op.EFFECT, 0, 0), pack(Op.RETURN)), names=("os.system",), shapes=(Shape(0, ()),)
    ),
    "effect with a form of its own": lambda: program(
        function(*const(0, 0, 0), pack(Op.EFFECT, 0, 0), pack(Op.RETURN)), names=("task.spawn",), shapes=(Shape(3, ()),)
    ),
    "release in a region, two calls away": lambda: program(
        function(*const(3, 3), pack(Op.PRIVATE, 1, 0), pack(Op.RETURN)),
        function(pack(Op.CALL, 2, 1), pack(Op.RETURN), name="f"),
        function(*const(0, 0, 0, 0), pack(Op.EFFECT, 0, 2), pack(Op.RETURN), name="g"),
        names=("release.count",), shapes=(Shape(0, ("fuel", "memory")), Shape(0, ()), Shape(4, ())),
    ),
    "rows in the public world, two calls away": lambda: program(
        function(pack(Op.CALL, 1, 0), pack(Op.RETURN)), function(pack(Op.CALL, 2, 0), pack(Op.RETURN), name="f"),
        function(*const(0), pack(Op.EFFECT, 0, 1), pack(Op.RETURN), name="g"), names=("stream.first",),
    ),
    "exception that only a host makes": lambda: program(function(pack(Op.EXCEPTION, 9, 0), pack(Op.RAISE))),
    "name of no characters": lambda: program(function(*RETURN), names=("",)),
    "name too long": lambda: program(function(*RETURN, name="x" * (MAX_NAME_CHARS + 1))),
    "line beyond any file": lambda: program(function(*RETURN, lines=(1, 2**40))),
    "line below none": lambda: program(function(*RETURN, lines=(1, -1))),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_verifier(name: str) -> None:
    with pytest.raises((ProgramInvalid, DecodeError)):
        verify(encode(REFUSED[name]()))


def test_surrogates_are_no_program() -> None:
    data = bytearray(encode(program(function(*RETURN, name="abc"))))
    at = data.index(b"abc")
    data[at : at + 3] = b"\xed\xa0\x80"  # a lone surrogate, as CPython's surrogatepass writes it
    with pytest.raises(DecodeError):
        verify(bytes(data))


# Slow to verify: one small part of the program multiplied by another.


def _calls(count: int, names: int) -> Program:
    orders = [tuple(f"p{(7 * turn + k) % 255}" for k in range(255)) for turn in range(names)]
    code = [*RETURN, *(pack(Op.CALL, 1, k % names) for k in range(count))]
    params = tuple(f"p{k}" for k in range(255))
    return program(
        function(*code),
        function(*RETURN, name="f", local=params, params=255),
        shapes=tuple(Shape(0, o) for o in orders),
    )


def _captures(count: int) -> Program:
    cells, names = tuple(range(1000)), tuple(f"v{k}" for k in range(1000))
    make = [pack(Op.CLOSURE, 1), pack(Op.POP)] * count
    return program(
        function(*make, *RETURN, local=names, cells=cells),
        function(*RETURN, name="f", local=names, free=cells, captures=cells),
    )


def _entries(count: int, length: int) -> Program:
    long = function(*[*const(0), pack(Op.POP)] * length, *RETURN, name="long")
    entries = [function(pack(Op.CALL, 0, 0), pack(Op.RETURN), name=f"e{k}") for k in range(count)]
    return program(long, *entries, entries=tuple(range(1, count + 1)))


SLOW = {
    "calls with many names": lambda: _calls(3000, 10),
    "closures with many variables": lambda: _captures(5000),
    "many entries to one long function": lambda: _entries(300, 8000),
    "a test for many classes": lambda: program(
        function(*RETURN, *[pack(Op.IS_A, 1)] * 500), constants=(None, " ".join(["int"] * 20_000))
    ),
    "effects with many names": lambda: program(
        function(*RETURN, *[pack(Op.EFFECT, 0, 0)] * 2000), names=("gpu.run",),
        shapes=(Shape(1, tuple(f"x{k}" for k in range(255))),),
    ),
    "handlers in handlers": lambda: program(
        function(*[*const(0), pack(Op.POP)] * 3000, *RETURN, handlers=tuple(Handler(k, 6000, 0, 0) for k in range(64)))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
def test_verification_is_metered(escapes: Any, name: str) -> None:
    data = encode(SLOW[name]())
    begin = time.process_time()
    with contextlib.suppress(ProgramInvalid):
        verify(data)
    assert time.process_time() - begin < escapes.SECOND


# Runs: wrong kinds of values where the compiler would never put them.

LISTS = EXTENDS.index("list"), EXTENDS.index("arguments"), EXTENDS.index("keywords")
EMPTY = (pack(Op.LIST, 0), pack(Op.DICT, 0))
RUNS: dict[str, tuple[Program, str]] = {
    "loop that has not begun": (program(function(pack(Op.NEXT, 0, 2), pack(Op.POP), *RETURN)), "RuntimeError"),
    "loop entered again in its middle": (
        program(function(*const(2), pack(Op.ITER, 0), pack(Op.NEXT, 0, 4), pack(Op.POP), pack(Op.JUMP, 0))), "fuel",
    ),
    "item added to a number": (program(function(*const(1, 1), pack(Op.APPEND), pack(Op.RETURN))), "TypeError"),
    "key put into a list": (
        program(function(pack(Op.LIST, 0), *const(1, 1), pack(Op.PUT), pack(Op.RETURN))), "TypeError",
    ),
    "list extended as named arguments": (
        program(function(pack(Op.LIST, 0), pack(Op.DICT, 0), pack(Op.EXTEND, LISTS[2]), pack(Op.RETURN))), "TypeError",
    ),
    "call with a number of arguments": (
        program(function(*const(1, 1, 1), pack(Op.CALL_SPREAD), pack(Op.RETURN))), "TypeError",
    ),
    "named arguments that are no names": (
        program(function(pack(Op.BUILTIN_VALUE, 0), pack(Op.LIST, 0), *const(1, 1), pack(Op.DICT, 1),
                         pack(Op.CALL_SPREAD), pack(Op.RETURN))), "TypeError",
    ),
    "call of a number": (program(function(*const(1), pack(Op.CALL_VALUE, 0, 0), pack(Op.RETURN))), "TypeError"),
    "raise of a number": (program(function(*const(1), pack(Op.RAISE))), "TypeError"),
    "raise from a number": (
        program(function(pack(Op.EXCEPTION, 0, 0), *const(1), pack(Op.RAISE, 1))), "TypeError",
    ),
    "pieces of text that are none": (program(function(*const(1, 2), pack(Op.JOIN, 2), pack(Op.RETURN))), "TypeError"),
    "computed format that is none": (
        program(function(*const(1, 1), pack(Op.FORMAT_BY), pack(Op.RETURN))), "TypeError",
    ),
    "computed format of an attribute": (
        program(function(*const(1, 2), pack(Op.FORMAT_BY), pack(Op.RETURN)),
                constants=(None, 1, "0.__class__", 1000)), "ValueError",
    ),
    "attribute of a number": (program(function(*const(1), pack(Op.ATTRIBUTE, 1), pack(Op.RETURN))), "AttributeError"),
    "dunder of an exception": (
        program(function(pack(Op.EXCEPTION, 0, 0), pack(Op.ATTRIBUTE, 0), pack(Op.RETURN)), names=("__traceback__",)),
        "AttributeError",
    ),
    "dunder of a function": (
        program(function(pack(Op.CLOSURE, 0), pack(Op.ATTRIBUTE, 0), pack(Op.RETURN)), names=("__globals__",)),
        "AttributeError",
    ),
    "class of a continuation": (
        program(function(pack(Op.HERE), pack(Op.ATTRIBUTE, 0), pack(Op.RETURN)), names=("__class__",)),
        "AttributeError",
    ),
    "frames of a continuation": (
        program(function(pack(Op.HERE), pack(Op.ATTRIBUTE, 0), pack(Op.RETURN)), names=("frames",)), "AttributeError",
    ),
    "cells of a function": (
        program(function(pack(Op.CLOSURE, 0), pack(Op.ATTRIBUTE, 0), pack(Op.RETURN)), names=("cells",)),
        "AttributeError",
    ),
    "hidden builtin of the library": (
        program(function(*const(1, 1, 1), pack(Op.BUILTIN, list(BUILTINS).index(".arrange"), 0), pack(Op.RETURN)),
                shapes=(Shape(3, ()),)), "ValueError",
    ),
    "hidden builtin that only looks": (
        program(function(*const(1), pack(Op.BUILTIN, list(BUILTINS).index(".same_list"), 1), pack(Op.RETURN))),
        "AttributeError",
    ),
    "hidden builtin as a value": (
        program(function(pack(Op.BUILTIN_VALUE, list(BUILTINS).index(".arrange")), pack(Op.CALL_VALUE, 0, 0),
                         pack(Op.RETURN))), "TypeError",
    ),
    "iterator never taken away": (
        program(function(*const(2), pack(Op.ITER, 0), *const(2), pack(Op.ITER, 0), *RETURN)), "done",
    ),
    "handler of its own instructions": (
        program(function(*const(1), pack(Op.RAISE), handlers=(Handler(0, 2, 0, 0),))), "fuel",
    ),
    "overlapping handlers": (
        program(function(*const(1), pack(Op.RAISE), *RETURN, *const(1), pack(Op.RAISE),
                         handlers=(Handler(0, 2, 4, 0), Handler(1, 6, 2, 1)))), "done",
    ),
    "handler that takes a parameter's place": (
        program(function(*const(1), pack(Op.RAISE), pack(Op.LOAD, 0), pack(Op.ATTRIBUTE, 0), pack(Op.RETURN),
                         handlers=(Handler(0, 2, 2, 0),)), names=("args",)), "done",
    ),
    "closure of the entry itself": (
        program(function(pack(Op.CLOSURE, 0), pack(Op.CALL_VALUE, 0, 0), pack(Op.RETURN))), "memory",
    ),
    "the entry as its own region": (
        program(function(*const(3, 3), pack(Op.PRIVATE, 0, 0), pack(Op.RETURN)),
                shapes=(Shape(0, ("fuel", "memory")),)), "done",
    ),
    "region limits by position of their names": (
        program(function(pack(Op.CLOSURE, 1), *const(2, 2), pack(Op.PRIVATE_VALUE, 0, 0), pack(Op.RETURN)),
                function(*RETURN, name="f"), shapes=(Shape(0, ("memory", "fuel")),)), "TypeError",
    ),
    "name of an effect as an attribute": (
        program(function(*const(1), pack(Op.ATTRIBUTE, 0), pack(Op.RETURN)), names=("log.note",)), "AttributeError",
    ),
    "unreachable code that is wrong": (program(function(*RETURN, pack(Op.POP), pack(Op.POP))), "done"),
    "shape with strange names": (
        program(function(pack(Op.CLOSURE, 1), *const(1), pack(Op.CALL_VALUE, 0, 0), pack(Op.RETURN)),
                function(*RETURN, name="f", flags=NAMED, local=("named",)),
                shapes=(Shape(0, ("__class__\n",)),)), "done",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_runs_to_a_documented_end(kit: Any, escapes: Any, name: str) -> None:
    made, code = RUNS[name]
    verified = verify(encode(made))
    for slice_fuel in (10**9, 1):
        machine = Machine.start(verified, "main", (), kit.RUN, 2000, 60_000)
        progress = escapes.drive(machine, lambda machine, _: machine.resume(None), slice_fuel)
        assert ("done" if isinstance(progress, Done) else progress.code) == code
        assert Machine.load(verified, machine.dump()).dump() == machine.dump()


# Injection: names and constants that would be code, or that a generator of code uses itself.

NAMES = (
    "x\n    import os\n    os.environ['SOJOURN_PWNED'] = '1'\n    y",
    "x = __import__('os').environ.__setitem__('SOJOURN_PWNED', '1')",
    "a, __import__('os').environ.setdefault('SOJOURN_PWNED', '1')",
    "__builtins__", "__import__", "__globals__", "__class__", "globals", "exec", "eval", "run", "frame", "frames",
    "_c0", "_l0", "_s0", "c0", "l0", "s0", "k0", "_k", "_f", "fuel", "memory", "stack", "pc", "locals", "self", "None",
    "True", "lambda", "class", "def", "return", "async", "match", "print", "len", "int",
    "x" * MAX_NAME_CHARS, "\u00b5", "\u03bc", "\ufb01", "fi", "K", "\u212a", "\U0001f600", "\x00", "\x01", "a\x00b",
    "'", '"', '"""', "\\", "\\N{DIGIT ONE}", "#", "# type: ignore", "{x}", "{0.__class__}", "%s", "%(x)s", "\r", "\t",
    "\u2028", "\u202e", ".1", ".", "x.1", "a b", "-", "0", "1e9", "...",
)  # fmt: skip


def named(name: str) -> Program:
    """A program that has a name everywhere where a program can have one."""
    other = name[:-1] + "\u00e9" if len(name) == MAX_NAME_CHARS else name + "\u00e9"
    code = (
        *const(4), pack(Op.STORE, 0), pack(Op.LOAD, 0), pack(Op.CLOSURE, 1), *const(4), pack(Op.CALL_VALUE, 0, 3),
        pack(Op.STORE, 2), *const(1), pack(Op.STORE, 3), pack(Op.LOAD, 3), *const(1), pack(Op.BINARY, 0),
        pack(Op.STORE, 3), pack(Op.FORMAT, 5), pack(Op.LOAD, 2), pack(Op.LOAD, 3), pack(Op.TUPLE, 3), pack(Op.RETURN),
    )  # fmt: skip
    return program(
        function(*code, name=name, local=(name, other, ".9", "n")),
        function(pack(Op.LOAD, 0), pack(Op.RETURN), name=other, params=1, local=(name, other)),
        constants=(None, 1, "text", 1000, name, ""), names=(name,),
        shapes=(*BASE.shapes, Shape(0, (name,))),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_are_data(kit: Any, escapes: Any, name: str) -> None:
    before = set(vars(builtins)), set(sys.modules), dict(os.environ)
    made = named(name)
    verified = verify(encode(made))
    for _ in range(3):  # more than once, so that what is projected when it is hot is made and used
        machine = Machine.start(verified, name, (), kit.RUN, 5000, 100_000)
        assert escapes.drive(machine, lambda *_: None) == Done((name, name, 2))
    assert (set(vars(builtins)), dict(os.environ)) == (before[0], before[2])
    assert not {module for module in set(sys.modules) - before[1] if not module.startswith("sojourn")}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_unbound_names_are_only_shown(kit: Any, escapes: Any, name: str) -> None:
    verified = verify(encode(program(function(pack(Op.LOAD, 0), pack(Op.RETURN), local=(name,)))))
    machine = Machine.start(verified, "main", (), kit.RUN, 100, 10_000)
    progress = escapes.drive(machine, lambda *_: None)
    assert progress.code == "UnboundLocalError"
    assert "SOJOURN_PWNED" not in os.environ


def test_constants_are_data(kit: Any, escapes: Any) -> None:
    texts = tuple(NAMES)
    load = [pack(Op.CONST, k) for k in range(len(texts))]
    made = program(function(*load, pack(Op.TUPLE, len(texts)), pack(Op.RETURN)), constants=texts)
    machine = Machine.start(verify(encode(made)), "main", (), kit.RUN, 1000, 100_000)
    assert escapes.drive(machine, lambda *_: None) == Done(texts)


def test_tools_read_any_program() -> None:
    """What shows a program neither fails at long numbers nor lets a name move the terminal's cursor."""
    long = BigInt((1 << 40_000).to_bytes(5001, "big"))
    verified = verify(encode(program(function(pack(Op.CONST, 1), pack(Op.RETURN)), constants=(None, long, "x", 0))))
    assert "0x1000" in disassemble(verified.program)
    assert effect_sites(verified, "main") == ()
    for name in NAMES:
        shown = disassemble(named(name))
        assert not set(shown) & {"\x00", "\x01", "\r", "\u202e", "\u2028"}
        assert len(shown.splitlines()) == len(disassemble(named("plain")).splitlines())
