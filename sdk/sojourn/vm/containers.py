"""Displays, subscripts, slices and unpacking."""

from __future__ import annotations

from sojourn.limits import MAX_RANGE_BITS
from sojourn.vm.costs import MEMBER, SLOT, size_of
from sojourn.vm.crowds import refuse_crowd
from sojourn.vm.dense import deleted
from sojourn.vm.faults import Raised, item_help, key_error, need_index, no_operation, refuse_box
from sojourn.vm.iteration import END, advance, items_of, list_of, make_iter
from sojourn.vm.keys import check_key
from sojourn.vm.state import Run
from sojourn.vm.values import Box, DictView, ExcValue, Handle, Iter, RecordValue, SetValue, Value, type_name

__all__ = [
    "add_member",
    "append",
    "attribute",
    "delete_index",
    "delete_slice",
    "extend",
    "index",
    "list_of",
    "make_dict",
    "need_narrow",
    "slice_of",
    "store_index",
    "store_slice",
    "unpack_rest",
    "unpack_values",
]

_INTS = frozenset((bool, int))
_SEQUENCES = frozenset((list, tuple, str, bytes, range))
_ITERABLE = frozenset((*_SEQUENCES, dict, SetValue, DictView, Iter))
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
        refuse_crowd(run, result, flat[position])
        result[flat[position]] = flat[position + 1]
    return result


def index(run: Run, container: Value, key: Value) -> Value:
    """`container[key]`."""
    kind = type(container)
    if kind is dict:
        check_key(run, key)
        if key in container:
            return container[key]
        raise key_error(key)
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
        if type(container) is not range:
            need_index(key, "IndexError")
        return
    refuse_box("index with", key)
    if type(container) is str:
        raise Raised("TypeError", f"string indices must be integers, not '{type_name(key)}'")
    name = "byte" if type(container) is bytes else type_name(container)
    raise Raised("TypeError", f"{name} indices must be integers or slices, not {type_name(key)}{item_help(key)}")


def attribute(value: Value, name: str) -> Value:
    """`value.name`: a field of a record, or the arguments of an exception."""
    if type(value) is RecordValue:
        if name not in value.fields:
            fields = ", ".join(value.fields)
            raise Raised("AttributeError", f"'{value.type_name}' object has no attribute '{name}'; it has {fields}")
        return value.fields[name]
    if type(value) is ExcValue and name == "args":
        return value.args
    refuse_box("read an attribute of", value)
    if type_name(value).endswith(" handle"):
        raise no_operation(f"read .{name} of", value)
    raise Raised("AttributeError", f"'{type_name(value)}' object has no attribute '{name}'")


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
    where = _slice(bounds)
    if kind is range:
        run.allocate(56)
        found = container[where]
        need_narrow(found.start, found.stop, found.step)
        return found
    length = len(range(*where.indices(len(container))))
    run.spend(length >> 5)
    if kind is list or kind is tuple:
        run.allocate(56 + SLOT * length)
        items = list(container[where])  # a copy: CPython gives the tuple itself for t[:], which sharing would show
        return items if kind is list else tuple(items)
    run.allocate(48 + (length if kind is bytes or container.isascii() else 4 * length))
    return container[where]


def need_narrow(*numbers: int) -> None:
    """Numbers of a range are small enough: the host keeps a length beside them, which no table charges.

    Raises:
        Raised: OverflowError.
    """
    if any(number.bit_length() > MAX_RANGE_BITS for number in numbers):
        raise Raised("OverflowError", f"range() takes integers of at most {MAX_RANGE_BITS} bits")


def _slice(bounds: list[Value]) -> slice:
    refuse_box("slice with", *bounds)
    for bound in (bounds[2], *bounds[:2]):  # the step first, as CPython does
        if bound is not None and type(bound) not in _INTS:
            raise Raised("TypeError", "slice indices must be integers or None or have an __index__ method")
        if bound is bounds[2] and bound is not None and bound == 0:
            raise Raised("ValueError", "slice step cannot be zero")
    return slice(*bounds)


def store_slice(run: Run, container: Value, bounds: list[Value], value: Value) -> None:
    """`container[lower:upper:step] = value`."""
    if type(container) is dict:
        raise Raised("TypeError", "unhashable type: 'slice'")
    if type(container) is not list:
        _immutable(container, "assignment")
    where = _slice(bounds)
    try:
        items = list_of(run, value)
    except Raised:
        refuse_box("iterate over", value)
        if type(value) in (Iter, DictView):
            raise
        message = "can only assign an iterable" if bounds[2] in (None, 1) else "must assign iterable to extended slice"
        raise Raised("TypeError", message) from None
    run.allocate(SLOT * len(items))
    run.spend((len(items) + len(container)) >> 5)
    if where.step is not None and where.step != 1:
        count = len(range(*where.indices(len(container))))
        if count != len(items):
            raise Raised(
                "ValueError", f"attempt to assign sequence of size {len(items)} to extended slice of size {count}"
            )
    container[where] = items


def delete_slice(run: Run, container: Value, bounds: list[Value]) -> None:
    """`del container[lower:upper:step]`."""
    if type(container) is dict:
        raise Raised("TypeError", "unhashable type: 'slice'")
    if type(container) is not list:
        _immutable(container, "slice deletion")
    run.spend(len(container) >> 5)
    del container[_slice(bounds)]


def add_member(run: Run, target: SetValue, item: Value) -> None:
    """Add to a set; memory is paid for where the item is new."""
    check_key(run, item)
    if item not in target.items:
        refuse_crowd(run, target.items, item)
        run.allocate(MEMBER)
        target.items[item] = None


def append(run: Run, target: Value, item: Value) -> None:
    """Add an item to the list or set that a display or comprehension makes."""
    if type(target) is list:
        run.allocate(SLOT)
        target.append(item)
    elif type(target) is SetValue:
        add_member(run, target, item)
    else:
        raise Raised("TypeError", f"'{type_name(target)}' object does not take items here")


def extend(run: Run, what: str, target: Value, source: Value, callee: str) -> None:
    """Add all items of `source` to a list, set, dict, or to the named arguments of a call of `callee`."""
    refuse_box("iterate over", source)
    if what == "list" and type(target) is list:
        target.extend(_spread(run, source, f"Value after * must be an iterable, not {type_name(source)}"))
    elif what == "set" and type(target) is SetValue:
        for item in items_of(run, source):
            run.spend(type(item) is tuple)  # as `check_member`
            add_member(run, target, item)
    elif type(target) is dict and what in ("dict", "keywords"):
        if type(source) is not dict:
            text = f"{callee}() argument after ** must be a mapping, not {type_name(source)}"
            plain = f"'{type_name(source)}' object is not a mapping"
            raise Raised("TypeError", text if what == "keywords" else plain)
        run.spend(len(source) >> 2)
        for key, value in source.items():
            if what == "keywords" and type(key) is not str:
                raise Raised("TypeError", "keywords must be strings")
            if what == "keywords" and key in target:
                raise Raised("TypeError", f"{callee}() got multiple values for keyword argument '{key}'")
            run.spend(type(key) is tuple)
            store_index(run, target, key, value)
    elif what == "arguments" and type(target) is list:
        message = f"{callee}() argument after * must be an iterable, not {type_name(source)}"
        target.extend(_spread(run, source, message))
    else:
        raise Raised("TypeError", f"'{type_name(target)}' object is not extended here")


def _spread(run: Run, source: Value, message: str) -> list[Value]:
    if type(source) in (Handle, RecordValue):
        raise no_operation("iterate over", source)
    if type(source) not in _ITERABLE:
        raise Raised("TypeError", message)
    items = list_of(run, source)
    run.allocate(SLOT * len(items))
    return items


def store_index(run: Run, container: Value, key: Value, value: Value) -> None:
    """`container[key] = value`."""
    kind = type(container)
    if kind is dict:
        check_key(run, key)
        if key not in container:
            refuse_crowd(run, container, key)
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
            raise key_error(key)
        del container[key]
        deleted(container)
    elif kind is list:
        _check_index(container, key)
        run.spend(len(container) >> 6)
        try:
            del container[key]
        except IndexError:
            raise Raised("IndexError", "list assignment index out of range") from None
    else:
        _immutable(container, "deletion", key)


def _immutable(container: Value, what: str, key: Value = None) -> None:
    refuse_box("change", container)
    if type(container) is Box or type(container) in (Handle, RecordValue):
        raise no_operation("change", container)
    indexed = type(key) in _INTS and type(container) in _ITERABLE
    negation = "doesn't" if what == "deletion" and indexed else "does not"
    word = "deletion" if what == "slice deletion" else what
    raise Raised("TypeError", f"'{type_name(container)}' object {negation} support item {word}")


def unpack_rest(run: Run, value: Value, before: int, after: int) -> list[Value]:
    """The items of `value` for an assignment to `before` targets, a starred one, and `after` more."""
    refuse_box("unpack", value)
    if type(value) in (Handle, RecordValue):
        raise no_operation("unpack", value)
    if type(value) not in _ITERABLE:
        raise Raised("TypeError", f"cannot unpack non-iterable {type_name(value)} object")
    items = list_of(run, value)
    if len(items) < before + after:
        least = before + after
        raise Raised("ValueError", f"not enough values to unpack (expected at least {least}, got {len(items)})")
    end = len(items) - after
    return [*items[:before], items[before:end], *items[end:]]


def unpack_values(run: Run, value: Value, count: int) -> list[Value]:
    """The `count` items of `value`, for an assignment to as many targets."""
    kind = type(value)
    refuse_box("unpack", value)
    if kind is tuple or kind is list:
        items = list(value[: count + 1])
    else:
        if kind not in _ITERABLE:
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
