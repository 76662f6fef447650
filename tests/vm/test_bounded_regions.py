"""A region and a child get more fuel than one instruction may use: it is handed over, not used."""

from __future__ import annotations

from sojourn.limits import MAX_INSTRUCTION_FUEL
from sojourn.vm import Box, Done, Machine, compile_source, verify

SOURCE = f"""
def f():
    return 1
@continuation
def main():
    return private(f, fuel={2 * MAX_INSTRUCTION_FUEL}, memory=1000)
"""


def test_a_region_may_have_more_than_an_instruction() -> None:
    """Its fuel is taken off at once."""
    program = verify(compile_source(SOURCE, "p.py").encode())
    machine = Machine.start(program, "main", [], bytes(32), 3 * MAX_INSTRUCTION_FUEL, 10**6)
    end = machine.run(10**6)
    assert isinstance(end, Done)
    assert isinstance(end.value, Box)
    assert machine.fuel_left < MAX_INSTRUCTION_FUEL
