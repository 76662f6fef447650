"""Programs are stopped between instructions, and another process goes on: the same result, effects, state and budgets.

`python tests/programs/stopping.py` is `make vm-stop`: every program of the corpus, at every instruction boundary where
there are at most 2,000, at as many random ones else. The process that goes on lives long and has another hash seed;
50 of the states go to a process of their own each.

Forms are the ways in which the machine may execute: keyword arguments of `Machine.start` and `Machine.load`. A program
is started in one and gone on with in another; each pair of `FORMS` is tried. A form that is `sliced_afresh` is run from
the last effect to each stop in one piece, because short slices would never let it begin.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
from sojourn.codec import digest_parts
from sojourn.labels import PUBLIC
from sojourn.vm import Done, Effect, Failed, Handle, Machine, Parked, Sliced, VerifiedProgram, compile_source, verify

HERE = Path(__file__).parent
RUN = bytes(32)
FUEL, MEMORY = 10**7, 6 * 10**7
EXHAUSTIVE = 2_000
FRESH = 50
SEEDS = ("1", "4242")


class Form(NamedTuple):
    """One way to execute."""

    options: dict[str, Any]
    sliced_afresh: bool = False


FORMS: dict[str, Form] = {
    "stepping": Form({"projection": False}),
    "projected": Form({"projection": True}, sliced_afresh=True),
}
PAIRS = [(begins, goes_on) for begins in FORMS for goes_on in FORMS]


class Asked(msgspec.Struct, frozen=True):
    """An effect as whoever watches the run sees it."""

    name: str
    args: tuple[tuple[str, str], ...]
    run: bytes
    operation: int


class End(msgspec.Struct, frozen=True):
    """How a run ended: result, effects since it was loaded, final state, and what is left of its budgets."""

    kind: str
    effects: tuple[Asked, ...]
    state: bytes
    fuel: int
    memory: int


class Stopped(msgspec.Struct, frozen=True):
    """A state between two instructions, and how many effects were answered before it."""

    program: bytes
    state: bytes
    form: str
    answered: int = 0


@functools.cache
def compiled(source: str) -> VerifiedProgram:
    """The program of a source of the corpus."""
    marked = (
        source if "@continuation" in source else ("\n" + source).replace("\ndef main(", "\n@continuation\ndef main(")
    )
    return verify(compile_source(marked, "program.py").encode())


def programs() -> dict[str, str]:
    """The corpus, and what CPython has no counterpart of, by name."""
    found: dict[str, str] = {}
    for path in sorted((HERE / "corpus").glob("*.*")):
        if path.suffix != ".lines":
            sections = path.read_text(encoding="utf-8").split("=== ")[1:]
            found.update((name, body) for name, _, body in (section.partition("\n") for section in sections))
    return found


def answer(machine: Machine, effect: Effect) -> Asked:
    """Resume with what follows from the effect alone."""
    shown = Asked(effect.name, tuple((name, repr(value)) for name, value in effect.args.items()), *effect.occurrence)
    if effect.name == "task.join" and effect.args.get("within") is not None:
        machine.throw("DeadlineMissed", "too late")
    elif effect.name == "task.join":
        machine.resume([effect.occurrence.operation, "joined"])
    elif effect.name == "task.spawn":
        identity = digest_parts("task", effect.occurrence.run, effect.occurrence.operation.to_bytes(8, "big"))
        machine.resume(Handle("task", identity, PUBLIC))
    else:
        machine.resume(None)
    return shown


def begun(program: VerifiedProgram, form: Form) -> Machine:
    """A machine at the entry `main`."""
    return Machine.start(program, "main", (), RUN, FUEL, MEMORY, **form.options)


def driven(machine: Machine, slice_fuel: int = FUEL) -> End:
    """Go on to the end."""
    effects: list[Asked] = []
    while not isinstance(progress := machine.run(slice_fuel), Done | Failed):
        if isinstance(progress, Parked):
            effects.append(answer(machine, progress.effect))
    kind = "done" if isinstance(progress, Done) else f"{progress.code} {progress.line} {progress.detail}"
    return End(kind, tuple(effects), machine.dump(), machine.fuel_left, machine.memory_left)


def boundaries(program: VerifiedProgram) -> int:
    """Instructions that a run executes, its regions' included."""
    machine, count = begun(program, FORMS["stepping"]), 0
    while not isinstance(progress := machine.run(1), Done | Failed):
        count += isinstance(progress, Sliced)
        if isinstance(progress, Parked):
            answer(machine, progress.effect)
    return count


def stops(program: VerifiedProgram, name: str, stride: int) -> Iterator[Stopped]:
    """States of a run in a form: after each `stride` instructions (about, where more than 1), at and after effects."""
    form, draw = FORMS[name], random.Random(program.digest)
    digest, machine, answered, slice_fuel = program.digest, begun(program, FORMS[name]), 0, 0
    while True:
        step = 1 if stride == 1 else draw.randint(1, 2 * stride - 1)
        slice_fuel = slice_fuel + step if form.sliced_afresh else step
        progress = machine.run(slice_fuel)
        yield Stopped(digest, machine.dump(), name, answered)
        if isinstance(progress, Done | Failed):
            return
        if isinstance(progress, Parked):
            answer(machine, progress.effect)
            answered, slice_fuel = answered + 1, 0
            yield Stopped(digest, machine.dump(), name, answered)
        elif form.sliced_afresh:
            machine = begun(program, form)
            for _ in range(answered):
                effect = machine.run(FUEL)
                assert isinstance(effect, Parked)
                answer(machine, effect.effect)


# The process that goes on.


class Program(msgspec.Struct, frozen=True, tag=True):
    """What the process has to know of a program before its states."""

    data: bytes


class GoOn(msgspec.Struct, frozen=True, tag=True):
    """Load a state in a form and go on."""

    stopped: Stopped
    form: str


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(len(data).to_bytes(4, "big") + data)
    file.flush()


def _read(file: IO[bytes]) -> bytes | None:
    head = file.read(4)
    return file.read(int.from_bytes(head, "big")) if head else None


def serve() -> None:
    """Answer requests from standard input until it ends."""
    known: dict[bytes, VerifiedProgram] = {}
    decoder = msgspec.msgpack.Decoder(Program | GoOn)
    while (data := _read(sys.stdin.buffer)) is not None:
        request = decoder.decode(data)
        if isinstance(request, Program):
            program = verify(request.data)
            known[program.digest] = program
            _write(sys.stdout.buffer, os.environ["PYTHONHASHSEED"].encode())
        else:
            program = known[request.stopped.program]
            machine = Machine.load(program, request.stopped.state, **FORMS[request.form].options)
            assert machine.dump() == request.stopped.state
            _write(sys.stdout.buffer, msgspec.msgpack.encode(driven(machine)))


class Other:
    """Another process with a hash seed of its own. Close it, or use `with`."""

    def __init__(self, seed: str) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, str(Path(__file__)), "--serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self._known: set[bytes] = set()
        self.seed = seed

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def go_on(self, program: VerifiedProgram, stopped: Stopped, form: str) -> End:
        """The end of a run that was stopped here and loaded there."""
        if program.digest not in self._known:
            seed = self._ask(Program(program.program.encode()))
            assert seed.decode() == self.seed != os.environ.get("PYTHONHASHSEED")
            self._known.add(program.digest)
        return msgspec.msgpack.decode(self._ask(GoOn(stopped, form)), type=End)

    def _ask(self, request: Program | GoOn) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        _write(self._process.stdin, msgspec.msgpack.encode(request))
        data = _read(self._process.stdout)
        assert data is not None, "the other process has ended; its error stands above"
        return data

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


def goes_on_alike(whole: End, stopped: Stopped, end: End) -> bool:
    """Whether a run that was stopped ended as the whole one did."""
    return msgspec.structs.replace(whole, effects=whole.effects[stopped.answered :]) == end


def campaign(names: list[str], most: int, pairs: list[tuple[str, str]]) -> int:
    """All stops of all programs; returns how many of them went on in another way, which is told as it happens."""
    corpus, draw, began = programs(), random.Random(0), time.monotonic()
    chosen = [(name, corpus[name]) for name in names or corpus]
    fresh = {draw.randrange(len(chosen)) for _ in range(FRESH * 2)} if len(chosen) > FRESH else set(range(len(chosen)))
    total = alone = wrong = 0
    with Other(SEEDS[0]) as other:
        for number, (name, source) in enumerate(chosen):
            program = compiled(source)
            count = boundaries(program)
            for begins, form in pairs:
                whole = driven(begun(program, FORMS[begins]))
                states = list(stops(program, begins, 1 if count <= most else -(-count // most)))
                for stopped in states:
                    if not goes_on_alike(whole, stopped, other.go_on(program, stopped, form)):
                        wrong += 1
                        print(f"{name}: another way from a stop, {begins} to {form}", flush=True)
                if number in fresh and alone < FRESH:
                    stopped, alone = draw.choice(states), alone + 1
                    with Other(SEEDS[1]) as own:
                        if not goes_on_alike(whole, stopped, own.go_on(program, stopped, form)):
                            wrong += 1
                            print(f"{name}: another way from a stop in a process of its own", flush=True)
                total += len(states)
            if number % 50 == 49:
                print(f"{number + 1} programs, {total} stops", flush=True)
    took = f"{time.monotonic() - began:.0f} s"
    print(f"{len(chosen)} programs, {total} stops, {alone} of them in processes of their own, {wrong} wrong, {took}")
    return wrong


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Stop programs of the corpus and go on in another process.")
    parser.add_argument("names", nargs="*", help="programs; all without")
    parser.add_argument("--stops", type=int, default=EXHAUSTIVE, help="all stops up to here, about as many beyond")
    parser.add_argument("--forms", help="as stepping:stepping; every pair without")
    parser.add_argument("--serve", action="store_true", help="be the process that goes on")
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    pairs = [(begins, form) for begins, _, form in [args.forms.partition(":")]] if args.forms else PAIRS
    sys.exit(1 if campaign(args.names, args.stops, pairs) else 0)


if __name__ == "__main__":
    main()
