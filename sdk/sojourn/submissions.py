"""What a submission has to be beyond its signatures: programs, plan, model and data fit together.

Rules of this module:

* The author's builder and the coordinator ask the same questions with this code, so that what was built is taken.
* It sees verified documents only (`sojourn.crypto.VerifiedSubmission`), runs nothing and stores nothing.
* A job may do without graphs: then its plan has none and no state, and its initial model has no tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sojourn.contracts import Graph, Plan
from sojourn.crypto import VerifiedSubmission
from sojourn.datoms import DType, split_datoms, unpack
from sojourn.errors import PlanMismatch, ProgramInvalid
from sojourn.vm import verify
from sojourn.vm.effects import AGENT_EFFECTS, ROUNDS_EFFECTS

__all__ = [
    "AGENT_EFFECTS",
    "EVALUATE",
    "ROUNDS_EFFECTS",
    "check_evaluation",
    "check_submission",
    "evaluation_graph",
]

EVALUATE: Final = "evaluate"
"""Name of the graph that a coordinator runs on public held-out data."""

Tensors = Mapping[str, npt.NDArray[Any]]


def check_submission(submission: VerifiedSubmission) -> None:
    """Check what signatures do not say. The aggregation policy is not judged here: see
    `sojourn.aggregation`.

    Raises:
        ProgramInvalid: a program is refused, lacks an entry, or asks for effects that it cannot get.
        PlanMismatch: graphs, initial model or held-out data are not what the plan states.
        GraphRefused: a graph holds what no graph may hold.
        DecodeError: a stream is damaged or not the one that the job names.
    """
    job, plan = submission.job.value, submission.plan.value
    if plan.graphs:
        from sojourn.interpreters import check_plan  # noqa: PLC0415 - a runtime that a job without graphs does without

        check_plan(plan, submission.graphs)
    _check_programs(submission)
    _check_model(plan, unpack(split_datoms(submission.initial), root=job.initial))
    if job.heldout:
        check_evaluation(plan, unpack(split_datoms(submission.heldout), root=job.heldout))


def _check_programs(submission: VerifiedSubmission) -> None:
    job = submission.job.value
    rounds, program = verify(submission.rounds.value), verify(submission.program.value)
    if job.rounds_entry not in rounds.entries:
        raise ProgramInvalid(f"the rounds program has no entry {job.rounds_entry!r}; name one of its continuations")
    excess = sorted(rounds.effects(job.rounds_entry) - ROUNDS_EFFECTS)
    if excess:
        raise ProgramInvalid(f"the rounds program can reach {excess[0]}, which a coordinator does not serve")
    for phase in job.phases:
        if phase.entry not in program.entries:
            raise ProgramInvalid(f"phase {phase.name!r} starts {phase.entry!r}, which the agent program does not have")
        excess = sorted(program.effects(phase.entry) - AGENT_EFFECTS)
        if excess:
            raise ProgramInvalid(f"entry {phase.entry!r} can reach {excess[0]}, which an agent does not serve")


def _check_model(plan: Plan, initial: Tensors) -> None:
    for tensor in plan.state:
        found = initial.get(tensor.name)
        if found is None:
            if tensor.trained:
                raise PlanMismatch(f"the initial model lacks the trained tensor {tensor.name!r}")
            continue
        if found.shape != tensor.shape or (tensor.trained and found.dtype != np.float32):
            got = f"{found.dtype} {found.shape}"
            raise PlanMismatch(
                f"initial tensor {tensor.name!r} is {got}; the plan states {tensor.dtype} {tensor.shape}"
            )
    unknown = sorted(set(initial) - {tensor.name for tensor in plan.state})
    if unknown:
        raise PlanMismatch(f"the initial model has a tensor {unknown[0]!r} that the plan's state does not have")


def evaluation_graph(plan: Plan) -> Graph | None:
    """The plan's `evaluate` graph, if it has one."""
    return next((graph for graph in plan.graphs if graph.name == EVALUATE), None)


def check_evaluation(plan: Plan, heldout: Tensors) -> None:
    """Check that held-out data has what the `evaluate` graph asks for.

    Raises:
        PlanMismatch: a field is missing, of another type or shape, or fields differ in length.
    """
    graph = evaluation_graph(plan)
    if graph is None:
        return
    lengths = {tensor.shape[0] if tensor.ndim else 1 for tensor in heldout.values()}
    if len(lengths) != 1:
        raise PlanMismatch("the held-out fields have different numbers of rows; cut them to one length")
    for port in graph.inputs:
        if port.role == "state":
            continue
        field = heldout.get(port.name)
        if field is None:
            have = ", ".join(sorted(heldout))
            raise PlanMismatch(f"graph 'evaluate' needs the field {port.name!r}; the held-out data has {have}")
        fits = len(field.shape) == len(port.shape) and all(
            want in {None, have} for want, have in zip(port.shape, field.shape, strict=True)
        )
        if not fits or field.dtype != DType.from_name(port.dtype).numpy:
            got = f"{field.dtype} {field.shape}"
            raise PlanMismatch(f"held-out field {port.name!r} is {got}, the plan states {port.dtype} {port.shape}")
