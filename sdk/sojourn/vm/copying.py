"""Copies of values that cross a border: into a region, into an effect's arguments, in from the host.

Aliasing among what is copied together is kept; nothing is shared with the original, so that what one side does to a
list is never seen on the other. Copies are iterative and paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, Literal

from sojourn.vm.costs import TEXT_BYTES, size_of
from sojourn.vm.crowds import refuse_crowd
from sojourn.vm.faults import Raised
from sojourn.vm.keys import check_key
from sojourn.vm.state import Run
from sojourn.vm.values import (
    Box,
    BuiltinValue,
    Cell,
    DictView,
    ExcValue,
    FunctionValue,
    Handle,
    Iter,
    RecordValue,
    SetValue,
    Suspended,
    Unbound,
    Value,
    canonical_float,
    type_name,
)

__all__ = ["Extent", "copy_values", "paid"]

# How far a copy goes: values that a host can have; also functions, with the variables they share; all there is.
Extent = Literal["plain", "functions", "whole"]

_SCALARS: Final = frozenset((type(None), bool, int, str, bytes))
_ATOMS: Final = frozenset((type(None), bool, int, str))  # what is its own copy
_LEAST, _MOST = -(1 << 63), 1 << 63  # integers between them are free of charge
_FREE_OF_CHARGE: Final = frozenset((type(None), bool))
_INNER: Final[dict[str, frozenset[type]]] = {
    "plain": frozenset(),
    "functions": frozenset((BuiltinValue, Cell, FunctionValue, Unbound)),
    "whole": frozenset((BuiltinValue, Cell, FunctionValue, Unbound, DictView, ExcValue, Iter, Suspended)),
}


def copy_values(
    run: Run,
    values: Iterable[Value],
    open_box: Callable[[Box], Value] | None = None,
    extent: Extent = "plain",
) -> list[Value]:
    """Deep copies of `values`, paid for by `run`.

    Args:
        run: whose budgets pay.
        values: what to copy; what `extent` leaves out is refused with TypeError, as is all that is no value.
        open_box: gives the content of a box, which is copied in its place; without it boxes stay boxes.
        extent: see `Extent`.

    Raises:
        Raised, Exhausted: as any operation of the language.
    """
    values = tuple(values)
    if paid(run, values):
        return list(values)
    copier = _Copier(run, open_box, _INNER[extent])
    with run.making(copier.copies):
        return [copier.copy(value) for value in values]


def paid(run: Run, values: Collection[Value]) -> bool:
    """Pay for copies of values that are their own copies; False, and nothing paid, where one of them is not.

    Raises:
        Raised, Exhausted: as `copy_values`.
    """
    total = 0
    for value in values:
        kind = type(value)
        if kind is int:
            if not _LEAST < value < _MOST:
                break
        elif kind is str and value.isascii():
            total += TEXT_BYTES + len(value)
        elif kind not in _FREE_OF_CHARGE:
            break
    else:
        if total <= run.memory:
            run.memory -= total
            return True
    if not _ATOMS.issuperset(map(type, values)):
        return False
    for value in values:
        if type(value) is str:
            _check_text(value)
        run.allocate(size_of(value))
    return True


class _Copier:
    def __init__(self, run: Run, open_box: Callable[[Box], Value] | None, inner: frozenset[type]) -> None:
        self.run, self.open_box, self.inner = run, open_box, inner
        self.made: dict[int, Value] = {}
        self.kept: list[Value] = []  # keeps originals alive, so that no id is used twice
        self.copies: list[Value] = []  # what counts as live while the copy goes on
        self.unfilled: list[tuple[Value, Value]] = []

    def copy(self, value: Value) -> Value:
        result = self._reference(value)
        while self.unfilled:
            original, shell = self.unfilled.pop()
            if type(original) is list:
                shell.extend(self._reference(item) for item in original)
            elif type(original) is dict:
                for key, item in original.items():
                    copied = self._reference(key)
                    check_key(self.run, copied)
                    refuse_crowd(self.run, shell, copied)
                    shell[copied] = self._reference(item)
            else:
                self._fill(original, shell)
        return result

    def _fill(self, original: Value, shell: Value) -> None:
        """Fill what only functions, exceptions and iterators are made of."""
        kind = type(original)
        if kind is Cell:
            shell.content = self._reference(original.content)
        elif kind is FunctionValue:
            shell.defaults = tuple([self._reference(item) for item in original.defaults])
            shell.cells = tuple([self._reference(item) for item in original.cells])
        elif kind is ExcValue:
            shell.args = self._reference(original.args)
        else:
            self._fill_iter(original, shell)

    def _fill_iter(self, original: Iter, shell: Iter) -> None:
        shell.source = self._reference(original.source)
        shell.keys = tuple([self._reference(item) for item in original.keys])
        shell.inner = tuple([self._reference(item) for item in original.inner])

    def _reference(self, value: Value) -> Value:
        """The copy of a value, containers still to be filled."""
        if type(value) is not tuple:
            return self._plain(value)
        if id(value) in self.made:
            return self.made[id(value)]
        # A tuple is made after its items; a chain of tuples is followed here and not by recursion.
        stack: list[tuple[tuple[Value, ...], list[Value]]] = [(value, [])]
        while True:
            original, items = stack[-1]
            if len(items) < len(original):
                child = original[len(items)]
                if type(child) is tuple and id(child) not in self.made:
                    stack.append((child, []))
                else:
                    items.append(self._plain(child))
                continue
            stack.pop()
            done = self._finish(original, items)
            if not stack:
                return done
            stack[-1][1].append(done)

    def _finish(self, original: tuple[Value, ...], items: list[Value]) -> Value:
        self._pay(original)
        return self._keep(original, tuple(items))

    def _pay(self, value: Value) -> None:
        size = size_of(value)
        self.run.spend(1 + (size >> 9))
        self.run.allocate(size)

    def _keep(self, original: Value, copied: Value) -> Value:
        self.made[id(original)] = copied
        self.kept.append(original)
        self.copies.append(copied)
        return copied

    def _plain(self, value: Value) -> Value:
        kind = type(value)
        if kind in _SCALARS:
            if kind is str and not value.isascii():
                self.run.spend(len(value) >> 6)
                _check_text(value)
            self.run.allocate(size_of(value))
            return value
        if kind is float:
            return canonical_float(value)
        if id(value) in self.made:
            return self.made[id(value)]
        if kind is Handle or kind is range:
            self._pay(value)
            return value
        if kind is Box:
            return self._box(value)
        if kind is list or kind is dict:
            self._pay(value)
            return self._shell(value, value, [] if kind is list else {})
        if kind is RecordValue:
            self._pay(value)
            fields: dict[str, Value] = {}
            self.unfilled.append((dict(value.fields), fields))
            return self._keep(value, RecordValue(value.type_name, fields))
        if kind is SetValue:
            self._pay(value)
            items: dict[Value, None] = {}
            self.unfilled.append((value.items, items))
            return self._keep(value, SetValue(items))
        if kind in self.inner:
            return self._inner(value)
        if kind in _STAY:
            raise Raised("TypeError", f"a {type_name(value)} does not leave its world; {_STAY[kind]}")
        raise Raised("TypeError", f"{kind.__name__} is not a value of the language")

    def _inner(self, value: Value) -> Value:
        kind = type(value)
        if kind is Unbound or kind is BuiltinValue or kind is Suspended:
            return value
        self._pay(value)
        if kind is DictView:
            return self._keep(value, DictView(value.kind, self._plain(value.mapping)))
        if kind is Cell:
            return self._shell(value, value, Cell())
        if kind is FunctionValue:
            return self._shell(value, value, FunctionValue(value.function, value.name))
        if kind is ExcValue:
            return self._shell(value, value, ExcValue(value.name, (), value.line))
        return self._shell(value, value, Iter(value.kind, value.shown, index=value.index, depth=value.depth))

    def _shell(self, key: Value, original: Value, shell: Value) -> Value:
        self.unfilled.append((original, shell))
        return self._keep(key, shell)

    def _box(self, box: Box) -> Value:
        if self.open_box is None:
            self._pay(box)
            return box
        content = self.open_box(box)
        if type(content) is tuple:  # its own tuples are copied on their own: boxes hold no boxes
            return self._keep(box, self._reference(content))
        return self._keep(box, self._plain(content))


_LIST: Final = "write list(...) around it"
_STAY: Final[dict[type, str]] = {
    BuiltinValue: "pass what it computes",
    Cell: _LIST,
    DictView: _LIST,
    ExcValue: "pass its text, str(e)",
    FunctionValue: "pass what it computes",
    Iter: _LIST,
    Suspended: "give it to spawn()",
}


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Raised("ValueError", "text with lone surrogates is not a value of the language") from None
