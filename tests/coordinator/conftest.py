"""A coordinator with its real stores, trust and machine, and agents that do on the spot what real ones do.

The agents here open envelopes, verify orders, fetch and open bodies, and release quantised updates with the real
code; only the sockets between them and the coordinator are left out (`test_gateway` and `test_end_to_end` have those).
"""

import asyncio
import contextlib
import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sojourn.codec import decode, digest, encode
from sojourn.contracts import (
    SUITE_1,
    Answer,
    AnswerPacket,
    Bundle,
    Graph,
    Job,
    OrderPacket,
    Phase,
    Plan,
    Port,
    Released,
    ReleaseSpec,
    StateTensor,
    UpdateSpec,
)
from sojourn.crypto import (
    ANSWER,
    ORDER,
    Authority,
    Identity,
    TrustedSet,
    create_trust,
    load_trusted_set,
    open_body,
    open_envelope,
    seal_body,
    seal_envelope,
    sign_document,
    sign_payload,
)
from sojourn.datoms import BlockKind, join_datoms, pack_list, pack_update, split_datoms, unpack
from sojourn.errors import PeerError
from sojourn.vm import compile_source
from sojourn.vm.compiler import find_in
from sojourn.wire import Closed, Committed, HeldOrder, Hello, Rejected
from sojourn_coordinator.answers import reason_of
from sojourn_coordinator.house import wall_clock_ms
from sojourn_coordinator.service import Coordinator
from sojourn_coordinator.state import init_state

FEATURES = 3
SPEC = UpdateSpec(clip=1.0, scale=2.0**-20, bound=2**31 - 1, max_weight=1_000)
RELEASES = (
    ReleaseSpec("update", "update", 0.0, 0.0, SPEC),
    ReleaseSpec("count", "patients", 0.0, 1000.0, None),
    ReleaseSpec("mean", "loss", 0.0, 10.0, None),
)

PROGRAM = """
from sojourn.program import continuation, fleet, gpu, log, model, private, release, stream, updates

def train(rows, weights):
    return {"state": weights, "n": 1, "losses": []}

@continuation
def hospital(order):
    rows = stream.open("patients", fields=["x", "y"])
    result = private(train, rows, order.weights, fuel=10000, memory=1000000)
    release.update(result, of="state", weight="n", base=order.weights)

@continuation
def rounds(job):
    weights = job.initial
    for k in range(job.args["rounds"]):
        cohort = fleet.invite(round=k)
        answers = fleet.ask(cohort, "train", weights=weights)
        folded = updates.aggregate(answers, policy=job.policy, base=weights)
        weights = model.publish(folded, round=k)
    return weights
"""


def evaluate_graph() -> bytes:
    """Logistic regression on held-out rows: losses and scores, one for each row."""
    kind = TensorProto.FLOAT
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Softplus", ["logits"], ["positive"]),
        helper.make_node("Mul", ["logits", "y"], ["hit"]),
        helper.make_node("Sub", ["positive", "hit"], ["losses"]),
    ]
    graph = helper.make_graph(
        nodes,
        "evaluate",
        [info("w", kind, [FEATURES]), info("x", kind, ["n", FEATURES]), info("y", kind, ["n"])],
        [info("losses", kind, ["n"]), info("scores", kind, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.load_from_string(model.SerializeToString()).SerializeToString()


def initial_model() -> dict[str, np.ndarray]:
    return {"w": np.array([0.1, -0.2, 0.3], np.float32)}


def heldout_rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(20, FEATURES)).astype(np.float32)
    return {"x": x, "y": (x[:, 0] > 0).astype(np.float32)}


# A module that a program may import.
HELPERS = """
def broken(values):
    raise ValueError("in a module")
"""


def make_submission(author: Identity, **changes) -> bytes:
    """A signed submission. `source`, `quorum`, `deadline_ms`, `rounds`, `participants` and job fields can change."""
    source = changes.pop("source", PROGRAM)
    program = encode(compile_source(source, "program.py", find=find_in({"helpers": HELPERS})))
    graph = evaluate_graph()
    plan = Plan(
        suite=SUITE_1,
        name="logistic",
        state=(StateTensor("w", "f32", (FEATURES,), True),),
        graphs=(
            Graph(
                "evaluate",
                digest(graph),
                (
                    Port("state", "state", "", ()),
                    Port("x", "tensor", "f32", (None, FEATURES)),
                    Port("y", "tensor", "f32", (None,)),
                ),
                (Port("losses", "unit", "f32", (None,)), Port("scores", "unit", "f32", (None,))),
            ),
        ),
        constants={},
    )
    initial, initial_root = pack_list(initial_model(), BlockKind.WEIGHT)
    heldout, heldout_root = pack_list(heldout_rows(), BlockKind.RECORD)
    if not changes.pop("evaluate", True):
        heldout, heldout_root = [], b""
    now = wall_clock_ms()
    phase = Phase(
        name="train",
        kind="collect",
        entry="hospital",
        quorum=changes.pop("quorum", 2),
        deadline_ms=changes.pop("deadline_ms", 60_000),
        answer=RELEASES,
    )
    fields = {
        "suite": SUITE_1,
        "name": "test",
        "purpose": "tests",
        "program": digest(program),
        "rounds": digest(program),
        "rounds_entry": "rounds",
        "plan": digest(encode(plan)),
        "initial": initial_root,
        "heldout": heldout_root,
        "policy": {"name": "fedavg"},
        "args": {"rounds": changes.pop("rounds", 2)},
        "phases": (phase,),
        "participants": changes.pop("participants", 3),
        "fuel": 10_000_000,
        "memory": 10_000_000,
        "issued_ms": now,
        "expires_ms": now + 3_600_000,
        "nonce": bytes(16),
    }
    job = Job(**(fields | changes))
    items = {
        "job": sign_document(author, job),
        "program": sign_payload(author, program),
        "rounds": sign_payload(author, program),
        "plan": sign_document(author, plan),
        "graph/evaluate": graph,
        "initial": join_datoms(initial),
    }
    if heldout:
        items["heldout"] = join_datoms(heldout)
    return encode(Bundle(items))


class Links:
    """Carries orders to agents in this process; what a gateway promises: kept until answered or withdrawn."""

    def __init__(self) -> None:
        self.pending: dict[bytes, dict[bytes, bytes]] = {}
        self.delivered: list[tuple[bytes, bytes, bytes]] = []
        self.changed = asyncio.Condition()

    def deliver(self, agent: bytes, order: bytes, envelope: bytes) -> None:
        self.pending.setdefault(agent, {})[order] = envelope
        self.delivered.append((agent, order, envelope))
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self._notify()))

    def withdraw(self, agent: bytes, order: bytes) -> None:
        self.pending.get(agent, {}).pop(order, None)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def next_order(self, agent: bytes, seen: set[bytes]) -> tuple[bytes, bytes]:
        """The next order for this agent that is not in `seen`."""
        async with self.changed:
            while True:
                for order, envelope in self.pending.get(agent, {}).items():
                    if order not in seen:
                        return order, envelope
                await self.changed.wait()


@dataclass
class Prepared:
    """An answer, sealed, ready to be offered any number of times."""

    order: bytes
    packet: bytes
    body: bytes
    body_id: bytes
    round: int


@dataclass
class Hand:
    """An agent: its keys, and what it does with an order."""

    identity: Identity
    signed_entry: bytes
    entry: object
    trusted: TrustedSet
    seen: set[bytes] = field(default_factory=set)
    outbox: dict[bytes, Prepared] = field(default_factory=dict)  # answers without a verdict

    @property
    def key(self) -> bytes:
        return self.identity.key

    def hello(self, held: tuple[HeldOrder, ...] = ()) -> Hello:
        return Hello(1, self.signed_entry, 1, held, bytes(16))

    async def connect(self, coordinator: Coordinator, held: tuple[HeldOrder, ...] = ()):
        return await coordinator.on_hello(self.entry, self.hello(held))

    def open_order(self, coordinator: Coordinator, envelope: bytes):
        """Verify the order and fetch its two bodies, as a real agent does."""
        sender = next(e for e in self.trusted.roster.entries if e.role == "coordinator")
        now = wall_clock_ms()
        packet = decode(OrderPacket, open_envelope(self.identity, envelope, sender, ORDER, now))
        verified = self.trusted.verify_order(packet.order, self.entry, now)
        bodies = []
        for ref, key in ((verified.order.bundle, packet.bundle_key), (verified.order.weights, packet.weights_key)):
            source = coordinator.open_body(self.entry, ref.id)
            assert source is not None
            assert source.length == ref.length
            parts = [bytes(source.read(offset, 1000)) for offset in range(0, ref.length, 1000)]
            bodies.append(open_body(b"".join(parts), ref, key))
        self.trusted.verify_bundle(bodies[0], verified)
        weights = unpack(split_datoms(bodies[1]), root=verified.order.weights_root)
        return verified, weights

    def update_for(self, round_: int, shapes) -> tuple[dict[str, np.ndarray], int]:
        """What this agent releases in a round: fixed by its name, so that runs can be compared."""
        seed = int.from_bytes(hashlib.sha256(f"{self.identity.name}/{round_}".encode()).digest()[:4], "big")
        rng = np.random.default_rng(seed)
        delta = {name: rng.normal(size=shape, scale=0.2).astype(np.float32) for name, shape in shapes.items()}
        return delta, int(rng.integers(1, 200))

    def prepare(self, coordinator: Coordinator, envelope: bytes, **changes) -> Prepared:
        """Answer an order. `datoms`, `root`, and fields of the answer can be changed."""
        verified, weights = self.open_order(coordinator, envelope)
        order = verified.order
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        delta, weight = self.update_for(order.round, shapes)
        datoms, root = pack_update(delta, weight, SPEC, shapes)
        datoms = changes.pop("datoms", datoms)
        root = changes.pop("root", root)
        policy = bytes(32)
        releases = (
            Released("update", "update", "clip", "trusted-plan", {}, None, root, 3, policy),
            Released("count", "patients", "bounded-count", "trusted-plan", {}, float(weight), b"", 4, policy),
            Released("mean", "loss", "bounded-mean", "trusted-plan", {}, 1.0 / weight, b"", 5, policy),
        )
        fields = {
            "suite": SUITE_1, "agent": self.key, "order": verified.digest, "job": digest(order.job),
            "program": order.program, "plan": order.plan, "run": order.run, "epoch": order.epoch,
            "round": order.round, "phase": order.phase, "weights_root": order.weights_root, "outcome": "done",
            "code": "", "line": 0, "releases": releases, "issued_ms": wall_clock_ms(),
        }  # fmt: skip
        signed = self.identity.sign(Answer(**(fields | changes)))
        sealed, ref, key = seal_body(join_datoms(datoms))
        if (fields | changes)["outcome"] != "done":
            sealed, ref, key = b"", None, b""
        sender = next(e for e in self.trusted.roster.entries if e.role == "coordinator")
        now = wall_clock_ms()
        packet = encode(AnswerPacket(signed, ref, key))
        envelope = seal_envelope(self.identity, sender, ANSWER, packet, now, now + 3_600_000)
        return Prepared(verified.digest, envelope, sealed, b"" if ref is None else ref.id, order.round)

    async def offer(self, coordinator: Coordinator, answer: Prepared, chunk: int = 700):
        """Offer an answer as the gateway does; the verdict, or the refusal that the gateway would make of an error."""
        taken = await coordinator.on_offer(self.entry, answer.order, answer.packet, answer.body_id, len(answer.body))
        if isinstance(taken, Committed | Closed | Rejected):
            return taken
        try:
            for start in range(0, len(answer.body), chunk):
                await taken.feed(memoryview(answer.body)[start : start + chunk])
            return await taken.finish()
        except PeerError as problem:
            await taken.abort()
            return Rejected(answer.order, reason_of(problem))

    async def take(self, links: Links) -> bytes:
        """The envelope of the next order for this agent."""
        order, envelope = await links.next_order(self.key, self.seen)
        self.seen.add(order)
        return envelope

    async def work(self, coordinator: Coordinator, links: Links, delay: float = 0.0) -> None:
        """Connect and answer every order, for ever; answers of an earlier life of the coordinator first."""
        held = tuple(HeldOrder(order, "answered") for order in self.outbox)
        await self.connect(coordinator, held)
        for answer in list(self.outbox.values()):
            await self.settle(coordinator, links, answer)
        while True:
            envelope = await self.take(links)
            answer = self.prepare(coordinator, envelope)
            self.outbox[answer.order] = answer
            await asyncio.sleep(delay)
            await self.settle(coordinator, links, answer)

    async def settle(self, coordinator: Coordinator, links: Links, answer: Prepared) -> None:
        verdict = await self.offer(coordinator, answer)
        # An order whose opening was never committed is unknown to the next life.
        assert isinstance(verdict, Committed | Closed) or verdict.reason == "stranger", verdict
        links.withdraw(self.key, answer.order)
        del self.outbox[answer.order]


class World:
    """One federation: trust, a coordinator's state folder, agents."""

    def __init__(self, folder: Path, agents: int = 3) -> None:
        self.layout = create_trust(folder / "trust")
        self.state = folder / "coordinator"
        self.token = init_state(self.state, folder / "trust")
        self.author = Identity.load(self.layout.author / "identity.key")
        self.authority = Authority.load(self.layout.registrar / "authority.key")
        self.registrar = Identity.load(self.layout.registrar / "identity.key")
        self.root = (self.layout.root / "root.pub").read_bytes()
        self.hands = [self.enrol(f"agent-{number}") for number in range(agents)]

    def trusted(self) -> TrustedSet:
        return load_trusted_set(self.state)

    def enrol(self, name: str) -> Hand:
        identity = self.authority.certify(Identity.generate("agent", name))
        now = wall_clock_ms()
        entry = identity.entry(now, now + 3_600_000)
        signed = sign_document(self.registrar, entry)
        return Hand(identity, signed, entry, self.trusted())

    def submission(self, **changes) -> bytes:
        return make_submission(self.author, **changes)

    @contextlib.asynccontextmanager
    async def serving(self, links: Links | None = None, fault=None):
        """A coordinator on this state folder, and its links."""
        links = links or Links()
        coordinator = await Coordinator.open(self.state, fault)
        try:
            await coordinator.start(links)
            yield coordinator, links
        finally:
            await coordinator.close()

    @contextlib.asynccontextmanager
    async def working(self, coordinator: Coordinator, links: Links, delays: dict[int, float] | None = None):
        """Every agent connected and answering."""
        tasks = []
        for number, hand in enumerate(self.hands):
            tasks.append(asyncio.create_task(hand.work(coordinator, links, (delays or {}).get(number, 0.0))))
        try:
            yield
        finally:
            broken = [task.exception() for task in tasks if task.done() and not task.cancelled()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for problem in broken:
                raise problem

    def fresh_copy(self, folder: Path) -> "World":
        """The same federation with a copy of the coordinator's state as it is now, and agents that remember nothing."""
        copy = object.__new__(World)
        copy.__dict__.update(self.__dict__)
        copy.state = folder / "coordinator"
        shutil.copytree(self.state, copy.state)
        copy.hands = [Hand(h.identity, h.signed_entry, h.entry, self.trusted()) for h in self.hands]
        return copy


class Crash:
    """Stops a coordinator for good right after its n-th commit: nothing that waits for it, or comes later, goes on."""

    def __init__(self, coordinator: Coordinator, commits: int) -> None:
        self.left = commits
        self.commits = 0
        self.struck = asyncio.Event()
        database = coordinator.house.database
        write = database.write

        async def counted(work):
            if self.struck.is_set():
                await asyncio.Event().wait()
            result = await write(work)
            self.commits += 1
            self.left -= 1
            if self.left == 0:
                self.struck.set()
            if self.struck.is_set():
                await asyncio.Event().wait()
            return result

        database.write = counted


async def abandon(coordinator: Coordinator) -> None:
    """Leave a coordinator as a kill would: its tasks end where they are, only the files are let go of."""
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and task.get_name() != "database-drain":
            task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await coordinator.house.database.close()
    coordinator.house.objects.close()


async def ended(coordinator: Coordinator, job: bytes, seconds: float = 20.0) -> list:
    """Every event of a job, once it has ended."""
    async with asyncio.timeout(seconds):
        return [event async for event in coordinator.house.feed.follow(job, 0)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def wait_for_end():
    return ended


@pytest.fixture
def links_class():
    return Links


@pytest.fixture
def crash_at():
    return Crash


@pytest.fixture
def walk_away():
    return abandon
