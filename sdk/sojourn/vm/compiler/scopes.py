"""Which variable a name means: the scopes of one function of the module, and of the functions inside of it.

A comprehension has a scope of its own but runs in the frame of its function, so that its variables are locals under
another name. A variable that a function inside uses lives in a cell.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

__all__ = ["COMPREHENSIONS", "Callable_", "Comprehension", "Scope", "Variable", "parameters", "scopes_of"]

Callable_: TypeAlias = ast.FunctionDef | ast.Lambda
Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

COMPREHENSIONS: Final[dict[type[ast.AST], str]] = {
    ast.ListComp: "<listcomp>",
    ast.SetComp: "<setcomp>",
    ast.DictComp: "<dictcomp>",
    ast.GeneratorExp: "<genexpr>",
}


@dataclass(eq=False, slots=True)
class Variable:
    """A variable of one scope.

    Attributes:
        name: as in the source.
        slot: its name among the locals of its function.
        scope: whose it is.
        cell: a function inside uses it.
        bindings: how many places bind it.
        definition: the function that a `def` binds it to, if there is one.
    """

    name: str
    slot: str
    scope: Scope
    cell: bool = False
    bindings: int = 0
    definition: ast.FunctionDef | None = None


@dataclass(eq=False, slots=True)
class Scope:
    """The scope of a function or of a comprehension.

    Attributes:
        qualified: its name as CPython's messages have it.
        parent: the scope around it; None for a function of the module.
        comprehension: whether it is one's.
        bound: its variables.
        outer: names that `nonlocal` declares.
        free: for a function: variables of other functions that it, or one inside of it, uses; in order of use.
    """

    qualified: str
    parent: Scope | None
    comprehension: bool = False
    bound: dict[str, Variable] = field(default_factory=dict)
    outer: set[str] = field(default_factory=set)
    free: dict[str, Variable] = field(default_factory=dict)

    @property
    def function(self) -> Scope:
        """The scope of the function whose frame this one's variables are in."""
        scope = self
        while scope.comprehension and scope.parent is not None:
            scope = scope.parent
        return scope

    def lookup(self, name: str) -> Variable | None:
        """What a name means here; None for names of the module and of the language."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.bound.get(name)
            if found is not None:
                return found
            scope = scope.parent
        return None


def parameters(args: ast.arguments) -> list[ast.arg]:
    """All parameters in the order of the locals that a call fills."""
    last = [extra for extra in (args.vararg, args.kwarg) if extra is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *last]


def scopes_of(node: ast.FunctionDef) -> dict[ast.AST, Scope]:
    """The scopes of a function of the module and of everything inside of it, by their nodes."""
    collector = _Collector()
    collector.function(node, None)
    collector.resolve()
    return collector.scopes


class _Collector:
    def __init__(self) -> None:
        self.scopes: dict[ast.AST, Scope] = {}
        self.uses: list[tuple[str, Scope]] = []
        self.renamed = 0

    def function(self, node: Callable_, parent: Scope | None) -> None:
        name = node.name if isinstance(node, ast.FunctionDef) else "<lambda>"
        scope = Scope(_inside(parent, name), parent)
        self.scopes[node] = scope
        for parameter in parameters(node.args):
            self._bind(scope, parameter.arg)
        body: list[ast.stmt] | list[ast.expr] = node.body if isinstance(node, ast.FunctionDef) else [node.body]
        for statement in body:
            self._visit(statement, scope)
        for name in scope.outer:
            scope.bound.pop(name, None)

    def _bind(self, scope: Scope, name: str, definition: ast.FunctionDef | None = None) -> None:
        variable = scope.bound.get(name)
        if variable is None:
            slot = name
            if scope.comprehension:
                self.renamed += 1
                slot = f"{name}.{self.renamed}"
            variable = scope.bound[name] = Variable(name, slot, scope)
        variable.bindings += 1
        variable.definition = definition

    def _visit(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                self._bind(scope, node.id)
            self.uses.append((node.id, scope))
        elif isinstance(node, ast.NamedExpr):
            self._bind(scope.function, node.target.id)
            self.uses.append((node.target.id, scope))
            self._visit(node.value, scope)
        elif isinstance(node, ast.FunctionDef | ast.Lambda):
            self._nested(node, scope)
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            self._comprehension(node, scope)
        elif isinstance(node, ast.Nonlocal):
            scope.outer.update(node.names)
            self.uses.extend((name, scope) for name in node.names)
        else:
            if isinstance(node, ast.ExceptHandler) and node.name is not None:
                self._bind(scope, node.name)
                self.uses.append((node.name, scope))
            for child in ast.iter_child_nodes(node):
                self._visit(child, scope)

    def _nested(self, node: Callable_, scope: Scope) -> None:
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self._visit(default, scope)
        if isinstance(node, ast.FunctionDef):
            self._bind(scope, node.name, node)
            self.uses.append((node.name, scope))
        self.function(node, scope)

    def _comprehension(self, node: Comprehension, scope: Scope) -> None:
        inner = Scope(_inside(scope, COMPREHENSIONS[type(node)]), scope, comprehension=True)
        self.scopes[node] = inner
        self._visit(node.generators[0].iter, scope)
        for position, generator in enumerate(node.generators):
            for part in (generator.target, *([generator.iter] if position else []), *generator.ifs):
                self._visit(part, inner)
        for part in _elements(node):
            self._visit(part, inner)

    def resolve(self) -> None:
        """Find the variables that functions share, and pass them through the functions between."""
        for name, scope in self.uses:
            variable = scope.lookup(name)
            if variable is None:
                continue
            if name in scope.outer:
                variable.bindings += 1
            home, function = variable.scope.function, scope.function
            while function is not home and function.parent is not None:
                variable.cell = True
                function.free.setdefault(name, variable)
                function = function.parent.function


def _inside(parent: Scope | None, name: str) -> str:
    return name if parent is None else f"{parent.qualified}.<locals>.{name}"


def _elements(node: Comprehension) -> Iterator[ast.expr]:
    if isinstance(node, ast.DictComp):
        yield node.key
        yield node.value
    else:
        yield node.elt
