"""Answers, closures, publications, evaluations, submissions; and the values that jobs and plans may hold."""

from __future__ import annotations

import math

import msgspec
import pytest
from sojourn.codec import decode, digest, encode
from sojourn.contracts import SUITE_1, Answer, Bundle, Closure, Evaluation, Publication, Signed
from sojourn.crypto import Identity, sign_document, sign_payload
from sojourn.errors import DecodeError, Expired, SignatureInvalid, TrustError, UnknownSigner
from sojourn.limits import MAX_FUEL, MAX_PARTICIPANTS, MAX_PROGRAM_BYTES

HOUR = 3_600_000


def an_answer(world, signed: bytes, /, **changes) -> Answer:
    asked = world.order()
    answer = Answer(
        suite=SUITE_1,
        agent=world.agent.key,
        order=digest(signed),
        job=digest(asked.job),
        program=asked.program,
        plan=asked.plan,
        run=asked.run,
        epoch=asked.epoch,
        round=asked.round,
        phase=asked.phase,
        weights_root=asked.weights_root,
        outcome="done",
        code="",
        line=0,
        releases=(),
        issued_ms=world.now,
    )
    return msgspec.structs.replace(answer, **changes)


def test_an_answer_answers_its_order(world):
    order = world.signed_order()
    data = sign_document(world.agent, an_answer(world, order))
    verified = world.trusted().verify_answer(data, world.entry(world.agent), order)
    assert verified.value == an_answer(world, order)
    assert (verified.digest, verified.data) == (digest(data), data)
    assert verified.signer == world.entry(world.agent)


def test_each_byte_of_an_answer_counts(world):
    trusted, agent, order = world.trusted(), world.entry(world.agent), world.signed_order()
    data = sign_document(world.agent, an_answer(world, order))
    for index in range(len(data)):
        altered = data[:index] + bytes([data[index] ^ (1 << index % 8)]) + data[index + 1 :]
        with pytest.raises((TrustError, DecodeError)):
            trusted.verify_answer(altered, agent)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order", bytes(32)),
        ("job", bytes(32)),
        ("program", bytes(32)),
        ("plan", bytes(32)),
        ("run", bytes(32)),
        ("epoch", 9),
        ("round", 9),
        ("phase", "other"),
        ("weights_root", bytes(32)),
    ],
)
def test_an_answer_to_something_else_is_refused(world, field, value):
    order = world.signed_order()
    data = sign_document(world.agent, an_answer(world, order, **{field: value}))
    trusted = world.trusted()
    trusted.verify_answer(data, world.entry(world.agent))
    with pytest.raises(TrustError, match=f"another {field}"):
        trusted.verify_answer(data, world.entry(world.agent), order)


def test_nobody_answers_for_another(world):
    order = world.signed_order()
    other = world.authority.certify(Identity.generate("agent", "hospital-2"))
    trusted, mine, theirs = world.trusted(), world.entry(world.agent), world.entry(other)
    with pytest.raises(UnknownSigner, match="not signed by"):
        trusted.verify_answer(sign_document(other, an_answer(world, order)), mine, order)
    with pytest.raises(UnknownSigner, match="names another agent"):
        trusted.verify_answer(sign_document(other, an_answer(world, order)), theirs, order)
    own = sign_document(other, an_answer(world, order, agent=other.key))
    trusted.verify_answer(own, theirs)
    with pytest.raises(TrustError, match="another agent than the order"):
        trusted.verify_answer(own, theirs, order)


def test_a_revoked_or_expired_agent_answers_no_more(world):
    order = world.signed_order()
    data = sign_document(world.agent, an_answer(world, order))
    with pytest.raises(UnknownSigner, match="revoked"):
        world.trusted(revoked=(world.agent.key,)).verify_answer(data, world.entry(world.agent))
    with pytest.raises(Expired):
        world.trusted().verify_answer(data, world.entry(world.agent, expires_ms=world.now))
    with pytest.raises(UnknownSigner, match="no agent"):
        world.trusted().verify_answer(data, world.entry(world.coordinator))


def records(world):
    shared = {"suite": SUITE_1, "job": bytes(32), "run": bytes(32), "round": 1}
    return {
        "closure": Closure(**shared, operation=1, phase="train", participants=(), answers=()),
        "publication": Publication(
            **shared, operation=2, base=bytes(32), model=bytes(32), closure=b"", policy={}, weight=1
        ),
        "evaluation": Evaluation(**shared, model=bytes(32), heldout=bytes(32), metrics={"auc": 0.5}),
    }


@pytest.mark.parametrize("kind", ["closure", "publication", "evaluation"])
def test_a_coordinator_signs_its_records(world, kind):
    record = records(world)[kind]
    trusted = world.trusted()
    verify = getattr(trusted, f"verify_{kind}")
    data = sign_document(world.coordinator, record)
    assert verify(data).value == record
    assert verify(data).signer.key == world.coordinator.key
    for signer in (world.author, world.agent, world.registrar):
        with pytest.raises(UnknownSigner):
            verify(sign_document(signer, record))
    with pytest.raises(DecodeError, match="suite 2"):
        verify(sign_document(world.coordinator, msgspec.structs.replace(record, suite=2)))
    for index in range(len(data)):
        with pytest.raises((TrustError, DecodeError)):
            verify(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
    for other, wrong in records(world).items():
        if other != kind:
            with pytest.raises(DecodeError, match="kind"):
                verify(sign_document(world.coordinator, wrong))


# Submissions


def submission(world, job=None, **items) -> bytes:
    everything = world.bundle_items() | {
        "job": job or world.signed_job(),
        "rounds": sign_payload(world.author, world.rounds),
        "initial": b"initial datoms",
    }
    return encode(Bundle(items={name: data for name, data in (everything | items).items() if data is not None}))


def test_a_submission_is_verified_as_a_whole(world):
    verified = world.trusted().verify_submission(submission(world), world.now)
    assert verified.job.value == world.job()
    assert verified.program.value == world.program
    assert verified.rounds.value == world.rounds
    assert verified.plan.value == world.plan
    assert verified.graphs == {"train": world.graph}
    assert (verified.initial, verified.heldout) == (b"initial datoms", b"")
    assert verified.program.data == world.bundle_items()["program"]


@pytest.mark.parametrize("item", ["job", "program", "rounds", "plan", "graph/train", "initial"])
def test_a_submission_lacks_nothing(world, item):
    items = decode(Bundle, submission(world)).items
    del items[item]
    with pytest.raises(DecodeError, match=f"{item}.*missing"):
        world.trusted().verify_submission(encode(Bundle(items=items)), world.now)


def test_heldout_comes_exactly_when_the_job_names_it(world):
    trusted = world.trusted()
    with pytest.raises(DecodeError, match="unexpected item 'heldout'"):
        trusted.verify_submission(submission(world, heldout=b"data"), world.now)
    job = world.signed_job(heldout=digest(b"root"))
    with pytest.raises(DecodeError, match=r"heldout.*missing"):
        trusted.verify_submission(submission(world, job=job), world.now)
    assert trusted.verify_submission(submission(world, job=job, heldout=b"data"), world.now).heldout == b"data"


def test_a_submission_with_swapped_programs_is_refused(world):
    program = sign_payload(world.author, world.program)
    with pytest.raises(TrustError, match="rounds program is not the one"):
        world.trusted().verify_submission(submission(world, rounds=program), world.now)


def test_a_submission_altered_anywhere_is_refused_or_still_says_the_same(world):
    trusted = world.trusted()
    good = submission(world)
    raw = good.index(b"initial datoms")
    for index in range(len(good)):
        if raw <= index < raw + len(b"initial datoms"):
            continue  # datoms are checked against the job's root when they are unpacked
        with pytest.raises((TrustError, DecodeError)):
            trusted.verify_submission(good[:index] + bytes([good[index] ^ 1]) + good[index + 1 :], world.now)


# Values


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"purpose": "x" * 300},
        {"rounds_entry": "\x00"},
        {"program": b""},
        {"rounds": bytes(31)},
        {"plan": bytes(33)},
        {"initial": b""},
        {"heldout": b"x"},
        {"participants": -1},
        {"participants": MAX_PARTICIPANTS + 1},
        {"fuel": 0},
        {"fuel": MAX_FUEL + 1},
        {"memory": 0},
        {"nonce": b""},
        {"phases": ()},
        {"suite": 7},
    ],
)
def test_senseless_jobs_are_refused_although_signed(world, changes):
    with pytest.raises(DecodeError):
        world.trusted().verify_job(world.signed_job(**changes), world.now)


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"entry": ""}, {"quorum": 0}, {"deadline_ms": 0}],
)
def test_senseless_phases_are_refused(world, changes):
    phase = msgspec.structs.replace(world.job().phases[0], **changes)
    with pytest.raises(DecodeError):
        world.trusted().verify_job(world.signed_job(phases=(phase,)), world.now)


def test_phases_are_distinct_and_quorums_reachable(world):
    phase = world.job().phases[0]
    with pytest.raises(DecodeError, match="twice"):
        world.trusted().verify_job(world.signed_job(phases=(phase, phase)), world.now)
    with pytest.raises(DecodeError, match="quorum"):
        world.trusted().verify_job(world.signed_job(participants=3), world.now)
    world.trusted().verify_job(world.signed_job(participants=4), world.now)


@pytest.mark.parametrize(
    ("index", "changes"),
    [
        (0, {"update": None}),
        (1, {"low": math.nan}),
        (1, {"high": math.inf}),
        (1, {"low": 2000.0}),
        (1, {"name": ""}),
        (1, {"kind": "update"}),
    ],
)
def test_senseless_releases_are_refused(world, index, changes):
    phase = world.job().phases[0]
    answer = list(phase.answer)
    answer[index] = msgspec.structs.replace(answer[index], **changes)
    phase = msgspec.structs.replace(phase, answer=tuple(answer))
    with pytest.raises(DecodeError, match="release"):
        world.trusted().verify_job(world.signed_job(phases=(phase,)), world.now)


@pytest.mark.parametrize(
    "changes", [{"clip": 0.0}, {"clip": math.inf}, {"scale": -1.0}, {"bound": 0}, {"bound": 1 << 31}, {"max_weight": 0}]
)
def test_senseless_updates_are_refused(world, changes):
    phase = world.job().phases[0]
    spec = phase.answer[0]
    spec = msgspec.structs.replace(spec, update=msgspec.structs.replace(spec.update, **changes))
    phase = msgspec.structs.replace(phase, answer=(spec,))
    with pytest.raises(DecodeError, match=next(iter(changes))):
        world.trusted().verify_job(world.signed_job(phases=(phase,)), world.now)


def test_senseless_plans_are_refused(world):
    trusted, author, plan = world.trusted(), world.entry(world.author), world.plan
    graph, tensor = plan.graphs[0], plan.state[0]
    replace = msgspec.structs.replace
    for bad in (
        replace(plan, name=""),
        replace(plan, suite=3),
        replace(plan, graphs=()),
        replace(plan, graphs=(graph, graph)),
        replace(plan, graphs=(replace(graph, digest=b""),)),
        replace(plan, graphs=(replace(graph, inputs=graph.inputs * 2),)),
        replace(plan, state=(tensor, tensor)),
        replace(plan, state=(replace(tensor, shape=(0,)),)),
        replace(plan, state=(replace(tensor, shape=(1,) * 9),)),
        replace(plan, constants={"rate": math.nan}),
    ):
        with pytest.raises(DecodeError):
            trusted.verify_plan(sign_document(world.author, bad), author)


def test_a_plan_without_graphs_is_a_plan_without_state(world):
    trusted, author = world.trusted(), world.entry(world.author)
    bare = msgspec.structs.replace(world.plan, graphs=(), state=(), constants={})
    assert trusted.verify_plan(sign_document(world.author, bare), author) == bare


def test_the_job_is_checked_after_its_signature(world):
    """A senseless job of a stranger is a stranger's: its content is not looked at."""
    data = decode(Signed, world.signed_job(fuel=0))
    with pytest.raises(SignatureInvalid):
        world.trusted().verify_job(encode(msgspec.structs.replace(data, signature=bytes(64))), world.now)


def test_an_answer_of_an_unknown_suite_is_refused(world):
    data = sign_document(world.agent, an_answer(world, world.signed_order(), suite=2))
    with pytest.raises(DecodeError, match="suite 2"):
        world.trusted().verify_answer(data, world.entry(world.agent))


def test_an_expired_roster_lets_nobody_answer(world):
    trusted = world.trusted(expires_ms=world.now + 1)
    data = sign_document(world.agent, an_answer(world, world.signed_order()))
    trusted.verify_answer(data, world.entry(world.agent))
    trusted.observe(world.now + 1)
    with pytest.raises(Expired, match="roster"):
        trusted.verify_answer(data, world.entry(world.agent))


def test_an_oversize_program_is_refused(world):
    for size, fits in ((MAX_PROGRAM_BYTES, True), (MAX_PROGRAM_BYTES + 1, False)):
        data = sign_payload(world.author, world.program.ljust(size, b"\x00"))
        if fits:
            assert len(world.trusted().verify_program(data, world.entry(world.author))) == size
        else:
            with pytest.raises(DecodeError, match="limit"):
                world.trusted().verify_program(data, world.entry(world.author))
