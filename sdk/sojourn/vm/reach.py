"""Functions ready to run, and the effects that each entry can reach through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sojourn.errors import ProgramInvalid
from sojourn.vm.binding import BoundCall
from sojourn.vm.effects import EFFECTS, TASKS
from sojourn.vm.op import Op
from sojourn.vm.program import Handler, Program
from sojourn.vm.values import Value

__all__ = ["Code", "reach_of", "walk_functions"]


@dataclass(frozen=True, slots=True)
class Code:
    """One function, ready to run. Fields that a `Function` has too are explained there.

    Attributes:
        constant_defaults: of positional, then keyword-only parameters; None where a default is no constant.
        instructions: `(op, a, b)`.
        lines: the place of each instruction, see `sojourn.vm.places`.
        depth: values on the stack before each instruction; -1 where control never comes.
        loops: locals that only hold iterators.
        boxed: locals that only hold cells.
        handler_at: for each instruction, the handler that counts, as its index in `handlers`, or -1.
        calls: for each CALL, PRIVATE, PRIVATE_VALUE, FORK and SPAWN instruction's position, where its arguments lie.
        effects: for each EFFECT instruction's position, the parameter name of each argument.
    """

    name: str
    params: int
    keyword_only: int
    flags: int
    defaults: tuple[int, ...]
    keyword_defaults: tuple[int, ...]
    constant_defaults: tuple[Value, ...]
    locals: tuple[str, ...]
    cells: tuple[int, ...]
    free: tuple[int, ...]
    captures: tuple[int, ...]
    instructions: tuple[tuple[int, int, int], ...]
    lines: tuple[int, ...]
    depth: tuple[int, ...]
    most: int
    loops: frozenset[int]
    boxed: frozenset[int]
    handlers: tuple[Handler, ...]
    handler_at: tuple[int, ...]
    calls: dict[int, BoundCall]
    effects: dict[int, tuple[str, ...]]


_CALLS: Final = frozenset((Op.CALL,))
_ALL: Final = frozenset((Op.CALL, Op.CLOSURE, Op.PRIVATE))


def walk_functions(codes: tuple[Code, ...], roots: list[int], edges: frozenset[Op] = _ALL) -> list[int]:
    """The functions that `edges` lead to from `roots`, in order.

    With all edges it is what a run can execute: a function value exists only where a CLOSURE instruction made it.
    """
    seen, work = set(roots), list(roots)
    while work:
        for op, a, _ in codes[work.pop()].instructions:
            if op in edges and a not in seen:
                seen.add(a)
                work.append(a)
    return sorted(seen)


def reach_of(program: Program, codes: tuple[Code, ...]) -> dict[str, frozenset[str]]:
    """Effects by entry, with the rule of the two worlds checked on the way where calls go by name.

    What a function value does in the wrong world is refused by the machine, when it does it.
    """
    regions = sorted({a for code in codes for op, a, _ in code.instructions if op == Op.PRIVATE})
    for index in walk_functions(codes, regions, _CALLS):
        for at, (op, a, _) in enumerate(codes[index].instructions):
            name = program.names[a] if op == Op.EFFECT else TASKS.get(op, "")
            if name and "region" not in EFFECTS[name].worlds:
                raise ProgramInvalid(f"function {codes[index].name}, instruction {at}: {name} inside a private region")
    called, executed = _effects(program, codes, _CALLS), _effects(program, codes, _ALL)
    for entry in program.entries:
        for name in sorted(called[entry]):
            if "public" not in EFFECTS[name].worlds:
                raise ProgramInvalid(f"entry {codes[entry].name}: {name} outside of a private region")
    return {codes[entry].name: frozenset(executed[entry]) for entry in program.entries}


def _effects(program: Program, codes: tuple[Code, ...], edges: frozenset[Op]) -> list[set[str]]:
    """For each function, the effects of all functions that `edges` lead to from it.

    Effects are passed on to callers until nothing changes: linear in the code, however many entries there are.
    """
    found: list[set[str]] = [set() for _ in codes]
    callers: list[set[int]] = [set() for _ in codes]
    for index, code in enumerate(codes):
        for op, a, _ in code.instructions:
            if op == Op.EFFECT:
                found[index].add(program.names[a])
            elif op in TASKS:
                found[index].add(TASKS[op])
            elif op in edges:
                callers[a].add(index)
    work = list(range(len(codes)))
    while work:
        index = work.pop()
        for caller in callers[index]:
            if not found[index] <= found[caller]:
                found[caller] |= found[index]
                work.append(caller)
    return found
