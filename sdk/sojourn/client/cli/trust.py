"""`sojourn trust`: make a federation's keys and roster, look at the roster, revoke."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sojourn.console import AS_JSON, example, print_json, say, sub_group, tell
from sojourn.console import show as show_table
from sojourn.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from sojourn.contracts import Roster

__all__ = ["app"]

app = sub_group(
    "Keys and the roster that the root key signs.",
    "sojourn trust init federation --author alice --host coordinator.example.org",
    "sojourn trust show federation/coordinator",
)


@app.command(epilog=example("sojourn trust init federation --author alice --host coordinator.example.org"))
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
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from sojourn.crypto import create_trust, load_trusted_set

    layout = create_trust(directory, authors=author or ["author"], hosts=host or [])
    roster = load_trusted_set(layout.root).roster
    authority = x509.load_der_x509_certificate(roster.authority)
    (directory / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    (directory / "root.pub").write_bytes(layout.root_public.read_bytes())
    if as_json:
        print_json(_described(roster))
        return
    show_table(_table(roster))
    tell(f"now take {layout.root} offline: whoever holds it decides who is who")


@app.command(epilog=example("sojourn trust show federation/author"))
def show(
    folder: Annotated[Path, typer.Argument(help="Folder of any party: it holds root.pub and roster.signed.")],
    as_json: AS_JSON = False,
) -> None:
    """Verify and show the roster of a folder."""
    from sojourn.crypto import load_trusted_set

    roster = load_trusted_set(folder).roster
    if as_json:
        print_json(_described(roster))
    else:
        show_table(_table(roster))


@app.command(epilog=example("sojourn trust revoke federation/root 3fa1…"))
def revoke(
    root: Annotated[Path, typer.Argument(help="The root's folder, brought online for this.")],
    key: Annotated[list[str], typer.Argument(help="Key ids to revoke, hexadecimal (agents too).")],
    as_json: AS_JSON = False,
) -> None:
    """Sign the next roster with these keys revoked; give the file to all parties, the coordinator first."""
    from sojourn.codec import DIGEST_BYTES
    from sojourn.crypto import load_trusted_set, revise_roster

    try:
        keys = [bytes.fromhex(text) for text in key]
    except ValueError:
        keys = []
    if not keys or any(len(one) != DIGEST_BYTES for one in keys):
        raise UsageError(
            f"a key id is {2 * DIGEST_BYTES} hexadecimal digits; "
            "`sojourn agents --json` and `sojourn trust show --json` list them"
        )
    revise_roster(root, revoke=keys)
    roster = load_trusted_set(root).roster
    if as_json:
        print_json(_described(roster))
    else:
        say(f"{root / 'roster.signed'}: version {roster.version}")


def _described(roster: Roster) -> dict[str, object]:
    entries = [{"role": e.role, "name": e.name, "key": e.key.hex(), "expires_ms": e.expires_ms} for e in roster.entries]
    revoked = [key.hex() for key in roster.revoked]
    return {"version": roster.version, "expires_ms": roster.expires_ms, "entries": entries, "revoked": revoked}


def _table(roster: Roster) -> Table:
    from rich.table import Table

    expires = datetime.fromtimestamp(roster.expires_ms / 1000, tz=UTC).date()
    table = Table("role", "name", "key", title=f"roster version {roster.version}, expires {expires}")
    for entry in roster.entries:
        table.add_row(entry.role, entry.name, entry.key.hex()[:16])
    return table
