"""How the commands of an operator reach the coordinator: options, and the connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sojourn.console import read_bytes
from sojourn.errors import UsageError

if TYPE_CHECKING:
    from sojourn.client.api import Operator

__all__ = ["CA", "JOB", "TOKEN_FILE", "URL", "operator"]

JOB = Annotated[str, typer.Argument(help="Id of the job (hexadecimal; `sojourn jobs --json` lists them).")]
URL = Annotated[
    str,
    typer.Option("--coordinator", envvar="SOJOURN_COORDINATOR", help="https://HOST:PORT of the operators' listener."),
]
TOKEN_FILE = Annotated[
    Path,
    typer.Option("--token-file", envvar="SOJOURN_TOKEN_FILE", help="File that holds the operator's bearer token."),
]
CA = Annotated[
    Path,
    typer.Option("--ca", envvar="SOJOURN_CA", help="PEM of the private certificate authority (trust init makes it)."),
]


def operator(url: str, token_file: Path, authority: Path) -> Operator:
    """A connection to the coordinator's operator listener.

    Raises:
        UsageError: token, authority or address do not do.
    """
    from sojourn.client.api import Operator

    token = read_bytes(token_file, "token file").decode("ascii", "replace").strip()
    if not authority.is_file():
        raise UsageError(f"there is no certificate authority at {authority}; pass --ca or set SOJOURN_CA")
    if not url.startswith("https://"):
        raise UsageError(f"{url!r} is not the address of a coordinator; write https://HOST:PORT")
    return Operator(url, token, authority)
