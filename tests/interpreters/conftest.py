"""A small real training step, y = x @ w by least squares, made with `onnx.helper`, and its manifest."""

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper
from sojourn.codec import digest
from sojourn.contracts import Graph, Plan, Port, StateTensor

FEATURES = 3


def info(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def train_model() -> onnx.ModelProto:
    """One gradient step: inputs w, steps, x, y, rate; outputs w.new, steps.new, losses."""
    float_, int_ = TensorProto.FLOAT, TensorProto.INT64
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Sub", ["p", "y"], ["e"]),
        helper.make_node("Mul", ["e", "e"], ["square"]),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("ReduceSum", ["square", "axis"], ["losses"], keepdims=0),
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0]),
        helper.make_node("MatMul", ["xt", "e"], ["gradient"]),
        helper.make_node("Mul", ["gradient", "rate"], ["step"]),
        helper.make_node("Sub", ["w", "step"], ["w.new"]),
        helper.make_node("Add", ["steps", "one"], ["steps.new"]),
    ]
    graph = helper.make_graph(
        nodes,
        "train",
        [
            info("w", float_, [FEATURES, 1]),
            info("steps", int_, []),
            info("x", float_, ["n", FEATURES]),
            info("y", float_, ["n", 1]),
            info("rate", float_, []),
        ],
        [info("w.new", float_, [FEATURES, 1]), info("steps.new", int_, []), info("losses", float_, ["n"])],
        [helper.make_tensor("one", int_, [], [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def plan_of(files: dict[str, bytes], **changes) -> Plan:
    """The manifest of `train_model` for one graph called `train`, with some fields changed."""
    train = Graph(
        "train",
        digest(files["train"]),
        changes.pop("inputs", TRAIN_INPUTS),
        changes.pop("outputs", TRAIN_OUTPUTS),
    )
    fields = {
        "suite": 1,
        "name": "least-squares",
        "state": (StateTensor("w", "f32", (FEATURES, 1), True), StateTensor("steps", "i64", (), False)),
        "graphs": (train,),
        "constants": {"rate": 0.0625},
    }
    return Plan(**(fields | changes))


TRAIN_INPUTS = (
    Port("state", "state", "", ()),
    Port("x", "tensor", "f32", (None, FEATURES)),
    Port("y", "tensor", "f32", (None, 1)),
)
TRAIN_OUTPUTS = (Port("state", "state", "", ()), Port("losses", "unit", "f32", (None,)))


@pytest.fixture
def train() -> onnx.ModelProto:
    """The model, to be changed by a test."""
    return train_model()


@pytest.fixture
def manifest() -> Callable[..., Plan]:
    """`manifest(files, **changes)`: the plan of `train`."""
    return plan_of
