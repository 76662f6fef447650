"""Makes the plan of sample 01: two ONNX graphs and the manifest that pins them.

Logistic regression with an L2 penalty on the weights (never on the bias), trained by plain gradient descent. The
gradient is written down by hand, since it is short:

    z = x w + b              losses_i = softplus(z_i) - y_i z_i
    e = sigmoid(z) - y       w' = w - rate (x^T e / n + penalty w)       b' = b - rate sum(e) / n

`losses` are those of the state that came in, before the step, without the penalty. Softplus is ONNX Runtime's, which
stays finite for any z.

Run this file to write `plan/train.onnx`, `plan/evaluate.onnx` and `plan/plan.sj` again. They are committed, and a test
holds that they are what this module makes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto, helper
from sojourn.codec import decode, digest, encode
from sojourn.contracts import SUITE_1, Graph, Plan, Port, StateTensor

from hospitals.data import FEATURES
from hospitals.settings import PENALTY, RATE

__all__ = ["PLAN_FOLDER", "build_files", "evaluate_graph", "load_plan", "train_graph", "write_files"]

PLAN_FOLDER: Final = Path(__file__).resolve().parent.parent / "plan"
OPSET: Final = 18
IR_VERSION: Final = 9  # old enough for every ONNX Runtime that the SDK accepts
FLOAT: Final = TensorProto.FLOAT

STATE: Final = Port("state", "state", "", ())
X: Final = Port("x", "tensor", "f32", (None, FEATURES))
Y: Final = Port("y", "tensor", "f32", (None,))
LOSSES: Final = Port("losses", "unit", "f32", (None,))
SCORES: Final = Port("scores", "unit", "f32", (None,))


def train_graph() -> bytes:
    """One step: inputs w, b, x, y, rate, penalty; outputs w.new, b.new, losses. Deterministic bytes."""
    node = helper.make_node
    nodes = [
        *_forward(),
        node("Sigmoid", ["z"], ["p"]),
        node("Sub", ["p", "y"], ["error"]),
        node("Shape", ["y"], ["rows_i64"], start=0, end=1),
        node("Cast", ["rows_i64"], ["rows"], to=FLOAT),
        node("Div", ["error", "rows"], ["share"]),
        node("Unsqueeze", ["share", "last_axis"], ["share_column"]),
        node("Transpose", ["x"], ["x_t"], perm=[1, 0]),
        node("MatMul", ["x_t", "share_column"], ["w_slope"]),
        node("Mul", ["w", "penalty"], ["w_decay"]),
        node("Add", ["w_slope", "w_decay"], ["w_gradient"]),
        node("Mul", ["w_gradient", "rate"], ["w_step"]),
        node("Sub", ["w", "w_step"], ["w.new"]),
        node("ReduceSum", ["share", "first_axis"], ["b_gradient"], keepdims=1),
        node("Mul", ["b_gradient", "rate"], ["b_step"]),
        node("Sub", ["b", "b_step"], ["b.new"]),
    ]
    inputs = [*_state(""), *_data(), _value("rate", []), _value("penalty", [])]
    outputs = [*_state(".new"), _value("losses", ["rows"])]
    return _model("train", nodes, inputs, outputs)


def evaluate_graph() -> bytes:
    """Inputs w, b, x, y; outputs losses and scores, one value a row; a score is the log odds of malignant."""
    nodes = [*_forward(), helper.make_node("Identity", ["z"], ["scores"])]
    outputs = [_value("losses", ["rows"]), _value("scores", ["rows"])]
    return _model("evaluate", nodes, [*_state(""), *_data()], outputs)


def build_files() -> dict[str, bytes]:
    """File name to bytes, for all files of the plan. The same on every call."""
    train, evaluate = train_graph(), evaluate_graph()
    plan = Plan(
        suite=SUITE_1,
        name="hospitals",
        state=(StateTensor("b", "f32", (1,), trained=True), StateTensor("w", "f32", (FEATURES, 1), trained=True)),
        graphs=(
            Graph("evaluate", digest(evaluate), inputs=(STATE, X, Y), outputs=(LOSSES, SCORES)),
            Graph("train", digest(train), inputs=(STATE, X, Y), outputs=(STATE, LOSSES)),
        ),
        constants={"penalty": PENALTY, "rate": RATE},
    )
    return {"train.onnx": train, "evaluate.onnx": evaluate, "plan.sj": encode(plan)}


def write_files(folder: Path = PLAN_FOLDER) -> list[Path]:
    """Write the files of `build_files` into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, data in build_files().items():
        (folder / name).write_bytes(data)
        written.append(folder / name)
    return written


def load_plan(folder: Path = PLAN_FOLDER) -> tuple[Plan, dict[str, bytes]]:
    """The committed plan and its graphs by name.

    Raises:
        DecodeError: `plan.sj` is not a plan.
    """
    plan = decode(Plan, (folder / "plan.sj").read_bytes())
    return plan, {graph.name: (folder / f"{graph.name}.onnx").read_bytes() for graph in plan.graphs}


def _forward() -> list[onnx.NodeProto]:
    """x, y, w, b to z and losses, both [rows]."""
    node = helper.make_node
    return [
        node("MatMul", ["x", "w"], ["product"]),
        node("Add", ["product", "b"], ["z_column"]),
        node("Squeeze", ["z_column", "last_axis"], ["z"]),
        node("Softplus", ["z"], ["normaliser"]),
        node("Mul", ["y", "z"], ["agreement"]),
        node("Sub", ["normaliser", "agreement"], ["losses"]),
    ]


def _value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def _state(suffix: str) -> list[onnx.ValueInfoProto]:
    return [_value("b" + suffix, [1]), _value("w" + suffix, [FEATURES, 1])]


def _data() -> list[onnx.ValueInfoProto]:
    return [_value("x", ["rows", FEATURES]), _value("y", ["rows"])]


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> bytes:
    """A checked model as bytes, with only those constants that its nodes use."""
    used = {item for node in nodes for item in node.input}
    axes = {"first_axis": 0, "last_axis": 1}
    constants = [helper.make_tensor(key, TensorProto.INT64, [1], [axis]) for key, axis in axes.items() if key in used]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=constants)
    model = helper.make_model(
        graph, producer_name="sojourn", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


if __name__ == "__main__":
    for path in write_files():
        sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes\n")
