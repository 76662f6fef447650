"""A program's modules: their literals and functions, each compiled with the names of its own module."""

from __future__ import annotations

import ast

from sojourn.errors import DecodeError, ProgramInvalid, ProgramRefused
from sojourn.vm.compiler.emitter import ModuleNames, ProgramTables, Signature
from sojourn.vm.compiler.imports import Linker, library
from sojourn.vm.compiler.library import library_source
from sojourn.vm.compiler.literals import is_literal
from sojourn.vm.compiler.refusals import refuse, refuse_syntax
from sojourn.vm.compiler.scopes import scopes_of
from sojourn.vm.compiler.sources import Find, ModuleSource, no_module, parsed
from sojourn.vm.compiler.statements import Statements
from sojourn.vm.compiler.worlds import check_worlds
from sojourn.vm.effects import NAMESPACES
from sojourn.vm.program import Function, Program
from sojourn.vm.verifier import verify

__all__ = ["compile_source"]

_RESERVED = NAMESPACES | {"private", "continuation"}


def compile_source(source: str, filename: str, *, name: str = "", find: Find = no_module) -> Program:
    """Compile a program: a module, and those that it imports.

    Args:
        source: Python source text: functions, of which at least one is decorated with `@continuation`, and literals.
        filename: how refusals name the file; it does not become part of the program.
        name: the module's dotted name, which relative imports begin from; it does not become part of the program.
        find: gives the source of a module that is imported. The names of those whose functions the program has become
            part of it. Without it a program stands in one file.

    Returns:
        A program that `verify` accepts.

    Raises:
        ProgramRefused: not in the language; says where, why and what to write instead.
    """
    compiling = _Compiling(find)
    try:
        compiling.read(ModuleSource(name, source, filename))
        program = compiling.program()
        verify(program.encode())
    except ValueError as problem:  # text that UTF-8 cannot encode
        file = compiling.file or filename
        raise ProgramRefused(file, 1, 1, f"not Python: {problem}", "write valid Python 3.11") from None
    except (RecursionError, MemoryError, OverflowError, DecodeError, ProgramInvalid) as problem:
        why = f"too large or nested too deep ({str(problem) or type(problem).__name__})"
        raise ProgramRefused(
            compiling.file or filename, 1, 1, why, "write shorter functions and simpler expressions"
        ) from None
    return program


def _is_main(node: ast.stmt) -> bool:
    """Whether this is `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )


def _is_public_list(node: ast.Assign) -> bool:
    """Whether this is `__all__ = ["f", ...]`, which says nothing to a machine."""
    target, value = node.targets[0], node.value
    named = isinstance(target, ast.Name) and target.id == "__all__"
    items = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    return named and all(isinstance(item, ast.Constant) and type(item.value) is str for item in items)


class _Compiling:
    """One program on its way.

    Attributes:
        file: the file that is looked at now; empty where it is none in particular.
    """

    def __init__(self, find: Find) -> None:
        self.file = ""
        self.tables = ProgramTables()
        self.tables.compile_library = self._library
        self.linker = Linker(find, self._read, self._new_name)

    def read(self, source: ModuleSource) -> None:
        """Read the program's own file, and all that it imports.

        Raises:
            ProgramRefused: see `compile_source`.
        """
        self.file = source.file
        self.linker.load(source, parsed(source))
        if not any(signature.entry for signature in self.tables.signatures):
            why = "no entry: nothing that an order could start"
            raise ProgramRefused(source.file, 1, 1, why, "write @continuation above a function")

    def program(self) -> Program:
        """Compile every function."""
        tables = self.tables
        own = next(signature.module for signature in tables.signatures if signature.entry)
        modules = {signature.module.name: signature.module for signature in tables.signatures}
        tables.modules = tuple(sorted(module.name for module in modules.values() if module is not own))
        for number, name in enumerate(tables.modules, 1):
            modules[name].number = number
        functions = [self._compile(signature) for signature in tables.signatures]
        self.file = ""
        check_worlds(tables)
        return tables.program(functions)

    def _read(self, source: ModuleSource, tree: ast.Module) -> ModuleNames:
        module = ModuleNames(self.tables, source.name, source.file)
        self.linker.begun[source.name] = module
        outer, self.file = self.file, source.file
        for statement in tree.body:
            self._statement(module, statement)
        self.file = outer
        return module

    def _statement(self, module: ModuleNames, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self._function(module, node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self.linker.statement(module, node)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            if not _is_public_list(node):
                self._literal(module, node, node.targets[0].id)
        elif not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and type(node.value.value) is str
        ):
            if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef):
                raise refuse_syntax(module.file, node)
            raise refuse(
                module.file,
                node,
                "outside of functions a program has only imports and NAME = literal",
                "write the functions alone: an order starts an entry"
                if _is_main(node)
                else "write an import by itself, anything else inside of a function",
            )

    def _literal(self, module: ModuleNames, node: ast.Assign, name: str) -> None:
        self._new_name(module, node, name)
        if not is_literal(node.value):
            raise refuse(
                module.file,
                node.value,
                f"{name} is not a literal that never changes",
                "write a number, text, bytes, None or a tuple of them here, anything else inside of a function",
            )
        module.literals[name] = node.value

    def _new_name(self, module: ModuleNames, node: ast.AST, name: str) -> None:
        if name in _RESERVED:
            raise refuse(module.file, node, f"{name} is a name of the language", "write another name")
        if name in module.functions or name in module.literals or module.begins_module(name):
            raise refuse(module.file, node, f"{name} is defined twice", "write another name")

    def _function(self, module: ModuleNames, node: ast.FunctionDef) -> None:
        self._new_name(module, node, node.name)
        entry = False
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Name) or decorator.id != "continuation" or entry:
                raise refuse(
                    module.file, decorator, "a decorator that is not in this language", "write @continuation, once"
                )
            entry = True
        if entry and len(self.linker.loading) > 1:
            raise refuse(
                module.file,
                node,
                f"{node.name} is an entry in a module that a program imports",
                "write @continuation in the program's own file, above a function that calls this one",
            )
        args = node.args
        for extra in args.posonlyargs:
            why = f"the parameter {extra.arg}: / in a parameter list is not in this language"
            raise refuse(module.file, extra, why, "write each parameter by its name")
        for extra in (*args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))) if entry else ():
            why = f"the parameter {extra.arg}: an entry takes positional parameters only"
            raise refuse(module.file, extra, why, "write each parameter by its name, without *")
        signature = Signature(len(self.tables.signatures), node, entry, module)
        module.functions[node.name] = signature
        self.tables.signatures.append(signature)

    def _compile(self, signature: Signature) -> Function:
        module = signature.module
        self.file = module.file
        try:
            return Statements(module, signature.node, scopes_of(signature.node)).function((), module=True)
        except ProgramRefused as problem:
            if module.imported is None:
                raise
            raise library(*module.imported, module.name, problem) from None

    def _library(self, name: str) -> int:
        index = self.tables.reserve()
        node = library_source(name)
        # The library's own names are the language's: a function of a file does not change what they mean.
        names = ModuleNames(self.tables, "", "")
        compiled = Statements(names, node, scopes_of(node)).function((), module=True, library=True)
        self.tables.complete(index, compiled)
        return index
