"""The sources of a program's modules, as text: who finds them is the caller, here nothing is read.

A module's name is dotted, as imports have it; a package's own module ends with `.__init__`.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sojourn.errors import ProgramRefused
from sojourn.limits import MAX_PROGRAM_BYTES
from sojourn.vm.compiler.expansion import check_expansion
from sojourn.vm.places import INIT, module_file

__all__ = ["Find", "ModuleSource", "bound_names", "find_in", "no_module", "package_of", "parsed"]

_QUOTE = "'"


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """The source of one module.

    Attributes:
        name: dotted; empty for a text that nothing can import.
        text: Python source.
        file: how refusals name it.
        own: it stands with the program, so that what is wrong in it is said of it; False for one that is installed.
    """

    name: str
    text: str
    file: str
    own: bool = True


Find: TypeAlias = Callable[[str], ModuleSource | None]
"""The source that an import of a dotted name means; None where there is none, or where it is a library's."""


def no_module(name: str) -> ModuleSource | None:
    """Find nothing: for a program that stands alone."""
    return None


def find_in(texts: Mapping[str, str]) -> Find:
    """Find modules among texts by their names; a package's own text has the name `pkg.__init__`."""

    def find(name: str) -> ModuleSource | None:
        for full in (f"{name}.{INIT}", name):
            if full in texts:
                return ModuleSource(full, texts[full], module_file(full))
        return None

    return find


def package_of(name: str) -> str:
    """The package that a module's relative imports begin in."""
    return name.rpartition(".")[0]


def parsed(source: ModuleSource) -> ast.Module:
    """The tree of a source, found to be Python and not to be too large.

    Raises:
        ProgramRefused: it is not.
    """
    text, file = source.text, source.file
    if len(text.encode("utf-8", "replace")) > MAX_PROGRAM_BYTES:
        raise ProgramRefused(file, 1, 1, f"more than {MAX_PROGRAM_BYTES} bytes", "write a shorter program")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = _parse(text)
            check_expansion(tree)
            compile(tree, file, "exec", dont_inherit=True)  # finds what the grammar alone does not; never run
    except SyntaxError as problem:
        line, column = problem.lineno or 1, problem.offset or 1
        if "outside async function" in problem.msg:
            why = f"{problem.msg.partition(' outside')[0].strip(_QUOTE)} is not in this language"
            raise ProgramRefused(file, line, column, why, "write plain calls: effects wait by themselves") from None
        raise ProgramRefused(file, line, column, f"not Python: {problem.msg}", "write valid Python 3.11") from None
    except (ValueError, UnicodeEncodeError) as problem:
        raise ProgramRefused(file, 1, 1, f"not Python: {problem}", "write valid Python 3.11") from None
    except (RecursionError, MemoryError):
        why = "too large or nested too deep"
        raise ProgramRefused(file, 1, 1, why, "write shorter functions and simpler expressions") from None
    return tree


def bound_names(tree: ast.Module) -> set[str]:
    """The names that the statements of a module bind."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        else:
            found.update(part.id for part in ast.walk(node) if isinstance(part, ast.Name)
                         and not isinstance(part.ctx, ast.Load))  # fmt: skip
    return found


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SystemError:
        # CPython gh-106905: a finaliser that the collector ran in the middle of parsing parsed something itself (a
        # traceback's source, say), and the parser's count of its own depth is off. Nothing is wrong with the source.
        return ast.parse(source)
