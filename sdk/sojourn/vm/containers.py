"""Displays, subscripts, slices and unpacking."""

from __future__ import annotations

from sojourn.vm.compare import check_key
from sojourn.vm.faults import Raised, no_operation, refuse_box
from sojourn.vm.iteration import END, advance, make_iter
from sojourn.vm.state import SLOT, Run, size_of
from sojourn.vm.text import repr_of
from sojourn.vm.values import Box, Handle, RecordValue, Value, type_name

__all__ = ["delete_index", "index", "make_dict", "slice_of", "store_index", "unpack_values"]

_INTS = frozenset((bool, int))
_SEQUENCES = frozenset((list, tuple, str, bytes, range))
_INDEX_NAMES: dict[type, str] = {
    bytes: "index",
    list: "list index",
    range: "range object index",
    str: "string index",
    tuple: "tuple index",
}


def make_dict(run: Run, flat: list[Value]) -> dict[Value, Value]:
    """A dict from keys and values in turn."""
    run.allocate(56 + 3 * SLOT * (len(flat) // 2))
    result: dict[Value, Value] = {}
    for position in range(0, len(flat), 2):
        check_key(run, flat[position])
        result[flat[position]] = flat[position + 1]
    return result


def index(run: Run, container: Value, key: Value) -> Value:
    """`container[key]`."""
    kind = type(container)
    if kind is dict:
        check_key(run, key)
        if key in container:
            return container[key]
        raise Raised("KeyError", repr_of(run, key))
    if kind in _SEQUENCES:
        _check_index(container, key)
        try:
            item = container[key]
        except IndexError:
            raise Raised("IndexError", f"{_INDEX_NAMES[kind]} out of range") from None
        if kind is str:
            run.allocate(size_of(item))
        return item
    refuse_box("index", container)
    if kind in (Handle, RecordValue):
        raise no_operation("index", container)
    raise Raised("TypeError", f"'{type_name(container)}' object is not subscriptable")


def _check_index(container: Value, key: Value) -> None:
    if type(key) in _INTS:
        return
    refuse_box("index with", key)
    if type(container) is str:
        raise Raised("TypeError", f"string indices must be integers, not '{type_name(key)}'")
    name = "byte" if type(container) is bytes else type_name(container)
    raise Raised("TypeError", f"{name} indices must be integers or slices, not {type_name(key)}")


def slice_of(run: Run, container: Value, bounds: list[Value]) -> Value:
    """`container[lower:upper:step]`."""
    kind = type(container)
    refuse_box("slice", container, *bounds)
    if kind is dict:
        raise Raised("TypeError", "unhashable type: 'slice'")
    if kind not in _SEQUENCES:
        if kind in (Handle, RecordValue):
            raise no_operation("slice", container)
        raise Raised("TypeError", f"'{type_name(container)}' object is not subscriptable")
    for bound in bounds:
        if bound is not None and type(bound) not in _INTS:
            raise Raised("TypeError", "slice indices must be integers or None or have an __index__ method")
    if bounds[2] is not None and bounds[2] == 0:
        raise Raised("ValueError", "slice step cannot be zero")
    where = slice(*bounds)
    if kind is range:
        run.allocate(56)
        return container[where]
    length = len(range(*where.indices(len(container))))
    run.spend(length >> 5)
    if kind is list or kind is tuple:
        run.allocate(56 + SLOT * length)
        items = list(container[where])  # a copy: CPython gives the tuple itself for t[:], which sharing would show
        return items if kind is list else tuple(items)
    run.allocate(48 + (length if kind is bytes or container.isascii() else 4 * length))
    return container[where]


def store_index(run: Run, container: Value, key: Value, value: Value) -> None:
    """`container[key] = value`."""
    kind = type(container)
    if kind is dict:
        check_key(run, key)
        if key not in container:
            run.allocate(3 * SLOT)
        container[key] = value
    elif kind is list:
        _check_index(container, key)
        try:
            container[key] = value
        except IndexError:
            raise Raised("IndexError", "list assignment index out of range") from None
    else:
        _immutable(container, "assignment")


def delete_index(run: Run, container: Value, key: Value) -> None:
    """`del container[key]`."""
    kind = type(container)
    if kind is dict:
        check_key(run, key)
        if key not in container:
            raise Raised("KeyError", repr_of(run, key))
        del container[key]
    elif kind is list:
        _check_index(container, key)
        run.spend(len(container) >> 6)
        try:
            del container[key]
        except IndexError:
            raise Raised("IndexError", "list assignment index out of range") from None
    else:
        _immutable(container, "deletion")


def _immutable(container: Value, what: str) -> None:
    refuse_box("change", container)
    if type(container) is Box or type(container) in (Handle, RecordValue):
        raise no_operation("change", container)
    verb = "does" if what == "assignment" else "doesn't"
    negation = " not support" if what == "assignment" else " support"
    raise Raised("TypeError", f"'{type_name(container)}' object {verb}{negation} item {what}")


def unpack_values(run: Run, value: Value, count: int) -> list[Value]:
    """The `count` items of `value`, for an assignment to as many targets."""
    kind = type(value)
    refuse_box("unpack", value)
    if kind is tuple or kind is list:
        items = list(value[: count + 1])
    else:
        if kind not in (str, bytes, dict, range) and type_name(value) not in (
            "dict_keys",
            "dict_values",
            "dict_items",
            "enumerate",
            "zip",
        ):
            if kind in (Handle, RecordValue):
                raise no_operation("unpack", value)
            raise Raised("TypeError", f"cannot unpack non-iterable {type_name(value)} object")
        it = make_iter(run, value)
        items = []
        while len(items) <= count and (item := advance(run, it)) is not END:
            run.spend(1)
            items.append(item)
    if len(items) > count:
        raise Raised("ValueError", f"too many values to unpack (expected {count})")
    if len(items) < count:
        raise Raised("ValueError", f"not enough values to unpack (expected {count}, got {len(items)})")
    return items
