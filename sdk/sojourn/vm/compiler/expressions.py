"""Expressions: each leaves one value on the stack."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, cast

from sojourn.errors import ProgramRefused
from sojourn.vm.compiler.emitter import BUILTIN_NUMBERS, FunctionCode, ModuleNames, Signature, Site
from sojourn.vm.compiler.imports import dotted_parts, member_of
from sojourn.vm.compiler.refusals import NAMES, WORDS, nearest, refuse, refuse_namespace, refuse_syntax
from sojourn.vm.compiler.scopes import Scope, Variable
from sojourn.vm.effects import NAMESPACES
from sojourn.vm.formats import check_format
from sojourn.vm.op import BINARY, BUILTINS, COMPARE, CONVERSIONS, EXCEPTIONS, EXTENDS, UNARY, Op

__all__ = ["BINARY_OPERATORS", "Expressions"]

BINARY_OPERATORS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
_UNARY: Final[dict[type[ast.unaryop], str]] = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}
_COMPARE: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}


class Expressions(ABC):
    """Compiles expressions of one function. `calls.Calls` adds calls, `statements.Statements` the rest."""

    def __init__(self, module: ModuleNames, code: FunctionCode, scopes: dict[ast.AST, Scope], scope: Scope) -> None:
        self.module, self.tables, self.code, self.scopes = module, module.tables, code, scopes
        self.scope = self.own = scope
        self.sites: list[Site] = []
        self.pinned = 0  # the line that counts, where what is written out stands in another file
        for variable in (*scope.bound.values(), *scope.free.values()):
            if variable.cell:
                self.code.cells.add(self.slot_of(variable))

    def slot_of(self, variable: Variable) -> int:
        """The local of this function that holds a variable, or its cell."""
        mine = variable.scope.function is self.own
        return self.code.slot(variable.slot if mine else variable.name)

    def variable(self, name: str) -> Variable | None:
        """What a name means here, if it is a variable."""
        return self.scope.lookup(name)

    def load(self, variable: Variable) -> None:
        """Emit code that pushes a variable's value."""
        free = int(variable.scope is not self.scope)
        self.code.emit(Op.LOAD_CELL if variable.cell else Op.LOAD, self.slot_of(variable), free)

    def store_variable(self, variable: Variable) -> None:
        """Emit code that takes the value on the stack into a variable."""
        self.code.emit(Op.STORE_CELL if variable.cell else Op.STORE, self.slot_of(variable))

    def forget(self, variable: Variable, *, silent: bool) -> None:
        """Emit code that unbinds a variable."""
        self.code.emit(Op.DELETE_CELL if variable.cell else Op.DELETE, self.slot_of(variable), int(silent))

    def bound(self, name: str) -> Variable:
        """The variable of a name that is assigned to here: the scope was made from those assignments."""
        return cast("Variable", self.scope.lookup(name))

    def refused(self, node: ast.AST, why: str, instead: str) -> ProgramRefused:
        """The error for a place in this file."""
        return refuse(self.module.file, node, why, instead)

    def expression(self, node: ast.expr) -> None:
        """Emit code that pushes the value of `node`."""
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise refuse_syntax(self.module.file, node)
        line, self.code.line = self.code.line, self.pinned or node.lineno
        handler(self, node)
        self.code.line = line

    @abstractmethod
    def call(self, node: ast.Call) -> None:
        """Emit a call; see `calls.Calls`."""

    def constant(self, node: ast.Constant) -> None:
        value = node.value
        if value is not None and not isinstance(value, bool | int | float | str | bytes):
            raise self.refused(node, f"{ast.unparse(node)} is not a value of this language", "write ints and floats")
        if isinstance(value, str) and not _encodable(value):
            raise self.refused(node, "text with a lone surrogate", "write characters that UTF-8 can encode")
        self.code.emit(Op.CONST, self.tables.constant(value))

    def name(self, node: ast.Name) -> None:
        name = node.id
        variable = self.variable(name)
        if variable is not None:
            self.load(variable)
        elif name in self.module.literals:
            self.literal(self.module.literals[name], foreign=name in self.module.foreign)
        elif name in self.module.functions:
            self.code.emit(Op.CLOSURE, self.module.functions[name].index)
        elif self.module.begins_module(name):
            raise self.refused(node, f"{name} is a module and no value", f"write {name}.x with a name of that module")
        elif name in NAMESPACES:
            raise self.refused(
                node, f"{name} is a namespace of effects and no value", f"write a call of one, {name}.x(...)"
            )
        elif name in BUILTINS:
            self.code.emit(Op.BUILTIN_VALUE, BUILTIN_NUMBERS[name])
        elif name in EXCEPTIONS or name in WORDS:
            raise self.refused(node, f"{name} is no value here", f"write a call, {name}(...)")
        else:
            instead = "write its assignment first, as a variable here or as NAME = literal above the functions"
            likely = nearest(name, [*self.scope.bound, *self.module.literals, *self.module.functions])
            if likely is not None:
                instead = f"write {likely}, or an assignment first"
            raise self.refused(node, f"nothing here has the name {name}", NAMES.get(name, instead))

    def literal(self, node: ast.expr, *, foreign: bool) -> None:
        """Emit a literal of a module. What is foreign stands in another file: the line that names it counts."""
        self.pinned = self.code.line if foreign else 0
        self.expression(node)
        self.pinned = 0

    def member(self, node: ast.expr) -> Signature | ast.expr | None:
        """What `module.name` means: a function or a literal of a module that is imported here; None for all else.

        Raises:
            ProgramRefused: the module has no such name.
        """
        parts = dotted_parts(node)
        if len(parts) < 2 or self.variable(parts[0]) is not None or not self.module.begins_module(parts[0]):
            return None
        return member_of(self.module, parts, node)

    def is_bound(self, name: str) -> bool:
        """Whether a name means anything here: a variable, a literal, a function, or a word of the language."""
        if self.variable(name) is not None or name in self.module.literals or name in self.module.functions:
            return True
        return name in NAMESPACES or name in BUILTINS or name in EXCEPTIONS or name in WORDS or name in NAMES

    def tuple_display(self, node: ast.Tuple) -> None:
        self._items(node.elts, Op.TUPLE)

    def list_display(self, node: ast.List) -> None:
        self._items(node.elts, Op.LIST)

    def set_display(self, node: ast.Set) -> None:
        self._items(node.elts, Op.SET)

    def _items(self, items: list[ast.expr], op: Op) -> None:
        plain = next((k for k, item in enumerate(items) if isinstance(item, ast.Starred)), len(items))
        for item in items[:plain]:
            self.expression(item)
        if plain == len(items):
            self.code.emit(op, plain)
            return
        self.code.emit(Op.SET if op == Op.SET else Op.LIST, plain)
        self.spread(items[plain:], "set" if op == Op.SET else "list")
        if op == Op.TUPLE:
            self.code.emit(Op.TUPLE_OF)

    def spread(self, items: list[ast.expr], kind: str) -> None:
        """Emit code that adds items, some of them with a star, to the container on the stack."""
        for item in items:
            if isinstance(item, ast.Starred):
                self.expression(item.value)
                self.code.emit(Op.EXTEND, EXTENDS.index(kind))
            else:
                self.expression(item)
                self.code.emit(Op.APPEND)

    def dict_display(self, node: ast.Dict) -> None:
        """Keys and values in turn; from the first `**` on they are put one by one."""
        plain = next((k for k, key in enumerate(node.keys) if key is None), len(node.keys))
        for position, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
            if position == plain:
                self.code.emit(Op.DICT, plain)
            if key is not None:
                self.expression(key)
            self.expression(value)
            if key is None:
                self.code.emit(Op.EXTEND, EXTENDS.index("dict"))
            elif position > plain:
                self.code.emit(Op.PUT)
        if plain == len(node.keys):
            self.code.emit(Op.DICT, plain)

    def walrus(self, node: ast.NamedExpr) -> None:
        self.expression(node.value)
        self.code.emit(Op.DUP, 1)
        self.store_variable(self.bound(node.target.id))

    def binary(self, node: ast.BinOp) -> None:
        self.expression(node.left)
        self.expression(node.right)
        self.code.emit(Op.BINARY, self.operator(node, node.op))

    def operator(self, node: ast.AST, op: ast.operator) -> int:
        """Number of a binary operator."""
        if type(op) not in BINARY_OPERATORS:
            raise self.refused(node, "@ is not in this language", "write gpu.run(...) with a graph that multiplies")
        return BINARY.index(BINARY_OPERATORS[type(op)])

    def unary(self, node: ast.UnaryOp) -> None:
        operand = node.operand
        if isinstance(node.op, ast.USub) and isinstance(operand, ast.Constant):
            number = operand.value
            if isinstance(number, int | float) and not isinstance(number, bool):
                self.code.emit(Op.CONST, self.tables.constant(-number))
                return
        self.expression(operand)
        if isinstance(node.op, ast.Not):
            self.code.emit(Op.NOT)
        else:
            self.code.emit(Op.UNARY, UNARY.index(_UNARY[type(node.op)]))

    def boolean(self, node: ast.BoolOp) -> None:
        op = Op.JUMP_IF_FALSE_OR_POP if isinstance(node.op, ast.And) else Op.JUMP_IF_TRUE_OR_POP
        jumps = []
        for value in node.values[:-1]:
            self.expression(value)
            jumps.append(self.code.emit(op))
        self.expression(node.values[-1])
        self.code.land(*jumps)

    def conditional(self, node: ast.IfExp) -> None:
        self.expression(node.test)
        otherwise = self.code.emit(Op.JUMP_IF_FALSE)
        self.expression(node.body)
        end = self.code.emit(Op.JUMP)
        self.code.land(otherwise)
        self.expression(node.orelse)
        self.code.land(end)

    def compare(self, node: ast.Compare) -> None:
        """A chain `a < b < c` keeps b on the stack below the result of `a < b`."""
        self.expression(node.left)
        short = []
        for position, (op, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
            last = position == len(node.ops) - 1
            if isinstance(op, ast.Is | ast.IsNot):
                self._is_none(node, op, right, alone=len(node.ops) == 1)
                return
            self.expression(right)
            if not last:
                self.code.emit(Op.DUP, 1)
                self.code.emit(Op.ROT, 3)
            self.code.emit(Op.COMPARE, COMPARE.index(_COMPARE[type(op)]))
            if not last:
                short.append(self.code.emit(Op.JUMP_IF_FALSE_OR_POP))
        if short:
            end = self.code.emit(Op.JUMP)
            self.code.land(*short)
            self.code.emit(Op.ROT, 2)
            self.code.emit(Op.POP)
            self.code.land(end)

    def _is_none(self, node: ast.Compare, op: ast.cmpop, right: ast.expr, *, alone: bool) -> None:
        if not alone or not isinstance(right, ast.Constant) or right.value is not None:
            raise self.refused(node, "is compares identity, which only None has here", "write == or !=, or: x is None")
        self.code.emit(Op.IS_NONE, int(isinstance(op, ast.IsNot)))

    def subscript(self, node: ast.Subscript) -> None:
        self.expression(node.value)
        if isinstance(node.slice, ast.Slice):
            self.slice_bounds(node.slice)
            self.code.emit(Op.SLICE)
        else:
            self.expression(node.slice)
            self.code.emit(Op.INDEX)

    def slice_bounds(self, node: ast.Slice) -> None:
        """Emit lower, upper and step, None for those that are left out."""
        for bound in (node.lower, node.upper, node.step):
            if bound is None:
                self.code.emit(Op.CONST, self.tables.constant(None))
            else:
                self.expression(bound)

    def attribute(self, node: ast.Attribute) -> None:
        value, member = node.value, self.member(node)
        if isinstance(member, Signature):
            self.code.emit(Op.CLOSURE, member.index)
            return
        if member is not None:
            self.literal(member, foreign=True)
            return
        if isinstance(value, ast.Name) and value.id in NAMESPACES and self.variable(value.id) is None:
            raise self.refused(
                node, f"{value.id}.{node.attr} is no value", f"write a call, {value.id}.{node.attr}(...)"
            )
        if isinstance(value, ast.Name) and not self.is_bound(value.id):
            raise refuse_namespace(self.module.file, node, value.id, node.attr)
        self.expression(value)
        self.code.emit(Op.ATTRIBUTE, self.tables.name(node.attr))

    def joined(self, node: ast.JoinedStr) -> None:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self._field(part)
            else:
                self.expression(part)
        self.code.emit(Op.JOIN, len(node.values))

    def _field(self, node: ast.FormattedValue) -> None:
        conversion = chr(node.conversion) if node.conversion > 0 else ""
        parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
        if not all(isinstance(part, ast.Constant) for part in parts):
            self.expression(node.value)
            self.joined(ast.copy_location(ast.JoinedStr(parts), node))
            self.code.emit(Op.FORMAT_BY, CONVERSIONS.index(conversion))
            return
        spec = "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
        problem = check_format(spec)
        if problem is not None:
            raise self.refused(
                node, problem, "write fill, sign, width, precision and type as CPython has them, or !r or !s"
            )
        self.expression(node.value)
        self.code.emit(Op.FORMAT, self.tables.constant(spec), CONVERSIONS.index(conversion))


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


_HANDLERS: Final[dict[type[ast.expr], Callable[..., None]]] = {
    ast.Attribute: Expressions.attribute,
    ast.BinOp: Expressions.binary,
    ast.BoolOp: Expressions.boolean,
    ast.Call: lambda compiler, node: compiler.call(node),
    ast.Compare: Expressions.compare,
    ast.Constant: Expressions.constant,
    ast.Dict: Expressions.dict_display,
    ast.IfExp: Expressions.conditional,
    ast.JoinedStr: Expressions.joined,
    ast.List: Expressions.list_display,
    ast.DictComp: lambda compiler, node: compiler.comprehension(node),
    ast.GeneratorExp: lambda compiler, node: compiler.generator(node),
    ast.Lambda: lambda compiler, node: compiler.closure(node),
    ast.ListComp: lambda compiler, node: compiler.comprehension(node),
    ast.Name: Expressions.name,
    ast.NamedExpr: Expressions.walrus,
    ast.Set: Expressions.set_display,
    ast.SetComp: lambda compiler, node: compiler.comprehension(node),
    ast.Subscript: Expressions.subscript,
    ast.Tuple: Expressions.tuple_display,
    ast.UnaryOp: Expressions.unary,
}
