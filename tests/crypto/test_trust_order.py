"""Orders: altered in any byte they are refused, whoever signs them again."""

from __future__ import annotations

import msgspec
import pytest
from sojourn.codec import Kind, decode, digest, encode
from sojourn.contracts import Bundle, Order, OrderPacket, Signed
from sojourn.crypto import (
    ORDER,
    TrustedSet,
    VerifiedOrder,
    open_envelope,
    peek_envelope,
    seal_envelope,
    sign_document,
    sign_payload,
)
from sojourn.errors import DecodeError, Expired, SignatureInvalid, TrustError, UnknownSigner, WrongRecipient
from sojourn.limits import MAX_CLOCK_SKEW_MS, MAX_ORDER_LIFETIME_MS

HOUR = 3_600_000


def verify(world, data, trusted=None, now=None) -> VerifiedOrder:
    trusted = trusted or world.trusted()
    return trusted.verify_order(data, world.entry(world.agent), now or world.now)


def receive(world, trusted, envelope: bytes) -> VerifiedOrder:
    """What an agent does: look the sender up, verify and open the envelope, verify the order in it."""
    sender = trusted.entry(peek_envelope(envelope).sender, "coordinator", world.now)
    packet = decode(OrderPacket, open_envelope(world.agent, envelope, sender, ORDER, trusted.now))
    return trusted.verify_order(packet.order, world.entry(world.agent), world.now)


def send(world, order: bytes) -> bytes:
    """What a coordinator does, hostile or not: seal any order bytes to the agent with its own key."""
    packet = encode(OrderPacket(order=order, bundle_key=bytes(32), weights_key=bytes(32)))
    return seal_envelope(world.coordinator, world.entry(world.agent), ORDER, packet, world.now, world.now + HOUR)


def flipped(data: bytes):
    """Every copy of `data` with one byte changed, in turn; the bit moves along."""
    for index in range(len(data)):
        yield index, data[:index] + bytes([data[index] ^ (1 << index % 8)]) + data[index + 1 :]


def test_a_good_order_is_verified(world):
    data = world.signed_order()
    verified = receive(world, world.trusted(), send(world, data))
    assert verified.order == world.order()
    assert verified.digest == digest(data)
    assert verified.data == data
    assert verified.coordinator == world.entry(world.coordinator)
    assert verified.author == verified.job.signer == world.entry(world.author)
    assert verified.job.value == world.job()
    assert verified.job.digest == digest(verified.order.job)
    assert verified.phase is verified.job.value.phases[0]


# Done when 4, first half: before opening


def test_each_byte_of_a_sent_order_counts(world):
    trusted = world.trusted()
    envelope = send(world, world.signed_order())
    receive(world, trusted, envelope)
    for _, altered in flipped(envelope):
        with pytest.raises((TrustError, DecodeError)):
            receive(world, trusted, altered)


# Done when 4, second half: after opening, sealed and signed again with the coordinator's own key


def test_each_byte_of_an_opened_order_counts(world):
    trusted = world.trusted()
    for _, altered in flipped(world.signed_order()):
        with pytest.raises((TrustError, DecodeError)):
            receive(world, trusted, send(world, altered))


def test_each_byte_of_the_job_counts_when_the_coordinator_signs_again(world):
    trusted = world.trusted()
    job = world.signed_job()
    signed = decode(Signed, job)
    inside = range(job.index(signed.payload), job.index(signed.payload) + len(signed.payload))
    refused_by_author = 0
    for index, altered in flipped(job):
        envelope = send(world, world.signed_order(job=altered))
        with pytest.raises((TrustError, DecodeError)) as caught:
            receive(world, trusted, envelope)
        if index in inside:
            assert isinstance(caught.value, SignatureInvalid)
            assert "job" in str(caught.value)
            refused_by_author += 1
    assert refused_by_author == len(signed.payload) > 300


@pytest.mark.parametrize("field", ["program", "plan"])
def test_each_byte_of_the_named_digests_counts_when_the_coordinator_signs_again(world, field):
    trusted = world.trusted()
    for _, altered in flipped(getattr(world.order(), field)):
        with pytest.raises(TrustError, match=f"another {field}"):
            receive(world, trusted, send(world, world.signed_order(**{field: altered})))


@pytest.mark.parametrize("item", ["program", "plan", "graph/train"])
def test_each_byte_of_program_plan_and_graph_counts(world, item):
    trusted = world.trusted()
    order = verify(world, world.signed_order(), trusted)
    good = world.bundle_items()[item]
    payload = good if item == "graph/train" else decode(Signed, good).payload
    inside = range(good.index(payload), good.index(payload) + len(payload))
    for index, altered in flipped(good):
        with pytest.raises((TrustError, DecodeError)) as caught:
            trusted.verify_bundle(world.bundle(**{item: altered}), order)
        if index in inside and item != "graph/train":
            assert isinstance(caught.value, SignatureInvalid)
    assert trusted.verify_bundle(world.bundle(), order).graphs == {"train": world.graph}


@pytest.mark.parametrize("role", ["coordinator", "registrar", "agent"])
def test_only_an_author_signs_what_runs(world, role):
    signer = getattr(world, role)
    trusted = world.trusted()
    with pytest.raises(UnknownSigner):
        verify(world, world.signed_order(job=sign_document(signer, world.job())), trusted)
    order = verify(world, world.signed_order(), trusted)
    for item, forged in (
        ("program", sign_payload(signer, world.program)),
        ("plan", sign_document(signer, world.plan)),
    ):
        with pytest.raises(UnknownSigner):
            trusted.verify_bundle(world.bundle(**{item: forged}), order)


def test_the_job_has_one_author(world):
    trusted = world.trusted()
    order = verify(world, world.signed_order(), trusted)
    for item, foreign in (
        ("program", sign_payload(world.other_author, world.program)),
        ("plan", sign_document(world.other_author, world.plan)),
    ):
        with pytest.raises(UnknownSigner, match="bob"):
            trusted.verify_bundle(world.bundle(**{item: foreign}), order)


def test_another_program_of_the_same_author_is_not_the_named_one(world):
    trusted = world.trusted()
    order = verify(world, world.signed_order(), trusted)
    other = sign_payload(world.author, world.rounds)
    with pytest.raises(TrustError, match="program is not the one"):
        trusted.verify_bundle(world.bundle(program=other), order)
    plan = sign_document(world.author, msgspec.structs.replace(world.plan, constants={"rate": 0.6}))
    with pytest.raises(TrustError, match="plan is not the one"):
        trusted.verify_bundle(world.bundle(plan=plan), order)


def test_the_kinds_of_documents_do_not_stand_in_for_one_another(world):
    trusted = world.trusted()
    author = world.entry(world.author)
    plan, job, program = sign_document(world.author, world.plan), world.signed_job(), world.bundle_items()["program"]
    for wrong in (plan, program):
        with pytest.raises(DecodeError, match="kind"):
            trusted.verify_job(wrong, world.now)
    for wrong in (job, program):
        with pytest.raises(DecodeError, match="kind"):
            trusted.verify_plan(wrong, author)
    for wrong in (job, plan):
        with pytest.raises(DecodeError, match="program"):
            trusted.verify_program(wrong, author)
    assert trusted.verify_plan(plan, author) == world.plan
    assert trusted.verify_program(program, author) == world.program


def test_a_bundle_has_exactly_its_items(world):
    trusted = world.trusted()
    order = verify(world, world.signed_order(), trusted)
    for missing in world.bundle_items():
        items = world.bundle_items()
        del items[missing]
        with pytest.raises(DecodeError, match="missing"):
            trusted.verify_bundle(encode(Bundle(items=items)), order)
    for extra in ("graph/other", "rounds", ""):
        with pytest.raises(DecodeError, match="unexpected"):
            trusted.verify_bundle(world.bundle(**{extra: b"x"}), order)


# Addresses and time


def test_unsigned_is_refused(world):
    for signature in (b"", bytes(64)):
        unsigned = msgspec.structs.replace(decode(Signed, world.signed_order()), signature=signature)
        with pytest.raises(SignatureInvalid):
            verify(world, encode(unsigned))
    with pytest.raises(DecodeError):
        verify(world, encode(world.order()))


@pytest.mark.parametrize("role", ["author", "registrar", "agent", "other_author"])
def test_only_a_coordinator_signs_orders(world, role):
    signer = getattr(world, role)
    with pytest.raises(UnknownSigner, match="no coordinator"):
        verify(world, sign_document(signer, world.order(coordinator=signer.key)))


def test_an_order_names_its_signer_and_its_recipient(world):
    with pytest.raises(UnknownSigner, match="names another coordinator"):
        verify(world, world.signed_order(coordinator=world.author.key))
    with pytest.raises(WrongRecipient):
        verify(world, world.signed_order(recipient=world.registrar.key))


def test_times_of_orders(world):
    verify(world, world.signed_order(), now=world.now + HOUR - 1)
    with pytest.raises(Expired, match="order: expired"):
        verify(world, world.signed_order(), now=world.now + HOUR)
    early = world.now + MAX_CLOCK_SKEW_MS + 1
    with pytest.raises(Expired, match="order: issued in the future"):
        verify(world, world.signed_order(issued_ms=early, expires_ms=early + HOUR))
    with pytest.raises(Expired, match="longer"):
        verify(world, world.signed_order(expires_ms=world.now + MAX_ORDER_LIFETIME_MS + 1))
    with pytest.raises(Expired, match="before it was issued"):
        verify(world, world.signed_order(expires_ms=world.now))


def test_the_job_inside_has_times_too(world):
    job = world.signed_job(expires_ms=world.now)
    with pytest.raises(Expired, match="job: expired"):
        verify(world, world.signed_order(job=job))
    job = world.signed_job(issued_ms=world.now + MAX_CLOCK_SKEW_MS + 1)
    with pytest.raises(Expired, match="job: issued in the future"):
        verify(world, world.signed_order(job=job))


def test_time_never_goes_back(world):
    trusted = world.trusted()
    assert trusted.observe(world.now + HOUR) == world.now + HOUR
    with pytest.raises(Expired):
        verify(world, world.signed_order(), trusted)  # now given: an hour earlier
    assert trusted.now == world.now + HOUR
    restarted = TrustedSet(world.root.public, floor_ms=trusted.now)
    restarted.load_roster(world.root.sign_roster(world.roster()), world.now)
    with pytest.raises(Expired):
        verify(world, world.signed_order(), restarted)


# Revocation and entries


@pytest.mark.parametrize("party", ["coordinator", "author", "agent"])
def test_a_revoked_party_takes_no_part(world, party):
    trusted = world.trusted(revoked=(getattr(world, party).key,))
    with pytest.raises(UnknownSigner, match="revoked"):
        verify(world, world.signed_order(), trusted)


@pytest.mark.parametrize("party", ["coordinator", "author"])
def test_an_expired_entry_takes_no_part(world, party):
    entries = tuple(
        msgspec.structs.replace(entry, expires_ms=world.now) if entry.role == party else entry
        for entry in world.roster().entries
    )
    with pytest.raises(Expired, match=f"entry of {party}"):
        verify(world, world.signed_order(), world.trusted(entries=entries))


def test_an_expired_roster_verifies_nothing(world):
    trusted = world.trusted(expires_ms=world.now + 1)
    with pytest.raises(Expired, match="roster"):
        verify(world, world.signed_order(), trusted, now=world.now + 1)


# Fields


def test_what_a_coordinator_may_choose_it_may_choose(world):
    for changes in (
        {"sequence": 9},
        {"round": 7, "epoch": 3},
        {"issued_ms": world.now - 1, "expires_ms": world.now + 5},
        {"deadline_ms": 1, "lease_ms": 1},
        {"run": digest(b"another run"), "weights_root": digest(b"other weights")},
    ):
        assert verify(world, world.signed_order(**changes)).order == world.order(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": -1},
        {"round": -1},
        {"epoch": -1},
        {"deadline_ms": 0},
        {"lease_ms": 0},
        {"run": b""},
        {"run": bytes(31)},
        {"weights_root": b""},
        {"program": b""},
        {"clearance": ("h1/patients",)},
        {"issued_ms": -1},
    ],
)
def test_senseless_numbers_are_refused(world, changes):
    with pytest.raises(DecodeError) as caught:
        verify(world, world.signed_order(**changes))
    assert caught.value.reason == "value"
    assert next(iter(changes)) in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"plain": -1}, {"length": 1}, {"id": b""}, {"digest": bytes(33)}, {"plain": 1 << 40}]
)
@pytest.mark.parametrize("body", ["bundle", "weights"])
def test_senseless_bodies_are_refused(world, body, changes):
    ref = msgspec.structs.replace(getattr(world.order(), body), **changes)
    with pytest.raises(DecodeError, match=body):
        verify(world, world.signed_order(**{body: ref}))


def test_a_phase_that_the_job_does_not_have_is_refused(world):
    with pytest.raises(TrustError, match="'spy'"):
        verify(world, world.signed_order(phase="spy"))


@pytest.mark.parametrize("level", ["signed", "order", "job"])
def test_an_unknown_suite_is_refused_wherever_it_stands(world, level):
    if level == "job":
        data = world.signed_order(job=world.signed_job(suite=2))
    elif level == "order":
        data = world.signed_order(suite=2)
    else:
        data = encode(msgspec.structs.replace(decode(Signed, world.signed_order()), suite=2))
    with pytest.raises(DecodeError, match="suite 2"):
        verify(world, data)


def test_another_version_of_the_format_is_refused(world):
    payload = bytearray(encode(world.order()))
    payload[5] = 2
    with pytest.raises(DecodeError, match="version 2"):
        verify(world, sign_payload(world.coordinator, bytes(payload)))


def test_an_order_hidden_in_another_kind_is_refused(world):
    payload = bytearray(encode(world.order()))
    payload[2:4] = int(Kind.ANSWER).to_bytes(2, "big")
    with pytest.raises(DecodeError, match="kind"):
        verify(world, sign_payload(world.coordinator, bytes(payload)))


def test_the_exact_bytes_matter_not_the_values(world):
    # the same job signed twice by its author, with another wrapper, is another document
    order = decode(Order, decode(Signed, world.signed_order()).payload)
    assert verify(world, world.signed_order()).job.digest == digest(order.job)
