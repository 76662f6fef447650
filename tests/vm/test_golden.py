"""Files of every format version are kept, loaded and driven to their end: what was stored once stays readable.

`python tests/vm/test_golden.py` writes the files of the current version; it refuses to change one that is there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sojourn.codec import Record
from sojourn.vm import Done, Machine, Parked, Sliced, disassemble, op, program, shape, snapshot, tables, verify
from sojourn.vm.effects import EFFECTS
from sojourn.vm.program import CONTRACT

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
# A hospital's training run inside of its region, and programs that stop inside of everything the language has.
NAMES = ("hospital", "loops", "finally", "closures", "comprehensions", "modules")


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


def _layouts() -> dict[str, Any]:
    """Every record of the format: its tag, and its fields with their types, in order; and the tables beside numbers."""
    records = {
        name: [
            cls.__struct_config__.tag,
            *(f"{field}: {cls.__annotations__[field]}" for field in cls.__struct_fields__),
        ]
        for module in (shape, program, snapshot)
        for name, cls in vars(module).items()
        if isinstance(cls, type) and issubclass(cls, Record) and cls.__module__ == module.__name__
    }
    effects = {
        spec.name: [list(spec.params), spec.required, spec.varkw, spec.durability, sorted(spec.worlds), spec.boxed]
        for spec in EFFECTS.values()
    }
    arities = {name: list(row) for table in (tables.BUILTINS, tables.METHODS) for name, row in table.items()}
    keywords = {name: [list(row) for row in rows] for name, rows in tables.KEYWORDS.items()}
    found = {
        "RECORDS": records,
        "EFFECTS": effects,
        "ARITIES": arities,
        "KEYWORDS": keywords,
        "PARENTS": tables.PARENTS,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _changed(kept: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not as it was kept. Further rows of a table stand behind those that were there."""
    found = []
    for name, rows in kept.items():
        if isinstance(rows, dict):
            found += [f"{name}: {key}" for key in rows if now[name].get(key) != rows[key]]
        elif now[name][: len(rows)] != rows:
            found.append(name)
    return found


def _changed_since_version_1() -> list[str]:
    kept = {
        name: json.loads((GOLDEN / f"{name}-1.json").read_text(encoding="ascii")) for name in ("numbers", "layouts")
    }
    return _changed(kept["numbers"], _numbers()) + _changed(kept["layouts"], _layouts())


def test_numbers_and_layouts_of_version_1_stay() -> None:
    """A change of what stands here steps `CONTRACT`, and gets golden files of its own."""
    assert CONTRACT == 1
    assert _changed_since_version_1() == []


def _swapped(table: dict[str, Any]) -> dict[str, Any]:
    first, second, *rest = table.items()
    return dict([second, first, *rest])


class _Renamed(Record, frozen=True, tag=15):
    content: int
    further: int


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "OPS: BINARY": lambda monkey: monkey.setitem(op.ISA, op.Op.BINARY, op.OpSpec(op.Operand.UNARY, pops=2, pushes=1)),
    "BINARY": lambda monkey: monkey.setattr(tables, "BINARY", ("-", "+", *tables.BINARY[2:])),
    "BUILTINS": lambda monkey: monkey.setattr(tables, "BUILTINS", _swapped(tables.BUILTINS)),
    "METHODS": lambda monkey: monkey.setattr(tables, "METHODS", _swapped(tables.METHODS)),
    "EXCEPTIONS": lambda monkey: monkey.setattr(tables, "EXCEPTIONS", tables.EXCEPTIONS[1:]),
    "EXTENDS": lambda monkey: monkey.setattr(op, "EXTENDS", ("set", "list")),
    "RECORDS: CellCell": lambda monkey: monkey.setattr(snapshot, "CellCell", _Renamed),
    "EFFECTS: log.note": lambda monkey: monkey.setitem(EFFECTS, "log.note", EFFECTS["gpu.run"]),  # in its place
    "ARITIES: append": lambda monkey: monkey.setitem(tables.METHODS, "append", tables.Arity(1, 2)),
    "PARENTS: KeyError": lambda monkey: monkey.setitem(tables.PARENTS, "KeyError", "Exception"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_change_of_the_format_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Renamed, "__module__", snapshot.__name__)
    MUTANTS[name](monkeypatch)
    assert name in _changed_since_version_1()


def test_what_is_added_behind_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "COMPARE", (*tables.COMPARE, "is"))
    monkeypatch.setitem(tables.METHODS, "isascii", tables.Arity(0, 0))
    assert _changed_since_version_1() == []


def write(kit: Any) -> None:
    """The files of this version."""
    GOLDEN.mkdir(exist_ok=True)
    tables_ = {"numbers-1.json": _numbers(), "layouts-1.json": _layouts()}
    files = {name: json.dumps(content, indent=1).encode() + b"\n" for name, content in tables_.items()}
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
