"""Does a plan's manifest describe its graphs, exactly?

Rules of this module:

* No runtime: the judged models' own declarations are compared with the manifest, both ways. Nothing in a graph is
  unknown to the manifest, and nothing in the manifest is missing in a graph.
* A message names the plan, the graph, the port, what the manifest states and what the graph has.
* A port of role `state` stands for all tensors of the plan's state: input `t`, output `t.new` for each tensor `t`.
* An axis that the manifest leaves open (None) is open in the graph too, and the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto

from sojourn.codec import digest, encode
from sojourn.contracts import Graph, Plan, Port, StateTensor
from sojourn.errors import GraphRefused, PlanMismatch
from sojourn.interpreters.admission import admit_graph
from sojourn.limits import MAX_BUNDLE_BYTES, MAX_NAME_CHARS, MAX_RANK, MAX_TENSOR_ELEMENTS, MAX_TENSORS

__all__ = ["NEW_SUFFIX", "NUMPY_DTYPES", "CheckedPlan", "check_plan", "plan_digest"]

NEW_SUFFIX: Final = ".new"

NUMPY_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "i8": np.dtype(np.int8),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "u8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
}
"""The dtypes that pass in and out of a graph as numpy arrays, by their datom name."""

_ONNX_DTYPES: Final[Mapping[int, str]] = {
    TensorProto.FLOAT16: "f16",
    TensorProto.FLOAT: "f32",
    TensorProto.DOUBLE: "f64",
    TensorProto.INT8: "i8",
    TensorProto.INT32: "i32",
    TensorProto.INT64: "i64",
    TensorProto.UINT8: "u8",
    TensorProto.BOOL: "bool",
}

_MAX_F32: Final = float(np.finfo(np.float32).max)
_UNIT_DTYPES: Final = frozenset({"f16", "f32", "f64"})

Shape = tuple[int | None, ...]
Declared = dict[str, tuple[str, Shape]]


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan whose graphs were judged and found to be what the manifest says.

    Attributes:
        plan: the manifest.
        digest: SHA-256 of the plan record.
        constants: for each graph, the constants that it takes.
    """

    plan: Plan
    digest: bytes
    constants: Mapping[str, tuple[str, ...]]


def plan_digest(plan: Plan) -> bytes:
    """Identity of a plan: SHA-256 of its framed record, 32 bytes; what an owner pins and a job names."""
    return digest(encode(plan))


def check_plan(plan: Plan, graphs: Mapping[str, bytes]) -> CheckedPlan:
    """Judge every graph of a plan and compare it with the manifest. No session is made.

    Args:
        plan: the manifest.
        graphs: the graph files, by name.

    Raises:
        GraphRefused: a graph holds what no graph may hold, or the files are too large together.
        PlanMismatch: manifest and graphs differ; the message names both sides.
    """
    _check_state(plan)
    if not plan.graphs and plan.state:  # a job of analytics has neither
        raise PlanMismatch(f"plan {plan.name!r}: the manifest states a state, and no graph that takes it")
    _check_files(plan, graphs)
    constants = {graph.name: _check_graph(plan, graph, graphs[graph.name]) for graph in plan.graphs}
    for name, value in plan.constants.items():
        if not any(name in taken for taken in constants.values()):
            raise PlanMismatch(f"plan {plan.name!r}: the manifest fixes constant {name!r}, no graph has such an input")
        if not abs(value) <= _MAX_F32:  # refuses NaN too
            raise PlanMismatch(f"plan {plan.name!r}: constant {name!r} is not a finite 32-bit float")
    return CheckedPlan(plan=plan, digest=plan_digest(plan), constants=constants)


def _check_state(plan: Plan) -> None:
    where = f"plan {plan.name!r}"
    if len(plan.state) > MAX_TENSORS:
        raise PlanMismatch(f"{where}: {len(plan.state)} state tensors, the limit is {MAX_TENSORS}")
    names = [tensor.name for tensor in plan.state]
    if len(set(names)) != len(names):
        raise PlanMismatch(f"{where}: two state tensors have the same name")
    for tensor in plan.state:
        what = f"{where}: state tensor {tensor.name!r}"
        if not 0 < len(tensor.name) <= MAX_NAME_CHARS:
            raise PlanMismatch(f"{what}: a name has 1 to {MAX_NAME_CHARS} characters")
        _check_dtype(what, tensor.dtype)
        if len(tensor.shape) > MAX_RANK or any(extent < 0 for extent in tensor.shape):
            raise PlanMismatch(f"{what}: shape {list(tensor.shape)} is not a shape of rank {MAX_RANK} or less")
        if math.prod(tensor.shape) > MAX_TENSOR_ELEMENTS:
            raise PlanMismatch(f"{what}: more than {MAX_TENSOR_ELEMENTS} elements")
        if tensor.trained and tensor.dtype != "f32":
            raise PlanMismatch(f"{what}: trained tensors are f32, the manifest states {tensor.dtype}")


def _check_files(plan: Plan, graphs: Mapping[str, bytes]) -> None:
    where = f"plan {plan.name!r}"
    stated = [graph.name for graph in plan.graphs]
    if len(set(stated)) != len(stated):
        raise PlanMismatch(f"{where}: each graph of a plan has its own name; it states {stated}")
    if set(stated) != set(graphs):
        raise PlanMismatch(f"{where}: the manifest states graphs {sorted(stated)}, the bundle has {sorted(graphs)}")
    total = sum(len(data) for data in graphs.values())
    if total > MAX_BUNDLE_BYTES:
        raise GraphRefused(f"{where}: its graphs have {total} bytes together, the limit is {MAX_BUNDLE_BYTES}")
    for graph in plan.graphs:
        found = digest(graphs[graph.name])
        if found != graph.digest:
            raise PlanMismatch(
                f"{where}: the manifest pins graph {graph.name!r} as sha256:{graph.digest.hex()}, "
                f"the file is sha256:{found.hex()}"
            )


def _check_graph(plan: Plan, graph: Graph, data: bytes) -> tuple[str, ...]:
    """Compare one graph; the constants that it takes, in name order."""
    where = f"plan {plan.name!r}, graph {graph.name!r}"
    model = admit_graph(graph.name, data)
    defaults = {tensor.name for tensor in model.graph.initializer}
    inputs = _declared(where, "input", model.graph.input)
    for name in inputs:
        if name in defaults:
            raise PlanMismatch(f"{where}: input {name!r} has a default value inside the graph; remove one of the two")
    stated = _expand(where, plan, graph.inputs, "")
    constants = tuple(sorted(name for name in inputs if name in plan.constants and name not in stated))
    for name in plan.constants:
        if name in stated:
            raise PlanMismatch(f"{where}: the manifest states {name!r} both as an input and as a constant")
    stated.update((name, ("f32", ())) for name in constants)
    _compare(where, "input", stated, inputs)
    _compare(where, "output", _expand(where, plan, graph.outputs, NEW_SUFFIX), _outputs(where, model.graph))
    return constants


def _outputs(where: str, graph: GraphProto) -> Declared:
    return _declared(where, "output", graph.output)


def _expand(where: str, plan: Plan, ports: Sequence[Port], suffix: str) -> Declared:
    """The graph's own names that a list of ports stands for; `suffix` is that of state tensors."""
    side = "output" if suffix else "input"
    names = [port.name for port in ports]
    if len(set(names)) != len(names) or sum(port.role == "state" for port in ports) > 1:
        raise PlanMismatch(f"{where}: the manifest states {side} ports {names}: names repeat, or more than one state")
    stated: Declared = {}
    for port in ports:
        if port.role == "state":
            if port.dtype or port.shape:
                raise PlanMismatch(f"{where}: {side} {port.name!r} is a state: it has no dtype and no shape of its own")
            added: Declared = {tensor.name + suffix: _of(tensor) for tensor in plan.state}
        else:
            _check_port(where, side, port)
            added = {port.name: (port.dtype, port.shape)}
        both = sorted(added.keys() & stated.keys())
        if both:
            raise PlanMismatch(f"{where}: the manifest states {side} {both[0]!r} as a port and as a state tensor")
        stated.update(added)
    return stated


def _of(tensor: StateTensor) -> tuple[str, Shape]:
    return tensor.dtype, tensor.shape


def _check_port(where: str, side: str, port: Port) -> None:
    what = f"{where}: {side} {port.name!r}"
    if not 0 < len(port.name) <= MAX_NAME_CHARS:
        raise PlanMismatch(f"{what}: a name has 1 to {MAX_NAME_CHARS} characters")
    _check_dtype(what, port.dtype)
    if len(port.shape) > MAX_RANK or any(extent is not None and extent < 0 for extent in port.shape):
        raise PlanMismatch(f"{what}: {_shown(port.shape)} is not a shape of rank {MAX_RANK} or less")
    if port.role == "unit":
        if side == "input":
            raise PlanMismatch(f"{what}: only an output can have the role 'unit'; state it as 'tensor'")
        if port.shape != (None,) or port.dtype not in _UNIT_DTYPES:
            raise PlanMismatch(
                f"{what}: a unit output holds one float per row, shape [?]; "
                f"the manifest states {port.dtype}{_shown(port.shape)}"
            )


def _check_dtype(what: str, dtype: str) -> None:
    if dtype not in NUMPY_DTYPES:
        raise PlanMismatch(f"{what}: the manifest states dtype {dtype!r}; graphs take {', '.join(NUMPY_DTYPES)}")


def _declared(where: str, side: str, infos: Sequence[ValueInfoProto]) -> Declared:
    """What a graph itself declares, by name."""
    declared: Declared = {}
    for info in infos:
        what = f"{where}: {side} {info.name!r}"
        if not isinstance(info.name, str):
            raise GraphRefused(f"{what} has a name that is not UTF-8")
        if info.name in declared:
            raise PlanMismatch(f"{what} stands twice in the graph")
        if info.type.WhichOneof("value") != "tensor_type":
            raise PlanMismatch(f"{what} of the graph is not a tensor; only tensors pass in and out")
        kind = info.type.tensor_type
        dtype = _ONNX_DTYPES.get(kind.elem_type)
        if dtype is None:
            name = TensorProto.DataType.Name(kind.elem_type) if kind.elem_type in _known() else str(kind.elem_type)
            raise PlanMismatch(f"{what} of the graph has type {name}; graphs take {', '.join(NUMPY_DTYPES)}")
        if not kind.HasField("shape"):
            raise PlanMismatch(f"{what} of the graph declares no shape; declare it when exporting")
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
        declared[info.name] = (dtype, shape)
    return declared


def _known() -> Sequence[int]:
    return list(TensorProto.DataType.values())


def _compare(where: str, side: str, stated: Declared, found: Declared) -> None:
    if stated.keys() != found.keys():
        missing = sorted(stated.keys() - found.keys())
        unknown = sorted(found.keys() - stated.keys())
        parts = []
        if missing:
            parts.append(f"the manifest states {missing}, which the graph does not have")
        if unknown:
            parts.append(f"the graph has {unknown}, which the manifest does not state")
        raise PlanMismatch(f"{where}: {side}s differ: {'; '.join(parts)}")
    for name, (dtype, shape) in stated.items():
        if found[name] != (dtype, shape):
            has_dtype, has_shape = found[name]
            raise PlanMismatch(
                f"{where}: {side} {name!r}: the manifest states {dtype}{_shown(shape)}, "
                f"the graph has {has_dtype}{_shown(has_shape)}"
            )


def _shown(shape: Shape) -> str:
    return "[" + ", ".join("?" if extent is None else str(extent) for extent in shape) + "]"
