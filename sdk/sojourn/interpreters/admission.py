"""Static admission of one graph file: bytes in, a parsed model out, or `GraphRefused`.

Rules of this module:

* It reads the bytes it is given and nothing else: no file, no runtime, no shape inference.
* Every node of every subgraph and every local function is visited, without recursion, up to a bound.
* A tensor's data lies inside the file. External data is refused wherever a tensor can stand, also if it is unused.
* What is judged must be what the runtime loads: ONNX Runtime tells its own format by a mark at byte 4, so that a file
  could be one model to a parser and another to the runtime. Such a file is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import onnx
from google.protobuf.message import DecodeError as ProtobufError  # type: ignore[import-untyped]
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from sojourn.errors import GraphRefused
from sojourn.interpreters.operators import (
    CONTRIB_DOMAIN,
    RANDOM_OPERATORS,
    STANDARD_DOMAINS,
    is_admitted,
)
from sojourn.limits import MAX_GRAPH_BYTES, MAX_RANK, MAX_TENSOR_ELEMENTS

__all__ = ["MAX_GRAPH_DEPTH", "MAX_GRAPH_NODES", "MAX_OPSET", "MIN_IR_VERSION", "MIN_OPSET", "admit_graph"]

MAX_GRAPH_NODES: Final = 200_000  # of one file, subgraphs and functions included
MAX_GRAPH_DEPTH: Final = 16  # subgraphs within subgraphs
MIN_IR_VERSION: Final = 7
MIN_OPSET: Final = 13
MAX_OPSET: Final = onnx.defs.onnx_opset_version()
CONTRIB_OPSET: Final = 1

_RUNTIME_FORMAT: Final = b"ORTM"
_RANDOM_DROPOUT_INPUTS: Final = 3  # the third input of Dropout switches its random numbers on


def admit_graph(name: str, data: bytes) -> ModelProto:
    """Judge one graph file.

    Args:
        name: the graph's name in its plan, for messages.
        data: the file, untrusted.

    Returns:
        The parsed model.

    Raises:
        GraphRefused: it names the graph, what was found and what to do instead.
    """
    where = f"graph {name!r}"
    if len(data) > MAX_GRAPH_BYTES:
        raise GraphRefused(f"{where}: {len(data)} bytes, the limit is {MAX_GRAPH_BYTES}")
    if data[4:8] == _RUNTIME_FORMAT:
        raise GraphRefused(f"{where}: this is ONNX Runtime's own format; save the model as ONNX")
    try:
        model: ModelProto = ModelProto.FromString(data)
    except ProtobufError:
        raise GraphRefused(f"{where}: these bytes are not an ONNX model") from None
    _check_versions(where, model)
    local = {(_standard(function.domain), function.name) for function in model.functions}
    for function in model.functions:
        _check_domain(where, function.domain, f"function {function.name!r}")
        _check_opsets(where, function.opset_import)
    _check_nodes(where, model, local, len(data))
    return model


def _standard(domain: str) -> str:
    return "" if domain in STANDARD_DOMAINS else domain


def _check_versions(where: str, model: ModelProto) -> None:
    if not MIN_IR_VERSION <= model.ir_version <= onnx.IR_VERSION:
        raise GraphRefused(
            f"{where}: IR version {model.ir_version}; versions {MIN_IR_VERSION} to {onnx.IR_VERSION} are read"
        )
    if model.training_info:
        raise GraphRefused(f"{where}: it has training information; export the training step as an ordinary graph")
    if not any(opset.domain in STANDARD_DOMAINS for opset in model.opset_import):
        raise GraphRefused(f"{where}: it does not import the standard operator set; set its opset when exporting")
    _check_opsets(where, model.opset_import)


def _check_opsets(where: str, opsets: Iterable[onnx.OperatorSetIdProto]) -> None:
    seen: set[str] = set()
    for opset in opsets:
        _check_domain(where, opset.domain, "imported operator set")
        domain = _standard(opset.domain)
        if domain in seen:
            raise GraphRefused(f"{where}: operator set {opset.domain!r} is imported twice")
        seen.add(domain)
        low, high = (MIN_OPSET, MAX_OPSET) if not domain else (CONTRIB_OPSET, CONTRIB_OPSET)
        if not low <= opset.version <= high:
            raise GraphRefused(
                f"{where}: operator set {opset.domain!r} has version {opset.version}; "
                f"versions {low} to {high} are read: export it again with one of these"
            )


def _check_domain(where: str, domain: str, what: str) -> None:
    if domain not in STANDARD_DOMAINS and domain != CONTRIB_DOMAIN:
        raise GraphRefused(
            f"{where}: {what} is of domain {domain!r}; only the standard domain and {CONTRIB_DOMAIN!r} are admitted: "
            "write it with their operators (inline local functions before exporting)"
        )


def _check_nodes(where: str, model: ModelProto, local: set[tuple[str, str]], size: int) -> None:
    """Visit every node, attribute and tensor of the model; `size` is that of the file in bytes."""
    pending: list[tuple[GraphProto | FunctionProto, int]] = [(model.graph, 0)]
    pending += [(function, 0) for function in model.functions]
    nodes = 0
    while pending:
        body, depth = pending.pop()
        if depth > MAX_GRAPH_DEPTH:
            raise GraphRefused(f"{where}: subgraphs are nested deeper than {MAX_GRAPH_DEPTH}")
        attributes: list[AttributeProto] = []
        if isinstance(body, FunctionProto):
            attributes += body.attribute_proto
        else:
            for tensor in body.initializer:
                _check_tensor(where, tensor, size)
            if body.sparse_initializer:
                raise GraphRefused(f"{where}: it has sparse initializers; store them as dense tensors")
        nodes += len(body.node)
        if nodes > MAX_GRAPH_NODES:
            raise GraphRefused(f"{where}: more than {MAX_GRAPH_NODES} nodes")
        for node in body.node:
            _check_node(where, node, local)
            attributes += node.attribute
        pending += [(inner, depth + 1) for inner in _contents(where, attributes, size)]


def _check_node(where: str, node: NodeProto, local: set[tuple[str, str]]) -> None:
    what = f"node {node.name!r} ({node.op_type})"
    _check_domain(where, node.domain, what)
    domain = _standard(node.domain)
    # A string field that is not UTF-8 comes out of the parser as bytes.
    known = isinstance(node.op_type, str) and is_admitted(domain, node.op_type)
    if not known and (domain, node.op_type) not in local:
        raise GraphRefused(f"{where}: {what} of domain {node.domain!r} is not an operator that is admitted here")
    random = node.op_type in RANDOM_OPERATORS or (
        node.op_type == "Dropout" and len(node.input) >= _RANDOM_DROPOUT_INPUTS and node.input[2] != ""
    )
    if random:
        raise GraphRefused(
            f"{where}: {what} draws hidden random numbers, so that a run could not be repeated; "
            "make the random numbers an input of the graph"
        )


def _contents(where: str, attributes: Iterable[AttributeProto], size: int) -> Iterator[GraphProto]:
    """Check the tensors that stand in attributes; yield the subgraphs."""
    for attribute in attributes:
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise GraphRefused(f"{where}: attribute {attribute.name!r} is a sparse tensor; store it as a dense one")
        if attribute.HasField("t"):
            _check_tensor(where, attribute.t, size)
        for tensor in attribute.tensors:
            _check_tensor(where, tensor, size)
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _check_tensor(where: str, tensor: TensorProto, size: int) -> None:
    what = f"{where}: tensor {tensor.name!r}"
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        raise GraphRefused(f"{what} keeps its data in another file; save the model with all data inside")
    if len(tensor.dims) > MAX_RANK:
        raise GraphRefused(f"{what} has rank {len(tensor.dims)}, the limit is {MAX_RANK}")
    elements = 1
    for extent in tensor.dims:
        if extent < 0:
            raise GraphRefused(f"{what} has a negative extent")
        elements = min(elements * extent, MAX_TENSOR_ELEMENTS + 1)
    # The smallest element takes two bits: a tensor that claims more than its file can hold is a bomb.
    if elements > 4 * size or elements > MAX_TENSOR_ELEMENTS:
        raise GraphRefused(f"{what} claims more elements than its file can hold")
