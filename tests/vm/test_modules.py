"""Programs of several modules: what is refused and where, what failures name, and tables that no compiler writes."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.errors import ProgramRefused
from sojourn.limits import MAX_PROGRAM_BYTES, MAX_PROGRAM_MODULES
from sojourn.vm import Box, Done, Failed, Machine, Program, RegionError, compile_source, disassemble, verify
from sojourn.vm.compiler import ModuleSource, find_in
from sojourn.vm.places import line_text, place_of
from sojourn.vm.sites import effect_sites
from sojourn.vm.views import runs_of

RUN = bytes(range(32))
ENTRY = "@continuation\ndef main():\n    return 1\n"


def compiled(source: str, *, name: str = "", **texts: str) -> Program:
    """With modules by name; `__` in a keyword is a full stop."""
    modules = {key.replace("__", "."): text for key, text in texts.items()}
    return compile_source(source, "program.py", name=name, find=find_in(modules))


def run(program: Program, *args: Any) -> Any:
    return Machine.start(verify(program.encode()), "main", args, RUN, 100_000, 1_000_000).run(100_000)


# what is refused: the program, its modules, where, why, what to write
REFUSED: dict[str, tuple[str, dict[str, str], str, str, str]] = {
    "a module that is nowhere": ("import nowhere\n", {}, "program.py:1:1", "importing nowhere", "write only: from"),
    "a name that it lacks": (
        "from a import clop\n",
        {"a": "def clip():\n    pass\n"},
        "program.py:1:1",
        "a.py has no clop",
        "write clip",
    ),
    "a name of an empty module": ("from a import f\n", {"a": ""}, "program.py:1:1", "a.py has no f", "write a def"),
    "a name that it lacks, in use": (
        "import a\ndef f():\n    return a.zzz(1)\n",
        {"a": "X = 1\n"},
        "program.py:3:12",
        "a.py has no zzz",
        "write one of X",
    ),
    "everything": ("from a import *\n", {"a": "X = 1\n"}, "program.py:1:1", "import * is not", "write the names"),
    "a module as a value": (
        "import a\ndef f():\n    return a\n",
        {"a": ""},
        "program.py:3:12",
        "a is a module and no value",
        "write a.x",
    ),
    "a module of a module as a value": (
        "import a\ndef f():\n    return a.b\n",
        {"a": "import b\n", "b": ""},
        "program.py:3:12",
        "a module is no value",
        "write a function",
    ),
    "a package that was not imported": (
        "import p.b\ndef f():\n    return p.c.g()\n",
        {"p.b": ""},
        "program.py:3:12",
        "p.c.g is nothing",
        "write import p.c",
    ),
    "in a module": (
        "import a\n",
        {"a": "def f():\n    with x:\n        pass\n"},
        "a.py:2:5",
        "with is not",
        "write plain calls",
    ),
    "a class in a module": (
        "import a\n",
        {"a": "class A:\n    pass\n"},
        "a.py:1:1",
        "classes are not",
        "write functions",
    ),
    "a module that is no Python": ("import a\n", {"a": "def f(:\n"}, "a.py:1:7", "not Python", "write valid"),
    "a library in a module": (
        "import a\n",
        {"a": "\nimport numpy as np\n"},
        "a.py:2:1",
        "importing numpy",
        "with a graph",
    ),
    "a computed value in a module": (
        "import a\n",
        {"a": "X = [1]\n"},
        "a.py:1:5",
        "X is not a literal",
        "inside of a function",
    ),
    "a circle": (
        "import a\n",
        {"a": "import b\n", "b": "import c\n", "c": "\nimport a\n"},
        "c.py:2:1",
        "in a circle: a imports b imports c imports a",
        "a module of its own",
    ),
    "a module of itself": (
        "import a\n",
        {"a": "import a\n"},
        "a.py:1:1",
        "in a circle: a imports a",
        "a module of its own",
    ),
    "an entry in a module": (
        "import a\n",
        {"a": "@continuation\ndef f():\n    pass\n"},
        "a.py:2:1",
        "f is an entry in a module",
        "in the program's own file",
    ),
    "an import under a condition": (
        "if 1:\n    import a\n",
        {"a": ""},
        "program.py:1:1",
        "outside of functions",
        "an import by itself",
    ),
    "an import that may fail": (
        "try:\n    import a\nexcept ImportError:\n    pass\n",
        {"a": ""},
        "program.py:1:1",
        "outside of functions",
        "an import by itself",
    ),
    "an import in a function": (
        "def f():\n    import a\n",
        {"a": ""},
        "program.py:2:5",
        "imports are not",
        "above the functions",
    ),
    "a name twice": (
        "from a import f\ndef f():\n    pass\n",
        {"a": "def f():\n    pass\n"},
        "program.py:2:1",
        "f is defined twice",
        "another name",
    ),
    "a module and a function": (
        "def a():\n    pass\nimport a\n",
        {"a": ""},
        "program.py:3:1",
        "a is defined twice",
        "another name",
    ),
    "two modules of one name": (
        "import a\nimport b as a\n",
        {"a": "", "b": ""},
        "program.py:2:1",
        "a is defined twice",
        "another name",
    ),
    "a module with a word's name": (
        "import log\n",
        {"log": ""},
        "program.py:1:1",
        "log is a name of the language",
        "another name",
    ),
    "relative, in no package": (
        "from .a import f\n",
        {"a": ""},
        "program.py:1:1",
        "importing .a",
        "an __init__.py into the folder",
    ),
    "relative, too far up": (
        "import p.a\n",
        {"p.a": "from ..b import f\n"},
        "p/a.py:1:1",
        "importing ..b",
        "whole name",
    ),
    "a name that no table has": ("import é\n", {"é": ""}, "program.py:1:1", "importing é", "ASCII"),
    "a wrong call": (
        "import a\ndef f():\n    return a.g()\n",
        {"a": "def g(x):\n    pass\n"},
        "program.py:3:12",
        "g() lacks the argument 'x'",
        "write a.g(x)",
    ),
    "a wrong region": (
        "import a\ndef f():\n    return private(a.g, fuel=1, memory=1)\n",
        {"a": "def g(x):\n    pass\n"},
        "program.py:3:12",
        "lacks the argument 'x'",
        "write private(a.g, x,",
    ),
    "a release in a region, over modules": (
        "import a\ndef f():\n    return private(a.g, fuel=1, memory=1)\n",
        {
            "a": "import b\ndef g():\n    return b.h()\n",
            "b": "\ndef h():\n    release.count(1, of='n', name='n', high=1)\n",
        },
        "b.py:3:5",
        "private(a.g, ...) starts in line 3 of program.py",
        "write return here",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    source, modules, where, why, instead = REFUSED[name]
    with pytest.raises(ProgramRefused) as refusal:
        compile_source(source + ENTRY, "program.py", find=find_in(modules))
    problem = refusal.value
    assert (f"{problem.file}:{problem.line}:{problem.column}", problem.instead.startswith("write ")) == (where, True)
    assert why in problem.why
    assert instead in problem.instead


def test_too_much_in_all_modules() -> None:
    long = "X = 1\n" + "#" * (MAX_PROGRAM_BYTES // 2)
    with pytest.raises(ProgramRefused, match="bytes in all modules"):
        compiled("import a, b, c\n" + ENTRY, a=long, b=long, c=long)
    names = [f"m{number}" for number in range(MAX_PROGRAM_MODULES + 1)]
    with pytest.raises(ProgramRefused, match=f"more than {MAX_PROGRAM_MODULES} modules"):
        compile_source(f"import {', '.join(names)}\n" + ENTRY, "p.py", find=find_in(dict.fromkeys(names, "")))


def test_an_installed_module_is_refused_where_it_is_imported() -> None:
    def refusal(text: str, more: str = "") -> str:
        def find(name: str) -> ModuleSource | None:
            full = {"lib": "lib.__init__"}.get(name)
            return None if full is None else ModuleSource(full, text, "lib/__init__.py", own=False)

        with pytest.raises(ProgramRefused) as problem:
            compile_source(f"\nfrom lib import {more or 'f'}\n" + ENTRY, "program.py", find=find)
        return str(problem.value)

    head = "program.py:2:1: importing lib is not in this language: it is a library (lib/__init__.py:"
    assert refusal("class A:\n    pass\ndef f():\n    pass\n").startswith(head + "1: classes are not in this language)")
    assert refusal("\ndef f():\n    yield 1\n").startswith(head.replace("lib is", "lib.__init__ is") + "3: generators")
    assert "a module of your own" in refusal("def f(:\n")


def test_modules_are_part_of_the_identity_and_paths_are_not() -> None:
    first = compiled("from a import f\n" + ENTRY, a="def f():\n    pass\n")
    assert first.modules == ("a",)
    assert [(function.name, function.module) for function in first.functions] == [("f", 1), ("main", 0)]
    other = compile_source(
        "from a import f\n" + ENTRY, "x/y.py", name="x.y", find=find_in({"a": "def f():\n    pass\n"})
    )
    assert other.digest == first.digest
    renamed = compiled("from b import f\n" + ENTRY, b="def f():\n    pass\n")
    assert renamed.digest != first.digest


def test_a_module_of_literals_is_not_in_the_table() -> None:
    program = compiled(
        "from a import X\nimport z, b\n@continuation\ndef main():\n    return [X, z.f(), b.f()]\n",
        a="X = (1, 2)\n",
        b="def f():\n    return 3\n",
        z="from b import f\ndef g():\n    pass\n",
    )
    assert program.modules == ("b", "z")
    assert run(program) == Done([(1, 2), 3, 3])


def test_a_literal_of_another_file_has_the_line_of_its_use() -> None:
    program = compiled("from a import X\n@continuation\ndef main():\n    return X\n", a="\n" * 50 + "X = (1, 2)\n")
    assert set(program.functions[0].lines) == {4}


def test_a_local_variable_hides_a_literal_in_a_default() -> None:
    program = compiled(
        "L = 1\n@continuation\ndef main():\n    L = 2\n    def f(x=L):\n        return x\n    return f()\n"
    )
    assert run(program) == Done(2)


FAILING = "import a\n@continuation\ndef main():\n    return a.f(0)\n"


def test_a_failed_run_names_the_place() -> None:
    program = verify(compiled(FAILING, a="\n\ndef f(x):\n    return 1 // x\n").encode())
    failed = Machine.start(program, "main", (), RUN, 1_000, 10_000).run(1_000)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.line) == ("ZeroDivisionError", place_of(1, 4))
    assert program.where(failed.line, "program.py") == "a.py:4"
    assert line_text(failed.line, program.program.modules) == "line 4 of a.py"
    assert line_text(failed.line) == "line 4 of its module 1"


def test_a_key_function_is_reported_where_the_author_wrote() -> None:
    program = compiled(
        "import a\n@continuation\ndef main():\n    return a.g([2, 'x'])\n",
        a="\ndef g(v):\n    return sorted(v, key=abs)\n",
    )
    assert run(program).line == place_of(1, 3)
    assert {f.module for f in program.functions if set(f.lines) == {0}} == {0}


REGION = """from pkg.inside import work, K
@continuation
def main():
    box = private(work, K, fuel=1_000, memory=20_000)
    log.note("after")
    return box
"""


INSIDE = "from .more import last\nK = 3\ndef work(x):\n    return last([x], x)\n"
MORE = "def last(items, at):\n    return items[at]\n"


def test_a_region_in_another_module(kit: Any) -> None:
    program = verify(compiled(REGION, pkg__inside=INSIDE, pkg__more=MORE).encode())
    assert program.program.modules == ("pkg.inside", "pkg.more")
    machine = Machine.start(program, "main", (), kit.RUN, kit.FUEL, kit.MEMORY)
    kit.Host().drive(machine)
    assert isinstance(machine.outcome, Done)
    box = machine.outcome.value
    assert isinstance(box, Box)
    error = machine.runs[0].boxes[box.id].content
    assert isinstance(error, RegionError)
    assert (error.type_name, program.where(error.line, "program.py")) == ("IndexError", "pkg/more.py:2")


def test_sites_views_and_listing_name_the_file() -> None:
    source = compiled("import a\n@continuation\ndef main():\n    a.f()\n", a="\ndef f():\n    log.note('x')\n")
    program = verify(source.encode())
    (site,) = effect_sites(program, "main")
    assert program.where(site.line, "program.py") == "a.py:3"
    machine = Machine.start(program, "main", (), RUN, 1_000, 10_000)
    machine.run(1_000)
    data = machine.dump()
    loaded = Machine.load(program, data)
    assert loaded.dump() == data
    places = [program.where(frame.line, "program.py") for frame in runs_of(loaded)[0].frames]
    assert places == ["program.py:4", "a.py:3"]
    text = disassemble(source)
    assert "\nmodule 1: a.py\n" in text
    assert "function 0 f() of a.py\n    3 " in text
    assert "function 1 main() entry\n" in text
