"""`sojourn continuation`: suspended programs, looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sojourn.console import AS_JSON, example, print_json, read_bytes, say, sub_group

if TYPE_CHECKING:
    from sojourn.client.sources import Source
    from sojourn.client.trial import SavedRun
    from sojourn.labels import Label
    from sojourn.vm import Effect
    from sojourn.vm.views import FrameView, RunView

__all__ = ["app"]

app = sub_group("Continuations: suspended programs.", "sojourn continuation show stopped.sjr")


@app.command(epilog=example("sojourn continuation show stopped.sjr"))
def show(
    file: Annotated[Path, typer.Argument(help="What `sojourn program run --save` wrote, or a bare snapshot.")],
    program: Annotated[
        Path | None, typer.Option("--program", help="Source or program of a bare snapshot, which does not bring it.")
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Show a suspended program: frames with source lines, variables, pending effect, budgets, handles.

    What is private shows its label and nothing else. The file is verified whole before anything of it is shown.
    """
    from sojourn.client.cli.trials import program_of
    from sojourn.client.trial import load_saved
    from sojourn.vm.views import runs_of

    given = None if program is None else program_of(program)
    found = load_saved(read_bytes(file, "continuation"), None if given is None else given.program.program.encode())
    source = found.source if given is None else given
    runs = runs_of(found.machine)
    if as_json:
        print_json(_as_json(found, runs, source))
        return
    machine = found.machine
    say(f"program {found.program.digest.hex()}" + (f"  {found.source.file}" if found.source.file else ""))
    for run in runs:
        title = f"private region, label {run.label}" if run.region else "public run"
        say(f"{title}: {run.id.hex()[:16]}, next operation {run.operation}")
        say(f"  fuel {run.fuel} left, memory {run.memory} of {run.limit} bytes before live values are counted")
        for depth, frame in enumerate(run.frames):
            _say_frame(depth, frame, run.label, source)
    if machine.pending is not None:
        say(f"waits for {_effect(machine.pending)}")
    elif machine.outcome is not None:
        say(f"has ended: {_ending(found)}")
    else:
        say("waits for nothing: it goes on at the line of its last frame")
    if found.regions_failed:
        say("a private region of it has failed: it ends with exit code 3")
    handles = _handles(found)
    say(f"handles: {len(handles)}" if handles else "handles: none")
    for each in handles:
        say("  " + ", ".join(f"{name} {value}" for name, value in each.items()))


def _say_frame(depth: int, frame: FrameView, label: Label, source: Source) -> None:
    from sojourn.client.cli.watching import frame_lines

    head, *variables = frame_lines(frame, source, label)
    say(f"  frame {depth}: {head}")
    for line in variables:
        say(f"  {line}")


def _effect(effect: Effect) -> str:
    from sojourn.client.cli.watching import effect_text

    return f"{effect_text(effect, effect.label)}, operation {effect.occurrence.operation}, {effect.durability}"


def _ending(found: SavedRun) -> str:
    from sojourn.client.trial.values import shown
    from sojourn.vm import Done

    ended = found.machine.outcome
    if isinstance(ended, Done):
        return f"done, {shown(ended.value)}"
    return "" if ended is None else f"failed, {ended.code} at {found.source.words(ended.line)}"


def _handles(found: SavedRun) -> list[dict[str, str]]:
    """Every handle with kind and label, and the public name of what it stands for."""
    refs = {entry.handle: entry.ref for entry in found.objects}
    seen: dict[bytes, dict[str, str]] = {}
    for handle in found.machine.handles():
        ref = refs.get(handle.id)
        name = getattr(ref, "name", "")
        stream = {"stream": str(name)} if name else {}
        seen[handle.id] = {"kind": handle.kind, "id": handle.id.hex()[:16], "label": str(handle.label), **stream}
    return list(seen.values())


def _as_json(found: SavedRun, runs: tuple[RunView, ...], source: Source) -> Mapping[str, Any]:
    machine = found.machine
    pending = machine.pending
    return {
        "program": found.program.digest.hex(),
        "file": found.source.file,
        "runs": [
            {
                "run": run.id.hex(),
                "region": run.region,
                "label": list(run.label.names),
                "operation": run.operation,
                "fuel": run.fuel,
                "memory": run.memory,
                "limit": run.limit,
                "frames": [_frame(frame, run.label, source) for frame in run.frames],
            }
            for run in runs
        ],
        "pending": None
        if pending is None
        else {
            "effect": pending.name,
            "operation": pending.occurrence.operation,
            "durability": pending.durability,
            "args": _values(pending.args, pending.label),
        },
        "ended": _ending(found) or None,
        "regions_failed": found.regions_failed,
        "handles": _handles(found),
    }


def _frame(frame: FrameView, label: Label, source: Source) -> Mapping[str, Any]:
    return {
        "function": frame.function,
        **source.as_json(frame.line),
        "instruction": frame.pc,
        "source": source.line(frame.line),
        "variables": _values(frame.variables, label),
    }


def _values(values: Mapping[str, Any], label: Label) -> dict[str, str]:
    from sojourn.client.trial.values import shown

    return {name: shown(value) if label.is_public else f"<{label}>" for name, value in values.items()}
