"""One table of aggregation policies: what installed packages register, for author, coordinator and tracer alike."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from sojourn import aggregation
from sojourn.aggregation import FoldResult, fold_of, installed_policies, policy_of
from sojourn.client.parts import policy_of as record_of
from sojourn.contracts import UpdateSpec
from sojourn.errors import ConfigError
from sojourn_coordinator.folding import PhaseFold

SPEC = UpdateSpec(clip=1.0, scale=1.0 / 1024, bound=100_000, max_weight=1_000)
BASE = {"w": np.zeros(3, np.float32)}


class Keep:
    """A third party's policy: keeps the base, whatever comes."""

    options = frozenset(("note",))

    def fold(self, base, spec, trained, record):
        return KeptFold(base, record["note"])


class KeptFold:
    def __init__(self, base, note):
        self.base, self.note = base, note

    def add_stream(self, datoms):
        yield 0

    def result(self):
        return FoldResult(dict(self.base), 0, 0)


@pytest.fixture
def registered(monkeypatch):
    """Register entry points as an installed package does."""
    module = types.ModuleType("third_party_policies")
    module.Keep = Keep
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def register(*points: tuple[str, str]) -> None:
        made = [EntryPoint(name, value, aggregation.GROUP) for name, value in points]
        monkeypatch.setattr(aggregation, "entry_points", lambda group: [p for p in made if p.group == group])
        aggregation._registered.cache_clear()

    yield register
    aggregation._registered.cache_clear()


def test_the_packaged_policy_is_installed():
    assert "fedavg" in installed_policies()
    assert policy_of({"name": "fedavg"}).options == frozenset()


def test_an_unknown_name_lists_what_is_installed(registered):
    registered(("keep", "third_party_policies:Keep"), ("other", "third_party_policies:Keep"))
    for record in ({"name": "krum"}, {}, {"name": 3}):
        with pytest.raises(ConfigError, match="installed: keep, other; write one of these, or install the package"):
            policy_of(record)
    registered()
    with pytest.raises(ConfigError, match="installed: none"):
        policy_of({"name": "fedavg"})


def test_author_coordinator_and_tracer_ask_one_table(registered):
    registered(("keep", "third_party_policies:Keep"))
    record = {"name": "keep", "note": "as it was"}
    assert record_of(record) == record
    assert fold_of(record, BASE, SPEC, ["w"]).note == "as it was"
    assert PhaseFold(None, record, b"root", BASE, SPEC, ["w"]).result().tensors == BASE
    for ask in (record_of, lambda chosen: PhaseFold(None, chosen, b"root", BASE, SPEC, ["w"])):
        with pytest.raises(ConfigError, match="no aggregation policy 'fedavg'; installed: keep"):
            ask({"name": "fedavg"})


def test_options_that_a_policy_does_not_have():
    with pytest.raises(ConfigError, match=r"policy 'fedavg' has no option 'trim' \(it has none\); leave it out"):
        policy_of({"name": "fedavg", "trim": 2})


def test_options_are_named(registered):
    registered(("keep", "third_party_policies:Keep"))
    with pytest.raises(ConfigError, match=r"has no option 'trim' \(it has note\)"):
        policy_of({"name": "keep", "trim": 2})


def test_a_name_of_two_packages_is_refused(registered):
    registered(("keep", "third_party_policies:Keep"), ("keep", "another:Keep"))
    with pytest.raises(ConfigError, match="registered by third_party_policies:Keep and by another:Keep; uninstall"):
        policy_of({"name": "keep"})
    registered(("keep", "third_party_policies:Keep"), ("keep", "third_party_policies:Keep"))
    assert policy_of({"name": "keep"}).options == {"note"}


@pytest.mark.parametrize("value", ["third_party_policies:Gone", "package_that_is_gone:Keep"])
def test_a_policy_that_does_not_load(registered, value):
    registered(("keep", value))
    with pytest.raises(ConfigError, match=r"does not load from .*install that package again"):
        policy_of({"name": "keep"})
