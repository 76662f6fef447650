"""The machine beside CPython and a Rust sandbox (pydantic-monty), all in one run.

    python tests/benchmarks/vm.py [--quick]

The same text runs three times: as Python, as a program of the machine with a warm projection, and in the sandbox. Of
each the fastest of some runs counts; a ratio is the geometric mean over the programs of its group, 1 is CPython's (or
the sandbox's) speed. Below them stand what single operations take. A table with the targets; the last line is one JSON
object. The sandbox comes with `pip install 'sojourn[bench]'`; without it its ratios are null.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from sojourn.vm import Done, Machine, Parked, VerifiedProgram, compile_source, verify
from sojourn.vm.projection.forms import Forms, Key
from vm_programs import EFFECTS, GROUPS, RAISES, REGION, THREE_FRAMES, long_function

try:
    import pydantic_monty
except ImportError:
    pydantic_monty = None  # type: ignore[assignment]

FUEL, MEMORY = 10**11, 6 * 10**7
RUN: Final = bytes(32)
console: Final = Console(stderr=True, highlight=False)

# Figure, target, whether more is better.
TARGETS: Final[dict[str, tuple[float, bool]]] = {
    "scalar_vs_cpython": (0.4, True),
    "call_vs_cpython": (0.25, True),
    "container_vs_cpython": (0.25, True),
    "string_vs_cpython": (0.25, True),
    "scalar_vs_monty": (1.0, True),
    "call_vs_monty": (1.0, True),
    "container_vs_monty": (1.0, True),
    "string_vs_monty": (1.0, True),
    "steps_vs_cpython": (0.0, True),
    "raise_catch_us": (3.0, False),
    "park_resume_flat_us": (4.0, False),
    "park_resume_3_frames_us": (15.0, False),
    "dump_load_us": (40.0, False),
    "snapshot_bytes": (1024.0, False),
    "verify_ms": (3.0, False),
    "project_us_per_instruction": (40.0, False),
    "region_us": (20.0, False),
}


def best(function: Callable[[], Any], times: int) -> float:
    """Seconds of the fastest of some runs."""
    found = math.inf
    for _ in range(times):
        began = time.perf_counter()
        function()
        found = min(found, time.perf_counter() - began)
    return found


def compiled(source: str) -> VerifiedProgram:
    """A program whose entry is `main`."""
    return verify(compile_source(source.replace("def main(", "@continuation\ndef main("), "program.py").encode())


def result(program: VerifiedProgram, size: int, *, projection: bool = True) -> Any:
    """What `main(size)` returns."""
    machine = Machine.start(program, "main", (size,), RUN, FUEL, MEMORY, projection=projection)
    progress = machine.run(FUEL)
    assert isinstance(progress, Done), progress
    return progress.value


def ratios(group: str, programs: dict[str, tuple[str, int]], session: Any, times: int) -> list[list[float | None]]:
    """For each program: speed beside CPython, beside the sandbox, and of the stepper beside CPython."""
    rows = []
    for name, (source, size) in programs.items():
        scope: dict[str, Any] = {}
        exec(compile(source, name, "exec", dont_inherit=True), scope)
        program = compiled(source)
        wanted = scope["main"](size)
        assert result(program, size) == wanted, name
        result(program, size)
        python = best(lambda scope=scope, size=size: scope["main"](size), times)
        machine = best(lambda program=program, size=size: result(program, size), times)
        short = max(size // 10, 1)
        python_short = best(lambda scope=scope, short=short: scope["main"](short), times)
        steps = best(lambda program=program, short=short: result(program, short, projection=False), 2)
        sandbox = None
        if session is not None:
            session.feed_run(source)
            assert session.feed_run(f"main({size})") == wanted, name
            sandbox = best(lambda size=size: session.feed_run(f"main({size})"), times)
        rows.append([python / machine, None if sandbox is None else sandbox / machine, python_short / steps])
        theirs = "" if sandbox is None else f"{sandbox * 1e3:9.2f} ms sandbox"
        console.print(f"{group:10} {name:14} {python * 1e3:8.2f} ms CPython {machine * 1e3:9.2f} ms machine {theirs}")
    return rows


def driven(program: VerifiedProgram, size: int) -> tuple[float, int]:
    """Seconds of a run that parks, and how often it did."""
    machine = Machine.start(program, "main", (size,), RUN, FUEL, MEMORY)
    count = 0
    began = time.perf_counter()
    while isinstance(machine.run(FUEL), Parked):
        machine.resume(count)
        count += 1
    return time.perf_counter() - began, count


def per_effect(source: str) -> float:
    """Microseconds of parking and resuming, the loop around it included."""
    program = compiled(source)
    return min(seconds / count for seconds, count in (driven(program, 2_000) for _ in range(5))) * 1e6


def per_raise(times: int) -> float:
    """Microseconds of raising and catching an exception: what a program takes more than without raising."""
    found = []
    for source, size in RAISES.values():
        program = compiled(source)
        for raising in (0, 1):
            result(program, 2 * size + raising)
        quiet, raised = (best(lambda n=2 * size + k, p=program: result(p, n), times) for k in (0, 1))
        found.append(max(raised - quiet, 1e-9) / size * 1e6)
    return statistics.geometric_mean(found)


def stored() -> tuple[float, int]:
    """Microseconds of dumping and loading a state of three frames, all checks on, and its bytes."""
    program = compiled(THREE_FRAMES)
    machine = Machine.start(program, "main", (5,), RUN, FUEL, MEMORY)
    assert isinstance(machine.run(FUEL), Parked)
    assert len(machine.runs[0].frames) == 3
    data = machine.dump()

    def many() -> None:
        for _ in range(200):
            Machine.load(program, machine.dump())

    return best(many, 5) / 200 * 1e6, len(data)


def region() -> float:
    """Microseconds of entering and leaving a private region."""
    program = compiled(REGION)

    def regions(size: int) -> float:
        return best(lambda: result(program, size), 5)

    regions(2)
    return (regions(2_000) - regions(0)) / 2_000 * 1e6


def checked() -> tuple[float, float]:
    """Milliseconds to verify 1,000 instructions, microseconds to project one."""
    data = compile_source(long_function(1_000), "program.py").encode()
    program = verify(data)
    count = sum(len(code.instructions) for code in program.codes)
    verifying = best(lambda: verify(data), 9) * 1e3 * 1_000 / count

    def project() -> None:
        forms = Forms(program)
        for function, code in enumerate(program.codes):
            assert forms.form(Key(function, -1, ("I",) * code.params)) is not None

    return verifying, best(project, 5) * 1e6 / count


def figures(session: Any, times: int) -> dict[str, float | None]:
    """Everything that the last line says."""
    found: dict[str, float | None] = {}
    steps = []
    for group, programs in GROUPS.items():
        rows = ratios(group, programs, session, times)
        found[f"{group}_vs_cpython"] = statistics.geometric_mean([row[0] or 0.0 for row in rows])
        theirs = [row[1] for row in rows if row[1] is not None]
        found[f"{group}_vs_monty"] = statistics.geometric_mean(theirs) if theirs else None
        steps += [row[2] or 0.0 for row in rows]
    found["steps_vs_cpython"] = statistics.geometric_mean(steps)
    found["raise_catch_us"] = per_raise(times)
    found["park_resume_flat_us"] = per_effect(EFFECTS)
    found["park_resume_3_frames_us"] = per_effect(THREE_FRAMES)
    found["dump_load_us"], found["snapshot_bytes"] = stored()
    found["verify_ms"], found["project_us_per_instruction"] = checked()
    found["region_us"] = region()
    return {name: None if found[name] is None else round(found[name] or 0.0, 4) for name in TARGETS}


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Speed of the machine beside CPython and a Rust sandbox.")
    parser.add_argument("--quick", action="store_true", help="fewer runs of each program")
    times = 3 if parser.parse_args().quick else 9
    if pydantic_monty is None:
        console.print("without the sandbox; pip install 'sojourn[bench]' brings it")
        found = figures(None, times)
    else:
        with pydantic_monty.Monty() as pool, pool.checkout() as session:
            found = figures(session, times)
    table = Table("Figure", "Here", "Target", "")
    for name, (target, more) in TARGETS.items():
        value = found[name]
        met = value is None or (value >= target if more else value <= target)
        wanted = f"{'at least' if more else 'at most'} {target:g}" if target else ""
        table.add_row(name, "" if value is None else f"{value:g}", wanted, "" if met else "missed")
    Console().print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
