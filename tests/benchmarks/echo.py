"""The echo job of the benchmarks: every part of a round is real, the training is one graph run that adds a constant."""

from __future__ import annotations

import secrets
import time
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper
from sojourn.codec import digest, encode
from sojourn.contracts import SUITE_1, Bundle, Graph, Job, Phase, Plan, Port, ReleaseSpec, StateTensor, UpdateSpec
from sojourn.crypto import Identity, sign_document
from sojourn.datoms import BlockKind, join_datoms, pack_list
from sojourn.vm import compile_source

__all__ = ["PURPOSE", "build", "policy"]

PURPOSE: Final = "benchmark"
SPEC: Final = UpdateSpec(clip=1e6, scale=2.0**-10, bound=2**30, max_weight=1)
FUEL: Final = 100_000
MEMORY: Final = 1 << 20
HOUR_MS: Final = 3_600_000

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


def build(author: Identity, agents: int, megabytes: float, rounds: int) -> tuple[bytes, str]:
    """A signed submission, and the plan's digest in hexadecimal.

    Args:
        author: who signs.
        agents: cohort and quorum.
        megabytes: size of the model and of each update, 10^6 bytes.
        rounds: how many.
    """
    elements = round(megabytes * 1e6 / 4)
    program, graph = compile_source(SOURCE, "echo.py"), _graph(elements)
    state = Port("state", "state", "", ())
    plan = Plan(
        suite=SUITE_1,
        name="echo",
        state=(StateTensor("w", "f32", (elements,), trained=True),),
        graphs=(Graph("echo", digest(graph), inputs=(state,), outputs=(state,)),),
        constants={},
    )
    initial, root = pack_list({"w": np.zeros(elements, np.float32)}, BlockKind.WEIGHT)
    now = time.time_ns() // 1_000_000
    job = Job(
        suite=SUITE_1,
        name=f"echo-{agents}x{megabytes:g}",
        purpose=PURPOSE,
        program=program.digest,
        rounds=program.digest,
        rounds_entry="rounds",
        plan=digest(encode(plan)),
        initial=root,
        heldout=b"",
        policy={"name": "fedavg"},
        args={"rounds": rounds, "fuel": FUEL, "memory": MEMORY},
        phases=(Phase("echo", "collect", "echo", agents, 60_000, (ReleaseSpec("update", "update", 0, 0, SPEC),)),),
        participants=agents,
        fuel=10 * FUEL,
        memory=16 * MEMORY,
        issued_ms=now,
        expires_ms=now + HOUR_MS,
        nonce=secrets.token_bytes(16),
    )
    signed = sign_document(author, program)
    items = {
        "job": sign_document(author, job),
        "program": signed,
        "rounds": signed,
        "plan": sign_document(author, plan),
        "graph/echo": graph,
        "initial": join_datoms(initial),
        "heldout": b"",
    }
    return encode(Bundle(items)), job.plan.hex()


def policy(author: str, plan: str, name: str) -> str:
    """An owner's policy that admits the echo job and nothing else."""
    return f"""\
version = 1
owner = "{name}"

[[admit]]
name = "benchmark"
authors = ["{author}"]
purposes = ["{PURPOSE}"]
programs = "any"
plans = ["sha256:{plan}"]
streams = {{}}
effects = ["gpu.run", "release.update"]
max_fuel = {10 * FUEL}
max_memory = {16 * MEMORY}

[[admit.release]]
kind = "update"
claim = "trusted-plan"
max_clip = {SPEC.clip}
max_weight = {SPEC.max_weight}
"""
