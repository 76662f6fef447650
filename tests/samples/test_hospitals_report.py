"""What the demo shows: tables and chart say the figures, pictures are pictures, the ONNX file predicts."""

from __future__ import annotations

import io
import json

import numpy as np
import onnxruntime
import pytest
from hospitals import baselines, chart, data, export, report
from rich.console import Console
from sklearn.datasets import load_breast_cancer
from sojourn.datoms import to_safetensors

LOSSES = {"federated": 0.10, "central": 0.09}
ROUNDS = 3


def model(name: str, rows: int, loss: float, auc: float) -> baselines.Baseline:
    start = baselines.Metrics(0.5, 0.693147)
    curve = [baselines.Metrics(auc, loss * (1.0 + 1.0 / k)) for k in range(1, ROUNDS)]
    return baselines.Baseline(name, rows, (start, *curve, baselines.Metrics(auc, loss)))


COMPARED = baselines.Comparison(
    seed=0,
    steps=2160,
    central=model("central", 429, 0.09, 0.995),
    local=tuple(
        model(f"hospital-{k}", 40 + k, loss, auc)
        for k, (loss, auc) in enumerate(((0.1, 0.99), (0.15, 0.98), (0.16, 0.985), (0.2, 0.97), (0.25, 0.96)), 1)
    ),
)
DONE = {
    "table": [
        {
            "round": k,
            "loss": 0.10 + 0.05 * (ROUNDS - 1 - k),
            "auc": 0.99 + 0.001 * k,
            "participants": 5 if k else 4,
            "patients": 429.0 if k else None,
            "train_loss": 0.08 if k else None,
            "bytes": 4096 + k,
            "seconds": 0.25,
        }
        for k in reversed(range(ROUNDS))
    ]
}


@pytest.fixture
def output(tmp_path):
    state = {"b": np.array([0.25], np.float32), "w": np.linspace(-1, 1, 30, dtype=np.float32).reshape(30, 1)}
    (tmp_path / "model.safetensors").write_bytes(to_safetensors(state, {"sojourn.root": "ab" * 32}))
    return tmp_path


def shown(*things: object) -> str:
    console = Console(file=io.StringIO(), width=110, color_system=None)
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


def test_summary_has_the_figures_of_the_last_line(output):
    figures = report.summary(DONE, {"verified": True}, COMPARED, output)
    assert json.loads(json.dumps(figures)) == figures
    assert figures["agents"] == 5
    assert figures["rounds"] == ROUNDS
    assert figures["logloss_federated"] == pytest.approx(0.10)
    assert figures["auc_federated"] == pytest.approx(0.992)
    assert figures["auc_central"] == pytest.approx(0.995)
    assert figures["auc_local_best"] == pytest.approx(0.99)
    assert figures["auc_local_mean"] == pytest.approx(0.977)
    assert figures["logloss_central"] == pytest.approx(0.09)
    assert figures["logloss_local_mean"] == pytest.approx(0.172)
    assert figures["local_models_failing"] == 4  # half of the gap is at 0.131: only the first stays below
    assert figures["provenance_verified"] is True


@pytest.mark.parametrize("found", [{"verified": False, "item": "rounds/0"}, {}])
def test_provenance_that_was_not_verified_is_said(output, found):
    assert report.summary(DONE, found, COMPARED, output)["provenance_verified"] is False


def test_draw_prints_everything_and_writes_pictures(output):
    console = Console(file=io.StringIO(), width=110, color_system=None)
    report.draw(console, DONE, COMPARED, output)
    text = console.file.getvalue()
    for part in ("Rounds", "0.1000", "0.9920", "429", "4.0", "federated", "hospital-5 alone", "Log loss", "⠉"):
        assert part in text
    for name in ("curves.png", "hospitals.png"):
        data_ = (output / name).read_bytes()
        assert data_.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(data_) > 10_000


def test_rounds_are_shown_in_order_and_absent_figures_as_a_dash():
    lines = [line.split() for line in shown(report.round_table(DONE["table"])).splitlines()[2:]]
    assert [line[0] for line in lines if line] == ["1", "2", "3"]
    assert lines[0][4:6] == ["–", "–"]


def test_hospitals_table_counts_each_place():
    study = data.load(0)
    text = shown(report.hospitals_table(study))
    for hospital in study.hospitals:
        row = next(line for line in text.splitlines() if line.startswith(hospital.name))
        assert row.split()[1:3] == [str(len(hospital)), f"{hospital.malignant / len(hospital):.0%}"]
    assert "140" in text


def test_chart_falls_from_left_to_right():
    drawn = chart.line_chart("t", [chart.Line("falling", "", [0.8, 0.4, 0.2, 0.1])], 1, width=20, height=6).plain
    rows = [line.partition("┤")[2] or line.partition("│")[2] for line in drawn.splitlines()[1:7]]
    assert [row for row in rows if row.strip()] == rows
    first = [min(k for k, mark in enumerate(row) if mark != " ") for row in rows]
    assert first == sorted(first)
    assert drawn.splitlines()[-1].split() == ["━━", "falling", "0.1000"]
    assert drawn.splitlines()[-2].split() == ["1", "2", "3", "4", "rounds"]


def test_chart_of_a_flat_line_and_two_lines_on_top_of_each_other():
    line = chart.Line("a", "green", [0.5, 0.5])
    drawn = chart.line_chart("t", [line, line._replace(name="b", style="red")], 0, width=8, height=4)
    assert "⠉" * 8 in drawn.plain
    assert {span.style for span in drawn.spans if "⠉" in drawn.plain[span.start : span.end]} == {"green"}


def test_the_exported_model_takes_raw_measurements(output):
    export.write_onnx(output / "model.safetensors", output / "model.onnx")
    session = onnxruntime.InferenceSession((output / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    raw = load_breast_cancer().data[:50]
    (found,) = session.run(["probability"], {"measurements": raw.astype(np.float32)})
    w = np.linspace(-1, 1, 30)
    expected = 1.0 / (1.0 + np.exp(-(data.scale(raw).astype(np.float64) @ w + 0.25)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["sojourn.root"] == "ab" * 32
    assert metadata["features"].split(",")[0] == "mean radius"
