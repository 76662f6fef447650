"""The registrar's state: one token, one agent, durable before the reply leaves."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time

import msgspec
import pytest
from cryptography import x509
from sojourn.codec import decode, digest, encode
from sojourn.contracts import Entry, Signed
from sojourn.crypto import Identity, TrustedSet, check_certificate, revise_roster
from sojourn.crypto.setup import YEAR_MS, now_ms
from sojourn.errors import ConfigError, EnrolmentRefused, Expired, SignatureInvalid, StateVersion, StoreError
from sojourn.registrar import RegistrarState, parse_token
from sojourn.registrar.messages import build_request, format_token, token_key

URL = "wss://127.0.0.1:7444"
DAY = 24 * 3600 * 1000


def an_agent(name="hospital-1"):
    return Identity.generate("agent", name)


def ask(state, token, identity, **options):
    return state.enrol(build_request(parse_token(token), identity), **options)


def test_a_token_names_registrar_root_and_agent(state, layout):
    before = now_ms()
    token = parse_token(state.mint_token("hospital-1", url=URL, ttl_ms=1000))
    assert (token.name, token.url) == ("hospital-1", URL)
    assert token.pin == digest(state.identity.certificate)
    assert token.root_key.hex() == layout.root_public.read_text().strip()
    assert before + 1000 <= token.expires_ms <= now_ms() + 1000
    assert token.secret != parse_token(state.mint_token("hospital-1", url=URL)).secret


def test_an_enrolled_agent_is_known_by_entry_and_certificate(state):
    agent = an_agent()
    token = state.mint_token("hospital-1", url=URL)
    reply = ask(state, token, agent)
    trusted = TrustedSet(parse_token(token).root_key)
    roster = trusted.load_roster(reply.roster, now_ms())
    entry = trusted.verify_agent(reply.entry, now_ms())
    assert (entry.role, entry.name, entry.key) == ("agent", "hospital-1", agent.key)
    assert entry.tls == digest(reply.certificate)
    assert entry.expires_ms - entry.issued_ms == YEAR_MS
    check_certificate(reply.certificate, roster.authority, "agent", agent.key)
    until = x509.load_der_x509_certificate(reply.certificate).not_valid_after_utc.timestamp()
    assert until * 1000 > entry.expires_ms
    assert agent.with_certificate(reply.certificate).entry(entry.issued_ms, entry.expires_ms) == entry
    assert [(a.name, a.key, a.entry) for a in state.agents()] == [("hospital-1", agent.key, reply.entry)]
    assert [t.used_ms is None for t in state.tokens()] == [False]


def test_a_token_used_twice_is_refused(state, layout):
    agent = an_agent()
    token = state.mint_token("hospital-1", url=URL)
    ask(state, token, agent)
    with pytest.raises(EnrolmentRefused, match="used already"):
        ask(state, token, an_agent())
    state.close()
    with RegistrarState.open(layout.registrar) as again, pytest.raises(EnrolmentRefused, match="used already"):
        ask(again, token, an_agent())


def test_a_lost_reply_is_given_again_to_the_same_keys_only(state):
    agent = an_agent()
    token = state.mint_token("hospital-1", url=URL, ttl_ms=1000)
    first = ask(state, token, agent)
    assert ask(state, token, agent) == first
    assert ask(state, token, agent, at_ms=now_ms() + DAY) == first  # it was used in time
    assert len(state.agents()) == 1
    other_tls = Identity("agent", agent.name, agent._sign, agent._seal, an_agent().tls)
    with pytest.raises(EnrolmentRefused, match="other keys"):
        ask(state, token, other_tls)


# One name, one agent


def test_a_live_name_gets_no_second_token_unless_it_is_to_be_replaced(state, layout):
    first = an_agent()
    ask(state, state.mint_token("hospital-1", url=URL), first)
    with pytest.raises(ConfigError, match=rf"'hospital-1' already \(key {first.key.hex()[:16]}…\); .*--replace"):
        state.mint_token("hospital-1", url=URL)
    state.mint_token("hospital-2", url=URL)
    state.close()
    with RegistrarState.open(layout.registrar) as again:  # remembered across a restart, and so is the permission
        with pytest.raises(ConfigError, match="--replace"):
            again.mint_token("hospital-1", url=URL)
        token = again.mint_token("hospital-1", url=URL, replace=True)
    with RegistrarState.open(layout.registrar) as third:
        assert [each.replaces for each in third.tokens()] == [None, None, first.key]
        second = an_agent()
        ask(third, token, second)
        assert [(a.key, a.superseded_ms is None) for a in third.agents()] == [(first.key, False), (second.key, True)]
        assert third.live_agent("hospital-1").key == second.key


def test_a_token_replaces_the_agent_it_was_minted_for_and_no_later_one(state):
    ask(state, state.mint_token("hospital-1", url=URL), an_agent())
    early, late = (state.mint_token("hospital-1", url=URL, replace=True) for _ in range(2))
    ask(state, late, second := an_agent())
    with pytest.raises(EnrolmentRefused, match="enrolled as 'hospital-1'"):
        ask(state, early, an_agent())
    assert state.live_agent("hospital-1").key == second.key


def test_a_superseded_agent_is_not_given_its_reply_again(state):
    token, first = state.mint_token("hospital-1", url=URL), an_agent()
    ask(state, token, first)
    ask(state, state.mint_token("hospital-1", url=URL, replace=True), an_agent())
    with pytest.raises(EnrolmentRefused, match="taken the place"):
        ask(state, token, first)


def test_the_same_keys_are_the_same_agent(state):
    """A reply was lost, and the operator had minted another token already."""
    first, second = (state.mint_token("hospital-1", url=URL) for _ in range(2))
    agent = an_agent()
    ask(state, first, agent)
    ask(state, second, agent)
    assert state.live_agent("hospital-1").key == agent.key


def test_a_revoked_or_expired_agent_leaves_its_name(state, layout):
    agent = an_agent()
    ask(state, state.mint_token("hospital-1", url=URL), agent)
    (layout.registrar / "roster.signed").write_bytes(revise_roster(layout.root, revoke=[agent.key]))
    ask(state, state.mint_token("hospital-1", url=URL), an_agent())
    with pytest.raises(ConfigError, match="--replace"):
        state.mint_token("hospital-1", url=URL)
    roster = revise_roster(layout.root, lifetime_ms=3 * YEAR_MS)
    (layout.registrar / "roster.signed").write_bytes(roster)
    state.mint_token("hospital-1", url=URL, at_ms=now_ms() + YEAR_MS + DAY)


def test_a_database_of_the_first_version_is_brought_up_to_date(state, layout):
    agent = an_agent()
    ask(state, state.mint_token("hospital-1", url=URL), agent)
    state.close()
    with sqlite3.connect(layout.registrar / "registrar.db") as database:
        for column in ("replaces", "superseded_ms"):
            database.execute(f"ALTER TABLE tokens DROP COLUMN {column}")
        database.execute("PRAGMA user_version = 1")
    database.close()
    with RegistrarState.open(layout.registrar) as again:
        assert again.live_agent("hospital-1").key == agent.key
        with pytest.raises(ConfigError, match="--replace"):
            again.mint_token("hospital-1", url=URL)


def test_an_expired_token_is_refused_and_time_never_goes_back(state):
    token = state.mint_token("hospital-1", url=URL, ttl_ms=1000)
    expires = parse_token(token).expires_ms
    with pytest.raises(EnrolmentRefused, match="expired"):
        ask(state, token, an_agent(), at_ms=expires)
    state.mint_token("later", url=URL, at_ms=expires + 1)
    with pytest.raises(EnrolmentRefused, match="expired"):
        ask(state, token, an_agent(), at_ms=expires - 500)


def test_a_refused_attempt_leaves_the_token_unused(state):
    token = state.mint_token("hospital-1", url=URL)
    with pytest.raises(EnrolmentRefused, match="another name"):
        ask(state, token, an_agent("hospital-2"))
    broken = an_agent()
    request = build_request(parse_token(token), broken)
    with pytest.raises(SignatureInvalid):
        state.enrol(request[:-1] + bytes([request[-1] ^ 1]))
    assert state.agents() == []
    ask(state, token, an_agent())


def test_an_unknown_token_is_refused(state):
    token = parse_token(state.mint_token("hospital-1", url=URL))
    forged = format_token(msgspec.structs.replace(token, secret=bytes(32)))
    with pytest.raises(EnrolmentRefused, match="does not know"):
        ask(state, forged, an_agent())


def test_nothing_stored_lets_anybody_enrol(state, layout):
    token = parse_token(state.mint_token("hospital-1", url=URL))
    key = token_key(token.secret)
    stored = b"".join(path.read_bytes() for path in layout.registrar.iterdir())
    for secret in (token.secret, key.private_bytes_raw(), key.public_key().public_bytes_raw()):
        assert secret not in stored
        assert secret.hex().encode() not in stored


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_the_database_is_private(state, layout):
    state.mint_token("hospital-1", url=URL)
    assert stat.S_IMODE((layout.registrar / "registrar.db").stat().st_mode) == 0o600


def test_writes_are_synced_fully(state):
    assert state._database.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert state._database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_two_at_once_get_one_enrolment(layout):
    with RegistrarState.open(layout.registrar) as state:
        token = state.mint_token("hospital-1", url=URL)
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def attempt() -> None:
        request = build_request(parse_token(token), an_agent())
        with RegistrarState.open(layout.registrar) as mine:
            start.wait()
            try:
                mine.enrol(request)
                outcomes.append("enrolled")
            except EnrolmentRefused:
                outcomes.append("refused")

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["enrolled", "refused", "refused", "refused"]


def test_a_crash_before_the_commit_leaves_the_token_unused(state, layout, monkeypatch):
    token = state.mint_token("hospital-1", url=URL)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RegistrarState, "_issue", crash)
        with pytest.raises(KeyboardInterrupt):
            ask(state, token, an_agent())
    with RegistrarState.open(layout.registrar) as again:
        assert again.agents() == []
        ask(again, token, an_agent())
    assert len(state.agents()) == 1


def test_revoked_and_borrowed_keys_do_not_enrol(state, layout):
    agent = an_agent()
    token = state.mint_token("hospital-1", url=URL)
    (layout.registrar / "roster.signed").write_bytes(revise_roster(layout.root, revoke=[agent.key]))
    with pytest.raises(EnrolmentRefused, match="revoked"):
        ask(state, token, agent)
    author = Identity.load(layout.author / "identity.key")
    borrowed = Identity("agent", "hospital-1", author._sign, agent._seal, agent._tls)
    with pytest.raises(EnrolmentRefused, match="another party"):
        ask(state, token, borrowed)


def test_a_replaced_roster_is_what_the_next_agent_gets(state, layout):
    (layout.registrar / "roster.signed").write_bytes(second := revise_roster(layout.root))
    assert ask(state, state.mint_token("a", url=URL), an_agent("a")).roster == second


def test_an_expired_roster_enrols_nobody(state):
    with pytest.raises(Expired):
        ask(state, state.mint_token("a", url=URL, at_ms=now_ms() + 3 * YEAR_MS), an_agent("a"))


def test_the_entry_is_the_registrars_word(state):
    reply = ask(state, state.mint_token("a", url=URL), an_agent("a"))
    signed = decode(Signed, reply.entry)
    assert signed.signer == state.identity.key
    assert decode(Entry, signed.payload).role == "agent"
    assert encode(signed) == reply.entry


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "printable"),
        ({"name": "a\n"}, "printable"),
        ({"url": "ws://127.0.0.1:1"}, "wss://"),
        ({"ttl_ms": 0}, "holds"),
        ({"ttl_ms": 31 * DAY}, "30 days"),
    ],
)
def test_misuse_is_refused(state, options, message):
    arguments = {"name": "a", "url": URL} | options
    with pytest.raises(ConfigError, match=message):
        state.mint_token(arguments.pop("name"), **arguments)


def test_another_partys_folder_is_refused(layout):
    with pytest.raises(ConfigError, match="of a coordinator"):
        RegistrarState.open(layout.coordinator)
    with pytest.raises(ConfigError, match="does not exist"):
        RegistrarState.open(layout.root)
    (layout.registrar / "certificate.pem").unlink()
    with pytest.raises(ConfigError, match=r"certificate\.pem"):
        RegistrarState.open(layout.registrar)


def test_a_newer_or_foreign_database_is_refused(state, layout):
    state.close()
    path = layout.registrar / "registrar.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 3")
    database.close()
    with pytest.raises(StateVersion, match="version 3"):
        RegistrarState.open(layout.registrar)
    for file in layout.registrar.glob("registrar.db*"):
        file.unlink()
    path.write_bytes(b"no database at all, and long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match=r"registrar\.db"):
        RegistrarState.open(layout.registrar)


def test_a_locked_database_says_so(state, layout, monkeypatch):
    monkeypatch.setattr("sojourn.registrar.database.BUSY_TIMEOUT_S", 0.05)
    with RegistrarState.open(layout.registrar) as other:
        state._database.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreError, match="locked"):
            other.mint_token("a", url=URL)
        assert time.monotonic() - began < 5
        state._database.execute("ROLLBACK")


def test_an_unusable_sealing_key_is_refused(state, monkeypatch):
    agent = an_agent()
    token = state.mint_token("hospital-1", url=URL)
    monkeypatch.setattr(Identity, "seal_key", property(lambda _: b"short"))
    with pytest.raises(EnrolmentRefused, match="1216 bytes"):
        ask(state, token, agent)
    assert state.agents() == []
