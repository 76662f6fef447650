"""`sojourn-coordinator`: the coordinator's command line.

The rules of `sojourn.console` hold: exit codes, results on standard output, nothing heavy before the command needs it.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sojourn.console import AS_JSON, EXIT_INTERRUPTED, command_group, example, print_json, say, show, sub_group, tell

if TYPE_CHECKING:
    from sojourn_coordinator.server import Running

__all__ = ["app"]

app = command_group(
    "sojourn-coordinator",
    "Carries signed programs to agents, folds what they release, and records everything.",
    "sojourn-coordinator init --state ./coordinator --trust ./federation",
    "sojourn-coordinator run --state ./coordinator",
)
token_app = sub_group("The operator's token.", "sojourn-coordinator token show --state ./coordinator")
app.add_typer(token_app, name="token")

State = Annotated[Path, typer.Option("--state", help="State folder of this coordinator.", show_default=False)]


@app.command(epilog=example("sojourn-coordinator init --state ./coordinator --trust ./trust"))
def init(
    state: State,
    trust: Annotated[Path, typer.Option("--trust", help="Folder that `sojourn trust init` made.", show_default=False)],
    as_json: AS_JSON = False,
) -> None:
    """Make a state folder with this coordinator's keys and a fresh operator's token."""
    from sojourn_coordinator.state import init_state

    init_state(state, trust)
    token = state / "operator.token"
    if as_json:
        print_json({"state": str(state), "token_file": str(token)})
    else:
        say(f"coordinator state in {state}; the operator's token is in {token}")


@app.command(
    epilog=example("sojourn-coordinator run --state ./coordinator --agents 0.0.0.0:7443 --operators 127.0.0.1:7444")
)
def run(
    state: State,
    agents: Annotated[str, typer.Option("--agents", help="HOST:PORT where agents connect.")] = "127.0.0.1:7443",
    operators: Annotated[str, typer.Option("--operators", help="HOST:PORT of the API.")] = "127.0.0.1:7444",
    verbose: Annotated[bool, typer.Option("--verbose", help="Log each connection and order.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Serve agents and operators until Ctrl-C. Started again on its state, it goes on where it was."""
    from sojourn_coordinator.server import Address
    from sojourn_coordinator.server import run as serve_forever

    _configure_log(verbose=verbose)

    def announce(running: Running) -> None:
        key = running.coordinator.house.identity.key.hex()
        tell(f"coordinator {key[:16]} serves agents on port {running.agents}, operators on port {running.operators}")
        if as_json:
            print_json({"key": key, "agents": running.agents, "operators": running.operators})

    stopped = serve_forever(state, Address.parse(agents), Address.parse(operators), announce)
    if stopped is signal.SIGINT:
        raise typer.Exit(EXIT_INTERRUPTED)


@token_app.command("show", epilog=example("sojourn-coordinator token show --state ./coordinator"))
def token_show(state: State, as_json: AS_JSON = False) -> None:
    """Print the operator's token."""
    from sojourn_coordinator.state import read_token

    token = read_token(state)
    if as_json:
        print_json({"token": token})
    else:
        say(token)


@app.command(epilog=example("sojourn-coordinator status --state ./coordinator --json"))
def status(state: State, as_json: AS_JSON = False) -> None:
    """Jobs and agents in a state folder, whether or not a coordinator serves it now."""
    import asyncio

    from sojourn_coordinator.state import read_token

    read_token(state)
    found = asyncio.run(_status(state))
    if as_json:
        print_json(found)
        return
    from rich.table import Table
    from sojourn.vm.places import line_text

    table = Table("job", "name", "state", "round", "error")
    for job in found["jobs"]:
        error = job["error"]
        text = "" if error is None else f"{error['code']} ({line_text(error['line'])})"
        progress = str(job["round"]) if job["rounds"] is None else f"{job['round']}/{job['rounds']}"
        table.add_row(job["id"][:16], job["name"], job["state"], progress, text)
    show(table)
    say(f"{len(found['agents'])} agents known")


async def _status(state: Path) -> dict[str, Any]:
    from sojourn_coordinator.queries import agents_view, jobs_view
    from sojourn_coordinator.state import DATABASE_FILE
    from sojourn_coordinator.store import Database

    if not (state / DATABASE_FILE).exists():
        return {"jobs": [], "agents": []}
    database = await Database.open(state / DATABASE_FILE)
    try:
        known = await agents_view(database, ())
        for agent in known:
            del agent["connected"]  # only the process that serves knows
        return {"jobs": await jobs_view(database), "agents": known}
    finally:
        await database.close()


def _configure_log(*, verbose: bool) -> None:
    """Logs go to stderr, one line each."""
    import logging

    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def main() -> None:
    """Entry point for `python -m sojourn_coordinator`."""
    app()


if __name__ == "__main__":
    main()
