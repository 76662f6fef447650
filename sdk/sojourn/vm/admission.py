"""What comes in from a host, and where private things are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sojourn.codec import DIGEST_BYTES
from sojourn.limits import MAX_NAME_CHARS
from sojourn.vm.copying import copy_values
from sojourn.vm.faults import Raised
from sojourn.vm.state import Run
from sojourn.vm.values import (
    HANDLE_KINDS,
    Box,
    BuiltinValue,
    Cell,
    DictView,
    ExcValue,
    FunctionValue,
    Handle,
    Iter,
    RecordValue,
    Suspended,
    Unbound,
    Value,
)
from sojourn.vm.walking import paid_walk, walk

__all__ = ["INNER_KINDS", "PLAIN", "admit", "check_labels", "private_things"]

# What exists only while a run lives: no part of a result, of what a box holds, or of an effect's arguments.
INNER_KINDS: Final = frozenset((BuiltinValue, Cell, DictView, ExcValue, FunctionValue, Iter, Suspended, Unbound))

PLAIN: Final = frozenset((type(None), bool, int, float, str, bytes))  # what holds nothing


def admit(run: Run, values: Iterable[Value]) -> list[Value]:
    """Copies of values from a host, paid for by `run`.

    Raises:
        Raised: one is no value, is a box, or is a handle or record that is not well made.
        Exhausted: they do not fit the budgets.
    """
    copied = copy_values(run, values)
    for value in () if PLAIN.issuperset(map(type, copied)) else walk(copied):
        if type(value) is Box:
            raise Raised("TypeError", "a host gives no boxes")
        if type(value) is Handle and (value.kind not in HANDLE_KINDS or not 0 < len(value.id) <= DIGEST_BYTES):
            raise Raised("TypeError", f"a handle of kind {value.kind!r} or with an id of {len(value.id)} bytes")
        if type(value) is RecordValue:
            _check_names(value)
    return copied


def _check_names(record: RecordValue) -> None:
    names = record.fields
    if not all(type(name) is str and name.isascii() and name.isidentifier() for name in names):
        raise Raised("TypeError", "a record's fields are not names")
    if not 0 < len(record.type_name) <= MAX_NAME_CHARS or any(len(name) > MAX_NAME_CHARS for name in names):
        raise Raised("TypeError", f"a record's names have 1 to {MAX_NAME_CHARS} characters")


def check_labels(run: Run, value: Value) -> None:
    """In a region, raise Raised unless every handle flows to the region's label."""
    for inner in walk((value,)) if run.region else ():
        if type(inner) is Handle and not inner.label.flows_to(run.label):
            raise Raised("ValueError", f"a handle labelled {inner.label} does not flow to the region's {run.label}")


def private_things(values: Iterable[Value], run: Run | None = None) -> list[Box | Handle]:
    """Boxes, and handles with a private label, anywhere inside of values; `run` pays for what was not paid before."""
    known = [value for value in values if type(value) not in PLAIN]
    if not known:
        return []
    return [
        value
        for value in (walk(known) if run is None else paid_walk(run, known))
        if type(value) is Box or (type(value) is Handle and not value.label.is_public)
    ]
