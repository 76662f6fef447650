"""What a trial comes to: what would leave, and what a job and an owner's policy would have to say for it to leave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sojourn.agent.releases import trained_shapes
from sojourn.client.drafts import PolicyTerms, policy_text
from sojourn.client.review import Code, streams_of
from sojourn.client.trial.desk import OWNER, Desk
from sojourn.codec import Kind, digest, encode, header_of
from sojourn.contracts import Plan, Released, ReleaseSpec
from sojourn.datoms import WEIGHT, Block, UpdateReader, decode_manifest, split_datoms
from sojourn.errors import UsageError
from sojourn.vm import VerifiedProgram

__all__ = ["Left", "answer_text", "draft_policy", "left"]


@dataclass(frozen=True, slots=True)
class Left:
    """One release as it would leave.

    Attributes:
        kind: `update`, `count`, `sum` or `mean`.
        name: public.
        mechanism: that bounded it.
        value: the number; None for an update.
        weight: of an update.
        norm: L2 norm of an update's change, as a coordinator would read it.
        size: bytes of an update.
    """

    kind: str
    name: str
    mechanism: str
    value: float | None
    weight: int = 0
    norm: float = 0.0
    size: int = 0

    @property
    def text(self) -> str:
        """In words."""
        if self.value is not None:
            return f"{self.kind} {self.name!r} = {self.value!r} ({self.mechanism})"
        change = f"L2 norm of the change {self.norm:.6g}"
        return f"update of {self.size} bytes, weight {self.weight}, {change} ({self.mechanism})"

    @property
    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        shown: dict[str, Any] = {"kind": self.kind, "name": self.name, "mechanism": self.mechanism}
        if self.value is not None:
            return {**shown, "value": self.value}
        return {**shown, "weight": self.weight, "norm": self.norm, "bytes": self.size}


def left(desk: Desk) -> tuple[Left, ...]:
    """What would leave, in the order of the answer."""
    statements, stream = desk.released()
    specs = {(spec.kind, spec.name): spec for spec in desk.releases}
    return tuple(_left(each, specs[each.kind, each.name], desk.data.plan, stream) for each in statements)


def _left(statement: Released, spec: ReleaseSpec, plan: Plan, stream: bytes) -> Left:
    if spec.update is None:
        return Left(statement.kind, statement.name, statement.mechanism, statement.value)
    datoms = split_datoms(stream)
    reader = UpdateReader(trained_shapes(plan), spec.update)
    for datom in datoms:
        reader.feed(datom)
    weight, _ = reader.finish()
    names = [tensor.name for tensor in decode_manifest(datoms[0]).tensors]
    squares = 0.0
    for datom in datoms[1:]:
        if header_of(datom)[0] != Kind.SEAL:
            block = Block.decode(datom)
            if names[block.tensor] != WEIGHT:
                squares += float(np.square(block.array().astype(np.float64)).sum())
    norm = math.sqrt(squares) * spec.update.scale / weight if weight else 0.0
    return Left(statement.kind, statement.name, statement.mechanism, None, weight, norm, len(stream))


def answer_text(specs: tuple[ReleaseSpec, ...]) -> list[str]:
    """The answer of a phase, as Python for `phase(..., answer=[...])`."""
    lines = []
    for spec in specs:
        if spec.update is not None:
            lines.append(f"update(clip={spec.update.clip!r}, max_weight={spec.update.max_weight})")
        elif spec.kind == "count":
            lines.append(f"count({spec.name!r}, high={spec.high!r})")
        else:
            word = "mean" if spec.kind == "mean" else "total"
            lines.append(f"{word}({spec.name!r}, low={spec.low!r}, high={spec.high!r})")
    return lines


def draft_policy(program: VerifiedProgram, entry: str, desk: Desk, fuel: int, memory: int) -> str:
    """The least policy under which an owner lets this happen; author and purpose are the job's to fill in."""
    try:
        streams = streams_of(Code(program, "the program"), [entry])
    except UsageError:
        streams = {name: tuple(sorted(columns)) for name, columns in desk.data.streams.items()}
    terms = PolicyTerms(
        title=entry,
        author="KEY ID OF THE AUTHOR",
        purpose="PURPOSE OF THE JOB",
        program=program.digest.hex(),
        plan=digest(encode(desk.data.plan)).hex(),
        streams=streams,
        effects=program.effects(entry),
        fuel=fuel,
        memory=memory,
        releases=desk.releases,
    )
    return policy_text(OWNER, terms)
