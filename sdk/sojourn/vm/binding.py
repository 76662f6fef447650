"""Binding the arguments of a call to parameters, once, before anything runs.

Functions are known by name, so that a call that does not fit is refused by the compiler with its line, and by the
verifier without one; the machine only follows the table made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sojourn.vm.program import Function
from sojourn.vm.shape import Shape

__all__ = ["REGION_LIMITS", "BoundCall", "bind_call", "bind_private"]

REGION_LIMITS: Final = ("fuel", "memory")


@dataclass(frozen=True, slots=True)
class BoundCall:
    """Where each parameter of a call comes from.

    Attributes:
        sources: for each parameter, position among the call's values, or -1 - k for default k.
        total: values of the call on the stack.
        limits: positions of `fuel` and `memory` among them, for a private region.
    """

    sources: tuple[int, ...]
    total: int
    limits: tuple[int, int] = (0, 0)


def bind_call(function: Function, shape: Shape) -> BoundCall | str:
    """Bind a call of `function`; or, as text, why it does not fit."""
    sources = _sources(function, shape.positional, dict.fromkeys(shape.names))
    if isinstance(sources, str):
        return sources
    order = {name: shape.positional + k for k, name in enumerate(shape.names)}
    named = tuple(order[source] if isinstance(source, str) else source for source in sources)
    return BoundCall(named, shape.total)


def bind_private(function: Function, shape: Shape) -> BoundCall | str:
    """Bind `private(function, *args, fuel=…, memory=…)`; or, as text, why it does not fit."""
    if sorted(shape.names) != sorted(REGION_LIMITS):
        return "private() takes the arguments of its function by position, and fuel= and memory="
    sources = _sources(function, shape.positional, {})
    if isinstance(sources, str):
        return sources
    limits = tuple(shape.positional + shape.names.index(name) for name in REGION_LIMITS)
    return BoundCall(tuple(s for s in sources if isinstance(s, int)), shape.total, (limits[0], limits[1]))


def _sources(function: Function, positional: int, named: dict[str, None]) -> list[int | str] | str:
    params = function.locals[: function.params]
    if positional > function.params:
        return f"{function.name}() takes {function.params} arguments, {positional} are given"
    for name in named:
        if name not in params:
            return f"{function.name}() has no parameter {name!r}; it has {', '.join(params) or 'none'}"
        if params.index(name) < positional:
            return f"{function.name}() is given {name!r} twice"
    sources: list[int | str] = list(range(positional))
    first = function.params - len(function.defaults)
    for position in range(positional, function.params):
        if params[position] in named:
            sources.append(params[position])
        elif position >= first:
            sources.append(-1 - (position - first))
        else:
            return f"{function.name}() lacks the argument {params[position]!r}"
    return sources
