"""Values from the cells of a snapshot.

Mutable containers are made empty first and filled last, so that cycles through them hold; tuples, ranges and views are
made once what they refer to exists, and a cycle through them alone is refused. No step recurses.
"""

from __future__ import annotations

import struct
from typing import Final

from sojourn.codec import DIGEST_BYTES
from sojourn.errors import SnapshotInvalid
from sojourn.labels import PUBLIC, Label
from sojourn.limits import MAX_MEMORY_BYTES, MAX_NAME_CHARS
from sojourn.vm import snapshot as rows
from sojourn.vm import values
from sojourn.vm.compare import MAX_DEPTH, MAX_KEY_NODES
from sojourn.vm.iteration import MAX_ITER_DEPTH
from sojourn.vm.op import BUILTINS, EXCEPTIONS
from sojourn.vm.program import COMPUTED, big_bytes
from sojourn.vm.reach import Code
from sojourn.vm.state import BoxContent
from sojourn.vm.values import (
    HANDLE_KINDS,
    NAN,
    UNBOUND,
    Box,
    BuiltinValue,
    DictView,
    ExcValue,
    FunctionValue,
    Handle,
    Iter,
    IterKind,
    RecordValue,
    RegionError,
    SetValue,
    Suspended,
    Unbound,
    Value,
    ViewKind,
)

__all__ = ["Cells", "label_of"]

NAN_BYTES: Final = struct.pack(">d", NAN)
MAX_INDEX: Final = 1 << 62
CODES: Final = frozenset((*EXCEPTIONS, "fuel", "memory"))
ERROR_NAMES: Final = frozenset((*EXCEPTIONS, "FuelExhausted", "MemoryError"))
SHOWN: Final = frozenset(
    (
        *("list_iterator", "tuple_iterator", "str_iterator", "bytes_iterator", "range_iterator", "set_iterator"),
        *("dict_keyiterator", "dict_valueiterator", "dict_itemiterator", "list_reverseiterator", "reversed"),
        *("dict_reversekeyiterator", "dict_reversevalueiterator", "dict_reverseitemiterator"),
    )
)
_SEQUENCES: Final = frozenset((list, tuple, str, bytes, range))
_WALKS: Final[dict[int, frozenset[type]]] = {
    IterKind.SEQUENCE: _SEQUENCES,
    IterKind.REVERSED: _SEQUENCES - {range},
    IterKind.DICT: frozenset((DictView,)),
    IterKind.SET: frozenset((SetValue,)),
}


def label_of(sources: tuple[str, ...]) -> Label:
    """The label of encoded sources."""
    if not sources:
        return PUBLIC
    label = Label(frozenset(sources))
    if label.names != sources or any(not 0 < len(source) <= 2 * MAX_NAME_CHARS for source in sources):
        raise SnapshotInvalid("the sources of a label are unordered, or a name is out of range")
    return label


_LEAVES: Final[frozenset[type]] = frozenset(
    (rows.IntCell, rows.FloatCell, rows.StrCell, rows.BytesCell, rows.HandleCell, rows.TupleCell, rows.RangeCell)
)


class Cells:
    """The values of a snapshot by reference; `boxes` is the content of the boxes among them."""

    def __init__(self, cells: tuple[rows.Cell, ...], codes: tuple[Code, ...]) -> None:
        self.cells, self.codes = cells, codes
        self.made: list[Value] = [None] * len(cells)
        self.boxes: dict[bytes, BoxContent] = {}
        kinds = set(map(type, cells))  # most states hold few of them
        self._leaves()
        if not kinds.isdisjoint((rows.RangeCell, rows.ViewCell)):
            self._ranges_and_views()
        if rows.TupleCell in kinds:
            self._tuples()
        if not kinds <= _LEAVES:
            self._fill()
        if rows.IterCell in kinds:
            self._depths()

    def value(self, ref: int) -> Value:
        """The value behind a reference."""
        if 0 <= ref < rows.FIRST_CELL:
            return (UNBOUND, None, False, True)[ref]
        if not rows.FIRST_CELL <= ref < rows.FIRST_CELL + len(self.made):
            raise SnapshotInvalid("a reference to no cell")
        return self.made[ref - rows.FIRST_CELL]

    def bound(self, ref: int) -> Value:
        """As `value`, and not unbound."""
        value = self.value(ref)
        if isinstance(value, Unbound):
            raise SnapshotInvalid("an unbound variable inside of a value")
        return value

    def _leaves(self) -> None:
        """Everything that refers to nothing, and empty shells of what is filled later."""
        for position, cell in enumerate(self.cells):
            made: Value = None
            if isinstance(cell, rows.IntCell):
                made = int.from_bytes(cell.data, "big", signed=True)
                if big_bytes(made) != cell.data:
                    raise SnapshotInvalid("an integer is not in its shortest form")
            elif isinstance(cell, rows.FloatCell):
                made = cell.number
                if made != made:  # noqa: PLR0124 - the test for not-a-number
                    if struct.pack(">d", made) != NAN_BYTES:
                        raise SnapshotInvalid("a not-a-number that is not the canonical one")
                    made = NAN
            elif isinstance(cell, rows.StrCell):
                made = cell.text
            elif isinstance(cell, rows.BytesCell):
                made = cell.data
            elif isinstance(cell, rows.ListCell):
                made = []
            elif isinstance(cell, rows.DictCell):
                made = {}
            elif isinstance(cell, rows.RecordCell):
                made = self._record(cell)
            elif isinstance(cell, rows.HandleCell):
                made = self._handle(cell)
            elif isinstance(cell, rows.BoxCell):
                made = Box(cell.id, label_of(cell.sources))
            elif isinstance(cell, rows.IterCell):
                made = self._iter(cell)
            else:
                made = self._inner(cell)
            self.made[position] = made

    def _inner(self, cell: rows.Cell) -> Value:
        if isinstance(cell, rows.SetCell):
            return SetValue({})
        if isinstance(cell, rows.CellCell):
            return values.Cell()
        if isinstance(cell, rows.BuiltinCell):
            if not 0 <= cell.number < len(BUILTINS):
                raise SnapshotInvalid("a builtin that there is not")
            return BuiltinValue(cell.number, tuple(BUILTINS)[cell.number])
        if isinstance(cell, rows.ExceptionCell):
            if cell.name not in EXCEPTIONS or not 0 <= cell.line < MAX_INDEX:
                raise SnapshotInvalid("an exception that there is not")
            return ExcValue(cell.name, (), cell.line)
        if isinstance(cell, rows.FunctionCell):
            if not 0 <= cell.function < len(self.codes):
                raise SnapshotInvalid("a function that the program does not have")
            return FunctionValue(cell.function, self.codes[cell.function].name)
        return Suspended((), cell.waiting) if isinstance(cell, rows.SuspendedCell) else None

    @staticmethod
    def _record(cell: rows.RecordCell) -> RecordValue:
        good = all(name.isascii() and name.isidentifier() and len(name) <= MAX_NAME_CHARS for name in cell.names)
        if not good or len(set(cell.names)) != len(cell.names) or len(cell.names) != len(cell.values):
            raise SnapshotInvalid("a record's fields are not names")
        if not 0 < len(cell.type_name) <= MAX_NAME_CHARS:
            raise SnapshotInvalid("a record's class has no name")
        return RecordValue(cell.type_name, {})

    @staticmethod
    def _handle(cell: rows.HandleCell) -> Handle:
        if cell.kind not in HANDLE_KINDS or not 0 < len(cell.id) <= DIGEST_BYTES:
            raise SnapshotInvalid("a handle of an unknown kind, or without an identity")
        return Handle(cell.kind, cell.id, label_of(cell.sources))

    @staticmethod
    def _iter(cell: rows.IterCell) -> Iter:
        kinds = {"enumerate": (IterKind.DONE, IterKind.ENUMERATE), "zip": (IterKind.ZIP,)}
        allowed = kinds.get(
            cell.shown, (IterKind.DONE, IterKind.SEQUENCE, IterKind.DICT, IterKind.SET, IterKind.REVERSED)
        )
        if cell.kind not in allowed or (cell.shown not in kinds and cell.shown not in SHOWN):
            raise SnapshotInvalid("an iterator of an unknown kind")
        if not -MAX_INDEX < cell.index < MAX_INDEX or (cell.index < 0 and cell.kind != IterKind.ENUMERATE):
            raise SnapshotInvalid("an iterator stands outside of what it walks over")
        return Iter(IterKind(cell.kind), cell.shown, index=cell.index)

    def _tuples(self) -> None:
        """Tuples after the tuples inside of them."""
        state = bytearray(len(self.cells))  # 0 new, 1 begun, 2 made
        for start, cell in enumerate(self.cells):
            work = [start] if isinstance(cell, rows.TupleCell) and not state[start] else []
            while work:
                position = work[-1]
                items = getattr(self.cells[position], "items", ())
                if state[position] == 0:
                    state[position] = 1
                    for ref in items:
                        self._push_tuple(ref - rows.FIRST_CELL, state, work)
                    continue
                work.pop()
                if state[position] == 1:
                    state[position] = 2
                    self.made[position] = tuple(self.bound(ref) for ref in items)

    def _push_tuple(self, position: int, state: bytearray, work: list[int]) -> None:
        if 0 <= position < len(self.cells) and isinstance(self.cells[position], rows.TupleCell):
            if state[position] == 1:
                raise SnapshotInvalid("a tuple that holds itself")
            if state[position] == 0:
                work.append(position)

    def _ranges_and_views(self) -> None:
        for position, cell in enumerate(self.cells):
            if isinstance(cell, rows.RangeCell):
                bounds = [self.bound(ref) for ref in (cell.start, cell.stop, cell.step)]
                if any(type(bound) is not int for bound in bounds) or bounds[2] == 0:
                    raise SnapshotInvalid("a range without bounds")
                self.made[position] = range(*bounds)
            elif isinstance(cell, rows.ViewCell):
                mapping = self.bound(cell.mapping)
                if type(mapping) is not dict or cell.kind not in set(ViewKind):
                    raise SnapshotInvalid("a view of what is no dict")
                self.made[position] = DictView(ViewKind(cell.kind), mapping)

    def _fill(self) -> None:
        for position, cell in enumerate(self.cells):
            made = self.made[position]
            if isinstance(cell, rows.ListCell):
                made.extend(self.bound(ref) for ref in cell.items)
            elif isinstance(cell, rows.RecordCell):
                made.fields.update(zip(cell.names, map(self.bound, cell.values), strict=True))
            elif isinstance(cell, rows.DictCell):
                self._fill_dict(cell, made)
            elif isinstance(cell, rows.IterCell):
                self._fill_iter(cell, made)
            elif isinstance(cell, rows.BoxCell):
                self._fill_box(cell)
            elif isinstance(cell, rows.SetCell):
                made.items.update(dict.fromkeys(self._key(ref) for ref in cell.items))
                if len(made.items) != len(cell.items):
                    raise SnapshotInvalid("a set has a member twice")
            elif isinstance(cell, rows.CellCell):
                made.content = self.value(cell.content)
            elif isinstance(cell, rows.FunctionCell):
                self._fill_function(cell, made)
            elif isinstance(cell, rows.ExceptionCell):
                made.args = self.bound(cell.args)
                if type(made.args) is not tuple:
                    raise SnapshotInvalid("an exception without arguments")

    def _fill_function(self, cell: rows.FunctionCell, made: FunctionValue) -> None:
        code = self.codes[cell.function]
        made.defaults = tuple(self.bound(ref) for ref in cell.defaults)
        made.cells = tuple(self.bound(ref) for ref in cell.cells)
        computed = code.defaults.count(COMPUTED) + code.keyword_defaults.count(COMPUTED)
        if len(made.defaults) != computed or len(made.cells) != len(code.captures):
            raise SnapshotInvalid(f"the function {code.name} has other defaults or variables")
        if any(type(inner) is not values.Cell for inner in made.cells):
            raise SnapshotInvalid(f"the function {code.name} shares what is no variable")

    def _fill_dict(self, cell: rows.DictCell, made: dict[Value, Value]) -> None:
        if len(cell.keys) != len(cell.values):
            raise SnapshotInvalid("a dict has other keys than values")
        for key, value in zip(cell.keys, cell.values, strict=True):
            made[self._key(key)] = self.bound(value)
        if len(made) != len(cell.keys):
            raise SnapshotInvalid("a dict has a key twice")

    def _key(self, ref: int) -> Value:
        key = self.bound(ref)
        work, nodes = [(key, 0)], 0
        while work:
            value, depth = work.pop()
            nodes += 1
            if type(value) is tuple:
                if depth > MAX_DEPTH or nodes + len(work) + len(value) > MAX_KEY_NODES:
                    raise SnapshotInvalid("a key is nested too deep")
                work.extend((item, depth + 1) for item in value)
            elif value is not None and type(value) not in (bool, int, float, str, bytes, Handle):
                raise SnapshotInvalid("a key that cannot be one")
        return key

    def _fill_iter(self, cell: rows.IterCell, made: Iter) -> None:
        source = None if cell.source == 1 else self.bound(cell.source)
        inner = tuple(self.bound(ref) for ref in cell.inner)
        if any(type(it) is not Iter for it in inner):
            raise SnapshotInvalid("an iterator draws from what is none")
        wanted_kind = _WALKS.get(made.kind, frozenset((type(None),)))
        if type(source) not in wanted_kind:
            raise SnapshotInvalid("an iterator walks over what it cannot")
        if cell.keys and made.kind not in (IterKind.DICT, IterKind.SET):
            raise SnapshotInvalid("an iterator has a source where it needs none")
        wanted = {IterKind.ENUMERATE: 1, IterKind.ZIP: len(inner)}.get(made.kind, 0)
        if len(inner) != wanted or (cell.index and made.kind in (IterKind.DONE, IterKind.ZIP)):
            raise SnapshotInvalid("an iterator draws from other iterators than it can")
        made.source, made.inner = source, inner
        made.keys = tuple(self._key(ref) for ref in cell.keys)

    def _fill_box(self, cell: rows.BoxCell) -> None:
        if len(cell.id) != DIGEST_BYTES or not 0 < cell.charge <= MAX_MEMORY_BYTES or cell.id in self.boxes:
            raise SnapshotInvalid("a box without an identity or a charge")
        if cell.error is None:
            self.boxes[cell.id] = BoxContent(self.bound(cell.value), cell.charge)
            return
        type_name, message, code, line = cell.error
        if cell.value != 0 or type_name not in ERROR_NAMES or code not in CODES or not 0 <= line < MAX_INDEX:
            raise SnapshotInvalid("a box holds an error that there is not")
        self.boxes[cell.id] = BoxContent(RegionError(type_name, message, code, line), cell.charge)

    def _depths(self) -> None:
        """Depths of nested iterators; a cycle is deeper than any depth that is allowed."""
        known: dict[int, int] = {}

        def depth(it: Iter, level: int) -> int:
            if level > MAX_ITER_DEPTH:
                raise SnapshotInvalid(f"iterators are nested deeper than {MAX_ITER_DEPTH}")
            if id(it) not in known:
                known[id(it)] = 1 + max((depth(inner, level + 1) for inner in it.inner), default=0)
            return known[id(it)]

        for made in self.made:
            if type(made) is Iter:
                made.depth = depth(made, 1)
                if made.depth > MAX_ITER_DEPTH:
                    raise SnapshotInvalid(f"iterators are nested deeper than {MAX_ITER_DEPTH}")
