"""The walk from the initial model to the final one, and over the surveys on the way."""

from __future__ import annotations

from pathlib import Path

from sojourn.client.provenance.archive import Archive, must, naming
from sojourn.client.provenance.documents import Documents
from sojourn.client.provenance.ledger import read_ledger
from sojourn.client.provenance.missed import ending_of, missed_phases
from sojourn.client.provenance.phases import Phases
from sojourn.client.provenance.results import Provenance, RoundTrace, SurveyTrace
from sojourn.client.provenance.rounds import Rounds, Tensors
from sojourn.client.provenance.surveys import Surveys
from sojourn.contracts import Plan
from sojourn.datoms import from_safetensors, split_datoms, unpack
from sojourn.errors import DecodeError, ProvenanceBroken

__all__ = ["trace"]


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
    with Archive(export) as archive:
        found, tensors = _walk(archive, root_key, recompute=recompute)
    if model is not None:
        _same_model(model, tensors)
    return found


def _walk(archive: Archive, root_key: bytes, *, recompute: bool) -> tuple[Provenance, Tensors]:
    documents = Documents(archive, root_key)
    job = documents.job()
    plan = documents.plan(job)
    documents.programs(job)
    ledger = read_ledger(archive, documents, job)
    root = job.value.initial
    tensors = _stream(archive, "models/initial.stream", root)
    if job.value.heldout:
        _stream(archive, "heldout.stream", job.value.heldout)
    links, asked, tensors = _follow(Phases(archive, documents, ledger, job), plan, tensors, recompute=recompute)
    if links:
        root = bytes.fromhex(links[-1].model)
        tensors = _stream(archive, f"models/{links[-1].round}.stream", root)
    missed = tuple(missed_phases(archive, documents, ledger, job.value))
    state, ending = ending_of(ledger)
    archive.finish()
    found = Provenance(
        job=job.digest.hex(),
        name=job.value.name,
        purpose=job.value.purpose,
        author=job.signer.name,
        coordinator=ledger.coordinator.name,
        roster_version=documents.roster.version,
        programs={"agent": job.value.program.hex(), "rounds": job.value.rounds.hex()},
        plan=job.value.plan.hex(),
        initial=job.value.initial.hex(),
        model=root.hex(),
        rounds=tuple(links),
        surveys=tuple(asked),
        missed=missed,
        state=state,
        ending=ending,
        signatures=documents.signatures,
        ledger=len(ledger.entries),
        policy=dict(job.value.policy),
    )
    return found, tensors


def _follow(
    phases: Phases, plan: Plan, tensors: Tensors, *, recompute: bool
) -> tuple[list[RoundTrace], list[SurveyTrace], Tensors]:
    """Rounds and surveys in the ledger's order, so that time does not go back."""
    rounds, surveys = Rounds(phases, plan, recompute), Surveys(phases)
    links: list[RoundTrace] = []
    asked: list[SurveyTrace] = []
    root = phases.job.value.initial
    models = {root}
    numbers = {entry.sequence: number for number, entry in phases.ledger.published}
    steps = [entry for _, entry in phases.ledger.published] + list(surveys.recorded())
    for entry in sorted(steps, key=lambda entry: entry.sequence):
        if entry.sequence in numbers:
            link, tensors = rounds.follow(numbers[entry.sequence], entry.subject, root, tensors)
            links.append(link)
            root = bytes.fromhex(link.model)
            models.add(root)
        else:
            asked.append(surveys.verify(len(asked), entry, frozenset(models)))
    return links, asked, tensors


def _stream(archive: Archive, item: str, root: bytes) -> Tensors:
    with naming(item):
        return unpack(split_datoms(archive[item]), root=root)


def _same_model(path: Path, tensors: Tensors) -> None:
    try:
        found, _ = from_safetensors(path.read_bytes())
    except (OSError, DecodeError) as problem:
        raise ProvenanceBroken(path.name, f"is not a readable model: {problem}") from None
    must(path.name, found.keys() == tensors.keys(), "does not have the tensors of the export's final model")
    for name, tensor in tensors.items():
        other = found[name]
        same = (other.dtype, other.shape) == (tensor.dtype, tensor.shape) and other.tobytes() == tensor.tobytes()
        must(path.name, same, f"tensor {name!r} is not the one of the export's final model")
