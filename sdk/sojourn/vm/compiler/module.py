"""A module: imports, literals, functions, and the check of the two worlds over all of it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence

from sojourn.errors import DecodeError, ProgramInvalid, ProgramRefused
from sojourn.limits import MAX_PROGRAM_BYTES
from sojourn.vm.compiler.emitter import ModuleTables, Signature, Site
from sojourn.vm.compiler.expansion import check_expansion
from sojourn.vm.compiler.library import library_source
from sojourn.vm.compiler.literals import is_literal
from sojourn.vm.compiler.refusals import MODULES, WORDS, nearest, refuse, refuse_syntax
from sojourn.vm.compiler.scopes import scopes_of
from sojourn.vm.compiler.statements import Statements
from sojourn.vm.effects import EFFECTS, NAMESPACES
from sojourn.vm.program import Function, Program
from sojourn.vm.verifier import verify

__all__ = ["compile_source"]

IMPORTABLE = NAMESPACES | WORDS | {"continuation", "Cancelled", "DeadlineMissed", "QuorumMissed"}
_QUOTE = "'"
_RESERVED = NAMESPACES | {"private", "continuation"}


def compile_source(source: str, filename: str) -> Program:
    """Compile a whole module.

    Args:
        source: Python source text: functions, of which at least one is decorated with `@continuation`, and literals.
        filename: how refusals name the file; it does not become part of the program.

    Returns:
        A program that `verify` accepts.

    Raises:
        ProgramRefused: not in the language; says where, why and what to write instead.
    """
    if len(source.encode("utf-8", "replace")) > MAX_PROGRAM_BYTES:
        raise ProgramRefused(filename, 1, 1, f"more than {MAX_PROGRAM_BYTES} bytes", "write a shorter program")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = _parse(source)
            check_expansion(tree)
            compile(tree, filename, "exec", dont_inherit=True)  # finds what the grammar alone does not; never run
        program = _Module(tree, filename).program()
        verify(program.encode())
    except SyntaxError as problem:
        line, column = problem.lineno or 1, problem.offset or 1
        if "outside async function" in problem.msg:
            why = f"{problem.msg.partition(' outside')[0].strip(_QUOTE)} is not in this language"
            raise ProgramRefused(filename, line, column, why, "write plain calls: effects wait by themselves") from None
        raise ProgramRefused(filename, line, column, f"not Python: {problem.msg}", "write valid Python 3.11") from None
    except (ValueError, UnicodeEncodeError) as problem:
        raise ProgramRefused(filename, 1, 1, f"not Python: {problem}", "write valid Python 3.11") from None
    except (RecursionError, MemoryError, OverflowError, DecodeError, ProgramInvalid) as problem:
        why = f"too large or nested too deep ({problem or type(problem).__name__})"
        raise ProgramRefused(filename, 1, 1, why, "write shorter functions and simpler expressions") from None
    return program


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SystemError:
        # CPython gh-106905: a finaliser that the collector ran in the middle of parsing parsed something itself (a
        # traceback's source, say), and the parser's count of its own depth is off. Nothing is wrong with the source.
        return ast.parse(source)


def _is_main(node: ast.stmt) -> bool:
    """Whether this is `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )


class _Module:
    def __init__(self, tree: ast.Module, file: str) -> None:
        self.file = file
        self.tables = ModuleTables(file)
        self.tables.compile_library = self._library
        for statement in tree.body:
            self._statement(statement)
        if not any(signature.entry for signature in self.tables.functions.values()):
            raise ProgramRefused(
                file, 1, 1, "no entry: nothing that an order could start", "write @continuation above a function"
            )

    def program(self) -> Program:
        self.tables.count = len(self.tables.functions)
        functions = [self._compile(signature) for signature in self.tables.functions.values()]
        self._worlds()
        return self.tables.program(functions)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self._function(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self._literal(node, node.targets[0].id)
        elif not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and type(node.value.value) is str
        ):
            if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef):
                raise refuse_syntax(self.file, node)
            raise refuse(
                self.file,
                node,
                "outside of functions a program has only imports from sojourn.program and NAME = literal",
                "write the functions alone: an order starts an entry"
                if _is_main(node)
                else "write it inside of a function",
            )

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if not isinstance(node, ast.ImportFrom) or node.module != "sojourn.program" or node.level:
            module = node.module or "." if isinstance(node, ast.ImportFrom) else node.names[0].name
            why = f"importing {module} is not in this language"
            hint = MODULES.get(module.partition(".")[0])
            only = "only: from sojourn.program import continuation, private, gpu, ..."
            raise refuse(self.file, node, why, f"write {only}" if hint is None else f"{hint} (imports are {only})")
        for alias in node.names:
            if alias.name == "*":
                raise refuse(self.file, node, "import * is not in this language", "write the names that you use")
            if alias.asname is not None:
                raise refuse(self.file, node, "import ... as is not in this language", f"write import {alias.name}")
            if alias.name not in IMPORTABLE:
                likely = nearest(alias.name, IMPORTABLE)
                known = f"some of {', '.join(sorted(IMPORTABLE))}" if likely is None else likely
                raise refuse(self.file, node, f"sojourn.program has no {alias.name}", f"write {known}")

    def _literal(self, node: ast.Assign, name: str) -> None:
        self._new_name(node, name)
        if not is_literal(node.value):
            raise refuse(
                self.file,
                node.value,
                f"{name} is not a literal that never changes",
                "write a number, text, bytes, None or a tuple of them here, anything else inside of a function",
            )
        self.tables.literals[name] = node.value

    def _new_name(self, node: ast.AST, name: str) -> None:
        if name in _RESERVED:
            raise refuse(self.file, node, f"{name} is a name of the language", "write another name")
        if name in self.tables.functions or name in self.tables.literals:
            raise refuse(self.file, node, f"{name} is defined twice", "write another name")

    def _function(self, node: ast.FunctionDef) -> None:
        self._new_name(node, node.name)
        entry = False
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Name) or decorator.id != "continuation" or entry:
                raise refuse(
                    self.file, decorator, "a decorator that is not in this language", "write @continuation, once"
                )
            entry = True
        args = node.args
        for extra in args.posonlyargs:
            why = f"the parameter {extra.arg}: / in a parameter list is not in this language"
            raise refuse(self.file, extra, why, "write each parameter by its name")
        for extra in (*args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))) if entry else ():
            why = f"the parameter {extra.arg}: an entry takes positional parameters only"
            raise refuse(self.file, extra, why, "write each parameter by its name, without *")
        self.tables.functions[node.name] = Signature(len(self.tables.functions), node, entry)

    def _compile(self, signature: Signature) -> Function:
        return Statements(self.tables, signature.node, scopes_of(signature.node)).function((), module=True)

    def _library(self, name: str) -> int:
        index = self.tables.reserve()
        node = library_source(name)
        # The library's own names are the language's: a function of the file does not change what they mean.
        with self.tables.only_the_language():
            compiled = Statements(self.tables, node, scopes_of(node)).function((), module=True, library=True)
        self.tables.complete(index, compiled)
        return index

    def _worlds(self) -> None:
        """Refuse public effects inside of private regions, and reading of private rows outside of them."""
        regions: dict[ast.FunctionDef, Site] = {}
        for sites in self.tables.sites.values():
            for site in sites:
                if site.kind == "private" and site.function is not None:
                    regions.setdefault(site.function, site)
        seen: set[ast.AST] = set()  # by an earlier region: what is in there was looked at
        for start, origin in regions.items():
            line = getattr(origin.node, "lineno", 0)
            where = f"inside of the private region that private({origin.target}, ...) starts in line {line}"
            for site in self._reached([start], seen):
                self._inside(site, where)
        entries: list[ast.AST] = [signature.node for signature in self.tables.functions.values() if signature.entry]
        for site in self._reached(entries, set()):
            if site.kind == "effect" and "public" not in EFFECTS[site.target].worlds:
                raise refuse(
                    self.file,
                    site.node,
                    f"{site.target} reads private data in the public world",
                    "write it in a function and start that with private(f, ..., fuel=..., memory=...)",
                )

    def _inside(self, site: Site, where: str) -> None:
        if site.kind == "effect" and "region" not in EFFECTS[site.target].worlds:
            instead = (
                "write return here, and the release after private(...), on its result"
                if EFFECTS[site.target].releases
                else "write it before private(...), and pass the result as an argument"
            )
            raise refuse(self.file, site.node, f"{site.target} {where}", instead)

    def _reached(self, starts: Sequence[ast.AST], seen: set[ast.AST]) -> list[Site]:
        """The sites of the functions that calls by name lead to, but for those that were seen before."""
        work, result = [start for start in starts if start not in seen], []
        seen.update(work)
        while work:
            for site in self.tables.sites.get(work.pop(), ()):
                result.append(site)
                if site.kind == "call" and site.function is not None and site.function not in seen:
                    seen.add(site.function)
                    work.append(site.function)
        return result
