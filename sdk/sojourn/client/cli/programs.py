"""`sojourn program`: compile, verify, show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sojourn.console import AS_JSON, example, print_json, read_bytes, say, sub_group, write_bytes
from sojourn.errors import UsageError

if TYPE_CHECKING:
    from sojourn.vm import Program, VerifiedProgram

__all__ = ["app"]

app = sub_group(
    "Programs: compile, verify, show.",
    "sojourn program show program.py",
    "sojourn program build program.py -o program.sjp",
)

SOURCE = Annotated[Path, typer.Argument(help="Python source with one or more @continuation functions.")]


@app.command(epilog=example("sojourn program build samples/01_hospitals/program.py"))
def build(
    source: SOURCE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: the source's name with .sjp.")] = None,
    as_json: AS_JSON = False,
) -> None:
    """Compile and verify a program. What is outside the language is refused with file, line and what to write."""
    program, verified, data = _compiled(source)
    target = output or source.with_suffix(".sjp")
    write_bytes(target, data, "program")
    if as_json:
        print_json({"path": str(target), "digest": program.digest.hex(), "bytes": len(data), **_described(verified)})
    else:
        say(f"{target}  {len(data)} bytes  {program.digest.hex()}")


@app.command(epilog=example("sojourn program show samples/01_hospitals/program.py"))
def show(source: SOURCE, as_json: AS_JSON = False) -> None:
    """Show a program's entries, the effects each can reach, and its instructions."""
    from sojourn.vm import disassemble

    program, verified, _ = _compiled(source)
    if as_json:
        print_json({"digest": program.digest.hex(), **_described(verified)})
        return
    for entry in sorted(verified.entries):
        say(f"entry {entry}: {', '.join(sorted(verified.effects(entry)))}")
    say(disassemble(program))


def _compiled(source: Path) -> tuple[Program, VerifiedProgram, bytes]:
    from sojourn.codec import encode
    from sojourn.vm import compile_source, verify

    try:
        text = read_bytes(source, "source").decode("utf-8")
    except UnicodeDecodeError as problem:
        raise UsageError(f"{source} is not UTF-8: {problem.reason} at byte {problem.start}") from None
    program = compile_source(text, source.name)
    data = encode(program)
    return program, verify(data), data


def _described(verified: VerifiedProgram) -> dict[str, object]:
    return {"entries": {entry: sorted(verified.effects(entry)) for entry in sorted(verified.entries)}}
