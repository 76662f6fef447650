"""A registrar's folder and what an agent brings."""

from __future__ import annotations

import pytest
from sojourn.crypto import create_trust
from sojourn.registrar import RegistrarState


@pytest.fixture
def layout(tmp_path):
    return create_trust(tmp_path / "trust")


@pytest.fixture
def state(layout):
    with RegistrarState.open(layout.registrar) as opened:
        yield opened
