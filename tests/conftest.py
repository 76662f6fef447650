"""How the suite is spread over processes: `pytest -n N --dist loadfile`, as `make test` does.

Rules:

* The tests of one file run in one process, so that its fixtures are made once.
* So do those of a folder that shares something dear: one federation of real processes, one run under mutants.
* What takes long begins first: nothing long is left for the end, when the other processes have nothing to do.
* No test is timed: an example that takes long on a busy machine is no failure (pytest-timeout ends what hangs).
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TOGETHER = ("tests/integration/", "tests/security/")
LONG = (
    *TOGETHER,
    "tests/samples/",
    "tests/programs/",
    "tests/coordinator/",
    "tests/edge_agent/",
    "tests/agent/",
)


class Spread(LoadScopeScheduling):
    """Files, and folders that stay together, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        together = (folder for folder in TOGETHER if nodeid.startswith(folder))
        return next(together, nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # by number of tests; they differ by more than their number
    return Spread(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    ranks = (rank for rank, start in enumerate(LONG) if item.nodeid.startswith(start))
    return next(ranks, len(LONG))
