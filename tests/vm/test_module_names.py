"""What the names of imported modules mean: through packages, in calls, as values, hidden, and where they are none."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.errors import ProgramRefused
from sojourn.vm import Done, Failed, Machine, compile_source, verify
from sojourn.vm.compiler import ModuleSource, find_in
from sojourn.vm.places import in_file, line_text, place_of

ENTRY = "@continuation\ndef main():\n    return "
PACKAGE = {
    "pkg.__init__": '"""Says what it has."""\nfrom .low import f, X as Y\nfrom . import low, other\nOWN = 1\n'
    "def g():\n    return OWN\n",
    "pkg.low": "__all__ = ['f']\nX = (1, 2)\ndef f():\n    return X\n",
    "pkg.other": "def h():\n    return 5\n",
}


def evaluate(head: str, what: str, modules: dict[str, str]) -> Any:
    program = verify(compile_source(head + ENTRY + what + "\n", "p.py", name="main", find=find_in(modules)).encode())
    return Machine.start(program, "main", (), bytes(32), 10_000, 100_000).run(10_000)


@pytest.mark.parametrize(
    ("head", "what", "value"),
    [
        ("from pkg import f, Y, g, OWN\n", "[f(), Y, g(), OWN]", [(1, 2), (1, 2), 1, 1]),
        ("from pkg import low, other as o\n", "[low.f(), o.h()]", [(1, 2), 5]),
        ("import pkg\n", "[pkg.f(), pkg.Y, pkg.low.X, pkg.other.h(), pkg.OWN]", [(1, 2), (1, 2), (1, 2), 5, 1]),
        ("import pkg, pkg.low, pkg.other\n", "[pkg.g(), pkg.low.f(), pkg.other.h()]", [1, (1, 2), 5]),
        ("import pkg.low\nimport pkg.low\n", "pkg.low.X", (1, 2)),
        ("from pkg.low import f as a\nfrom pkg.low import f as b\n", "[a(), b()]", [(1, 2), (1, 2)]),
        ("import pkg.low as l\n", "[f() for f in (l.f, l.f)]", [(1, 2), (1, 2)]),
        ("import pkg.low as l\n", "l.f(*[], **{})", (1, 2)),
        ("import pkg.low as l\n", "(lambda x=l.X: x)()", (1, 2)),
        ("import pkg.low as l\n", "l.X[0]", 1),
        ("import pkg.low as l\n", "l.X.count(1)", 1),
        ("import pkg.low as l\n", "[l for l in 'ab']", ["a", "b"]),
    ],
)
def test_names(head: str, what: str, value: Any) -> None:
    assert evaluate(head, what, PACKAGE) == Done(value)


def test_a_package_is_asked_on_its_behalf_for_what_it_has_by_then() -> None:
    modules = {
        "pkg.__init__": "from .tool import tool\nfrom .user import use\n",
        "pkg.tool": "def tool():\n    return 'a function'\n",
        "pkg.user": "from . import tool, last\ndef use():\n    return [tool(), last.X]\n",
        "pkg.last": "X = 1\n",
    }
    assert evaluate("import pkg\n", "pkg.use()", modules) == Done(["a function", 1])
    with pytest.raises(ProgramRefused, match=r"pkg/user\.py:1:1: .* in a circle"):
        evaluate("import pkg\n", "1", {**modules, "pkg.user": "from . import missing\n"})


def test_a_package_that_is_only_a_folder() -> None:
    modules = {"pkg.low": PACKAGE["pkg.low"]}
    assert evaluate("from pkg import low\n", "low.X", modules) == Done((1, 2))


def test_a_literal_that_is_called_or_asked_fails_as_in_python() -> None:
    failed = evaluate("import pkg.low as l\n", "l.X()", PACKAGE)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.detail) == ("TypeError", "TypeError: 'tuple' object is not callable")
    failed = evaluate("import pkg.low as l\n", "l.X.y", PACKAGE)
    assert isinstance(failed, Failed)
    assert failed.detail == "AttributeError: 'tuple' object has no attribute 'y'"


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("import sojourn.program\n", "importing sojourn.program is not in this language"),
        ("from pkg import zzz\n", "pkg/__init__.py has no zzz"),
        ("from pkg import nothing\nimport pkg\n", "pkg/__init__.py has no nothing"),
        ("from gone import f\n", "importing gone is not in this language"),
        ("import pkg\ndef f():\n    return pkg.low\n", "a module is no value"),
        ("import pkg.low\ndef f():\n    return pkg.g()\n", "pkg.g is nothing that this file imports"),
        ("import pkg.low\ndef f(x=pkg.low.Z):\n    return x\n", "pkg/low.py has no Z"),
        ("import pkg.low as l\ndef f(x=l.f):\n    return x\n", "a default that is not a literal"),
    ],
)
def test_refused(head: str, words: str) -> None:
    with pytest.raises(ProgramRefused) as problem:
        evaluate(head, "1", PACKAGE)
    assert words in str(problem.value)


def test_a_package_whose_own_file_is_out_of_the_language_is_read_for_its_names_only() -> None:
    own = "class A:\n    pass\nasync def b():\n    pass\nimport os.path as c\nfrom os import d\n"
    own += "e, f = 1, [2]\ndef g():\n    pass\n"
    modules = {"pkg.__init__": own, "pkg.low": "X = 3\n", "pkg.e": "X = 4\n"}
    assert evaluate("from pkg import low\n", "low.X", modules) == Done(3)
    for name in "Abcdefg":
        with pytest.raises(ProgramRefused, match=r"pkg/__init__\.py:1:1: classes are not"):
            evaluate(f"from pkg import {name}\n", "1", modules)


def test_an_installed_package_that_is_no_python() -> None:
    def find(name: str) -> ModuleSource | None:
        names = {"lib": ("lib.__init__", "def f(:\n"), "lib.a": ("lib.a", "X = 1\n")}
        return None if name not in names else ModuleSource(*names[name], names[name][0], own=False)

    with pytest.raises(ProgramRefused, match=r"p\.py:1:1: importing lib.* it is a library .*not Python"):
        compile_source("from lib import a\n" + ENTRY + "1\n", "p.py", find=find)
    assert compile_source("import lib.a as a\n" + ENTRY + "a.X\n", "p.py", find=find).modules == ()


def test_an_own_package_that_is_no_python() -> None:
    with pytest.raises(ProgramRefused, match=r"pkg/__init__\.py:1:7: not Python"):
        evaluate("from pkg import low\n", "1", {**PACKAGE, "pkg.__init__": "def f(:\n"})


def test_a_region_that_stands_in_a_module() -> None:
    modules = {"a": "def g():\n    return private(h, fuel=9, memory=999)\ndef h():\n    fleet.invite(round=0)\n"}
    with pytest.raises(ProgramRefused, match=r"a\.py:4:5: fleet.invite inside of the private .* starts in line 2; "):
        evaluate("import a\n", "a.g()", modules)


def test_places_in_words() -> None:
    assert line_text(7) == line_text(7, ("a",)) == "line 7"
    assert in_file("KeyError: 1", 7, ("a",)) == "KeyError: 1"
    assert in_file("KeyError: 1", place_of(1, 7), ("a",)) == "KeyError: 1 (line 7 of a.py)"
