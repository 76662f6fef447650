"""TLS: version 1.3, both sides named by the one authority, and a pin that holds before a byte is sent."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sojourn.codec import digest
from sojourn.crypto import (
    Authority,
    Identity,
    check_certificate,
    client_context,
    peer_digest,
    pinned_context,
    request_certificate,
    server_context,
    spiffe_uri,
)
from sojourn.errors import ConfigError, EnrolmentRefused, SignatureInvalid


class Pair:
    """Both ends of a TLS connection in memory."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, host: str = "127.0.0.1") -> None:
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(self.to_server, self.to_client, server_side=True)
        self.client = client.wrap_bio(self.to_client, self.to_server, server_hostname=host)

    def shake(self) -> Pair:
        waiting = [self.client, self.server]
        for _ in range(10):
            for side in list(waiting):
                try:
                    side.do_handshake()
                    waiting.remove(side)
                except ssl.SSLWantReadError:
                    pass
            if not waiting:
                # TLS 1.3: the client ends its handshake before the server judged its certificate
                self.server.write(b"hello")
                assert self.client.read(5) == b"hello"
                return self
        raise AssertionError("the handshake does not end")


def test_both_sides_know_each_other(world):
    for host in ("127.0.0.1", "localhost", "::1"):
        pair = Pair(
            server_context(world.coordinator, world.authority.certificate),
            client_context(world.authority.certificate, world.agent),
            host,
        ).shake()
        assert pair.client.version() == pair.server.version() == "TLSv1.3"
        assert peer_digest(pair.server) == world.entry(world.agent).tls
        assert peer_digest(pair.client) == world.entry(world.coordinator).tls


def test_an_agent_needs_a_certificate(world):
    with pytest.raises(ssl.SSLError):
        Pair(
            server_context(world.coordinator, world.authority.certificate), client_context(world.authority.certificate)
        ).shake()


def test_an_operator_needs_none(world):
    pair = Pair(
        server_context(world.coordinator, world.authority.certificate, require_client=False),
        client_context(world.authority.certificate),
    ).shake()
    with pytest.raises(SignatureInvalid, match="no certificate"):
        peer_digest(pair.server)


def test_another_authority_is_refused_on_both_sides(world):
    other = Authority.generate()
    stranger = other.certify(Identity.generate("agent", "stranger"))
    server = server_context(world.coordinator, world.authority.certificate)
    with pytest.raises(ssl.SSLError):
        Pair(server, client_context(world.authority.certificate, stranger)).shake()
    with pytest.raises(ssl.SSLCertVerificationError):
        Pair(server, client_context(other.certificate, world.agent)).shake()


def test_the_host_is_checked_and_an_agent_is_no_server(world):
    client = client_context(world.authority.certificate, world.agent)
    with pytest.raises(ssl.SSLCertVerificationError):
        Pair(server_context(world.coordinator, world.authority.certificate), client, "example.org").shake()
    with pytest.raises(ssl.SSLCertVerificationError):
        Pair(server_context(world.agent, world.authority.certificate), client).shake()


def test_older_versions_are_refused(world):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.load_verify_locations(cadata=world.authority.certificate)
    with pytest.raises(ssl.SSLError):
        Pair(server_context(world.coordinator, world.authority.certificate, require_client=False), old).shake()


def test_a_pin_needs_no_authority_and_admits_one_certificate(world):
    server = server_context(world.registrar, world.authority.certificate, require_client=False)
    Pair(server, pinned_context(digest(world.registrar.certificate))).shake()
    with pytest.raises(ssl.SSLCertVerificationError, match="pinned"):
        Pair(server, pinned_context(digest(world.coordinator.certificate))).shake()


def test_a_leaf_says_who_it_is(world):
    leaf = x509.load_der_x509_certificate(world.coordinator.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"spiffe://sojourn/coordinator/{world.coordinator.key.hex()}"
    ]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    now = datetime.now(UTC)
    assert leaf.not_valid_before_utc < now - timedelta(minutes=30)
    assert leaf.not_valid_after_utc > now + timedelta(days=365)
    assert isinstance(leaf.public_key().curve, ec.SECP256R1)


def test_a_leaf_is_checked_against_authority_role_and_key(world):
    authority, agent = world.authority.certificate, world.agent
    check_certificate(agent.certificate, authority, "agent", agent.key)
    for certificate, by, role, key in (
        (agent.certificate, Authority.generate().certificate, "agent", agent.key),
        (agent.certificate, authority, "coordinator", agent.key),
        (agent.certificate, authority, "agent", world.coordinator.key),
        (authority, authority, "agent", agent.key),
        (b"rubbish", authority, "agent", agent.key),
        (agent.certificate, b"rubbish", "agent", agent.key),
    ):
        with pytest.raises(SignatureInvalid):
            check_certificate(certificate, by, role, key)


def test_a_request_proves_possession_of_a_p256_key(world):
    request = request_certificate(world.agent)
    assert world.authority.issue(request, "agent", world.agent.key)
    content = x509.load_der_x509_csr(request).tbs_certrequest_bytes
    start = request.index(content)
    for index in (*range(start, start + len(content)), *range(len(request) - 32, len(request))):  # content, signature
        altered = request[:index] + bytes([request[index] ^ 1]) + request[index + 1 :]
        with pytest.raises(EnrolmentRefused):
            world.authority.issue(altered, "agent", world.agent.key)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        wrong = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        with pytest.raises(EnrolmentRefused, match="P-256"):
            world.authority.issue(wrong, "agent", world.agent.key)


def test_the_authority_survives_its_file(tmp_path, world):
    world.authority.save(tmp_path / "authority.key")
    loaded = Authority.load(tmp_path / "authority.key")
    assert loaded.certificate == world.authority.certificate
    leaf = loaded.certify(Identity.generate("agent", "a"))
    check_certificate(leaf.certificate, world.authority.certificate, "agent", leaf.key)
    (tmp_path / "authority.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Authority.load(tmp_path / "authority.key")
    world.agent.save(tmp_path / "identity.key")
    with pytest.raises(ConfigError, match="authority"):
        Authority.load(tmp_path / "identity.key")


def test_a_context_needs_a_certificate(world):
    with pytest.raises(ConfigError, match="certificate"):
        server_context(Identity.generate("coordinator", "c"), world.authority.certificate)


def test_the_uri_is_stable():
    assert spiffe_uri("agent", bytes(2)) == "spiffe://sojourn/agent/0000"
