"""Fixtures of the security tests; the helpers live in modules beside this file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[1] / "samples" / "01_hospitals"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from security_federation import Trial, Trust  # noqa: E402


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
