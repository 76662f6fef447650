"""One real admitted order: keys, roster, compiled program, ONNX plan, signed job, order and bundle."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper
from sojourn.codec import digest, encode
from sojourn.contracts import (
    SUITE_1,
    BodyRef,
    Bundle,
    Graph,
    Job,
    Order,
    Phase,
    Plan,
    Port,
    ReleaseSpec,
    Roster,
    StateTensor,
    UpdateSpec,
)
from sojourn.crypto import Authority, Identity, RootKey, TrustedSet, sealed_length, sign_document, sign_payload
from sojourn.privacy import OwnerPolicy
from sojourn.vm import VerifiedProgram, compile_source, verify

NOW = 1_800_000_000_000
HOUR = 3_600_000
YEAR = 366 * 24 * HOUR
FEATURES = 3

SOURCE = """
from sojourn.program import continuation, gpu, private, release, stream


def train(rows, weights, size):
    state, losses, n, cursor = weights, [], 0, stream.first(rows)
    while cursor is not None:
        batch, cursor = stream.batch(rows, cursor, size)
        out = gpu.run("train", state=state, x=batch["x"], y=batch["y"])
        state, n = out["state"], n + batch["rows"]
        losses.append(out["losses"])
    return {"state": state, "losses": losses, "n": n}


@continuation
def hospital(order):
    rows = stream.open("patients", fields=["x", "y"])
    result = private(train, rows, order.weights, 8, fuel=100000, memory=1000000)
    release.update(result, of="state", weight="n", base=order.weights)
    release.count(result, of="n", name="patients", high=1000)
    release.mean(result, of="losses", name="loss", low=0.0, high=10.0)


@continuation
def idle(order):
    release.count(0, of="n", name="patients", high=1000)
"""

POLICY = """\
version = 1
owner = "hospital-1"

[[admit]]
name = "study"
authors = ["{author}"]
purposes = ["research"]
programs = ["sha256:{program}"]
plans = ["sha256:{plan}"]
streams = {{ patients = ["x", "y", "age"], visits = ["t"] }}
effects = ["stream.open", "stream.first", "stream.batch", "gpu.run", "release.update", "release.count", "release.mean"]
max_fuel = 1000000
max_memory = 2000000

[[admit.release]]
kind = "update"
claim = "trusted-plan"
max_clip = 10.0
max_weight = 1000

[[admit.release]]
kind = "count"
claim = "trusted-plan"
name = "patients"
high = 1000

[[admit.release]]
kind = "mean"
claim = "trusted-plan"
name = "loss"
low = 0.0
high = 10.0
"""

UPDATE = ReleaseSpec("update", "update", 0.0, 0.0, UpdateSpec(clip=5.0, scale=2**-16, bound=2**30, max_weight=1000))
COUNT = ReleaseSpec("count", "patients", 0.0, 1000.0, None)
MEAN = ReleaseSpec("mean", "loss", 0.0, 10.0, None)


def train_graph() -> bytes:
    """One step of least squares: inputs w, x, y, rate; outputs w.new and one loss per row."""

    def info(name: str, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Sub", ["p", "y"], ["e"]),
        helper.make_node("Mul", ["e", "e"], ["square"]),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("ReduceSum", ["square", "axis"], ["losses"], keepdims=0),
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0]),
        helper.make_node("MatMul", ["xt", "e"], ["gradient"]),
        helper.make_node("Mul", ["gradient", "rate"], ["step"]),
        helper.make_node("Sub", ["w", "step"], ["w.new"]),
    ]
    inputs = [info("w", [FEATURES, 1]), info("x", ["n", FEATURES]), info("y", ["n", 1]), info("rate", [])]
    graph = helper.make_graph(nodes, "train", inputs, [info("w.new", [FEATURES, 1]), info("losses", ["n"])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


class Hospital:
    """Everything that one order of a small federation needs, with builders to bend each part."""

    def __init__(self) -> None:
        authority = Authority.generate()
        self.root = RootKey.generate()
        self.author = Identity.generate("author", "ada")
        self.registrar = authority.certify(Identity.generate("registrar", "registrar"), hosts=("localhost",))
        self.coordinator = authority.certify(Identity.generate("coordinator", "coordinator"), hosts=("localhost",))
        self.agent = authority.certify(Identity.generate("agent", "hospital-1"))
        parties = (self.author, self.registrar, self.coordinator)
        roster = Roster(
            suite=SUITE_1,
            version=1,
            issued_ms=NOW - HOUR,
            expires_ms=NOW + YEAR,
            authority=authority.certificate,
            entries=tuple(party.entry(NOW - HOUR, NOW + YEAR) for party in parties),
            revoked=(),
        )
        self.trusted = TrustedSet(self.root.public)
        self.trusted.load_roster(self.root.sign_roster(roster), NOW)
        self.program_bytes = compile_source(SOURCE, "program.py").encode()
        self.graph = train_graph()
        state = Port("state", "state", "", ())
        x, y = Port("x", "tensor", "f32", (None, FEATURES)), Port("y", "tensor", "f32", (None, 1))
        outputs = (state, Port("losses", "unit", "f32", (None,)))
        self.plan = Plan(
            suite=SUITE_1,
            name="least-squares",
            state=(StateTensor("w", "f32", (FEATURES, 1), True),),
            graphs=(Graph("train", digest(self.graph), (state, x, y), outputs),),
            constants={"rate": 2.0**-6},
        )

    @property
    def program(self) -> VerifiedProgram:
        return verify(self.program_bytes)

    def job(self, **changes: Any) -> Job:
        phase = Phase("train", "collect", changes.pop("entry", "hospital"), 1, 60_000, changes.pop("answer", ANSWER))
        job = Job(
            suite=SUITE_1,
            name="job",
            purpose="research",
            program=digest(self.program_bytes),
            rounds=digest(b"rounds"),
            rounds_entry="rounds",
            plan=digest(encode(self.plan)),
            initial=digest(b"initial"),
            heldout=b"",
            policy={"name": "fedavg"},
            args={},
            phases=(phase,),
            participants=0,
            fuel=10**6,
            memory=2 * 10**6,
            issued_ms=NOW - HOUR,
            expires_ms=NOW + 24 * HOUR,
            nonce=bytes(16),
        )
        return msgspec.structs.replace(job, **changes)

    def order(self, **changes: Any) -> Any:
        """A verified order of a job with `changes`, through every signature."""
        body = BodyRef(digest(b"sealed"), sealed_length(9), digest(b"plain"), 9)
        job = self.job(**changes)
        order = Order(
            suite=SUITE_1,
            coordinator=self.coordinator.key,
            recipient=self.agent.key,
            sequence=1,
            issued_ms=NOW,
            expires_ms=NOW + HOUR,
            deadline_ms=60_000,
            job=sign_document(self.author, job),
            program=job.program,
            plan=job.plan,
            phase="train",
            round=0,
            run=digest(b"run"),
            epoch=1,
            lease_ms=30_000,
            clearance=(),
            bundle=body,
            weights=body,
            weights_root=digest(b"weights"),
        )
        me = self.agent.entry(NOW - HOUR, NOW + YEAR)
        return self.trusted.verify_order(sign_document(self.coordinator, order), me, NOW)

    def bundle(self, order: Any) -> Any:
        items = {
            "program": sign_payload(self.author, self.program_bytes),
            "plan": sign_document(self.author, self.plan),
            "graph/train": self.graph,
        }
        return self.trusted.verify_bundle(encode(Bundle(items)), order)

    def text(self) -> str:
        """The owner's policy file."""
        return POLICY.format(
            author=self.author.key.hex(),
            program=digest(self.program_bytes).hex(),
            plan=digest(encode(self.plan)).hex(),
        )

    def policy(self, *changes: tuple[str, str]) -> OwnerPolicy:
        """The owner's policy, with some text replaced."""
        text = self.text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        return self.parse(text)

    @staticmethod
    def parse(text: str) -> OwnerPolicy:
        return OwnerPolicy.parse(text.encode(), "policy.toml")

    @staticmethod
    def rows(count: int) -> dict[str, Any]:
        """Patients drawn with a fixed seed: x and y, float32."""
        draw = np.random.default_rng(11)
        x = draw.normal(size=(count, FEATURES)).astype(np.float32)
        return {"x": x, "y": x @ np.array([[1.0], [-2.0], [0.5]], np.float32)}


ANSWER = (UPDATE, COUNT, MEAN)


@pytest.fixture(scope="session")
def hospital() -> Hospital:
    return Hospital()
