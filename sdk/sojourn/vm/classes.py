"""Which classes a value belongs to: `isinstance` and `except`."""

from __future__ import annotations

from typing import Final

from sojourn.vm.faults import refuse_box
from sojourn.vm.tables import EXCEPTIONS, ancestors
from sojourn.vm.values import ExcValue, SetValue, Value

__all__ = ["is_a"]

_BY_KIND: Final[dict[type, frozenset[str]]] = {
    bool: frozenset(("bool", "int")),
    bytes: frozenset(("bytes",)),
    dict: frozenset(("dict",)),
    float: frozenset(("float",)),
    int: frozenset(("int",)),
    list: frozenset(("list",)),
    range: frozenset(("range",)),
    SetValue: frozenset(("set",)),
    str: frozenset(("str",)),
    tuple: frozenset(("tuple",)),
}
_ANCESTORS: Final = {name: frozenset(ancestors(name)) for name in EXCEPTIONS}
_NONE: Final[frozenset[str]] = frozenset()


def is_a(value: Value, names: str) -> bool:
    """Whether a value is of one of the classes named in `names`, a blank between."""
    refuse_box("test", value)
    classes = _ANCESTORS[value.name] if type(value) is ExcValue else _BY_KIND.get(type(value), _NONE)
    return not classes.isdisjoint(names.split(" "))
