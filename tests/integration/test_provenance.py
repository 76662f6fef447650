"""The provenance of a real run: what the trace says, and what a coordinator with its own key could show instead."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hospitals import settings
from sojourn.client import Provenance, ProvenanceBroken, trace
from sojourn.codec import Record, digest
from sojourn.contracts import Answer, Closure, Evaluation, Publication
from sojourn.crypto import Identity, create_trust
from sojourn.crypto.identity import read_root_public
from sojourn.datoms import BlockKind, from_safetensors, join_datoms, pack_list, split_datoms, to_safetensors, unpack

from .conftest import ROUNDS, Ended, Hospitals
from .exports import Items, forge, payload, read, write

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def items(undisturbed: Ended) -> Items:
    return read(undisturbed.export)


@pytest.fixture(scope="module")
def coordinator(hospitals: Hospitals) -> Identity:
    return Identity.load(hospitals.federation.state / "identity.key")


def refused(path: Path, root_key: bytes, **options: object) -> ProvenanceBroken:
    with pytest.raises(ProvenanceBroken) as caught:
        trace(path, root_key, **options)
    return caught.value


def test_a_trace_says_who_did_what(hospitals: Hospitals, undisturbed: Ended, root_key: bytes, items: Items) -> None:
    found = trace(undisturbed.export, root_key, model=undisturbed.model)
    assert (found.job, found.model) == (undisturbed.id, undisturbed.row["model"])
    assert (found.author, found.coordinator, found.purpose) == ("author", "coordinator", settings.PURPOSE)
    assert [link.round for link in found.rounds] == list(range(ROUNDS))
    assert [link.base for link in found.rounds] == [found.initial, *(link.model for link in found.rounds[:-1])]
    patients = {hospital.name: len(hospital) for hospital in hospitals.study.hospitals}
    for link, row in zip(found.rounds, undisturbed.row["table"], strict=True):
        assert set(link.participants) == set(patients)
        assert {part.agent: part.weight for part in link.contributions} == patients
        assert {part.agent: part.released["patients"] for part in link.contributions} == patients
        assert {(part.mechanism, part.claim) for part in link.contributions} == {("clip", "trusted-plan")}
        assert link.metrics == pytest.approx({"loss": row["loss"], "auc": row["auc"]})
        assert not link.recomputed
    signed = [name for name in items if name.endswith((".signed", ".entry"))]
    assert found.signatures == len(signed)
    assert found.ledger == items["ledger.jsonl"].count(b"\n")


def test_recomputing_gives_every_model_again(undisturbed: Ended, root_key: bytes) -> None:
    found = trace(undisturbed.export, root_key, model=undisturbed.model, recompute=True)
    assert all(link.recomputed for link in found.rounds)


def test_a_model_with_one_changed_tensor_is_named(undisturbed: Ended, root_key: bytes, tmp_path: Path) -> None:
    tensors, _ = from_safetensors(undisturbed.model.read_bytes())
    name = min(tensors)
    other = {**tensors, name: np.nextafter(tensors[name], np.float32(9.0))}
    (tmp_path / "mine.safetensors").write_bytes(to_safetensors(other, {}))
    problem = refused(undisturbed.export, root_key, model=tmp_path / "mine.safetensors")
    assert problem.item == "mine.safetensors"
    assert repr(name) in str(problem)
    (tmp_path / "fewer.safetensors").write_bytes(to_safetensors({name: tensors[name]}, {}))
    assert refused(undisturbed.export, root_key, model=tmp_path / "fewer.safetensors").item == "fewer.safetensors"
    (tmp_path / "none.safetensors").write_bytes(b"no model")
    assert refused(undisturbed.export, root_key, model=tmp_path / "none.safetensors").item == "none.safetensors"


def test_an_export_of_another_root_is_refused(undisturbed: Ended, tmp_path: Path) -> None:
    other = create_trust(tmp_path / "other")
    problem = refused(undisturbed.export, read_root_public(other.root_public))
    assert problem.item == "roster.signed"
    assert "root key" in str(problem)


# A coordinator has its key and may sign again what it signed. What others signed, it cannot.


def shown(items: Items, coordinator: Identity, path: Path, changes: dict[str, Record | bytes | None]) -> Path:
    return write(path / "shown.zip", forge(items, coordinator, changes))


def published(items: Items, number: int) -> Publication:
    return payload(Publication, items[f"rounds/{number}/publication.signed"])


def closed(items: Items, number: int) -> Closure:
    return payload(Closure, items[f"rounds/{number}/closure.signed"])


def test_signing_the_same_again_changes_nothing(
    items: Items, coordinator: Identity, undisturbed: Ended, root_key: bytes, tmp_path: Path
) -> None:
    path = shown(items, coordinator, tmp_path, {"rounds/1/closure.signed": closed(items, 1)})
    assert trace(path, root_key, recompute=True) == trace(undisturbed.export, root_key, recompute=True)


def test_a_coordinator_cannot_leave_an_answer_out(
    items: Items, coordinator: Identity, root_key: bytes, tmp_path: Path
) -> None:
    closure = closed(items, 1)
    left_out, _ = closure.answers[0]
    fewer = replace(closure, answers=closure.answers[1:])
    signed = forge(items, coordinator, {"rounds/1/closure.signed": fewer})["rounds/1/closure.signed"]
    publication = replace(published(items, 1), closure=digest(signed))
    changes = {"rounds/1/closure.signed": fewer, "rounds/1/publication.signed": publication}
    problem = refused(shown(items, coordinator, tmp_path, changes), root_key)
    assert problem.item == "rounds/1/closure.signed"  # the ledger has it

    gone = {
        f"rounds/1/{kind}/{left_out.hex()}.{end}": None for kind, end in (("answers", "signed"), ("updates", "stream"))
    }
    problem = refused(shown(items, coordinator, tmp_path, {**changes, **gone}), root_key)
    assert problem.item == "rounds/1/closure.signed"
    assert "quorum" in str(problem)


def test_a_coordinator_cannot_count_an_agent_twice(
    items: Items, coordinator: Identity, root_key: bytes, tmp_path: Path
) -> None:
    closure = closed(items, 0)
    twice = replace(closure, answers=(*closure.answers, closure.answers[0]))
    signed = forge(items, coordinator, {"rounds/0/closure.signed": twice})["rounds/0/closure.signed"]
    changes = {
        "rounds/0/closure.signed": twice,
        "rounds/0/publication.signed": replace(published(items, 0), closure=digest(signed)),
    }
    problem = refused(shown(items, coordinator, tmp_path, changes), root_key)
    assert (problem.item, "twice" in str(problem)) == ("rounds/0/closure.signed", True)


def test_a_coordinator_cannot_state_other_figures(
    items: Items, coordinator: Identity, root_key: bytes, tmp_path: Path
) -> None:
    last = ROUNDS - 1
    weight = replace(published(items, last), weight=1)
    problem = refused(shown(items, coordinator, tmp_path, {f"rounds/{last}/publication.signed": weight}), root_key)
    assert (problem.item, "weights" in str(problem)) == (f"rounds/{last}/publication.signed", True)
    policy = replace(published(items, last), policy={"name": "median"})
    problem = refused(shown(items, coordinator, tmp_path, {f"rounds/{last}/publication.signed": policy}), root_key)
    assert (problem.item, "policy" in str(problem)) == (f"rounds/{last}/publication.signed", True)
    evaluation = payload(Evaluation, items[f"rounds/{last}/evaluation.signed"])
    other = replace(evaluation, model=bytes(32))
    problem = refused(shown(items, coordinator, tmp_path, {f"rounds/{last}/evaluation.signed": other}), root_key)
    assert problem.item == f"rounds/{last}/evaluation.signed"


def test_a_model_that_the_updates_do_not_make_is_found_by_recomputing(
    items: Items, coordinator: Identity, root_key: bytes, tmp_path: Path
) -> None:
    """Without recomputing, a coordinator's word for the sum is taken; with it, the publication is named."""
    last = ROUNDS - 1
    tensors = unpack(split_datoms(items[f"models/{last}.stream"]), root=None)
    datoms, root = pack_list({name: tensor + np.float32(1.0) for name, tensor in tensors.items()}, BlockKind.WEIGHT)
    evaluation = payload(Evaluation, items[f"rounds/{last}/evaluation.signed"])
    changes = {
        f"rounds/{last}/publication.signed": replace(published(items, last), model=root),
        f"rounds/{last}/evaluation.signed": replace(evaluation, model=root),
        f"models/{last}.stream": join_datoms(datoms),
    }
    path = shown(items, coordinator, tmp_path, changes)
    assert isinstance(trace(path, root_key), Provenance)
    problem = refused(path, root_key, recompute=True)
    assert (problem.item, "recomputing" in str(problem)) == (f"rounds/{last}/publication.signed", True)


def test_a_coordinator_cannot_make_up_an_answer(
    items: Items, coordinator: Identity, root_key: bytes, tmp_path: Path
) -> None:
    """Signed by the coordinator instead of the agent, with everything else made to fit."""
    closure = closed(items, 0)
    key, _ = closure.answers[1]
    item = f"rounds/0/answers/{key.hex()}.signed"

    forged = forge(items, coordinator, {item: payload(Answer, items[item])})
    answers = tuple((k, digest(forged[item]) if k == key else value) for k, value in closure.answers)
    signed = forge(items, coordinator, {"rounds/0/closure.signed": replace(closure, answers=answers)})
    changes = {
        item: forged[item],
        "rounds/0/closure.signed": signed["rounds/0/closure.signed"],
        "rounds/0/publication.signed": replace(published(items, 0), closure=digest(signed["rounds/0/closure.signed"])),
    }
    problem = refused(shown(items, coordinator, tmp_path, changes), root_key)
    assert (problem.item, "not signed by agent" in str(problem)) == (item, True)
