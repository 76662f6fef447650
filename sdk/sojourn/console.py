"""What the command lines share: output, exit codes, and how an error ends a command.

Rules:

* Results go to standard output, words for whoever watches to standard error. `--json` prints one JSON value.
* Exit codes: 0 done, 1 an error, 2 wrong usage (a file, option or state folder to be put right), 3 a job that failed or
  was cancelled or a chain that does not hold, 130 interrupted. Every help says so, and begins with an example to type.
* `-h` is `--help` everywhere, and every program has `--version`: `command_group` sees to both.
* An error of our tree ends a command with its message and a code; anything else is a defect and shows itself.
* A message is printed as it is: it may hold what a peer wrote, so nothing in it is markup or moves the cursor.
* Importing this module is cheap, and so has to be importing a module of commands: what a command needs it imports
  itself, so that `--help` and a quick command do not wait for a runtime.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from sojourn.entry import begun
from sojourn.errors import SojournError, UsageError
from sojourn.version import VERSION

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
    "sub_group",
    "tell",
    "write_bytes",
]

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_FAILED: Final = 3
EXIT_INTERRUPTED: Final = 130

_ENDLESS: Final = 100_000  # columns: wider than any result

AS_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]

_CODES: Final = "Exit codes: 0 done, 1 an error, 2 wrong usage, {}130 interrupted."


class _Commands(TyperGroup):
    """The commands of one program: their errors become one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            begun()
            return super().invoke(ctx)
        except UsageError as problem:
            fail(str(problem), EXIT_USAGE)
        except SojournError as problem:
            fail(str(problem), EXIT_ERROR)
        except KeyboardInterrupt:
            tell("interrupted; nothing that was committed is lost")
            raise typer.Exit(EXIT_INTERRUPTED) from None


def command_group(name: str, text: str, *examples: str, failed: str = "") -> typer.Typer:
    """An empty program with `--version` and `-h`; its commands and sub-groups are added to it.

    Args:
        name: as it is typed.
        text: what it is for.
        examples: lines to type, for its help.
        failed: when one of its commands ends with `EXIT_FAILED`; empty for never.
    """
    group = typer.Typer(
        name=name,
        cls=_Commands,
        help=text,
        epilog=_epilog(examples, failed),
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    def print_version(show: bool) -> None:
        if show:
            say(f"{name} {VERSION}")
            raise typer.Exit

    # As a default and not as an annotation: those are looked up among the names of the module.
    flag: Any = typer.Option(
        False, "--version", callback=print_version, is_eager=True, help="Print the version and leave."
    )

    @group.callback()
    def main(version: bool = flag) -> None: ...

    return group


def sub_group(text: str, *examples: str, failed: str = "") -> typer.Typer:
    """An empty group of commands within a program.

    Args:
        text: what it is for.
        examples: lines to type, for its help.
        failed: when one of its commands ends with `EXIT_FAILED`; empty for never.
    """
    group = typer.Typer(help=text, epilog=_epilog(examples, failed), no_args_is_help=True)

    @group.callback()
    def main() -> None: ...

    return group


def example(line: str, failed: str = "") -> str:
    """A command's epilog: an example, and its exit codes.

    Args:
        line: what to type.
        failed: when the command ends with `EXIT_FAILED`; empty for never.
    """
    return _epilog((line,), failed)


def _epilog(examples: Sequence[str], failed: str) -> str:
    """Examples and exit codes; paragraphs, which a terminal shows one a line."""
    codes = _CODES.format(f"{EXIT_FAILED} {failed}, " if failed else "")
    return "\n\n".join([*(f"Example: {line}" for line in examples), codes])


def say(text: str) -> None:
    """One line of result on standard output."""
    sys.stdout.write(_plain(text) + "\n")


def tell(text: str) -> None:
    """One line for the person who watches, on standard error."""
    sys.stderr.write(_plain(text) + "\n")
    sys.stderr.flush()


def show(result: RenderableType) -> None:
    """A table or tree of results on standard output: whole, as wide as it is, unless a terminal is narrower.

    There cells are wrapped, between words where they can be; nothing is ever cut off.
    """
    from rich.console import Console  # noqa: PLC0415 - a quick command does not need it
    from rich.measure import Measurement  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False, markup=False)
    if isinstance(result, Table):
        for column in result.columns:
            column.overflow = "fold"
    if not console.is_terminal:
        endless = console.options.update(max_width=_ENDLESS)
        console.width = max(console.width, Measurement.get(console, endless, result).maximum)
    console.print(result)


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
