"""Commands on jobs: submit, jobs, job, follow, cancel, model, agents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sojourn.client.cli.following import follow_job
from sojourn.client.cli.operators import CA, JOB, TOKEN_FILE, URL, operator, whole_id
from sojourn.client.cli.words import ending, headline, missed_advice, progress, standing_lines, went_well
from sojourn.console import AS_JSON, EXIT_FAILED, example, fail, print_json, read_bytes, say, show, tell, write_bytes
from sojourn.errors import UsageError

if TYPE_CHECKING:
    from sojourn.client.api import Operator

__all__ = ["register"]

_SHORT = 16  # hexadecimal digits of an id in a table
_CANCEL_DIGITS = 6  # least of an id: what cannot be undone is not begun by a slip
_NOBODY = "the operator"
_SHARED = frozenset(("", "root", "Administrator", "SYSTEM"))  # accounts that name nobody


def register(app: typer.Typer) -> None:
    """Add the commands to the top level of `app`."""
    failed = "the job failed or was cancelled"
    app.command(epilog=example("sojourn submit hospitals.submission --follow", failed))(submit)
    app.command(epilog=example("sojourn jobs --json"))(jobs)
    app.command(epilog=example("sojourn job 3f2a… --json"))(job)
    app.command(epilog=example("sojourn follow 3f2a…", failed))(follow)
    app.command(epilog=example("sojourn cancel 3f2a… --by alice"))(cancel)
    app.command(epilog=example("sojourn model 3f2a… -o model.safetensors"))(model)
    app.command(epilog=example("sojourn agents"))(agents)


def submit(
    submission: Annotated[Path, typer.Argument(help="Submission file that the author signed.")],
    url: URL = None,
    token_file: TOKEN_FILE = None,
    ca: CA = None,
    follow: Annotated[bool, typer.Option("--follow", help="Stay and show progress until the job ends.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Submit a job. The same file again names the same job."""
    data = _submission(submission)
    with operator(url, token_file, ca) as api:
        before = {row["id"]: row["state"] for row in api.jobs()}
        identity = api.submit(data)
        if identity in before:
            tell(f"these bytes were submitted before as job {identity}, which is {before[identity]}")
            tell("to run it once more, build a new submission: each has an identity of its own")
        else:
            tell(f"submitted as job {identity}")
        if follow:
            _finish(api, identity, as_json=as_json, table=True)
        elif as_json:
            print_json({"job": identity, "new": identity not in before})
        else:
            say(identity)


def jobs(url: URL = None, token_file: TOKEN_FILE = None, ca: CA = None, as_json: AS_JSON = False) -> None:
    """List jobs, oldest first."""
    with operator(url, token_file, ca) as api:
        found = api.jobs()
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table("job", "name", "state", "round")
    for row in found:
        table.add_row(row["id"][:_SHORT], row["name"], row["state"], progress(row))
    show(table)


def job(identity: JOB, url: URL = None, token_file: TOKEN_FILE = None, ca: CA = None, as_json: AS_JSON = False) -> None:
    """Show one job: what it waits for, its latest phase by agent, its table by round, and what its agents released."""
    with operator(url, token_file, ca) as api:
        found = api.job(whole_id(api, identity))
    if as_json:
        print_json(found)
        return
    say(headline(found))
    _show_standing(found)
    for line in [*filter(None, [ending(found)]), *missed_advice(found)]:
        say(line)


def _show_standing(found: Mapping[str, Any]) -> None:
    """The tables of a job, and how its latest phase stands."""
    from sojourn.client.cli.tables import agents_table, job_tables

    for table in job_tables(found["table"]):
        show(table)
    for line in standing_lines(found):
        say(line)
    if found["phase"] and not went_well(found["phase"]):
        show(agents_table(found["phase"], (found.get("programs") or {}).get("agent_modules", ())))


def follow(
    identity: JOB, url: URL = None, token_file: TOKEN_FILE = None, ca: CA = None, as_json: AS_JSON = False
) -> None:
    """Show a job's progress until it ends, across restarts of the coordinator.

    On a terminal as bars; anywhere else as a line on standard error for each thing that happens.
    """
    with operator(url, token_file, ca) as api:
        _finish(api, whole_id(api, identity), as_json=as_json)


def model(
    identity: JOB,
    url: URL = None,
    token_file: TOKEN_FILE = None,
    ca: CA = None,
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


def agents(url: URL = None, token_file: TOKEN_FILE = None, ca: CA = None, as_json: AS_JSON = False) -> None:
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


def cancel(
    identity: JOB,
    url: URL = None,
    token_file: TOKEN_FILE = None,
    ca: CA = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help='Who cancels, for the job\'s ledger; by default your name on this machine, or "the operator" for an '
            "account that is nobody's.",
        ),
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """End a job. Agents are asked no more, and what they still send is not taken; published models stay.

    Of the id give 6 digits or more. Cancelling again is no error. A job that is done or has failed cannot be cancelled
    (exit code 1).
    """
    who = _user() if by is None else by
    with operator(url, token_file, ca) as api:
        found = api.cancel(whole_id(api, identity, least=_CANCEL_DIGITS), who)
    if as_json:
        print_json(found)
    else:
        say(f"{found['job']}  cancelled{'' if found['new'] else ' before'}")


def _user() -> str:
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return _NOBODY
    return _NOBODY if name in _SHARED else name


def _finish(api: Operator, identity: str, *, as_json: bool, table: bool = False) -> None:
    """Show a job's progress on standard error until it ends; leaves with `EXIT_FAILED` when it is not done then.

    Args:
        api: of the job's coordinator.
        identity: of the job.
        as_json: print the job as JSON in the end.
        table: else show its tables in the end.
    """
    how = follow_job(api, identity)
    found = api.job(identity)
    if as_json:
        print_json(found)
    elif table:
        _show_standing(found)
    if how is not None:
        for line in missed_advice(found):
            tell(line)
        fail(ending(found) or how, EXIT_FAILED)


def _submission(file: Path) -> bytes:
    """The bytes of a submission file.

    Raises:
        UsageError: it cannot be read, or is another kind of file.
    """
    from sojourn.codec import Kind, header_of
    from sojourn.errors import DecodeError

    data = read_bytes(file, "submission")
    how = "`build_submission` makes one and `Path(FILE).write_bytes(submission.data)` writes it"
    try:
        kind, _ = header_of(data)
    except DecodeError:
        what = "is Python source" if file.suffix == ".py" else "is no file of Sojourn's"
        raise UsageError(f"{file} {what}, and no submission: {how}; see the guide, getting started, step 4") from None
    if kind != Kind.BUNDLE:
        what = "a compiled program" if kind == Kind.PROGRAM else f"of kind {kind:#06x}"
        raise UsageError(f"{file} is {what}, and no submission: {how}")
    return data
