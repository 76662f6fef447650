"""Binding the arguments of a call to parameters, once, before anything runs.

A function that is called by its name is known, so that a call that does not fit is refused by the compiler with its
line, and by the verifier without one; the machine only follows the table made here. Calls of values are bound by
`sojourn.vm.calling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sojourn.vm.program import COMPUTED, NAMED, REQUIRED, REST, Function
from sojourn.vm.shape import Shape

__all__ = ["REGION_LIMITS", "BoundCall", "bind_call", "bind_private", "limits_of"]

REGION_LIMITS: Final = ("fuel", "memory")


@dataclass(frozen=True, slots=True)
class BoundCall:
    """Where each parameter of a call comes from.

    Attributes:
        sources: for each parameter, position among the call's values, or -1 - k for constant default k.
        total: values of the call on the stack.
        limits: positions of `fuel` and `memory` among them, for a private region.
        rest: positions of further positional arguments.
        named: names and positions of further named arguments.
    """

    sources: tuple[int, ...]
    total: int
    limits: tuple[int, int] = (0, 0)
    rest: tuple[int, ...] = ()
    named: tuple[tuple[str, int], ...] = ()


def bind_call(function: Function, shape: Shape) -> BoundCall | str:
    """Bind a call of `function`; or, as text, why it does not fit."""
    named = {name: shape.positional + k for k, name in enumerate(shape.names)}
    return _bind(function, shape.positional, named, shape.total, (0, 0))


def bind_private(function: Function, shape: Shape) -> BoundCall | str:
    """Bind `private(function, *args, fuel=…, memory=…)`; or, as text, why it does not fit."""
    limits = limits_of(shape)
    if isinstance(limits, str):
        return limits
    return _bind(function, shape.positional, {}, shape.total, limits)


def limits_of(shape: Shape) -> tuple[int, int] | str:
    """Positions of `fuel` and `memory` among the values of a call that takes both, and positional arguments."""
    if sorted(shape.names) != sorted(REGION_LIMITS):
        return "private() takes the arguments of its function by position, and fuel= and memory="
    first, second = (shape.positional + shape.names.index(name) for name in REGION_LIMITS)
    return first, second


def _bind(
    function: Function, positional: int, given: dict[str, int], total: int, limits: tuple[int, int]
) -> BoundCall | str:
    name, params = function.name, function.named
    if function.captures or function.computed:
        return f"{name}() is only called as a value"
    if positional > function.params and not function.flags & REST:
        return f"{name}() takes {function.params} arguments, {positional} are given"
    known = frozenset(params)
    further = tuple((word, at) for word, at in given.items() if word not in known)
    if further and not function.flags & NAMED:
        return f"{name}() has no parameter {further[0][0]!r}; it has {', '.join(params) or 'none'}"
    sources = list(range(min(positional, function.params)))
    taken = frozenset(params[: len(sources)])
    for word in given:
        if word in taken:
            return f"{name}() is given {word!r} twice"
    first = function.params - len(function.defaults)
    defaults = (*function.defaults, *function.keyword_defaults)
    for position in range(len(sources), len(params)):
        if params[position] in given:
            sources.append(given[params[position]])
        elif position >= first and defaults[position - first] not in (REQUIRED, COMPUTED):
            sources.append(-1 - (position - first))
        else:
            return f"{name}() lacks the argument {params[position]!r}"
    return BoundCall(tuple(sources), total, limits, tuple(range(function.params, positional)), further)
