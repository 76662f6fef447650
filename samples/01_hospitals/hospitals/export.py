"""The published model as one ONNX file that takes measurements as a laboratory reports them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sojourn.datoms import from_safetensors

from hospitals.baselines import State
from hospitals.data import FEATURES, RANGES
from hospitals.graphs import IR_VERSION, OPSET

__all__ = ["prediction_graph", "write_onnx"]

COMMENT: Final = (
    "Input: [rows, 30] measurements in the order of the metadata entry 'features', not scaled. "
    "Output: probability that the sample is malignant. A demonstration, not a medical device."
)


def prediction_graph(state: State, metadata: dict[str, str] | None = None) -> bytes:
    """Measurements [rows, 30] float32 to `probability` [rows], with the public ranges inside the graph."""
    low = np.array([entry.low for entry in RANGES], np.float32)
    width = np.array([entry.high - entry.low for entry in RANGES], np.float32)
    constants = {"low": low, "width": width, "two": np.float32(2.0), "one": np.float32(1.0), "b": state["b"]}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    tensors += [numpy_helper.from_array(state["w"], "w"), helper.make_tensor("last", TensorProto.INT64, [1], [1])]
    node = helper.make_node
    nodes = [
        node("Sub", ["measurements", "low"], ["above"]),
        node("Div", ["above", "width"], ["fraction"]),
        node("Mul", ["fraction", "two"], ["doubled"]),
        node("Sub", ["doubled", "one"], ["x"]),
        node("MatMul", ["x", "w"], ["product"]),
        node("Add", ["product", "b"], ["score"]),
        node("Sigmoid", ["score"], ["column"]),
        node("Squeeze", ["column", "last"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "hospitals",
        [helper.make_tensor_value_info("measurements", TensorProto.FLOAT, ["rows", FEATURES])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows"])],
        initializer=tensors,
        doc_string=COMMENT,
    )
    model = helper.make_model(
        graph, producer_name="sojourn", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    features = ",".join(entry.name for entry in RANGES)
    helper.set_model_props(model, {**(metadata or {}), "features": features})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def write_onnx(model: Path, target: Path) -> None:
    """Write `target` from a safetensors file that `sojourn model` fetched; its metadata is carried over.

    Raises:
        DecodeError: not a safetensors file.
    """
    state, metadata = from_safetensors(model.read_bytes())
    target.write_bytes(prediction_graph({"b": state["b"], "w": state["w"]}, metadata))
