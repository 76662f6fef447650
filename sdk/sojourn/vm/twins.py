"""Equal values that the host holds more than once, made one.

Text, bytes and large integers cost a run's memory once by value, however often a program makes them; the host has an
object for each. Where these come to more than half of what the run may hold, the state is rewritten so that equal ones
are one object, as loading a snapshot makes them. So what the host holds stays within a small multiple of the run's
memory. No program, budget or snapshot can tell: sharing among such values is no part of a state.
"""

from __future__ import annotations

from collections.abc import Iterable

from sojourn.vm.costs import size_of
from sojourn.vm.state import Frame, Run
from sojourn.vm.values import Cell, ExcValue, FunctionValue, Iter, RecordValue, SetValue, Suspended, Value
from sojourn.vm.walking import TWIN_BYTES, by_value, walk

__all__ = ["merge_twins"]


def merge_twins(run: Run) -> None:
    """Make equal long values of a run one object each. Between instructions only: `frames` are the whole state."""
    run.equals = None
    holders = [value for value in walk(run.roots()) if type(value) not in _ATOMS]
    merger = _Merger(holders, run.frames)
    for frame in run.frames:
        merger.frame(frame)
    for holder in holders:
        merger.rewrite(holder)


_ATOMS = frozenset((int, str, bytes))


class _Merger:
    """Which object stands for which: the first of equal atoms, and tuples made anew that held another one."""

    def __init__(self, holders: list[Value], frames: Iterable[Frame]) -> None:
        self.first: dict[object, Value] = {}
        self.swapped: dict[int, Value] = {}
        self.kept: list[Value] = []  # originals, so that no id is used twice
        for frame in frames:
            self._look(frame.locals)
            self._look(frame.stack)
        for holder in holders:
            for items in _held(holder):
                self._look(items)
        for holder in holders:
            if type(holder) is tuple:
                self._tuple(holder)

    def _look(self, items: Iterable[Value]) -> None:
        for value in items:
            if type(value) in _ATOMS and id(value) not in self.swapped and size_of(value) >= TWIN_BYTES:
                self._swap(value, self.first.setdefault(by_value(value), value))

    def _swap(self, value: Value, instead: Value) -> None:
        self.swapped[id(value)] = instead
        self.kept.append(value)

    def _tuple(self, value: tuple[Value, ...]) -> None:
        """Make a tuple anew if it must be, after those in it. Programs nest deeper than the host recurses."""
        if id(value) in self.swapped:
            return
        work: list[tuple[tuple[Value, ...], int]] = [(value, 0)]
        while work:
            whole, position = work.pop()
            while position < len(whole):
                item = whole[position]
                position += 1
                if type(item) is tuple and id(item) not in self.swapped:
                    work += ((whole, position), (item, 0))
                    break
            else:
                made = self.items(whole)
                # One that stays is known too, so that a chain of shared tuples is gone through once.
                self._swap(whole, made if any(a is not b for a, b in zip(made, whole, strict=True)) else whole)

    def items(self, items: Iterable[Value]) -> tuple[Value, ...]:
        """The items with what stands for them."""
        get = self.swapped.get  # what stays stands for itself
        return tuple([get(id(item), item) for item in items])

    def frame(self, frame: Frame) -> None:
        """Rewrite the slots of a frame."""
        frame.locals[:] = self.items(frame.locals)
        frame.stack[:] = self.items(frame.stack)

    def rewrite(self, holder: Value) -> None:
        """Rewrite what a value holds, in its place."""
        kind = type(holder)
        if kind is list:
            holder[:] = self.items(holder)
        elif kind is dict:
            self._mapping(holder)
        elif kind is SetValue:
            self._mapping(holder.items)
        elif kind is RecordValue:
            self._mapping(holder.fields)
        elif kind is Cell:
            (holder.content,) = self.items((holder.content,))
        elif kind is FunctionValue:
            holder.defaults = self.items(holder.defaults)
        elif kind is ExcValue:
            (holder.args,) = self.items((holder.args,))
        elif kind is Iter:
            (holder.source,) = self.items((holder.source,))
            holder.keys = self.items(holder.keys)
        elif kind is Suspended:
            for frame in holder.frames:
                self.frame(frame)

    def _mapping(self, mapping: dict[Value, Value]) -> None:
        rows = list(zip(self.items(mapping), self.items(mapping.values()), strict=True))
        mapping.clear()  # a value that is put under an equal key leaves the old key
        mapping.update(rows)


def _held(holder: Value) -> Iterable[Iterable[Value]]:
    """All that a value refers to."""
    kind = type(holder)
    if kind is list or kind is tuple:
        return (holder,)
    if kind is dict:
        return (holder, holder.values())
    if kind is SetValue:
        return (holder.items,)
    if kind is RecordValue:
        return (holder.fields, holder.fields.values())
    if kind is Cell:
        return ((holder.content,),)
    if kind is FunctionValue:
        return (holder.defaults,)
    if kind is Iter:
        return ((holder.source,), holder.keys)
    if kind is Suspended:
        return [items for frame in holder.frames for items in (frame.locals, frame.stack)]
    return ()
