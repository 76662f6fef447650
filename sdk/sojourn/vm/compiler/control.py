"""Control flow: loops, `try`, and the ways out of them.

Exceptions follow a static table of ranges; nothing of it is in a frame. A way out (`return`, `break`, `continue`) that
passes a `finally` runs a copy of its body, and that copy is outside of the range that the `finally` guards.
"""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sojourn.vm.compiler.calls import Calls
from sojourn.vm.compiler.scopes import Variable
from sojourn.vm.op import EXCEPTIONS, Op

__all__ = ["Control"]


@dataclass(slots=True)
class _Block:
    """Something that a way out passes.

    Attributes:
        start: where the current range of guarded instructions begins; None if it guards none.
        ranges: the ranges that are complete.
        body: of a `finally`.
        slots: locals to forget on the way out.
        name: variable of `except ... as name`, to forget on the way out.
    """

    start: int | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)
    body: list[ast.stmt] = field(default_factory=list)
    slots: tuple[int, ...] = ()
    name: Variable | None = None

    def close(self, here: int) -> None:
        if self.start is not None:
            self.ranges.append((self.start, here))


@dataclass(slots=True)
class _Loop(_Block):
    top: int = 0
    slot: int | None = None
    breaks: list[int] = field(default_factory=list)


class Control(Calls):
    """Compiles control flow."""

    blocks: list[_Block]
    caught: list[int]

    @abstractmethod
    def body(self, statements: list[ast.stmt]) -> None:
        """Emit statements in order; see `statements.Statements`."""

    # Loops.

    def while_loop(self, node: ast.While) -> None:
        top = self.code.here
        self.expression(node.test)
        end = self.code.emit(Op.JUMP_IF_FALSE)
        self._loop(node, _Loop(top=top), end)

    def for_loop(self, node: ast.For) -> None:
        self.expression(node.iter)
        slot = self.code.hidden_slot()
        self.code.emit(Op.ITER, slot)
        top = self.code.emit(Op.NEXT, slot)
        self.store(node.target)
        self._loop(node, _Loop(top=top, slot=slot), top)

    def _loop(self, node: ast.While | ast.For, loop: _Loop, exhausted: int) -> None:
        self.blocks.append(loop)
        self.body(node.body)
        self.code.emit(Op.JUMP, loop.top)
        self.blocks.pop()
        self.code.land(exhausted)
        self.body(node.orelse)
        if loop.slot is not None and loop.breaks:
            end = self.code.emit(Op.JUMP)
            self.code.land(*loop.breaks)
            self.code.emit(Op.CLEAR, loop.slot)
            self.code.land(end)
        else:
            self.code.land(*loop.breaks)

    # Ways out.

    @contextmanager
    def _leaving(self, depth: int) -> Iterator[None]:
        """Leave all blocks from `depth` on: what they owe is emitted, then the jump of the caller, outside of them."""
        left, caught = self.blocks[depth:], list(self.caught)
        while len(self.blocks) > depth:
            block = self.blocks.pop()
            block.close(self.code.here)
            if block.slots:
                self.caught.pop()
            if block.name is not None:
                self.forget(block.name, silent=True)
            for slot in block.slots:
                self.code.emit(Op.DELETE, slot, 1)
            self.body(block.body)
        yield
        for block in left:
            if block.start is not None:
                block.start = self.code.here
        self.blocks.extend(left)
        self.caught[:] = caught

    def _innermost(self) -> tuple[int, _Loop]:
        """The loop around this place, and where it stands; Python's own compiler has refused a loop's word outside."""
        return next((k, block) for k, block in reversed([*enumerate(self.blocks)]) if isinstance(block, _Loop))

    def breaks(self, node: ast.Break) -> None:
        at, loop = self._innermost()
        with self._leaving(at + 1):
            loop.breaks.append(self.code.emit(Op.JUMP))

    def continues(self, node: ast.Continue) -> None:
        at, loop = self._innermost()
        with self._leaving(at + 1):
            self.code.emit(Op.JUMP, loop.top)

    def returns(self, node: ast.Return) -> None:
        if node.value is None:
            self.code.emit(Op.CONST, self.tables.constant(None))
        else:
            self.expression(node.value)
        if not any(block.body for block in self.blocks):
            self.code.emit(Op.RETURN)
            return
        slot = self.code.hidden_slot()
        self.code.emit(Op.STORE, slot)
        with self._leaving(0):
            self.code.emit(Op.LOAD, slot)
            self.code.emit(Op.RETURN)

    # Exceptions.

    def tries(self, node: ast.Try) -> None:
        if not node.finalbody:
            self._try_except(node)
            return
        guard = _Block(start=self.code.here, body=node.finalbody)
        self.blocks.append(guard)
        if node.handlers:
            self._try_except(node)
        else:
            self.body(node.body)
        self._close(guard)
        self.body(node.finalbody)
        end = self.code.emit(Op.JUMP)
        slot = self.code.hidden_slot()
        self.code.guard(guard.ranges, slot)
        with self._handling(slot):
            self.body(node.finalbody)
        self._raise_again(slot)
        self.code.land(end)

    def _close(self, block: _Block) -> None:
        self.blocks.pop()
        block.close(self.code.here)

    @contextmanager
    def _handling(self, slot: int) -> Iterator[None]:
        """What is emitted inside handles the exception in `slot`."""
        self.blocks.append(_Block(slots=(slot,)))
        self.caught.append(slot)
        yield
        self.caught.pop()
        self.blocks.pop()

    def _raise_again(self, slot: int) -> None:
        self.code.emit(Op.LOAD, slot)
        self.code.emit(Op.DELETE, slot, 1)
        self.code.emit(Op.RAISE)

    def _try_except(self, node: ast.Try) -> None:
        guard = _Block(start=self.code.here)
        self.blocks.append(guard)
        self.body(node.body)
        self._close(guard)
        self.body(node.orelse)
        done = [self.code.emit(Op.JUMP)]
        slot = self.code.hidden_slot()
        self.code.guard(guard.ranges, slot)
        for handler in node.handlers:
            self.code.line = handler.lineno
            otherwise = None
            if handler.type is not None:
                self.code.emit(Op.LOAD, slot)
                self.code.emit(Op.IS_A, self.tables.constant(self.classes(handler.type, EXCEPTIONS)))
                otherwise = self.code.emit(Op.JUMP_IF_FALSE)
            self._handler(handler, slot)
            done.append(self.code.emit(Op.JUMP))
            if otherwise is not None:
                self.code.land(otherwise)
        if node.handlers[-1].type is not None:
            self._raise_again(slot)
        self.code.land(*done)

    def _handler(self, node: ast.ExceptHandler, slot: int) -> None:
        if node.name is None:
            with self._handling(slot):
                self.body(node.body)
            self.code.emit(Op.DELETE, slot, 1)
            return
        variable = self.bound(node.name)
        self.code.emit(Op.LOAD, slot)
        self.store_variable(variable)
        guard = _Block(start=self.code.here, name=variable)
        with self._handling(slot):
            self.blocks.append(guard)
            self.body(node.body)
            self._close(guard)
        self.forget(variable, silent=True)
        self.code.emit(Op.DELETE, slot, 1)
        end = self.code.emit(Op.JUMP)
        raised = self.code.hidden_slot()
        self.code.guard(guard.ranges, raised)
        self.forget(variable, silent=True)
        self.code.emit(Op.DELETE, slot, 1)
        self._raise_again(raised)
        self.code.land(end)

    def raises(self, node: ast.Raise) -> None:
        if node.exc is None:
            if not self.caught:
                raise self.refused(node, "raise alone stands outside of an except block",
                                   "write raise ValueError(text), or raise error with a variable")  # fmt: skip
            self.code.emit(Op.LOAD, self.caught[-1])
            self.code.emit(Op.RAISE)
            return
        self._raised(node.exc)
        if node.cause is not None:
            self._raised(node.cause)
        self.code.emit(Op.RAISE, int(node.cause is not None))

    def _raised(self, node: ast.expr) -> None:
        """An exception, or a class of them by its name."""
        if isinstance(node, ast.Name) and node.id in EXCEPTIONS and self.variable(node.id) is None:
            node = ast.copy_location(ast.Call(node, [], []), node)
        self.expression(node)
