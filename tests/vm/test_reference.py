"""The reference pages are what the tables of the code say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from sojourn.codec import header_of
from sojourn.vm import EFFECTS, compile_source
from sojourn.vm.op import BUILTINS, METHODS, Op
from sojourn.vm.tables import EXCEPTIONS, MANY

REFERENCE = Path(__file__).resolve().parents[2] / "sdk" / "docs" / "reference"
PAGES = ("language.md", "effects.md", "formats.md")


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_make", REFERENCE / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_tables_say(make, name):
    assert set(make.PAGES) == set(PAGES)
    assert page(name) == make.PAGES[name]().rstrip() + "\n", "run: python sdk/docs/reference/make.py"


def test_nothing_of_the_tables_is_left_out():
    language, effects, formats = map(page, PAGES)
    for name in BUILTINS:
        assert name.startswith(".") or f"| `{name}` |" in language
    for name in METHODS:
        assert f"`{name}` " in language, name
    for name in EXCEPTIONS:
        assert f"| `{name}` |" in language
    for spec in EFFECTS.values():
        assert spec.hidden or f"`{spec.signature}`" in effects
    for op in Op:
        assert f"| {int(op)} | `{op.name}` |" in formats


def test_a_change_of_a_table_is_noticed(make, monkeypatch):
    monkeypatch.setitem(make.PARENTS, "KeyError", "Exception")
    assert make.PAGES["language.md"]().rstrip() + "\n" != page("language.md")


def test_numbers_of_arguments_are_those_that_the_compiler_takes():
    """Each function of the page is called with its least and its most arguments, and with one more."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+)(?: to (\d+)| or more)? \|", page("language.md"), re.MULTILINE)
    assert len(rows) >= 30
    head = "from sojourn.program import continuation\n\n@continuation\ndef main(a):\n    "
    for name, least, most in rows:
        arity = BUILTINS[name]
        assert (arity.least, arity.most) in {(int(least), int(most or least)), (int(least), MANY)}
        for count in {int(least), int(most or least)}:
            compile_source(f"{head}{name}({', '.join(['a'] * count)})\n", "p.py")


def test_the_framing_of_the_page_is_that_of_the_bytes():
    program = compile_source(
        "from sojourn.program import continuation\n\n@continuation\ndef main():\n    pass\n", "p.py"
    )
    kind, version = header_of(program.encode())
    assert f"| `Program` | `0x{kind:04x}` | {version} |" in page("formats.md")
