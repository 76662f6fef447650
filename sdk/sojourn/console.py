"""What the command lines share: output, exit codes, and how an error ends a command.

Rules:

* Results go to standard output, words for whoever watches to standard error. `--json` prints one JSON value.
* Exit codes: 0 done, 1 an error, 2 wrong usage (a file, option or state folder to be put right), 3 a job that failed or
  a chain that does not hold, 130 interrupted.
* An error of our tree ends a command with its message and a code; anything else is a defect and shows itself.
* A message is printed as it is: it may hold what a peer wrote, so nothing in it is markup or moves the cursor.
* Importing this module is cheap, and so has to be importing a module of commands: what a command needs it imports
  itself, so that `--help` and a quick command do not wait for a runtime.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from sojourn.errors import SojournError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "AS_JSON",
    "EXIT_ERROR",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "command_group",
    "example",
    "fail",
    "print_json",
    "read_bytes",
    "say",
    "show",
    "tell",
    "write_bytes",
]

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_FAILED: Final = 3
EXIT_INTERRUPTED: Final = 130

AS_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]

_CODES: Final = "Exit codes: 0 done, 1 an error, 2 wrong usage, {}130 interrupted."


class _Commands(TyperGroup):
    """The commands of one program: their errors become one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except UsageError as problem:
            fail(str(problem), EXIT_USAGE)
        except SojournError as problem:
            fail(str(problem), EXIT_ERROR)
        except KeyboardInterrupt:
            tell("interrupted; nothing that was committed is lost")
            raise typer.Exit(EXIT_INTERRUPTED) from None


def command_group(name: str, text: str) -> typer.Typer:
    """An empty program; its commands and sub-groups are added to it.

    Args:
        name: as it is typed.
        text: what it is for.
    """
    return typer.Typer(
        name=name,
        cls=_Commands,
        help=text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )


def example(line: str, failed: str = "") -> str:
    """A command's epilog: an example, and its exit codes.

    Args:
        line: what to type.
        failed: when the command ends with `EXIT_FAILED`; empty for never.
    """
    return f"Example: {line}\n\n{_CODES.format(f'{EXIT_FAILED} {failed}, ' if failed else '')}"


def say(text: str) -> None:
    """One line of result on standard output."""
    sys.stdout.write(_plain(text) + "\n")


def tell(text: str) -> None:
    """One line for the person who watches, on standard error."""
    sys.stderr.write(_plain(text) + "\n")
    sys.stderr.flush()


def show(result: RenderableType) -> None:
    """A table or tree of results on standard output."""
    from rich.console import Console  # noqa: PLC0415 - a quick command does not need it

    Console(highlight=False, markup=False).print(result)


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    say(json.dumps(value, sort_keys=True))


def fail(message: str, code: int = EXIT_ERROR) -> NoReturn:
    """Say what went wrong and leave with `code`."""
    tell(f"error: {message}")
    raise typer.Exit(code)


def read_bytes(path: Path, what: str) -> bytes:
    """Contents of a file that the user named.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as problem:
        raise UsageError(f"cannot read the {what} {path}: {problem.strerror}; check the path") from None


def write_bytes(path: Path, data: bytes, what: str) -> None:
    """Write a file where the user said.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as problem:
        raise UsageError(f"cannot write the {what} {path}: {problem.strerror}; pass --output") from None


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
