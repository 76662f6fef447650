"""States that no run comes to, written in canonical form: each is refused by the check that is named, and by no other.

A machine is stopped, changed from inside, and dumped: the bytes are well formed, and only what they say is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sojourn.contracts import Occurrence
from sojourn.errors import MachineError, SnapshotInvalid
from sojourn.labels import PUBLIC
from sojourn.limits import MAX_SNAPSHOT_BYTES
from sojourn.vm import Effect, Failed, Handle, Machine, Parked
from sojourn.vm.op import Op
from sojourn.vm.values import UNBOUND, Cell, DictView, Iter, IterKind, Suspended, ViewKind

SOURCE = """
def inner(rows):
    cursor = stream.first(rows)
    return cursor

def outer(rows):
    return private(inner, rows, fuel=1000, memory=1000)

@continuation
def main():
    kept, shared, late = None, 1, None
    def change():
        nonlocal shared
        shared += 1
    for _ in [1, 2]:
        late = [shared, log.note("in a loop")]
    kept = here()
    child = fork(fuel=1000, memory=10000)
    rows = stream.open("patients", fields=["x"])
    kept = None
    return private(outer, rows, fuel=10000, memory=10000)
"""


def stopped(kit: Any, host: Any, name: str, note: int = 0) -> Machine:
    """The machine as it waits for an effect, the `note`th of that name."""
    machine = kit.start(SOURCE)
    while True:
        progress = machine.run(10**6)
        assert isinstance(progress, Parked), progress
        if progress.effect.name == name:
            note -= 1
            if note < 0:
                assert isinstance(machine, Machine)
                return machine
        if progress.effect.name == "task.spawn":
            machine.resume(Handle("task", machine.child().run_id, PUBLIC))
        else:
            host.answer(machine, progress.effect)


def local(machine: Machine, name: str, value: Any) -> None:
    """Put a value into a variable of `main`."""
    frame = machine.runs[0].frames[0]
    frame.locals[machine.program.codes[frame.function].locals.index(name)] = value


def loop(machine: Machine) -> None:
    """A loop's iterator becomes a list."""
    frame = machine.runs[0].frames[0]
    frame.locals[min(machine.program.codes[frame.function].loops)] = [1, 2]


def deep_key() -> tuple[Any, ...]:
    key: tuple[Any, ...] = ()
    for _ in range(200):
        key = (key,)
    return key


def chain(length: int) -> list[Iter]:
    """Iterators, each of which draws from the one before it."""
    made = [Iter(IterKind.DONE, "enumerate")]
    while len(made) < length:
        made.append(Iter(IterKind.ENUMERATE, "enumerate", inner=(made[-1],)))
    return made


def move(machine: Machine, run: int = 0) -> None:
    """A frame that waits stands at another place, where the stack is as deep."""
    frame = machine.runs[run].frames[-1]
    code = machine.program.codes[frame.function]
    asking = (Op.EFFECT, Op.PRIVATE, Op.FORK)
    fits = (at for at, depth in enumerate(code.depth) if depth == len(frame.stack) + 1)
    frame.pc = next(at for at in fits if at and code.instructions[at - 1][0] not in asking)


def unbound_on_stack(machine: Machine) -> None:
    machine.runs[0].frames[0].stack[-1] = UNBOUND


def waiting_child(machine: Machine) -> None:
    frame = machine.runs[0].frames[0]
    kept = machine.program.codes[frame.function].locals.index("kept")
    assert type(frame.locals[kept]) is Suspended
    asked(machine).args["child"] = frame.locals[kept]


def asked(machine: Machine) -> Effect:
    assert machine.asked is not None
    return machine.asked


def public_region_effect(machine: Machine) -> None:
    """What a region asks for, asked for by the public world: its frame comes out, and the regions go."""
    region, effect = machine.runs[-1], asked(machine)
    del machine.runs[1:]
    run = machine.runs[0]
    run.frames[:] = region.frames
    run.operation = 5
    machine.asked = Effect(effect.name, effect.args, Occurrence(run.id, 4), effect.durability, PUBLIC, boxed=True)


def ended(machine: Machine) -> None:
    machine.asked = None
    machine.runs[0].frames.clear()
    machine.outcome = Failed("no such code", 1, "")


def frames_left(machine: Machine) -> None:
    machine.asked = None
    machine.outcome = Failed("RuntimeError", 1, "")
    machine.runs[0].frames[0].stack.append(None)  # as where it goes on


def forgotten_child(machine: Machine) -> None:
    """A continuation whose last frame stands where nothing comes back to: only the effect that begins it has one."""
    local(machine, "late", asked(machine).args["child"])


def fuel(machine: Machine) -> None:
    asked(machine).args["fuel"] = 0


def memory(machine: Machine) -> None:
    asked(machine).args["memory"] = 10**18


def public_inside(machine: Machine) -> None:
    machine.runs[2].label = PUBLIC


def walk_of(source: Any, **fields: Any) -> Callable[[Machine], None]:
    made = Iter(IterKind.SEQUENCE, "list_iterator", source)
    for name, value in fields.items():
        setattr(made, name, value)
    return lambda machine: local(machine, "late", [made])


VIEW = DictView(ViewKind.KEYS, {1: 2})
FORGED: dict[str, tuple[str, Callable[[Machine], None], str]] = {
    "a deep key": ("log.note", lambda m: local(m, "late", {deep_key(): 1}), "a key is nested too deep"),
    "a draw from a number": (
        "log.note",
        walk_of(None, kind=IterKind.ENUMERATE, shown="enumerate", inner=(1,)),
        "an iterator draws from what is none",
    ),
    "keys without a dict": ("log.note", walk_of([1], keys=(1,)), "an iterator has a source where it needs none"),
    "an index beside a zip": (
        "log.note",
        walk_of(None, kind=IterKind.ZIP, shown="zip", index=1),
        "an iterator draws from other iterators than it can",
    ),
    "a dict walked as a list": ("log.note", walk_of(VIEW), "an iterator walks over what it cannot"),
    "deep iterators, outer first": ("log.note", lambda m: local(m, "late", chain(40)[::-1]), "nested deeper than 32"),
    "deep iterators, inner first": ("log.note", lambda m: local(m, "late", chain(40)), "nested deeper than 32"),
    "nothing on the stack": ("log.note", unbound_on_stack, "the stack holds no value where one is due"),
    "a loop over a list": ("log.note", loop, "a loop of main has no iterator"),
    "a shared variable that is none": ("log.note", lambda m: local(m, "shared", 1), "is shared, or not shared"),
    "a variable that is shared": (
        "log.note",
        lambda m: local(m, "late", Cell()),
        "is shared, or not shared",
    ),
    "a region that is public": ("stream.first", public_inside, "less of a label than the one around it"),
    "a region that nothing began": ("stream.first", lambda m: move(m, 0), "does not stand at a private region"),
    "an effect of the other world": ("stream.first", public_region_effect, "in a world that does not have it"),
    "a child that nothing began": ("task.spawn", move, "a child begins where nothing asked for it"),
    "a child that waits": ("task.spawn", waiting_child, "a child begins without frames"),
    "a child without fuel": ("task.spawn", fuel, "a child's budget is out of range"),
    "a child with all memory": ("task.spawn", memory, "a child's budget is out of range"),
    "an unbound item": ("log.note", lambda m: local(m, "late", [UNBOUND]), "an unbound variable inside of a value"),
    "an unbound key": ("log.note", lambda m: local(m, "late", {UNBOUND: 1}), "an unbound variable inside of a value"),
    "an end with frames": ("log.note", frames_left, "a run that has ended still has frames"),
    "an unknown end": ("log.note", ended, "failed with a code that there is not"),
    "a child that is kept": ("task.spawn", forgotten_child, "a continuation that waits for nothing"),
}


@pytest.mark.parametrize("name", FORGED)
def test_refused(kit: Any, host: Any, name: str) -> None:
    effect, change, message = FORGED[name]
    machine = stopped(kit, host, effect)
    assert Machine.load(machine.program, machine.dump()).dump() == machine.dump()
    change(machine)
    with pytest.raises(SnapshotInvalid, match=re.escape(message)):
        Machine.load(machine.program, machine.dump())


def test_iterators_as_deep_as_they_may_be(kit: Any, host: Any) -> None:
    machine = stopped(kit, host, "log.note")
    local(machine, "late", chain(32))
    assert Machine.load(machine.program, machine.dump()).dump() == machine.dump()


def test_a_state_that_is_too_large_is_not_written(kit: Any) -> None:
    machine = kit.start("@continuation\ndef main():\n    x = 0\n    log.note('x')\n", fuel=10**7)
    assert isinstance(machine.run(10**7), Parked)
    machine.runs[0].frames[0].locals[0] = bytes(MAX_SNAPSHOT_BYTES)  # more than any budget pays for
    with pytest.raises(MachineError, match=f"a snapshot at most {MAX_SNAPSHOT_BYTES}"):
        machine.dump()
