"""Where a model comes from: verify a provenance export against the root key alone.

An export is a zip of exact signed bytes. The walk starts at the initial model and goes forward: job, programs and plan
by the author's signature; per round the orders, the agents' answers, the closure that froze them, the update streams
and the publication that chains one model to the next. Nothing in the export is trusted because it is in the export:
a document counts by its signature under the roster that the root key signed, a stream by its seal root in a signed
statement. The first item that does not hold is named in `ProvenanceBroken`.

With `recompute`, the aggregation is done again from the recorded updates and every model's root must come out.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sojourn.client.policies import aggregate
from sojourn.codec import decode, digest
from sojourn.contracts import (
    Answer,
    Closure,
    Entry,
    Evaluation,
    Job,
    Order,
    Phase,
    Plan,
    Publication,
    Roster,
    Signed,
    UpdateSpec,
)
from sojourn.crypto.trust import TrustedSet, Verified
from sojourn.datoms import UpdateReader, from_safetensors, split_datoms, unpack
from sojourn.errors import ContributionRefused, DecodeError, PeerError, TrustError

__all__ = ["Contribution", "Provenance", "ProvenanceBroken", "RoundTrace", "trace"]


class ProvenanceBroken(PeerError):
    """An item of the export does not hold.

    Attributes:
        item: name of the item inside the export.
    """

    code = "provenance_broken"

    def __init__(self, item: str, why: str) -> None:
        self.item = item
        super().__init__(f"{item}: {why}")


@dataclass(frozen=True, slots=True)
class Contribution:
    """One agent's verified part in one round."""

    agent: str
    key: str
    mechanism: str
    claim: str
    weight: int
    update: str  # seal root
    policy: str  # digest of the owner's policy
    released: dict[str, float]


@dataclass(frozen=True, slots=True)
class RoundTrace:
    """One verified link of the chain."""

    round: int
    base: str
    model: str
    participants: tuple[str, ...]
    contributions: tuple[Contribution, ...]
    metrics: dict[str, float]
    recomputed: bool


@dataclass(frozen=True, slots=True)
class Provenance:
    """The whole verified chain of one job."""

    job: str
    name: str
    purpose: str
    author: str
    coordinator: str
    roster_version: int
    programs: dict[str, str]
    plan: str
    initial: str
    model: str
    rounds: tuple[RoundTrace, ...]
    signatures: int
    policy: dict[str, Any] = field(default_factory=dict)


def trace(export: Path, root_key: bytes, *, model: Path | None = None, recompute: bool = False) -> Provenance:
    """Verify an export from the initial model to the final one.

    Args:
        export: the zip that `GET /v1/jobs/{id}/export` gave.
        root_key: the root's Ed25519 public key, 32 bytes.
        model: a safetensors file that must hold exactly the final model's tensors.
        recompute: derive every model again from the recorded updates.

    Raises:
        ProvenanceBroken: names the item that does not hold.
    """
    return _Walk(_Items(export), root_key, recompute=recompute).run(model)


class _Items:
    """The export's items by name; a damaged one is named."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
        except (zipfile.BadZipFile, OSError) as problem:
            raise ProvenanceBroken(path.name, f"not a readable export: {problem}") from None
        self.names = frozenset(self._zip.namelist())

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except KeyError:
            raise ProvenanceBroken(name, "is missing from the export") from None
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError) as problem:
            raise ProvenanceBroken(name, f"damaged: {problem}") from None

    def under(self, prefix: str) -> list[str]:
        return sorted(name for name in self.names if name.startswith(prefix))


@contextmanager
def _naming(item: str) -> Iterator[None]:
    try:
        yield
    except ProvenanceBroken:
        raise
    except (TrustError, DecodeError, ContributionRefused) as problem:
        raise ProvenanceBroken(item, str(problem)) from problem


def _must(item: str, holds: bool, why: str) -> None:
    if not holds:
        raise ProvenanceBroken(item, why)


class _Walk:
    def __init__(self, items: _Items, root_key: bytes, *, recompute: bool) -> None:
        self.items, self.recompute = items, recompute
        self.signatures = 0
        self.trusted = TrustedSet(root_key)
        with _naming("roster.signed"):
            data = items["roster.signed"]
            # The export is judged as of the roster's own time: expiry since then does not unmake what was done.
            stated = decode(Roster, decode(Signed, data).payload)
            self.now = stated.issued_ms
            self.trusted.load_roster(data, self.now)
            self.roster = stated
            self.signatures += 1
        self.agents: dict[bytes, Entry] = {}

    def run(self, model: Path | None) -> Provenance:
        job = self._job()
        plan = self._plan(job)
        self._programs(job)
        base_root = job.value.initial
        tensors = self._stream("models/initial.stream", base_root)
        rounds: list[RoundTrace] = []
        count = self._round_count()
        for number in range(count):
            link, tensors = self._round(number, job, plan, base_root, tensors)
            base_root = bytes.fromhex(link.model)
            rounds.append(link)
        final = f"models/{count - 1}.stream" if count else "models/initial.stream"
        tensors = self._stream(final, base_root)
        if model is not None:
            self._same_model(model, tensors)
        coordinator = next(e.name for e in self.roster.entries if e.role == "coordinator")
        return Provenance(
            job=job.digest.hex(),
            name=job.value.name,
            purpose=job.value.purpose,
            author=job.signer.name,
            coordinator=coordinator,
            roster_version=self.roster.version,
            programs={"agent": job.value.program.hex(), "rounds": job.value.rounds.hex()},
            plan=job.value.plan.hex(),
            initial=job.value.initial.hex(),
            model=base_root.hex(),
            rounds=tuple(rounds),
            signatures=self.signatures,
            policy=dict(job.value.policy),
        )

    def _job(self) -> Verified[Job]:
        with _naming("job.signed"):
            data = self.items["job.signed"]
            stated = decode(Job, decode(Signed, data).payload)
            job = self.trusted.verify_job(data, max(self.now, stated.issued_ms))
            self.signatures += 1
        return job

    def _plan(self, job: Verified[Job]) -> Plan:
        with _naming("plan.signed"):
            data = self.items["plan.signed"]
            plan = self.trusted.verify_plan(data, job.signer)
            _must("plan.signed", digest(decode(Signed, data).payload) == job.value.plan, "is not the job's plan")
            self.signatures += 1
        for graph in plan.graphs:
            item = f"graph/{graph.name}"
            _must(item, digest(self.items[item]) == graph.digest, "is not the graph that the plan pins")
        return plan

    def _programs(self, job: Verified[Job]) -> None:
        for item, wanted in (("program.signed", job.value.program), ("rounds.signed", job.value.rounds)):
            with _naming(item):
                program = self.trusted.verify_program(self.items[item], job.signer)
                _must(item, digest(program) == wanted, "is not the program that the job names")
                self.signatures += 1

    def _round_count(self) -> int:
        rounds = {name.split("/")[1] for name in self.items.names if name.startswith("rounds/")}
        for number in range(len(rounds)):
            _must(f"rounds/{number}", str(number) in rounds, "is missing from the export")
        return len(rounds)

    def _stream(self, item: str, root: bytes) -> dict[str, np.ndarray[Any, Any]]:
        with _naming(item):
            return unpack(split_datoms(self.items[item]), root=root)

    def _round(
        self, number: int, job: Verified[Job], plan: Plan, base: bytes, tensors: Mapping[str, np.ndarray[Any, Any]]
    ) -> tuple[RoundTrace, dict[str, np.ndarray[Any, Any]]]:
        folder = f"rounds/{number}"
        item = f"{folder}/closure.signed"
        with _naming(item):
            closure_data = self.items[item]
            closure: Closure = self.trusted.verify_closure(closure_data).value
            _must(item, closure.job == job.digest and closure.round == number, "belongs to another job or round")
            self.signatures += 1
        phase = self._phase(item, job.value, closure.phase)
        spec = next((r.update for r in phase.answer if r.kind == "update" and r.update is not None), None)
        _must("job.signed", spec is not None, "its phase has no update to fold")
        contributions, updates = [], []
        for key, answer_digest in closure.answers:
            _must(item, key in closure.participants, "counts an answer of an agent that was not invited")
            part, update = self._contribution(folder, number, job, key, answer_digest, base, spec, tensors)
            contributions.append(part)
            updates.append(update)
        publication = self._publication(folder, number, job, base, closure_data, sum(c.weight for c in contributions))
        done: dict[str, np.ndarray[Any, Any]] = {}
        if self.recompute and spec is not None:
            done, root = aggregate(job.value.policy, tensors, spec, updates)
            item = f"{folder}/publication.signed"
            _must(item, root == publication.model, "recomputing from the recorded updates gives another model")
        names = tuple(self._agent(key).name for key in closure.participants)
        link = RoundTrace(
            number,
            base.hex(),
            publication.model.hex(),
            names,
            tuple(contributions),
            self._metrics(folder, number, job, publication.model),
            self.recompute,
        )
        return link, done or dict(tensors)

    def _contribution(
        self,
        folder: str,
        number: int,
        job: Verified[Job],
        key: bytes,
        answer_digest: bytes,
        base: bytes,
        spec: UpdateSpec | None,
        tensors: Mapping[str, np.ndarray[Any, Any]],
    ) -> tuple[Contribution, list[memoryview]]:
        agent = self._agent(key)
        order_item, answer_item = f"{folder}/orders/{key.hex()}.signed", f"{folder}/answers/{key.hex()}.signed"
        order_data = self.items[order_item]
        with _naming(order_item):
            stated = decode(Order, decode(Signed, order_data).payload)
            order = self.trusted.verify_order(order_data, agent, max(self.now, stated.issued_ms)).order
            self.signatures += 1
            _must(order_item, digest(order.job) == job.digest, "carries another job")
            _must(order_item, order.round == number and order.weights_root == base, "starts from another model")
        with _naming(answer_item):
            data = self.items[answer_item]
            _must(answer_item, digest(data) == answer_digest, "is not the answer that the closure counts")
            answer: Answer = self.trusted.verify_answer(data, agent, order_data).value
            self.signatures += 1
            same = (answer.order, answer.job, answer.program, answer.plan, answer.run, answer.weights_root)
            want = (digest(order_data), job.digest, order.program, order.plan, order.run, base)
            _must(answer_item, same == want, "does not answer this order")
        update = next((r for r in answer.releases if r.kind == "update"), None)
        if update is None or spec is None:
            raise ProvenanceBroken(answer_item, "holds no update")
        item = f"{folder}/updates/{key.hex()}.stream"
        with _naming(item):
            datoms = list(split_datoms(self.items[item]))
            shapes = {name: tuple(t.shape) for name, t in tensors.items()}
            reader = UpdateReader(shapes, spec)
            for datom in datoms:
                reader.feed(datom)
            weight, root = reader.finish()
            _must(item, root == update.root, "is not the stream that the agent signed")
        released = {r.name: r.value for r in answer.releases if r.value is not None}
        part = Contribution(
            agent.name, key.hex(), update.mechanism, update.claim, weight, root.hex(), update.policy.hex(), released
        )
        return part, datoms

    def _publication(
        self, folder: str, number: int, job: Verified[Job], base: bytes, closure: bytes, weight: int
    ) -> Publication:
        item = f"{folder}/publication.signed"
        with _naming(item):
            publication: Publication = self.trusted.verify_publication(self.items[item]).value
            self.signatures += 1
            _must(item, publication.job == job.digest and publication.round == number, "belongs to another round")
            _must(item, publication.base == base, "does not start from the model before")
            _must(item, publication.closure == digest(closure), "was folded from another closure")
            _must(item, publication.weight == weight, "states another sum of weights than its updates have")
            _must(item, dict(publication.policy) == dict(job.value.policy), "was folded under another policy")
        return publication

    def _metrics(self, folder: str, number: int, job: Verified[Job], model: bytes) -> dict[str, float]:
        item = f"{folder}/evaluation.signed"
        if item not in self.items.names:
            return {}
        with _naming(item):
            evaluation: Evaluation = self.trusted.verify_evaluation(self.items[item]).value
            self.signatures += 1
            same = (evaluation.job, evaluation.round, evaluation.model, evaluation.heldout)
            _must(item, same == (job.digest, number, model, job.value.heldout), "evaluates another model")
        return dict(evaluation.metrics)

    def _agent(self, key: bytes) -> Entry:
        """An agent's entry, verified when first needed: the walk goes forward, and time never goes back."""
        if key not in self.agents:
            item = f"agents/{key.hex()}.entry"
            with _naming(item):
                signed = self.items[item]
                stated = decode(Entry, decode(Signed, signed).payload)
                entry = self.trusted.verify_agent(signed, max(self.now, stated.issued_ms))
                _must(item, entry.key == key, "is the entry of another agent")
                self.agents[key] = entry
                self.signatures += 1
        return self.agents[key]

    def _phase(self, item: str, job: Job, name: str) -> Phase:
        found = next((p for p in job.phases if p.name == name), None)
        if found is None:
            raise ProvenanceBroken(item, f"closes phase {name!r}, which the job does not have")
        return found

    def _same_model(self, path: Path, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
        try:
            found, _ = from_safetensors(path.read_bytes())
        except (OSError, DecodeError) as problem:
            raise ProvenanceBroken(path.name, f"not a readable model: {problem}") from None
        same = found.keys() == tensors.keys() and all(
            found[n].dtype == t.dtype and found[n].shape == t.shape and found[n].tobytes() == t.tobytes()
            for n, t in tensors.items()
        )
        _must(path.name, same, "is not the final model of this export")
