"""Places in the source: which module's line a number means.

A program that stands in several modules has a table of the names of those beside its own file. Wherever a run says at
which line something happened (an exception, a failed run, a frame), it says a *place*: the number of the module times
1,000,000, and the line. Module 0 is the program's own file, so that a place in it is the line itself. A place holds
nothing but where a public world stood; it is as public as a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sojourn.limits import MAX_NAME_CHARS

__all__ = [
    "INIT",
    "LINES",
    "in_file",
    "is_module_name",
    "line_text",
    "module_file",
    "place_of",
    "place_text",
    "split_place",
]

LINES: Final = 1_000_000
"""Places of one module; more than a module has lines."""

INIT: Final = "__init__"
"""The last part of a package's own module name."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def is_module_name(name: str) -> bool:
    """Whether a name may stand in a program's table: ASCII, so that no host's Unicode tables decide."""
    return len(name) <= MAX_NAME_CHARS and _NAME.fullmatch(name) is not None


def module_file(name: str) -> str:
    """The file of a module, from the folder that its name begins in: `pkg/helpers.py`."""
    return name.replace(".", "/") + ".py"


def place_of(module: int, line: int) -> int:
    """The place of a line; 0, which is no place, for line 0."""
    return module * LINES + line if line else 0


def split_place(place: int) -> tuple[int, int]:
    """Number of the module, and line."""
    return divmod(place, LINES)


def place_text(place: int, modules: Sequence[str], file: str) -> str:
    """A place as `file:line`.

    Args:
        place: of a run of a program.
        modules: that program's table.
        file: how to name its own file.
    """
    module, line = split_place(place)
    return f"{module_file(modules[module - 1]) if 0 < module <= len(modules) else file}:{line}"


def line_text(place: int, modules: Sequence[str] = ()) -> str:
    """A place for somebody who was told no name of the program's own file: `line 3`, `line 3 of pkg/helpers.py`.

    Without the table: `line 3 of its module 2`, a number that `sojourn program show` explains.
    """
    module, line = split_place(place)
    if not module:
        return f"line {line}"
    return f"line {line} of " + (module_file(modules[module - 1]) if module <= len(modules) else f"its module {module}")


def in_file(detail: str, place: int, modules: Sequence[str]) -> str:
    """The text of an error, and behind it the place where that is in another module than the program's own."""
    return f"{detail} ({line_text(place, modules)})" if split_place(place)[0] else detail
