"""Files of every format version are kept, loaded and driven to their end: what was stored once stays readable.

`python tests/vm/test_golden.py` writes the files of the current version; it refuses to change one that is there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from sojourn.vm import Done, Machine, Parked, Sliced, disassemble, op, tables, verify

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
# A hospital's training run inside of its region, and programs that stop inside of everything the language has.
NAMES = ("hospital", "loops", "finally", "closures", "comprehensions")


def _sources(kit: Any) -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("golden_programs", HERE / "golden_programs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {"hospital": kit.HOSPITAL, **module.SOURCES}


def _start(kit: Any, source: str) -> Machine:
    args = [kit.order(epochs=2, size=2, fuel=20_000, memory=200_000)] if source == kit.HOSPITAL else []
    machine: Machine = kit.start(source, *args)
    return machine


def _stops(kit: Any, source: str) -> list[bytes]:
    """The states of a run at each of its effects."""
    machine, host, found = _start(kit, source), kit.Host(), []
    while not isinstance(progress := machine.run(100), Done):
        if isinstance(progress, Sliced):
            continue
        assert isinstance(progress, Parked)
        found.append(machine.dump())
        host.answer(machine, progress.effect)
    return found


def _middle(states: list[bytes]) -> bytes:
    return states[len(states) * 2 // 3]


@pytest.mark.parametrize("name", NAMES)
def test_program_of_version_1_has_its_identity(name: str) -> None:
    program = verify((GOLDEN / f"{name}-1.program").read_bytes())
    assert program.digest.hex() == (GOLDEN / f"{name}-1.digest").read_text(encoding="ascii").strip()
    assert disassemble(program.program).startswith(f"program {program.digest.hex()} contract 1")


@pytest.mark.parametrize("name", NAMES)
def test_the_compiler_still_makes_it(kit: Any, name: str) -> None:
    assert kit.program_of(_sources(kit)[name]).program.encode() == (GOLDEN / f"{name}-1.program").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_snapshot_of_version_1_goes_on(kit: Any, name: str) -> None:
    program = verify((GOLDEN / f"{name}-1.program").read_bytes())
    data = (GOLDEN / f"{name}-1.snapshot").read_bytes()
    machine = Machine.load(program, data)
    assert machine.dump() == data
    assert machine.pending is not None
    assert machine.in_region == (name == "hospital")
    end = kit.Host().drive(machine)
    # What the machine does at this stop and after it is the contract: the budgets at the end are part of it.
    whole = _start(kit, _sources(kit)[name])
    assert kit.Host().drive(whole) == end or name == "hospital"
    assert (machine.fuel_left, machine.memory_left) == (whole.fuel_left, whole.memory_left)
    assert machine.dump() == whole.dump() or name == "hospital"


def test_states_are_written_as_version_1_wrote_them(kit: Any) -> None:
    for name, source in _sources(kit).items():
        assert _middle(_stops(kit, source)) == (GOLDEN / f"{name}-1.snapshot").read_bytes()


def _numbers() -> dict[str, Any]:
    """Every number of the format by its name."""
    plain = ("BINARY", "BUILTINS", "COMPARE", "CONVERSIONS", "EXCEPTIONS", "METHODS", "UNARY", "TYPES")
    found: dict[str, Any] = {name: list(getattr(tables, name)) for name in plain}
    found["EXTENDS"] = list(op.EXTENDS)
    found["OPS"] = {row.name: [int(row), *(int(part or 0) for part in op.ISA[row])] for row in op.Op}
    return found


def test_numbers_of_version_1_stay() -> None:
    """What version 1 numbered keeps its number; further rows stand behind it."""
    kept, now = json.loads((GOLDEN / "numbers-1.json").read_text(encoding="ascii")), _numbers()
    assert kept.keys() == now.keys()
    for name, rows in kept.items():
        if isinstance(rows, dict):
            assert {key: now[name].get(key) for key in rows} == rows
        else:
            assert now[name][: len(rows)] == rows


def write(kit: Any) -> None:
    """The files of this version."""
    GOLDEN.mkdir(exist_ok=True)
    files = {"numbers-1.json": json.dumps(_numbers(), indent=1).encode() + b"\n"}
    for name, source in _sources(kit).items():
        program = kit.program_of(source).program
        files[f"{name}-1.program"] = program.encode()
        files[f"{name}-1.digest"] = hashlib.sha256(program.encode()).hexdigest().encode() + b"\n"
        files[f"{name}-1.snapshot"] = _middle(_stops(kit, source))
        assert program.digest.hex().encode() == files[f"{name}-1.digest"].strip()
    for name, data in files.items():
        with (GOLDEN / name).open("xb") as file:
            file.write(data)


if __name__ == "__main__":
    from conftest import Kit

    write(Kit)
