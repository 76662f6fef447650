"""Calls: functions of the module, values, builtins, methods, effects, private regions, children and exceptions."""

from __future__ import annotations

import ast
from abc import abstractmethod

from sojourn.vm.binding import bind_call, bind_private, limits_of
from sojourn.vm.compiler.comprehensions import DRAWS, Comprehensions
from sojourn.vm.compiler.emitter import BUILTIN_NUMBERS, EXCEPTION_NUMBERS, METHOD_NUMBERS, Signature, Site
from sojourn.vm.compiler.refusals import FOREIGN_EXCEPTIONS, METHOD_HINTS, NAMES, nearest, refuse_namespace
from sojourn.vm.compiler.scopes import parameters
from sojourn.vm.effects import EFFECTS, FORMS, NAMESPACES, bind
from sojourn.vm.op import BUILTINS, EXCEPTIONS, EXTENDS, METHODS, RAISABLE, Arity, Op
from sojourn.vm.program import NAMED, REQUIRED, REST, Function
from sojourn.vm.shape import Shape
from sojourn.vm.tables import TYPES

__all__ = ["Calls", "signature_of"]


def signature_of(node: ast.FunctionDef) -> Function:
    """A function's name and parameters, for binding calls of it before it is compiled."""
    args = node.args
    keyword_defaults = tuple([REQUIRED if default is None else 0 for default in args.kw_defaults])
    flags = (REST if args.vararg else 0) | (NAMED if args.kwarg else 0)
    names = tuple([parameter.arg for parameter in parameters(args)])
    defaults = (0,) * len(args.defaults)
    return Function(
        node.name, len(args.args), len(args.kwonlyargs), flags, defaults, keyword_defaults, names,
        (), (), (), (), (), (),
    )  # fmt: skip


class Calls(Comprehensions):
    """Compiles calls."""

    def call(self, node: ast.Call) -> None:
        """Emit a call by what its callee is."""
        callee = node.func
        member = self.member(callee)
        if isinstance(member, Signature):
            self._function(node, member)
        elif member is not None:
            self._value(node)
        elif isinstance(callee, ast.Attribute):
            owner = callee.value
            if isinstance(owner, ast.Name) and owner.id in NAMESPACES and self.variable(owner.id) is None:
                self._effect(node, f"{owner.id}.{callee.attr}", owner.id)
            else:
                self._method(node, callee)
        elif not isinstance(callee, ast.Name):
            self._value(node)
        elif self.variable(callee.id) is not None:
            self._record(node, callee.id)
            self._value(node)
        else:
            self._named(node, callee.id)

    def _named(self, node: ast.Call, name: str) -> None:
        if name in self.module.functions:
            self._function(node, self.module.functions[name])
        elif name in ("private", "spawn"):
            self._starting(node, name)
        elif name in ("here", "fork"):
            self._suspending(node, name)
        elif name in FORMS:
            self._effect(node, FORMS[name], "task")
        elif name == "isinstance":
            self._isinstance(node)
        elif name in BUILTINS:
            self._builtin(node, name)
        elif name in RAISABLE:
            self._exception(node, name)
        else:
            raise self._unknown(node, name)

    def _unknown(self, node: ast.Call, name: str) -> Exception:
        if name in EXCEPTIONS:
            return self.refused(node, f"{name} is only made by a host", "write raise RuntimeError(...)")
        if name in NAMES:
            return self.refused(node, f"{name}() is not in this language", NAMES[name])
        if name in FOREIGN_EXCEPTIONS:
            return self.refused(node, f"{name} is not an exception of this language", "write RuntimeError(text)")
        words = [word for word in (*BUILTINS, *NAMES, *RAISABLE) if word[0] != "."]
        likely = nearest(name, self.module.functions) or nearest(name, words)
        if likely is not None:
            return self.refused(node, f"no function has the name {name}", NAMES.get(likely, f"write {likely}(...)"))
        functions = ", ".join(self.module.functions)
        return self.refused(
            node, f"no function has the name {name}", f"write one of this file's ({functions}), or define it"
        )

    def _record(self, node: ast.Call, name: str) -> None:
        """A call of a variable that only one `def` ever binds counts for the check of the two worlds."""
        variable = self.variable(name)
        if variable is not None and variable.definition is not None and variable.bindings == 1:
            self.sites.append(Site("call", name, node, variable.definition))

    def arguments(self, args: list[ast.expr], keywords: list[ast.keyword]) -> int:
        """Emit arguments in source order; returns the index of the shape."""
        for argument in args:
            if isinstance(argument, ast.Starred):
                raise self.refused(argument, "* is not taken by this call", "write the arguments one by one")
            self.expression(argument)
        names = []
        for keyword in keywords:
            if keyword.arg is None:
                raise self.refused(keyword.value, "** is not taken by this call", "write the arguments one by one")
            self.expression(keyword.value)
            names.append(keyword.arg)
        return self.tables.shape(len(args), tuple(names))

    @staticmethod
    def _shape(args: list[ast.expr], keywords: list[ast.keyword]) -> Shape:
        return Shape(len(args), tuple([keyword.arg or "**" for keyword in keywords]))

    @staticmethod
    def _spreads(node: ast.Call) -> bool:
        starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        return starred or any(keyword.arg is None for keyword in node.keywords)

    def _value(self, node: ast.Call) -> None:
        """Call a value: the callee is evaluated first."""
        self.expression(node.func)
        if not self._spreads(node):
            self.code.emit(Op.CALL_VALUE, 0, self.arguments(node.args, node.keywords))
            return
        plain = next((k for k, item in enumerate(node.args) if isinstance(item, ast.Starred)), len(node.args))
        for argument in node.args[:plain]:
            self.expression(argument)
        self.code.emit(Op.LIST, plain)
        self.spread(node.args[plain:], "arguments")
        self.code.emit(Op.DICT, 0)
        for keyword in node.keywords:
            if keyword.arg is None:
                self.expression(keyword.value)
            else:
                self.code.emit(Op.CONST, self.tables.constant(keyword.arg))
                self.expression(keyword.value)
                self.code.emit(Op.DICT, 1)
            self.code.emit(Op.EXTEND, EXTENDS.index("keywords"))
        self.code.emit(Op.CALL_SPREAD)

    def _function(self, node: ast.Call, signature: Signature) -> None:
        self.sites.append(Site("call", signature.node.name, node, signature.node))
        if self._spreads(node):
            self._value(node)
            return
        shape = self.arguments(node.args, node.keywords)
        bound = bind_call(signature_of(signature.node), self._shape(node.args, node.keywords))
        if isinstance(bound, str):
            raise self.refused(node, bound, f"write {_call_of(ast.unparse(node.func), signature.node)}")
        self.code.emit(Op.CALL, signature.index, shape)

    def _starting(self, node: ast.Call, name: str) -> None:
        """`private(f, ...)` and `spawn(f, ...)`: a function of the file by its name, or any value."""
        if not node.args or isinstance(node.args[0], ast.Starred):
            raise self.refused(
                node,
                f"{name}() starts a function of this file by its name, or a function that is a value",
                f"write {name}(f, argument, ..., fuel=..., memory=...) with a def f(...) in this file",
            )
        first, args = node.args[0], node.args[1:]
        shape = self._shape(args, node.keywords)
        signature = self._named_function(first)
        if signature is not None:
            shown = ast.unparse(first)
            bound = bind_private(signature_of(signature.node), shape)
            if isinstance(bound, str):
                params = "".join(f"{parameter.arg}, " for parameter in signature.node.args.args)
                raise self.refused(node, bound, f"write {name}({shown}, {params}fuel=..., memory=...)")
            if name == "private":
                self.sites.append(Site("private", shown, node, signature.node))
                self.code.emit(Op.PRIVATE, signature.index, self.arguments(args, node.keywords))
                return
        limits = limits_of(shape)
        if isinstance(limits, str):
            raise self.refused(node, limits.replace("private", name), f"write {name}(f, ..., fuel=..., memory=...)")
        if isinstance(first, ast.Name):
            variable = self.variable(first.id)
            if variable is not None and variable.definition is not None and variable.bindings == 1:
                self.sites.append(Site(name, first.id, node, variable.definition))
        self.expression(first)
        shape_index = self.arguments(args, node.keywords)
        self.code.emit(Op.PRIVATE_VALUE if name == "private" else Op.SPAWN, 0, shape_index)
        if name == "spawn":
            self.sites.append(Site("effect", "task.spawn", node))

    def _named_function(self, node: ast.expr) -> Signature | None:
        """The function of a module that an expression names."""
        if isinstance(node, ast.Name):
            return self.module.functions.get(node.id) if self.variable(node.id) is None else None
        member = self.member(node)
        return member if isinstance(member, Signature) else None

    def _suspending(self, node: ast.Call, name: str) -> None:
        shape = self._shape(node.args, node.keywords)
        if name == "here":
            if shape.total:
                raise self.refused(node, "here() takes no arguments", "write here()")
            self.code.emit(Op.HERE)
            return
        limits = limits_of(shape)
        if isinstance(limits, str) or shape.positional:
            raise self.refused(node, "fork() takes fuel= and memory=", "write fork(fuel=..., memory=...)")
        self.code.emit(Op.FORK, 0, self.arguments(node.args, node.keywords))
        self.sites.append(Site("effect", "task.spawn", node))

    def _effect(self, node: ast.Call, name: str, namespace: str) -> None:
        spec = EFFECTS.get(name)
        if spec is None or spec.hidden:
            known = [e for e, row in EFFECTS.items() if e.startswith(f"{namespace}.") and not row.hidden]
            likely = nearest(name.partition(".")[2], [effect.partition(".")[2] for effect in known])
            shown = [f"{namespace}.{likely}"] if likely is not None else known
            which = "" if len(shown) == 1 else "one of "
            raise self.refused(node, f"there is no effect {name} to call", f"write {which}{', '.join(shown)}")
        shape = self.arguments(node.args, node.keywords)
        problem = bind(spec, self._shape(node.args, node.keywords))
        if isinstance(problem, str):
            raise self.refused(node, problem, f"write {spec.signature}")
        self.sites.append(Site("effect", name, node))
        self.code.emit(Op.EFFECT, self.tables.name(name), shape)

    def _isinstance(self, node: ast.Call) -> None:
        if len(node.args) != 2 or node.keywords:
            raise self.refused(node, "isinstance() takes 2 arguments", "write isinstance(value, int)")
        self.expression(node.args[0])
        self.code.emit(Op.IS_A, self.tables.constant(self.classes(node.args[1], (*TYPES, *EXCEPTIONS))))

    def classes(self, node: ast.expr, known: tuple[str, ...]) -> str:
        """The classes that a test names: one, or a tuple of them."""
        names = []
        for item in node.elts if isinstance(node, ast.Tuple) else [node]:
            if not isinstance(item, ast.Name) or item.id not in known or self.variable(item.id) is not None:
                shown = ", ".join(name for name in known if name in TYPES or name in RAISABLE)
                raise self.refused(item, "a class is written by its name here", f"write one of {shown}")
            names.append(item.id)
        if not names:
            raise self.refused(node, "a test for no class at all", "write the name of a class")
        return " ".join(names)

    def _builtin(self, node: ast.Call, name: str) -> None:
        if self._generator(node, name):
            return
        if self._spreads(node):
            self._value(node)
        elif name in ("sorted", "min", "max") and any(keyword.arg == "key" for keyword in node.keywords):
            self._keyed(node, name)
        else:
            self._check_arity(node, f"{name}()", BUILTINS[name])
            self.code.emit(Op.BUILTIN, BUILTIN_NUMBERS[name], self.arguments(node.args, node.keywords))

    def _generator(self, node: ast.Call, name: str) -> bool:
        """A generator expression as the only positional argument."""
        if len(node.args) != 1 or not isinstance(node.args[0], ast.GeneratorExp):
            return False
        generator = node.args[0]
        if name in ("any", "all") and not node.keywords:
            self.searching(generator, every=name == "all")
            return True
        if name in DRAWS:
            node.args[0] = ast.copy_location(ast.ListComp(generator.elt, generator.generators), generator)
            self.scopes[node.args[0]] = self.scopes[generator]
        return False

    def _keyed(self, node: ast.Call, name: str) -> None:
        """`key=` is a call of a function of the library, so that the key may do whatever a function may."""
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        extra = "reverse" if name in ("sorted", "sort") else "default"
        if set(options) - {"key", extra} or (name != "sort" and not node.args):
            raise self.refused(node, f"{name}() does not take these arguments", f"write {name}(items, key=f)")
        many = len(node.args) > 1
        if many and (name == "sorted" or extra in options):
            raise self.refused(node, f"{name}() takes one iterable here", f"write {name}(items, key=f)")
        if name != "sort":
            items = ast.copy_location(ast.Tuple(node.args, ast.Load()), node) if many else node.args[0]
            self.expression(items)
        for keyword in node.keywords:  # in source order; what is left out comes after
            self.expression(keyword.value)
        if extra not in options:
            self.code.emit(Op.CONST, self.tables.constant(False if extra == "reverse" else None))
        names = [keyword.arg or "" for keyword in node.keywords] + ([extra] if extra not in options else [])
        if extra == "default":
            self.code.emit(Op.CONST, self.tables.constant(extra in options))
            names.append("optional")
        self.code.emit(Op.CALL, self.tables.library_function(name), self.tables.shape(1, tuple(names)))

    def _method(self, node: ast.Call, callee: ast.Attribute) -> None:
        name = callee.attr
        owner = callee.value
        if isinstance(owner, ast.Name) and not self.is_bound(owner.id):
            raise refuse_namespace(self.module.file, node, owner.id, name)
        if name not in METHODS:
            if isinstance(owner, ast.Name) and owner.id in NAMESPACES:
                why = f"{owner.id} is a variable here and hides the effects of that name"
                raise self.refused(node, why, "write another name for the variable")
            likely = nearest(name, METHODS)
            known = f"{likely}(...)" if likely is not None else f"one of {', '.join(sorted(METHODS))}"
            raise self.refused(
                node,
                f"there is no method {name} in this version of the language",
                METHOD_HINTS.get(name, f"write {known}"),
            )
        self.expression(owner)
        if name == "sort" and any(keyword.arg == "key" for keyword in node.keywords) and not node.args:
            self.code.emit(Op.BUILTIN, BUILTIN_NUMBERS[".same_list"], self.tables.shape(1, ()))
            self._keyed(node, name)
            return
        self._generator(node, name)
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

    def _exception(self, node: ast.Call, name: str) -> None:
        if node.keywords:
            raise self.refused(node, f"{name}() takes no keyword arguments", f"write {name}(text)")
        self.arguments(node.args, [])
        self.code.emit(Op.EXCEPTION, EXCEPTION_NUMBERS[name], len(node.args))

    @abstractmethod
    def closure(self, node: ast.Lambda) -> None:
        """Emit the value of a lambda; see `statements.Statements`."""


def _call_of(name: str, node: ast.FunctionDef) -> str:
    return f"{name}({', '.join(parameter.arg for parameter in node.args.args)})"
