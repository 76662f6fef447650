"""The committed graphs: what their script makes, what their manifest says, and right in every gradient."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hospitals import graphs
from sojourn.codec import decode, digest
from sojourn.contracts import Plan
from sojourn.interpreters import OnnxInterpreter, check_plan

RATE, PENALTY = 0.8, 1.0 / 429.0


def session(data: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def batch(rows: int, seed: int = 0, scale: float = 1.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "w": random.normal(0.0, scale, (30, 1)).astype(np.float32),
        "b": random.normal(0.0, scale, 1).astype(np.float32),
        "x": random.normal(0.0, 0.6, (rows, 30)).astype(np.float32),
        "y": random.integers(0, 2, rows).astype(np.float32),
    }


def objective(w: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Mean cross entropy plus penalty in float64, from the definition of the log likelihood and nothing shared."""
    w, b, x, y = (np.asarray(value, np.float64) for value in (w, b, x, y))
    signed = np.where(y > 0.5, 1.0, -1.0) * (x @ w[:, 0] + b[0])
    return float(np.logaddexp(0.0, -signed).mean() + 0.5 * PENALTY * np.sum(w**2))


def slopes(feeds: dict[str, np.ndarray], step: float = 1e-5) -> tuple[np.ndarray, float]:
    """Central differences of `objective`; error of the order of 1e-10."""
    w, b = feeds["w"].astype(np.float64), feeds["b"].astype(np.float64)

    def difference(dw: np.ndarray, db: float) -> float:
        ahead = objective(w + dw, b + db, feeds["x"], feeds["y"])
        return (ahead - objective(w - dw, b - db, feeds["x"], feeds["y"])) / (2.0 * step)

    units = np.eye(30)[:, :, None] * step
    return np.array([[difference(unit, 0.0)] for unit in units]), difference(np.zeros_like(w), step)


def run_train(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    constants = {"rate": np.array(RATE, np.float32), "penalty": np.array(PENALTY, np.float32)}
    names = ["w.new", "b.new", "losses"]
    found = session((graphs.PLAN_FOLDER / "train.onnx").read_bytes()).run(names, {**feeds, **constants})
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("name", ["train.onnx", "evaluate.onnx", "plan.sj"])
def test_the_committed_file_is_what_the_script_makes(name):
    assert (graphs.PLAN_FOLDER / name).read_bytes() == graphs.build_files()[name], (
        f"samples/01_hospitals/plan/{name} is stale: run samples/01_hospitals/hospitals/graphs.py and commit the result"
    )


def test_nothing_else_is_committed_beside_them():
    assert {path.name for path in graphs.PLAN_FOLDER.iterdir()} == set(graphs.build_files())


def test_write_files_writes_them(tmp_path):
    written = graphs.write_files(tmp_path / "new")
    assert {path.name: path.read_bytes() for path in written} == graphs.build_files()


def test_the_plan_pins_its_graphs_and_is_admitted():
    plan, files = graphs.load_plan()
    assert plan == decode(Plan, (graphs.PLAN_FOLDER / "plan.sj").read_bytes())
    assert {graph.name: graph.digest for graph in plan.graphs} == {name: digest(data) for name, data in files.items()}
    assert plan.constants == {"rate": RATE, "penalty": PENALTY}
    assert all(tensor.trained for tensor in plan.state)
    check_plan(plan, files)


@pytest.mark.parametrize("rows", [1, 2, 7, 16, 140])
def test_gradients_are_those_of_the_objective(rows):
    feeds = batch(rows, seed=rows)
    w_slope, b_slope = slopes(feeds)
    found = run_train(feeds)
    np.testing.assert_allclose((feeds["w"] - found["w.new"]) / np.float32(RATE), w_slope, atol=2e-6)
    np.testing.assert_allclose((feeds["b"] - found["b.new"]) / np.float32(RATE), [b_slope], atol=2e-6)


def test_losses_are_those_of_the_state_that_came_in():
    feeds = batch(9)
    losses = run_train(feeds)["losses"]
    assert losses.shape == (9,)
    plain = objective(feeds["w"], feeds["b"], feeds["x"], feeds["y"]) - 0.5 * PENALTY * float(np.sum(feeds["w"] ** 2))
    assert losses.mean(dtype=np.float64) == pytest.approx(plain, abs=1e-6)


def test_many_steps_stay_with_a_float64_descent():
    feeds = batch(64, seed=5, scale=0.1)
    w, b = feeds["w"].astype(np.float64), feeds["b"].astype(np.float64)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-(feeds["x"].astype(np.float64) @ w + b)))
        error = p - feeds["y"][:, None]
        w, b = w - RATE * (feeds["x"].T.astype(np.float64) @ error / 64 + PENALTY * w), b - RATE * error.mean(axis=0)
        found = run_train(feeds)
        feeds = {**feeds, "w": found["w.new"], "b": found["b.new"]}
    np.testing.assert_allclose(feeds["w"], w, atol=5e-6)
    np.testing.assert_allclose(feeds["b"], b, atol=5e-6)


def test_the_same_gradients_as_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the check against it was left out")
    feeds = batch(16)
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in feeds.items()}
    w, b = tensors["w"].requires_grad_(), tensors["b"].requires_grad_()
    score = (tensors["x"] @ w + b).squeeze(1)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(score, tensors["y"]) + 0.5 * PENALTY * (w**2).sum()
    loss.backward()
    found = run_train(feeds)
    np.testing.assert_allclose((feeds["w"] - found["w.new"]) / RATE, w.grad.numpy(), atol=2e-6)
    np.testing.assert_allclose((feeds["b"] - found["b.new"]) / RATE, b.grad.numpy(), atol=2e-6)


def test_far_from_the_boundary_everything_stays_finite():
    feeds = batch(4)
    feeds["w"], feeds["x"] = np.full((30, 1), 50.0, np.float32), np.ones((4, 30), np.float32)
    feeds["x"][::2] *= -1.0
    feeds["y"] = np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    found = run_train(feeds)
    assert all(np.isfinite(value).all() for value in found.values())
    np.testing.assert_allclose(found["losses"], [1500.0, 1500.0, 0.0, 0.0], atol=5.0)


def test_evaluate_gives_losses_and_scores():
    feeds = batch(11)
    evaluate = session((graphs.PLAN_FOLDER / "evaluate.onnx").read_bytes())
    losses, scores = evaluate.run(["losses", "scores"], feeds)
    np.testing.assert_allclose(scores, feeds["x"] @ feeds["w"][:, 0] + feeds["b"], atol=1e-5)
    np.testing.assert_array_equal(losses, run_train(feeds)["losses"])


def test_the_interpreter_runs_the_plan_by_its_ports():
    plan, files = graphs.load_plan()
    interpreter = OnnxInterpreter(provider="cpu")
    feeds = batch(5)
    handle = interpreter.load(plan, files)
    state = {"w": feeds["w"], "b": feeds["b"]}
    found = interpreter.run(handle, "train", {"state": state, "x": feeds["x"], "y": feeds["y"]})
    direct = run_train(feeds)
    np.testing.assert_array_equal(found["state"]["w"], direct["w.new"])
    np.testing.assert_array_equal(found["losses"], direct["losses"])
    interpreter.close()
