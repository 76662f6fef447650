"""A federation in one process over real TLS: coordinator, operators' API and agents, with the sample's own job.

Nothing stands in for anything: the listeners, the links, the machine, the graphs and the stores are the product's.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import secrets
import time
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hospitals import job as sample
from hospitals import settings
from hospitals.baselines import initial_weights
from hospitals.graphs import load_plan
from sojourn.agent import Agent, AgentPaths, AgentStreams, Field
from sojourn.client.api import Operator
from sojourn.codec import digest, encode
from sojourn.contracts import SUITE_1, Bundle, Entry, Job, Plan
from sojourn.crypto import Authority, Identity, TrustedSet, create_trust, load_trusted_set, sign_document, sign_payload
from sojourn.datoms import BlockKind, join_datoms, pack_list, split_datoms, unpack
from sojourn.registrar import Enrolment
from sojourn.streams import StateFolder
from sojourn.vm import Program
from sojourn_coordinator.server import Address, Running, serve
from sojourn_coordinator.state import init_state, read_token

HOUR_MS = 3_600_000
FEATURES = 30
PATIENCE_S = 20.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def rows_of(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ordinary patients: x float32 [count, 30] in -1..1, y 0 or 1 by a noisy plane, which a model can learn."""
    draw = np.random.default_rng(seed)
    plane = np.random.default_rng(99).normal(size=FEATURES)
    x = draw.uniform(-1.0, 1.0, size=(count, FEATURES))
    y = (x @ plane + draw.normal(scale=0.5, size=count) > 0).astype(np.float32)
    return x.astype(np.float32), y


class Trust:
    """The parties of one federation and their keys."""

    def __init__(self, directory: Path) -> None:
        self.layout = create_trust(directory)
        self.directory = directory
        self.author = Identity.load(self.layout.author / "identity.key")
        self.coordinator = Identity.load(self.layout.coordinator / "identity.key")
        self.registrar = Identity.load(self.layout.registrar / "identity.key")
        self.authority = Authority.load(self.layout.registrar / "authority.key")
        self.ca = directory / "ca.pem"
        certificate = x509.load_der_x509_certificate(self.authority.certificate)
        self.ca.write_bytes(certificate.public_bytes(Encoding.PEM))
        self._made: dict[str, tuple[Identity, Entry, bytes]] = {}

    def trusted(self) -> TrustedSet:
        return load_trusted_set(self.layout.root)

    def agent(self, name: str) -> tuple[Identity, Entry, bytes]:
        """Identity, entry and registrar-signed entry of an agent, made once for each name."""
        if name not in self._made:
            identity = self.authority.certify(Identity.generate("agent", name))
            now = now_ms()
            entry = identity.entry(now - 1000, now + 24 * HOUR_MS)
            self._made[name] = (identity, entry, sign_document(self.registrar, entry))
        return self._made[name]

    def enrol(self, folder: Path, name: str) -> Entry:
        """Leave a state folder as `sojourn-agent enrol` leaves it."""
        identity, entry, signed = self.agent(name)
        trusted = self.trusted()
        with StateFolder.open(folder, "agent") as state:
            identity.save(AgentPaths(state.path).identity)
            Enrolment(identity, entry, signed, trusted.roster_bytes, trusted.root_key).save(state.path)
        return entry


@dataclass(frozen=True, slots=True)
class Submission:
    """A signed submission and what stands in it."""

    data: bytes
    job: Job
    plan: Plan
    program: Program

    @property
    def plan_digest(self) -> str:
        return digest(encode(self.plan)).hex()


def submission(
    author: Identity,
    *,
    plan: tuple[Plan, dict[str, bytes]] | None = None,
    program: Program | None = None,
    args: Mapping[str, Any] | None = None,
    phase: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Submission:
    """Sample 01's job with two rounds, fewer passes and one agent unless told otherwise, and no held-out data.

    Args:
        author: signs.
        plan: manifest and graphs; the sample's own by default.
        program: the sample's own by default.
        args: over the job's args.
        phase: changes of the one phase.
        changes: of the job.
    """
    chosen, graphs = plan or load_plan()
    compiled = program or sample.compiled()
    datoms, root = pack_list(initial_weights(), BlockKind.WEIGHT)
    (only,) = sample.phases()
    (wanted,) = (msgspec.structs.replace(only, **{"quorum": 1, "deadline_ms": 20_000, **(phase or {})}),)
    now = now_ms()
    fields: dict[str, Any] = {
        "suite": SUITE_1,
        "name": "trial",
        "purpose": settings.PURPOSE,
        "program": compiled.digest,
        "rounds": compiled.digest,
        "rounds_entry": "rounds",
        "plan": digest(encode(chosen)),
        "initial": root,
        "heldout": b"",
        "policy": {"name": "fedavg"},
        "args": {
            "epochs": 2,
            "size": settings.BATCH,
            "fuel": settings.REGION_FUEL,
            "memory": settings.REGION_MEMORY,
            "rounds": 2,
            **(args or {}),
        },
        "phases": (wanted,),
        "participants": 1,
        "fuel": settings.JOB_FUEL,
        "memory": settings.JOB_MEMORY,
        "issued_ms": now,
        "expires_ms": now + HOUR_MS,
        "nonce": secrets.token_bytes(16),
    }
    job = Job(**(fields | changes))
    signed = sign_document(author, compiled)
    items = {
        "job": sign_payload(author, encode(job)),  # also where no honest author would
        "program": signed,
        "rounds": signed,
        "plan": sign_document(author, chosen),
        "initial": join_datoms(datoms),
        **{f"graph/{name}": data for name, data in graphs.items()},
    }
    return Submission(encode(Bundle(items)), job, chosen, compiled)


@dataclass
class Trial:
    """One coordinator's state, and agents' state folders, under one folder."""

    trust: Trust
    folder: Path
    state: Path = field(init=False)
    names: itertools.count = field(default_factory=itertools.count, init=False)

    def __post_init__(self) -> None:
        self.state = self.folder / "coordinator"
        init_state(self.state, self.trust.directory)

    def close(self) -> None:
        """Nothing stays open between tests: servers and agents are contexts."""

    def policy(self, given: Submission, name: str) -> str:
        """The sample's policy file for this submission's author, program and plan."""
        return sample.policy_toml(self.trust.author.key.hex(), given.plan_digest, name, given.program.digest.hex())

    def agent(
        self,
        given: Submission,
        columns: Mapping[str, np.ndarray] | None = None,
        *,
        name: str | None = None,
        policy: str | None = None,
    ) -> Path:
        """An enrolled agent's state folder with rows and a policy."""
        called = name or f"hospital-{next(self.names)}"
        folder = self.folder / called
        self.trust.enrol(folder, called)
        (folder / "policy.toml").write_text(policy or self.policy(given, called), encoding="utf-8")
        x, y = rows_of(20, 1)
        rows = {"x": x, "y": y} if columns is None else dict(columns)
        streams = AgentStreams(AgentPaths(folder).streams)
        fields = {key: Field("f32", array.shape[1:]) for key, array in rows.items()}
        streams.create(settings.STREAM, fields)
        streams.append(settings.STREAM, rows)
        streams.close()
        return folder

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Serving]:
        """The coordinator and its two listeners, in this process."""
        address = Address("127.0.0.1", 0)
        async with serve(self.state, address, address) as running:
            url = f"https://127.0.0.1:{running.operators}"
            operator = Operator(url, read_token(self.state), self.trust.ca)
            try:
                yield Serving(running, operator, f"wss://127.0.0.1:{running.agents}")
            finally:
                operator.close()


@dataclass(frozen=True, slots=True)
class Serving:
    """A coordinator that serves, and an operator that talks to it over HTTPS."""

    running: Running
    operator: Operator
    url: str
    working: list[asyncio.Task[None]] = field(default_factory=list)  # agents of this process

    async def submit(self, data: bytes) -> str:
        return await asyncio.to_thread(self.operator.submit, data)

    async def jobs(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.operator.jobs)

    async def ended(self, job: str, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """The job's view once it has ended."""
        async with asyncio.timeout(seconds):
            while (found := await asyncio.to_thread(self.operator.job, job))["state"] == "running":
                await asyncio.sleep(0.02)
                for agent in self.working:
                    if agent.done():
                        agent.result()  # an agent that broke is not waited for
        return found

    async def ledger(self, job: str) -> list[dict[str, Any]]:
        """The job's ledger, out of a provenance export."""
        with zipfile.ZipFile(io.BytesIO(await self.export(job))) as archive:
            return [json.loads(line) for line in archive.read("ledger.jsonl").splitlines()]

    async def model(self, job: str, number: int) -> dict[str, np.ndarray]:
        """The model that a round published."""
        joined, root = await asyncio.to_thread(self.operator.model, job, number)
        return unpack(split_datoms(joined), root=bytes.fromhex(root))

    async def export(self, job: str) -> bytes:
        response = await asyncio.to_thread(self.operator._request, "GET", f"/v1/jobs/{job}/export")
        return response.content

    @contextlib.asynccontextmanager
    async def agents(self, *folders: Path) -> AsyncIterator[list[Agent]]:
        """Agents on these state folders, connected to this coordinator, in this process."""
        with contextlib.ExitStack() as closing:
            agents = [closing.enter_context(Agent(folder, self.url)) for folder in folders]
            tasks = [asyncio.create_task(agent.run()) for agent in agents]
            self.working.extend(tasks)
            try:
                yield agents
            finally:
                for task in tasks:
                    self.working.remove(task)
                    task.cancel()
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(result, Exception):
                        raise result


def owner_log(folder: Path) -> list[dict[str, Any]]:
    """The owner's log of an agent, line by line."""
    return [json.loads(line) for line in (folder / "owner.log").read_text(encoding="utf-8").splitlines()]


async def run_job(trial: Trial, given: Submission, *folders: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Submit, run to the end with these agents; the job's view and its ledger."""
    async with trial.serving() as serving, serving.agents(*folders):
        job = await serving.submit(given.data)
        view = await serving.ended(job)
        return view, await serving.ledger(job)
