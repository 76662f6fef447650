"""What must hold for any bytes given to the machine as a program or as a state; no fuzzer is needed here.

An input is `P` and a program, or `S`, the program's length in four bytes, the program, and a snapshot.

* Bytes are refused with the errors that are documented, and with no other.
* What is accepted is canonical: it is written again as the same bytes.
* A verified program runs with small budgets, in slices, dumped and loaded between, and ends as it does in one piece;
  effects are answered with values of every kind, by exceptions, and by giving up.
* No input takes a second of processor time, and none makes the process grow by more than `GROWTH`.
"""

from __future__ import annotations

import resource
import time
from typing import Any, Final

from sojourn.codec import digest_parts
from sojourn.errors import DecodeError, MachineError, ProgramInvalid, SnapshotInvalid
from sojourn.labels import PUBLIC, Label
from sojourn.vm import Done, Effect, Failed, Handle, Machine, Parked, RecordValue, VerifiedProgram, verify

__all__ = ["GROWTH", "SECONDS", "Broken", "check", "pack_program", "pack_state", "unpack_input"]

SECONDS: Final = 1.0
GROWTH: Final = 64 << 20  # bytes of resident memory; the budget of a run is far below
FUEL: Final = 4_000
MEMORY: Final = 200_000
EFFECTS: Final = 60  # answered in one run
RUN: Final = bytes(range(32))
PRIVATE: Final = Label.of("clinic/patients")


class Broken(AssertionError):
    """The machine broke one of the rules above."""


def pack_program(program: bytes) -> bytes:
    """The input that tries a program."""
    return b"P" + program


def pack_state(program: bytes, snapshot: bytes) -> bytes:
    """The input that tries a snapshot of a program."""
    return b"S" + len(program).to_bytes(4, "big") + program + snapshot


def unpack_input(data: bytes) -> tuple[bytes, bytes | None] | None:
    """`(program, snapshot or None)`; None for what is no input."""
    if data[:1] == b"P":
        return data[1:], None
    length = int.from_bytes(data[1:5], "big")
    if data[:1] == b"S" and len(data) >= 5 + length:
        return data[5 : 5 + length], data[5 + length :]
    return None


def check(data: bytes) -> None:
    """Try one input.

    Raises:
        Broken: a rule does not hold. Any other exception is a finding too: it was not documented.
    """
    parts = unpack_input(data)
    if parts is None:
        return
    began, before = time.process_time(), _resident()
    _try(*parts)
    took, grown = time.process_time() - began, _resident() - before
    if took > SECONDS:
        raise Broken(f"{took:.1f} s of processor time")
    if grown > GROWTH:
        raise Broken(f"{grown >> 20} MiB more resident memory")


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _try(data: bytes, snapshot: bytes | None) -> None:
    try:
        program = verify(data)
    except (DecodeError, ProgramInvalid):
        return
    if program.program.encode() != data:
        raise Broken("a program was accepted that is not canonical")
    if snapshot is not None:
        try:
            machine = Machine.load(program, snapshot)
        except (DecodeError, SnapshotInvalid):
            return
        if machine.dump() != snapshot:
            raise Broken("a state was accepted that is not canonical")
        _compare(program, snapshot)
        return
    for entry in program.entries[:2]:
        try:
            machine = Machine.start(program, entry, (), RUN, FUEL, MEMORY)
        except MachineError:  # the entry takes arguments
            try:
                machine = Machine.start(program, entry, (_argument(),), RUN, FUEL, MEMORY)
            except MachineError:
                continue
        _compare(program, machine.dump())


def _argument() -> RecordValue:
    handle = Handle("state", b"w" * 32, PUBLIC)
    args = {"epochs": 2, "size": 2, "fuel": 900, "memory": 50_000, "xs": [1, "a", (2.5,)]}
    return RecordValue("order", {"weights": handle, "round": 3, "args": args})


def _compare(program: VerifiedProgram, state: bytes) -> None:
    """A run in one piece and one in slices, each loaded anew, end alike."""
    whole, end = Machine.load(program, state), ""
    for count in range(EFFECTS + 1):
        end = _go_on(whole, 2 * FUEL, count)
        if end:
            break
    sliced = Machine.load(program, state)
    for count in range(EFFECTS + 1):
        for step in (1, 7, 50, 2 * FUEL):
            done = _go_on(sliced, step, count, answers=step > FUEL)
            sliced = Machine.load(program, sliced.dump())
        if done:
            break
    if (whole.dump(), end) != (sliced.dump(), done):
        raise Broken("a run that was stopped ended in another way")


def _go_on(machine: Machine, fuel: int, count: int, *, answers: bool = True) -> str:
    """Run a slice and answer the effect it parks with; returns how the run ended, if it did."""
    progress: Any = machine.run(fuel)
    if isinstance(progress, Done):
        return "done"
    if isinstance(progress, Failed):
        return f"{progress.code} {progress.line} {progress.detail}"
    if isinstance(progress, Parked) and answers:
        _answer(machine, progress.effect, count)
    return ""


def _answer(machine: Machine, effect: Effect, count: int) -> None:
    """Something for every effect: what it may well give, what it never gives, an exception, or a cancellation."""
    identity = digest_parts("answer", effect.occurrence.run, effect.occurrence.operation.to_bytes(8, "big"))
    handles = {"task.spawn": "task", "stream.open": "stream", "stream.first": "cursor"}
    if count % 11 == 10:
        machine.cancel("given up")
        return
    if count % 7 == 6:
        machine.throw("ValueError", "not now")
        return
    if effect.name == "task.spawn":
        child = machine.child()
        Machine.load(child.program, child.dump()).run(200)
    values: tuple[Any, ...] = (
        Handle(handles.get(effect.name, "tensor"), identity, PRIVATE if effect.name == "stream.open" else effect.label),
        count,
        {"state": [count, (1.5, b"x")], "rows": None},
    )
    for value in (values[count % 3], None):
        try:
            machine.resume(value)
        except MachineError:
            continue
        return
    machine.throw("RuntimeError", "no value fits")
