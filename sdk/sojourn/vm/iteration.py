"""Iterators as plain data, and the one place that draws from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sojourn.vm.bounded import bounded
from sojourn.vm.costs import SLOT, size_of
from sojourn.vm.faults import Raised, no_operation, refuse_box
from sojourn.vm.keys import pay_walk
from sojourn.vm.state import Run
from sojourn.vm.values import (
    Box,
    DictView,
    Handle,
    Iter,
    IterKind,
    RecordValue,
    SetValue,
    Value,
    ViewKind,
    type_name,
)

__all__ = [
    "END",
    "MAX_ITER_DEPTH",
    "advance",
    "classes_of",
    "items_of",
    "length_of",
    "list_of",
    "make_iter",
    "make_reversed",
]

MAX_ITER_DEPTH: Final = 32
_SEQUENCE: Final = IterKind.SEQUENCE

_SEQUENCES: Final[dict[type, str]] = {
    list: "list_iterator",
    tuple: "tuple_iterator",
    str: "str_iterator",
    bytes: "bytes_iterator",
    range: "range_iterator",
}


_VIEWS: Final = ("dict_keyiterator", "dict_valueiterator", "dict_itemiterator")


class End:
    """The class of `END`."""


END: Final = End()


def make_iter(run: Run, value: Value) -> Iter:
    """`iter(value)`."""
    kind = type(value)
    if kind is Iter:
        return value  # type: ignore[no-any-return]
    if kind is dict:
        value = DictView(ViewKind.KEYS, value)
        kind = DictView
    if kind is DictView:
        run.allocate(2 * 56 + SLOT * len(value.mapping))
        run.spend(len(value.mapping) >> 3)
        pay_walk(run, value.mapping)
        return Iter(IterKind.DICT, _VIEWS[value.kind], value, tuple(value.mapping))
    if kind in _SEQUENCES:
        made = Iter(IterKind.SEQUENCE, _SEQUENCES[kind], value)
        run.allocate(size_of(made))
        return made
    if kind is SetValue:
        run.allocate(2 * 56 + SLOT * len(value.items))
        run.spend(len(value.items) >> 3)
        return Iter(IterKind.SET, "set_iterator", value, tuple(value.items))
    refuse_box("iterate over", value)
    if kind is Handle or kind is RecordValue:
        raise no_operation("iterate over", value)
    raise Raised("TypeError", f"'{type_name(value)}' object is not iterable")


def make_reversed(run: Run, value: Value) -> Iter:
    """`reversed(value)`."""
    kind = type(value)
    if kind is range:
        run.allocate(3 * 56)
        return Iter(IterKind.SEQUENCE, "range_iterator", value[::-1])
    if kind in _SEQUENCES:
        run.allocate(2 * 56)
        return Iter(IterKind.REVERSED, "list_reverseiterator" if kind is list else "reversed", value, index=len(value))
    if kind is dict or kind is DictView:
        view = value if kind is DictView else DictView(ViewKind.KEYS, value)
        run.allocate(3 * 56 + SLOT * len(view.mapping))
        run.spend(len(view.mapping) >> 3)
        pay_walk(run, view.mapping)
        shown = _VIEWS[view.kind].replace("dict_", "dict_reverse")
        return Iter(IterKind.DICT, shown, view, tuple(reversed(view.mapping)))
    refuse_box("iterate over", value)
    if kind is Handle or kind is RecordValue:
        raise no_operation("iterate over", value)
    raise Raised("TypeError", f"'{type_name(value)}' object is not reversible")


def classes_of(kind: IterKind, source: Value) -> tuple[str, ...]:
    """The classes that an iterator which walks over `source` may show as its own."""
    if kind == IterKind.SEQUENCE:
        return (_SEQUENCES[type(source)],)
    if kind == IterKind.REVERSED:
        return ("list_reverseiterator" if type(source) is list else "reversed",)
    if kind == IterKind.SET:
        return ("set_iterator",)
    shown = _VIEWS[source.kind]
    return (shown, shown.replace("dict_", "dict_reverse"))


def length_of(value: Value) -> int:
    """Items of a sequence; CPython's `len` of a range ends at 63 bits."""
    if type(value) is range:
        return max(0, -((value.start - value.stop) // value.step))
    return len(value)


def advance(run: Run, it: Iter) -> Value:
    """The next item, or `END` for ever."""
    if it.kind is _SEQUENCE:
        source = it.source
        try:
            item: Value = source[it.index]
        except IndexError:
            pass
        else:
            it.index += 1
            if type(source) is str:
                run.allocate(size_of(item))
            return item
    elif it.kind == IterKind.DICT:
        return _advance_dict(run, it)
    elif it.kind in (IterKind.SET, IterKind.REVERSED):
        item = _advance_set(it) if it.kind == IterKind.SET else _advance_reversed(run, it)
        if item is not END:
            return item
    elif it.kind == IterKind.ENUMERATE:
        item = advance(run, it.inner[0])
        if item is not END:
            run.allocate(56 + 2 * SLOT)
            number, it.index = it.index, it.index + 1
            return (number, item)
    elif it.kind == IterKind.ZIP and it.inner:
        run.allocate(56 + SLOT * len(it.inner))
        run.spend(len(it.inner))
        row = []
        for inner in it.inner:
            item = advance(run, inner)
            if item is END:
                break
            row.append(item)
        else:
            return tuple(row)
    _finish(it)
    return END


def _advance_set(it: Iter) -> Value:
    if len(it.source.items) != len(it.keys):
        raise Raised("RuntimeError", "Set changed size during iteration")
    if it.index >= len(it.keys):
        return END
    it.index += 1
    return it.keys[it.index - 1]


def _advance_reversed(run: Run, it: Iter) -> Value:
    """`index` is how many items are left; a list that has become shorter than that ends it."""
    if not 0 < it.index <= length_of(it.source):
        return END
    it.index -= 1
    item: Value = it.source[it.index]
    if type(it.source) is str:
        run.allocate(size_of(item))
    return item


def _finish(it: Iter) -> None:
    if it.kind != IterKind.ZIP:  # a zip may be drawn from again: its other iterators go on, as in CPython
        it.kind, it.source, it.keys, it.inner, it.index = IterKind.DONE, None, (), (), 0


def _advance_dict(run: Run, it: Iter) -> Value:
    view: DictView = it.source
    mapping = view.mapping
    if len(mapping) != len(it.keys):
        raise Raised("RuntimeError", "dictionary changed size during iteration")
    if it.index >= len(it.keys):
        _finish(it)
        return END
    key = it.keys[it.index]
    it.index += 1
    if key not in mapping:
        raise Raised("RuntimeError", "dictionary keys changed during iteration")
    if view.kind == ViewKind.KEYS:
        return key
    if view.kind == ViewKind.VALUES:
        return mapping[key]
    run.allocate(56 + 2 * SLOT)
    return (key, mapping[key])


def items_of(run: Run, value: Value) -> Iterator[Value]:
    """Every item of `value`, each paid for; for use within one instruction."""
    kind = type(value)
    if kind is list or kind is tuple or kind is bytes:
        run.spend(len(value) >> 3)
        yield from value
        return
    it = make_iter(run, value)
    while (item := advance(run, it)) is not END:
        run.spend(1)
        yield item


def list_of(run: Run, value: Value) -> list[Value]:
    """A new list of all items, paid for before it grows."""
    if type(value) is Box:
        refuse_box("iterate over", value)
    if type(value) is SetValue:
        value = value.items
    if type(value) in (list, tuple, bytes, str, dict, range):
        run.allocate(56 + SLOT * length_of(value))
        run.spend(length_of(value) >> 3)
        if type(value) is str:
            run.allocate(sum(size_of(character) for character in set(value)))
        return list(value)
    run.allocate(56)
    return _drawn(run, value)


@bounded
def _drawn(run: Run, value: Value) -> list[Value]:
    result: list[Value] = []
    with run.making(result):
        for item in items_of(run, value):
            run.allocate(SLOT)
            result.append(item)
    return result
