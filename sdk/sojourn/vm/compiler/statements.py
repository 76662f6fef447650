"""Statements of one function. The operand stack is empty between them; a loop's iterator is a hidden local."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

from sojourn.vm.compiler.control import Control
from sojourn.vm.compiler.emitter import EXCEPTION_NUMBERS, FunctionCode, ModuleNames
from sojourn.vm.compiler.imports import dotted_parts, member_of
from sojourn.vm.compiler.literals import literal_size, literal_value
from sojourn.vm.compiler.refusals import refuse_syntax
from sojourn.vm.compiler.scopes import Callable_, Scope, Variable, parameters
from sojourn.vm.op import Op
from sojourn.vm.program import COMPUTED, NAMED, REQUIRED, REST, Function, Scalar

__all__ = ["Statements"]


class Statements(Control):
    """Compiles one function."""

    def __init__(self, module: ModuleNames, node: Callable_, scopes: dict[ast.AST, Scope]) -> None:
        params = [parameter.arg for parameter in parameters(node.args)]
        scope = scopes[node]
        code = FunctionCode(params, module.tables.charge)
        for name in scope.free:
            code.slot(name)
        super().__init__(module, code, scopes, scope)
        self.node = node
        self.blocks, self.caught = [], []

    def function(self, captures: tuple[int, ...], *, module: bool, library: bool = False) -> Function:
        """The compiled function.

        Args:
            captures: for each free variable, the local of the function around this one that holds its cell.
            module: a function of the module, whose defaults are literals.
            library: no line of it is the author's.
        """
        node, code = self.node, self.code
        code.line = node.lineno
        if isinstance(node, ast.Lambda):
            self.expression(node.body)
            code.emit(Op.RETURN)
        else:
            self.body(node.body)
            code.line = node.end_lineno or node.lineno
            code.emit(Op.CONST, self.tables.constant(None))
            code.emit(Op.RETURN)
        self.tables.sites[node] = (self.module.file, self.sites)
        args = node.args
        free = tuple([code.slot(name) for name in self.own.free])
        return Function(
            name=self.own.qualified,
            params=len(args.args),
            keyword_only=len(args.kwonlyargs),
            flags=(REST if args.vararg else 0) | (NAMED if args.kwarg else 0),
            defaults=tuple([self._default(default, module=module) for default in args.defaults]),
            keyword_defaults=tuple([self._default(default, module=module) for default in args.kw_defaults]),
            locals=tuple(code.locals),
            cells=tuple(sorted(code.cells - set(free))),
            free=free,
            captures=captures,
            handlers=tuple(code.handlers),
            code=code.packed(),
            lines=tuple([0] * len(code.lines) if library else code.lines),
            module=self.module.number,
        )

    def _default(self, node: ast.expr | None, *, module: bool) -> int:
        """The number of a default: a constant, or `COMPUTED`."""
        if node is None:
            return REQUIRED
        known = self.literal_default(node)
        if known is not None:
            self.tables.charge(literal_size(known[0]))
            return self.tables.default(known[0])
        if module:
            raise self.refused(
                node,
                "a default that is not a literal is not in this language: it would outlive a call",
                "write None as the default, and the value inside of the function",
            )
        return COMPUTED

    def literal_default(self, node: ast.expr) -> tuple[Scalar | tuple[object, ...]] | None:
        """The value of a default, in a tuple, where it is a literal or the name of one; the scope around counts."""
        around, name = self.own.parent, dotted_parts(node)[:1]
        if name and around is not None and around.lookup(name[0]) is not None:
            return None
        member = member_of(self.module, dotted_parts(node), node) if self._in_module(node) else None
        return literal_value(member if isinstance(member, ast.expr) else node, self.module.literals)

    def _in_module(self, node: ast.expr) -> bool:
        parts = dotted_parts(node)
        return len(parts) > 1 and self.module.begins_module(parts[0])

    def closure(self, node: Callable_) -> None:
        """Emit the value of a function inside of this one: computed defaults, then CLOSURE."""
        if node.args.posonlyargs:
            raise self.refused(node.args.posonlyargs[0], "/ in a parameter list is not in this language",
                               "write each parameter by its name")  # fmt: skip
        compiler = Statements(self.module, node, self.scopes)
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None and compiler.literal_default(default) is None:
                self.expression(default)
        index = self.tables.reserve()
        captures = tuple([self.slot_of(variable) for variable in self.scopes[node].free.values()])
        function = compiler.function(captures, module=False)
        self.tables.complete(index, function)
        self.code.emit(Op.CLOSURE, index, function.computed)

    def definition(self, node: ast.FunctionDef) -> None:
        if node.decorator_list:
            raise self.refused(node.decorator_list[0], "a decorator inside of a function is not in this language",
                               "write name = decorator(name) after the function")  # fmt: skip
        self.closure(node)
        self.store_variable(self.bound(node.name))

    def body(self, statements: list[ast.stmt]) -> None:
        """Emit statements in order."""
        for statement in statements:
            handler = _HANDLERS.get(type(statement))
            if handler is None:
                raise refuse_syntax(self.module.file, statement)
            self.code.line = statement.lineno
            self.tables.charge()
            handler(self, statement)

    def expression_statement(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            self.constant(node.value)  # a docstring or ellipsis: checked like any constant, and dropped
            self.code.words.pop()
            self.code.lines.pop()
            return
        self.expression(node.value)
        self.code.emit(Op.POP)

    def assign(self, node: ast.Assign) -> None:
        self.expression(node.value)
        for target in node.targets[:-1]:
            self.code.emit(Op.DUP, 1)
            self.store(target)
        self.store(node.targets[-1])

    def annotated(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.expression(node.value)
            self.store(node.target)

    def store(self, target: ast.expr) -> None:
        """Emit code that takes the value on the stack into a target."""
        if isinstance(target, ast.Name):
            self.store_variable(self.bound(target.id))
        elif isinstance(target, ast.Tuple | ast.List):
            self._unpack(target.elts)
        elif isinstance(target, ast.Subscript):
            self.expression(target.value)
            if isinstance(target.slice, ast.Slice):
                self.slice_bounds(target.slice)
                self.code.emit(Op.STORE_SLICE)
            else:
                self.expression(target.slice)
                self.code.emit(Op.STORE_INDEX)
        else:
            raise self._no_target(target)

    def _unpack(self, targets: list[ast.expr]) -> None:
        starred = [k for k, target in enumerate(targets) if isinstance(target, ast.Starred)]
        if starred:
            self.code.emit(Op.UNPACK_REST, starred[0], len(targets) - starred[0] - 1)
        else:
            self.code.emit(Op.UNPACK, len(targets))
        for target in targets:
            self.store(target.value if isinstance(target, ast.Starred) else target)

    def _no_target(self, target: ast.expr) -> Exception:
        """For an attribute: Python's own compiler has refused every other target that the language lacks."""
        return self.refused(target, "records do not change", "write a variable, or an item of a dict or list")

    def augmented(self, node: ast.AugAssign) -> None:
        target = node.target
        number = self.operator(node, node.op)
        if isinstance(target, ast.Name):
            variable: Variable = self.bound(target.id)
            self.load(variable)
            self.expression(node.value)
            self.code.emit(Op.INPLACE, number)
            self.store_variable(variable)
            return
        if not isinstance(target, ast.Subscript):
            raise self._no_target(target)
        self.expression(target.value)
        parts = 2
        if isinstance(target.slice, ast.Slice):
            self.slice_bounds(target.slice)
            parts = 4
        else:
            self.expression(target.slice)
        self.code.emit(Op.DUP, parts)
        self.code.emit(Op.INDEX if parts == 2 else Op.SLICE)
        self.expression(node.value)
        self.code.emit(Op.INPLACE, number)
        self.code.emit(Op.ROT, parts + 1)
        self.code.emit(Op.STORE_INDEX if parts == 2 else Op.STORE_SLICE)

    def delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._delete(target)

    def _delete(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.forget(self.bound(target.id), silent=False)
        elif isinstance(target, ast.Tuple | ast.List):
            for item in target.elts:
                self._delete(item)
        elif isinstance(target, ast.Subscript):
            self.expression(target.value)
            if isinstance(target.slice, ast.Slice):
                self.slice_bounds(target.slice)
                self.code.emit(Op.DELETE_SLICE)
            else:
                self.expression(target.slice)
                self.code.emit(Op.DELETE_INDEX)
        else:
            raise self._no_target(target)

    def passes(self, node: ast.stmt) -> None:
        """Nothing: `pass`, and `nonlocal`, which the scopes have read."""

    def branch(self, node: ast.If) -> None:
        self.expression(node.test)
        otherwise = self.code.emit(Op.JUMP_IF_FALSE)
        self.body(node.body)
        if not node.orelse:
            self.code.land(otherwise)
            return
        end = self.code.emit(Op.JUMP)
        self.code.land(otherwise)
        self.body(node.orelse)
        self.code.land(end)

    def asserts(self, node: ast.Assert) -> None:
        self.expression(node.test)
        good = self.code.emit(Op.JUMP_IF_TRUE)
        if node.msg is not None:
            self.expression(node.msg)
        self.code.emit(Op.EXCEPTION, EXCEPTION_NUMBERS["AssertionError"], int(node.msg is not None))
        self.code.emit(Op.RAISE)
        self.code.land(good)


_HANDLERS: Final[dict[type[ast.stmt], Callable[..., None]]] = {
    ast.AnnAssign: Statements.annotated,
    ast.Assert: Statements.asserts,
    ast.Assign: Statements.assign,
    ast.AugAssign: Statements.augmented,
    ast.Break: Statements.breaks,
    ast.Continue: Statements.continues,
    ast.Delete: Statements.delete,
    ast.Expr: Statements.expression_statement,
    ast.For: Statements.for_loop,
    ast.FunctionDef: Statements.definition,
    ast.If: Statements.branch,
    ast.Nonlocal: Statements.passes,
    ast.Pass: Statements.passes,
    ast.Raise: Statements.raises,
    ast.Return: Statements.returns,
    ast.Try: Statements.tries,
    ast.While: Statements.while_loop,
}
