"""One run on real machine, graphs and files: what it answers, and what a kill changes about that (nothing)."""

import numpy as np
import pytest
from sojourn.contracts import ReleaseSpec

FEATURES = 3
LINE = 19  # of stream.open in the program


def expected(folder_rows, epochs=2, size=4):
    """The same training in numpy."""
    x, y = folder_rows
    w = np.zeros((FEATURES, 1), np.float32)
    for _ in range(epochs):
        losses = []
        for start in range(0, len(x), size):
            xb, yb = x[start : start + size], y[start : start + size]
            e = xb @ w - yb
            losses += list((e * e).ravel())
            w = w - xb.T @ e * np.float32(0.015625)
    return w, losses


def rows(seed=0, n=20):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, FEATURES)).astype(np.float32)
    return x, x @ np.ones((FEATURES, 1), np.float32)


def test_an_order_becomes_a_signed_answer(bench, federation, agent_entry):
    minted = federation.mint(agent_entry)
    answer = bench.done(minted)
    found = answer.answer
    assert (found.outcome, found.code, found.line) == ("done", "", 0)
    assert (found.run, found.epoch, found.order) == (minted.order.run, 1, minted.digest)
    assert [(r.kind, r.name, r.claim) for r in found.releases] == [
        ("update", "update", "trusted-plan"),
        ("count", "patients", "trusted-plan"),
        ("mean", "loss", "trusted-plan"),
    ]
    w, losses = expected(rows())
    blocks, weight = answer.update()
    assert weight == 20
    np.testing.assert_allclose(blocks["w"] * 2.0**-16 / 20, w.ravel(), atol=1e-4)
    assert found.releases[1].value == 20
    assert found.releases[2].value == pytest.approx(np.mean(losses), rel=1e-5)
    assert bench.row(minted).state == "answered"
    assert bench.row(minted).effects == 2 * (1 + 2 * 5) + 1 + 1 + 3


def test_weights_that_lack_untrained_state_start_it_at_zero(bench, federation, agent_entry):
    start = {"w": np.full((FEATURES, 1), 0.5, np.float32)}
    answer = bench.done(federation.mint(agent_entry, weights=start))
    assert answer.answer.outcome == "done"


@pytest.mark.parametrize(
    "weights",
    [
        {"w": np.zeros((2, 1), np.float32)},
        {"w": np.zeros((FEATURES, 1), np.float64)},
        {"v": np.zeros((FEATURES, 1), np.float32)},
        {},
    ],
)
def test_weights_that_are_not_the_plans_end_the_run_in_public_words(bench, federation, agent_entry, weights):
    answer = bench.done(federation.mint(agent_entry, weights=weights)).answer
    assert (answer.outcome, answer.code, answer.releases) == ("refused", "plan_mismatch", ())


def test_a_failed_run_says_code_and_line_and_lets_nothing_out(bench, federation, agent_entry):
    source = """\
from sojourn.program import continuation, release, private


def f(a):
    return {"n": a}


@continuation
def hospital(order):
    box = private(f, 3, fuel=1000, memory=10000)
    release.count(box, of="n", name="patients", high=1000)
    secret = [1, 2]
    return secret[order.args["epochs"]]
"""
    minted = federation.mint(agent_entry, source, job_answer=(ReleaseSpec("count", "patients", 0.0, 1000.0, None),))
    found = bench.done(minted)
    assert (found.answer.outcome, found.answer.code, found.answer.line) == ("failed", "IndexError", 13)
    assert found.answer.releases == ()
    assert found.body == b""
    ended = [line for line in bench.log() if line["event"] == "run ended"]
    assert ended[0]["detail"]


def test_failures_in_a_module_are_in_the_owners_log_with_their_file(bench, federation, agent_entry):
    (bench.folder / "policy.toml").write_text(federation.policy_text())
    source = """
from sojourn.program import continuation, private, release
import helpers


@continuation
def hospital(order):
    box = private(helpers.inside, 0, fuel=1000, memory=10000)
    release.count(box, of="n", name="patients", high=1000)
    return helpers.outside([1, 2], order.args["epochs"])
"""
    minted = federation.mint(agent_entry, source, job_answer=(ReleaseSpec("count", "patients", 0.0, 1000.0, None),))
    found = bench.done(minted)
    assert (found.answer.outcome, found.answer.code, found.answer.line) == ("failed", "IndexError", 1_000_008)
    texts = [str(line) for line in bench.log()]
    assert any("the region failed: ZeroDivisionError at line 4 of helpers.py" in text for text in texts)
    assert any("run ended" in text and "(line 8 of helpers.py)" in text for text in texts)


def test_a_stream_without_the_field_is_named_in_the_owners_log(bench, federation, agent_entry):
    (bench.folder / "policy.toml").write_text(federation.policy_text())
    source = federation.source('["x", "y"]', '["x", "z"]')
    answer = bench.done(federation.mint(agent_entry, source)).answer
    assert (answer.outcome, answer.code, answer.line) == ("refused", "admission_refused", LINE)


def test_a_field_that_the_policy_admits_and_the_stream_lacks(federation, folder, agent_entry, bench_at):
    text = federation.policy_text().replace('["x", "y"]', '["x", "y", "z"]')
    (folder / "policy.toml").write_text(text)
    source = federation.source('["x", "y"]', '["x", "z"]')
    with bench_at() as bench:
        answer = bench.done(federation.mint(agent_entry, source)).answer
        assert (answer.outcome, answer.code, answer.line) == ("failed", "stream_field_missing", LINE)
        why = next(line["why"] for line in bench.log() if line["event"] == "stream not opened")
        assert "'z'" in why
        assert "x, y" in why


def test_an_empty_stream_gives_the_neutral_answer_shape(federation, tmp_path, bench_at):
    entry = federation.agent_folder(tmp_path / "empty", rows=0)
    with bench_at(tmp_path / "empty", entry) as bench:
        answer = bench.done(federation.mint(entry))
        blocks, weight = answer.update()
        assert weight == 0
        assert not blocks["w"].any()
        assert [r.value for r in answer.answer.releases] == [None, 0.0, 5.0]


def test_a_region_that_fails_looks_like_any_other_from_outside(bench, federation, agent_entry):
    source = federation.source('batch["x"]', 'batch["y"]')
    answer = bench.done(federation.mint(agent_entry, source))
    assert (answer.answer.outcome, answer.answer.code) == ("done", "")
    blocks, weight = answer.update()
    assert (weight, bool(blocks["w"].any())) == (0, False)
    notes = [line for line in bench.log() if line["event"] == "neutral release"]
    assert len(notes) == 3
    assert "RuntimeError" in notes[0]["why"]
