"""A host for tests: answers effects from fixed tables, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sojourn.codec import digest_parts
from sojourn.labels import PUBLIC, Label
from sojourn.vm import (
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
from sojourn.vm.compiler import find_in

PATIENTS = Label.of("clinic/patients")
RUN = bytes(range(32))
FUEL, MEMORY = 1_000_000, 10_000_000


# Modules that a source of a test may import; the golden program of modules does.
MODULES = {
    "shared": """
from tools.counting import counter, STEP
LIMIT = 3
def step(n, by=STEP):
    log.note(f"step {n}")
    return n + by
def inside(rows, most):
    up = counter(0)
    batch, cursor = stream.batch(rows, stream.first(rows), most)
    return {"n": up(batch["rows"]), "step": step(1)} if most else step("one")
""",
    "tools.counting": """
STEP = 2
def counter(start):
    total = start
    def up(by=STEP):
        nonlocal total
        total += by
        return total
    return up
""",
}


def program_of(source: str) -> VerifiedProgram:
    """Compile and verify."""
    return verify(compile_source(source, "program.py", find=find_in(MODULES)).encode())


def handle(kind: str, effect: Effect, part: str, label: Label | None = None) -> Handle:
    """A handle with an identity made from the occurrence, as a host makes it."""
    run, operation = effect.occurrence
    identity = digest_parts("handle", run, operation.to_bytes(8, "big"), part.encode())
    return Handle(kind, identity, effect.label if label is None else label)


@dataclass
class Host:
    """Answers effects.

    Attributes:
        secret: what `tensor.item` reads and how many rows a stream has: nothing public may depend on it.
        seen: each effect as public text, those of regions as their name only.
        released: what the payloads of releases were.
    """

    secret: Any = 7
    rows: int = 5
    fails: dict[str, tuple[str, str]] = field(default_factory=dict)
    seen: list[tuple[Any, ...]] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    released: list[Any] = field(default_factory=list)
    position: dict[bytes, int] = field(default_factory=dict)

    def answer(self, machine: Machine, effect: Effect) -> None:
        """Resume or throw."""
        if effect.label.is_public and not machine.in_region:
            args = tuple((name, repr(value)) for name, value in effect.args.items())
            self.seen.append((effect.name, args, effect.occurrence, effect.durability, effect.boxed))
        else:
            self.inside.append(effect.name)
        if effect.name in self.fails:
            machine.throw(*self.fails[effect.name])
            return
        if effect.name.startswith("release."):
            self.released.append(machine.open(effect.args["box"]))
            machine.resume(None)
            return
        machine.resume(self.result(effect))

    def result(self, effect: Effect) -> Any:
        """The fixed answer of each effect."""
        name, args = effect.name, effect.args
        if name == "stream.open":
            return handle("stream", effect, args["name"], PATIENTS)
        if name == "stream.first":
            return handle("cursor", effect, "0")
        if name == "stream.batch":
            position = self.position.get(args["cursor"].id, 0)
            count = min(args["n"], self.rows - position)
            batch = {"x": handle("tensor", effect, "x"), "y": handle("tensor", effect, "y"), "rows": count}
            if position + count >= self.rows:
                return (batch, None)
            cursor = handle("cursor", effect, "next")
            self.position[cursor.id] = position + count
            return (batch, cursor)
        if name == "gpu.run":
            return {"state": handle("state", effect, "state"), "losses": handle("tensor", effect, "losses")}
        if name == "tensor.item":
            return self.secret
        if name == "log.note":
            return None
        kinds = {"fleet.invite": "cohort", "fleet.ask": "answers", "updates.aggregate": "model"}
        return handle(kinds.get(name, "model"), effect, "result")

    def drive(self, machine: Machine, slice_fuel: int = 10**9) -> Done | Failed:
        """Run to the end."""
        while True:
            progress = machine.run(slice_fuel)
            if isinstance(progress, Parked):
                self.answer(machine, progress.effect)
            elif isinstance(progress, Done | Failed):
                return progress


def order(**args: Any) -> RecordValue:
    """What an agent's entry takes."""
    weights = Handle("state", b"w" * 32, PUBLIC)
    return RecordValue("order", {"weights": weights, "round": 3, "args": args})


def job(**args: Any) -> RecordValue:
    """What a rounds entry takes."""
    return RecordValue(
        "job", {"initial": Handle("model", b"i" * 32, PUBLIC), "policy": {"name": "fedavg"}, "args": args}
    )


def start(source: str, *args: Any, fuel: int = FUEL, memory: int = MEMORY) -> Machine:
    """A machine at the entry `main`, or the only entry there is."""
    program = program_of(source)
    return Machine.start(program, program.entries[0], args, RUN, fuel, memory)


def evaluate(source: str, *args: Any, fuel: int = FUEL, memory: int = MEMORY) -> Done | Failed:
    """Run `main` of a source without effects."""
    progress = start(source, *args, fuel=fuel, memory=memory).run(10**12)
    assert isinstance(progress, Done | Failed)
    return progress


@pytest.fixture
def host() -> Host:
    """A host with the usual secret."""
    return Host()


@pytest.fixture
def hosts() -> Callable[..., Host]:
    """Makes hosts."""
    return Host


@pytest.fixture
def kit() -> Any:
    """The helpers of this file, for tests in importlib mode."""
    return Kit


class Kit:
    """Names of this file."""

    PATIENTS, RUN, FUEL, MEMORY = PATIENTS, RUN, FUEL, MEMORY
    Host, RegionError = Host, RegionError
    program_of = staticmethod(program_of)
    start = staticmethod(start)
    evaluate = staticmethod(evaluate)
    order = staticmethod(order)
    job = staticmethod(job)
    HOSPITAL = """
def train(rows, weights, epochs, size):
    state, losses, n = weights, [], 0
    for _ in range(epochs):
        losses, n, cursor = [], 0, stream.first(rows)
        while cursor is not None:
            batch, cursor = stream.batch(rows, cursor, size)
            out = gpu.run("train", state=state, x=batch["x"], y=batch["y"])
            state, n = out["state"], n + batch["rows"]
            losses.append(out["losses"])
    return {"state": state, "losses": losses, "n": n}

@continuation
def hospital(order):
    a = order.args
    rows = stream.open("patients", fields=["x", "y"])
    result = private(train, rows, order.weights, a["epochs"], a["size"], fuel=a["fuel"], memory=a["memory"])
    release.update(result, of="state", weight="n", base=order.weights)
    release.count(result, of="n", name="patients", high=1000)
    release.mean(result, of="losses", name="loss", low=0.0, high=10.0)
"""
    ROUNDS = """
@continuation
def rounds(job):
    weights = job.initial
    for k in range(job.args["rounds"]):
        cohort = fleet.invite(round=k)
        answers = fleet.ask(cohort, "train", weights=weights)
        folded = updates.aggregate(answers, policy=job.policy, base=weights)
        weights = model.publish(folded, round=k)
    return weights
"""
