"""The observer: everything of a run that may leave its host, as one value that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pytest
from sojourn.codec import digest, digest_parts
from sojourn.errors import MachineError, ProgramRefused
from sojourn.labels import PUBLIC, Label
from sojourn.vm import (
    EFFECTS,
    Box,
    Done,
    Effect,
    Failed,
    Handle,
    Machine,
    Parked,
    RecordValue,
    RegionError,
    VerifiedProgram,
    compile_source,
    verify,
)
from sojourn.vm.op import EXCEPTIONS
from sojourn.vm.snapshot import dump
from sojourn.vm.state import Run
from sojourn.vm.values import SetValue
from sojourn.vm.walking import BoxContent

PATIENTS = Label.of("clinic/patients")
RUN = bytes(range(32))
FUEL, MEMORY = 60_000, 1_000_000
# What cannot be seen outside: reads and computations of a region, and the owner's own log.
INSIDE = frozenset(name for name, spec in EFFECTS.items() if "region" in spec.worlds)
BOXED = frozenset(name for name, spec in EFFECTS.items() if spec.boxed and not spec.releases)


@dataclass
class World:
    """A host, and what may leave it.

    Attributes:
        secret: what `tensor.item` reads from private tensors.
        rows: how many rows a private stream has.
        left: what left, in order.
    """

    secret: Any
    rows: int
    left: list[Any] = field(default_factory=list)
    children: dict[bytes, Machine] = field(default_factory=dict)
    position: dict[bytes, int] = field(default_factory=dict)

    def drive(self, machine: Machine, slice_fuel: int = 10**9) -> Done | Failed:
        """Run to the end."""
        while True:
            progress = machine.run(slice_fuel)
            if isinstance(progress, Parked):
                effect = progress.effect
                if not machine.in_region or effect.name not in INSIDE:
                    self.left.append(seen(machine, effect))
                self.answer(machine, effect)
            elif isinstance(progress, Done | Failed):
                self.left.append(ending(machine, progress))
                return progress

    def answer(self, machine: Machine, effect: Effect) -> None:
        """Resume or throw: private things as the secret has it, public ones from the occurrence alone."""
        name, args = effect.name, effect.args
        private = effect.boxed or machine.in_region
        if name.startswith("release."):
            content = machine.open(args["box"])
            try:
                machine.resume(content if not isinstance(content, RegionError) else None)
            except MachineError:
                machine.resume(None)  # the machine takes nothing else from a release
        elif name == "task.spawn":
            child = machine.child()
            self.children[child.run_id] = child
            machine.resume(Handle("task", child.run_id, PUBLIC))
        elif name == "task.join":
            self.join(machine, self.children[args["task"].id])
        elif private and name == "gpu.run" and (args["name"] == "fails" and self.secret > 5):
            machine.throw("ValueError", f"failed at {self.secret}")
        else:
            machine.resume(self.result(machine, effect, private=private))

    def join(self, machine: Machine, child: Machine) -> None:
        progress = self.drive(child)
        try:
            if isinstance(progress, Done):
                machine.resume(progress.value)
            else:
                machine.throw(progress.code if progress.code in EXCEPTIONS else "RuntimeError", "the child failed")
        except MachineError as problem:
            machine.throw("ValueError", str(problem))

    def result(self, machine: Machine, effect: Effect, *, private: bool) -> Any:
        """What an effect gives."""
        name, args = effect.name, effect.args
        if name == "stream.open":
            return self.handle("stream", effect, "stream", PATIENTS)
        if name == "stream.first":
            return self.handle("cursor", effect, "0", effect.label) if self.rows else None
        if name == "stream.batch":
            return self.batch(effect)
        if name == "gpu.run":
            return {"out": self.handle("tensor", effect, "out", PATIENTS if private else PUBLIC)}
        if name == "tensor.item":
            given = machine.open(args["tensor"]) if isinstance(args["tensor"], Box) else args["tensor"]
            private = private or (isinstance(given, Handle) and not given.label.is_public)
            large = isinstance(given, dict) and given.get("large")
            return "x" * (100 * self.secret) if large else self.secret if private else 1
        if name in ("log.note", "task.cancel"):
            return None
        return self.handle({"fleet.invite": "cohort", "fleet.ask": "answers"}.get(name, "model"), effect, "r", PUBLIC)

    def batch(self, effect: Effect) -> Any:
        at = self.position.get(effect.args["cursor"].id, 0)
        count = min(effect.args["n"], self.rows - at)
        batch = {"x": self.handle("tensor", effect, "x", effect.label), "rows": count}
        if at + count >= self.rows:
            return (batch, None)
        cursor = self.handle("cursor", effect, "next", effect.label)
        self.position[cursor.id] = at + count
        return (batch, cursor)

    @staticmethod
    def handle(kind: str, effect: Effect, part: str, label: Label) -> Handle:
        run, operation = effect.occurrence
        return Handle(kind, digest_parts("handle", run, operation.to_bytes(8, "big"), part.encode()), label)


def shown(machine: Machine, value: Any) -> Any:
    """A value as it leaves. A host that was given a box as a name or a number would look into it, and send that."""
    if isinstance(value, Box):
        content = machine.open(value)
        return ("opened", content.code if isinstance(content, RegionError) else shown(machine, content))
    return plain(value, lambda inner: shown(machine, inner))


def sealed(value: Any) -> Any:
    """A value whose boxes stay closed: identity and label."""
    if isinstance(value, Box):
        return ("box", value.id, value.label.names)
    return plain(value, sealed)


def plain(value: Any, inner: Callable[[Any], Any]) -> Any:
    if isinstance(value, Handle):
        return (value.kind, value.id, value.label.names)
    if isinstance(value, RecordValue):
        return (value.type_name, tuple((name, inner(item)) for name, item in value.fields.items()))
    if isinstance(value, SetValue):
        return ("set", tuple(inner(item) for item in value.items))
    if isinstance(value, list | tuple):
        return (type(value).__name__, tuple(inner(item) for item in value))
    if isinstance(value, dict):
        return ("dict", tuple((inner(key), inner(item)) for key, item in value.items()))
    return (type(value).__name__, repr(value))


def outside(machine: Machine) -> bytes:
    """The public part of the state: what a host could store anywhere. Contents of boxes and regions are cut off."""
    run = machine.runs[0]
    boxes = {name: BoxContent(None, row.charge) for name, row in run.boxes.items()}
    public = Run(run.program, run.id, run.label, False, run.operation, run.fuel, run.memory, run.limit,
                 run.frames, boxes)  # fmt: skip
    copy = Machine(machine.program, [public])
    copy.outcome = machine.outcome
    if len(machine.runs) == 1:
        copy.asked = machine.asked
    return dump(copy)


def state_of(machine: Machine) -> tuple[Any, ...]:
    """Budgets, charges of boxes, size and digest of the public part of the state."""
    run, stored = machine.runs[0], outside(machine)
    return (run.fuel, run.memory, run.limit, run.operation, len(stored), digest(stored))


def seen(machine: Machine, effect: Effect) -> tuple[Any, ...]:
    """One effect that may leave, with the state that a host stores before it."""
    look = sealed if effect.name in BOXED else (lambda value: shown(machine, value))
    payload = {"box"} if effect.name.startswith("release.") else {"child"}
    args = tuple((k, sealed(v) if k == "box" else k if k in payload else look(v)) for k, v in effect.args.items())
    return (effect.name, args, tuple(effect.occurrence), effect.durability, effect.label.names, effect.boxed,
            state_of(machine))  # fmt: skip


def ending(machine: Machine, progress: Done | Failed) -> tuple[Any, ...]:
    if isinstance(progress, Done):
        return ("done", sealed(progress.value), state_of(machine))
    return ("failed", progress.code, progress.line, progress.detail, state_of(machine))


def program_of(source: str) -> VerifiedProgram | str:
    """The program, or the text of its refusal."""
    return _compiled(source, tuple(EFFECTS.values()))


@lru_cache(maxsize=256)
def _compiled(source: str, _effects: tuple[Any, ...]) -> VerifiedProgram | str:
    """Once for the two runs of a program, and anew where a test has changed the table of effects."""
    try:
        return verify(compile_source(source, "program.py").encode())
    except ProgramRefused as refusal:
        return str(refusal)


def observe(source: str, secret: Any, rows: int = 5, slice_fuel: int = 10**9) -> list[Any]:
    """Everything that may leave a run of `main` on a host with this private input; or that it is refused."""
    program = program_of(source)
    if isinstance(program, str):
        return [("refused", program)]
    world = World(secret, rows)
    private = Handle("tensor", b"private tensor", PATIENTS)
    order = RecordValue("order", {"private": private, "args": {"k": 1}})
    machine = Machine.start(program, "main", [order], RUN, FUEL, MEMORY)
    world.drive(machine, slice_fuel)
    return world.left


class Leaks:
    """Names of this file, for tests in importlib mode."""

    observe, program_of = staticmethod(observe), staticmethod(program_of)


@pytest.fixture(scope="session")
def leaks() -> type[Leaks]:
    return Leaks
