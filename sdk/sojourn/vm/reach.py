"""Functions ready to run, and the effects that each entry can reach through them."""

from __future__ import annotations

from dataclasses import dataclass

from sojourn.errors import ProgramInvalid
from sojourn.vm.binding import BoundCall
from sojourn.vm.effects import EFFECTS
from sojourn.vm.op import Op
from sojourn.vm.program import Program
from sojourn.vm.values import Value

__all__ = ["Code", "reach_of"]


@dataclass(frozen=True, slots=True)
class Code:
    """One function, ready to run.

    Attributes:
        instructions: `(op, a, b)`.
        depth: values on the stack before each instruction; -1 where control never comes.
        loops: locals that only hold iterators.
        calls: for each CALL and PRIVATE instruction's position, where each parameter comes from.
        effects: for each EFFECT instruction's position, the parameter name of each argument.
    """

    name: str
    params: int
    defaults: tuple[Value, ...]
    locals: tuple[str, ...]
    instructions: tuple[tuple[int, int, int], ...]
    lines: tuple[int, ...]
    depth: tuple[int, ...]
    most: int
    loops: frozenset[int]
    calls: dict[int, BoundCall]
    effects: dict[int, tuple[str, ...]]


def _walk(codes: tuple[Code, ...], roots: list[int]) -> list[int]:
    """The functions that calls lead to from `roots`, regions not entered."""
    seen, work = set(roots), list(roots)
    while work:
        for op, a, _ in codes[work.pop()].instructions:
            if op == Op.CALL and a not in seen:
                seen.add(a)
                work.append(a)
    return sorted(seen)


def reach_of(program: Program, codes: tuple[Code, ...]) -> dict[str, frozenset[str]]:
    """Effects by entry, with the rule of the two worlds checked on the way."""
    regions = sorted({a for code in codes for op, a, _ in code.instructions if op == Op.PRIVATE})
    for index in _walk(codes, regions):
        for at, (op, a, _) in enumerate(codes[index].instructions):
            name = program.names[a] if op == Op.EFFECT else ""
            if op == Op.PRIVATE or (name and "region" not in EFFECTS[name].worlds):
                where = f"function {codes[index].name}, instruction {at}"
                raise ProgramInvalid(f"{where}: {name or 'private'} inside a private region")
    result: dict[str, frozenset[str]] = {}
    for entry in program.entries:
        public = _walk(codes, [entry])
        inside = _walk(codes, [a for i in public for op, a, _ in codes[i].instructions if op == Op.PRIVATE])
        names = _effects(program, codes, public)
        for name in names:
            if "public" not in EFFECTS[name].worlds:
                raise ProgramInvalid(f"entry {codes[entry].name}: {name} outside of a private region")
        result[codes[entry].name] = frozenset(names | _effects(program, codes, inside))
    return result


def _effects(program: Program, codes: tuple[Code, ...], functions: list[int]) -> set[str]:
    return {program.names[a] for i in functions for op, a, _ in codes[i].instructions if op == Op.EFFECT}
