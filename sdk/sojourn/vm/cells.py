"""Values from the cells of a snapshot.

Mutable containers are made empty first (`shells`) and filled last, so that cycles through them hold; tuples, ranges
and views are made once what they refer to exists, and a cycle through them alone is refused. No step recurses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sojourn.codec import DIGEST_BYTES
from sojourn.errors import SnapshotInvalid
from sojourn.limits import MAX_MEMORY_BYTES, MAX_RANGE_BITS
from sojourn.vm import snapshot as rows
from sojourn.vm import values
from sojourn.vm.crowds import CROWD, crowd_of
from sojourn.vm.iteration import MAX_ITER_DEPTH, classes_of, length_of
from sojourn.vm.keys import MAX_DEPTH, MAX_KEY_NODES
from sojourn.vm.op import EXCEPTIONS
from sojourn.vm.program import COMPUTED
from sojourn.vm.reach import Code
from sojourn.vm.shells import MAX_INDEX, SHELLS
from sojourn.vm.values import (
    UNBOUND,
    Box,
    DictView,
    ExcValue,
    FunctionValue,
    Handle,
    Iter,
    IterKind,
    RecordValue,
    RegionError,
    SetValue,
    Value,
    ViewKind,
)
from sojourn.vm.walking import BoxContent

__all__ = ["CODES", "Cells"]

CODES: Final = frozenset((*EXCEPTIONS, "fuel", "memory"))
ERROR_NAMES: Final = frozenset((*EXCEPTIONS, "FuelExhausted", "MemoryError"))
_SEQUENCES: Final = frozenset((list, tuple, str, bytes, range))
_NOTHING: Final = frozenset((type(None),))
_WALKS: Final[dict[int, frozenset[type]]] = {
    IterKind.DONE: _NOTHING,
    IterKind.SEQUENCE: _SEQUENCES,
    IterKind.DICT: frozenset((DictView,)),
    IterKind.ENUMERATE: _NOTHING,
    IterKind.ZIP: _NOTHING,
    IterKind.SET: frozenset((SetValue,)),
    IterKind.REVERSED: _SEQUENCES - {range},
}
_STEADY: Final = _SEQUENCES - {list}  # what cannot become shorter under its iterators
_UNSHOWN: Final = frozenset((IterKind.DONE, IterKind.ENUMERATE, IterKind.ZIP))
_KEYED: Final = frozenset((IterKind.DICT, IterKind.SET))
_VIEWS: Final = frozenset(ViewKind)
_UNCOUNTED: Final = frozenset((IterKind.DONE, IterKind.ZIP))
_DRAWS: Final[dict[int, int]] = {IterKind.ENUMERATE: 1, IterKind.ZIP: -1}  # from how many others; -1: any number
_KEYS: Final = frozenset((type(None), bool, int, float, str, bytes, Handle))
_LEAVES: Final[frozenset[type]] = frozenset(
    (rows.IntCell, rows.FloatCell, rows.StrCell, rows.BytesCell, rows.HandleCell, rows.TupleCell, rows.RangeCell)
)


class Cells:
    """The values of a snapshot by reference.

    Attributes:
        values: by reference; the first four are unbound, None, False, True.
        at: gives one of them; its index is known not to be negative.
        boxes: the content of the boxes among them.
        kinds: the classes of the cells; most states hold few of them.
    """

    def __init__(self, cells: tuple[rows.Cell, ...], codes: tuple[Code, ...]) -> None:
        self.cells, self.codes = cells, codes
        self.boxes: dict[bytes, BoxContent] = {}
        self.nested = False  # whether an iterator draws from another one
        self.kinds = kinds = frozenset(map(type, cells))
        self.values: list[Value] = [UNBOUND, None, False, True, *[SHELLS[type(cell)](cell, codes) for cell in cells]]
        self.at = self.values.__getitem__
        if rows.RangeCell in kinds or rows.ViewCell in kinds:
            self._ranges_and_views()
        if rows.TupleCell in kinds:
            self._tuples()
        if not kinds <= _LEAVES:
            self._fill()
        if self.nested:
            self._depths()

    def value(self, ref: int) -> Value:
        """The value behind a reference."""
        if not 0 <= ref < len(self.values):
            raise SnapshotInvalid("a reference to no cell")
        return self.values[ref]

    def all(self, refs: tuple[int, ...]) -> list[Value]:
        """The values behind references."""
        if not refs:
            return []
        try:
            if min(refs) >= 0:
                return [*map(self.at, refs)]
        except IndexError:
            pass
        raise SnapshotInvalid("a reference to no cell")

    def bound(self, ref: int) -> Value:
        """As `value`, and not unbound."""
        if ref == 0:
            raise SnapshotInvalid("an unbound variable inside of a value")
        return self.value(ref)

    def all_bound(self, refs: tuple[int, ...]) -> list[Value]:
        """As `all`, and none of them unbound."""
        if 0 in refs:
            raise SnapshotInvalid("an unbound variable inside of a value")
        return self.all(refs)

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
                    self.values[position + rows.FIRST_CELL] = tuple(self.all_bound(items))

    def _push_tuple(self, position: int, state: bytearray, work: list[int]) -> None:
        if 0 <= position < len(self.cells) and isinstance(self.cells[position], rows.TupleCell):
            if state[position] == 1:
                raise SnapshotInvalid("a tuple that holds itself")
            if state[position] == 0:
                work.append(position)

    def _ranges_and_views(self) -> None:
        for ref, cell in enumerate(self.cells, rows.FIRST_CELL):
            make = _EARLY.get(type(cell))
            if make is not None:
                self.values[ref] = make(self, cell)

    def _range(self, cell: rows.RangeCell) -> range:
        start, stop, step = self.all_bound((cell.start, cell.stop, cell.step))
        if not (type(start) is type(stop) is type(step) is int) or step == 0:
            raise SnapshotInvalid("a range without bounds")
        # One that is drawn backwards begins a step beyond.
        if max(start.bit_length(), stop.bit_length(), step.bit_length()) > MAX_RANGE_BITS + 2:
            raise SnapshotInvalid("the bounds of a range are too large")
        return range(start, stop, step)

    def _view(self, cell: rows.ViewCell) -> DictView:
        mapping = self.bound(cell.mapping)
        if type(mapping) is not dict or cell.kind not in _VIEWS:
            raise SnapshotInvalid("a view of what is no dict")
        return DictView(ViewKind(cell.kind), mapping)

    def _fill(self) -> None:
        for cell, made in zip(self.cells, self.values[rows.FIRST_CELL :], strict=True):
            fill = _FILLS.get(type(cell))
            if fill is not None:
                fill(self, cell, made)

    def _fill_list(self, cell: rows.ListCell, made: list[Value]) -> None:
        made.extend(self.all_bound(cell.items))

    def _fill_record(self, cell: rows.RecordCell, made: RecordValue) -> None:
        fields: Any = made.fields
        fields.update(zip(cell.names, self.all_bound(cell.values), strict=True))

    def _fill_set(self, cell: rows.SetCell, made: SetValue) -> None:
        for ref in cell.items:
            made.items[self._new_key(made.items, ref)] = None
        if len(made.items) != len(cell.items):
            raise SnapshotInvalid("a set has a member twice")

    def _fill_cell(self, cell: rows.CellCell, made: values.Cell) -> None:
        made.content = self.value(cell.content)

    def _fill_exception(self, cell: rows.ExceptionCell, made: ExcValue) -> None:
        made.args = self.bound(cell.args)
        if type(made.args) is not tuple:
            raise SnapshotInvalid("an exception without arguments")

    def _fill_function(self, cell: rows.FunctionCell, made: FunctionValue) -> None:
        code = self.codes[cell.function]
        made.defaults = tuple(self.all_bound(cell.defaults))
        made.cells = tuple(self.all_bound(cell.cells))
        computed = code.defaults.count(COMPUTED) + code.keyword_defaults.count(COMPUTED)
        if len(made.defaults) != computed or len(made.cells) != len(code.captures):
            raise SnapshotInvalid(f"the function {code.name} has other defaults or variables")
        if any(type(inner) is not values.Cell for inner in made.cells):
            raise SnapshotInvalid(f"the function {code.name} shares what is no variable")

    def _fill_dict(self, cell: rows.DictCell, made: dict[Value, Value]) -> None:
        if len(cell.keys) != len(cell.values):
            raise SnapshotInvalid("a dict has other keys than values")
        for key, value in zip(cell.keys, cell.values, strict=True):
            made[self._new_key(made, key)] = self.bound(value)
        if len(made) != len(cell.keys):
            raise SnapshotInvalid("a dict has a key twice")

    def _new_key(self, mapping: dict[Value, Value], ref: int) -> Value:
        key = self._key(ref)
        if len(mapping) >= CROWD and crowd_of(mapping, key) >= CROWD:
            raise SnapshotInvalid("too many keys with one hash")
        return key

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
            elif type(value) not in _KEYS:
                raise SnapshotInvalid("a key that cannot be one")
        return key

    def _fill_iter(self, cell: rows.IterCell, made: Iter) -> None:
        kind = made.kind
        made.source = self.bound(cell.source)
        source = type(made.source)
        if source not in _WALKS[kind]:
            raise SnapshotInvalid("an iterator walks over what it cannot")
        if kind not in _UNSHOWN and made.shown not in classes_of(kind, made.source):
            raise SnapshotInvalid("an iterator has the name of another kind")
        if cell.keys:
            if kind not in _KEYED:
                raise SnapshotInvalid("an iterator has a source where it needs none")
            made.keys = tuple([self._key(ref) for ref in cell.keys])
        if cell.inner:
            self.nested = True
            made.inner = tuple(self.all_bound(cell.inner))
            if any(type(it) is not Iter for it in made.inner):
                raise SnapshotInvalid("an iterator draws from what is none")
        if kind in _KEYED or source in _STEADY:
            most = len(made.keys) if kind in _KEYED else length_of(made.source)
            if made.index > most:
                raise SnapshotInvalid("an iterator stands outside of what it walks over")
        wanted = _DRAWS.get(kind, 0)
        if (len(cell.inner) != wanted and wanted >= 0) or (cell.index and kind in _UNCOUNTED):
            raise SnapshotInvalid("an iterator draws from other iterators than it can")

    def _fill_box(self, cell: rows.BoxCell, _: Box) -> None:
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

        for made in self.values:
            if type(made) is Iter:
                made.depth = depth(made, 1)
                if made.depth > MAX_ITER_DEPTH:
                    raise SnapshotInvalid(f"iterators are nested deeper than {MAX_ITER_DEPTH}")


_EARLY: Final[dict[type, Callable[[Cells, Any], Value]]] = {
    rows.RangeCell: Cells._range,
    rows.ViewCell: Cells._view,
}
_FILLS: Final[dict[type, Callable[[Cells, Any, Any], None]]] = {
    rows.BoxCell: Cells._fill_box,
    rows.CellCell: Cells._fill_cell,
    rows.DictCell: Cells._fill_dict,
    rows.ExceptionCell: Cells._fill_exception,
    rows.FunctionCell: Cells._fill_function,
    rows.IterCell: Cells._fill_iter,
    rows.ListCell: Cells._fill_list,
    rows.RecordCell: Cells._fill_record,
    rows.SetCell: Cells._fill_set,
}
