"""Which fields of a batch a program names as literals: `row, cursor = stream.batch(rows, cursor, 1)`, `row["age"]`.

Rules of this module:

* A batch is known through a variable that is given nothing but the first value of `stream.batch`.
* Only what is certain is said: a key that the program looks for (`"age" in row`), stores, or reads where a handler
  stands is left out; where it fills some dict by `update` or `setdefault`, or a batch under a computed key, all are.
* Nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sojourn.vm.op import COMPARE, METHODS, Op
from sojourn.vm.program import NAMED, REST
from sojourn.vm.reach import walk_functions
from sojourn.vm.sites import UNKNOWN, literal_of, traced
from sojourn.vm.verifier import Code, VerifiedProgram

__all__ = ["FieldSite", "field_sites"]

_BATCH: Final = object()
_FILLS: Final = frozenset(tuple(METHODS).index(name) for name in ("setdefault", "update"))
_MEMBER: Final = frozenset(COMPARE.index(name) for name in ("in", "not in"))


@dataclass(frozen=True, slots=True)
class FieldSite:
    """One `batch[key]` in the code.

    Attributes:
        function: that it stands in.
        line: source line.
        key: the literal.
    """

    function: str
    line: int
    key: str


def field_sites(program: VerifiedProgram, entry: str) -> tuple[FieldSite, ...]:
    """Every literal key that a run of `entry` reads from a batch, regions included.

    Raises:
        ProgramInvalid: the program has no such entry.
    """
    codes = [program.codes[index] for index in walk_functions(program.codes, [program.entry_index(entry)])]
    if any(op == Op.METHOD and a in _FILLS for code in codes for op, a, _ in code.instructions):
        return ()
    own = {key for code in codes for key in _own(program, code)}
    return tuple(site for code in codes for site in _sites(program, code) if site.key not in own)


def _own(program: VerifiedProgram, code: Code) -> Iterator[str]:
    """Keys that a function looks for or stores, in any dict."""
    for _, op, a, taken in traced(program, code, lambda op, a, taken: literal_of(program, op, a, taken)):
        if op == Op.STORE_INDEX or (op == Op.COMPARE and a in _MEMBER):
            yield from (value for value in taken if isinstance(value, str))


def _sites(program: VerifiedProgram, code: Code) -> Iterator[FieldSite]:
    batches = _batches(program, code)

    def follow(op: int, a: int, taken: list[object]) -> object:
        if op == Op.LOAD:
            return _BATCH if a in batches else UNKNOWN
        return literal_of(program, op, a, taken)

    changed = any(
        op == Op.STORE_INDEX and taken[1] is _BATCH and taken[2] is UNKNOWN
        for _, op, _, taken in traced(program, code, follow)
    )
    for at, op, _, taken in () if changed else traced(program, code, follow):
        if op == Op.INDEX and taken[0] is _BATCH and isinstance(taken[1], str) and code.handler_at[at] < 0:
            yield FieldSite(code.name, code.lines[at], taken[1])


def _batches(program: VerifiedProgram, code: Code) -> set[int]:
    """Variables that hold batches and nothing else."""
    filled = code.params + code.keyword_only + bool(code.flags & REST) + bool(code.flags & NAMED)  # by the call
    stores: dict[int, bool] = dict.fromkeys(range(filled), False)
    for at, (op, a, _) in enumerate(code.instructions):
        if op == Op.STORE:
            stores[a] = stores.get(a, True) and _is_batch(program, code, at)
    return {local for local, whole in stores.items() if whole}


def _is_batch(program: VerifiedProgram, code: Code, at: int) -> bool:
    """Whether the instruction at `at` stores the first value of `stream.batch`."""
    if at < 2 or code.instructions[at - 1][:2] != (Op.UNPACK, 2):
        return False
    op, name, _ = code.instructions[at - 2]
    return op == Op.EFFECT and program.program.names[name] == "stream.batch"
