"""Budget attacks: each ends as a documented error, in less than a second, in memory that its budget explains."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.errors import ProgramRefused
from sojourn.vm import Done

CORPUS = "budgets.txt"
FUEL, MEMORY = 16_000, 500_000
# The host's objects are not the table's: small ones cost up to twice their price, and a result stands beside what it
# was made of for the length of one instruction. The rest is the interpreter's own.
GROWN = 3 * MEMORY + 300_000


def whole(text: str) -> str:
    """The file around the body of a section."""
    if "@continuation" in text:
        return text
    return "@continuation\ndef main():\n" + "".join(f"    {line}\n" for line in text.splitlines())


def test_ends_in_bounds(kit: Any, escapes: Any, meter: Any, attempt: Any) -> None:
    allowed = attempt.expected.split()
    if allowed == ["refused"]:
        with pytest.raises(ProgramRefused):
            kit.program_of(whole(attempt.text))
        return
    machine = kit.start(whole(attempt.text), fuel=FUEL, memory=MEMORY)

    def answer(*_: Any) -> None:
        machine.child()
        machine.resume(None)

    with meter:
        progress = escapes.drive(machine, answer)
    code = "done" if isinstance(progress, Done) else progress.code
    assert code in allowed
    assert meter.spent.seconds < 2 * escapes.SECOND  # measuring memory takes most of the time
    assert meter.spent.grown < GROWN
    assert 0 <= machine.fuel_left <= FUEL
    assert 0 <= machine.memory_left <= MEMORY
