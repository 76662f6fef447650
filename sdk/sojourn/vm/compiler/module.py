"""A module: imports, literals, functions, and the check of the two worlds over all of it."""

from __future__ import annotations

import ast
import warnings

from sojourn.errors import DecodeError, ProgramInvalid, ProgramRefused
from sojourn.limits import MAX_PROGRAM_BYTES
from sojourn.vm.compiler.emitter import ModuleTables, Signature, Site
from sojourn.vm.compiler.refusals import refuse, refuse_syntax
from sojourn.vm.compiler.statements import Statements
from sojourn.vm.effects import EFFECTS, NAMESPACES
from sojourn.vm.program import Function, Program, Scalar
from sojourn.vm.verifier import verify

__all__ = ["compile_source"]

IMPORTABLE = NAMESPACES | {"continuation", "private"}
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
            tree = ast.parse(source)
        program = _Module(tree, filename).program()
        verify(program.encode())
    except SyntaxError as problem:
        line, column = problem.lineno or 1, problem.offset or 1
        raise ProgramRefused(filename, line, column, f"not Python: {problem.msg}", "write valid Python 3.11") from None
    except (ValueError, UnicodeEncodeError) as problem:
        raise ProgramRefused(filename, 1, 1, f"not Python: {problem}", "write valid Python 3.11") from None
    except (RecursionError, MemoryError, OverflowError, DecodeError, ProgramInvalid) as problem:
        why = f"too large or nested too deep ({problem or type(problem).__name__})"
        raise ProgramRefused(filename, 1, 1, why, "write shorter functions and simpler expressions") from None
    return program


class _Module:
    def __init__(self, tree: ast.Module, file: str) -> None:
        self.file = file
        self.tables = ModuleTables(file)
        self.sites: dict[str, list[Site]] = {}
        for statement in tree.body:
            self._statement(statement)
        if not any(signature.entry for signature in self.tables.functions.values()):
            raise ProgramRefused(
                file, 1, 1, "no entry: nothing that an order could start", "write @continuation above a function"
            )

    def program(self) -> Program:
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
                "write it inside of a function",
            )

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if not isinstance(node, ast.ImportFrom) or node.module != "sojourn.program" or node.level:
            module = node.module or "." if isinstance(node, ast.ImportFrom) else node.names[0].name
            why = f"importing {module} is not in this language"
            raise refuse(
                self.file, node, why, "write only: from sojourn.program import continuation, private, gpu, ..."
            )
        for alias in node.names:
            if alias.asname is not None:
                raise refuse(self.file, node, "import ... as is not in this language", f"write import {alias.name}")
            if alias.name not in IMPORTABLE:
                raise refuse(
                    self.file,
                    node,
                    f"sojourn.program has no {alias.name}",
                    f"write some of {', '.join(sorted(IMPORTABLE))}",
                )

    def _literal(self, node: ast.Assign, name: str) -> None:
        self._new_name(node, name)
        if not _is_literal(node.value):
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
        for extra in (*filter(None, (args.vararg, args.kwarg)), *args.kwonlyargs, *args.posonlyargs):
            why = f"the parameter {extra.arg}: *, ** and / in a parameter list are not in this language"
            raise refuse(self.file, extra, why, "write each parameter by its name")
        self.tables.functions[node.name] = Signature(len(self.tables.functions), node, entry)

    def _compile(self, signature: Signature) -> Function:
        node = signature.node
        defaults = []
        for default in node.args.defaults:
            value = self._default(default)
            defaults.append(self.tables.constant(value))
        compiler = Statements(self.tables, node)
        function = compiler.function(tuple(defaults))
        self.sites[node.name] = compiler.sites
        return function

    def _default(self, node: ast.expr) -> Scalar:
        if isinstance(node, ast.Name) and node.id in self.tables.literals:
            node = self.tables.literals[node.id]
        if isinstance(node, ast.Tuple) or not _is_literal(node):
            raise refuse(
                self.file,
                node,
                "a default that is not a single literal is not in this version of the language",
                "write None as the default, and the value inside of the function",
            )
        value: Scalar = ast.literal_eval(node)
        return value

    def _worlds(self) -> None:
        """Refuse public effects inside of private regions, and reading of private rows outside of them."""
        regions: dict[str, ast.AST] = {}
        for sites in self.sites.values():
            for site in sites:
                if site.kind == "private":
                    regions.setdefault(site.target, site.node)
        for start, node in regions.items():
            where = (
                f"inside of the private region that private({start}, ...) starts in line {getattr(node, 'lineno', 0)}"
            )
            for site in self._reached([start]):
                self._inside(site, where)
        entries = [name for name, signature in self.tables.functions.items() if signature.entry]
        for site in self._reached(entries):
            if site.kind == "effect" and "public" not in EFFECTS[site.target].worlds:
                raise refuse(
                    self.file,
                    site.node,
                    f"{site.target} reads private data in the public world",
                    "write it in a function and start that with private(f, ..., fuel=..., memory=...)",
                )

    def _inside(self, site: Site, where: str) -> None:
        if site.kind == "private":
            raise refuse(
                self.file,
                site.node,
                f"private() {where}",
                f"write a plain call, {site.target}(...): all is private here",
            )
        if site.kind == "effect" and "region" not in EFFECTS[site.target].worlds:
            instead = (
                "write return here, and the release after private(...), on its result"
                if EFFECTS[site.target].releases
                else "write it before private(...), and pass the result as an argument"
            )
            raise refuse(self.file, site.node, f"{site.target} {where}", instead)

    def _reached(self, starts: list[str]) -> list[Site]:
        seen, work, result = set(starts), list(starts), []
        while work:
            for site in self.sites[work.pop()]:
                result.append(site)
                if site.kind == "call" and site.target not in seen:
                    seen.add(site.target)
                    work.append(site.target)
        return result


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return all(_is_literal(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
        return isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return isinstance(node, ast.Constant) and not isinstance(node.value, complex) and node.value is not Ellipsis
