"""`sojourn`: the command line of authors, registrars and operators."""

from __future__ import annotations

from typing import Annotated

import typer

from sojourn import __version__
from sojourn.client.cli.jobs import register
from sojourn.client.cli.owners import app as owners
from sojourn.client.cli.programs import app as programs
from sojourn.client.cli.provenance import app as provenance
from sojourn.client.cli.registrar import app as registrar
from sojourn.client.cli.trust import app as trust
from sojourn.console import command_group, say

__all__ = ["app"]

app = command_group("sojourn", "Send programs to private data, and see where a model comes from.")
app.add_typer(trust, name="trust")
app.add_typer(registrar, name="registrar")
app.add_typer(programs, name="program")
app.add_typer(owners, name="policy")
app.add_typer(provenance, name="provenance")
register(app)


def _version(show: bool) -> None:
    if show:
        say(f"sojourn {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Send programs to private data, and see where a model comes from.

    Exit codes: 0 done, 1 an error, 2 wrong usage, 3 a job failed or a chain does not hold, 130 interrupted.
    """
