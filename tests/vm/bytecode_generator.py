"""Programs of random instructions that the verifier takes: their control flow is none that a compiler writes.

`calling` puts a `main` around a function that is tried out; `program` makes one at random, with loops on iterators that
other instructions touch too, handlers that overlap and share targets and variables, and jumps to anywhere between
statements.
"""

from __future__ import annotations

import random
from typing import Any

from sojourn.vm import Program
from sojourn.vm.op import BINARY, BUILTINS, COMPARE, EXCEPTIONS, METHODS, UNARY, Op, pack
from sojourn.vm.program import BigInt, Function, Handler, big_bytes
from sojourn.vm.shape import Shape

CONSTANTS = (None, True, 0, 1, 2, 7, -3, 2.5, 0.0, float("inf"), "", "ab", "xyzw", "é", (1 << 62) - 1)
CONSTANTS += (BigInt(big_bytes(1 << 70)), "ValueError", "int str")
SHAPES = (Shape(0, ()), Shape(1, ()), Shape(2, ()))
NAMES = ("a", "b", "c", "d", ".1", ".2", "z")
VARIABLES, SLOTS, CELL = range(4), (4, 5), 6
FORWARDS = 0.6  # of the jumps
NUMBERS = (0, 1, 2, 7, 2.5, "ab")

Code = list[tuple[int, Any, Any]]


def constant(value: Any) -> int:
    """Index of a constant; True and 1, 0 and 0.0 are different ones."""
    return next(k for k, known in enumerate(CONSTANTS) if type(known) is type(value) and known == value)


def function(name: str, words: list[tuple[int, int, int]], **fields: Any) -> Function:
    """A function of instructions; `main` and the others have one parameter at most."""
    more: dict[str, Any] = {"params": 1, "cells": (CELL,), "free": (), "captures": (), "handlers": (), "lines": None}
    more.update(fields)
    lines = more.pop("lines") or (1,) * len(words)
    return Function(name, more["params"], 0, 0, (), (), NAMES, more["cells"], more["free"], more["captures"],
                    more["handlers"], tuple([pack(*word) for word in words]), lines)  # fmt: skip


def assembled(*functions: Function) -> bytes:
    """The program; its first function is the entry."""
    return Program(1, (0,), functions, CONSTANTS, ("log.note",), SHAPES).encode()


def calling(called: Function, times: int = 7, line: int = 1) -> bytes:
    """A program that calls a function with 0, 1, 2, …, and keeps what it returned or raised in a list."""
    body = [
        (Op.LIST, 0, 0),
        (Op.STORE, 1, 0),
        (Op.CONST, constant(0), 0),
        (Op.STORE, 0, 0),
        (Op.LOAD, 1, 0),  # 4: the loop
        (Op.LOAD, 0, 0),
        (Op.CALL, 1, 1),
        (Op.METHOD, list(METHODS).index("append"), 1),
        (Op.POP, 0, 0),
        (Op.LOAD, 0, 0),  # 9
        (Op.CONST, constant(1), 0),
        (Op.BINARY, BINARY.index("+"), 0),
        (Op.STORE, 0, 0),
        (Op.LOAD, 0, 0),
        (Op.LOAD, 2, 0),
        (Op.COMPARE, COMPARE.index("<"), 0),
        (Op.JUMP_IF_TRUE, 4, 0),
        (Op.LOAD, 1, 0),
        (Op.RETURN, 0, 0),
        (Op.LOAD, 1, 0),  # 19: the handler
        (Op.LOAD, 3, 0),
        (Op.BUILTIN, list(BUILTINS).index("repr"), 1),
        (Op.METHOD, list(METHODS).index("append"), 1),
        (Op.POP, 0, 0),
        (Op.JUMP, 9, 0),
    ]
    limit = [(Op.CONST, constant(0), 0), *[(Op.CONST, constant(1), 0), (Op.BINARY, 0, 0)] * times, (Op.STORE, 2, 0)]
    moved = [
        (op, a + len(limit) if op in (Op.JUMP, Op.JUMP_IF_TRUE) else a, b) for op, a, b in body
    ]  # fmt: skip
    start = len(limit)
    handler = Handler(start + 4, start + 9, start + 19, 3)
    main = function("main", [*limit, *moved], params=0, handlers=(handler,), lines=(line,) * (start + len(body)))
    return assembled(main, called)


class _Maker:
    """Writes one function, statement by statement; a statement begins and ends with an empty stack."""

    def __init__(self, generator: random.Random, index: int) -> None:
        self.random, self.index = generator, index
        self.code: Code = []
        self.starts: list[int] = []

    def emit(self, op: int, a: Any = 0, b: Any = 0) -> None:
        self.code.append((op, a, b))

    def named(self, op: int, table: Any, *names: str, shape: int = 0) -> None:
        self.emit(op, list(table).index(self.random.choice(names)), shape)

    def variable(self) -> int:
        return self.random.choice(VARIABLES)

    def target(self) -> tuple[float, float]:
        return self.random.random(), self.random.random()

    def value(self, depth: int = 0) -> None:
        """Push one value."""
        kind = self.random.randrange(15 if depth < 2 else 6)
        if kind < 3:
            self.emit(Op.LOAD, self.variable())
        elif kind < 5:
            rare = self.random.random() < 0.2
            self.emit(Op.CONST, constant(self.random.choice(CONSTANTS if rare else NUMBERS)))
        elif kind == 5:
            self.emit(Op.LOAD_CELL, CELL)
        elif kind == 12:
            self._builtin(depth)
        elif kind == 13:
            self._call(depth)
        elif kind == 14:
            self.value(depth + 1)
            self.named(Op.METHOD, METHODS, "items", "keys", "values", "copy", "lower", "strip")
        else:
            self._operation(kind, depth)

    def _operation(self, kind: int, depth: int) -> None:
        count = 2 if kind < 8 or kind == 10 else self.random.randrange(4) if kind == 8 else 1
        if kind == 9:
            for key in (0, "ab"):
                self.emit(Op.CONST, constant(key))
                self.value(depth + 1)
            self.emit(Op.DICT, 2)
            return
        for _ in range(count):
            self.value(depth + 1)
        if kind < 8:
            self.named(self.random.choice((Op.BINARY, Op.INPLACE)), BINARY, *"+++-*%", "/", "//", "&", "<<", ">>")
        elif kind == 8:
            self.emit(self.random.choice((Op.LIST, Op.LIST, Op.TUPLE)), count)
        elif kind == 10:
            self.emit(*self.random.choice([(Op.INDEX,), *((Op.COMPARE, k) for k in range(len(COMPARE)))]))
        else:
            tests = [
                (Op.IS_NONE, 0),
                (Op.IS_NONE, 1),
                (Op.IS_A, constant("ValueError")),
                (Op.IS_A, constant("int str")),
            ]
            signs = [(Op.UNARY, k) for k in range(len(UNARY))]
            self.emit(*self.random.choice([*tests, *signs, (Op.NOT,), (Op.TUPLE_OF,)]))

    def _builtin(self, depth: int) -> None:
        self.value(depth + 1)
        if self.random.random() < 0.5:
            self.named(Op.BUILTIN, BUILTINS, "len", "str", "range", "abs", "list", "float", "int", "tuple", shape=1)
        else:
            self.value(depth + 1)
            self.named(Op.BUILTIN, BUILTINS, "min", "max", "divmod", "range", shape=2)

    def _call(self, depth: int) -> None:
        if self.random.random() < 0.4:
            self.value(depth + 1)
            self.emit(Op.CALL, 1, 1)
            return
        self.emit(Op.CLOSURE, self.random.choice((1, 2)), 0)
        count = self.random.choice((1, 1, 1, 2))
        for _ in range(count):
            self.value(depth + 1)
        self.emit(Op.CALL_VALUE, 0, count)

    def statement(self) -> None:
        """Anything that leaves the stack as it was."""
        self.starts.append(len(self.code))
        kind = self.random.randrange(22)
        if kind < 5:
            self.value()
            self.emit(Op.STORE, self.variable())
        elif kind < 9:
            self.value()
            self.emit(self.random.choice((Op.JUMP_IF_FALSE, Op.JUMP_IF_TRUE)), self.target())
        elif kind < 13:
            self.emit(Op.NEXT, self.random.choice(SLOTS), self.target())
            self.emit(*self.random.choice(((Op.STORE, self.variable()), (Op.POP,))))
        elif kind == 13:
            self.value()
            self.emit(Op.STORE_CELL, CELL)
        elif kind == 14:
            self.emit(*self.random.choice(((Op.JUMP, self.target()), (Op.CLEAR, self.random.choice(SLOTS)))))
        elif kind == 15:
            self.value()
            self.emit(Op.ITER, self.random.choice(SLOTS))
        elif kind == 16:
            self.emit(Op.DELETE, self.variable(), self.random.randrange(2))
        elif kind == 17:
            self._raise()
        else:
            self._moved(kind)

    def _raise(self) -> None:
        if self.random.random() < 0.5:
            self.named(Op.EXCEPTION, EXCEPTIONS, "ValueError", "TypeError")
        else:
            self.emit(Op.LOAD, self.variable())
        self.emit(Op.RAISE)

    def _moved(self, kind: int) -> None:
        self.value()
        if kind == 18:
            self.value()
            self.emit(Op.TUPLE, 2)
            self.emit(Op.UNPACK, 2)
            self.emit(Op.STORE, self.variable())
        elif kind == 19:
            at = len(self.code)
            self.emit(self.random.choice((Op.JUMP_IF_FALSE_OR_POP, Op.JUMP_IF_TRUE_OR_POP)))
            self.value()
            self.code[at] = (self.code[at][0], len(self.code), 0)
        elif kind == 20:
            self.value()
            self.emit(Op.METHOD, list(METHODS).index("append"), 1)
        else:
            self.value()
            self.emit(Op.ROT, 1)
            self.emit(Op.BINARY, 0)
        self.emit(Op.STORE, self.variable())

    def function(self) -> Function:
        """The function: its variables have a value and its loops have begun."""
        generator = self.random
        for variable in VARIABLES[self.index > 0 :]:
            self.emit(Op.CONST, constant(generator.choice(NUMBERS)))
            self.emit(Op.STORE, variable)
        if self.index < 2:
            self.emit(Op.CONST, constant(1))
            self.emit(Op.STORE_CELL, CELL)
        for slot in SLOTS:
            for _ in range(3):
                self.emit(Op.CONST, constant(generator.choice((0, 1, "ab"))))
            self.emit(Op.LIST, 3)
            self.emit(Op.ITER, slot)
        for _ in range(generator.randrange(3, 10)):
            self.statement()
        self.starts.append(len(self.code))
        self.emit(Op.LOAD, self.variable())
        self.emit(Op.RETURN)
        own: dict[str, Any] = {"cells": (), "free": (CELL,), "captures": (CELL,)} if self.index == 2 else {}
        words = [(op, self._landing(at, a), self._landing(at, b)) for at, (op, a, b) in enumerate(self.code)]
        lines = tuple([generator.choice((1, 2, 3)) if generator.random() < 0.95 else 0 for _ in words])
        return function(("main", "f", "g")[self.index], words, params=min(self.index, 1), handlers=self._handlers(),
                        lines=lines, **own)  # fmt: skip

    def _landing(self, at: int, operand: Any) -> int:
        if not isinstance(operand, tuple):
            return int(operand)
        way, place = operand
        forwards = [start for start in self.starts if start > at]
        backwards = [start for start in self.starts if start <= at]
        pool = (forwards if way < FORWARDS else backwards) or self.starts
        return pool[int(place * len(pool))]

    def _handlers(self) -> tuple[Handler, ...]:
        found = []
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 3))):
            first = self.random.randrange(len(self.starts) - 1)
            last = self.random.randrange(first + 1, len(self.starts))
            target = self.random.choice(self.starts)
            found.append(Handler(self.starts[first], self.starts[last], target, self.variable()))
        return tuple(found)


def program(generator: random.Random) -> bytes:
    """Three functions that call each other; the last is made as a value, and shares a variable."""
    made = [_Maker(generator, index).function() for index in range(3)]
    if generator.random() < 0.6:
        return assembled(_main(generator), *made[1:])
    return assembled(*made)


def _main(generator: random.Random) -> Function:
    """A loop that calls the two others, whatever they raise."""
    words = [
        (Op.CONST, constant(0), 0),
        (Op.STORE, 3, 0),
        (Op.CONST, constant(generator.choice(NUMBERS)), 0),
        (Op.STORE, 0, 0),
        (Op.CONST, constant(2), 0),
        (Op.STORE_CELL, CELL, 0),
        (Op.LOAD, 3, 0),  # 6: the loop
        (Op.CONST, constant(1), 0),
        (Op.BINARY, 0, 0),
        (Op.STORE, 3, 0),
        (Op.LOAD, generator.choice((0, 3)), 0),
        (Op.CALL, 1, 1),
        (Op.STORE, 0, 0),
        (Op.CLOSURE, 2, 0),
        (Op.LOAD, generator.choice((0, 3)), 0),
        (Op.CALL_VALUE, 0, 1),
        (Op.STORE, 1, 0),
        (Op.LOAD, 3, 0),  # 17
        (Op.CONST, constant(7), 0),
        (Op.COMPARE, COMPARE.index("<"), 0),
        (Op.JUMP_IF_TRUE, 6, 0),
        (Op.LOAD, 0, 0),
        (Op.RETURN, 0, 0),
        (Op.LOAD, 2, 0),  # 23: the handler
        (Op.STORE, 1, 0),
        (Op.JUMP, 17, 0),
    ]
    return function("main", words, params=0, handlers=(Handler(6, 17, 23, 2),))
