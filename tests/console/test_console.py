"""What the three command lines share, and that every command of each keeps to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sojourn.client.cli
import sojourn_agent.cli
import sojourn_coordinator.cli
import typer
from rich.table import Table
from sojourn import __version__
from sojourn.console import command_group, example, fail, print_json, read_bytes, say, show, tell, write_bytes
from sojourn.errors import PeerError, PolicyInvalid, SojournError, UsageError
from typer.main import get_command
from typer.testing import CliRunner

APPS = {
    "sojourn": sojourn.client.cli.app,
    "sojourn-agent": sojourn_agent.cli.app,
    "sojourn-coordinator": sojourn_coordinator.cli.app,
}
HEAVY = (
    "numpy",
    "onnx",
    "onnxruntime",
    "cryptography",
    "httpx",
    "websockets",
    "asyncio",
    "sqlalchemy",
    "fastapi",
    "rich",
)


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by how it is typed."""
    for child, found in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {child}", found)
    if not hasattr(command, "commands"):
        yield name, command


ALL = dict(pair for name, app in APPS.items() for pair in commands(name, get_command(app)))


def groups(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every program and group, by how it is typed."""
    if hasattr(command, "commands"):
        yield name, command
        for child, found in command.commands.items():
            yield from groups(f"{name} {child}", found)


GROUPS = dict(pair for name, app in APPS.items() for pair in groups(name, get_command(app)))


def test_no_command_is_overlooked() -> None:
    assert ALL.keys() >= {"sojourn submit", "sojourn trust init", "sojourn-agent data show", "sojourn-coordinator run"}
    assert len(ALL) >= 26
    assert GROUPS.keys() >= {
        "sojourn",
        "sojourn trust",
        "sojourn-agent",
        "sojourn-agent data",
        "sojourn-coordinator token",
    }


@pytest.mark.parametrize("typed", ALL)
def test_every_command_has_help_an_example_exit_codes_and_json(typed: str) -> None:
    command = ALL[typed]
    assert command.help
    assert f"Example: {typed}" in command.epilog
    assert "Exit codes: 0 done, 1 an error, 2 wrong usage" in command.epilog
    assert "130 interrupted" in command.epilog
    assert "--json" in [flag for option in command.params for flag in option.opts]
    for option in command.params:
        assert getattr(option, "help", None) or option.name == "help", option.name


@pytest.mark.parametrize("typed", ALL)
def test_help_is_shown_and_wrong_usage_ends_with_2(typed: str) -> None:
    app, *words = typed.split()
    shown = CliRunner().invoke(APPS[app], [*words, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert CliRunner().invoke(APPS[app], [*words, "--no-such-option"]).exit_code == 2


@pytest.mark.parametrize("typed", GROUPS)
def test_every_group_has_examples_that_can_be_typed_and_exit_codes(typed: str) -> None:
    found = GROUPS[typed]
    *examples, codes = found.epilog.split("\n\n")
    assert codes.startswith("Exit codes: 0 done, 1 an error, 2 wrong usage")
    assert examples
    for line in examples:
        command = line.removeprefix("Example: ")
        assert any(command.startswith(f"{known} ") for known in ALL), command
        assert command.startswith(f"{typed} ")
    assert found.help


@pytest.mark.parametrize("app", APPS)
def test_short_help_and_version(app: str) -> None:
    for words in ([], next(typed.split()[1:] for typed in ALL if typed.startswith(f"{app} "))):
        short, long = (CliRunner().invoke(APPS[app], [*words, flag]) for flag in ("-h", "--help"))
        assert (short.exit_code, short.output) == (0, long.output)
        assert "Usage" in short.output
    assert CliRunner().invoke(APPS[app], ["--version"]).output == f"{app} {__version__}\n"


@pytest.mark.parametrize(
    ("module", "light"),
    [
        ("sojourn_agent.__main__", ("typer", *HEAVY)),
        ("sojourn.agent.status", ("numpy", "cryptography", "asyncio", "websockets", "pydantic", "sojourn.vm")),
        ("sojourn.agent.data", ("cryptography", "asyncio", "websockets", "pydantic", "sojourn.vm", "sojourn.privacy")),
    ],
)
def test_what_an_agents_quick_commands_need_loads_nothing_else(module: str, light: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print([m for m in {light!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("app", APPS)
def test_help_loads_nothing_heavy(app: str) -> None:
    """Start-up is what a person waits for: modules of commands import what they need when they need it."""
    module = "sojourn.client.cli" if app == "sojourn" else f"{app.replace('-', '_')}.cli"
    script = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_tracing_loads_neither_a_machine_nor_a_runtime_nor_a_client() -> None:
    script = (
        "import sys, sojourn.client.provenance, sojourn.aggregation, sojourn_policies.fedavg; "
        "print([m for m in ('httpx', 'onnxruntime', 'onnx', 'websockets', 'sojourn.vm', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def ended(problem: BaseException | None) -> Any:
    app = command_group("trial", "For this test.")

    @app.command(epilog=example("trial go", "it failed"))
    def go() -> None:
        if problem is not None:
            raise problem
        say("done")

    return CliRunner().invoke(app, ["go"])


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (None, 0, ""),
        (UsageError("write it so"), 2, "error: write it so\n"),
        (PolicyInvalid("line 3"), 2, "error: line 3\n"),
        (SojournError("broken"), 1, "error: broken\n"),
        (PeerError("refused"), 1, "error: refused\n"),
        (KeyboardInterrupt(), 130, "interrupted; nothing that was committed is lost\n"),
        (typer.Exit(3), 3, ""),
    ],
)
def test_how_a_command_ends(problem: BaseException | None, code: int, words: str) -> None:
    done = ended(problem)
    assert (done.exit_code, done.stderr) == (code, words)
    assert done.stdout == ("done\n" if problem is None else "")


def test_a_defect_shows_itself() -> None:
    done = ended(ZeroDivisionError("ours"))
    assert isinstance(done.exception, ZeroDivisionError)


def test_messages_are_printed_as_they_are_but_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    tell("[red]not markup[/] and \x1b[2J\x07 no control, \ttabs and\nlines")
    say("[bold]\x9b1m")
    with pytest.raises(typer.Exit) as caught:
        fail("[Errno 2] no such file", 1)
    assert caught.value.exit_code == 1
    out, err = capsys.readouterr()
    assert out == "[bold]\N{REPLACEMENT CHARACTER}1m\n"
    assert err == (
        "[red]not markup[/] and \N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER} no control, \ttabs and\nlines\n"
        "error: [Errno 2] no such file\n"
    )


def test_results_may_hold_what_looks_like_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name")
    table.add_row("[link=evil]click[/link]")
    show(table)
    print_json({"b": "[red]", "a": 1})
    out = capsys.readouterr().out
    assert "[link=evil]click[/link]" in out
    assert out.endswith('{"a": 1, "b": "[red]"}\n')


def test_files_that_the_user_named(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"data", "model")
    assert read_bytes(tmp_path / "file", "model") == b"data"
    with pytest.raises(UsageError, match="cannot read the model"):
        read_bytes(tmp_path / "none", "model")
    with pytest.raises(UsageError, match=r"cannot write the model .* --output"):
        write_bytes(tmp_path / "no" / "file", b"", "model")
