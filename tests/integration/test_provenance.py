"""The provenance of a real run: what the trace says, and what it says of somebody else's model, root or author."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hospitals import settings
from sojourn.client import ProvenanceBroken, trace
from sojourn.contracts import Job, Plan
from sojourn.crypto import create_trust, sign_document
from sojourn.crypto.identity import read_root_public
from sojourn.datoms import from_safetensors, to_safetensors
from sojourn.vm import compile_source
from sojourn_policies.packaged import packaged_rounds

from .conftest import ROUNDS, Ended, Hospitals
from .exports import Items, payload, read, write

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def items(undisturbed: Ended) -> Items:
    return read(undisturbed.export)


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


@pytest.mark.parametrize("item", ["job.signed", "plan.signed", "program.signed", "rounds.signed"])
def test_what_the_same_author_signed_for_something_else_is_refused(
    hospitals: Hospitals, items: Items, root_key: bytes, tmp_path: Path, item: str
) -> None:
    author = hospitals.federation.author
    plan = payload(Plan, items["plan.signed"])
    others = {
        "job.signed": replace(payload(Job, items["job.signed"]), args={"rounds": 1}),
        "plan.signed": replace(plan, constants={**plan.constants, "rate": 9.0}),
        "program.signed": compile_source(*packaged_rounds()),
    }
    signed = sign_document(author, others[item.replace("rounds", "program")])
    problem = refused(write(tmp_path / "other.zip", {**items, item: signed}), root_key)
    assert problem.item == ("ledger.signed" if item == "job.signed" else item)
