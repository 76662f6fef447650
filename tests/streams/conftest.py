"""Hundreds of simulated crashes need no real disk: here a sync returns at once. Real ones are made by the child
processes of these tests, and by the conformance suite in tests/testing."""

import os

import pytest


@pytest.fixture(autouse=True, scope="module")
def no_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        if hasattr(os, "fdatasync"):
            patch.setattr(os, "fdatasync", lambda fd: None)
        yield
