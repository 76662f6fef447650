"""Every operation on every kind of value: a result that is a value, or an error of the language; never a fault."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sojourn.labels import PUBLIC, Label
from sojourn.vm import Box, Handle, RecordValue
from sojourn.vm.arithmetic import binary, inplace, unary
from sojourn.vm.builtins import BUILTIN_FUNCTIONS
from sojourn.vm.compare import compare, truth
from sojourn.vm.containers import delete_index, index, slice_of, store_index, unpack_values
from sojourn.vm.copying import copy_values
from sojourn.vm.faults import Exhausted, Raised
from sojourn.vm.formats import check_format
from sojourn.vm.methods import call_method
from sojourn.vm.op import BINARY, BUILTINS, COMPARE, METHODS, UNARY
from sojourn.vm.state import Run
from sojourn.vm.text import format_of, repr_of, str_of
from sojourn.vm.values import NAN, BuiltinValue, DictView, ExcValue, FunctionValue, Iter, IterKind, SetValue, ViewKind
from sojourn.vm.walking import BoxContent

SECRET = Box(b"b" * 32, Label.of("a/x"))


def cyclic() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


def deep() -> Any:
    made: Any = ()
    for _ in range(300):
        made = (made,)
    return made


def small_set() -> SetValue:
    return SetValue({1: None, "a": None})


NUMBERS = (0, 1, -3, 2**62, 2**63, -(10**40), 10**400, True, 0.0, -2.5, 1e308, float("inf"), NAN)
TEXTS = ("", "a", "12", "a b", "é", "x" * 500, b"", b"12", b"\xff")
RANGES = (range(5), range(9, 0, -2), range(10**30), range(10**30, 0, -7))
FIXED = (None, *NUMBERS, *TEXTS, *RANGES, (), (1,), ("ab", 1), deep(), SECRET, (SECRET,))  # nothing can change these
FRESH: tuple[Callable[[], Any], ...] = (
    *(list, lambda: [1, "a"], lambda: [2, 1], dict, lambda: {"a": 1}, lambda: {1: 2, (1,): []}, cyclic),
    *(lambda kind=kind: DictView(kind, {"k": 1, "l": [2]}) for kind in ViewKind),
    lambda: Iter(IterKind.SEQUENCE, "list_iterator", [1, (2, 3)]),
    lambda: Iter(IterKind.ZIP, "zip"),
    lambda: Handle("tensor", b"t", PUBLIC),
    lambda: RecordValue("order", {"args": 1}),
    *(lambda: [SECRET], lambda: {"k": SECRET}),
    *(small_set, lambda: SetValue({}), lambda: FunctionValue(1, "f"), lambda: BuiltinValue(8, "len")),
    *(lambda: ExcValue("ValueError", ("x", [1])), lambda: ExcValue("KeyError", ())),
    lambda: Iter(IterKind.SET, "set_iterator", small_set(), (1, "a")),
)
COUNT = len(FIXED) + len(FRESH)


def value(position: int) -> Any:
    """One of each kind, and the awkward ones. Fresh where it may be changed."""
    return FIXED[position] if position < len(FIXED) else FRESH[position - len(FIXED)]()


@pytest.fixture
def run(kit: Any) -> Run:
    program = kit.program_of("@continuation\ndef main():\n    return [lambda a, b=2: a]\n")
    boxes = {SECRET.id: BoxContent("the secret", 100)}
    return Run(program, kit.RUN, PUBLIC, False, 0, 10**9, 10**7, 10**7, [], boxes)


def attempt(run: Run, operation: Any, *args: Any) -> None:
    """Call, and check that nothing but the language's own errors comes out, and no content of a box in them."""
    run.fuel, run.memory = 20_000, 1_000_000
    try:
        result = operation(*args)
    except Raised as problem:
        result = problem.message
    except Exhausted:
        result = None
    assert result is not NotImplemented
    assert not isinstance(result, str) or "the secret" not in result
    assert run.fuel >= 0
    assert run.memory >= 0


@pytest.mark.parametrize("left", range(COUNT))
def test_pairs(run: Run, left: int) -> None:
    for right in range(COUNT):
        for op in BINARY:
            attempt(run, binary, run, op, value(left), value(right))
            attempt(run, inplace, run, op, value(left), value(right))
        for op in COMPARE:
            attempt(run, compare, run, op, value(left), value(right))
        attempt(run, index, run, value(left), value(right))
        attempt(run, store_index, run, value(left), value(right), 1)
        attempt(run, delete_index, run, value(left), value(right))


@pytest.mark.parametrize("position", range(COUNT))
def test_single_values(run: Run, position: int) -> None:
    for op in UNARY:
        attempt(run, unary, run, op, value(position))
    attempt(run, truth, value(position))
    attempt(run, str_of, run, value(position))
    attempt(run, repr_of, run, value(position))
    attempt(run, copy_values, run, [value(position)])
    for count in (0, 1, 2):
        attempt(run, unpack_values, run, value(position), count)
    for spec, conversion in itertools.product(
        ("", "d", ".2f", ">9", "x", "e", "c", ",", "%", "z.1f", "_b"), ("", "s", "r")
    ):
        assert check_format(spec) is None
        attempt(run, format_of, run, value(position), spec, conversion)
    for bounds in (
        [None, None, None],
        [1, None, 2],
        [None, value(position), None],
        [None, None, value(position)],
    ):
        attempt(run, slice_of, run, value(position), bounds)
        attempt(run, slice_of, run, "text", bounds)
        attempt(run, slice_of, run, [1, 2, 3], bounds)


@pytest.mark.parametrize("name", BUILTINS)
def test_builtins(run: Run, name: str) -> None:
    arity, function = BUILTINS[name], BUILTIN_FUNCTIONS[list(BUILTINS).index(name)]
    if arity.least == 0:
        attempt(run, function, run, [], {})
    for left in range(COUNT):
        if arity.least <= 1 <= arity.most:
            attempt(run, function, run, [value(left)], {})
            for keyword in (word for word in arity.keywords if word != "*"):
                attempt(run, function, run, [[3, 1]], {keyword: value(left)})
        if arity.most >= 2 >= arity.least:
            for right in range(COUNT):
                attempt(run, function, run, [value(left), value(right)], {})


@pytest.mark.parametrize("name", METHODS)
def test_methods(run: Run, name: str) -> None:
    number, arity = list(METHODS).index(name), METHODS[name]
    for owner in range(COUNT):
        if arity.least == 0:
            attempt(run, call_method, run, number, value(owner), [])
        for argument in range(COUNT):
            attempt(run, call_method, run, number, value(owner), [value(argument)] * max(arity.least, 1))
            attempt(run, call_method, run, number, value(owner), [value(argument), 1])


@pytest.mark.parametrize("spec", ["n", "99999", ".99999", "\u00e9>5", "5d5", "dd", "{", "aaa>5", " =+ 5"])
def test_formats_outside_of_the_language(spec: str) -> None:
    assert check_format(spec) is not None
