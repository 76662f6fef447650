"""Rosters and agents: one root, versions that only grow, roles that do not mix."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.codec import decode, encode
from sojourn.contracts import Signed
from sojourn.crypto import Identity, RootKey, TrustedSet, sign_document
from sojourn.errors import DecodeError, Expired, RolledBack, SignatureInvalid, SojournError, TrustError, UnknownSigner
from sojourn.limits import MAX_CLOCK_SKEW_MS

HOUR = 3_600_000


def load(world, trusted=None, now=None, **changes):
    trusted = trusted or TrustedSet(world.root.public)
    trusted.load_roster(world.root.sign_roster(world.roster(**changes)), now or world.now)
    return trusted


def test_a_good_roster_becomes_the_current_one(world):
    trusted = load(world)
    assert trusted.roster == world.roster()
    assert trusted.roster_bytes == world.root.sign_roster(world.roster())
    assert trusted.entry(world.author.key, "author", world.now).name == "ada"
    load(world, trusted)  # the same bytes again change nothing
    assert load(world, trusted, version=4).roster.version == 4


def test_without_a_roster_nothing_is_trusted(world):
    trusted = TrustedSet(world.root.public)
    with pytest.raises(TrustError, match="load_roster"):
        trusted.verify_order(world.signed_order(), world.entry(world.agent), world.now)
    with pytest.raises(TrustError, match="load_roster"):
        _ = trusted.roster


def test_only_the_pinned_root_signs_rosters(world):
    with pytest.raises(UnknownSigner, match="root"):
        TrustedSet(world.root.public).load_roster(RootKey.generate().sign_roster(world.roster()), world.now)
    for party in (world.coordinator, world.registrar, world.author):
        with pytest.raises(UnknownSigner):
            TrustedSet(world.root.public).load_roster(sign_document(party, world.roster()), world.now)


def test_altered_bytes_of_a_roster_are_refused(world):
    data = world.root.sign_roster(world.roster())
    for index in (*range(0, len(data), 7), *range(len(data) - 70, len(data)), *range(60)):
        altered = data[:index] + bytes([data[index] ^ 0x20]) + data[index + 1 :]
        trusted = TrustedSet(world.root.public)
        with pytest.raises((TrustError, DecodeError)):
            trusted.load_roster(altered, world.now)
        with pytest.raises(TrustError, match="no roster"):
            _ = trusted.roster


def test_versions_only_grow(world):
    trusted = load(world, version=4)
    with pytest.raises(RolledBack, match="older"):
        load(world, trusted)
    with pytest.raises(RolledBack, match="another roster"):
        load(world, trusted, version=4, revoked=(bytes(32),))
    assert trusted.roster.version == 4
    with pytest.raises(RolledBack):
        load(world, TrustedSet(world.root.public, least_version=4))
    assert load(world, TrustedSet(world.root.public, least_version=3)).roster.version == 3


def test_times_of_rosters(world):
    with pytest.raises(Expired, match="expired"):
        load(world, now=world.roster().expires_ms)
    with pytest.raises(Expired, match="future"):
        load(world, now=world.roster().issued_ms - MAX_CLOCK_SKEW_MS - 1)
    assert load(world, now=world.roster().issued_ms - MAX_CLOCK_SKEW_MS + HOUR).roster.version == 3


def test_a_refused_roster_changes_nothing_but_the_time(world):
    trusted = load(world)
    with pytest.raises(Expired):
        load(world, trusted, version=9, expires_ms=world.now + 1, now=world.now + 2)
    assert trusted.roster.version == 3
    assert trusted.now == world.now + 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 0}, "version"),
        ({"expires_ms": 0, "issued_ms": 0}, "expires_ms"),
        ({"authority": b""}, "authority"),
        ({"revoked": (b"short",)}, "revoked"),
        ({"suite": 2}, "suite 2"),
    ],
)
def test_senseless_rosters_are_refused(world, changes, message):
    with pytest.raises(DecodeError, match=message):
        load(world, **changes)


def test_agents_do_not_stand_in_the_roster_and_nobody_twice(world):
    with pytest.raises(DecodeError, match="registrar"):
        load(world, entries=(world.entry(world.agent),))
    author = world.entry(world.author)
    with pytest.raises(DecodeError, match="twice"):
        load(world, entries=(author, msgspec.structs.replace(author, name="again")))


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": "a\nb"}, {"sign_key": b""}, {"seal_key": bytes(1216)}, {"tls": bytes(32)}, {"suite": 9}],
)
def test_senseless_entries_are_refused(world, changes):
    with pytest.raises(DecodeError):
        load(world, entries=(world.entry(world.author, **changes),))
    swapped = {"seal_key": b"", "tls": b""} | changes
    with pytest.raises(DecodeError):
        load(world, entries=(world.entry(world.coordinator, **swapped),))


def test_a_role_is_not_another(world):
    trusted = load(world)
    with pytest.raises(UnknownSigner, match="no coordinator"):
        trusted.entry(world.author.key, "coordinator", world.now)
    with pytest.raises(UnknownSigner, match="no agent"):
        trusted.entry(world.agent.key, "agent", world.now)


# Agents


def signed_entry(world, signer=None, **changes):
    return sign_document(signer or world.registrar, world.entry(world.agent, **changes))


def test_a_registrar_vouches_for_an_agent(world):
    assert load(world).verify_agent(signed_entry(world), world.now) == world.entry(world.agent)


@pytest.mark.parametrize("party", ["coordinator", "author", "agent"])
def test_nobody_else_mints_agents(world, party):
    with pytest.raises(UnknownSigner, match="no registrar"):
        load(world).verify_agent(signed_entry(world, getattr(world, party)), world.now)


def test_a_registrar_mints_agents_only(world):
    forged = sign_document(world.registrar, world.entry(world.coordinator))
    with pytest.raises(UnknownSigner, match="agents only"):
        load(world).verify_agent(forged, world.now)


def test_revocation_reaches_agents_and_their_registrar(world):
    data = signed_entry(world)
    with pytest.raises(UnknownSigner, match="revoked"):
        load(world, revoked=(world.agent.key,)).verify_agent(data, world.now)
    with pytest.raises(UnknownSigner, match="revoked"):
        load(world, revoked=(world.registrar.key,)).verify_agent(data, world.now)


def test_times_of_agents(world):
    data = signed_entry(world, expires_ms=world.now + 5)
    trusted = load(world)
    trusted.verify_agent(data, world.now + 4)
    with pytest.raises(Expired, match="entry of agent"):
        trusted.verify_agent(data, world.now + 5)
    with pytest.raises(Expired, match="entry of agent"):
        trusted.verify_agent(data, world.now)  # time went on
    with pytest.raises(Expired, match="future"):
        load(world).verify_agent(signed_entry(world, issued_ms=world.now + MAX_CLOCK_SKEW_MS + 1), world.now)


def test_altered_agents_are_refused(world):
    data = signed_entry(world)
    trusted = load(world)
    for index in range(len(data)):
        altered = data[:index] + bytes([data[index] ^ 0x04]) + data[index + 1 :]
        with pytest.raises((TrustError, DecodeError)):
            trusted.verify_agent(altered, world.now)


def test_a_key_outside_the_roster_signs_nothing(world):
    stranger = Identity.generate("author", "ada")
    with pytest.raises(UnknownSigner):
        load(world).verify_job(sign_document(stranger, world.job()), world.now)


def test_claiming_another_signer_fails_the_signature(world):
    stranger = Identity.generate("author", "ada")
    forged = msgspec.structs.replace(decode(Signed, sign_document(stranger, world.job())), signer=world.author.key)
    with pytest.raises(SignatureInvalid):
        load(world).verify_job(encode(forged), world.now)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300), tail=st.booleans())
def test_hostile_bytes_only_ever_raise_the_documented_errors(world, data, tail):
    trusted = load(world)
    hostile = (world.signed_job()[:90] + data) if tail else data
    author = world.entry(world.author)
    for call in (
        lambda: trusted.load_roster(hostile, world.now),
        lambda: trusted.verify_agent(hostile, world.now),
        lambda: trusted.verify_job(hostile, world.now),
        lambda: trusted.verify_plan(hostile, author),
        lambda: trusted.verify_program(hostile, author),
        lambda: trusted.verify_order(hostile, world.entry(world.agent), world.now),
        lambda: trusted.verify_submission(hostile, world.now),
        lambda: trusted.verify_closure(hostile),
        lambda: trusted.verify_answer(hostile, world.entry(world.agent)),
    ):
        with pytest.raises(SojournError):
            call()


def test_repr_is_short(world):
    assert "roster 3" in repr(load(world))
    assert "none" in repr(TrustedSet(world.root.public))


def test_an_expired_roster_names_nobody(world):
    trusted = load(world, expires_ms=world.now + 1)
    trusted.entry(world.author.key, "author", world.now)
    with pytest.raises(Expired, match="roster"):
        trusted.entry(world.author.key, "author", world.now + 1)
