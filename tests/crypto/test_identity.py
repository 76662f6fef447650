"""Identities on disk and in memory: private, whole, and never shown."""

from __future__ import annotations

import os
import pickle
import stat

import pytest
from sojourn.codec import digest
from sojourn.contracts import key_id
from sojourn.crypto import Identity, RootKey, read_root_public, write_root_public
from sojourn.crypto.identity import Keystore
from sojourn.crypto.suite import verify_signature
from sojourn.errors import ConfigError

posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")


@pytest.mark.parametrize("role", ["author", "coordinator", "registrar", "agent"])
def test_saved_and_loaded_it_is_the_same(tmp_path, world, role):
    identity = Identity.generate(role, "name")
    if role != "author":
        identity = world.authority.certify(identity)
    path = tmp_path / "identity.key"
    identity.save(path)
    loaded = Identity.load(path)
    assert loaded.entry(1, 2) == identity.entry(1, 2)
    assert (loaded.role, loaded.name, loaded.key, loaded.certificate) == (
        role,
        "name",
        identity.key,
        identity.certificate,
    )
    verify_signature(identity.sign_key, loaded.sign_bytes(b"message"), b"message", "test")
    assert (tmp_path / "certificate.pem").exists() == (role != "author")


def test_an_entry_says_what_its_role_has(world):
    author, agent = Identity.generate("author", "a").entry(1, 2), world.agent.entry(1, 2)
    assert (author.seal_key, author.tls) == (b"", b"")
    assert len(agent.seal_key) == 1216
    assert agent.tls == digest(world.agent.certificate)
    assert agent.key == key_id(agent.sign_key, agent.seal_key) == world.agent.key


def test_without_a_certificate_there_is_no_entry():
    with pytest.raises(ConfigError, match="certificate"):
        Identity.generate("agent", "a").entry(1, 2)


def test_an_author_neither_receives_nor_connects():
    author = Identity.generate("author", "a")
    with pytest.raises(ConfigError, match="sealing"):
        _ = author.seal
    with pytest.raises(ConfigError, match="TLS"):
        _ = author.tls


@posix
def test_a_key_file_is_private_and_stays_so(tmp_path):
    path = tmp_path / "identity.key"
    Identity.generate("author", "a").save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for mode in (0o640, 0o604, 0o660, 0o777):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
            Identity.load(path)
    path.chmod(0o400)
    Identity.load(path)


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "identity.key"
    first = Identity.generate("author", "a")
    first.save(path)
    with pytest.raises(ConfigError, match="never overwritten"):
        Identity.generate("author", "b").save(path)
    assert Identity.load(path).key == first.key
    assert [file.name for file in tmp_path.iterdir()] == ["identity.key"]  # no temporary file stays


def test_damaged_files_are_refused_without_showing_them(tmp_path):
    path = tmp_path / "identity.key"
    Identity.generate("agent", "a").save(path)
    good = path.read_bytes()
    for bad in (
        b"",
        good[:-1],
        good + b"x",
        good[:60] + bytes([good[60] ^ 1]) + good[61:],
        b"SJ\x04\x05\x00\x02" + good[6:],
        bytes(70_000),
    ):
        path.write_bytes(bad)
        with pytest.raises(ConfigError) as caught:
            Identity.load(path)
        assert str(path) in str(caught.value)
        assert caught.value.__cause__ is None


def test_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="enrol"):
        Identity.load(tmp_path / "identity.key")
    with pytest.raises(ConfigError, match="create it first"):
        Identity.generate("author", "a").save(tmp_path / "none" / "identity.key")
    with pytest.raises(ConfigError, match="cannot be read"):
        Identity.load(tmp_path)


def test_a_foreign_certificate_is_refused(tmp_path, world):
    path = tmp_path / "identity.key"
    Identity.generate("agent", "a").save(path)
    world.agent.save_certificate(tmp_path / "certificate.pem")
    with pytest.raises(ConfigError, match="another identity"):
        Identity.load(path)
    (tmp_path / "certificate.pem").write_bytes(b"no certificate")
    with pytest.raises(ConfigError, match="PEM"):
        Identity.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        world.agent.with_certificate(b"rubbish")


@pytest.mark.parametrize("name", ["", "x" * 257, "two\nlines"])
def test_names_are_printable(name):
    with pytest.raises(ConfigError, match="printable"):
        Identity.generate("agent", name)


def test_nothing_secret_is_shown_or_pickled(tmp_path, world):
    world.agent.save(tmp_path / "identity.key")
    secrets = [world.agent._sign.private_bytes_raw(), *world.agent._seal.secret_parts()]
    stored = (tmp_path / "identity.key").read_bytes()
    assert all(secret in stored for secret in secrets)
    store = Keystore(1, "agent", "a", bytes(32), *secrets, b"tls secret")
    root = RootKey.generate()
    for shown in (repr(world.agent), str(world.agent), repr(store), repr(root), repr(world.authority)):
        assert not any(secret.hex() in shown or repr(secret)[2:20] in shown for secret in secrets)
        assert "tls secret" not in shown
    for private in (world.agent, root, world.authority):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(private)


def test_the_root_key_and_its_pin(tmp_path):
    root = RootKey.generate()
    root.save(tmp_path / "root.key")
    assert RootKey.load(tmp_path / "root.key").public == root.public
    write_root_public(tmp_path / "root.pub", root.public)
    assert (tmp_path / "root.pub").read_text() == root.public.hex() + "\n"
    assert read_root_public(tmp_path / "root.pub") == root.public
    for bad in ("", "00", "zz" * 32, "00" * 33, "é"):
        (tmp_path / "root.pub").write_text(bad)
        with pytest.raises(ConfigError, match="64 hexadecimal"):
            read_root_public(tmp_path / "root.pub")
    Identity.generate("author", "a").save(tmp_path / "other.key")
    with pytest.raises(ConfigError, match="root key"):
        RootKey.load(tmp_path / "other.key")
