"""What the projection does not take, and what a program cannot reach through it."""

from __future__ import annotations

import builtins
import random
from collections.abc import Iterator
from typing import Any

import pytest
from sojourn.codec import decode, encode
from sojourn.vm import Done, Machine, Parked, VerifiedProgram, verify
from sojourn.vm.program import Function, Program
from sojourn.vm.projection import driver, forms
from sojourn.vm.projection import source as source_module
from sojourn.vm.projection.forms import Forms, Key

FUEL, MEMORY = 10**8, 6 * 10**7


@pytest.fixture(autouse=True)
def _hot_at_once() -> Iterator[None]:
    before = vars(driver._Tuning).copy()
    driver.tune(warm=0, quantum=1, hot=0, hot_by_size=0)
    forms._PROGRAMS.clear()
    yield
    driver.tune(**{name: before[name] for name in ("warm", "quantum", "hot", "hot_by_size")})


def ended(program: VerifiedProgram, host: Any, *, projection: bool, slice_fuel: int = FUEL) -> tuple[Any, ...]:
    """How a run ends, with all that a host sees of it."""
    machine = Machine.start(program, program.entries[0], (), bytes(32), FUEL, MEMORY, projection=projection)
    snapshots = []
    while True:
        progress = machine.run(slice_fuel)
        snapshots.append(machine.dump())
        if isinstance(progress, Parked):
            host.answer(machine, progress.effect)
        elif machine.outcome is not None:
            return snapshots, host.seen, host.inside, repr(host.released)


def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that are compiled from now on."""
    sources: list[str] = []

    def spy(source: str, *args: Any, **options: Any) -> Any:
        sources.append(source)
        return builtins.compile(source, *args, **options)

    monkeypatch.setattr(source_module, "compile", spy, raising=False)
    return sources


REGIONS = """
def total(rows, scale):
    n, cursor, seen = 0, stream.first(rows), {}
    while cursor is not None:
        batch, cursor = stream.batch(rows, cursor, 2)
        for k in range(batch["rows"]):
            n = n + k * scale
            seen[k] = n
    if n > 10**6:
        raise ValueError("too large")
    return {"n": n, "seen": [v for v in seen.values()]}

def fails(n):
    items = []
    for k in range(n):
        items.append(k)
    return items[n]

@continuation
def main():
    rows = stream.open("patients", fields=["x"])
    first = private(total, rows, 3, fuel=5000, memory=20000)
    second = private(fails, 20, fuel=5000, memory=20000)
    third = private(fails, 2000, fuel=900, memory=20000)
    fourth = private(fails, 2000, fuel=90000, memory=4000)
    for box in (first, second, third, fourth):
        release.count(box, of="n", name="n", high=10)
    return [k for k in range(5)]
"""


@pytest.mark.parametrize("slice_fuel", [FUEL, 7, 50, 301])
def test_regions_agree(kit: Any, slice_fuel: int) -> None:
    program = kit.program_of(REGIONS)
    stepped = ended(program, kit.Host(), projection=False, slice_fuel=slice_fuel)
    assert ended(program, kit.Host(), projection=True, slice_fuel=slice_fuel) == stepped
    assert len(stepped[3]) > 10


HOSTILE = [
    "__import__('os').system('true')",
    'x")\nimport os\n("',
    "raise S",
    "fuel_ = 10**9",
    "R.fuel",
    "'''",
    "\\N{NULL}",
    "{v0}",
    "R",
    "d",
    "fuel",
    "mem",
    "v0",
    "__builtins__",
    "X(e, Y0, Z())",
]


def renamed(program: VerifiedProgram, word: str) -> VerifiedProgram:
    """The program with hostile names, but for those of effects, and a hostile text among its constants."""
    record = decode(Program, program.program.encode(), limit=1 << 20)

    def local(position: int) -> str:
        return word if position == 0 else f"{word} {position}"

    functions = tuple(
        Function(
            **{
                **{field: getattr(function, field) for field in Function.__struct_fields__},
                "name": word if position == 0 else f"{word}.{position}",
                "locals": tuple(local(k) for k in range(len(function.locals))),
            }
        )
        for position, function in enumerate(record.functions)
    )
    constants = tuple(word if constant == "TEXT" else constant for constant in record.constants)
    names = tuple(name if "." in name else word for name in record.names)
    return verify(
        encode(Program(record.contract, record.entries, functions, constants, names, record.shapes))
    )  # fmt: skip


NAMED = """
@continuation
def main():
    out, text = [], "TEXT"
    def add(x, more):
        out.append(f"{text}{x}")
        return len(out)
    for k in range(20):
        try:
            if k % 5 == 4:
                raise ValueError(text)
            add(k, text)
            text.nothing
        except ValueError as problem:
            out.append(str(problem))
        except AttributeError as problem:
            out.append(str(problem))
    return out
"""


@pytest.mark.parametrize("word", HOSTILE)
def test_names_and_constants_never_become_source(kit: Any, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    program = kit.program_of(NAMED)
    sources = written(monkeypatch)
    ended(program, kit.Host(), projection=True)
    plain = list(sources)
    assert plain
    sources.clear()
    forms._PROGRAMS.clear()
    hostile = renamed(program, word)
    assert ended(hostile, kit.Host(), projection=True) == ended(hostile, kit.Host(), projection=False)
    assert sources == plain


def test_generated_code_has_no_builtins_of_the_host(kit: Any) -> None:
    program = kit.program_of(NAMED)
    ended(program, kit.Host(), projection=True)
    namespace = forms.forms_of(program).namespace
    assert namespace["__builtins__"] == {}
    dangerous = ("__import__", "open", "exec", "eval", "compile", "getattr", "setattr", "vars", "globals", "input")
    assert not {getattr(builtins, name) for name in dangerous} & {
        value for value in namespace.values() if callable(value) and value.__hash__ is not None
    }


def loops(depth: int) -> str:
    lines = ["@continuation", "def main():", "    s = 0"]
    for k in range(depth):
        lines.append(f"{'    ' * (k + 1)}for i{k} in range({2 if k < 4 else 1}):")
    lines.append(f"{'    ' * (depth + 1)}s += 1")
    return "\n".join([*lines, "    return s"]) + "\n"


def branches(depth: int) -> str:
    lines = ["@continuation", "def main():", "    s = 0", "    for k in range(30):"]
    for j in range(depth):
        lines.append(f"{'    ' * (j + 2)}if k > {-j - 1}:")
    return "\n".join([*lines, f"{'    ' * (depth + 2)}s += k", "    return s"]) + "\n"


@pytest.mark.parametrize(("source", "refused"), [(loops(20), True), (branches(96), True), (branches(60), False)])
def test_what_the_host_cannot_nest_is_stepped(kit: Any, source: str, refused: bool) -> None:
    """The author's own nesting is the host's, 20 loops and 100 indents; generated code needs some more."""
    program = kit.program_of(source)
    stepped = ended(program, kit.Host(), projection=False)
    assert ended(program, kit.Host(), projection=True) == stepped
    assert (None in forms.forms_of(program).made.values()) is refused


def test_a_spent_writing_budget_leaves_the_rest_to_the_stepper(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program = kit.program_of(NAMED)
    monkeypatch.setattr(forms, "MAX_WRITTEN", 5)
    assert ended(program, kit.Host(), projection=True) == ended(program, kit.Host(), projection=False)
    found = forms.forms_of(program)
    assert found.left == 5
    assert set(found.made.values()) == {None}


def test_wrong_guesses_end(kit: Any) -> None:
    """A loop whose values change their kinds is written again a few times, and not for ever."""
    program = kit.program_of(
        """
@continuation
def main():
    out, value = [], 0
    for k in range(300):
        kind = k % 7
        if kind == 0:
            value = k
        elif kind == 1:
            value = k * 0.5
        elif kind == 2:
            value = str(k)
        elif kind == 3:
            value = [k]
        elif kind == 4:
            value = 2 ** (60 + k % 9)
        elif kind == 5:
            value = None
        else:
            value = {k: k}
        try:
            out.append(value + value)
            out.append(value < value)
            out.append(value[0])
            out.append(len(value))
        except TypeError as problem:
            out.append(str(problem))
    return out
"""
    )
    stepped = ended(program, kit.Host(), projection=False)
    for _ in range(3):
        assert ended(program, kit.Host(), projection=True) == stepped
    found = forms.forms_of(program)
    assert 0 < found.left < forms.MAX_WRITTEN
    left = found.left
    assert ended(program, kit.Host(), projection=True) == stepped
    assert found.left == left


def test_a_function_that_is_guessed_wrong_too_often_is_written_without_guesses(kit: Any) -> None:
    """Twenty additions of 1 to something unknown: integers first, then one after the other is something else."""
    sums = "\n".join(f"        s = s + (1 + values[{k}])" for k in range(20))
    program = kit.program_of(f"""
def many(values):
    s = 0
    for _ in range(3):
{sums}
    return s

@continuation
def main():
    values, out = [k for k in range(20)], []
    for k in range(20):
        out.append(many(values))
        for other in (0.5, 2 ** 70, True):
            values[k] = other
            out.append(many(values))
        values[k] = k
    return out
""")
    stepped = ended(program, kit.Host(), projection=False)
    assert ended(program, kit.Host(), projection=True) == stepped
    many = next(k for k, function in enumerate(program.program.functions) if function.name == "many")
    everywhere = {(many, at) for at in range(len(program.codes[many].instructions))}
    assert everywhere <= forms.forms_of(program).generic
    assert ended(program, kit.Host(), projection=True) == stepped
    left = forms.forms_of(program).left
    assert 0 < left < forms.MAX_WRITTEN
    assert ended(program, kit.Host(), projection=True) == stepped
    assert forms.forms_of(program).left == left


def test_recursion_ends_where_the_stepper_ends_it(kit: Any) -> None:
    program = kit.program_of(
        """
def deep(n, trail):
    trail.append(n)
    return deep(n + 1, trail) + 1

def down(n):
    return 0 if n == 0 else down(n - 1) + 1

@continuation
def main():
    found = []
    for k in range(3):
        trail = []
        try:
            deep(k, trail)
        except RecursionError as problem:
            found.append([str(problem), len(trail)])
        found.append(down(300 + k))
    return found
"""
    )
    stepped = ended(program, kit.Host(), projection=False)
    assert ended(program, kit.Host(), projection=True) == stepped
    for slice_fuel in (997, 5_003):
        assert ended(program, kit.Host(), projection=True, slice_fuel=slice_fuel) == ended(
            program, kit.Host(), projection=False, slice_fuel=slice_fuel
        )


def test_programs_that_ran_last_keep_their_forms(kit: Any) -> None:
    programs = [
        kit.program_of(
            f"@continuation\ndef main():\n    s = {k}\n    for i in range(9):\n        s += i\n    return s\n"
        )
        for k in range(forms.MAX_PROGRAMS + 3)
    ]
    for program in programs:
        ended(program, kit.Host(), projection=True)
    assert len(forms._PROGRAMS) == forms.MAX_PROGRAMS
    assert programs[-1].digest in forms._PROGRAMS
    assert programs[0].digest not in forms._PROGRAMS


def test_a_second_run_at_the_same_time_is_stepped(kit: Any) -> None:
    program = kit.program_of(NAMED)
    found = forms.forms_of(program)
    found.free.clear()  # as if another thread were in it
    assert ended(program, kit.Host(), projection=True) == ended(program, kit.Host(), projection=False)
    assert not found.made


def test_forms_are_made_only_where_code_is_hot(kit: Any) -> None:
    driver.tune(warm=96, quantum=256, hot=256, hot_by_size=8)
    program = kit.program_of(
        """
def cold(x):
    return x * 2

@continuation
def main():
    s = cold(1)
    for k in range(5000):
        s = s + k
    return s
"""
    )
    machine = Machine.start(program, "main", (), bytes(32), FUEL, MEMORY)
    assert isinstance(machine.run(FUEL), Done)
    made = forms.forms_of(program).made
    assert made
    assert {key.function for key in made} == {[code.name for code in program.codes].index("main")}
    off = Machine.start(program, "main", (), bytes(32), FUEL, MEMORY, projection=False)
    forms._PROGRAMS.clear()
    off.run(FUEL)
    assert not forms._PROGRAMS
    assert off.dump() == machine.dump()


def test_every_function_of_a_form_is_written_once(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program = kit.program_of(NAMED)
    sources = written(monkeypatch)
    found = Forms(program)
    key = Key(0, -1, ())
    assert found.form(key) is found.form(key)
    assert len(sources) == 1


SWITCHED = """
def step_by(d, key, by):
    d[key] = d.get(key, 0) + by
    return d[key]

@continuation
def main():
    d, words, total = {}, [], 0.5
    for word in "the quick brown fox jumps over the lazy dog".split(" "):
        for k, ch in enumerate(word):
            total = total * 1.25 - k
            step_by(d, ch, k)
        for ch in word:
            if ch in "aeiou":
                words.append(ch)
    for key, value in d.items():
        total += value
    for key in d:
        words.append(key)
    for a, b in zip(words, words[3:]):
        if a == b:
            total += 1
    for value in d.values():
        while value > 0:
            value -= 1
            total += value
    def twice(f, x):
        return f(f(x))
    return [total, words, sorted(words, key=lambda w: -ord(w)), [twice(lambda x: x + n, 1) for n in range(4)]]
"""


def test_switching_forms_at_every_stop(kit: Any) -> None:
    program = kit.program_of(SWITCHED)
    generator = random.Random(5)
    for slice_fuel in (1, 3, 17, *(generator.randrange(20, 900) for _ in range(6))):
        snapshots = []
        for patterns in ((False,), (True, False), (True,)):
            machine = Machine.start(program, "main", (), bytes(32), FUEL, MEMORY, projection=patterns[0])
            found, turn = [], 0
            while machine.outcome is None:
                machine.run(slice_fuel)
                found.append(machine.dump())
                turn += 1
                machine = Machine.load(program, found[-1], projection=patterns[turn % len(patterns)])
            snapshots.append(found)
        assert snapshots[0] == snapshots[1] == snapshots[2]
