"""Imports: the modules that a program is split over, each read once.

Rules of this module:

* An import statement names a module. One that is found as Python source is part of the program, and all of it has to be
  in the language; what is found nowhere, and what Python or an installed library brings, is refused at the import.
* Nothing is executed: what a module's names mean is read from its `def`, `NAME = literal` and import statements.
* A package's own file counts where a name is taken from the package; on the way to `pkg.helpers` it does not.
* Modules that import each other in a circle are refused: CPython finds half of a module there.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

from sojourn.errors import ProgramRefused
from sojourn.limits import MAX_MODULE_DEPTH, MAX_PROGRAM_BYTES, MAX_PROGRAM_MODULES
from sojourn.vm.compiler.emitter import ModuleNames, Signature
from sojourn.vm.compiler.refusals import MODULES, WORDS, nearest, refuse
from sojourn.vm.compiler.sources import Find, ModuleSource, bound_names, package_of, parsed
from sojourn.vm.effects import NAMESPACES
from sojourn.vm.places import INIT, is_module_name

__all__ = ["LANGUAGE", "Linker", "dotted_parts", "member_of"]

LANGUAGE: Final = "sojourn.program"
"""The module whose names are words of the language."""

IMPORTABLE: Final = NAMESPACES | WORDS | {"continuation", "Cancelled", "DeadlineMissed", "QuorumMissed"}
_ONLY: Final = "only: from sojourn.program import continuation, private, gpu, ..."
_SHOWN: Final = 12  # names of a module that a message lists

NewName = Callable[[ModuleNames, ast.AST, str], None]


class Linker:
    """The modules of one program.

    Args:
        find: see `Find`.
        read: reads the statements of a module; asked once for each.
        new_name: refuses a name that means something in a module already.
    """

    def __init__(self, find: Find, read: Callable[[ModuleSource, ast.Module], ModuleNames], new_name: NewName) -> None:
        self.find, self.read, self.new_name = find, read, new_name
        self.begun: dict[str, ModuleNames] = {}
        self.bound: dict[str, set[str]] = {}
        self.loaded: dict[str, ModuleNames] = {}
        self.loading: list[str] = []
        self.bytes = 0

    def load(self, source: ModuleSource, tree: ast.Module | None = None) -> ModuleNames:
        """Read a module, and whatever it imports before it.

        Raises:
            ProgramRefused: it is not in the language, or too much.
            OverflowError: all modules together are too large.
        """
        self.bytes += len(source.text.encode("utf-8", "replace"))
        if self.bytes > MAX_PROGRAM_BYTES and self.loading:
            raise OverflowError(f"more than {MAX_PROGRAM_BYTES} bytes in all modules")
        if len(self.loaded) + len(self.loading) > MAX_PROGRAM_MODULES:
            raise OverflowError(f"more than {MAX_PROGRAM_MODULES} modules")
        self.loading.append(source.name)
        module = self.read(source, parsed(source) if tree is None else tree)
        self.loading.pop()
        self.loaded[source.name] = module
        return module

    def statement(self, module: ModuleNames, node: ast.Import | ast.ImportFrom) -> None:
        """Take one import statement into a module's names.

        Raises:
            ProgramRefused: says what can be imported instead.
        """
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == LANGUAGE:
                    raise _no_module(module, node, alias.name)
                target = self._module(module, node, alias.name)
                self._bind_module(module, node, alias.asname or alias.name, target)
            return
        base = self._base(module, node)
        if base == LANGUAGE:
            _words(module, node)
            return
        for alias in node.names:
            if alias.name == "*":
                raise refuse(module.file, node, "import * is not in this language", "write the names that you use")
            self._name(module, node, base, alias)

    def _base(self, module: ModuleNames, node: ast.ImportFrom) -> str:
        """The dotted name behind `from`."""
        if not node.level:
            return node.module or ""
        parts = package_of(module.name).split(".") if package_of(module.name) else []
        if node.level > len(parts):
            stated = "." * node.level + (node.module or "")
            raise refuse(
                module.file,
                node,
                f"importing {stated} is not in this language: no package of this file has it",
                f"write the module's whole name, or an __init__.py into the folder of this file (else {_ONLY})",
            )
        return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])

    def _name(self, module: ModuleNames, node: ast.ImportFrom, base: str, alias: ast.alias) -> None:
        """One name of `from base import name as other`."""
        bound = alias.asname or alias.name
        source = self.find(base)
        package = source is None or source.name.endswith(f".{INIT}")
        part = self.find(f"{base}.{alias.name}") if package else None
        if source is not None and part is not None and source.name in self.loading:
            # A package that is being read, by itself or on its behalf: what it has by now, else the module below it.
            begun = self.begun[source.name]
            if alias.name in begun.functions or alias.name in begun.literals:
                self._take(module, node, begun, alias.name, bound)
            else:
                self._bind_module(module, node, bound, self._module(module, node, f"{base}.{alias.name}"))
        elif source is not None and (part is None or alias.name in self._bound(source, module, node)):
            self._take(module, node, self._module(module, node, base), alias.name, bound)
        elif part is not None:
            self._bind_module(module, node, bound, self._module(module, node, f"{base}.{alias.name}"))
        else:
            raise _no_module(module, node, base)

    def _bound(self, source: ModuleSource, module: ModuleNames, node: ast.AST) -> set[str]:
        """The names that a package's own file binds, whatever they are."""
        if source.name not in self.bound:
            self.bound[source.name] = bound_names(self._parsed(source, module, node))
        return self.bound[source.name]

    def _take(self, module: ModuleNames, node: ast.AST, target: ModuleNames, name: str, bound: str) -> None:
        """Give a module a name of another one."""
        if name in target.functions:
            self.new_name(module, node, bound)
            module.functions[bound] = target.functions[name]
        elif name in target.literals:
            self.new_name(module, node, bound)
            module.literals[bound] = target.literals[name]
            module.foreign.add(bound)
        elif name in target.modules:
            self._bind_module(module, node, bound, target.modules[name])
        else:
            raise _no_member(module, node, target, name)

    def _bind_module(self, module: ModuleNames, node: ast.AST, bound: str, target: ModuleNames) -> None:
        first = bound.partition(".")[0]
        if not module.begins_module(first) or module.modules.get(bound, target) is not target:
            self.new_name(module, node, first)
        module.bind_module(bound, target)

    def _module(self, module: ModuleNames, node: ast.AST, name: str) -> ModuleNames:
        """The module of a dotted name, read if it was not."""
        source = self.find(name)
        if source is None:
            raise _no_module(module, node, name)
        if not is_module_name(source.name):
            raise refuse(module.file, node, f"importing {name} is not in this language",
                         "write a module's name with ASCII letters, digits and _")  # fmt: skip
        if source.name in self.loading:
            circle = " imports ".join([*self.loading[self.loading.index(source.name) :], source.name])
            raise refuse(module.file, node, f"modules import each other in a circle: {circle}",
                         "write what both need into a module of its own, and import that in both")  # fmt: skip
        if source.name in self.loaded:
            return self.loaded[source.name]
        if len(self.loading) > MAX_MODULE_DEPTH:
            raise refuse(module.file, node, f"modules import one another more than {MAX_MODULE_DEPTH} deep",
                         "import from a module what it has itself, not through others")  # fmt: skip
        if source.own:
            return self.load(source)
        try:
            found = self.load(source)
        except ProgramRefused as problem:
            raise library(module.file, node, name, problem) from None
        found.imported = (module.file, node)
        return found

    def _parsed(self, source: ModuleSource, module: ModuleNames, node: ast.AST) -> ast.Module:
        try:
            return parsed(source)
        except ProgramRefused as problem:
            if source.own:
                raise
            raise library(module.file, node, source.name, problem) from None


def library(file: str, node: ast.AST, name: str, problem: ProgramRefused) -> ProgramRefused:
    """The refusal of an installed module that turned out not to be in the language."""
    hint = MODULES.get(name.partition(".")[0])
    why = f"importing {name} is not in this language: it is a library ({problem.file}:{problem.line}: {problem.why})"
    return refuse(file, node, why, hint or "write what you need of it as functions in a module of your own")


def _words(module: ModuleNames, node: ast.ImportFrom) -> None:
    """`from sojourn.program import ...`: words of the language, which have their meaning anyway."""
    for alias in node.names:
        if alias.name == "*":
            raise refuse(module.file, node, "import * is not in this language", "write the names that you use")
        if alias.asname is not None:
            raise refuse(module.file, node, "import ... as is not in this language", f"write import {alias.name}")
        if alias.name not in IMPORTABLE:
            likely = nearest(alias.name, IMPORTABLE)
            known = f"some of {', '.join(sorted(IMPORTABLE))}" if likely is None else likely
            raise refuse(module.file, node, f"sojourn.program has no {alias.name}", f"write {known}")


def _no_module(module: ModuleNames, node: ast.AST, name: str) -> ProgramRefused:
    hint = MODULES.get(name.partition(".")[0])
    if hint is not None:
        return refuse(module.file, node, f"importing {name} is not in this language", f"{hint} (imports are {_ONLY})")
    known = f"write {_ONLY}; or the name of a module of your own, found from this program's folder"
    return refuse(module.file, node, f"importing {name} is not in this language: no source of a program has it", known)


def _no_member(module: ModuleNames, node: ast.AST, target: ModuleNames, name: str) -> ProgramRefused:
    names = [*target.functions, *target.literals]
    likely = nearest(name, names)
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    instead = likely or (f"one of {listed}" if names else "a def, or NAME = literal, there")
    return refuse(module.file, node, f"{target.file} has no {name}", f"write {instead}")


def dotted_parts(node: ast.expr) -> list[str]:
    """`a.b.c` as its parts; empty where an expression is no dotted name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def member_of(module: ModuleNames, parts: list[str], node: ast.AST) -> Signature | ast.expr | None:
    """What a dotted name of a module's file means that begins with a module.

    Args:
        module: whose file it stands in.
        parts: of the name, two or more.
        node: the place.

    Returns:
        A function, or a literal; None where an attribute is taken of a literal.

    Raises:
        ProgramRefused: the module has no such name, or what is named is a module itself.
    """
    home = module
    while True:
        cut = next((k for k in range(len(parts), 0, -1) if ".".join(parts[:k]) in home.modules), 0)
        if not cut:
            break
        home, parts = home.modules[".".join(parts[:cut])], parts[cut:]
    if home is module:
        whole = next(dotted for dotted in module.modules if dotted.startswith(f"{parts[0]}."))
        raise refuse(module.file, node, f"{'.'.join(parts)} is nothing that this file imports",
                     f"write import {'.'.join(parts[:-1])}, or a name of {whole}")  # fmt: skip
    if not parts:
        raise refuse(module.file, node, "a module is no value", "write a function of it, or NAME = literal")
    if parts[0] not in home.functions and parts[0] not in home.literals:
        raise _no_member(module, node, home, parts[0])
    if len(parts) > 1:
        return None
    return home.functions.get(parts[0]) or home.literals[parts[0]]
