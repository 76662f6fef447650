"""`sojourn registrar`: serve enrolment, mint tokens, list who enrolled."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sojourn.console import AS_JSON, EXIT_INTERRUPTED, example, print_json, say, show, sub_group, tell
from sojourn.errors import UsageError

if TYPE_CHECKING:
    from sojourn.registrar import RegistrarState

__all__ = ["app"]

app = sub_group(
    "Enrol agents: the registrar's key signs them, and no coordinator holds it.",
    "sojourn registrar serve --state federation/registrar --listen 0.0.0.0:7442",
    "sojourn registrar token --state federation/registrar --name ward-7 --url wss://registrar.example.org:7442",
)

STATE = Annotated[Path, typer.Option("--state", help="The registrar's folder, as `trust init` made it.")]
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@app.command(epilog=example("sojourn registrar serve --state federation/registrar --listen 0.0.0.0:7442"))
def serve(
    state: STATE,
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT to listen on.")] = "127.0.0.1:7442",
    as_json: AS_JSON = False,
) -> None:
    """Answer enrolment requests until interrupted."""
    import asyncio

    from sojourn.registrar import RegistrarState

    host, port = _address(listen)
    with RegistrarState.open(state) as opened:
        stopped = asyncio.run(_serve(opened, host, port, as_json=as_json))
    if stopped == signal.SIGINT:
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command(
    epilog=example(
        "sojourn registrar token --state federation/registrar --name ward-7 --url wss://registrar.example.org:7442"
    )
)
def token(
    state: STATE,
    name: Annotated[str, typer.Option("--name", help="Name of the agent that may enrol with it.")],
    url: Annotated[str, typer.Option("--url", help="wss://HOST:PORT under which agents reach the registrar.")],
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is good: 30m, 24h, 7d.")] = "24h",
    replace: Annotated[
        bool, typer.Option("--replace", help="Let it take the place of the agent that is enrolled under this name.")
    ] = False,
    as_json: AS_JSON = False,
) -> None:
    """Mint a token that enrols one agent, once. Give it to the agent's operator over a safe channel.

    A name that an agent is enrolled under is refused, unless --replace says that the new agent takes its place.
    """
    from sojourn.registrar import RegistrarState

    lifetime = _milliseconds(ttl)
    with RegistrarState.open(state) as opened:
        replaced = opened.live_agent(name) if replace else None
        minted = opened.mint_token(name, url=url, ttl_ms=lifetime, replace=replace)
    if as_json:
        print_json({"name": name, "token": minted, "replaces": None if replaced is None else replaced.key.hex()})
    else:
        say(minted)
    if replaced is not None:
        tell(
            f"whoever uses it takes the place of the agent with key {replaced.key.hex()[:16]}…; coordinators go on "
            f"serving that one until its key is revoked: sojourn trust revoke ROOT {replaced.key.hex()}"
        )


@app.command(name="list", epilog=example("sojourn registrar list --state federation/registrar --json"))
def list_agents(state: STATE, as_json: AS_JSON = False) -> None:
    """List the agents that enrolled here."""
    from sojourn.registrar import RegistrarState

    with RegistrarState.open(state) as opened:
        found = [
            {"name": agent.name, "key": agent.key.hex(), "superseded": agent.superseded_ms is not None}
            for agent in opened.agents()
        ]
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table("agent", "key", "")
    for row in found:
        table.add_row(str(row["name"]), str(row["key"])[:16], "superseded" if row["superseded"] else "")
    show(table)


async def _serve(state: RegistrarState, host: str, port: int, *, as_json: bool) -> int:
    """Serve until a signal; returns its number."""
    import asyncio

    from sojourn.registrar import serve

    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    async with await serve(state, host, port) as server:
        url = f"wss://{host}:{server.port}"
        tell(f"enrolling agents on {url}")
        if as_json:
            print_json({"url": url})
        return await stopped


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{text!r} is no HOST:PORT; write for example 127.0.0.1:7442")
    return host.strip("[]"), int(port)


def _milliseconds(text: str) -> int:
    unit = UNITS.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or not int(text[:-1]):
        raise UsageError(f"{text!r} is no duration; write for example 30m, 24h or 7d")
    return int(int(text[:-1]) * unit / timedelta(milliseconds=1))
