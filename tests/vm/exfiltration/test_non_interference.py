"""Non-interference: two runs of a random program that differ only in private inputs are equal in all that may leave.

`make fuzz-regions` runs many more of them.
"""

from __future__ import annotations

import importlib.util
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
EXAMPLES = int(os.environ.get("SOJOURN_FUZZ_REGIONS", "200"))
CAMPAIGN = EXAMPLES > 200


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"exfiltration_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR, RULES = _module("region_generator"), _module("rules").RULES

SECRETS = st.one_of(
    st.integers(-2, 12), st.sampled_from([0, 3, 7, 5.5, -0.0, float("inf"), float("nan"), 10**30, True])
)


@pytest.mark.timeout(86_400 if CAMPAIGN else 240)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not CAMPAIGN,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**48),
    secrets=st.tuples(SECRETS, SECRETS),
    rows=st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
def test_private_inputs_do_not_interfere(
    leaks: Any, seed: int, secrets: tuple[Any, Any], rows: tuple[int, int]
) -> None:
    source = GENERATOR.program(random.Random(seed))
    note(source)
    first = leaks.observe(source, secrets[0], rows[0])
    second = leaks.observe(source, secrets[1], rows[1], slice_fuel=20 + seed % 400)
    assert first == second


# Rules that random programs come across often. The written programs of `programs.txt` need every one of them.
OFTEN = (
    "a_region_gives_a_box", "a_failure_stays_in_its_box", "fuel_is_charged_whole", "memory_is_charged_whole",
    "a_box_costs_what_its_region_did", "a_box_is_named_by_its_place", "a_region_counts_its_own_operations",
    "arguments_are_copied_in", "public_effects_are_made_in_public", "an_effect_on_a_box_gives_a_box",
    "an_effect_on_a_box_fails_in_a_box",
)  # fmt: skip
assert set(OFTEN) <= set(RULES)


@pytest.mark.parametrize("rule", OFTEN)
def test_random_programs_find_a_rule_that_is_missing(leaks: Any, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    RULES[rule](monkeypatch)
    for seed in range(120):
        source = GENERATOR.program(random.Random(seed))
        try:
            if leaks.observe(source, 2, 1) != leaks.observe(source, 7, 4):
                return
        except (AttributeError, KeyError, TypeError):
            continue  # without its rule the machine may break over what the rule kept from it
    pytest.fail(f"120 random programs do not notice that {rule} is missing")
