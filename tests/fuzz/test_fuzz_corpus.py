"""What the fuzzer found once, and the small corpus that it begins with, hold the rules of the oracle without a fuzzer.

`make fuzz-vm` looks for more.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def _module(name: str) -> Any:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


ORACLE = _module("fuzz_oracle")
MUTATOR = _module("fuzz_mutator")
FINDINGS = sorted((HERE / "findings").iterdir())
CORPUS = sorted((HERE / "corpus").iterdir())


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_a_finding_stays_mended(path: Path) -> None:
    ORACLE.check(path.read_bytes())


def test_the_corpus_holds() -> None:
    assert len(CORPUS) >= 20
    for path in CORPUS:
        ORACLE.check(path.read_bytes())


def test_changed_inputs_hold() -> None:
    """The fuzzer's own changes, unled, and the same in each run."""
    draw, changes = random.Random(0), 0
    for number in range(1_200):
        data = draw.choice(CORPUS).read_bytes()
        changed = MUTATOR.mutate(data, 8_000, number, lambda data, _: data[:-1] + bytes([data[-1] ^ 1]))
        changes += changed != data
        ORACLE.check(changed)
    assert changes > 1_000


def _golden(name: str) -> tuple[bytes, bytes]:
    folder = HERE.parent / "vm" / "golden"
    return (folder / f"{name}-1.program").read_bytes(), (folder / f"{name}-1.snapshot").read_bytes()


def test_most_changed_states_are_spelt_as_the_machine_spells_them() -> None:
    """What the mutator is for: a change that the codec, or the canonical form, would stop, teaches nothing."""
    program, snapshot = _golden("closures")
    load = ORACLE.Machine.load
    verified, taken, misspelt = ORACLE.verify(program), 0, 0
    for seed in range(120):
        changed, state = ORACLE.unpack_input(
            MUTATOR.mutate(ORACLE.pack_state(program, snapshot), 8_000, seed, lambda data, _: data)
        )
        if changed != program:
            continue
        try:
            load(verified, state)
            taken += state != snapshot
        except ORACLE.SnapshotInvalid as problem:
            misspelt += "not the form" in str(problem)
        except ORACLE.DecodeError:
            pass
    assert taken > 20
    assert misspelt == 0


@pytest.mark.parametrize("rule", ["an undocumented error", "another way", "too slow"])
def test_the_oracle_notices(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, snapshot = _golden("loops")
    data = ORACLE.pack_state(program, snapshot)
    if rule == "an undocumented error":
        monkeypatch.setattr(ORACLE.Machine, "load", staticmethod(lambda *_: {}["missing"]))
    elif rule == "another way":
        original, calls = ORACLE.Machine.run, [0]

        def run(machine: Any, fuel: int) -> Any:
            calls[0] += 1
            machine.runs[0].fuel -= calls[0] == 1
            return original(machine, fuel)

        monkeypatch.setattr(ORACLE.Machine, "run", run)
    else:
        monkeypatch.setattr(ORACLE, "SECONDS", 0.0)
    with pytest.raises((ORACLE.Broken, KeyError)):
        ORACLE.check(data)
