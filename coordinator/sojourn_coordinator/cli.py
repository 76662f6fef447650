"""The command `sojourn-coordinator`.

Exit codes: 0 done, 1 refused (the message says what to do), 2 wrong usage, 130 stopped by Ctrl-C with its state intact.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import structlog
import typer
from rich.console import Console
from rich.table import Table
from sojourn.errors import SojournError

from sojourn_coordinator.state import DATABASE_FILE, init_state, read_token

__all__ = ["app"]

EXIT_REFUSED: Final = 1
EXIT_INTERRUPTED: Final = 130

app = typer.Typer(
    name="sojourn-coordinator",
    help="Carries signed programs to agents, folds what they release, and records everything.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
token_app = typer.Typer(help="The operator's token.", no_args_is_help=True)
app.add_typer(token_app, name="token")

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

State = Annotated[Path, typer.Option("--state", help="State folder of this coordinator.", show_default=False)]


def _fail(problem: SojournError) -> NoReturn:
    errors.print(f"[red]error[/] {problem.code}: {problem}", markup=True, soft_wrap=True)
    raise typer.Exit(EXIT_REFUSED)


@app.command(epilog="Example: sojourn-coordinator init --state ./coordinator --trust ./trust")
def init(
    state: State,
    trust: Annotated[Path, typer.Option("--trust", help="Folder that `sojourn trust init` made.", show_default=False)],
) -> None:
    """Make a state folder with this coordinator's keys and a fresh operator's token."""
    try:
        init_state(state, trust)
    except SojournError as problem:
        _fail(problem)
    console.print(f"coordinator state in {state}; the operator's token is in {state / 'operator.token'}")


@app.command(
    epilog="Example: sojourn-coordinator run --state ./coordinator --agents 0.0.0.0:7443 --operators 127.0.0.1:7444"
)
def run(
    state: State,
    agents: Annotated[str, typer.Option("--agents", help="HOST:PORT where agents connect.")] = "127.0.0.1:7443",
    operators: Annotated[str, typer.Option("--operators", help="HOST:PORT of the API.")] = "127.0.0.1:7444",
    verbose: Annotated[bool, typer.Option("--verbose", help="Log each connection and order.")] = False,
) -> None:
    """Serve agents and operators until Ctrl-C. Started again on its state, it goes on where it was."""
    from sojourn_coordinator.server import Address, Running  # noqa: PLC0415 - keeps `--help` quick
    from sojourn_coordinator.server import run as serve_forever  # noqa: PLC0415

    _configure_log(verbose=verbose)

    def announce(running: Running) -> None:
        ports = f"agents on port {running.agents}, operators on port {running.operators}"
        errors.print(f"coordinator {running.coordinator.house.identity.key.hex()[:16]} serves {ports}")

    try:
        stopped = serve_forever(state, Address.parse(agents), Address.parse(operators), announce)
    except SojournError as problem:
        _fail(problem)
    except KeyboardInterrupt:  # before the handlers were in place
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if stopped is signal.SIGINT:
        raise typer.Exit(EXIT_INTERRUPTED)


@token_app.command("show", epilog="Example: sojourn-coordinator token show --state ./coordinator")
def token_show(state: State) -> None:
    """Print the operator's token."""
    try:
        token = read_token(state)
    except SojournError as problem:
        _fail(problem)
    sys.stdout.write(token + "\n")


@app.command(epilog="Example: sojourn-coordinator status --state ./coordinator --json")
def status(
    state: State,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Jobs and agents in a state folder, whether or not a coordinator serves it now."""
    try:
        read_token(state)
        found = asyncio.run(_status(state))
    except SojournError as problem:
        _fail(problem)
    if as_json:
        sys.stdout.write(json.dumps(found, sort_keys=True) + "\n")
        return
    table = Table("job", "name", "state", "round", "error")
    for job in found["jobs"]:
        error = job["error"]
        text = "" if error is None else f"{error['code']} (line {error['line']})"
        table.add_row(job["id"][:16], job["name"], job["state"], f"{job['round']}/{job['rounds']}", text)
    console.print(table)
    console.print(f"{len(found['agents'])} agents known")


async def _status(state: Path) -> dict[str, Any]:
    from sojourn_coordinator.queries import agents_view, jobs_view  # noqa: PLC0415 - keeps `--help` quick
    from sojourn_coordinator.store import Database  # noqa: PLC0415

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
