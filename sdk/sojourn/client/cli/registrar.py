"""`sojourn registrar`: serve enrolment, mint tokens, list who enrolled."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sojourn.client.cli.common import AS_JSON, console, guarded, print_json
from sojourn.errors import UsageError
from sojourn.registrar import RegistrarState, serve

__all__ = ["app"]

app = typer.Typer(
    help="Enrol agents: the registrar's key signs them, and no coordinator holds it.", no_args_is_help=True
)

STATE = Annotated[Path, typer.Option("--state", help="The registrar's folder, as `trust init` made it.")]
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@app.command(name="serve")
@guarded
def serve_command(
    state: STATE,
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT to listen on.")] = "127.0.0.1:7442",
) -> None:
    """Answer enrolment requests until interrupted.

    Example: sojourn registrar serve --state federation/registrar --listen 0.0.0.0:7442
    """
    host, port = _address(listen)
    with RegistrarState.open(state) as opened:
        asyncio.run(_serve(opened, host, port))


@app.command()
@guarded
def token(
    state: STATE,
    name: Annotated[str, typer.Option("--name", help="Name of the agent that may enrol with it.")],
    url: Annotated[str, typer.Option("--url", help="wss://HOST:PORT under which agents reach the registrar.")],
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is good: 30m, 24h, 7d.")] = "24h",
    as_json: AS_JSON = False,
) -> None:
    """Mint a token that enrols one agent, once. Give it to the agent's operator over a safe channel.

    Example: sojourn registrar token --state federation/registrar --name ward-7 --url wss://registrar.example.org:7442
    """
    with RegistrarState.open(state) as opened:
        minted = opened.mint_token(name, url=url, ttl_ms=_milliseconds(ttl))
    if as_json:
        print_json({"name": name, "token": minted})
    else:
        typer.echo(minted)


@app.command(name="list")
@guarded
def list_command(state: STATE, as_json: AS_JSON = False) -> None:
    """List the agents that enrolled here. Example: sojourn registrar list --state federation/registrar --json"""
    with RegistrarState.open(state) as opened:
        found = [{"name": a.name, "key": a.key.hex()} for a in opened.agents()]
    if as_json:
        print_json(found)
        return
    table = Table("agent", "key")
    for row in found:
        table.add_row(row["name"], row["key"][:16])
    console.print(table)


async def _serve(state: RegistrarState, host: str, port: int) -> None:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    async with await serve(state, host, port) as server:
        console.print(f"enrolling agents on wss://{host}:{server.port}")
        if await stopped == signal.SIGINT:
            raise KeyboardInterrupt


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is no HOST:PORT; write for example 127.0.0.1:7442")
    return host.strip("[]"), int(port)


def _milliseconds(text: str) -> int:
    unit = UNITS.get(text[-1:])
    if unit is None or not text[:-1].isdigit() or not int(text[:-1]):
        raise UsageError(f"{text!r} is no duration; write for example 30m, 24h or 7d")
    return int(int(text[:-1]) * unit / timedelta(milliseconds=1))
