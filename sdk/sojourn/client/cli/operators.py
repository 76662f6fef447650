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
    str | None,
    typer.Option(
        "--coordinator", envvar="SOJOURN_COORDINATOR", help="https://HOST:PORT of the operators' listener. Needed."
    ),
]
TOKEN_FILE = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="SOJOURN_TOKEN_FILE",
        help="File that holds the operator's token: operator.token in the coordinator's state folder. Needed.",
    ),
]
CA = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="SOJOURN_CA",
        help="PEM of the private certificate authority: ca.pem of `sojourn trust init`. Needed.",
    ),
]

_EXAMPLES: Final = {
    "--coordinator": "SOJOURN_COORDINATOR=https://127.0.0.1:7444",
    "--token-file": "SOJOURN_TOKEN_FILE=coordinator/operator.token",
    "--ca": "SOJOURN_CA=federation/ca.pem",
}


def operator(url: str | None, token_file: Path | None, authority: Path | None) -> Operator:
    """A connection to the coordinator's operator listener.

    Raises:
        UsageError: token, authority or address are missing or do not do; all that are missing are named at once.
    """
    import ssl

    import httpx

    from sojourn.client.api import Operator

    if url is None or token_file is None or authority is None:
        raise UsageError(_missing({"--coordinator": url, "--token-file": token_file, "--ca": authority}))
    token = _token(token_file)
    if not authority.is_file():
        raise UsageError(f"there is no certificate authority at {authority}; pass --ca or set SOJOURN_CA")
    wrong = f"{url!r} is not the address of a coordinator; write https://HOST:PORT"
    if not url.startswith("https://") or not url.removeprefix("https://"):
        raise UsageError(wrong)
    try:
        return Operator(url, token, authority)
    except httpx.InvalidURL:
        raise UsageError(wrong) from None
    except ssl.SSLError:
        raise UsageError(f"{authority} is no PEM certificate; pass the ca.pem that `sojourn trust init` made") from None


def _missing(given: dict[str, object]) -> str:
    lacking = [name for name, value in given.items() if value is None]
    lines = "\n".join(f"  export {_EXAMPLES[name]}" for name in lacking)
    return f"no {', no '.join(lacking)}: pass what is missing, or set it, for example\n{lines}"


def _token(file: Path) -> str:
    token = read_bytes(file, "token file").decode("ascii", "replace").strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise UsageError(
            f"{file} holds no operator's token; `sojourn-coordinator token show --state FOLDER` prints it, and "
            "operator.token in that folder is such a file"
        )
    return token


def whole_id(api: Operator, given: str, least: int = 1) -> str:
    """A job's id from what the user gave: the id, or the beginning of exactly one.

    Args:
        api: of the coordinator.
        given: by the user.
        least: digits that a beginning has to have.

    Raises:
        UsageError: no job begins so, several do, or it is too short.
    """
    text = given.strip().lower()
    if not text or set(text) - set("0123456789abcdef"):
        raise UsageError(f"{given!r} is no job id; `sojourn jobs` lists them")
    if len(text) == _ID_CHARS:
        return text
    if len(text) < least:
        raise UsageError(
            f"{given!r} is short: give {least} digits or more of the id, so that a slip ends no other job; "
            "`sojourn jobs` lists them"
        )
    found = [row["id"] for row in api.jobs() if row["id"].startswith(text)]
    if len(found) != 1:
        raise UsageError(f"{len(found)} jobs begin with {given!r}; `sojourn jobs --json` lists whole ids")
    whole: str = found[0]
    return whole
