"""The README's "Embed an agent" block, as it is printed: its first statements run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from sojourn.agent import AgentPaths
from sojourn.errors import ConfigError

README = Path(__file__).resolve().parents[2] / "README.md"


def first_statements() -> str:
    """The source up to the line that opens the agent: imports, and enrolment where it is needed."""
    section = README.read_text("utf-8").partition("## Embed an agent\n")[2]
    block = re.search(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert block is not None
    statements = ast.parse(block[1]).body
    opening = next(at for at, statement in enumerate(statements) if isinstance(statement, ast.With))
    return "\n".join(block[1].splitlines()[: statements[opening].lineno - 1])


def test_an_enrolled_folder_is_not_enrolled_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my-agent").mkdir()
    Path("my-agent/entry.signed").touch()
    names: dict[str, object] = {}
    exec(first_statements(), names)
    assert {"Agent", "Field", "np"} <= names.keys()  # what the rest of the block uses


def test_a_new_folder_is_enrolled_with_the_token(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="token"):  # the printed one is cut short: it came as far as being read
        exec(first_statements(), {})


def test_paths_are_the_same_from_a_text():
    assert AgentPaths("my-agent").entry == AgentPaths(Path("my-agent")).entry == Path("my-agent/entry.signed")
