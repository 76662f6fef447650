"""Attempts to carry a private value into the public world. Each is refused, or looks the same for every secret."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.errors import ProgramRefused
from sojourn.vm import Done, Failed, Machine, Parked, Sliced

HEAD = """
def secret(rows):
    return tensor.item(rows)

def listed(rows):
    out = []
    for k in range(tensor.item(rows)):
        out.append(k)
    return out

def failing(rows):
    if tensor.item(rows) > 5:
        raise ValueError("it is large")
    return 0

def slow(rows):
    n = tensor.item(rows)
    while n > 5:
        n += 1
    return n

def greedy(rows):
    return "x" * (10 ** tensor.item(rows))

def noisy(rows, out):
    out.append(tensor.item(rows))
    log.note(f"value {tensor.item(rows)}")
    for k in range(tensor.item(rows)):
        gpu.run("g", x=k)
    return out

@continuation
def main():
    out = []
    rows = stream.open("patients", fields=["x"])
    box = private(secret, rows, fuel=3000, memory=30000)
"""

# Each of these ends the run in the line that tries it, with a message that says what to write.
REFUSED = {
    "test": "if box:\n    log.note('large')",
    "not": "x = not box",
    "while": "while box:\n    log.note('more')",
    "and": "x = box and 1",
    "conditional": "x = 1 if box else 2",
    "assert": "assert box",
    "compare": "x = box > 5",
    "equal": "x = box == 7",
    "unequal": "x = 7 != box",
    "equal_to_itself": "x = box == box",
    "is_none": "x = box is None",
    "in_list": "x = 7 in [1, box]",
    "in_box": "x = 7 in box",
    "list_equal": "x = [box] == [7]",
    "tuple_order": "x = (1, box) < (1, 8)",
    "dict_equal": "x = {'k': box} == {'k': 7}",
    "index": "x = box[0]",
    "index_with": "x = [1, 2, 3][box]",
    "slice": "x = box[1:]",
    "slice_with": "x = 'abc'[:box]",
    "dict_key": "x = {box: 1}",
    "dict_lookup": "x = {1: 2}.get(box)",
    "store_key": "out = {}\nout[box] = 1",
    "store_index": "out = [1]\nout[box] = 1",
    "store_into": "box[0] = 1",
    "delete": "del box[0]",
    "unpack": "a, b = box",
    "iterate": "for k in box:\n    log.note('one')",
    "range": "for k in range(box):\n    log.note('one')",
    "length": "x = len(box)",
    "text": "x = str(box)",
    "repr_inside": "x = repr([box])",
    "format": "x = f'{box}'",
    "format_inside": "x = f'{[box]}'",
    "join": "x = ''.join([box])",
    "add": "x = box + 1",
    "add_right": "x = 1 + box",
    "list_add": "x = [1] + box",
    "repeat": "x = 'a' * box",
    "in_place": "x = 1\nx += box",
    "extend": "out += box",
    "negate": "x = -box",
    "to_int": "x = int(box)",
    "to_float": "x = float(box)",
    "to_bool": "x = bool(box)",
    "to_list": "x = list(box)",
    "to_dict": "x = dict(box)",
    "absolute": "x = abs(box)",
    "round": "x = round(box)",
    "sum": "x = sum([box])",
    "sum_start": "x = sum([], box) + 1",
    "minimum": "x = min(box, 3)",
    "minimum_of": "x = min(box)",
    "sorted": "x = sorted([box])",
    "sorted_reverse": "x = sorted([1], reverse=box)",
    "any": "x = any([box])",
    "enumerate": "x = enumerate(box)",
    "zip": "x = zip([1], box)",
    "attribute": "x = box.value",
    "method": "x = box.append(1)",
    "pop": "x = [1].pop(box)",
    "count": "x = [1].count(box)",
    "find": "x = [box].index(7)",
    "replace": "x = 'a'.replace('a', box)",
    "raise": "raise ValueError(box)",
    "raise_inside": "raise ValueError([box])",
    "region_fuel": "x = private(secret, rows, fuel=box, memory=1000)",
    "log": "log.note(box)",
    "log_inside": "log.note([box])",
    "stream_name": "x = stream.open(box, fields=['x'])",
    "stream_fields": "x = stream.open('patients', fields=[box])",
    "release_name": "release.count(box, of='n', name=box, high=1)",
    "release_high": "release.count(box, of='n', name='n', high=box)",
    "release_key": "release.count(box, of=[box], name='n', high=1)",
    "release_base": "release.update(box, of='n', weight='n', base=rows)",
    "release_handle": "release.count(rows, of='n', name='n', high=1)",
    "release_list": "release.count([box], of='n', name='n', high=1)",
    "ask": "x = fleet.ask(1, 'train', weights=box)",
    "ask_handle": "x = fleet.ask(1, 'train', weights=rows)",
    "publish": "x = model.publish(box, round=1)",
    "handle_text": "x = str(rows)",
    "handle_attribute": "x = rows.id",
    "handle_length": "x = len(rows)",
    "handle_index": "x = rows[0]",
    "handle_order": "x = rows < rows",
}


def source(body: str) -> str:
    return HEAD + "\n".join("    " + line for line in body.splitlines()) + "\n"


def public_view(machine: Machine, host: Any) -> tuple[Any, ...]:
    """Everything that the public world and the coordinator can see of a run."""
    while True:
        progress = machine.run(10**9)
        if isinstance(progress, Parked):
            host.answer(machine, progress.effect)
        elif not isinstance(progress, Sliced):
            break
    return (repr(progress), getattr(progress, "detail", ""), host.seen, machine.fuel_left, machine.memory_left)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_the_same_for_every_secret(kit: Any, hosts: Any, name: str) -> None:
    views = [public_view(kit.start(source(REFUSED[name])), hosts(secret=value)) for value in (3, 7)]
    assert views[0] == views[1]
    last = REFUSED[name].count("\n") if name not in ("test", "while", "iterate", "range") else 0
    progress = public_view(kit.start(source(REFUSED[name])), hosts())
    assert progress[1].startswith("TypeError: ") or (
        (name == "handle_length" and "len()" in progress[1])
        or (name == "raise_inside" and progress[1] == "ValueError: (its text cannot be shown)")
    )
    line = HEAD.count("\n") + 1 + last
    assert f"line={line}" in progress[0]


def test_message_shows_what_to_write(kit: Any, host: Any) -> None:
    progress = host.drive(kit.start(source("x = box == 7")))
    assert isinstance(progress, Failed)
    assert progress.detail == (
        "TypeError: cannot compare a box: a box is sealed in the public world; pass it to "
        "private(f, box, fuel=..., memory=...), where f gets it opened, or to release.*"
    )


# These run to their end; nothing public tells the secrets apart.
SILENT = {
    "exception": "box = private(failing, rows, fuel=3000, memory=30000)",
    "loop_counter": "box = private(listed, rows, fuel=3000, memory=30000)",
    "fuel": "box = private(slow, rows, fuel=3000, memory=30000)",
    "memory": "box = private(greedy, rows, fuel=3000, memory=30000)",
    "mutation": "box = private(noisy, rows, out, fuel=3000, memory=30000)\nlog.note(str(out))\nlog.note(f'{len(out)}')",
    "number_of_effects": "box = private(noisy, rows, [], fuel=3000, memory=30000)\nlog.note('after')",
    "failing_release": (
        "bad = private(failing, rows, fuel=3000, memory=30000)\nrelease.mean(bad, of='n', name='n', low=0.0, high=1.0)"
    ),
    "boxed_effect": "box = tensor.item(gpu.run('g', x=box))",
    "boxed_error": "box = gpu.run('g', x=private(failing, rows, fuel=3000, memory=30000))",
    "nested_boxes": "box = private(secret, rows, fuel=3000, memory=30000)\nbox = gpu.run('g', x=[box, box])",
    "identity": (
        "other = private(secret, rows, fuel=3000, memory=30000)\n"
        "kept = {'a': box, 'b': [other, box]}\nlog.note(str(len(kept)))"
    ),
    "default": "x = {'k': box}.get('q', box)\nlog.note('done')",
}


@pytest.mark.parametrize("name", SILENT)
def test_silent_for_every_secret(kit: Any, hosts: Any, name: str) -> None:
    text = source(SILENT[name] + "\nrelease.count(box, of='n', name='n', high=10)\nreturn out")
    views = []
    for value in (3, 7, "text", [1] * 50, None):
        host = hosts(secret=value)
        views.append(public_view(kit.start(text), host))
        assert host.inside
    assert views[0][0].startswith("Done")
    assert all(view == views[0] for view in views)


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ("release.count(rows, of='n', name='n', high=1)", "release.count inside of the private region"),
        ("stream.open('other', fields=['x'])", "stream.open inside of the private region"),
        ("fleet.invite(round=tensor.item(rows))", "fleet.invite inside of the private region"),
        ("model.publish(rows, round=1)", "model.publish inside of the private region"),
        ("helper(rows)", "release.sum inside of the private region"),
    ],
)
def test_public_effects_in_a_region_are_refused_by_the_compiler(kit: Any, inside: str, why: str) -> None:
    text = f"""
def leaf(rows):
    return 1

def helper(rows):
    release.sum(rows, of="n", name="n", low=0.0, high=1.0)

def body(rows):
    if tensor.item(rows) > 5:
        {inside}

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    private(body, rows, fuel=100, memory=1000)
"""
    with pytest.raises(ProgramRefused) as refusal:
        kit.program_of(text)
    assert why in str(refusal.value)
    assert "private(body, ...) starts in line 15" in str(refusal.value)
    assert refusal.value.line == (6 if "helper" in inside else 10)


def test_reading_rows_outside_of_a_region_is_refused(kit: Any) -> None:
    with pytest.raises(
        ProgramRefused, match=r"program.py:4:9: stream.first reads private data in the public world; write"
    ):
        kit.program_of("@continuation\ndef main():\n    r = stream.open('a', ['x'])\n    c = stream.first(r)\n")


def test_nothing_private_in_what_is_shown_of_a_machine(kit: Any, hosts: Any) -> None:
    host = hosts(secret="canary-4711")
    machine = kit.start(source("return box"))
    done = host.drive(machine)
    assert isinstance(done, Done)
    assert machine.open(done.value) == "canary-4711"
    for shown in (machine, done, done.value, machine.runs[0].boxes, machine.program):
        assert "canary" not in repr(shown)
