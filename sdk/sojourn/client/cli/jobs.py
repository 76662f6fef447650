"""Commands on jobs: submit, jobs, job, follow, model, agents."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sojourn.client.api import Event, Operator
from sojourn.client.cli.common import (
    AS_JSON,
    CA,
    EXIT_FAILED,
    TOKEN_FILE,
    URL,
    console,
    fail,
    guarded,
    operator,
    print_json,
    read_bytes,
)
from sojourn.datoms import split_datoms, to_safetensors, unpack

__all__ = ["follow_job", "register"]

JOB = Annotated[str, typer.Argument(help="Id of the job (hexadecimal; `sojourn jobs` lists them).")]


def register(app: typer.Typer) -> None:
    """Add the commands to the top level of `app`."""
    for command in (submit, jobs, job, follow, model, agents):
        app.command()(command)


@guarded
def submit(
    submission: Annotated[Path, typer.Argument(help="Submission file that the author signed.")],
    url: URL,
    token_file: TOKEN_FILE,
    ca: CA,
    follow: Annotated[bool, typer.Option("--follow", help="Stay and show progress until the job ends.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Submit a job. The same file again names the same job.

    Example: sojourn submit hospitals.submission --follow
    """
    with operator(url, token_file, ca) as api:
        identity = api.submit(read_bytes(submission, "submission"))
        console.print(f"submitted as job {identity}")
        if follow:
            follow_job(api, identity)
        if as_json:
            print_json(api.job(identity) if follow else {"job": identity})
        elif not follow:
            typer.echo(identity)


@guarded
def jobs(url: URL, token_file: TOKEN_FILE, ca: CA, as_json: AS_JSON = False) -> None:
    """List jobs. Example: sojourn jobs --json"""
    with operator(url, token_file, ca) as api:
        found = api.jobs()
    if as_json:
        print_json(found)
        return
    table = Table("job", "name", "state", "round")
    for row in found:
        table.add_row(row["id"][:16], row["name"], row["state"], f"{row['round']}/{row['rounds']}")
    console.print(table)


@guarded
def job(identity: JOB, url: URL, token_file: TOKEN_FILE, ca: CA, as_json: AS_JSON = False) -> None:
    """Show one job and its table by round. Example: sojourn job 3f2a… --json"""
    with operator(url, token_file, ca) as api:
        found = api.job(identity)
    if as_json:
        print_json(found)
        return
    console.print(f"[bold]{found['name']}[/]  {found['state']}  round {found['round']} of {found['rounds']}")
    console.print(round_table(found["table"]))
    if found.get("error"):
        console.print(f"failed with {found['error']['code']} at line {found['error']['line']} of the rounds program")


@guarded
def follow(identity: JOB, url: URL, token_file: TOKEN_FILE, ca: CA, as_json: AS_JSON = False) -> None:
    """Show a job's progress until it ends, across restarts of the coordinator.

    Example: sojourn follow 3f2a…
    """
    with operator(url, token_file, ca) as api:
        follow_job(api, identity)
        if as_json:
            print_json(api.job(identity))


@guarded
def model(
    identity: JOB,
    url: URL,
    token_file: TOKEN_FILE,
    ca: CA,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path("model.safetensors"),
    round_: Annotated[
        int | None, typer.Option("--round", help="Of which round; the last one published by default.")
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Fetch a published model as safetensors. Example: sojourn model 3f2a… -o model.safetensors"""
    with operator(url, token_file, ca) as api:
        data, root = api.model(identity, round_)
    tensors = unpack(split_datoms(data), root=bytes.fromhex(root))
    output.write_bytes(to_safetensors(tensors, {"sojourn.root": root}))
    if as_json:
        print_json({"root": root, "path": str(output), "tensors": {n: list(t.shape) for n, t in tensors.items()}})
    else:
        typer.echo(f"{output}  root {root}")


@guarded
def agents(url: URL, token_file: TOKEN_FILE, ca: CA, as_json: AS_JSON = False) -> None:
    """List the agents that have connected. Example: sojourn agents"""
    with operator(url, token_file, ca) as api:
        found = api.agents()
    if as_json:
        print_json(found)
        return
    table = Table("agent", "key", "connected")
    for row in found:
        table.add_row(row["name"], row["key"][:16], "yes" if row["connected"] else "no")
    console.print(table)


def follow_job(api: Operator, identity: str) -> None:
    """Draw a job's progress on standard error until it ends; leaves with `EXIT_FAILED` when the job failed."""
    rounds = max(1, int(api.job(identity)["rounds"]))
    with Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    ) as progress:
        whole = progress.add_task("rounds", total=rounds, note="")
        part = progress.add_task("answers", total=None, note="waiting for agents")
        failure = _draw(api.follow(identity), progress, whole, part)
    if failure is not None:
        fail(f"the job failed: {failure.get('code')} at line {failure.get('line')} of the rounds program", EXIT_FAILED)


def _draw(events: Iterable[Event], progress: Progress, whole: Any, part: Any) -> dict[str, Any] | None:
    for event in events:
        data = event.data
        if event.name == "opened":
            agents_ = data.get("participants")
            progress.reset(part, total=agents_ if isinstance(agents_, int) else len(agents_ or []))
            progress.update(part, note=f"round {data['round']}")
        elif event.name == "answered":
            progress.update(part, completed=data["count"], total=data["of"])
        elif event.name == "published":
            figures = "  ".join(f"{k} {data[k]:.4f}" for k in ("loss", "auc") if isinstance(data.get(k), float))
            progress.update(whole, completed=data["round"] + 1, note=figures)
        elif event.name == "failed":
            return data
    return None


def round_table(rows: list[dict[str, Any]]) -> Table:
    """A job's rounds: loss, AUC, participants, bytes, time."""
    table = Table("round", "loss", "AUC", "agents", "patients", "training loss", "KiB", "seconds")
    for row in rows:
        table.add_row(
            str(row["round"]),
            *(f"{row[k]:.4f}" if row.get(k) is not None else "–" for k in ("loss", "auc")),
            str(row["participants"]),
            f"{row['patients']:.0f}" if row.get("patients") is not None else "–",
            f"{row['train_loss']:.4f}" if row.get("train_loss") is not None else "–",
            f"{row['bytes'] / 1024:.1f}",
            f"{row['seconds']:.2f}",
        )
    return table
