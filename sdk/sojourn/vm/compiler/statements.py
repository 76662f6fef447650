"""Statements of one function. The operand stack is empty between them; a loop's iterator is a hidden local."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sojourn.vm.compiler.calls import Calls
from sojourn.vm.compiler.emitter import EXCEPTION_NUMBERS, FunctionCode, ModuleTables
from sojourn.vm.compiler.refusals import refuse_syntax
from sojourn.vm.op import Op
from sojourn.vm.program import Function

__all__ = ["Statements", "variables_of"]


@dataclass(slots=True)
class _Loop:
    top: int
    slot: int | None
    breaks: list[int] = field(default_factory=list)


class Statements(Calls):
    """Compiles one function."""

    def __init__(self, tables: ModuleTables, node: ast.FunctionDef) -> None:
        params = [parameter.arg for parameter in node.args.args]
        super().__init__(tables, FunctionCode(params), variables_of(node))
        self.node = node
        self.loops: list[_Loop] = []

    def function(self, defaults: tuple[int, ...]) -> Function:
        """The compiled function."""
        self.code.line = self.node.lineno
        self.body(self.node.body)
        self.code.line = self.node.end_lineno or self.node.lineno
        self._return_none()
        return self.code.function(self.node.name, len(self.node.args.args), defaults)

    def _return_none(self) -> None:
        self.code.emit(Op.CONST, self.tables.constant(None))
        self.code.emit(Op.RETURN)

    def body(self, statements: list[ast.stmt]) -> None:
        """Emit statements in order."""
        for statement in statements:
            handler = _HANDLERS.get(type(statement))
            if handler is None:
                raise refuse_syntax(self.tables.file, statement)
            self.code.line = statement.lineno
            handler(self, statement)

    def expression_statement(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            self.constant(node.value)  # a docstring or ellipsis: checked like any constant, and dropped
            self.code.words.pop()
            self.code.lines.pop()
            return
        self.expression(node.value)
        self.code.emit(Op.POP)

    def returns(self, node: ast.Return) -> None:
        if node.value is None:
            self._return_none()
            return
        self.expression(node.value)
        self.code.emit(Op.RETURN)

    def assign(self, node: ast.Assign) -> None:
        self.expression(node.value)
        for target in node.targets[:-1]:
            self.code.emit(Op.DUP)
            self.store(target)
        self.store(node.targets[-1])

    def annotated(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.expression(node.value)
            self.store(node.target)

    def store(self, target: ast.expr) -> None:
        """Emit code that takes the value on the stack into a target."""
        if isinstance(target, ast.Name):
            self.code.emit(Op.STORE, self.code.slot(target.id))
        elif isinstance(target, ast.Tuple | ast.List):
            self.code.emit(Op.UNPACK, len(target.elts))
            for item in target.elts:
                self.store(item)
        elif isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
            self.expression(target.value)
            self.expression(target.slice)
            self.code.emit(Op.STORE_INDEX)
        else:
            raise self._no_target(target)

    def _no_target(self, target: ast.expr) -> Exception:
        if isinstance(target, ast.Attribute):
            return self.refused(target, "records do not change", "write a variable, or an item of a dict or list")
        if isinstance(target, ast.Subscript):
            return self.refused(target, "a slice is not assigned to in this version of the language",
                                "write a loop over the items, or a new list")  # fmt: skip
        return refuse_syntax(self.tables.file, target)

    def augmented(self, node: ast.AugAssign) -> None:
        target = node.target
        number = self.operator(node, node.op)
        if isinstance(target, ast.Name):
            self.code.emit(Op.LOAD, self.code.slot(target.id))
            self.expression(node.value)
            self.code.emit(Op.INPLACE, number)
            self.code.emit(Op.STORE, self.code.slot(target.id))
        elif isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
            self.expression(target.value)
            self.expression(target.slice)
            self.code.emit(Op.DUP2)
            self.code.emit(Op.INDEX)
            self.expression(node.value)
            self.code.emit(Op.INPLACE, number)
            self.code.emit(Op.ROT3)
            self.code.emit(Op.STORE_INDEX)
        else:
            raise self._no_target(target)

    def delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if not isinstance(target, ast.Subscript) or isinstance(target.slice, ast.Slice):
                raise self.refused(target, "del takes an item of a list or dict", "write name = None for a variable")
            self.expression(target.value)
            self.expression(target.slice)
            self.code.emit(Op.DELETE_INDEX)

    def passes(self, node: ast.Pass) -> None:
        """Nothing."""

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

    def while_loop(self, node: ast.While) -> None:
        top = self.code.here
        self.expression(node.test)
        end = self.code.emit(Op.JUMP_IF_FALSE)
        self._loop(node, _Loop(top, None), end)

    def for_loop(self, node: ast.For) -> None:
        self.expression(node.iter)
        slot = self.code.loop_slot()
        self.code.emit(Op.ITER, slot)
        top = self.code.emit(Op.NEXT, slot)
        self.store(node.target)
        self._loop(node, _Loop(top, slot), top)

    def _loop(self, node: ast.While | ast.For, loop: _Loop, exhausted: int) -> None:
        self.loops.append(loop)
        self.body(node.body)
        self.code.emit(Op.JUMP, loop.top)
        self.loops.pop()
        self.code.land(exhausted)
        self.body(node.orelse)
        if loop.slot is not None and loop.breaks:
            end = self.code.emit(Op.JUMP)
            self.code.land(*loop.breaks)
            self.code.emit(Op.CLEAR, loop.slot)
            self.code.land(end)
        else:
            self.code.land(*loop.breaks)

    def breaks(self, node: ast.Break) -> None:
        self.loops[-1].breaks.append(self.code.emit(Op.JUMP))

    def continues(self, node: ast.Continue) -> None:
        self.code.emit(Op.JUMP, self.loops[-1].top)

    def asserts(self, node: ast.Assert) -> None:
        self.expression(node.test)
        good = self.code.emit(Op.JUMP_IF_TRUE)
        if node.msg is not None:
            self.expression(node.msg)
        self.code.emit(Op.RAISE, EXCEPTION_NUMBERS["AssertionError"], int(node.msg is not None))
        self.code.land(good)

    def raises(self, node: ast.Raise) -> None:
        if node.exc is None or node.cause is not None:
            raise self.refused(node, "raise takes one exception here", "write raise ValueError(text)")
        self.exception(node.exc)


def variables_of(node: ast.FunctionDef) -> frozenset[str]:
    """The names that are local to a function: parameters, and whatever it assigns."""
    stored = {
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store | ast.Del)
    }
    return frozenset(stored | {parameter.arg for parameter in node.args.args})


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
    ast.If: Statements.branch,
    ast.Pass: Statements.passes,
    ast.Raise: Statements.raises,
    ast.Return: Statements.returns,
    ast.While: Statements.while_loop,
}
