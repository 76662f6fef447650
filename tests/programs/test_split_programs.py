"""Programs that stand in several files agree with CPython: values, exceptions with their file and line, logs.

`split/*.txt` holds them: `=== name`, then each file behind `--- path`. `main.py` has the entry.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import sojourn.program
from sojourn.client.sources import compile_file
from sojourn.vm import Failed, Machine, Parked

SPLIT = Path(__file__).parent / "split"
FUEL, MEMORY = 10**7, 6 * 10**7  # as `straight` has them

on_311 = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the language is CPython 3.11's")


def _programs() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path in sorted(SPLIT.glob("*.txt")):
        for section in path.read_text(encoding="utf-8").split("=== ")[1:]:
            name, _, body = section.partition("\n")
            files = (part.partition("\n") for part in body.split("--- ")[1:])
            found[name] = {file: text for file, _, text in files}
    return found


PROGRAMS = _programs()


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for file, text in PROGRAMS[request.param].items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    return tmp_path


every = pytest.mark.parametrize("folder", PROGRAMS, indirect=True)


def _on_cpython(folder: Path, shown: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str, list[str]]:
    """Class of the end, its text, where it was raised, the log."""
    lines: list[str] = []

    class Log:
        note = staticmethod(lines.append)

    monkeypatch.setattr(sojourn.program, "log", Log)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    try:
        entry = importlib.import_module("main").main.function
        try:
            return "value", shown(entry()), "", lines
        except Exception as problem:  # noqa: BLE001 - whatever it is, the machine must say the same
            last = traceback.extract_tb(problem.__traceback__)[-1]
            where = f"{Path(last.filename).relative_to(folder).as_posix()}:{last.lineno}"
            return type(problem).__name__, str(problem), where, lines
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]
        importlib.invalidate_caches()


@on_311
@every
def test_split_program_agrees(folder: Path, oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    main = folder / "main.py"
    source = compile_file(main, main.read_text(encoding="utf-8"))
    machine, log = Machine.start(source.program, "main", (), bytes(32), FUEL, MEMORY), list[str]()
    while isinstance(progress := machine.run(FUEL), Parked):
        oracle.answer(machine, progress.effect, log)
    result = oracle.result_of(progress, log)
    where = source.where(progress.line) if isinstance(progress, Failed) else ""
    assert (result.kind, result.text, where, log) == _on_cpython(folder, oracle.shown, monkeypatch)


@every
def test_split_program_stops_anywhere_in_both_forms(folder: Path, oracle: Any) -> None:
    main = folder / "main.py"
    program = compile_file(main, main.read_text(encoding="utf-8")).program
    result, state, fuel = oracle.straight(program)
    assert oracle.stopping(program, oracle.sampled_stops(folder.name, fuel, 12)) == (result, state)
    for projection in (False, True):
        machine, log = Machine.start(program, "main", (), bytes(32), FUEL, MEMORY, projection=projection), list[str]()
        while isinstance(progress := machine.run(FUEL), Parked):
            oracle.answer(machine, progress.effect, log)
        assert (oracle.result_of(progress, log), machine.dump(), FUEL - machine.fuel_left) == (result, state, fuel)
