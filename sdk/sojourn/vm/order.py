"""Whether the cells of a snapshot are those that `snapshot.dump` writes of the state that they make, and in its order.

`dump` numbers what it meets: the frames of all runs, the pending effect's arguments, the result, then what each cell
refers to, cell by cell. It writes a cell only for what it has met, and one cell for all that is equal by value. So a
snapshot is what `dump` writes of its own state exactly if

* its references, in that order, name each cell for the first time one after the other, and leave none out;
* each cell has been named before its own references are looked at;
* no two cells stand for what is equal by value, and one at most for the empty tuple, which is one object of the host.

The rest of a row says the same as the value that is made of it: `shells` and `cells` refuse what does not (an integer
that is not in its shortest form, a key that is there twice, sources out of order), `restore` sees to frames and runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sojourn.vm import snapshot as rows

__all__ = ["REFERENCES", "as_written"]

# What a cell refers to, in the order in which `dump` meets it.
REFERENCES: Final[dict[type, Callable[[Any], Sequence[int]]]] = {
    rows.TupleCell: lambda cell: cell.items,
    rows.ListCell: lambda cell: cell.items,
    rows.DictCell: lambda cell: cell.keys + cell.values,
    rows.RangeCell: lambda cell: (cell.start, cell.stop, cell.step),
    rows.RecordCell: lambda cell: cell.values,
    rows.BoxCell: lambda cell: (cell.value,),
    rows.ViewCell: lambda cell: (cell.mapping,),
    rows.IterCell: lambda cell: (*cell.keys, *cell.inner, cell.source),
    rows.SetCell: lambda cell: cell.items,
    rows.CellCell: lambda cell: (cell.content,),
    rows.FunctionCell: lambda cell: cell.defaults + cell.cells,
    rows.ExceptionCell: lambda cell: (cell.args,),
    rows.SuspendedCell: lambda cell: [
        reference for frame in cell.frames for reference in (*frame.locals, *frame.stack)
    ],
}
_BY_VALUE: Final = frozenset((rows.IntCell, rows.StrCell, rows.BytesCell, rows.BuiltinCell))


def as_written(snapshot: rows.Snapshot) -> bool:
    """Whether the cells stand as `dump` writes them, in a snapshot of which a machine could be made."""
    met: list[int] = []
    for run in snapshot.runs:
        for frame in run.frames:
            met += frame.locals
            met += frame.stack
    if snapshot.pending is not None:
        met += snapshot.pending.args
    met.append(snapshot.done)
    named = _named(met, rows.FIRST_CELL)
    once: list[object] = []  # what may be there once: cells, digits of floats, ids of handles, the empty tuple
    for number, cell in enumerate(snapshot.cells, rows.FIRST_CELL):
        kind = type(cell)
        if kind in _BY_VALUE:
            once.append(cell)
        elif isinstance(cell, rows.FloatCell):
            once.append(cell.number.hex())
        elif isinstance(cell, rows.HandleCell):
            once.append(cell.id)  # equal by id, whatever else they say
        elif number >= named:  # whenever `named` is 0, too
            return False
        else:
            references = REFERENCES[kind](cell)
            if references:
                named = _named(references, named)
            elif kind is rows.TupleCell:
                once.append(())
    return named == rows.FIRST_CELL + len(snapshot.cells) and len(set(once)) == len(once)


def _named(references: Sequence[int], named: int) -> int:
    """The first number that is not named yet, after these references; 0 if one of them leaves a number out."""
    for reference in references:
        if reference >= named:
            if reference > named:
                return 0
            named += 1
    return named
