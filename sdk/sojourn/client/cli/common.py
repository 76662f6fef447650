"""What the commands of `sojourn` share: options, output, exit codes.

Exit codes: 0 done, 1 an error (message on standard error), 2 wrong usage, 3 a job that failed or a chain that does
not hold, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console

from sojourn.client.api import Operator
from sojourn.errors import SojournError, UsageError

__all__ = [
    "AS_JSON",
    "CA",
    "EXIT_ERROR",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "TOKEN_FILE",
    "URL",
    "console",
    "fail",
    "guarded",
    "operator",
    "print_json",
    "read_bytes",
]

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_FAILED: Final = 3
EXIT_INTERRUPTED: Final = 130

console: Final = Console(stderr=True, highlight=False)

AS_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]
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

P = ParamSpec("P")
T = TypeVar("T")


def fail(message: str, code: int = EXIT_ERROR) -> NoReturn:
    """Print `message` on standard error and leave with `code`."""
    console.print(f"[bold red]error:[/] {message}", soft_wrap=True)
    raise typer.Exit(code)


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Turn the errors of our tree into one line and an exit code; anything else is a defect and shows itself."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except UsageError as problem:
            fail(str(problem), EXIT_USAGE)
        except SojournError as problem:
            fail(str(problem), EXIT_ERROR)
        except KeyboardInterrupt:
            console.print("interrupted; nothing that was committed is lost")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return run


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, sort_keys=True) + "\n")


def read_bytes(path: Path, what: str) -> bytes:
    """Contents of a file the user named.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as problem:
        raise UsageError(f"cannot read the {what} {path}: {problem.strerror}; check the path") from None


def operator(url: str, token_file: Path, authority: Path) -> Operator:
    """A connection to the coordinator's operator listener."""
    token = read_bytes(token_file, "token file").decode("ascii", "replace").strip()
    if not authority.is_file():
        raise UsageError(f"there is no certificate authority at {authority}; pass --ca or set SOJOURN_CA")
    return Operator(url, token, authority)
