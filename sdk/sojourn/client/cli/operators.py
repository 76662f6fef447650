"""How the commands of an operator reach the coordinator: options, and the connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sojourn.console import read_bytes
from sojourn.errors import UsageError

if TYPE_CHECKING:
    from sojourn.client.api import Operator

__all__ = ["CA", "JOB", "TOKEN_FILE", "URL", "operator", "whole_id"]

_ID_CHARS: Final = 64

JOB = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, or its beginning; `sojourn jobs` lists them.")]
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
    import ssl

    from sojourn.client.api import Operator

    token = read_bytes(token_file, "token file").decode("ascii", "replace").strip()
    if not authority.is_file():
        raise UsageError(f"there is no certificate authority at {authority}; pass --ca or set SOJOURN_CA")
    if not url.startswith("https://"):
        raise UsageError(f"{url!r} is not the address of a coordinator; write https://HOST:PORT")
    try:
        return Operator(url, token, authority)
    except ssl.SSLError:
        raise UsageError(f"{authority} is no PEM certificate; pass the ca.pem that `sojourn trust init` made") from None


def whole_id(api: Operator, given: str) -> str:
    """A job's id from what the user gave: the id, or the beginning of exactly one.

    Raises:
        UsageError: no job begins so, or several do.
    """
    text = given.strip().lower()
    if not text or set(text) - set("0123456789abcdef"):
        raise UsageError(f"{given!r} is no job id; `sojourn jobs` lists them")
    if len(text) == _ID_CHARS:
        return text
    found = [row["id"] for row in api.jobs() if row["id"].startswith(text)]
    if len(found) != 1:
        raise UsageError(f"{len(found)} jobs begin with {given!r}; `sojourn jobs --json` lists whole ids")
    whole: str = found[0]
    return whole
