"""The commands as they start: quickly, by either name, and without a traceback when Ctrl-C comes early."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"sojourn": "sojourn", "sojourn-agent": "sojourn_agent", "sojourn-coordinator": "sojourn_coordinator"}

INTERRUPTED_IMPORT = """
import os, signal, sys
from importlib import import_module

where, package, sys.argv[1:] = sys.argv[1], sys.argv[2], sys.argv[3:]


class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == where:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)


sys.meta_path.insert(0, Interrupt())
import_module(f"{package}.__main__").main()
raise SystemExit("nothing was interrupted")
"""


def interrupted(where: str, package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that gets SIGINT as it begins to import `where`."""
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, where, package, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_installed_is_what_python_runs_with_m() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert scripts == {name: f"{package}.__main__:main" for name, package in PROGRAMS.items()}
    for package in PROGRAMS.values():
        assert callable(importlib.import_module(f"{package}.__main__").main)


@pytest.mark.parametrize(("name", "package"), PROGRAMS.items())
def test_a_program_says_its_version_under_both_names(name: str, package: str) -> None:
    asked = [sys.executable, "-m", package, "--version"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.startswith(f"{name} ")


@pytest.mark.parametrize("package", PROGRAMS.values())
@pytest.mark.parametrize("where", ["typer", "sojourn.console", "json"])
def test_ctrl_c_while_it_starts_is_silent(package: str, where: str) -> None:
    ran = interrupted(where, package, "--help")
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("where", "package", "arguments"),
    [
        ("sojourn_agent.daemon", "sojourn_agent", ["run", "--state", "s", "--coordinator", "wss://h:1"]),
        ("numpy", "sojourn_agent", ["run", "--state", "s", "--coordinator", "wss://h:1"]),
        ("sojourn.registrar", "sojourn", ["registrar", "list", "--state", "s"]),
        ("sojourn_coordinator.server", "sojourn_coordinator", ["run", "--state", "s"]),
    ],
)
def test_ctrl_c_while_a_command_imports_what_it_needs(where: str, package: str, arguments: list[str]) -> None:
    ran = interrupted(where, package, *arguments)
    assert ran.returncode == 130
    assert ran.stderr == "interrupted; nothing that was committed is lost\n"


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    """As under `nohup`, or in the background of a shell without job control."""
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED_IMPORT
    command = [sys.executable, "-c", ignored, "typer", "sojourn_agent", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout[:14]) == (0, "sojourn-agent ")


@pytest.mark.parametrize("package", PROGRAMS.values())
def test_what_can_be_imported_lazily_is_listed(package: str) -> None:
    """`dir` is what an editor offers: every public name stands there, imported or not."""
    for name in (package, "sojourn.agent"):
        module = importlib.import_module(name)
        assert set(getattr(module, "__all__", ())) <= set(dir(module))


def test_nothing_was_left_of_the_handler_here() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
