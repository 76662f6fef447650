"""Tables of modules that no compiler writes, and places by their numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sojourn.errors import DecodeError, ProgramInvalid
from sojourn.limits import MAX_PROGRAM_MODULES
from sojourn.vm import compile_source, verify
from sojourn.vm.compiler import find_in
from sojourn.vm.places import is_module_name, place_of, place_text, split_place

ENTRY = "@continuation\ndef main():\n    return 1\n"
BASE = compile_source(
    "import a, b\n@continuation\ndef main():\n    return a.f() + b.f()\n",
    "program.py",
    find=find_in({"a": "def f():\n    return 1\n", "b": "def f():\n    return 2\n"}),
)


def moved(*modules: int) -> tuple[Any, ...]:
    """The functions of `BASE`, each in another module."""
    return tuple(msgspec.structs.replace(f, module=m) for f, m in zip(BASE.functions, modules, strict=True))


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "unordered": ({"modules": ("b", "a")}, "unordered, or one is named twice"),
    "twice": ({"modules": ("a", "a")}, "unordered, or one is named twice"),
    "never used": ({"modules": ("a", "b", "c")}, "no function stands in one"),
    "used past another": ({"functions": moved(2, 2, 0)}, "no function stands in one"),
    "out of range": ({"functions": moved(1, 3, 0)}, "a module that the program does not name"),
    "negative": ({"functions": moved(1, -1, 0)}, "a module that the program does not name"),
    "not named at all": ({"modules": ()}, "a module that the program does not name"),
    "far away": ({"functions": moved(1, 1 << 62, 0)}, "a module that the program does not name"),
    "no name": ({"modules": ("", "b")}, "not a dotted name"),
    "a path": ({"modules": ("/etc/passwd", "b")}, "not a dotted name"),
    "a path upwards": ({"modules": ("..a", "b")}, "not a dotted name"),
    "a line break": ({"modules": ("a\n", "b")}, "not a dotted name"),
    "no ASCII": ({"modules": ("a", "é")}, "not a dotted name"),
    "too long": ({"modules": ("a" * 257, "b")}, "not a dotted name"),
    "too many": ({"modules": tuple(f"m{n:03}" for n in range(MAX_PROGRAM_MODULES + 1))}, "257 modules"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_table_is_refused(name: str) -> None:
    changes, why = FORGED[name]
    assert verify(BASE.encode())
    with pytest.raises(ProgramInvalid, match=why):
        verify(msgspec.structs.replace(BASE, **changes).encode())


def test_a_table_that_is_left_out_is_not_canonical() -> None:
    """A program of an earlier layout: what is missing has a default for those who make records, not for bytes."""
    data = compile_source(ENTRY, "program.py").encode()
    assert data[6] == 0x97
    assert data[-1] == 0x90
    with pytest.raises(DecodeError):
        verify(data[:6] + b"\x96" + data[7:-1])


def test_a_wrong_instruction_names_the_file() -> None:
    functions = (msgspec.structs.replace(BASE.functions[0], code=(255, 255), lines=(1, 1)), *BASE.functions[1:])
    with pytest.raises(ProgramInvalid, match=r"function f of a\.py, instruction 0: unknown operation"):
        verify(msgspec.structs.replace(BASE, functions=functions).encode())
    functions = (msgspec.structs.replace(BASE.functions[0], code=(1 << 60, 1)), *BASE.functions[1:])
    with pytest.raises(ProgramInvalid, match=r"function f of a\.py: an instruction does not fit"):
        verify(msgspec.structs.replace(BASE, functions=functions).encode())


def test_places() -> None:
    assert split_place(place_of(2, 14)) == (2, 14)
    assert place_of(2, 0) == 0
    assert place_text(place_of(2, 3), ("a", "p.__init__"), "p.py") == "p/__init__.py:3"
    assert place_text(7, ("a",), "p.py") == "p.py:7"
    assert place_text(place_of(9, 7), ("a",), "p.py") == "p.py:7"  # a number that is not of this program
    assert [is_module_name(name) for name in ("a.b", "a..b", "1a", "a-b", "")] == [True, False, False, False, False]
