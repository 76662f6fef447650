"""The files of a program that is split over modules: where an import statement finds them.

Rules of this module:

* Nothing is imported or executed; only Python source is read.
* A file's package is what its folders with an `__init__.py` say. Modules are looked for where that package begins, or
  beside the file; then wherever Python would look for them, in what is installed too.
* Names of Python's own library and of Sojourn are never a program's modules, whatever stands beside the file.
* A package's `__init__.py` counts before a module of that name, as in Python. Folders without one are packages too.
* What was found is kept, so that a stopped run can be saved with all of its sources.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

from sojourn.errors import UsageError
from sojourn.limits import MAX_PROGRAM_BYTES
from sojourn.vm import Program, VerifiedProgram, compile_source, verify
from sojourn.vm.compiler import ModuleSource, find_in
from sojourn.vm.compiler.refusals import MODULES
from sojourn.vm.places import INIT, is_module_name, line_text, module_file, split_place

__all__ = ["Source", "Sources", "compile_file", "compile_text", "source_of_texts"]

_LIBRARIES: Final = frozenset(("sojourn", "sojourn_agent", "sojourn_coordinator", "sojourn_policies"))


@dataclass(frozen=True, slots=True)
class Source:
    """A program, with its sources where there are any.

    Attributes:
        program: verified.
        text: of its own file; empty where there is none.
        file: name of its own file.
        name: dotted name of its own module; empty where nothing can import it.
        modules: texts of the modules that it was compiled with, by their names in a program's table.
    """

    program: VerifiedProgram
    text: str = field(repr=False)
    file: str
    name: str = ""
    modules: Mapping[str, str] = field(default_factory=dict, repr=False)

    def where(self, place: int) -> str:
        """A place as `file:line`."""
        return self.program.where(place, self.file)

    def as_json(self, place: int) -> dict[str, Any]:
        """A place's `line`; and its `file`, where that is another module's than the program's own."""
        module, line = split_place(place)
        return {"line": line} | ({"file": self.where(place).rpartition(":")[0]} if module else {})

    def words(self, place: int) -> str:
        """`line 3`, or `line 3 of helpers.py`."""
        return line_text(place, self.program.program.modules)

    def line(self, place: int) -> str:
        """The text of a place's line, without its indentation; empty where there is none."""
        module, line = split_place(place)
        names = self.program.program.modules
        text = self.text if not module else self.modules.get(names[module - 1], "") if module <= len(names) else ""
        lines = text.splitlines()
        return lines[line - 1].strip() if 0 < line <= len(lines) else ""


class Sources:
    """Finds modules for one program.

    Args:
        file: the program's own file.
    """

    def __init__(self, file: Path) -> None:
        folder, parts = file.resolve().parent, [file.stem]
        while (folder / f"{INIT}.py").exists() and folder.parent != folder:
            parts.insert(0, folder.name)
            folder = folder.parent
        name = ".".join(parts)
        self.name = name if is_module_name(name) else ""
        self.root = folder
        self.texts: dict[str, str] = {}
        self._known: dict[str, ModuleSource | None] = {}

    def find(self, name: str) -> ModuleSource | None:
        """See `sojourn.vm.compiler.Find`.

        Raises:
            UsageError: there is a file that cannot be read.
        """
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> ModuleSource | None:
        first = name.partition(".")[0]
        if first in sys.stdlib_module_names or first in _LIBRARIES or not name.isascii() or not is_module_name(name):
            return None
        base = self.root.joinpath(*name.split("."))
        for path, full in ((base / f"{INIT}.py", f"{name}.{INIT}"), (base.with_name(f"{base.name}.py"), name)):
            try:
                found = path.is_file()
            except OSError as problem:  # a name longer than files have, a folder that is closed
                raise _unreadable(full, problem) from None
            if found:
                return self._read(path, full, own=True)
        return None if first in MODULES else self._installed(name)

    def _installed(self, name: str) -> ModuleSource | None:
        """A module as Python would find it, with no package on the way to it executed."""
        folders: list[str] | None = None
        for part in name.split("."):
            spec = PathFinder.find_spec(part, folders)
            if spec is None:
                return None
            folders = list(spec.submodule_search_locations or ())
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return None
        package = spec.submodule_search_locations is not None
        return self._read(Path(spec.origin), f"{name}.{INIT}" if package else name, own=False)

    def _read(self, path: Path, name: str, *, own: bool) -> ModuleSource:
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(MAX_PROGRAM_BYTES + 1)  # more than that is refused, however large the file is
        except (OSError, UnicodeDecodeError) as problem:
            raise _unreadable(name, problem) from None
        self.texts[name] = text
        return ModuleSource(name, text, module_file(name), own)


def _unreadable(name: str, problem: Exception) -> UsageError:
    why = problem.strerror if isinstance(problem, OSError) else problem
    return UsageError(f"{module_file(name)}, which the program imports, cannot be read: {why}")


def compile_file(path: Path, text: str) -> Source:
    """Compile a program's file, of which the text was read, with the modules that it imports.

    Raises:
        ProgramRefused: not in the language.
        UsageError: a module cannot be read.
    """
    sources = Sources(path)
    made = compile_source(text, path.name, name=sources.name, find=sources.find)
    return Source(_verified(made), text, path.name, sources.name, sources.texts)


def compile_text(text: str, file: str) -> Source:
    """Compile a text that stands alone, whatever it is called; raises as `compile_file`."""
    return Source(_verified(compile_source(text, file)), text, file)


def source_of_texts(text: str, file: str, name: str, modules: Mapping[str, str]) -> Source:
    """Compile a program from texts that were kept; raises as `compile_file`."""
    made = compile_source(text, file, name=name, find=find_in(modules))
    return Source(_verified(made), text, file, name, modules)


def _verified(program: Program) -> VerifiedProgram:
    return verify(program.encode())
