"""Comprehensions: loops in the frame of their function, with the container that they fill below on the stack.

A generator expression is no value here. It is taken as the only argument of a call that draws all of it; any() and
all() stop where CPython does, for the others its items are made first.
"""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Callable
from typing import Final

from sojourn.vm.compiler.expressions import Expressions
from sojourn.vm.compiler.scopes import Comprehension
from sojourn.vm.op import Op

__all__ = ["DRAWS", "Comprehensions"]

# Builtins and methods that draw all items of their only positional argument.
DRAWS: Final = frozenset(
    ("bytes", "dict", "list", "max", "min", "set", "sorted", "sum", "tuple", "join", "extend", "update", "union")
)


class Comprehensions(Expressions):
    """Compiles comprehensions."""

    def comprehension(self, node: Comprehension) -> None:
        """Emit code that makes a list, set or dict; a generator expression as a list."""
        dictionary, members = isinstance(node, ast.DictComp), isinstance(node, ast.SetComp)
        container = Op.DICT if dictionary else Op.SET if members else Op.LIST

        def fill() -> None:
            if isinstance(node, ast.DictComp):
                self.expression(node.key)
                self.expression(node.value)
                self.code.emit(Op.PUT)
            else:
                self.expression(node.elt)
                self.code.emit(Op.APPEND)

        self._loops(node, lambda: self.code.emit(container, 0), fill)

    def generator(self, node: ast.GeneratorExp) -> None:
        """Refuse a generator expression where nothing draws it."""
        raise self.refused(
            node,
            "a generator expression is only taken by a call that draws all of it",
            "write [... for ... in ...], or give it to sum, min, max, any, all, list, tuple, set, dict, sorted or join",
        )

    def searching(self, node: ast.GeneratorExp, *, every: bool) -> None:
        """Emit `any(...)` or `all(...)` of a generator expression: the loop ends with the first item that decides."""
        found: list[int] = []

        def test() -> None:
            self.expression(node.elt)
            found.append(self.code.emit(Op.JUMP_IF_FALSE if every else Op.JUMP_IF_TRUE))

        slots = self._loops(node, lambda: None, test)
        self.code.emit(Op.CONST, self.tables.constant(every))
        end = self.code.emit(Op.JUMP)
        self.code.land(*found)
        for slot in slots:
            self.code.emit(Op.CLEAR, slot)
        self.code.emit(Op.CONST, self.tables.constant(not every))
        self.code.land(end)

    def _loops(self, node: Comprehension, begin: Callable[[], object], element: Callable[[], None]) -> list[int]:
        """The loops of a comprehension around `element`; `begin` comes once, before the first item. The slots."""
        for generator in node.generators:
            if generator.is_async:
                raise self.refused(node, "async for is not in this language", "write a plain for")
        slots = [self.code.hidden_slot()]
        self.expression(node.generators[0].iter)
        self.code.emit(Op.ITER, slots[0])
        begin()
        around, self.scope = self.scope, self.scopes[node]
        for variable in self.scope.bound.values():
            if variable.cell:
                self.code.cells.add(self.slot_of(variable))
                self.code.emit(Op.NEW_CELL, self.slot_of(variable))
        tops = []
        for position, generator in enumerate(node.generators):
            if position:
                slots.append(self.code.hidden_slot())
                self.expression(generator.iter)
                self.code.emit(Op.ITER, slots[-1])
            tops.append(self.code.emit(Op.NEXT, slots[-1]))
            self.store(generator.target)
            for test in generator.ifs:
                self.expression(test)
                self.code.emit(Op.JUMP_IF_FALSE, tops[-1])
        element()
        for top in reversed(tops):
            self.code.emit(Op.JUMP, top)
            self.code.land(top)
        self.scope = around
        return slots

    @abstractmethod
    def store(self, target: ast.expr) -> None:
        """Emit code that takes the value on the stack into a target; see `statements.Statements`."""
