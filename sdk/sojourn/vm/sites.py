"""Where a verified program makes its effects, and which of their arguments stand in its code as constants.

What an entry *can* reach is `VerifiedProgram.effects`. This says more, for people and for checks made beforehand: the
line, the names of the arguments, and the value of each argument that is a literal. One pass over the code of each
function follows constants on the stack within a straight line of instructions; whatever came through a variable or a
branch is unknown and left out. Nothing is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sojourn.vm.op import ISA, UNARY, Op, Operand, stack_effect
from sojourn.vm.reach import walk_functions
from sojourn.vm.values import Value
from sojourn.vm.verifier import Code, VerifiedProgram

__all__ = ["UNKNOWN", "EffectSite", "effect_sites", "literal_of", "traced"]

UNKNOWN: Final = object()
"""A value on the stack of which nothing is known."""

Follow = Callable[[int, int, list[object]], object]
_MINUS: Final = UNARY.index("-")


@dataclass(frozen=True, slots=True)
class EffectSite:
    """One place where an effect is made.

    Attributes:
        effect: its name, `"release.count"`.
        function: the function that makes it.
        line: source line.
        names: names of all arguments.
        constants: the arguments that are literals, by name. A list or tuple of literals is a tuple.
    """

    effect: str
    function: str
    line: int
    names: tuple[str, ...]
    constants: Mapping[str, Value]


def effect_sites(program: VerifiedProgram, entry: str) -> tuple[EffectSite, ...]:
    """Every place where a run of `entry` can make an effect, its private regions included.

    Places of one function stand in the order of its code; functions in the order of the program.

    Raises:
        ProgramInvalid: the program has no such entry.
    """
    found: list[EffectSite] = []
    for index in walk_functions(program.codes, [program.entry_index(entry)]):
        found += _sites(program, program.codes[index])
    return tuple(found)


def _sites(program: VerifiedProgram, code: Code) -> list[EffectSite]:
    found: list[EffectSite] = []
    for at, op, a, taken in traced(program, code, lambda op, a, taken: literal_of(program, op, a, taken)):
        if op == Op.EFFECT:
            names = code.effects[at]
            known = {name: value for name, value in zip(names, taken, strict=True) if value is not UNKNOWN}
            name = program.program.names[a]
            found.append(EffectSite(name, code.name, code.lines[at], names, MappingProxyType(known)))
    return found


def traced(program: VerifiedProgram, code: Code, follow: Follow) -> Iterator[tuple[int, int, int, list[object]]]:
    """Each instruction of a function that control can come to: position, operation, first operand, values it takes.

    Args:
        program: whose function it is.
        code: of the function.
        follow: what is known of the one value that an instruction gives: of its operation, first operand and the values
            it takes. Asked after the instruction was yielded. At the target of a jump nothing is known.
    """
    targets = _targets(code)
    stack: list[object] = []
    for at, (op, a, b) in enumerate(code.instructions):
        if code.depth[at] < 0:  # control never comes here
            continue
        if at in targets or len(stack) != code.depth[at]:
            stack = [UNKNOWN] * code.depth[at]
        pops, pushes = stack_effect(op, a, b, program.program.shapes)
        taken = stack[len(stack) - pops :]
        yield at, op, a, taken
        del stack[len(stack) - pops :]
        stack += [follow(op, a, taken)] if pushes == 1 else [UNKNOWN] * pushes


def _targets(code: Code) -> set[int]:
    """Instructions that are jumped to: values may come there on more than one way."""
    found = set()
    for op, a, b in code.instructions:
        spec = ISA[op]
        if spec.on_jump is not None:
            found.add(b if spec.b is Operand.TARGET else a)
    return found


def literal_of(program: VerifiedProgram, op: int, a: int, taken: list[object]) -> object:
    """What an instruction gives that makes a literal, else `UNKNOWN`."""
    if op == Op.CONST:
        return program.constants[a]
    if op in {Op.LIST, Op.TUPLE} and UNKNOWN not in taken:
        return tuple(taken)
    if op == Op.UNARY and a == _MINUS and type(taken[0]) in {int, float}:
        return -taken[0]  # type: ignore[operator]
    return UNKNOWN
