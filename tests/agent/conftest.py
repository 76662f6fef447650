"""A small federation on disk: real trust, one enrolled agent with rows, a real plan, programs, and a coordinator that
signs and seals real orders."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sojourn.agent.data import AgentStreams
from sojourn.agent.faults import Faults
from sojourn.agent.folder import AgentPaths
from sojourn.agent.runtime import Agent
from sojourn.codec import decode, digest, encode
from sojourn.contracts import (
    SUITE_1,
    Answer,
    AnswerPacket,
    BodyRef,
    Bundle,
    Entry,
    Graph,
    Job,
    Order,
    OrderPacket,
    Phase,
    Plan,
    Port,
    ReleaseSpec,
    StateTensor,
    UpdateSpec,
    child_run,
)
from sojourn.crypto import (
    Authority,
    Identity,
    TrustedSet,
    Verified,
    create_trust,
    load_trusted_set,
    open_body,
    open_envelope,
    seal_body,
    seal_envelope,
    sign_document,
)
from sojourn.datoms import BlockKind, UpdateReader, join_datoms, pack_list, split_datoms
from sojourn.registrar import Enrolment
from sojourn.streams import Field, StateFolder
from sojourn.vm import compile_source
from sojourn.vm.compiler import find_in

FEATURES = 3
ROWS = 20
HOUR = 3_600_000
SPEC = UpdateSpec(clip=10.0, scale=2.0**-16, bound=2**30, max_weight=100)
ANSWER = (
    ReleaseSpec("update", "update", 0.0, 0.0, SPEC),
    ReleaseSpec("count", "patients", 0.0, 1000.0, None),
    ReleaseSpec("mean", "loss", 0.0, 10.0, None),
)

# A module that a program may import.
HELPERS = """

def inside(n):
    return {"n": 1 // n}


def outside(values, at):
    return values[at]
"""

HOSPITAL = """\
from sojourn.program import continuation, gpu, log, private, release, stream, tensor


def train(rows, weights, epochs, size):
    state, losses, n = weights, [], 0
    for _ in range(epochs):
        losses, n, cursor = [], 0, stream.first(rows)
        while cursor is not None:
            batch, cursor = stream.batch(rows, cursor, size)
            out = gpu.run("train", state=state, x=batch["x"], y=batch["y"])
            state, n = out["state"], n + batch["rows"]
            losses.append(out["losses"])
    return {"state": state, "losses": losses, "n": n}


@continuation
def hospital(order):
    a = order.args
    rows = stream.open("patients", fields=["x", "y"])
    log.note("begins")
    result = private(train, rows, order.weights, a["epochs"], a["size"], fuel=a["fuel"], memory=a["memory"])
    release.update(result, of="state", weight="n", base=order.weights)
    release.count(result, of="n", name="patients", high=1000)
    release.mean(result, of="losses", name="loss", low=0.0, high=10.0)
"""

POLICY = """\
version = 1
owner = "st-anna"

[[admit]]
authors = ["{author}"]
purposes = ["{purpose}"]
programs = "any"
plans = ["sha256:{plan}"]
streams = {{ patients = ["x", "y"] }}
effects = ["stream.open", "stream.first", "stream.batch", "gpu.run", "tensor.item", "log.note",
    "release.update", "release.count", "release.mean"]
max_fuel = 100000000
max_memory = 60000000

[[admit.release]]
kind = "update"
claim = "trusted-plan"
max_clip = 10.0
max_weight = 100

[[admit.release]]
kind = "count"
claim = "trusted-plan"
name = "patients"
high = 1000.0

[[admit.release]]
kind = "mean"
claim = "trusted-plan"
name = "loss"
low = 0.0
high = 10.0
"""


def train_graph() -> bytes:
    """One least-squares step: w, steps, x, y, rate -> w.new, steps.new, losses."""
    info, node = helper.make_tensor_value_info, helper.make_node
    float_, int_ = TensorProto.FLOAT, TensorProto.INT64
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("Sub", ["p", "y"], ["e"]),
        node("Mul", ["e", "e"], ["square"]),
        node("Constant", [], ["axis"], value_ints=[1]),
        node("ReduceSum", ["square", "axis"], ["losses"], keepdims=0),
        node("Transpose", ["x"], ["xt"], perm=[1, 0]),
        node("MatMul", ["xt", "e"], ["gradient"]),
        node("Mul", ["gradient", "rate"], ["step"]),
        node("Sub", ["w", "step"], ["w.new"]),
        node("Add", ["steps", "one"], ["steps.new"]),
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def make_plan(graph: bytes) -> Plan:
    state = Port("state", "state", "", ())
    inputs = (state, Port("x", "tensor", "f32", (None, FEATURES)), Port("y", "tensor", "f32", (None, 1)))
    outputs = (state, Port("losses", "unit", "f32", (None,)))
    return Plan(
        suite=SUITE_1,
        name="least-squares",
        state=(StateTensor("w", "f32", (FEATURES, 1), True), StateTensor("steps", "i64", (), False)),
        graphs=(Graph("train", digest(graph), inputs, outputs),),
        constants={"rate": 0.015625},
    )


@dataclass
class Minted:
    """An order as the coordinator sends it."""

    order: Order
    signed: bytes
    envelope: bytes
    bodies: dict[bytes, bytes]
    job: Job

    @property
    def digest(self) -> bytes:
        return digest(self.signed)


@dataclass
class OpenAnswer:
    """An answer as the coordinator opens it."""

    verified: Verified[Answer]
    body: bytes

    @property
    def answer(self) -> Answer:
        return self.verified.value

    def update(self) -> tuple[dict[str, np.ndarray], int]:
        """Integer blocks and weight, checked as the coordinator checks them."""
        reader = UpdateReader({"w": (FEATURES, 1)}, SPEC)
        blocks: dict[str, np.ndarray] = {}
        for datom in split_datoms(self.body):
            piece = reader.feed(datom)
            if piece is not None:
                blocks[piece.name] = piece.values.copy()
        weight, root = reader.finish()
        assert root == self.answer.releases[0].root
        return blocks, weight


@dataclass
class Federation:
    """Trust, parties, the plan, and whatever a test wants to mint."""

    root: Path
    trusted: TrustedSet
    coordinator: Identity
    author: Identity
    authority: Authority
    registrar: Identity
    graph: bytes
    plan: Plan
    sequences: Iterator[int] = field(default_factory=itertools.count)

    @property
    def roster(self) -> bytes:
        return self.trusted.roster_bytes

    def source(self, old: str, new: str) -> str:
        """The hospital's program with a change."""
        assert old in HOSPITAL
        return HOSPITAL.replace(old, new)

    def enrolled(self, folder: Path, name: str = "st-anna") -> Entry:
        """An enrolled state folder, as `enrol_folder` leaves it."""
        now = now_ms()
        with StateFolder.open(folder, "agent") as state:
            identity = self.authority.certify(Identity.generate("agent", name))
            identity.save(AgentPaths(state.path).identity)
            entry = identity.entry(now - 1000, now + 24 * HOUR)
            signed = sign_document(self.registrar, entry)
            Enrolment(identity, entry, signed, self.roster, self.trusted.root_key).save(state.path)
        return entry

    def agent_folder(self, folder: Path, rows: int = ROWS, seed: int = 0) -> Entry:
        """Enrolled, with a policy and private rows."""
        entry = self.enrolled(folder)
        (folder / "policy.toml").write_text(self.policy_text())
        streams = AgentStreams(AgentPaths(folder).streams)
        draw = np.random.default_rng(seed)
        x = draw.normal(size=(rows, FEATURES)).astype(np.float32)
        streams.create("patients", {"x": Field("f32", (FEATURES,)), "y": Field("f32", (1,))})
        if rows:
            streams.append("patients", {"x": x, "y": (x @ np.ones((FEATURES, 1), np.float32))})
        streams.close()
        return entry

    def policy_text(self, purpose: str = "study") -> str:
        return POLICY.format(author=self.author.key.hex(), plan=digest(encode(self.plan)).hex(), purpose=purpose)

    def job(self, source: str = HOSPITAL, entry: str = "hospital", **changes: Any) -> tuple[Job, bytes]:
        """A job and its plain bundle."""
        program = compile_source(source, "program.py", find=find_in({"helpers": HELPERS}))
        phase = Phase("train", "collect", entry, 1, 60_000, changes.pop("answer", ANSWER))
        args = {"epochs": 2, "size": 4, "fuel": 1_000_000, "memory": 10_000_000} | changes.pop("args", {})
        now = now_ms()
        fields: dict[str, Any] = {
            "suite": SUITE_1,
            "name": "job",
            "purpose": "study",
            "program": program.digest,
            "rounds": program.digest,
            "rounds_entry": entry,
            "plan": digest(encode(self.plan)),
            "initial": bytes(32),
            "heldout": b"",
            "policy": {"name": "fedavg"},
            "args": args,
            "phases": (phase,),
            "participants": 1,
            "fuel": 10_000_000,
            "memory": 60_000_000,
            "issued_ms": now,
            "expires_ms": now + HOUR,
            "nonce": secrets.token_bytes(16),
        }
        job = Job(**(fields | changes))
        items = {
            "program": sign_document(self.author, program),
            "plan": sign_document(self.author, self.plan),
            "graph/train": self.graph,
        }
        return job, encode(Bundle(items))

    def mint(
        self,
        agent: Entry,
        source: str = HOSPITAL,
        *,
        weights: dict[str, np.ndarray] | None = None,
        job: tuple[Job, bytes] | None = None,
        signer: Identity | None = None,
        sealed_bundle: tuple[bytes, BodyRef, bytes] | None = None,
        **changes: Any,
    ) -> Minted:
        """An order to one agent; `changes` are fields of the order, or, with `job_`, of the job."""
        job_changes = {key.removeprefix("job_"): changes.pop(key) for key in list(changes) if key.startswith("job_")}
        made, bundle = job if job is not None else self.job(source, **job_changes)
        signed_job = sign_document(signer or self.author, made)
        tensors = weights if weights is not None else {"w": np.zeros((FEATURES, 1), np.float32)}
        datoms, root = pack_list(tensors, BlockKind.WEIGHT)
        sealed_weights, weights_ref, weights_key = seal_body(join_datoms(datoms))
        bundle_bytes, bundle_ref, bundle_key = sealed_bundle or seal_body(bundle)
        now = now_ms()
        fields: dict[str, Any] = {
            "suite": SUITE_1,
            "coordinator": self.coordinator.key,
            "recipient": agent.key,
            "sequence": next(self.sequences),
            "issued_ms": now,
            "expires_ms": now + HOUR,
            "deadline_ms": 60_000,
            "job": signed_job,
            "program": made.program,
            "plan": made.plan,
            "phase": "train",
            "round": 0,
            "run": child_run(secrets.token_bytes(32), 0, 0),
            "epoch": 1,
            "lease_ms": 30_000,
            "clearance": (),
            "bundle": bundle_ref,
            "weights": weights_ref,
            "weights_root": root,
        }
        order = Order(**(fields | changes))
        signed = sign_document(self.coordinator, order)
        return self.seal(agent, order, signed, bundle_key, weights_key, made, {
            bundle_ref.id: bundle_bytes, weights_ref.id: sealed_weights,
        })  # fmt: skip

    def seal(
        self, agent: Entry, order: Order, signed: bytes, bundle_key: bytes, weights_key: bytes, job: Job,
        bodies: dict[bytes, bytes],
    ) -> Minted:  # fmt: skip
        packet = encode(OrderPacket(signed, bundle_key, weights_key))
        now = now_ms()
        envelope = seal_envelope(self.coordinator, agent, "order", packet, now, now + HOUR)
        return Minted(order, signed, envelope, bodies, job)

    def open_answer(self, agent: Entry, packet: bytes, sealed: bytes, minted: Minted) -> OpenAnswer:
        plain = open_envelope(self.coordinator, packet, agent, "answer", now_ms())
        opened = decode(AnswerPacket, plain)
        verified = self.trusted.verify_answer(opened.answer, agent, minted.signed)
        body = open_body(sealed, opened.body, opened.key) if opened.body is not None else b""
        return OpenAnswer(verified, body)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """Made once: keys are slow."""
    root = tmp_path_factory.mktemp("trust") / "federation"
    layout = create_trust(root)
    graph = train_graph()
    onnx.checker.check_model(onnx.load_from_string(graph))
    return Federation(
        root=root,
        trusted=load_trusted_set(layout.root),
        coordinator=Identity.load(layout.coordinator / "identity.key"),
        author=Identity.load(layout.author / "identity.key"),
        authority=Authority.load(layout.registrar / "authority.key"),
        registrar=Identity.load(layout.registrar / "identity.key"),
        graph=graph,
        plan=make_plan(graph),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an agent's state goes."""
    return tmp_path / "agent"


@pytest.fixture
def agent_entry(federation: Federation, folder: Path) -> Entry:
    """An enrolled agent with rows in `folder`."""
    return federation.agent_folder(folder)


class HandlessLink:
    """A link for hosts that are tested without a network: bodies out of a dict."""

    def __init__(self, bodies: dict[bytes, bytes]) -> None:
        self.bodies = bodies

    async def fetch(self, body: bytes, length: int) -> Any:
        data = self.bodies[body]
        assert len(data) == length
        for start in range(0, length, 1000):
            yield memoryview(data)[start : start + 1000]


@dataclass
class Bench:
    """The blocking side of an agent without a link: judge an order, work it, stop it anywhere, start it again."""

    federation: Federation
    folder: Path
    entry: Entry
    environment: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Bench:
        self.agent = Agent(self.folder, "wss://127.0.0.1:1")
        if self.environment:
            faults = Faults.from_environment(self.folder, self.environment)
            work = self.agent._work
            object.__setattr__(work._bench, "faults", faults)
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.close()

    def accept(self, minted: Minted) -> Any:
        opened = self.agent._desk.open(minted.envelope, now_ms())
        self.agent._desk.check_new(opened.order)
        asyncio.run(self.fetch(opened, minted))
        self.agent._work.accept(opened, minted.envelope)
        return opened

    async def fetch(self, opened: Any, minted: Minted) -> None:
        link = HandlessLink(minted.bodies)
        await self.agent._bodies.ensure(opened.order.order.bundle, link)
        await self.agent._bodies.ensure(opened.order.order.weights, link)

    def work(self, opened: Any, stop: Any = None) -> Any:
        return self.agent._work.work(opened, stop or threading.Event())

    def answer(self, minted: Minted, opened: Any, ready: Any) -> OpenAnswer:
        sealed = b""
        if ready.body is not None:
            sealed = ready.source if isinstance(ready.source, bytes) else ready.source.read_bytes()
        return self.federation.open_answer(self.entry, ready.packet, sealed, minted)

    def done(self, minted: Minted) -> OpenAnswer:
        """Accept and work an order to its answer."""
        opened = self.accept(minted)
        ready = self.work(opened)
        assert ready is not None
        return self.answer(minted, opened, ready)

    def row(self, minted: Minted) -> Any:
        return self.agent._database.order(minted.digest)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in AgentPaths(self.folder).log.read_text().splitlines()]


@pytest.fixture
def bench(federation: Federation, folder: Path, agent_entry: Entry) -> Iterator[Bench]:
    """An open agent without a link."""
    with Bench(federation, folder, agent_entry) as made:
        yield made


@pytest.fixture
def hospital_source() -> str:
    """The program of `Federation.mint`, for tests in importlib mode."""
    return HOSPITAL


@pytest.fixture
def bench_class() -> type[Bench]:
    """For tests that open an agent more than once."""
    return Bench


@pytest.fixture
def bench_at(federation: Federation, folder: Path, agent_entry: Entry) -> Any:
    """`bench_at(folder, entry)`: another open agent."""

    @contextmanager
    def open_at(at: Path = folder, entry: Entry = agent_entry, **environment: str) -> Iterator[Bench]:
        with Bench(federation, at, entry, environment) as made:
            yield made

    return open_at
