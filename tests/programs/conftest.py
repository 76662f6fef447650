"""Runs one source on CPython and on the machine, so that both can be compared: result, error, log."""

from __future__ import annotations

import ast
import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sojourn.vm import Done, Failed, Machine, Parked, Sliced, VerifiedProgram
from sojourn.vm.values import SetValue

HERE = Path(__file__).parent
FUEL, MEMORY = 10**7, 6 * 10**7


def _stopping() -> Any:
    """The module beside this one."""
    spec = importlib.util.spec_from_file_location("program_stopping", HERE / "stopping.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its records find their types there
    spec.loader.exec_module(module)
    return module


STOPPING = _stopping()
compiled = STOPPING.compiled


class Result(NamedTuple):
    """How a program ended: `value` and its text, or the class of an exception and its message; and its log."""

    kind: str
    text: str
    log: tuple[str, ...]


def shown(value: Any) -> str:
    """Text of a value that does not depend on the order of sets."""
    if isinstance(value, set | SetValue):
        items = value if isinstance(value, set) else value.items
        return "{" + ", ".join(sorted(shown(item) for item in items)) + "}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(shown(item) for item in value)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{shown(key)}: {shown(item)}" for key, item in value.items()) + "}"
    return repr(value)


class _MethodsLate(ast.NodeTransformer):
    """Has a value asked for its method after the arguments were evaluated: a listed difference."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node.func:
            case ast.Attribute(ast.Name("log")):
                return node
            case ast.Attribute(owner, name):
                named = [owner, ast.Constant(name), *node.args]
                late = ast.Call(ast.Name("_call_method", ast.Load()), named, node.keywords)
                return ast.fix_missing_locations(ast.copy_location(late, node))
        return node


def _call_method(owner: Any, name: str, /, *args: Any, **keywords: Any) -> Any:
    return getattr(owner, name)(*args, **keywords)


def on_cpython(source: str, *, methods_late: bool = False) -> Result:
    """What CPython makes of a program; with `methods_late`, in the order that the limitations page says."""
    lines: list[str] = []

    class Log:
        @staticmethod
        def note(text: str) -> None:
            lines.append(text)

    scope: dict[str, Any] = {"log": Log, "_call_method": _call_method}
    tree = ast.parse(source)
    if methods_late:
        tree = _MethodsLate().visit(tree)
    exec(compile(tree, "program.py", "exec", dont_inherit=True), scope)
    try:
        return Result("value", shown(scope["main"]()), tuple(lines))
    except BaseException as problem:  # noqa: BLE001 - whatever it is, the machine must say the same
        return Result(type(problem).__name__, str(problem), tuple(lines))


def answer(machine: Machine, effect: Any, log: list[str]) -> None:
    assert effect.name == "log.note"
    log.append(effect.args["text"])
    machine.resume(None)


def result_of(progress: Any, log: list[str]) -> Result:
    if isinstance(progress, Done):
        return Result("value", shown(progress.value), tuple(log))
    assert isinstance(progress, Failed)
    return Result(progress.code, progress.detail.partition(": ")[2], tuple(log))


def on_machine(source: str) -> Result:
    return straight(compiled(source))[0]


def straight(program: VerifiedProgram) -> tuple[Result, bytes, int]:
    """Result, final state and fuel of a run without stops."""
    machine, log = Machine.start(program, "main", (), bytes(32), FUEL, MEMORY), list[str]()
    while isinstance(progress := machine.run(FUEL), Parked):
        answer(machine, progress.effect, log)
    return result_of(progress, log), machine.dump(), FUEL - machine.fuel_left


def stopping(program: VerifiedProgram, stops: set[int]) -> tuple[Result, bytes]:
    """The same with a stop after each of these numbers of instructions, a dump, and another machine that goes on."""
    machine, log = Machine.start(program, "main", (), bytes(32), FUEL, MEMORY), list[str]()
    left = sorted(stops)
    while True:
        done = FUEL - machine.fuel_left
        while left and left[0] <= done:
            left.pop(0)
        progress = machine.run(left[0] - done if left else FUEL)
        if isinstance(progress, Done | Failed):
            return result_of(progress, log), machine.dump()
        data = machine.dump()
        machine = Machine.load(program, data)
        assert machine.dump() == data
        if isinstance(progress, Sliced):
            continue
        assert machine.pending is not None
        answer(machine, machine.pending, log)


def sampled_stops(name: str, fuel: int, count: int) -> set[int]:
    """Some instructions of a run, the same in each run of the tests; all of them where there are few."""
    generator = random.Random(name)
    return set(range(fuel)) if fuel <= count else {generator.randrange(fuel) for _ in range(count)}


def programs() -> dict[str, str]:
    """The corpus by name."""
    found: dict[str, str] = {}
    for path in sorted((HERE / "corpus").glob("*.txt")):
        for section in path.read_text(encoding="utf-8").split("=== ")[1:]:
            name, _, body = section.partition("\n")
            assert name not in found, f"two programs have the name {name}"
            found[name] = body
    return found


class Oracle:
    """Names of this file, for tests in importlib mode."""

    on_cpython, on_machine = staticmethod(on_cpython), staticmethod(on_machine)
    compiled, straight, stopping = staticmethod(compiled), staticmethod(straight), staticmethod(stopping)
    sampled_stops, programs = staticmethod(sampled_stops), staticmethod(programs)
    answer, result_of, shown = staticmethod(answer), staticmethod(result_of), staticmethod(shown)
    expressions = staticmethod(lambda: (HERE / "corpus" / "expressions.lines").read_text(encoding="utf-8").splitlines())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each program and each expression of the corpus."""
    if "corpus_name" in metafunc.fixturenames:
        metafunc.parametrize("corpus_name", programs())
    if "stopped_name" in metafunc.fixturenames:
        metafunc.parametrize("stopped_name", STOPPING.programs())
    if "forms" in metafunc.fixturenames:
        metafunc.parametrize("forms", STOPPING.PAIRS, ids=":".join)
    if "expression" in metafunc.fixturenames:
        metafunc.parametrize("expression", Oracle.expressions())


@pytest.fixture(scope="session")
def corpus() -> dict[str, str]:
    return programs()


@pytest.fixture(scope="session")
def stopping() -> Any:
    return STOPPING


@pytest.fixture(scope="session")
def other() -> Iterator[Any]:
    """A long-lived process with another hash seed."""
    with STOPPING.Other(STOPPING.SEEDS[0]) as made:
        yield made


@pytest.fixture(scope="session")
def oracle() -> type[Oracle]:
    return Oracle
