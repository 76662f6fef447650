"""The contract between a host and whatever runs its graphs.

Rules of this module:

* Everything that crosses is plain data: names, byte strings, numbers, and numpy arrays that the receiver only reads.
  An implementation may therefore live in another process without a change on either side.
* `load` is the only operation that sees a graph's bytes. It judges them before a runtime does.
* Errors are of `sojourn.errors`: `GraphRefused` and `PlanMismatch` from `load`, `GraphFailed` from `run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt

from sojourn.contracts import Plan

__all__ = ["Feed", "Interpreter", "PlanHandle", "Result", "Runtime", "State", "Tensor"]

Tensor: TypeAlias = npt.NDArray[Any]
State: TypeAlias = Mapping[str, Tensor]
"""A plan's whole state: one array for each of `Plan.state`, by name."""

Feed: TypeAlias = Tensor | State
"""What a port takes: a state for a port of role `state`, an array for any other."""

Result: TypeAlias = Tensor | dict[str, Tensor]
"""What a port gives. Arrays are read-only: a result is a value."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What actually runs the graphs; goes into logs and provenance because 'same bytes' is promised per runtime.

    Attributes:
        name: the runtime, `"onnxruntime"`.
        version: its version.
        provider: `"cuda"` or `"cpu"`.
        threads: threads within one operator.
        note: why this provider was chosen, for the owner.
    """

    name: str
    version: str
    provider: str
    threads: int
    note: str


@dataclass(frozen=True, slots=True)
class PlanHandle:
    """Names a loaded plan. It can be sent and stored; it holds nothing of the runtime.

    Attributes:
        digest: SHA-256 of the plan record, 32 bytes.
        name: the plan's name, for messages.
        provider: what its sessions run on, `"cuda"` or `"cpu"`.
    """

    digest: bytes
    name: str
    provider: str


class Interpreter(Protocol):
    """Runs the graphs of admitted plans."""

    @property
    def runtime(self) -> Runtime:
        """What runs the graphs."""
        ...

    def load(self, plan: Plan, graphs: Mapping[str, bytes]) -> PlanHandle:
        """Judge and load a plan. Loading it again is cheap; each `load` is undone by one `unload`.

        Args:
            plan: the manifest.
            graphs: the graph files, by name; exactly those of the plan.

        Raises:
            GraphRefused: a graph holds what no graph may hold.
            PlanMismatch: a graph is not what the manifest says.
        """
        ...

    def run(self, plan: PlanHandle, graph: str, inputs: Mapping[str, Feed]) -> dict[str, Result]:
        """Run one graph.

        Args:
            plan: from `load`.
            graph: a graph of the plan.
            inputs: one feed for each input port. Only read, never kept.

        Returns:
            One result for each output port, by name, in the plan's order.

        Raises:
            GraphFailed: the inputs are not what the plan states, or the runtime failed.
        """
        ...

    def unload(self, plan: PlanHandle) -> None:
        """Undo one `load`. The last one frees the sessions."""
        ...

    def close(self) -> None:
        """Free everything. Idempotent; every handle is void afterwards."""
        ...
