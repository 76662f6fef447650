"""Commands on jobs: submit, jobs, job, follow, model, agents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sojourn.client.cli.operators import CA, JOB, TOKEN_FILE, URL, operator, whole_id
from sojourn.console import AS_JSON, EXIT_FAILED, example, fail, print_json, read_bytes, say, show, tell, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.progress import Progress, TaskID

    from sojourn.client.api import Event, Operator

__all__ = ["register"]

_SHORT = 16  # hexadecimal digits of an id in a table


def register(app: typer.Typer) -> None:
    """Add the commands to the top level of `app`."""
    failed = "the job failed"
    app.command(epilog=example("sojourn submit hospitals.submission --follow", failed))(submit)
    app.command(epilog=example("sojourn jobs --json"))(jobs)
    app.command(epilog=example("sojourn job 3f2a… --json"))(job)
    app.command(epilog=example("sojourn follow 3f2a…", failed))(follow)
    app.command(epilog=example("sojourn model 3f2a… -o model.safetensors"))(model)
    app.command(epilog=example("sojourn agents"))(agents)


def submit(
    submission: Annotated[Path, typer.Argument(help="Submission file that the author signed.")],
    url: URL,
    token_file: TOKEN_FILE,
    ca: CA,
    follow: Annotated[bool, typer.Option("--follow", help="Stay and show progress until the job ends.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Submit a job. The same file again names the same job."""
    data = read_bytes(submission, "submission")
    with operator(url, token_file, ca) as api:
        before = {row["id"]: row["state"] for row in api.jobs()}
        identity = api.submit(data)
        if identity in before:
            tell(f"these bytes were submitted before as job {identity}, which is {before[identity]}")
            tell("to run it once more, build a new submission: each has an identity of its own")
        else:
            tell(f"submitted as job {identity}")
        if follow:
            _finish(api, identity, as_json=as_json)
        elif as_json:
            print_json({"job": identity, "new": identity not in before})
        else:
            say(identity)


def jobs(url: URL, token_file: TOKEN_FILE, ca: CA, as_json: AS_JSON = False) -> None:
    """List jobs, oldest first."""
    with operator(url, token_file, ca) as api:
        found = api.jobs()
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table("job", "name", "state", "round")
    for row in found:
        table.add_row(row["id"][:_SHORT], row["name"], row["state"], f"{row['round']}/{row['rounds']}")
    show(table)


def job(identity: JOB, url: URL, token_file: TOKEN_FILE, ca: CA, as_json: AS_JSON = False) -> None:
    """Show one job: its table by round, and what its agents released."""
    from sojourn.client.cli.tables import job_tables

    with operator(url, token_file, ca) as api:
        found = api.job(whole_id(api, identity))
    if as_json:
        print_json(found)
        return
    say(f"{found['name']}  {found['state']}  round {found['round']} of {found['rounds']}")
    for table in job_tables(found["table"]):
        show(table)
    if found.get("error"):
        say(f"failed with {found['error']['code']} at line {found['error']['line']} of the rounds program")


def follow(identity: JOB, url: URL, token_file: TOKEN_FILE, ca: CA, as_json: AS_JSON = False) -> None:
    """Show a job's progress until it ends, across restarts of the coordinator."""
    with operator(url, token_file, ca) as api:
        _finish(api, whole_id(api, identity), as_json=as_json)


def model(
    identity: JOB,
    url: URL,
    token_file: TOKEN_FILE,
    ca: CA,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path("model.safetensors"),
    round_: Annotated[
        int | None, typer.Option("--round", min=0, help="Of which round; the last one published by default.")
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Fetch a published model as safetensors; it is checked against its root."""
    from sojourn.datoms import split_datoms, to_safetensors, unpack

    with operator(url, token_file, ca) as api:
        data, root = api.model(whole_id(api, identity), round_)
    tensors = unpack(split_datoms(data), root=bytes.fromhex(root))
    write_bytes(output, to_safetensors(tensors, {"sojourn.root": root}), "model")
    if as_json:
        print_json({"root": root, "path": str(output), "tensors": {n: list(t.shape) for n, t in tensors.items()}})
    else:
        say(f"{output}  root {root}")


def agents(url: URL, token_file: TOKEN_FILE, ca: CA, as_json: AS_JSON = False) -> None:
    """List the agents that have ever connected."""
    with operator(url, token_file, ca) as api:
        found = api.agents()
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table("agent", "key", "connected")
    for row in found:
        table.add_row(row["name"], row["key"][:_SHORT], "yes" if row["connected"] else "no")
    show(table)


def _finish(api: Operator, identity: str, *, as_json: bool) -> None:
    """Draw a job's progress on standard error until it ends; leaves with `EXIT_FAILED` when the job failed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    rounds = max(1, int(api.job(identity)["rounds"]))
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True, highlight=False),
    ) as progress:
        whole = progress.add_task("rounds", total=rounds, note="")
        part = progress.add_task("answers", total=None, note="waiting for agents")
        failure = _draw(api.follow(identity), progress, whole, part)
    if as_json:
        print_json(api.job(identity))
    if failure is not None:
        fail(f"the job failed: {failure.get('code')} at line {failure.get('line')} of the rounds program", EXIT_FAILED)


def _draw(events: Iterable[Event], progress: Progress, whole: TaskID, part: TaskID) -> dict[str, Any] | None:
    for event in events:
        data = event.data
        if event.name == "opened":
            progress.reset(part, total=data.get("participants"))
            progress.update(part, note=f"round {data['round']}")
        elif event.name == "answered":
            progress.update(part, completed=data["count"], total=data["of"])
            if data.get("outcome") != "done":
                progress.console.print(f"{data['agent']}: {data.get('outcome')}, {data.get('code')}", markup=False)
        elif event.name == "declined":
            progress.console.print(f"{data['agent']}: declined, {data['code']}", markup=False)
        elif event.name == "published":
            figures = "  ".join(f"{k} {data[k]:.4f}" for k in ("loss", "auc") if isinstance(data.get(k), float))
            progress.update(whole, completed=data["round"] + 1, note=figures)
        elif event.name == "closed" and "report" in data:  # a phase that is an end in itself: no model follows
            progress.update(whole, completed=data["round"] + 1)
        elif event.name == "failed":
            return data
    return None
