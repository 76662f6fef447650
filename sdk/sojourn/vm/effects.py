"""The effects that a program can ask of its host: one table for compiler, verifier, machine, policy and hosts.

Durability (DESIGN.md section 4): *pure* effects are recomputable, their results are sealed at a cadence; *read*
effects record cursor and digest; *commit* effects are durable before anything leaves the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from sojourn.vm.op import Op
from sojourn.vm.shape import Shape

__all__ = ["EFFECTS", "FORMS", "NAMESPACES", "TASKS", "Durability", "EffectSpec", "World", "bind"]

Durability = Literal["pure", "read", "commit"]
World = Literal["public", "region"]

BOTH: Final[frozenset[World]] = frozenset(("public", "region"))
PUBLIC_ONLY: Final[frozenset[World]] = frozenset(("public",))
REGION_ONLY: Final[frozenset[World]] = frozenset(("region",))


@dataclass(frozen=True, slots=True)
class EffectSpec:
    """What an effect takes, where it may be made, and what a host owes it.

    Attributes:
        name: `namespace.effect`.
        params: positional-or-keyword parameters in order.
        required: how many of them must be given, from the left.
        varkw: whether further keyword arguments are taken.
        durability: see the module.
        worlds: where it may be made.
        boxed: whether an argument may be a box in the public world.
        hidden: the language has a form of its own for it, so that it is not called as `namespace.effect(...)`.
        releases: a release: its first parameter must be a box and it always resumes with None.
    """

    name: str
    params: tuple[str, ...]
    required: int
    varkw: bool
    durability: Durability
    worlds: frozenset[World]
    boxed: bool
    releases: bool = False
    hidden: bool = False

    @property
    def signature(self) -> str:
        """How a call reads, for messages: `gpu.run(name, **inputs)`."""
        parts = [name if k < self.required else f"{name}=None" for k, name in enumerate(self.params)]
        return f"{self.name}({', '.join([*parts, '**inputs'] if self.varkw else parts)})"


def _effect(
    name: str,
    params: str,
    durability: Durability,
    worlds: frozenset[World],
    *,
    optional: int = 0,
    varkw: bool = False,
    boxed: bool = False,
    hidden: bool = False,
) -> EffectSpec:
    names = tuple(params.split())
    required = len(names) - optional
    return EffectSpec(name, names, required, varkw, durability, worlds, boxed, name.startswith("release."), hidden)


_TABLE: Final = (
    _effect("stream.open", "name fields", "read", PUBLIC_ONLY),
    _effect("stream.first", "rows", "read", REGION_ONLY),
    _effect("stream.batch", "rows cursor n", "read", REGION_ONLY),
    _effect("gpu.run", "name", "pure", BOTH, varkw=True, boxed=True),
    _effect("tensor.item", "tensor", "pure", BOTH, boxed=True),
    _effect("release.update", "box of weight base", "commit", PUBLIC_ONLY, boxed=True),
    _effect("release.count", "box of name high", "commit", PUBLIC_ONLY, boxed=True),
    _effect("release.mean", "box of name low high", "commit", PUBLIC_ONLY, boxed=True),
    _effect("release.sum", "box of name low high", "commit", PUBLIC_ONLY, boxed=True),
    _effect("log.note", "text", "commit", BOTH),
    _effect("fleet.invite", "round", "commit", PUBLIC_ONLY),
    _effect("fleet.ask", "cohort phase", "commit", PUBLIC_ONLY, varkw=True),
    _effect("updates.aggregate", "answers policy base", "commit", PUBLIC_ONLY),
    _effect("model.publish", "model round", "commit", PUBLIC_ONLY),
    _effect("task.spawn", "child fuel memory", "commit", PUBLIC_ONLY, hidden=True),
    _effect("task.join", "task within", "commit", PUBLIC_ONLY, optional=1),
    _effect("task.cancel", "task", "commit", PUBLIC_ONLY),
)

EFFECTS: Final[dict[str, EffectSpec]] = {spec.name: spec for spec in _TABLE}
# The effects behind forms of the language, by operation and by name.
TASKS: Final[dict[int, str]] = {Op.SPAWN: "task.spawn", Op.FORK: "task.spawn"}
FORMS: Final[dict[str, str]] = {"join": "task.join", "cancel": "task.cancel"}

_COORDINATOR_ONLY: Final = frozenset(n for n in EFFECTS if n.partition(".")[0] in {"fleet", "updates", "model"})

ROUNDS_EFFECTS: Final = _COORDINATOR_ONLY | {"log.note"}
"""What a coordinator serves."""

AGENT_EFFECTS: Final = frozenset(EFFECTS) - _COORDINATOR_ONLY
"""What an agent serves; an owner's policy admits each by name. Rounds have no children."""

NAMESPACES: Final = frozenset(name.partition(".")[0] for name in EFFECTS)


def bind(spec: EffectSpec, shape: Shape) -> tuple[str, ...] | str:
    """The parameter name of each argument of a call, in stack order; or, as text, why the call does not fit."""
    if shape.positional > len(spec.params):
        return f"{spec.name}() takes {len(spec.params)} positional arguments, {shape.positional} are given"
    names = spec.params[: shape.positional] + shape.names
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return f"{spec.name}() is given {name!r} twice"
        if name not in spec.params and not spec.varkw:
            return f"{spec.name}() has no parameter {name!r}"
        seen.add(name)
    missing = [name for name in spec.params[: spec.required] if name not in names]
    if missing:
        return f"{spec.name}() lacks {', '.join(repr(name) for name in missing)}"
    return names
