"""From a program's names to a graph's: what is fed, what comes back, and that both are what the plan states.

Rules of this module:

* Feeds are checked before the runtime sees them, results before a program sees them: a runtime only warns when a
  graph computes another shape than it declares, and a release counts the rows of a `unit` output.
* Messages hold names, types and shapes, never a value.
* An axis 0 that the manifest leaves open is the batch axis: it has one extent in all ports of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sojourn.contracts import Graph, Plan, Port
from sojourn.errors import GraphFailed
from sojourn.interpreters.contract import Feed, Result, Tensor
from sojourn.interpreters.manifest import NEW_SUFFIX, NUMPY_DTYPES

__all__ = ["Binding"]


@dataclass(frozen=True, slots=True)
class Binding:
    """One graph of a checked plan, ready to be fed.

    Attributes:
        plan: the manifest.
        graph: the graph's part of it.
        constants: the constants that the graph takes, as arrays of shape [].
        outputs: the graph's own output names, in the order in which results are collected.
    """

    plan: Plan
    graph: Graph
    constants: Mapping[str, Tensor]
    outputs: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names: list[str] = []
        for port in self.graph.outputs:
            if port.role == "state":
                names += [tensor.name + NEW_SUFFIX for tensor in self.plan.state]
            else:
                names.append(port.name)
        object.__setattr__(self, "outputs", tuple(names))

    def feed(self, inputs: Mapping[str, Feed]) -> tuple[dict[str, Tensor], int | None]:
        """What to give the runtime, and the extent of the batch axis (None where no input has one).

        Raises:
            GraphFailed: an input is missing, unknown, or not what the plan states.
        """
        stated = {port.name for port in self.graph.inputs}
        if stated != inputs.keys():
            raise GraphFailed(
                f"graph {self.graph.name!r} takes {sorted(stated)}, the program gave {sorted(map(str, inputs))}"
            )
        feeds: dict[str, Tensor] = dict(self.constants)
        rows: int | None = None
        for port in self.graph.inputs:
            given = inputs[port.name]
            if port.role == "state":
                feeds.update(self._state(port, given))
                continue
            tensor = self._tensor(f"input {port.name!r}", given, port.dtype, port.shape)
            feeds[port.name] = tensor
            if _is_batch(port):
                if rows is not None and tensor.shape[0] != rows:
                    raise GraphFailed(
                        f"graph {self.graph.name!r}: input {port.name!r} has {tensor.shape[0]} rows, "
                        f"another input has {rows}"
                    )
                rows = tensor.shape[0]
        return feeds, rows

    def collect(self, values: list[Tensor], rows: int | None) -> dict[str, Result]:
        """Results by port name, from the runtime's values in the order of `outputs`.

        Raises:
            GraphFailed: the graph computed something else than the plan states.
        """
        found = dict(zip(self.outputs, values, strict=True))
        results: dict[str, Result] = {}
        for port in self.graph.outputs:
            if port.role == "state":
                results[port.name] = {
                    tensor.name: _frozen(
                        self._tensor(
                            f"output {tensor.name + NEW_SUFFIX!r}",
                            found[tensor.name + NEW_SUFFIX],
                            tensor.dtype,
                            tensor.shape,
                        )
                    )
                    for tensor in self.plan.state
                }
                continue
            value = self._tensor(f"output {port.name!r}", found[port.name], port.dtype, port.shape)
            if port.role == "unit" and rows is not None and value.shape[0] != rows:
                raise GraphFailed(
                    f"graph {self.graph.name!r}: output {port.name!r} is stated as one value per row; "
                    "it has another number of values"
                )
            results[port.name] = _frozen(value)
        return results

    def _state(self, port: Port, given: Feed) -> dict[str, Tensor]:
        if not isinstance(given, Mapping):
            raise GraphFailed(f"graph {self.graph.name!r}: input {port.name!r} is a state, the program gave a tensor")
        stated = {tensor.name for tensor in self.plan.state}
        if stated != given.keys():
            raise GraphFailed(
                f"graph {self.graph.name!r}: state {port.name!r} has tensors {sorted(stated)}, "
                f"the program gave {sorted(map(str, given))}"
            )
        return {
            tensor.name: self._tensor(f"state tensor {tensor.name!r}", given[tensor.name], tensor.dtype, tensor.shape)
            for tensor in self.plan.state
        }

    def _tensor(self, what: str, given: object, dtype: str, shape: tuple[int | None, ...]) -> Tensor:
        where = f"graph {self.graph.name!r}: {what}"
        if not isinstance(given, np.ndarray):
            raise GraphFailed(f"{where} is a tensor, this is a {type(given).__name__}")
        fits = len(given.shape) == len(shape) and all(
            extent is None or extent == has for extent, has in zip(shape, given.shape, strict=True)
        )
        if given.dtype != NUMPY_DTYPES[dtype] or not fits:
            stated = [-1 if extent is None else extent for extent in shape]
            raise GraphFailed(f"{where} is stated as {dtype} {stated}, this is {given.dtype} {list(given.shape)}")
        return np.require(given, requirements=["C", "A"])


def _is_batch(port: Port) -> bool:
    return len(port.shape) > 0 and port.shape[0] is None


def _frozen(value: Tensor) -> Tensor:
    value.flags.writeable = False
    return value
