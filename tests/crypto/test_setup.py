"""Setting up a federation: who gets which key, and how the roster goes on."""

from __future__ import annotations

import os
import stat

import pytest
from cryptography import x509
from sojourn.crypto import (
    Authority,
    Identity,
    RootKey,
    create_trust,
    load_trusted_set,
    read_root_public,
    revise_roster,
)
from sojourn.crypto.setup import YEAR_MS, now_ms
from sojourn.errors import ConfigError, Expired, TrustError, UnknownSigner


@pytest.fixture
def layout(tmp_path):
    return create_trust(tmp_path / "trust", authors=("ada", "bob"), hosts=("coordinator.example", "10.0.0.7"))


def test_each_party_gets_its_own_keys_and_no_other(layout):
    def files(folder):
        return sorted(path.name for path in folder.iterdir())

    assert files(layout.root) == ["root.key", "root.pub", "roster.signed"]
    assert files(layout.registrar) == ["authority.key", "certificate.pem", "identity.key", "root.pub", "roster.signed"]
    assert files(layout.coordinator) == ["certificate.pem", "identity.key", "root.pub", "roster.signed"]
    for author in layout.authors:
        assert files(author) == ["identity.key", "root.pub", "roster.signed"]
    assert layout.author == layout.authors[0]
    assert [path.name for path in layout.authors] == ["author", "author-bob"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_private_things_are_private(layout):
    for path in layout.root.parent.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700
        elif path.suffix == ".key":
            assert mode == 0o600


def test_the_roster_names_them_all(layout):
    trusted = load_trusted_set(layout.coordinator)
    assert trusted.root_key == read_root_public(layout.root_public) == RootKey.load(layout.root / "root.key").public
    assert trusted.roster.version == 1
    assert trusted.roster.authority == Authority.load(layout.registrar / "authority.key").certificate
    parties = [layout.registrar, layout.coordinator, *layout.authors]
    identities = [Identity.load(folder / "identity.key") for folder in parties]
    assert [(entry.role, entry.name) for entry in trusted.roster.entries] == [
        ("registrar", "registrar"),
        ("coordinator", "coordinator"),
        ("author", "ada"),
        ("author", "bob"),
    ]
    for entry, identity in zip(trusted.roster.entries, identities, strict=True):
        assert entry == identity.entry(entry.issued_ms, entry.expires_ms)
        assert trusted.entry(identity.key, identity.role, now_ms()) == entry
    assert layout.roster.read_bytes() == trusted.roster_bytes


def test_servers_are_reached_by_the_given_hosts(layout):
    certificate = Identity.load(layout.coordinator / "identity.key").certificate
    names = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost", "coordinator.example"]
    assert [str(a) for a in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.7"]


def test_nothing_is_overwritten(layout):
    before = (layout.root / "root.key").read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        create_trust(layout.root.parent)
    assert (layout.root / "root.key").read_bytes() == before
    for authors in ((), ("a", "a")):
        with pytest.raises(ConfigError, match="author"):
            create_trust(layout.root.parent / "other", authors=authors)


def test_a_revised_roster_counts_up_and_keeps_revocations(layout):
    ada, bob = (Identity.load(folder / "identity.key") for folder in layout.authors)
    trusted = load_trusted_set(layout.root)
    carol = Identity.generate("author", "carol")
    now = now_ms()
    second = revise_roster(layout.root, revoke=[bob.key], add=[carol.entry(now, now + YEAR_MS)])
    trusted.load_roster(second, now_ms())
    assert trusted.roster.version == 2
    assert trusted.entry(carol.key, "author", now_ms()).name == "carol"
    third = revise_roster(layout.root, revoke=[ada.key, bob.key])
    assert third == layout.roster.read_bytes()
    trusted.load_roster(third, now_ms())
    assert trusted.roster.revoked == tuple(sorted([ada.key, bob.key]))
    for author in (ada, bob):
        with pytest.raises(UnknownSigner, match="revoked"):
            trusted.entry(author.key, "author", now_ms())


def test_an_expired_roster_is_refused_and_can_be_revised(tmp_path):
    long_ago = now_ms() - 10_000
    layout = create_trust(tmp_path / "trust", lifetime_ms=5_000, at_ms=long_ago)
    with pytest.raises(Expired, match="roster"):
        load_trusted_set(layout.author)
    assert load_trusted_set(layout.author, at_ms=long_ago).roster.version == 1
    with pytest.raises(Expired):
        load_trusted_set(layout.author, at_ms=long_ago, floor_ms=now_ms())
    revise_roster(layout.root)
    assert load_trusted_set(layout.root).roster.version == 2


def test_another_roots_roster_is_refused(layout, tmp_path):
    other = create_trust(tmp_path / "other")
    (layout.coordinator / "roster.signed").write_bytes(other.roster.read_bytes())
    with pytest.raises(TrustError, match="root"):
        load_trusted_set(layout.coordinator)
    (layout.root / "roster.signed").write_bytes(other.roster.read_bytes())
    with pytest.raises(TrustError, match="root"):
        revise_roster(layout.root)
    (layout.coordinator / "roster.signed").unlink()
    with pytest.raises(ConfigError, match="does not exist"):
        load_trusted_set(layout.coordinator)
