"""The authors' page works when it is pasted: its files are written, its commands run, and they print what it shows."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
from sojourn.testing.fleet import BIN

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "sdk" / "docs" / "guide" / "authors.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?")


def same(shown: str, printed: str) -> bool:
    """Whether a printed line begins as a shown one; fractions may differ in the last places of the processor's."""
    one, other = NUMBER.findall(shown), NUMBER.findall(printed)
    if not NUMBER.sub("#", printed).startswith(NUMBER.sub("#", shown)):
        return False
    return all(float(a) == pytest.approx(float(b), rel=2e-3) for a, b in zip(one, other, strict=False))


def missing(shown: str, printed: str) -> list[str]:
    """Lines that are shown and were not printed, in this order."""
    left = iter(printed.splitlines())
    return [line for line in shown.splitlines() if not any(same(line, other) for other in left)]


@pytest.mark.slow
def test_the_page_works_when_it_is_pasted(tmp_path):
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
    printed = ""
    seen = {"python": 0, "sh": 0, "text": 0}
    for block in BLOCK.finditer(PAGE.read_text("utf-8")):
        seen[block["kind"]] += 1
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["text"], "utf-8")
        elif block["kind"] == "python":
            ast.parse(block["text"])  # the loop that one comes from
        elif block["kind"] == "sh":
            done = subprocess.run(
                ["bash", "-c", f"set -eu\n{block['text']}"],
                cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{block['text']}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            printed = done.stdout
        else:
            assert missing(block["text"], printed) == [], printed
    assert seen == {"python": 4, "sh": 7, "text": 5}
    assert (tmp_path / "two.submission").stat().st_size > 1000
    assert 'kind = "update"' in (tmp_path / "policy.toml").read_text("utf-8")


def test_the_comparison_sees_other_words_other_numbers_and_another_order():
    assert missing("a 1.5\nb\n", "x\na 1.5001 more\nb\n") == []
    assert missing("a 1.5\n", "a 1.6\n") == ["a 1.5"]
    assert missing("a\nb\n", "b\na\n") == ["b"]
