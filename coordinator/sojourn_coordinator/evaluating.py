"""Running a plan's `evaluate` graph on public held-out data.

The graph's input ports are `state` and fields of the held-out stream; its output ports `losses` and `scores` (one value
for each row) become the metrics `loss` and `auc`. A tensor of the plan's state that the model does not hold (an
optimizer's, which stays on the agents) is given as zeros.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from sojourn.contracts import Plan
from sojourn.datoms import DType
from sojourn.submissions import EVALUATE, evaluation_graph

from sojourn_coordinator.metrics import area_under_curve, mean_loss

if TYPE_CHECKING:
    from sojourn.interpreters import Interpreter, PlanHandle

__all__ = ["Evaluator"]

_LABELS: Final = "y"

Tensors = Mapping[str, npt.NDArray[Any]]


class Evaluator:
    """Evaluates models, off the event loop. The runtime is loaded with the first plan that needs it."""

    def __init__(self) -> None:
        self._interpreter: Interpreter | None = None
        self._plans: dict[bytes, PlanHandle] = {}
        self._turn = asyncio.Lock()

    async def evaluate(
        self, digest: bytes, plan: Plan, graphs: Mapping[str, bytes], model: Tensors, heldout: Tensors
    ) -> dict[str, float]:
        """Metrics of one model.

        Args:
            digest: of the plan, under which its sessions are kept.
            plan: manifest.
            graphs: ONNX files by name.
            model: tensors by name.
            heldout: fields by name.

        Raises:
            PlanMismatch: a graph is not what the plan says.
            GraphRefused: a graph is not admissible.
            GraphFailed: the runtime failed.
        """
        async with self._turn:
            return await asyncio.to_thread(self._evaluate, digest, plan, graphs, model, heldout)

    def close(self) -> None:
        """Free the runtime."""
        if self._interpreter is not None:
            self._interpreter.close()
            self._interpreter = None
        self._plans.clear()

    def _evaluate(
        self, digest: bytes, plan: Plan, graphs: Mapping[str, bytes], model: Tensors, heldout: Tensors
    ) -> dict[str, float]:
        handle = self._plans.get(digest)
        if self._interpreter is None or handle is None:
            interpreter = self._load()
            handle = self._plans[digest] = interpreter.load(plan, graphs)
        else:
            interpreter = self._interpreter
        graph = evaluation_graph(plan)
        if graph is None:
            return {}
        state = {
            spec.name: model.get(spec.name, np.zeros(spec.shape, DType.from_name(spec.dtype).numpy))
            for spec in plan.state
        }
        feeds: dict[str, Any] = {
            port.name: state if port.role == "state" else heldout[port.name] for port in graph.inputs
        }
        return _metrics(interpreter.run(handle, EVALUATE, feeds), heldout)

    def _load(self) -> Interpreter:
        from sojourn.interpreters import OnnxInterpreter  # noqa: PLC0415 - 40 MB that many coordinators never need

        if self._interpreter is None:
            self._interpreter = OnnxInterpreter(provider="cpu")
        return self._interpreter


def _metrics(results: Mapping[str, Any], heldout: Tensors) -> dict[str, float]:
    found: dict[str, float | None] = {}
    if "losses" in results:
        found["loss"] = mean_loss(results["losses"])
    if "scores" in results and _LABELS in heldout:
        found["auc"] = area_under_curve(results["scores"], heldout[_LABELS])
    return {name: value for name, value in found.items() if value is not None}
