"""`sojourn-agent`: the daemon's command line.

The rules of `sojourn.console` hold: exit codes, results on standard output, nothing heavy before the command needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from sojourn.console import AS_JSON, command_group, example, print_json, say, sub_group

__all__ = ["app"]

STATE = Annotated[Path, typer.Option("--state", envvar="SOJOURN_AGENT_STATE", help="The agent's state folder.")]

app = command_group(
    "sojourn-agent",
    "Runs admitted programs where the data is, under its owner's policy.",
    "sojourn-agent enrol --state hospital-1 --token sjt1.…",
    "sojourn-agent data import --state hospital-1 --stream patients rows.npz",
    "sojourn-agent policy check hospital-1/policy.toml",
    "sojourn-agent run --state hospital-1 --coordinator wss://127.0.0.1:7443",
    "sojourn-agent status --state hospital-1",
    "sojourn-agent released --state hospital-1",
)
data = sub_group(
    "The owner's private streams.",
    "sojourn-agent data import --state hospital-1 --stream patients rows.csv",
    "sojourn-agent data show --state hospital-1",
)
policy = sub_group("The owner's policy.", "sojourn-agent policy check hospital-1/policy.toml")
app.add_typer(data, name="data")
app.add_typer(policy, name="policy")


@app.command(epilog=example("sojourn-agent enrol --state hospital-1 --token sjt1.…"))
def enrol(
    state: STATE,
    token: Annotated[str, typer.Option("--token", help="One-time token from the registrar.", envvar="SOJOURN_TOKEN")],
    as_json: AS_JSON = False,
) -> None:
    """Make keys in a state folder and have the registrar sign them. A token works once."""
    import asyncio

    from sojourn.agent.enrolment import enrol_folder

    entry = asyncio.run(enrol_folder(state, token))
    if as_json:
        print_json({"name": entry.name, "key": entry.key.hex(), "expires_ms": entry.expires_ms})
    else:
        say(f"enrolled as {entry.name} ({entry.key.hex()[:16]}…); keys are in {state}, nobody else has them")


@data.command(
    "import",
    epilog=example(
        "sojourn-agent data import --state hospital-1 --stream patients rows.npz\n\n"
        "Example: sojourn-agent data import --state hospital-1 --stream patients --allow-nan bp rows.csv"
    ),
)
def import_data(
    state: STATE,
    stream: Annotated[str, typer.Option("--stream", help="Name of the stream; made if it does not exist.")],
    file: Annotated[
        Path,
        typer.Argument(
            help=".csv with a header (age, sex:bool, x[0], x[1]), or .npz with an array of rows for each field."
        ),
    ],
    allow_nan: Annotated[
        list[str] | None,
        typer.Option("--allow-nan", help="A field that may hold NaN and infinities, where the stream is made here."),
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Append the rows of a .csv or .npz file to a private stream: all of them, or none if one does not fit."""
    from sojourn.agent.data import AgentStreams, import_rows
    from sojourn.agent.folder import AgentPaths
    from sojourn.errors import UsageError
    from sojourn.streams import StateFolder

    with StateFolder.open(state, "agent") as folder:
        streams = AgentStreams(AgentPaths(folder.path).streams)
        try:
            rows = import_rows(streams, stream, file, allow_nan or ())
        except UsageError:
            folder.undo()
            raise
        finally:
            streams.close()
    if as_json:
        print_json({"stream": stream, "rows": rows})
    else:
        say(f"stream {stream} now has {rows} rows")


@data.command("show", epilog=example("sojourn-agent data show --state hospital-1"))
def show_data(state: STATE, as_json: AS_JSON = False) -> None:
    """Show names, fields and sizes of the private streams; never a value."""
    from sojourn.agent.data import read_streams
    from sojourn.agent.folder import AgentPaths

    found = read_streams(AgentPaths(state).streams)
    if as_json:
        print_json(
            [
                {
                    "stream": info.name,
                    "rows": info.rows,
                    "fields": {name: [field.dtype, *field.shape] for name, field in info.fields.items()},
                    "nan": [name for name, field in info.fields.items() if field.nan],
                }
                for info in found
            ]
        )
        return
    for info in found:
        fields = ", ".join(
            f"{name}: {field.dtype}{list(field.shape)}{' or NaN' * field.nan}" for name, field in info.fields.items()
        )
        say(f"{info.name}: {info.rows} rows of {fields}")
    if not found:
        say(f"no streams yet; make one with: sojourn-agent data import --state {state} --stream NAME FILE.csv")


@app.command(epilog=example("sojourn-agent run --state hospital-1 --coordinator wss://127.0.0.1:7443"))
def run(
    state: STATE,
    coordinator: Annotated[
        str,
        typer.Option(
            "--coordinator", envvar="SOJOURN_AGENT_COORDINATOR", help="wss://HOST:PORT of the agents' listener."
        ),
    ],
    policy_file: Annotated[
        Path | None, typer.Option("--policy", help="The owner's policy; by default policy.toml in the state folder.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256, help="Threads of one graph.")] = 1,
    as_json: AS_JSON = False,
) -> None:
    """Serve until stopped. Whatever runs goes on after a restart, where it was."""
    from sojourn_agent.daemon import serve

    raise typer.Exit(serve(state, coordinator, policy_file, threads, as_json=as_json))


@app.command(epilog=example("sojourn-agent status --state hospital-1 --json"))
def status(state: STATE, as_json: AS_JSON = False) -> None:
    """Show the orders and their jobs, and what restarts resumed and recomputed. Works beside a running agent."""
    from sojourn.agent.status import read_status

    found = read_status(state)
    if as_json:
        print_json(found.as_json())
        return
    from sojourn_agent.tables import status_table

    status_table(found)


@app.command(
    epilog=example(
        "sojourn-agent released --state hospital-1\n\n"
        'Example: sojourn-agent released --state hospital-1 --job "how warm is it" --since 2026-11-01 --json'
    )
)
def released(
    state: STATE,
    job: Annotated[str, typer.Option("--job", help="Name, id or beginning of the id of one job.")] = "",
    since: Annotated[
        str, typer.Option("--since", help="Date or time from which on, in UTC, such as 2026-11-01 or 2026-11-01T08:30.")
    ] = "",
    as_json: AS_JSON = False,
) -> None:
    """Show what has left this agent: when, for which job, what kind, within which bounds, which value, how many bytes.

    Read from the agent's own records; works beside a running agent. What was computed and never left is not here.
    """
    from sojourn.agent.released import read_released

    found = read_released(state, job, _since_ms(since))
    if as_json:
        print_json([one.as_json() for one in found])
        return
    from sojourn_agent.tables import released_table

    released_table(found)


def _since_ms(text: str) -> int:
    """Unix milliseconds of a date or time; UTC where it names no zone."""
    import datetime as dt

    from sojourn.errors import UsageError

    if not text:
        return 0
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text!r} is no date; write 2026-11-01 or 2026-11-01T08:30") from None
    return int((found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp() * 1000)


@policy.command("check", epilog=example("sojourn-agent policy check policy.toml"))
def check_policy_file(file: Annotated[Path, typer.Argument(help="The policy file.")], as_json: AS_JSON = False) -> None:
    """Say in plain sentences what a policy admits, or what is wrong with it (exit code 2)."""
    from sojourn.privacy import check_policy

    report = check_policy(file)
    if as_json:
        print_json({"sha256": report.digest, "admits": report.lines, "warnings": report.warnings})
        return
    for line in report.lines:
        say(line)
    for line in report.warnings:
        say(f"warning: {line}")
