"""`sojourn trust`: make a federation's keys and roster, look at the roster, revoke."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from rich.table import Table

from sojourn.client.cli.common import AS_JSON, console, guarded, print_json
from sojourn.contracts import Roster
from sojourn.crypto import create_trust, load_trusted_set, revise_roster
from sojourn.errors import UsageError

__all__ = ["app"]

app = typer.Typer(help="Keys and the roster that the root key signs.", no_args_is_help=True)


@app.command()
@guarded
def init(
    directory: Annotated[Path, typer.Argument(help="Folder to make; it must not exist.")],
    author: Annotated[list[str] | None, typer.Option("--author", help="Name of an author; repeat for more.")] = None,
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Name or address of coordinator and registrar, besides loopback.")
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Make root key, registrar, coordinator, authors and the first roster, each in a folder of its own.

    Afterwards take `root/` offline and move each other folder to its party. `ca.pem` and `root.pub` are public.

    Example: sojourn trust init federation --author alice --host coordinator.example.org
    """
    layout = create_trust(directory, authors=author or ["author"], hosts=host or [])
    roster = load_trusted_set(layout.root).roster
    authority = x509.load_der_x509_certificate(roster.authority)
    (directory / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    (directory / "root.pub").write_bytes(layout.root_public.read_bytes())
    if as_json:
        print_json(_described(roster))
        return
    console.print(_table(roster))
    console.print(f"now take [bold]{layout.root}[/] offline: whoever holds it decides who is who")


@app.command()
@guarded
def show(
    folder: Annotated[Path, typer.Argument(help="Folder of any party: it holds root.pub and roster.signed.")],
    as_json: AS_JSON = False,
) -> None:
    """Verify and show the roster of a folder. Example: sojourn trust show federation/author"""
    roster = load_trusted_set(folder).roster
    if as_json:
        print_json(_described(roster))
    else:
        console.print(_table(roster))


@app.command()
@guarded
def revoke(
    root: Annotated[Path, typer.Argument(help="The root's folder, brought online for this.")],
    key: Annotated[list[str], typer.Argument(help="Key ids to revoke, hexadecimal (agents too).")],
) -> None:
    """Sign the next roster with these keys revoked; give the file to all parties, the coordinator first.

    Example: sojourn trust revoke federation/root 3fa1…
    """
    try:
        keys = [bytes.fromhex(k) for k in key]
    except ValueError:
        raise UsageError(
            "a key id is hexadecimal; `sojourn agents --json` and `sojourn trust show` list them"
        ) from None
    revise_roster(root, revoke=keys)
    typer.echo(f"{root / 'roster.signed'}: version {load_trusted_set(root).roster.version}")


def _described(roster: Roster) -> dict[str, object]:
    entries = [{"role": e.role, "name": e.name, "key": e.key.hex(), "expires_ms": e.expires_ms} for e in roster.entries]
    revoked = [key.hex() for key in roster.revoked]
    return {"version": roster.version, "expires_ms": roster.expires_ms, "entries": entries, "revoked": revoked}


def _table(roster: Roster) -> Table:
    expires = datetime.fromtimestamp(roster.expires_ms / 1000, tz=UTC).date()
    table = Table("role", "name", "key", title=f"roster version {roster.version}, expires {expires}")
    for entry in roster.entries:
        table.add_row(entry.role, entry.name, entry.key.hex()[:16])
    return table
