"""`sojourn program`: compile, verify, show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sojourn.client.cli.trials import note_refusal, program_of
from sojourn.console import AS_JSON, example, print_json, say, sub_group, write_bytes
from sojourn.errors import UsageError

if TYPE_CHECKING:
    from sojourn.client.sources import Source
    from sojourn.vm import VerifiedProgram

__all__ = ["app"]

app = sub_group(
    "Programs: compile, verify, show.",
    "sojourn program show program.py",
    "sojourn program build program.py -o program.sjp",
)

_HEAD: Final = ("line", "file", "kind", "name")

SOURCE = Annotated[Path, typer.Argument(help="Python source with one or more @continuation functions.")]


@app.command(epilog=example("sojourn program build samples/01_hospitals/program.py"))
def build(
    source: SOURCE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: the source's name with .sjp.")] = None,
    as_json: AS_JSON = False,
) -> None:
    """Compile and verify a program. What is outside the language is refused with file, line and what to write."""
    from sojourn.codec import encode

    found = program_of(source)
    if not found.text:
        raise UsageError(f"{source} is a built program, or empty; pass the Python source that it is to be built from")
    program, data = found.program, encode(found.program.program)
    for entry in sorted(program.entries):
        note_refusal(found, entry)
    target = output or source.with_suffix(".sjp")
    write_bytes(target, data, "program")
    if as_json:
        print_json({"path": str(target), "digest": program.digest.hex(), "bytes": len(data), **_described(program)})
    else:
        say(f"{target}  {len(data)} bytes  {program.digest.hex()}")


@app.command(epilog=example("sojourn program show samples/01_hospitals/program.py"))
def show(
    source: Annotated[Path, typer.Argument(help="Python source, or a program that `program build` made.")],
    code: Annotated[bool, typer.Option("--code", help="Show the compiled instructions too.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Show a program: its source, and for each entry the effects that it can reach and what it can release.

    A built program has no source with it; its instructions are shown with --code.
    """
    from sojourn.vm import disassemble

    found = program_of(source)
    program, text = found.program, disassemble(found.program.program) if code else ""
    if as_json:
        releases = {entry: _releases(found, entry) for entry in sorted(program.entries)}
        listing = {"code": text} if code else {}
        print_json({"digest": program.digest.hex(), **_described(program), "releases": releases, **listing})
        return
    _say_source(found)
    say(f"{found.file}  {program.digest.hex()}")
    for entry in sorted(program.entries):
        say(f"entry {entry}: {', '.join(sorted(program.effects(entry))) or 'no effects'}")
        for release in _releases(found, entry):
            of = f" of {release['file']}" if "file" in release else ""
            say(f"  line {release['line']}{of} releases {_worded(release)}")
    if code:
        say(f"\n{text}".rstrip())


def _say_source(found: Source) -> None:
    """The program's own file, and each module under its number in the program."""
    from sojourn.vm.places import module_file

    own = [("", found.text)] if found.text else []
    names = enumerate(found.program.program.modules, 1)
    titled = [(f"module {number}: {module_file(name)}", found.modules.get(name, "")) for number, name in names]
    for title, text in (*own, *titled):
        if title:
            say(title)
        for number, line in enumerate(text.splitlines(), 1):
            say(f"{number:>4}  {line}".rstrip())
        if text:
            say("")


def _releases(found: Source, entry: str) -> list[dict[str, Any]]:
    """Each place where a run of `entry` can release something, with the numbers that stand there as literals."""
    from sojourn.vm.sites import effect_sites

    return [
        {**found.as_json(site.line), "kind": site.effect.removeprefix("release."), **_plain(site.constants)}
        for site in effect_sites(found.program, entry)
        if site.effect.startswith("release.")
    ]


def _plain(constants: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can say; a program may write anything where a name or number belongs."""
    return {name: value for name, value in constants.items() if type(value) in {str, int, float, bool}}


def _worded(release: Mapping[str, Any]) -> str:
    """`count 'patients', of='n', high=1000`: what is no literal is not there."""
    head = f"{release['kind']} {release['name']!r}" if "name" in release else str(release["kind"])
    return ", ".join([head, *(f"{key}={value!r}" for key, value in release.items() if key not in _HEAD)])


def _described(program: VerifiedProgram) -> dict[str, object]:
    modules = list(program.program.modules)
    entries = {entry: sorted(program.effects(entry)) for entry in sorted(program.entries)}
    return {"entries": entries} | ({"modules": modules} if modules else {})
