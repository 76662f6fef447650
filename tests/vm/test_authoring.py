"""What authors import: the namespaces agree with the effects table, and say what to do outside of the machine."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import sojourn
from sojourn import program
from sojourn.errors import UsageError
from sojourn.labels import PUBLIC
from sojourn.vm import Box, Continuation, Handle, RecordValue, continuation
from sojourn.vm.compiler.refusals import WORDS
from sojourn.vm.effects import EFFECTS, NAMESPACES, bind
from sojourn.vm.shape import Shape
from sojourn.vm.tables import PARENTS


@pytest.mark.parametrize("name", [name for name, spec in EFFECTS.items() if not spec.hidden])
def test_signatures_are_those_of_the_table(name: str) -> None:
    namespace, _, effect = name.partition(".")
    function = getattr(getattr(program, namespace), effect)
    params = inspect.signature(function).parameters.values()
    plain = tuple(p.name for p in params if p.kind is p.POSITIONAL_OR_KEYWORD)
    assert plain == EFFECTS[name].params
    assert any(p.kind is p.VAR_KEYWORD for p in params) == EFFECTS[name].varkw


@pytest.mark.parametrize("name", [name for name, spec in EFFECTS.items() if not spec.hidden])
def test_calls_outside_of_the_machine_say_what_to_do(name: str) -> None:
    namespace, _, effect = name.partition(".")
    arguments = dict.fromkeys(EFFECTS[name].params)
    with pytest.raises(UsageError, match=rf"{name}\(\) was called outside of the machine.*submit"):
        getattr(getattr(program, namespace), effect)(**arguments)


def test_private_outside_of_the_machine() -> None:
    with pytest.raises(UsageError, match=r"private\(\) was called outside"):
        program.private(len, [], fuel=1, memory=1)


@pytest.mark.parametrize("name", ["here", "fork", "spawn", "join", "cancel"])
def test_words_outside_of_the_machine(name: str) -> None:
    arguments: dict[str, object] = {"fork": {"fuel": 1, "memory": 1}, "spawn": {"f": 1, "fuel": 1, "memory": 1}}.get(
        name, {} if name == "here" else {"task": 1}
    )
    with pytest.raises(UsageError, match="was called outside"):
        getattr(program, name)(**arguments)


def test_exceptions_have_the_bases_of_the_table() -> None:
    for name in ("Cancelled", "DeadlineMissed", "QuorumMissed"):
        assert getattr(program, name).__base__.__name__ == PARENTS[name]


def test_every_namespace_is_importable() -> None:
    assert set(program.__all__) >= NAMESPACES
    assert set(program.__all__) - NAMESPACES == WORDS | {"continuation", "Cancelled", "DeadlineMissed", "QuorumMissed"}


def test_continuation_marks_and_refuses_to_run() -> None:
    @continuation
    def entry(order: int) -> int:
        """Doc."""
        return order + 1

    assert isinstance(entry, Continuation)
    assert (entry.__name__, entry.__doc__, entry.function(1)) == ("entry", "Doc.", 2)
    with pytest.raises(UsageError, match=r"entry\(\) is an entry of a program and runs only in the machine"):
        entry(1)
    assert sojourn.continuation is continuation


def test_importing_sojourn_imports_nothing_heavy() -> None:
    code = "import sys, sojourn; sys.exit(any(m in sys.modules for m in ('msgspec', 'numpy', 'onnx', 'sojourn.vm')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_binding_of_effects() -> None:
    spec = EFFECTS["gpu.run"]
    assert bind(spec, Shape(1, ("x", "state"))) == ("name", "x", "state")
    assert bind(spec, Shape(0, ("x", "name"))) == ("x", "name")
    assert bind(spec, Shape(2, ())) == "gpu.run() takes 1 positional arguments, 2 are given"
    assert spec.signature == "gpu.run(name, **inputs)"


def test_values_are_equal_by_identity_and_show_nothing() -> None:
    assert Handle("tensor", b"a", PUBLIC) == Handle("tensor", b"a", PUBLIC)
    assert Handle("tensor", b"a", PUBLIC) != Handle("tensor", b"b", PUBLIC)
    assert Box(b"a", PUBLIC) != Handle("tensor", b"a", PUBLIC)
    assert len({Box(b"a", PUBLIC), Box(b"a", PUBLIC)}) == 1
    assert "secret" not in repr(RecordValue("order", {"args": "secret"}))


def test_the_machine_is_pure() -> None:
    """No module of the machine or of the labels imports what depends on the host."""
    root = Path(sojourn.__file__).parent
    forbidden = {
        "asyncio",
        "socket",
        "time",
        "random",
        "os",
        "onnxruntime",
        "websockets",
        "pickle",
        "threading",
        "pathlib",
    }
    for path in [*(root / "vm").rglob("*.py"), *(root / "labels").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & forbidden, path
