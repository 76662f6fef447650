"""A drafted policy parses, admits its submission under the real guard, and nothing that is wider."""

from __future__ import annotations

import dataclasses
import tomllib

import pytest
from sojourn.client import build_submission, policy_for
from sojourn.client.drafts import PolicyTerms, policy_text
from sojourn.client.submission import count, mean, phase, total
from sojourn.codec import encode
from sojourn.contracts import SUITE_1, BodyRef, Bundle, Order
from sojourn.crypto import Identity, TrustedSet, create_trust, load_trusted_set
from sojourn.crypto.trust import VerifiedBundle, VerifiedOrder
from sojourn.errors import AdmissionRefused, DecodeError, UsageError
from sojourn.privacy.guard import decide
from sojourn.privacy.policy import OwnerPolicy
from sojourn.vm import verify

NOW = 1_800_000_000_000

SOURCE = """
from sojourn.program import continuation, fleet, private, release, stream

def look(rows):
    return {"n": 1, "values": []}

@continuation
def clinic(order):
    rows = stream.open("visits", fields=["age", "bp"])
    seen = private(look, rows, fuel=1000, memory=100000)
    release.count(seen, of="n", name="visits", high=500)
    release.mean(seen, of="values", name="bp", low=40.0, high=200.0)
    release.sum(seen, of="values", name="all", low=-1.0, high=1e-07)

@continuation
def rounds(job):
    fleet.ask(fleet.invite(round=0), "survey")
"""
ANSWER = [count("visits", high=500), mean("bp", low=40, high=200), total("all", low=-1, high=1e-7)]


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    return create_trust(tmp_path_factory.mktemp("trust") / "t", at_ms=NOW)


@pytest.fixture(scope="module")
def made(trust):
    author = Identity.load(trust.author / "identity.key")
    return build_submission(
        author, name="bp", purpose="survey", program=SOURCE, now_ms=NOW, fuel=5000, memory=500_000,
        phases=[phase("survey", entry="clinic", answer=ANSWER)],
    )  # fmt: skip


@pytest.fixture
def ordered(trust, made):
    """What an agent holds once an order for this submission has verified."""
    trusted: TrustedSet = load_trusted_set(trust.coordinator, at_ms=NOW)
    found = trusted.verify_submission(made.data, NOW + 1)
    job, body = found.job.value, BodyRef(bytes(32), 2, bytes(32), 1)
    order = Order(
        suite=SUITE_1, coordinator=bytes(32), recipient=bytes(32), sequence=1, issued_ms=NOW, expires_ms=NOW + 1000,
        deadline_ms=1000, job=found.job.data, program=job.program, plan=job.plan, phase="survey", round=0,
        run=bytes(32), epoch=0, lease_ms=1000, clearance=(), bundle=body, weights=body, weights_root=job.initial,
    )  # fmt: skip
    signer = found.job.signer
    verified = VerifiedOrder(order, bytes(32), b"", signer, found.job, signer, job.phases[0])
    return verified, VerifiedBundle(found.program.value, found.plan.value, job.plan, found.graphs)


def judge(text: str, ordered):
    order, bundle = ordered
    return decide(OwnerPolicy.parse(text.encode(), "policy.toml"), order, bundle, verify(bundle.program_bytes))


def test_the_guard_admits_the_submission_under_its_draft(made, ordered):
    admission = judge(policy_for(made, "clinic-1"), ordered)
    assert admission.owner == "clinic-1"
    admission.check_open("visits", ["age", "bp"])
    admission.check_release("count", "visits", {"high": 500.0}, position=0)
    admission.check_release("mean", "bp", {"low": 40.0, "high": 200.0}, position=1)
    admission.check_release("sum", "all", {"low": -1.0, "high": 1e-7}, position=2)
    with pytest.raises(AdmissionRefused, match="field 'name'"):
        admission.check_open("visits", ["age", "name"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_fuel = 5000", "max_fuel = 4999", "admits 4999 instructions"),
        ("max_memory = 500000", "max_memory = 499999", "admits 499999 bytes"),
        ("high = 500.0", "high = 499.0", r"within \[0.0, 499.0\]"),
        ("low = 40.0", "low = 41.0", r"within \[41.0, 200.0\]"),
        ('purposes = ["survey"]', 'purposes = ["other"]', "does not admit purpose"),
    ],
)
def test_a_draft_is_no_wider_than_the_job(made, ordered, old, new, words):
    text = policy_for(made, "clinic-1")
    assert old in text
    with pytest.raises(AdmissionRefused, match=words):
        judge(text.replace(old, new), ordered)


def test_it_is_written_from_the_file_alone(made):
    assert policy_for(made.data, "clinic-1") == policy_for(made, "clinic-1")


def test_names_may_hold_anything(made):
    owner = 'Dr. "Ω" \\ \x7f'
    terms = PolicyTerms(
        title="a\tb", author="0" * 64, purpose="x\ny", program="1" * 64, plan="2" * 64,
        streams={"a.b": ["f g"], "plain-1": ["x"]}, effects=["release.mean", "stream.open"], fuel=1, memory=2,
        releases=[mean('n"', low=-1e-9, high=1e300)],
    )  # fmt: skip
    found = tomllib.loads(policy_text(owner, terms))
    assert found["owner"] == owner
    (rule,) = found["admit"]
    assert (rule["name"], rule["purposes"]) == ("a\tb", ["x\ny"])
    assert rule["streams"] == {"a.b": ["f g"], "plain-1": ["x"]}
    assert rule["effects"] == ["stream.open", "release.mean"]  # in the order of the table
    assert rule["release"] == [
        {"kind": "mean", "claim": "trusted-plan", "name": 'n"', "low": -1e-9, "high": 1e300}
    ]  # fmt: skip
    none = tomllib.loads(policy_text("o", dataclasses.replace(terms, streams={})))
    assert none["admit"][0]["streams"] == {}


def test_streams_that_are_no_literals_have_to_be_given(trust):
    author = Identity.load(trust.author / "identity.key")
    made = build_submission(
        author, name="bp", purpose="survey", program=SOURCE.replace('"visits", fields', "order.args['s'], fields"),
        phases=[phase("survey", entry="clinic", answer=ANSWER)], args={"s": "visits"},
    )  # fmt: skip
    assert made.streams is None
    with pytest.raises(UsageError, match=r"program:9: stream\.open does not name its stream .* pass streams="):
        policy_for(made, "clinic-1")
    assert 'streams = { visits = ["age"] }' in policy_for(made, "clinic-1", streams={"visits": ["age"]})


@pytest.mark.parametrize("data", [b"", b"garbage", encode(Bundle({})), encode(Bundle({"job": b""}))])
def test_what_is_no_submission_is_refused(data):
    with pytest.raises(DecodeError):
        policy_for(data, "clinic-1")
