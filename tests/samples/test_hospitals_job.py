"""The submission verifies and names what it holds; a hospital's policy admits exactly it; the program learns."""

from __future__ import annotations

import tomllib

import msgspec
import numpy as np
import pytest
from hospitals import baselines, data, job, settings
from sojourn.codec import decode, digest, encode
from sojourn.contracts import SUITE_1, BodyRef, Bundle, Job, Order, Signed
from sojourn.crypto import Identity, create_trust, load_trusted_set
from sojourn.crypto.trust import VerifiedBundle, VerifiedOrder
from sojourn.datoms import check_spec, split_datoms, unpack
from sojourn.errors import AdmissionRefused, TrustError
from sojourn.privacy.guard import decide
from sojourn.privacy.policy import OwnerPolicy
from sojourn.vm import verify

NOW = 1_800_000_000_000


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    return create_trust(tmp_path_factory.mktemp("trust") / "t", at_ms=NOW)


@pytest.fixture(scope="module")
def author(trust):
    return Identity.load(trust.author / "identity.key")


@pytest.fixture(scope="module")
def submitted(author):
    return job.build_submission(author, 0, NOW)


@pytest.fixture
def trusted(trust):
    return load_trusted_set(trust.coordinator, at_ms=NOW)


def test_the_submission_verifies_and_its_streams_have_their_roots(submitted, trusted):
    data_, info = submitted
    found = trusted.verify_submission(data_, NOW + 1)
    stated = found.job.value
    assert (found.job.digest, stated.plan, stated.program) == (info.job, info.plan_digest, info.program_digest)
    assert set(found.graphs) == {"train", "evaluate"}
    initial = unpack(split_datoms(found.initial), root=stated.initial)
    assert {name: tensor.shape for name, tensor in initial.items()} == {"b": (1,), "w": (30, 1)}
    heldout = unpack(split_datoms(found.heldout), root=stated.heldout)
    study = data.load(0)
    np.testing.assert_array_equal(heldout["x"], study.held_out.x)
    np.testing.assert_array_equal(heldout["y"], study.held_out.y)
    assert info.steps_by_hospital == tuple(baselines.steps_of_round(hospital) for hospital in study.hospitals)
    assert info.rounds * sum(info.steps_by_hospital) == baselines.total_steps(study)


def test_the_job_says_what_the_issue_asks(submitted, trusted):
    stated = trusted.verify_submission(submitted[0], NOW + 1).job.value
    assert stated.policy == {"name": "fedavg"}
    assert stated.participants == 5
    assert stated.args["rounds"] >= 10
    (phase,) = stated.phases
    assert (phase.name, phase.entry, phase.quorum, phase.deadline_ms) == ("train", "hospital", 4, 60_000)
    assert [(spec.kind, spec.name) for spec in phase.answer] == [
        ("update", "update"),
        ("count", "patients"),
        ("mean", "loss"),
    ]
    check_spec(phase.answer[0].update)


def test_private_rows_are_not_in_the_submission(submitted):
    study = data.load(0)
    for hospital in study.hospitals:
        for row in hospital.x:
            assert row[:4].tobytes() not in submitted[0]
    assert study.held_out.x[0].tobytes() in submitted[0]  # the check above would find a row


def test_an_altered_job_is_refused(submitted, trusted, author):
    items = dict(decode(Bundle, submitted[0]).items)
    signed = decode(Signed, items["job"])
    altered = msgspec.structs.replace(decode(Job, signed.payload), fuel=settings.JOB_FUEL + 1)
    items["job"] = encode(msgspec.structs.replace(signed, payload=encode(altered)))
    with pytest.raises(TrustError):
        trusted.verify_submission(encode(Bundle(items)), NOW + 1)


def test_two_submissions_of_one_seed_are_two_jobs_about_the_same_things(author, submitted):
    other, info = job.build_submission(author, 0, NOW)
    assert info.job != submitted[1].job
    assert (info.plan_digest, info.heldout_root) == (submitted[1].plan_digest, submitted[1].heldout_root)
    assert len(other) == len(submitted[0])


def test_the_policy_parses_and_pins(submitted, author):
    info = submitted[1]
    text = job.policy_toml(author.key.hex(), info.plan_digest.hex(), "hospital-1")
    policy = OwnerPolicy.parse(text.encode(), "policy.toml")
    (rule,) = policy.admit
    assert policy.owner == "hospital-1"
    assert rule.authors == (author.key.hex(),)
    assert rule.plans == (f"sha256:{info.plan_digest.hex()}",)
    assert rule.programs == (f"sha256:{info.program_digest.hex()}",)
    assert dict(rule.streams) == {"patients": ("x", "y")}
    assert tomllib.loads(text)["version"] == 1
    assert policy.digest == digest(text.encode())


def test_the_policy_is_as_wide_as_the_job_and_no_wider(submitted, author):
    policy = OwnerPolicy.parse(job.policy_toml(author.key.hex(), "00" * 32, "h").encode(), "policy.toml")
    (rule,), (phase,) = policy.admit, job.phases()
    assert set(rule.effects) == verify(encode(job.compiled())).effects("hospital")
    assert (rule.max_fuel, rule.max_memory) == (settings.JOB_FUEL, settings.JOB_MEMORY)
    update, count, mean = rule.release
    assert (update.max_clip, update.max_weight) == (phase.answer[0].update.clip, phase.answer[0].update.max_weight)
    assert (count.name, count.high) == ("patients", phase.answer[1].high)
    assert (mean.name, mean.low, mean.high) == ("loss", phase.answer[2].low, phase.answer[2].high)


def test_the_programs_have_the_entries_and_effects_of_the_design():
    verified = verify(encode(job.compiled()))
    assert set(verified.entries) == {"hospital", "rounds"}
    assert verified.effects("hospital") == {
        "stream.open",
        "stream.first",
        "stream.batch",
        "gpu.run",
        "release.update",
        "release.count",
        "release.mean",
    }
    assert verified.effects("rounds") == {"fleet.invite", "fleet.ask", "updates.aggregate", "model.publish"}


def ordered(found, round_: int = 0) -> tuple[VerifiedOrder, VerifiedBundle]:
    """What an agent holds once a coordinator's order for this submission has verified."""
    stated, body = found.job.value, BodyRef(bytes(32), 2, bytes(32), 1)
    order = Order(
        suite=SUITE_1, coordinator=bytes(32), recipient=bytes(32), sequence=1, issued_ms=NOW, expires_ms=NOW + 1000,
        deadline_ms=1000, job=found.job.data, program=stated.program, plan=stated.plan, phase="train", round=round_,
        run=bytes(32), epoch=0, lease_ms=1000, clearance=(), bundle=body, weights=body, weights_root=stated.initial,
    )  # fmt: skip
    verified = VerifiedOrder(order, bytes(32), b"", found.job.signer, found.job, found.job.signer, stated.phases[0])
    return verified, VerifiedBundle(found.program.value, found.plan.value, stated.plan, found.graphs)


def test_the_guard_admits_this_job_under_this_policy(submitted, trusted, author):
    found = trusted.verify_submission(submitted[0], NOW + 1)
    order, bundle = ordered(found)
    text = job.policy_toml(author.key.hex(), submitted[1].plan_digest.hex(), "hospital-1")
    admission = decide(OwnerPolicy.parse(text.encode(), "policy.toml"), order, bundle, verify(bundle.program_bytes))
    admission.check_open("patients", ["x", "y"])
    admission.check_release("update", "update", {}, position=0)
    admission.check_release("count", "patients", {"high": 1000}, position=1)
    admission.check_release("mean", "loss", {"low": 0.0, "high": 10.0}, position=2)


@pytest.mark.parametrize("pin", ["author", "plan", "program"])
def test_the_guard_refuses_what_the_policy_does_not_pin(submitted, trusted, author, pin):
    order, bundle = ordered(trusted.verify_submission(submitted[0], NOW + 1))
    pins = {"author": author.key.hex(), "plan": submitted[1].plan_digest.hex(), "program": None, pin: "00" * 32}
    text = job.policy_toml(pins["author"], pins["plan"], "hospital-1", pins["program"])
    with pytest.raises(AdmissionRefused, match=pin):
        decide(OwnerPolicy.parse(text.encode(), "policy.toml"), order, bundle, verify(bundle.program_bytes))
