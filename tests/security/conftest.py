"""Fixtures of the security tests; the helpers live in modules beside this file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[1] / "samples" / "01_hospitals"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import security_table  # noqa: E402
from security_federation import Trial, Trust  # noqa: E402

HOME = HERE.parents[1]
RUN = pytest.StashKey["MutantRun"]()


class MutantRun:
    """The table's tests under its mutants, in a process of its own that works while this one does."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sojourn-mutants-")
        folder = Path(self._folder.name)
        self._outcomes, self._log = folder / "outcomes.json", folder / "log.txt"
        (folder / "pairs.json").write_text(json.dumps(security_table.pairs()))
        arguments = [
            *("-p", "security_runner", "-p", "no:cacheprovider", "-q", "--timeout=20"),
            *("--mutants", str(folder / "pairs.json"), "--outcomes", str(self._outcomes)),
            *(f"--basetemp={folder / 'basetemp'}", *security_table.files()),
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *arguments], cwd=HOME, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(HERE)},
            )  # fmt: skip

    def result(self, seconds: float) -> dict[str, Any]:
        """What the run wrote down, once it has ended."""
        self._process.wait(seconds)
        assert self._outcomes.exists(), self._log.read_text(errors="replace")
        found: dict[str, Any] = json.loads(self._outcomes.read_text())
        return found

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


@pytest.fixture(scope="session", autouse=True)
def begin_mutant_run(request: pytest.FixtureRequest) -> Iterator[None]:
    """Begin with the first test of this folder, if the run under mutants is wanted; it does not outlive the session."""
    if any("mutant_run" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.config.stash[RUN] = MutantRun()
    yield
    if RUN in request.config.stash:
        request.config.stash[RUN].close()


@pytest.fixture(scope="session")
def mutant_run(pytestconfig: pytest.Config, begin_mutant_run: None) -> MutantRun:
    """The run of the table's tests under its mutants."""
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Root, authority, registrar, coordinator and author, made once: keys are slow."""
    return Trust(tmp_path_factory.mktemp("trust") / "federation")


@pytest.fixture
def trial(trust: Trust, tmp_path: Path) -> Iterator[Trial]:
    """A federation in this process: a coordinator's fresh state, and agents as the test adds them."""
    made = Trial(trust, tmp_path)
    yield made
    made.close()
