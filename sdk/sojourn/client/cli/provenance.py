"""`sojourn provenance`: export, trace."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.tree import Tree

from sojourn.client.cli.common import (
    AS_JSON,
    CA,
    EXIT_FAILED,
    TOKEN_FILE,
    URL,
    fail,
    guarded,
    operator,
    print_json,
    read_bytes,
)
from sojourn.client.provenance import Provenance, ProvenanceBroken, trace
from sojourn.crypto.identity import read_root_public

__all__ = ["app"]

app = typer.Typer(help="Where a model comes from.", no_args_is_help=True)


@app.command()
@guarded
def export(
    identity: Annotated[str, typer.Argument(help="Id of the job.")],
    url: URL,
    token_file: TOKEN_FILE,
    ca: CA,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path("provenance.zip"),
    as_json: AS_JSON = False,
) -> None:
    """Fetch everything that `trace` needs: signed documents and update streams.

    Example: sojourn provenance export 3f2a… -o provenance.zip
    """
    with operator(url, token_file, ca) as api:
        checksum = api.export(identity, output)
    if as_json:
        print_json({"path": str(output), "sha256": checksum, "bytes": output.stat().st_size})
    else:
        typer.echo(f"{output}  sha256 {checksum}")


@app.command(name="trace")
@guarded
def trace_command(
    model: Annotated[Path, typer.Argument(help="The model as safetensors; it must be the final one of the export.")],
    export_: Annotated[Path, typer.Option("--export", help="Provenance export of its job.")],
    root: Annotated[Path, typer.Option("--root", help="Public root key (root.pub of `trust init`).")],
    recompute: Annotated[bool, typer.Option("--recompute", help="Derive every model again, bit for bit.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Verify every signature from the final model back to job, programs, plan, agents, rounds and mechanisms.

    Needs no connection: only the export and the root key. Leaves with 3 and names the item that does not hold.

    Example: sojourn provenance trace model.safetensors --export provenance.zip --root root.pub --recompute
    """
    read_bytes(model, "model")
    read_bytes(export_, "export")
    try:
        found = trace(export_, read_root_public(root), model=model, recompute=recompute)
    except ProvenanceBroken as problem:
        if as_json:
            print_json({"verified": False, "item": problem.item, "why": str(problem)})
        fail(f"does not hold: {problem}", EXIT_FAILED)
    if as_json:
        print_json({"verified": True, "recomputed": recompute, **asdict(found)})
        return
    Console(highlight=False).print(draw(found))


def draw(found: Provenance) -> Tree:
    """The verified chain as a tree, the newest model at the top."""
    tree = Tree(f"[bold]model[/] {found.model}  [green]verified[/], {found.signatures} signatures")
    job = tree.add(f"job {found.name!r} {found.job[:16]}  purpose {found.purpose!r}, signed by author {found.author!r}")
    for name, value in found.programs.items():
        job.add(f"{name} program {value[:16]}")
    job.add(f"plan {found.plan[:16]}")
    job.add(f"policy {found.policy}")
    tree.add(f"coordinator {found.coordinator!r}, roster version {found.roster_version}")
    for link in reversed(found.rounds):
        figures = "  ".join(f"{name} {value:.4f}" for name, value in sorted(link.metrics.items()))
        again = "  [green]recomputed, same bits[/]" if link.recomputed else ""
        branch = tree.add(f"round {link.round}  model {link.model[:16]} from {link.base[:16]}  {figures}{again}")
        for part in link.contributions:
            released = "  ".join(f"{name} {value:g}" for name, value in sorted(part.released.items()))
            branch.add(
                f"{part.agent} {part.key[:12]}  update {part.update[:12]}  weight {part.weight}  "
                f"{part.mechanism} ({part.claim}), policy {part.policy[:12]}  {released}"
            )
    tree.add(f"initial model {found.initial}")
    return tree
