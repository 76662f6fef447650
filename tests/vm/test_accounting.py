"""No state takes more bytes in a snapshot than its values cost, so that storing one never depends on what it holds."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sojourn.errors import MachineError
from sojourn.labels import Label
from sojourn.limits import MAX_MEMORY_BYTES, MAX_PROGRAM_BYTES, MAX_RECORD_BYTES, MAX_SNAPSHOT_BYTES
from sojourn.vm import (
    Box,
    Done,
    Failed,
    Handle,
    Machine,
    Parked,
    RecordValue,
    RegionError,
    Sliced,
    compile_source,
    verify,
)
from sojourn.vm.costs import size_of
from sojourn.vm.values import SetValue
from sojourn.vm.walking import walk

RUN = bytes(32)
LIMIT = MAX_MEMORY_BYTES
BESIDES = 2_000  # bytes of a snapshot that are no values: identities, budgets, frames, texts of the program

labels = st.lists(st.text(max_size=500), max_size=12).map(lambda names: Label.of(*names))
names = st.text(alphabet="abcdefghij_", min_size=1, max_size=256)
classes = st.text(alphabet="aé", min_size=1, max_size=256)
atoms = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.integers(2**500, 2**600), st.floats(),
    st.text(max_size=300), st.binary(max_size=300), st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.builds(Handle, st.sampled_from(("tensor", "answers")), st.binary(min_size=1, max_size=32), labels),
)  # fmt: skip
keys = st.one_of(st.integers(), st.text(max_size=300), st.floats(allow_nan=False))
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=8), st.lists(inner, max_size=8).map(tuple), st.dictionaries(keys, inner, max_size=6),
        st.dictionaries(keys, st.none(), max_size=6).map(SetValue),
        st.builds(RecordValue, classes, st.dictionaries(names, inner, max_size=4)),
    ),
    max_leaves=20,
)  # fmt: skip

HOLDS = verify(compile_source("@continuation\ndef main(x):\n    return 1\n", "holds.py").encode())


@settings(max_examples=300, deadline=None)
@given(values)
@example(RecordValue("é" * 256, {letter * 256: 0.5 for letter in "abcdefgh"}))
@example(Handle("answers", bytes(32), Label.of(*(letter * 512 for letter in "abc"))))
@example([2**63 - 1, -(2**63), 2**63, 0.1, range(2**60, 2**62, 3)])
def test_no_value_takes_more_than_it_costs(value: Any) -> None:
    machine, empty = (Machine.start(HOLDS, "main", (x,), RUN, 10**9, LIMIT) for x in (value, None))
    cost = empty.memory_left - machine.memory_left
    live = sum(size_of(one) for one in walk(machine.runs[0].roots()))
    slot = 17  # a reference and a number; the frame has paid for them
    for paid in (cost, live):  # when it is made, and when it is counted again
        assert len(machine.dump()) - len(empty.dump()) <= paid + slot


def within_budget(machine: Machine, memory: int) -> None:
    """What the state takes is within what it has paid for, whatever is left of that."""
    assert len(machine.dump()) <= memory - min(run.memory for run in machine.runs[:1]) + BESIDES
    assert len(machine.dump()) <= memory + BESIDES


# Programs that fill their memory with what takes most for its cost: the body of `main(rows)`, behind HEAD.
FILLING = """
=== floats
found = []
x = 0.1
while True:
    found.append(x)
    x += 0.7

=== integers
found = []
x = 2 ** 62
while True:
    found.append(x)
    x += 1

=== long integers
found = []
x = 2 ** 64
while True:
    found.append(x)
    x += 1

=== texts
found = []
x = 0
while True:
    found.append(str(x))
    x += 1

=== wide texts
found = []
x = 0
while True:
    found.append('é\U0001f600' + str(x))
    x += 1

=== dicts
found = {}
x = 0
while True:
    found[x] = {x: x}
    x += 1

=== sets
found = []
x = 0
while True:
    found.append({x, x + 0.5})
    x += 1

=== tuples
found = []
while True:
    found.append((found, 1))

=== iterators
found = []
x = 0
while True:
    found.append(iter(range(x, x + 2 ** 60)))
    x += 1

=== zips
found = []
while True:
    found.append(zip(found, enumerate(found), {1: 2}.items()))

=== functions
found = []
x = 0
while True:
    def f(a=x + 0.5):
        return x + a
    found.append(f)
    x += 1

=== exceptions
found = []
x = 0
while True:
    found.append(ValueError(x, x + 0.5))
    x += 1

=== continuations
found = []
while True:
    found.append(here())

=== frames
found = [0.5]
def f(a, b, c):
    return f(a + 1, b + 1.5, [c])
f(1, 2.5, None)

=== boxes of small regions
found = []
while True:
    found.append(private(quiet, fuel=100, memory=1))

=== boxes of whole regions
found = []
while True:
    found.append(private(whole, fuel=10_000, memory=5000))

=== boxes of long errors
found = []
while True:
    found.append(private(loud, fuel=10_000, memory=3000))

=== boxes of errors within boxes
found = []
while True:
    found.append(private(echo, private(loud, fuel=10_000, memory=9000), fuel=100, memory=500))

=== boxes of effects
found = []
while True:
    found.append(tensor.item(rows))
"""
HEAD = """
def quiet():
    return 1

def echo(x):
    return x

def whole():
    found = []
    for k in range(18):
        found.append("a" * 100 + str(k))
    return found

def loud():
    x = "wörter" * 5
    x = [x] * 10
    raise ValueError([x] * 10)

@continuation
def main(rows):
"""


PROGRAMS = dict(section.split("\n", 1) for section in FILLING.split("\n=== ")[1:])
LABELS = {
    "short": Label.of("a/b"),
    "middle": Label.of("clinic/" + "p" * 90),
    "long": Label.of(*(f"clinic/{'p' * 400}{k}" for k in range(9))),
}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_fills_more_than_its_memory(name: str, label: str) -> None:
    memory = 150_000
    rows = Handle("tensor", bytes(8), LABELS[label])
    program = verify(compile_source(HEAD + textwrap.indent(PROGRAMS[name], "    "), "filling.py").encode())
    machine = Machine.start(program, "main", (rows,), RUN, 10**7, memory)
    answers = 0
    while not isinstance(progress := machine.run(400), Done | Failed):
        within_budget(machine, memory)
        if isinstance(progress, Parked):
            answers += 1
            if answers % 3:
                machine.resume("é" * 960 if answers % 2 else "a" * (3_800 + 8 * answers))
            else:
                machine.throw("ValueError", "wörter" * 10_000)
    assert isinstance(progress, Failed)
    assert progress.code in {"memory", "RecursionError"}


def test_a_child_that_is_given_a_box_is_within_what_its_parent_has() -> None:
    source = HEAD + (
        "    while True:\n        spawn(echo, private(whole, fuel=10_000, memory=40_000), fuel=10, memory=30_000)\n"
    )
    machine = Machine.start(verify(compile_source(source, "child.py").encode()), "main", (1,), RUN, 10**7, 60_000)
    progress = machine.run(10**6)
    assert isinstance(progress, Failed)  # the box is held while the child's memory is taken
    assert progress.code == "memory"


def test_an_error_keeps_what_its_box_pays_for() -> None:
    source = HEAD + "    return private(loud, fuel=10_000, memory=3000)\n"
    machine = Machine.start(verify(compile_source(source, "loud.py").encode()), "main", (1,), RUN, 10**6, 60_000)
    progress = machine.run(10**6)
    assert isinstance(progress, Done)
    assert type(progress.value) is Box
    content = machine.open(progress.value)
    assert isinstance(content, RegionError)
    assert content.message.startswith("[['wörter")
    assert 600 < len(content.message) < 750
    again = Machine.load(machine.program, machine.dump())
    assert again.open(progress.value) == content


@pytest.mark.parametrize("record", [RecordValue("", {}), RecordValue("a" * 257, {}), RecordValue("a", {"b" * 257: 1})])
def test_names_that_no_snapshot_has_are_refused(record: RecordValue) -> None:
    with pytest.raises(MachineError, match="names have 1 to 256 characters"):
        Machine.start(HOLDS, "main", (record,), RUN, 9, LIMIT)


def test_the_largest_state_fits_a_snapshot_and_a_record() -> None:
    texts = 2 * MAX_PROGRAM_BYTES  # constants of the program that variables hold; they cost nothing
    failure = 400_000  # the text of an exception that ends a run, see `unwinding.text_of`
    assert MAX_MEMORY_BYTES + texts + failure + 1_000_000 < MAX_SNAPSHOT_BYTES < MAX_RECORD_BYTES


def test_sliced_states_of_one_long_run_stay_within() -> None:
    source = HEAD + (
        "    d = {}\n    for k in range(2000):\n        d[k % 50] = [str(k), k * 0.5, (k, d.get(k % 7))]\n"
        "        if k % 100 == 0:\n            d.clear()\n"
    )
    machine = Machine.start(verify(compile_source(source, "long.py").encode()), "main", (1,), RUN, 10**7, 40_000)
    while isinstance(machine.run(333), Sliced):
        within_budget(machine, 40_000)
