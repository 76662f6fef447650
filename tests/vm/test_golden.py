"""Files of every format version are kept, loaded and driven to their end: what was stored once stays readable.

`python tests/vm/test_golden.py` writes the files of the current version; it refuses to change one that is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sojourn.vm import Done, Machine, Parked, Sliced, disassemble, verify

GOLDEN = Path(__file__).parent / "golden"


def test_program_of_version_1_has_its_identity() -> None:
    program = verify((GOLDEN / "hospital-1.program").read_bytes())
    assert program.digest.hex() == (GOLDEN / "hospital-1.digest").read_text(encoding="ascii").strip()
    assert "EFFECT                gpu.run (., state=, x=, y=)" in disassemble(program.program)


def test_the_compiler_still_makes_it(kit: Any) -> None:
    assert kit.program_of(kit.HOSPITAL).program.encode() == (GOLDEN / "hospital-1.program").read_bytes()


def test_snapshot_of_version_1_goes_on(kit: Any, host: Any) -> None:
    program = verify((GOLDEN / "hospital-1.program").read_bytes())
    data = (GOLDEN / "hospital-1.snapshot").read_bytes()
    machine = Machine.load(program, data)
    assert machine.dump() == data
    effect = machine.pending
    assert effect is not None
    assert (effect.name, machine.in_region) == ("gpu.run", True)
    assert host.drive(machine) == Done(None)
    # What the machine does at this stop and after it is the contract: the budgets at the end are part of it.
    whole = kit.start(kit.HOSPITAL, kit.order(epochs=2, size=2, fuel=20_000, memory=200_000))
    kit.Host().drive(whole)
    assert (machine.fuel_left, machine.memory_left) == (whole.fuel_left, whole.memory_left)


def write(kit: Any) -> None:
    """The files of this version: the hospital of DESIGN.md, stopped at its second `gpu.run`."""
    machine, host, runs = (
        kit.start(kit.HOSPITAL, kit.order(epochs=2, size=2, fuel=20_000, memory=200_000)),
        kit.Host(),
        0,
    )
    while True:
        progress = machine.run(100)
        if isinstance(progress, Sliced):
            continue
        assert isinstance(progress, Parked)
        runs += progress.effect.name == "gpu.run"
        if runs == 2:
            break
        host.answer(machine, progress.effect)
    files = {
        "hospital-1.program": machine.program.program.encode(),
        "hospital-1.digest": machine.program.digest.hex().encode() + b"\n",
        "hospital-1.snapshot": machine.dump(),
    }
    for name, data in files.items():
        with (GOLDEN / name).open("xb") as file:
            file.write(data)


if __name__ == "__main__":
    from conftest import Kit

    write(Kit)
