"""What crosses a border of the machine: values from a host, arguments of effects, frames that are copied."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from sojourn.codec import decode, encode
from sojourn.errors import MachineError, SnapshotInvalid
from sojourn.labels import PUBLIC
from sojourn.vm import Box, Done, Handle, Machine, Parked
from sojourn.vm.snapshot import CellCell, Snapshot


def test_a_host_gives_no_boxes(kit: Any) -> None:
    """A box that the machine did not make has nothing in it."""
    forged = Box(b"b" * 32, PUBLIC)
    with pytest.raises(MachineError, match=r"an argument of main\(\) is refused: a host gives no boxes"):
        kit.start("@continuation\ndef main(x):\n    return x\n", [forged])
    machine = kit.start("@continuation\ndef main():\n    return stream.open('patients', fields=['x'])\n")
    assert isinstance(machine.run(1000), Parked)
    with pytest.raises(MachineError, match=r"the result of stream\.open is refused: a host gives no boxes"):
        machine.resume({"rows": forged})


def test_text_outside_of_ascii_goes_out_and_comes_in(kit: Any) -> None:
    source = "@continuation\ndef main(x):\n    return [x, fleet.ask(x, 'train', names=['\u0142', 'a'])]\n"
    cohort = Handle("cohort", b"c", PUBLIC)
    machine = kit.start(source, cohort)
    progress = machine.run(1000)
    assert isinstance(progress, Parked)
    assert progress.effect.args == {"cohort": cohort, "phase": "train", "names": ["\u0142", "a"]}
    machine.resume({"\u0142": "\u4e2d" * 100})
    assert machine.run(1000) == Done([cohort, {"\u0142": "\u4e2d" * 100}])
    machine = kit.start(source, cohort)
    machine.run(1000)
    with pytest.raises(MachineError, match="text with lone surrogates is not a value of the language"):
        machine.resume(["\ud800"])


def test_a_child_has_copies_of_exceptions_and_iterators(kit: Any) -> None:
    """Both runs go on with the same exception and the same walk, and neither sees what the other does to it."""
    source = """
@continuation
def main():
    walk = iter([1, 2, 3, 4])
    held = [next(walk)]
    try:
        raise ValueError("text", held)
    except ValueError as error:
        child = fork(fuel=10000, memory=10000)
        held.append(next(walk))
        if child is None:
            held.append(next(walk))
        return [str(error), error.args[1] == held, next(walk)]
"""
    parent = kit.start(source)
    assert isinstance(parent.run(1000), Parked)
    child = Machine.load(parent.program, parent.child().dump())
    assert child.run(10_000) == Done(["('text', [1, 2, 3])", True, 4])
    parent.resume(Handle("task", child.run_id, PUBLIC))
    assert parent.run(10_000) == Done(["('text', [1, 2])", True, 3])


@pytest.mark.parametrize(("digits", "runs"), [(640, False), (4299, False), (4300, True), (10_000, True), (0, True)])
def test_a_host_that_writes_fewer_digits_is_refused(kit: Any, digits: int, runs: bool) -> None:
    """Its own error would come out of the middle of an instruction, for a text that other hosts have."""
    source = (
        "@continuation\ndef main():\n    text = '9' * 4300\n    return str(int(text)) == text == f'{int(text):d}'\n"
    )
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(digits)
    try:
        if runs:
            assert kit.evaluate(source) == Done(True)
            return
        with pytest.raises(MachineError, match=f"integers of at most {digits} digits.*unset PYTHONINTMAXSTRDIGITS"):
            kit.evaluate(source)
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("ref", [-1, 100])
def test_a_reference_to_no_cell(kit: Any, ref: int) -> None:
    source = (
        "@continuation\ndef main():\n    x = [1]\n    def f():\n        return x\n    log.note('x')\n    return f()\n"
    )
    machine = kit.start(source)
    assert isinstance(machine.run(1000), Parked)
    state = decode(Snapshot, machine.dump(), limit=10**6)
    cells = [CellCell(ref) if isinstance(cell, CellCell) else cell for cell in state.cells]
    assert cells != list(state.cells)
    with pytest.raises(SnapshotInvalid, match="a reference to no cell"):
        Machine.load(machine.program, encode(msgspec.structs.replace(state, cells=tuple(cells))))
