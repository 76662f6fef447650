"""What an effect's arguments cost, and what its repr shows."""

from __future__ import annotations

import pytest
from sojourn.errors import MachineError
from sojourn.vm import Failed, Machine, Parked, compile_source, verify

RUN = bytes(32)


def parked(source: str, *args: object, memory: int = 100_000) -> Machine:
    """A machine at its first effect."""
    machine = Machine.start(verify(compile_source(source, "p.py").encode()), "main", args, RUN, 10_000, memory)
    assert isinstance(machine.run(10_000), Parked)
    return machine


def test_an_effect_shows_its_name_and_not_its_arguments() -> None:
    machine = parked("@continuation\ndef main(x):\n    log.note(x)\n", "patient Miller")
    assert machine.pending is not None
    assert "log.note" in repr(machine.pending)
    assert "Miller" not in repr(machine.run(1))


@pytest.mark.parametrize(
    ("value", "cost"),
    [(None, 0), (True, 0), (2**63, 32 + 8), (7, 0), ("a" * 100, 148), ("é" * 100, 448), ("é" * 100 + "a", 452)],
)
def test_an_argument_costs_what_its_copy_does(value: object, cost: int) -> None:
    source = "@continuation\ndef main(x, y):\n    {}\n    return gpu.run('f', x=x)\n"
    made = Machine.start(
        verify(compile_source(source.format("pass"), "p.py").encode()), "main", (value, 1), RUN, 99, 10**5
    )
    before = made.memory_left
    assert isinstance(made.run(99), Parked)
    assert before - made.memory_left == cost + 49  # and the name


def test_arguments_that_do_not_fit_end_the_run() -> None:
    copies = '@continuation\ndef main(x):\n    gpu.run("f", a=x + "b", b=x + "c", c=x + "d", d=x + "e")\n'
    machine = Machine.start(verify(compile_source(copies, "p.py").encode()), "main", ("a" * 300,), RUN, 10_000, 1_200)
    progress = machine.run(10_000)
    assert isinstance(progress, Failed)
    assert progress.code == "memory"


def test_text_that_no_encoding_has_is_refused_in_the_middle_of_a_result() -> None:
    machine = parked("@continuation\ndef main():\n    return gpu.run('f')\n")
    with pytest.raises(MachineError, match="surrogates"):
        machine.resume("\ud800")
    machine.resume("é")
