"""What each cell of a snapshot becomes on its own: leaves whole, containers empty, the rest later.

No function here looks at another cell; `cells` puts in what they refer to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from sojourn.codec import DIGEST_BYTES
from sojourn.errors import SnapshotInvalid
from sojourn.labels import PUBLIC, Label
from sojourn.limits import MAX_NAME_CHARS
from sojourn.vm import snapshot as rows
from sojourn.vm.op import BUILTINS, EXCEPTIONS
from sojourn.vm.program import big_bytes
from sojourn.vm.reach import Code
from sojourn.vm.values import (
    HANDLE_KINDS,
    NAN,
    Box,
    BuiltinValue,
    Cell,
    ExcValue,
    FunctionValue,
    Handle,
    Iter,
    IterKind,
    RecordValue,
    SetValue,
    Suspended,
    Value,
)

__all__ = ["MAX_INDEX", "SHELLS", "label_of"]

MAX_INDEX: Final = 1 << 62
_NAN_BYTES: Final = struct.pack(">d", NAN)
_BUILTINS: Final = tuple(BUILTINS)
_ITERS: Final = tuple(IterKind)
_SMALL: Final = {big_bytes(number): number for number in range(-128, 128)}
_SHOWN: Final = frozenset(
    (
        *("list_iterator", "tuple_iterator", "str_iterator", "bytes_iterator", "range_iterator", "set_iterator"),
        *("dict_keyiterator", "dict_valueiterator", "dict_itemiterator", "list_reverseiterator", "reversed"),
        *("dict_reversekeyiterator", "dict_reversevalueiterator", "dict_reverseitemiterator"),
    )
)
_ENUMERATE: Final = IterKind.ENUMERATE
_SIMPLE: Final = frozenset((IterKind.DONE, IterKind.SEQUENCE, IterKind.DICT, IterKind.SET, IterKind.REVERSED))
_ALLOWED: Final[dict[str, frozenset[IterKind]]] = {
    "enumerate": frozenset((IterKind.DONE, IterKind.ENUMERATE)),
    "zip": frozenset((IterKind.ZIP,)),
    **dict.fromkeys(_SHOWN, _SIMPLE),
}


def label_of(sources: tuple[str, ...]) -> Label:
    """The label of encoded sources."""
    if not sources:
        return PUBLIC
    label = Label(frozenset(sources))
    if label.names != sources or any(not 0 < len(source) <= 2 * MAX_NAME_CHARS for source in sources):
        raise SnapshotInvalid("the sources of a label are unordered, or a name is out of range")
    return label


def _int(cell: rows.IntCell, _: tuple[Code, ...]) -> int:
    made = _SMALL.get(cell.data)
    if made is None:
        made = int.from_bytes(cell.data, "big", signed=True)
        if big_bytes(made) != cell.data:
            raise SnapshotInvalid("an integer is not in its shortest form")
    return made


def _float(cell: rows.FloatCell, _: tuple[Code, ...]) -> float:
    made = cell.number
    if made != made:  # noqa: PLR0124 - the test for not-a-number
        if struct.pack(">d", made) != _NAN_BYTES:
            raise SnapshotInvalid("a not-a-number that is not the canonical one")
        return NAN
    return made


def _builtin(cell: rows.BuiltinCell, _: tuple[Code, ...]) -> BuiltinValue:
    if not 0 <= cell.number < len(_BUILTINS):
        raise SnapshotInvalid("a builtin that there is not")
    return BuiltinValue(cell.number, _BUILTINS[cell.number])


def _exception(cell: rows.ExceptionCell, _: tuple[Code, ...]) -> ExcValue:
    if cell.name not in EXCEPTIONS or not 0 <= cell.line < MAX_INDEX:
        raise SnapshotInvalid("an exception that there is not")
    return ExcValue(cell.name, (), cell.line)


def _function(cell: rows.FunctionCell, codes: tuple[Code, ...]) -> FunctionValue:
    if not 0 <= cell.function < len(codes):
        raise SnapshotInvalid("a function that the program does not have")
    return FunctionValue(cell.function, codes[cell.function].name)


def _record(cell: rows.RecordCell, _: tuple[Code, ...]) -> RecordValue:
    good = all(name.isascii() and name.isidentifier() and len(name) <= MAX_NAME_CHARS for name in cell.names)
    if not good or len(set(cell.names)) != len(cell.names) or len(cell.names) != len(cell.values):
        raise SnapshotInvalid("a record's fields are not names")
    if not 0 < len(cell.type_name) <= MAX_NAME_CHARS:
        raise SnapshotInvalid("a record's class has no name")
    return RecordValue(cell.type_name, {})


def _handle(cell: rows.HandleCell, _: tuple[Code, ...]) -> Handle:
    if cell.kind not in HANDLE_KINDS or not 0 < len(cell.id) <= DIGEST_BYTES:
        raise SnapshotInvalid("a handle of an unknown kind, or without an identity")
    return Handle(cell.kind, cell.id, label_of(cell.sources))


def _iter(cell: rows.IterCell, _: tuple[Code, ...]) -> Iter:
    if cell.kind not in _ALLOWED.get(cell.shown, ()):
        raise SnapshotInvalid("an iterator of an unknown kind")
    if not 0 <= cell.index < MAX_INDEX and not (cell.kind == _ENUMERATE and -MAX_INDEX < cell.index < 0):
        raise SnapshotInvalid("an iterator stands outside of what it walks over")
    return Iter(_ITERS[cell.kind], cell.shown, None, (), cell.index)


def _later(_cell: rows.Cell, _: tuple[Code, ...]) -> None:
    """Tuples, ranges and views are made once what they refer to exists."""


SHELLS: Final[dict[type, Callable[[Any, tuple[Code, ...]], Value]]] = {
    rows.IntCell: _int,
    rows.FloatCell: _float,
    rows.StrCell: lambda cell, _: cell.text,
    rows.BytesCell: lambda cell, _: cell.data,
    rows.TupleCell: _later,
    rows.ListCell: lambda _cell, _: [],
    rows.DictCell: lambda _cell, _: {},
    rows.RangeCell: _later,
    rows.RecordCell: _record,
    rows.HandleCell: _handle,
    rows.BoxCell: lambda cell, _: Box(cell.id, label_of(cell.sources)),
    rows.ViewCell: _later,
    rows.IterCell: _iter,
    rows.SetCell: lambda _cell, _: SetValue({}),
    rows.CellCell: lambda _cell, _: Cell(),
    rows.FunctionCell: _function,
    rows.BuiltinCell: _builtin,
    rows.ExceptionCell: _exception,
    rows.SuspendedCell: lambda cell, _: Suspended((), cell.waiting),
}
