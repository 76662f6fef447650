"""What the commands share: options, output, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, ParamSpec, TypeVar

import typer
from sojourn.errors import SojournError, UsageError

__all__ = [
    "AS_JSON",
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "STATE",
    "fail",
    "guarded",
    "print_json",
    "say",
    "tell",
]

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

AS_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]
STATE = Annotated[Path, typer.Option("--state", envvar="SOJOURN_AGENT_STATE", help="The agent's state folder.")]

P = ParamSpec("P")
T = TypeVar("T")


def say(text: str) -> None:
    """One line of result on standard output."""
    sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """One line for the person who watches, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    say(json.dumps(value, sort_keys=True))


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong and leave with `code`."""
    tell(f"error: {message}")
    raise typer.Exit(code)


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Turn the errors of our tree into one message and an exit code; anything else is a defect and shows itself."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except UsageError as problem:
            fail(str(problem), EXIT_USAGE)
        except SojournError as problem:
            fail(str(problem), EXIT_ERROR)
        except KeyboardInterrupt:
            tell("interrupted; the state is intact")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return run
