"""What an author signs: programs (see `sojourn.vm`), plans and jobs."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from sojourn.codec import Kind, Record
from sojourn.contracts.suites import SUITE_1

__all__ = [
    "NO_PLAN",
    "Bundle",
    "Graph",
    "Job",
    "Phase",
    "Plan",
    "Port",
    "ReleaseSpec",
    "Scalar",
    "StateTensor",
    "UpdateSpec",
]

Scalar = bool | int | float | str


class Port(Record, frozen=True):
    """One input or output of a graph as a program sees it.

    `role` is `state` for a name that stands for the plan's whole state (one handle to named tensors; in the graph
    each state tensor `t` is an input `t` and, for an output port, an output `t.new`), `tensor` for one tensor, and
    `unit` for an output that holds one value per row (what `release.mean` and `release.sum` take).
    """

    name: str
    role: Literal["state", "tensor", "unit"]
    dtype: str  # sojourn.datoms dtype name: "f32", "i64", …; empty for a state
    shape: tuple[int | None, ...]  # None is the batch axis; empty for a state or a scalar


class Graph(Record, frozen=True):
    """One ONNX graph of a plan, pinned by the SHA-256 of its file."""

    name: str
    digest: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class StateTensor(Record, frozen=True):
    """A tensor of the plan's state. `trained` ones are part of the update; the others stay on the agent."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    trained: bool


class Plan(Record, frozen=True):
    """The signed manifest of a bundle of graphs."""

    KIND: ClassVar[int] = Kind.PLAN
    suite: int
    name: str
    state: tuple[StateTensor, ...]
    graphs: tuple[Graph, ...]
    constants: dict[str, float]  # scalar graph inputs (float32, shape []) that the author fixes, e.g. the rate


NO_PLAN: Final = Plan(suite=SUITE_1, name="none", state=(), graphs=(), constants={})
"""The plan of every job without graphs. It holds nothing of the job: owners pin its hash, whatever the job's name."""


class UpdateSpec(Record, frozen=True):
    """The integer blocks of an update: q = round-half-even(w * clip(delta) / scale), 0 <= w <= max_weight.

    `clip` bounds the L2 norm of the whole update. `bound` is the largest |q| of a block's element.
    """

    clip: float
    scale: float
    bound: int
    max_weight: int


class ReleaseSpec(Record, frozen=True):
    """One release that an answer must hold, in this order. Parameters are public and fixed by the author.

    kind `update`: `name` is "update" and `update` is set. kind `count`: high. kinds `mean`, `sum`: low and high.
    """

    kind: Literal["update", "count", "sum", "mean"]
    name: str
    low: float
    high: float
    update: UpdateSpec | None


class Phase(Record, frozen=True):
    """A phase of `fleet.ask`: which entry runs at the agents, what they answer, and when the phase closes."""

    name: str
    kind: Literal["collect"]  # other kinds come with the secure sum
    entry: str
    quorum: int
    deadline_ms: int
    answer: tuple[ReleaseSpec, ...]


class Job(Record, frozen=True):
    """What an author wants done. Everything that decides what runs, and with which numbers, is in here."""

    KIND: ClassVar[int] = Kind.JOB
    suite: int
    name: str
    purpose: str
    program: bytes  # digest of the agent program
    rounds: bytes  # digest of the rounds program
    rounds_entry: str
    plan: bytes  # digest of the plan record (the payload, not its signature)
    initial: bytes  # root of the initial model's stream
    heldout: bytes  # root of the public held-out dataset's stream; empty for none
    policy: dict[str, Scalar]  # {"name": "fedavg", …}
    args: dict[str, Scalar]
    phases: tuple[Phase, ...]
    participants: int  # agents that one cohort invites; 0 is all that are enrolled and connected
    fuel: int  # of one agent's run, instructions
    memory: int  # of one agent's run, bytes of program values
    issued_ms: int
    expires_ms: int
    nonce: bytes  # 16 bytes: two jobs are never the same bytes by accident


class Bundle(Record, frozen=True):
    """What an agent needs once per job: `program` and `plan` (signed), and `graph/<name>` files."""

    KIND: ClassVar[int] = Kind.BUNDLE
    items: dict[str, bytes]
