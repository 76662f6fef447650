"""`sojourn`: the command line of authors, registrars and operators."""

from __future__ import annotations

from typing import Annotated

import typer

from sojourn import __version__
from sojourn.client.cli.jobs import register
from sojourn.client.cli.programs import app as programs
from sojourn.client.cli.provenance import app as provenance
from sojourn.client.cli.registrar import app as registrar
from sojourn.client.cli.trust import app as trust

__all__ = ["app"]

app = typer.Typer(
    name="sojourn",
    help="Send programs to private data, and see where a model comes from.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.add_typer(trust, name="trust")
app.add_typer(registrar, name="registrar")
app.add_typer(programs, name="program")
app.add_typer(provenance, name="provenance")
register(app)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"sojourn {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Send programs to private data, and see where a model comes from.

    Exit codes: 0 done, 1 error, 2 wrong usage, 3 the job failed or the chain does not hold, 130 interrupted.
    """
