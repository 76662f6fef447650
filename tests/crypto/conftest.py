"""A small federation in memory: real keys, a real roster, a real job, and builders to bend each document."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from sojourn.codec import Kind, digest, encode
from sojourn.contracts import (
    SUITE_1,
    BodyRef,
    Bundle,
    Entry,
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
from sojourn.crypto import (
    Authority,
    Identity,
    RootKey,
    TrustedSet,
    sealed_length,
    sign_document,
    sign_payload,
)

NOW = 1_800_000_000_000
HOUR = 3_600_000
YEAR = 366 * 24 * HOUR


def framed(kind: int, body: bytes) -> bytes:
    """Bytes with the six header bytes of a kind."""
    return b"SJ" + int(kind).to_bytes(2, "big") + (1).to_bytes(2, "big") + body


def a_body(plain: int = 100) -> BodyRef:
    """A reference whose lengths belong together."""
    return BodyRef(id=digest(b"sealed"), length=sealed_length(plain), digest=digest(b"plain"), plain=plain)


@dataclass
class World:
    """Everything one order needs."""

    root: RootKey
    authority: Authority
    registrar: Identity
    coordinator: Identity
    author: Identity
    agent: Identity
    other_author: Identity
    program: bytes = framed(Kind.PROGRAM, b"agent program")
    rounds: bytes = framed(Kind.PROGRAM, b"rounds program")
    graph: bytes = b"onnx graph bytes"
    now: int = NOW
    cache: dict[str, Any] = field(default_factory=dict)

    def entry(self, identity: Identity, **changes: Any) -> Entry:
        return msgspec.structs.replace(identity.entry(self.now - HOUR, self.now + YEAR), **changes)

    def roster(self, **changes: Any) -> Roster:
        parties = (self.registrar, self.coordinator, self.author, self.other_author)
        roster = Roster(
            suite=SUITE_1,
            version=3,
            issued_ms=self.now - HOUR,
            expires_ms=self.now + YEAR,
            authority=self.authority.certificate,
            entries=tuple(self.entry(party) for party in parties),
            revoked=(),
        )
        return msgspec.structs.replace(roster, **changes)

    def trusted(self, **changes: Any) -> TrustedSet:
        trusted = TrustedSet(self.root.public)
        trusted.load_roster(self.root.sign_roster(self.roster(**changes)), self.now)
        return trusted

    @property
    def plan(self) -> Plan:
        return Plan(
            suite=SUITE_1,
            name="plan",
            state=(StateTensor(name="w", dtype="f32", shape=(3, 1), trained=True),),
            graphs=(
                Graph(
                    name="train",
                    digest=digest(self.graph),
                    inputs=(Port(name="x", role="tensor", dtype="f32", shape=(None, 3)),),
                    outputs=(Port(name="losses", role="unit", dtype="f32", shape=(None,)),),
                ),
            ),
            constants={"rate": 0.5},
        )

    def job(self, **changes: Any) -> Job:
        update = UpdateSpec(clip=1.0, scale=0.001, bound=1 << 20, max_weight=1000)
        phase = Phase(
            name="train",
            kind="collect",
            entry="hospital",
            quorum=4,
            deadline_ms=60_000,
            answer=(
                ReleaseSpec(kind="update", name="update", low=0.0, high=0.0, update=update),
                ReleaseSpec(kind="count", name="patients", low=0.0, high=1000.0, update=None),
            ),
        )
        job = Job(
            suite=SUITE_1,
            name="job",
            purpose="research",
            program=digest(self.program),
            rounds=digest(self.rounds),
            rounds_entry="rounds",
            plan=digest(encode(self.plan)),
            initial=digest(b"initial"),
            heldout=b"",
            policy={"name": "fedavg"},
            args={"epochs": 2},
            phases=(phase,),
            participants=0,
            fuel=10**6,
            memory=10**6,
            issued_ms=self.now - HOUR,
            expires_ms=self.now + 24 * HOUR,
            nonce=bytes(16),
        )
        return msgspec.structs.replace(job, **changes)

    def signed_job(self, **changes: Any) -> bytes:
        return sign_document(self.author, self.job(**changes))

    def order(self, **changes: Any) -> Order:
        job = changes.pop("job", None) or self.signed_job()
        order = Order(
            suite=SUITE_1,
            coordinator=self.coordinator.key,
            recipient=self.agent.key,
            sequence=1,
            issued_ms=self.now,
            expires_ms=self.now + HOUR,
            deadline_ms=60_000,
            job=job,
            program=digest(self.program),
            plan=digest(encode(self.plan)),
            phase="train",
            round=0,
            run=digest(b"run"),
            epoch=1,
            lease_ms=30_000,
            clearance=(),
            bundle=a_body(),
            weights=a_body(),
            weights_root=digest(b"weights"),
        )
        return msgspec.structs.replace(order, **changes)

    def signed_order(self, **changes: Any) -> bytes:
        return sign_document(self.coordinator, self.order(**changes))

    def bundle_items(self) -> dict[str, bytes]:
        return {
            "program": sign_payload(self.author, self.program),
            "plan": sign_document(self.author, self.plan),
            "graph/train": self.graph,
        }

    def bundle(self, **items: bytes) -> bytes:
        return encode(Bundle(items=self.bundle_items() | items))


@pytest.fixture(scope="session")
def world() -> World:
    authority = Authority.generate()
    return World(
        root=RootKey.generate(),
        authority=authority,
        registrar=authority.certify(Identity.generate("registrar", "registrar"), hosts=("localhost", "127.0.0.1")),
        coordinator=authority.certify(
            Identity.generate("coordinator", "coordinator"), hosts=("localhost", "127.0.0.1", "::1")
        ),
        author=Identity.generate("author", "ada"),
        agent=authority.certify(Identity.generate("agent", "hospital-1")),
        other_author=Identity.generate("author", "bob"),
    )
