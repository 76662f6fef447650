"""The echo job of the benchmarks: every part of a round is real, the training is one graph run that adds a constant."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper
from sojourn.client.drafts import policy_for
from sojourn.client.submission import Submission, build_submission, phase, update
from sojourn.contracts import SUITE_1, Graph, Plan, Port, StateTensor
from sojourn.crypto import Identity

__all__ = ["PURPOSE", "build", "policy"]

PURPOSE: Final = "benchmark"
UPDATE: Final = update(clip=1e6, scale=2.0**-10, bound=2**30, max_weight=1)
FUEL: Final = 100_000
MEMORY: Final = 1 << 20

SOURCE: Final = """\
from sojourn.program import continuation, fleet, gpu, model, private, release, updates


def step(weights):
    out = gpu.run("echo", state=weights)
    return {"state": out["state"], "n": 1}


@continuation
def echo(order):
    result = private(step, order.weights, fuel=order.args["fuel"], memory=order.args["memory"])
    release.update(result, of="state", weight="n", base=order.weights)


@continuation
def rounds(job):
    weights = job.initial
    for k in range(job.args["rounds"]):
        cohort = fleet.invite(round=k)
        answers = fleet.ask(cohort, "echo", weights=weights)
        folded = updates.aggregate(answers, policy=job.policy, base=weights)
        weights = model.publish(folded, round=k)
    return weights
"""


def _graph(elements: int) -> bytes:
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [0.5])
    graph = helper.make_graph(
        [helper.make_node("Add", ["w", "one"], ["w.new"])],
        "echo",
        [helper.make_tensor_value_info("w", TensorProto.FLOAT, [elements])],
        [helper.make_tensor_value_info("w.new", TensorProto.FLOAT, [elements])],
        initializer=[one],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def build(author: Identity, agents: int, megabytes: float, rounds: int) -> Submission:
    """A signed submission.

    Args:
        author: who signs.
        agents: cohort and quorum.
        megabytes: size of the model and of each update, 10^6 bytes.
        rounds: how many.
    """
    elements = round(megabytes * 1e6 / 4)
    state = Port("state", "state", "", ())
    plan = Plan(
        suite=SUITE_1,
        name="echo",
        state=(StateTensor("w", "f32", (elements,), trained=True),),
        graphs=(Graph("echo", b"", inputs=(state,), outputs=(state,)),),
        constants={},
    )
    return build_submission(
        author,
        name=f"echo-{agents}x{megabytes:g}",
        purpose=PURPOSE,
        program=SOURCE,
        phases=[phase("echo", entry="echo", quorum=agents, deadline_s=60, answer=[UPDATE])],
        plan=plan,
        graphs={"echo": _graph(elements)},
        initial={"w": np.zeros(elements, np.float32)},
        args={"rounds": rounds, "fuel": FUEL, "memory": MEMORY},
        participants=agents,
        fuel=10 * FUEL,
        memory=16 * MEMORY,
    )


def policy(submission: Submission, name: str) -> str:
    """An owner's policy that admits the echo job and nothing else."""
    return policy_for(submission, name)
