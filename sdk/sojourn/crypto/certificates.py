"""The private P-256 certificate authority of TLS, its leaf certificates, and the two TLS contexts.

Rules:

* TLS carries the envelopes and names the peer to the connection; no claim of a document rests on it. Whoever a TLS
  peer is, is settled by its `Entry`, whose `tls` field is the SHA-256 of the certificate that the peer presented.
* TLS 1.3 only. A leaf names its party by the URI `spiffe://sojourn/<role>/<key id>` and, for a server, its hosts.
* The authority's key is the registrar's. P-256, because X.509 verifiers refuse Ed25519 certificates.
"""

from __future__ import annotations

import ipaddress
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sojourn.codec import Kind, Record, decode, digest, encode
from sojourn.contracts import SUITE_1, Role
from sojourn.crypto.identity import Identity
from sojourn.crypto.keyfiles import read_private, write_private
from sojourn.crypto.suite import check_suite
from sojourn.errors import ConfigError, DecodeError, EnrolmentRefused, SignatureInvalid

__all__ = [
    "LOOPBACK_HOSTS",
    "Authority",
    "check_certificate",
    "client_context",
    "peer_digest",
    "pinned_context",
    "request_certificate",
    "requested_key",
    "server_context",
    "spiffe_uri",
]

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
LEAF_DAYS: Final = 398
AUTHORITY_DAYS: Final = 3650
_X509_ERRORS: Final = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading and verifying hostile X.509 bytes raises."""

BACKDATE: Final = timedelta(hours=1)
"""Certificates begin in the past, so that a peer whose clock is a little late accepts them."""


class AuthorityKeystore(Record, frozen=True):
    """The content of the authority's file."""

    KIND: ClassVar[int] = Kind.AUTHORITY_KEYSTORE
    suite: int
    key: bytes  # P-256 private key, PKCS #8 DER
    certificate: bytes  # DER

    def __repr__(self) -> str:
        return "AuthorityKeystore(key …)"


class Authority:
    """The certificate authority: it issues leaves for keys whose possession a certificate request proves."""

    __slots__ = ("_certificate", "_key")

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key, self._certificate = key, certificate

    @classmethod
    def generate(cls) -> Authority:
        """A fresh authority, valid ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sojourn private authority")])
        certificate = (
            _builder(name, name, key.public_key(), AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @property
    def certificate(self) -> bytes:
        """DER of the authority's certificate: the roster's `authority`."""
        return self._certificate.public_bytes(serialization.Encoding.DER)

    def issue(self, request: bytes, role: Role, key: bytes, *, hosts: Iterable[str] = ()) -> bytes:
        """Issue a leaf certificate, valid from an hour ago for 398 days.

        Args:
            request: DER of the certificate request. Only its public key and its proof of possession are used.
            role: of the party.
            key: its key id, 32 bytes.
            hosts: DNS names and IP addresses of a server; empty for a party that only connects.

        Returns:
            DER of the certificate.

        Raises:
            EnrolmentRefused: the request cannot be read, its signature fails, or its key is not P-256.
        """
        public = requested_key(request)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{role} {key.hex()[:16]}")])
        hosts = tuple(hosts)
        names: list[x509.GeneralName] = [_general_name(host) for host in hosts]
        names.append(x509.UniformResourceIdentifier(spiffe_uri(role, key)))
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        certificate = (
            _builder(subject, self._certificate.subject, public, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.DER)

    def certify(self, identity: Identity, *, hosts: Iterable[str] = ()) -> Identity:
        """`identity` with a certificate of this authority; for parties that are set up in one place."""
        return identity.with_certificate(
            self.issue(request_certificate(identity), identity.role, identity.key, hosts=hosts)
        )

    def save(self, path: Path) -> None:
        """Write key and certificate to `path`, mode 0600. Raises `ConfigError` where it exists."""
        key = self._key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(path, encode(AuthorityKeystore(suite=SUITE_1, key=key, certificate=self.certificate)))

    @classmethod
    def load(cls, path: Path) -> Authority:
        """Read what `save` wrote.

        Raises:
            ConfigError: missing, readable by others or damaged.
        """
        try:
            store = decode(AuthorityKeystore, read_private(path))
            check_suite(store.suite, str(path))
            key = serialization.load_der_private_key(store.key, password=None)
            certificate = x509.load_der_x509_certificate(store.certificate)
        except (DecodeError, ValueError) as problem:
            reason = problem if isinstance(problem, DecodeError) else "the key in it cannot be read"
            raise ConfigError(f"{path} is not the authority of this program: {reason}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{path} holds no elliptic curve key")
        return cls(key, certificate)

    def __repr__(self) -> str:
        return f"Authority({digest(self.certificate).hex()[:16]}…)"

    def __reduce__(self) -> str:
        raise TypeError("an authority holds a private key and is not pickled")


def spiffe_uri(role: Role, key: bytes) -> str:
    """The URI that names a party in its certificate."""
    return f"spiffe://sojourn/{role}/{key.hex()}"


def request_certificate(identity: Identity) -> bytes:
    """DER of a PKCS #10 request for the identity's TLS key: it proves that whoever asks holds that key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.role)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(identity.tls, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def check_certificate(certificate: bytes, authority: bytes, role: Role, key: bytes) -> None:
    """Check that a leaf was issued by `authority` to exactly this party.

    Args:
        certificate: DER of the leaf.
        authority: DER of the authority, from a verified roster.
        role: expected role.
        key: expected key id.

    Raises:
        SignatureInvalid: issued by somebody else, unreadable, or for another party.
    """
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(authority))
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _X509_ERRORS:
        raise SignatureInvalid("the TLS certificate was not issued by the roster's authority") from None
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [spiffe_uri(role, key)]:
        raise SignatureInvalid(f"the TLS certificate names another party than {spiffe_uri(role, key)}")


def server_context(identity: Identity, authority: bytes, *, require_client: bool = True) -> ssl.SSLContext:
    """TLS 1.3 for a listener.

    Args:
        identity: the server's, with its certificate.
        authority: DER of the private authority (`roster.authority`).
        require_client: demand a certificate of that authority from every client; False only where the client has
            none yet (enrolment) or proves itself otherwise (an operator's token).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load_chain(context, identity)
    if require_client:
        context.load_verify_locations(cadata=authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(authority: bytes, identity: Identity | None = None) -> ssl.SSLContext:
    """TLS 1.3 for a client: the server needs a certificate of `authority` for the host that is dialled.

    Args:
        authority: DER of the private authority (`roster.authority`).
        identity: presented to the server where given (an agent); None for an operator.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    if identity is not None:
        _load_chain(context, identity)
    return context


def pinned_context(pin: bytes) -> ssl.SSLContext:
    """TLS 1.3 for a client that knows nothing but the SHA-256 of the server's certificate.

    The check is part of the handshake: with another certificate no byte of the application is ever sent. That the
    server holds the certificate's key is proven by TLS itself, whatever the verify mode.

    Args:
        pin: SHA-256 of the DER of the server's certificate, 32 bytes.
    """

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = self.getpeercert(binary_form=True)
            if certificate is None or digest(certificate) != pin:
                raise ssl.SSLCertVerificationError("the server's certificate is not the pinned one")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslobject_class = PinnedObject
    return context


def peer_digest(connection: ssl.SSLObject | ssl.SSLSocket) -> bytes:
    """SHA-256 of the certificate that the TLS peer presented: compare it with `Entry.tls`.

    Args:
        connection: `transport.get_extra_info("ssl_object")`.

    Raises:
        SignatureInvalid: the peer presented none.
    """
    certificate = connection.getpeercert(binary_form=True)
    if certificate is None:
        raise SignatureInvalid("the TLS peer presented no certificate")
    return digest(certificate)


def _load_chain(context: ssl.SSLContext, identity: Identity) -> None:
    """Give `context` the identity's chain. `ssl` reads files only, so the key passes through one that is encrypted
    under a password that lives in this call."""
    if identity.certificate is None:
        raise ConfigError(f"{identity.role} {identity.name!r} has no TLS certificate yet; have one issued first")
    password = secrets.token_bytes(32).hex().encode("ascii")
    key = identity.tls.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    certificate = x509.load_der_x509_certificate(identity.certificate).public_bytes(serialization.Encoding.PEM)
    with tempfile.TemporaryDirectory(prefix="sojourn-") as folder:
        path = Path(folder) / "chain.pem"
        path.write_bytes(key + certificate)
        context.load_cert_chain(path, password=password)


def requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key that a certificate request asks for, and proves possession of.

    Raises:
        EnrolmentRefused: it cannot be read, is for another kind of key, or proves nothing.
    """
    try:
        parsed = x509.load_der_x509_csr(request)
        public = parsed.public_key()
        proven = parsed.is_signature_valid
    except _X509_ERRORS:
        raise EnrolmentRefused("the certificate request cannot be read") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise EnrolmentRefused("the certificate request is not for a P-256 key")
    if not proven:
        raise EnrolmentRefused("the certificate request does not prove that the asker holds its key")
    return public


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - BACKDATE
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
