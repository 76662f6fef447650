"""Calls: functions of the module, builtins, methods, effects, private regions, and exceptions in `raise`."""

from __future__ import annotations

import ast

from sojourn.vm.binding import bind_call, bind_private
from sojourn.vm.compiler.emitter import BUILTIN_NUMBERS, EXCEPTION_NUMBERS, METHOD_NUMBERS, Site
from sojourn.vm.compiler.expressions import Expressions
from sojourn.vm.compiler.refusals import NAMES
from sojourn.vm.effects import EFFECTS, NAMESPACES, bind
from sojourn.vm.op import BUILTINS, EXCEPTIONS, METHODS, RAISABLE, Arity, Op
from sojourn.vm.program import Function
from sojourn.vm.shape import Shape

__all__ = ["Calls", "signature_of"]


def signature_of(node: ast.FunctionDef) -> Function:
    """A function's name and parameters, for binding calls of it before it is compiled."""
    params = tuple(parameter.arg for parameter in node.args.args)
    return Function(node.name, len(params), (0,) * len(node.args.defaults), params, (), ())


class Calls(Expressions):
    """Compiles calls."""

    def call(self, node: ast.Call) -> None:
        """Emit a call by what its callee is."""
        callee = node.func
        if isinstance(callee, ast.Attribute):
            owner = callee.value
            if isinstance(owner, ast.Name) and owner.id in NAMESPACES and owner.id not in self.variables:
                self._effect(node, f"{owner.id}.{callee.attr}", owner.id)
            else:
                self._method(node, callee)
        elif not isinstance(callee, ast.Name):
            raise self.refused(
                node, "only a name is called", "write a function at the top of the file and its name here"
            )
        elif callee.id in self.variables:
            raise self.refused(
                node, f"{callee.id} is a variable and no function", "write the name of a function of this file"
            )
        elif callee.id in self.tables.functions:
            self._function(node, callee.id)
        elif callee.id == "private":
            self._private(node)
        elif callee.id in BUILTINS:
            self._builtin(node, callee.id)
        else:
            raise self._unknown(node, callee.id)

    def _unknown(self, node: ast.Call, name: str) -> Exception:
        if name in EXCEPTIONS:
            return self.refused(node, "an exception is made only to raise it", f"write raise {name}(...)")
        if name in NAMES:
            return self.refused(node, f"{name}() is not in this language", NAMES[name])
        functions = ", ".join(self.tables.functions)
        return self.refused(
            node, f"no function has the name {name}", f"write one of this file's ({functions}), or define it"
        )

    def arguments(self, args: list[ast.expr], keywords: list[ast.keyword]) -> int:
        """Emit arguments in source order; returns the index of the shape."""
        for argument in args:
            if isinstance(argument, ast.Starred):
                raise self.refused(argument, "* in a call is not in this language", "write the arguments one by one")
            self.expression(argument)
        names = []
        for keyword in keywords:
            if keyword.arg is None:
                raise self.refused(
                    keyword.value, "** in a call is not in this language", "write the arguments one by one"
                )
            self.expression(keyword.value)
            names.append(keyword.arg)
        return self.tables.shape(len(args), tuple(names))

    @staticmethod
    def _shape(args: list[ast.expr], keywords: list[ast.keyword]) -> Shape:
        return Shape(len(args), tuple(keyword.arg or "**" for keyword in keywords))

    def _function(self, node: ast.Call, name: str) -> None:
        signature = self.tables.functions[name]
        shape = self.arguments(node.args, node.keywords)
        bound = bind_call(signature_of(signature.node), self._shape(node.args, node.keywords))
        if isinstance(bound, str):
            raise self.refused(node, bound, f"write {_call_of(signature.node)}")
        self.sites.append(Site("call", name, node))
        self.code.emit(Op.CALL, signature.index, shape)

    def _private(self, node: ast.Call) -> None:
        first = node.args[0] if node.args else node
        if not isinstance(first, ast.Name) or first.id not in self.tables.functions or first.id in self.variables:
            raise self.refused(
                first,
                "private() starts a function of this file by its name",
                "write private(f, argument, ..., fuel=..., memory=...) with a def f(...) in this file",
            )
        signature = self.tables.functions[first.id]
        args = node.args[1:]
        shape = self.arguments(args, node.keywords)
        bound = bind_private(signature_of(signature.node), self._shape(args, node.keywords))
        if isinstance(bound, str):
            params = "".join(f"{parameter.arg}, " for parameter in signature.node.args.args)
            raise self.refused(node, bound, f"write private({first.id}, {params}fuel=..., memory=...)")
        self.sites.append(Site("private", first.id, node))
        self.code.emit(Op.PRIVATE, signature.index, shape)

    def _effect(self, node: ast.Call, name: str, namespace: str) -> None:
        spec = EFFECTS.get(name)
        if spec is None:
            known = ", ".join(effect for effect in EFFECTS if effect.startswith(f"{namespace}."))
            raise self.refused(node, f"there is no effect {name}", f"write one of {known}")
        shape = self.arguments(node.args, node.keywords)
        problem = bind(spec, self._shape(node.args, node.keywords))
        if isinstance(problem, str):
            raise self.refused(node, problem, f"write {spec.signature}")
        self.sites.append(Site("effect", name, node))
        self.code.emit(Op.EFFECT, self.tables.name(name), shape)

    def _builtin(self, node: ast.Call, name: str) -> None:
        self._check_arity(node, f"{name}()", BUILTINS[name])
        self.code.emit(Op.BUILTIN, BUILTIN_NUMBERS[name], self.arguments(node.args, node.keywords))

    def _method(self, node: ast.Call, callee: ast.Attribute) -> None:
        name = callee.attr
        owner = callee.value
        if name not in METHODS:
            if isinstance(owner, ast.Name) and owner.id in NAMESPACES:
                why = f"{owner.id} is a variable here and hides the effects of that name"
                raise self.refused(node, why, "write another name for the variable")
            known = ", ".join(METHODS)
            raise self.refused(
                node, f"there is no method {name} in this version of the language", f"write one of {known}"
            )
        self.expression(owner)
        self._check_arity(node, f"the method {name}()", METHODS[name])
        self.code.emit(Op.METHOD, METHOD_NUMBERS[name], self.arguments(node.args, node.keywords))

    def _check_arity(self, node: ast.Call, what: str, arity: Arity) -> None:
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg not in arity.keywords and "*" not in arity.keywords:
                known = f"; it knows {', '.join(arity.keywords)}" if arity.keywords else ""
                raise self.refused(
                    node, f"{what} has no keyword {keyword.arg!r} here{known}", "write its arguments by position"
                )
        if not arity.least <= len(node.args) <= arity.most:
            wanted = str(arity.least) if arity.least == arity.most else f"{arity.least} to {arity.most}"
            given = len(node.args)
            raise self.refused(node, f"{what} takes {wanted} arguments, {given} are given", f"write {wanted} arguments")

    def exception(self, node: ast.expr) -> None:
        """Emit `raise` of a builtin exception; the arguments become its text."""
        callee, args = (node.func, node.args) if isinstance(node, ast.Call) else (node, [])
        name = callee.id if isinstance(callee, ast.Name) else ""
        if name not in RAISABLE or name in self.variables or (isinstance(node, ast.Call) and node.keywords):
            known = ", ".join(exception for exception in EXCEPTIONS if exception in RAISABLE)
            raise self.refused(
                node, "raise takes a builtin exception by its name", f"write raise ValueError(text), or one of {known}"
            )
        self.arguments(args, [])
        self.code.emit(Op.RAISE, EXCEPTION_NUMBERS[name], len(args))


def _call_of(node: ast.FunctionDef) -> str:
    return f"{node.name}({', '.join(parameter.arg for parameter in node.args.args)})"
