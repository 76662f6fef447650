"""Identities: the private keys of one party, and the root key.

Rules:

* Private keys are made here, stay in this process and in one file of mode 0600, and show in no `repr`, error or pickle.
* An identity has one role. An author signs only; coordinator, registrar and agent also receive (an X-Wing key) and
  speak TLS (a P-256 key, whose certificate the roster's authority issues).
* The root key signs rosters and nothing else. It is needed only when the roster changes; keep it offline.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from sojourn.codec import Kind, Record, decode, digest, encode
from sojourn.contracts import SUITE_1, Entry, Role, Roster, key_id
from sojourn.crypto.documents import sign_document
from sojourn.crypto.keyfiles import read_private, read_public, write_private, write_public
from sojourn.crypto.suite import SIGN_KEY_BYTES, SealKey, check_suite
from sojourn.errors import ConfigError, DecodeError
from sojourn.limits import MAX_NAME_CHARS

__all__ = ["CERTIFICATE_FILE", "IDENTITY_FILE", "Identity", "RootKey", "read_root_public", "write_root_public"]

IDENTITY_FILE: Final = "identity.key"
CERTIFICATE_FILE: Final = "certificate.pem"


class Keystore(Record, frozen=True):
    """The content of an identity file. An author has only the first key."""

    KIND: ClassVar[int] = Kind.KEYSTORE
    suite: int
    role: Role
    name: str
    key: bytes  # key id, 32 bytes: a damaged private key is noticed when it is loaded
    sign: bytes  # Ed25519 private key, 32 bytes
    mlkem: bytes  # ML-KEM-768 seed, 64 bytes
    x25519: bytes  # X25519 private key, 32 bytes
    tls: bytes  # P-256 private key, PKCS #8 DER

    def __repr__(self) -> str:
        return f"Keystore({self.role}, {self.name!r}, keys …)"


class RootKeystore(Record, frozen=True):
    """The content of the root key's file."""

    KIND: ClassVar[int] = Kind.ROOT_KEYSTORE
    suite: int
    public: bytes  # noticed when it does not belong to `sign`
    sign: bytes

    def __repr__(self) -> str:
        return "RootKeystore(key …)"


class Identity:
    """The private side of one party. Make one with `generate` or `load`, never by hand.

    Attributes:
        role: `author`, `coordinator`, `registrar` or `agent`.
        name: for people; it identifies nothing.
        certificate: DER of the TLS certificate, None until one is issued (always None for an author).
    """

    __slots__ = ("_seal", "_sign", "_tls", "certificate", "name", "role")

    def __init__(
        self,
        role: Role,
        name: str,
        sign: ed25519.Ed25519PrivateKey,
        seal: SealKey | None,
        tls: ec.EllipticCurvePrivateKey | None,
        certificate: bytes | None = None,
    ) -> None:
        self.role: Final = role
        self.name: Final = name
        self._sign, self._seal, self._tls = sign, seal, tls
        self.certificate: Final = certificate

    @classmethod
    def generate(cls, role: Role, name: str) -> Identity:
        """Fresh keys for `role`.

        Raises:
            ConfigError: the name is empty, too long or not printable.
        """
        if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise ConfigError(f"a party's name is 1 to {MAX_NAME_CHARS} printable characters")
        sign = ed25519.Ed25519PrivateKey.generate()
        if role == "author":
            return cls(role, name, sign, None, None)
        return cls(role, name, sign, SealKey.generate(), ec.generate_private_key(ec.SECP256R1()))

    @property
    def sign_key(self) -> bytes:
        """Ed25519 public key, 32 bytes."""
        return self._sign.public_key().public_bytes_raw()

    @property
    def seal_key(self) -> bytes:
        """X-Wing public key, 1216 bytes; empty for an author."""
        return self._seal.public if self._seal else b""

    @property
    def key(self) -> bytes:
        """Key id, 32 bytes."""
        return key_id(self.sign_key, self.seal_key)

    @property
    def seal(self) -> SealKey:
        """The private sealing key.

        Raises:
            ConfigError: an author receives nothing.
        """
        if self._seal is None:
            raise ConfigError("an author has no sealing key: authors sign, they receive nothing")
        return self._seal

    @property
    def tls(self) -> ec.EllipticCurvePrivateKey:
        """The private TLS key, P-256.

        Raises:
            ConfigError: an author has none.
        """
        if self._tls is None:
            raise ConfigError("an author has no TLS key: authors sign, they open no connection of their own")
        return self._tls

    def sign_bytes(self, message: bytes) -> bytes:
        """Ed25519 signature over `message`, 64 bytes. For documents use `sign`."""
        return self._sign.sign(message)

    def sign(self, record: Record) -> bytes:
        """The encoded `Signed` over the framed bytes of `record`."""
        return sign_document(self, record)

    def entry(self, issued_ms: int, expires_ms: int) -> Entry:
        """The public entry of this identity, to be put into a roster or signed by a registrar.

        Raises:
            ConfigError: a party that speaks TLS has no certificate yet.
        """
        if self._tls is not None and self.certificate is None:
            raise ConfigError(f"{self.role} {self.name!r} has no TLS certificate yet; have one issued first")
        return Entry(
            suite=SUITE_1,
            role=self.role,
            name=self.name,
            sign_key=self.sign_key,
            seal_key=self.seal_key,
            tls=digest(self.certificate) if self.certificate is not None else b"",
            issued_ms=issued_ms,
            expires_ms=expires_ms,
        )

    def with_certificate(self, certificate: bytes) -> Identity:
        """This identity with its TLS certificate (DER).

        Raises:
            ConfigError: the certificate is not for this identity's TLS key.
        """
        mine = self.tls.public_key()
        try:
            public = x509.load_der_x509_certificate(certificate).public_key()
        except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
            raise ConfigError("the TLS certificate cannot be read") from None
        if not isinstance(public, ec.EllipticCurvePublicKey) or public.public_numbers() != mine.public_numbers():
            raise ConfigError("the TLS certificate is not for this identity's key; was another identity put here?")
        return Identity(self.role, self.name, self._sign, self._seal, self._tls, certificate)

    def save(self, path: Path) -> None:
        """Write the private keys to `path` (0600, synced), and the certificate, if any, as `certificate.pem` beside it.

        Raises:
            ConfigError: `path` exists.
        """
        mlkem, x25519 = self._seal.secret_parts() if self._seal else (b"", b"")
        tls = b""
        if self._tls is not None:
            tls = self._tls.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        store = Keystore(
            suite=SUITE_1,
            role=self.role,
            name=self.name,
            key=self.key,
            sign=self._sign.private_bytes_raw(),
            mlkem=mlkem,
            x25519=x25519,
            tls=tls,
        )
        write_private(path, encode(store))
        if self.certificate is not None:
            self.save_certificate(path.with_name(CERTIFICATE_FILE))

    def save_certificate(self, path: Path) -> None:
        """Write the TLS certificate as PEM, replacing what is there.

        Raises:
            ConfigError: there is none yet.
        """
        if self.certificate is None:
            raise ConfigError(f"{self.role} {self.name!r} has no TLS certificate yet; have one issued first")
        certificate = x509.load_der_x509_certificate(self.certificate)
        write_public(path, certificate.public_bytes(serialization.Encoding.PEM))

    @classmethod
    def load(cls, path: Path, certificate: Path | None = None) -> Identity:
        """Read an identity file and the certificate that belongs to it.

        Args:
            path: what `save` wrote.
            certificate: PEM file; by default `certificate.pem` beside `path`, if it is there.

        Raises:
            ConfigError: missing, readable by others (the message says `chmod 600`), damaged, or not one another's.
        """
        try:
            store = decode(Keystore, read_private(path))
            check_suite(store.suite, str(path))
            identity = _restore(store)
        except (DecodeError, ValueError) as problem:
            reason = problem if isinstance(problem, DecodeError) else "a key in it cannot be read"
            raise ConfigError(f"{path} is not an identity file of this program: {reason}") from None
        beside = certificate or path.with_name(CERTIFICATE_FILE)
        if store.role == "author" or (certificate is None and not beside.exists()):
            return identity
        try:
            parsed = x509.load_pem_x509_certificate(read_public(beside))
        except (ValueError, x509.InvalidVersion):
            raise ConfigError(f"{beside} is not a certificate in PEM") from None
        return identity.with_certificate(parsed.public_bytes(serialization.Encoding.DER))

    def __repr__(self) -> str:
        return f"Identity({self.role}, {self.name!r}, {self.key.hex()[:16]}…)"

    def __reduce__(self) -> str:
        raise TypeError("an identity holds private keys and is not pickled")


def _restore(store: Keystore) -> Identity:
    sign = ed25519.Ed25519PrivateKey.from_private_bytes(store.sign)
    if store.role == "author":
        identity = Identity(store.role, store.name, sign, None, None)
    else:
        tls = serialization.load_der_private_key(store.tls, password=None)
        if not isinstance(tls, ec.EllipticCurvePrivateKey):
            raise DecodeError("value", "the TLS key is not an elliptic curve key")
        identity = Identity(store.role, store.name, sign, SealKey(store.mlkem, store.x25519), tls)
    if identity.key != store.key:
        raise DecodeError("digest", "its keys are damaged; restore the file from a backup")
    return identity


class RootKey:
    """The root of trust: an Ed25519 key that signs rosters. Its public half is what every party pins."""

    __slots__ = ("_sign",)

    def __init__(self, sign: ed25519.Ed25519PrivateKey) -> None:
        self._sign = sign

    @classmethod
    def generate(cls) -> RootKey:
        """A fresh root key."""
        return cls(ed25519.Ed25519PrivateKey.generate())

    @property
    def public(self) -> bytes:
        """Ed25519 public key, 32 bytes: the pin."""
        return self._sign.public_key().public_bytes_raw()

    @property
    def key(self) -> bytes:
        """Key id of the root, 32 bytes."""
        return key_id(self.public, b"")

    def sign_bytes(self, message: bytes) -> bytes:
        """Ed25519 signature over `message`, 64 bytes."""
        return self._sign.sign(message)

    def sign_roster(self, roster: Roster) -> bytes:
        """The encoded `Signed` over the roster."""
        return sign_document(self, roster)

    def save(self, path: Path) -> None:
        """Write to `path`, mode 0600. Raises `ConfigError` where it exists."""
        store = RootKeystore(suite=SUITE_1, public=self.public, sign=self._sign.private_bytes_raw())
        write_private(path, encode(store))

    @classmethod
    def load(cls, path: Path) -> RootKey:
        """Read what `save` wrote.

        Raises:
            ConfigError: missing, readable by others or damaged.
        """
        try:
            store = decode(RootKeystore, read_private(path))
            check_suite(store.suite, str(path))
            root = cls(ed25519.Ed25519PrivateKey.from_private_bytes(store.sign))
        except (DecodeError, ValueError) as problem:
            reason = problem if isinstance(problem, DecodeError) else "the key in it cannot be read"
            raise ConfigError(f"{path} is not a root key of this program: {reason}") from None
        if root.public != store.public:
            raise ConfigError(f"{path} is a damaged root key; restore it from a backup")
        return root

    def __repr__(self) -> str:
        return f"RootKey({self.public.hex()[:16]}…)"

    def __reduce__(self) -> str:
        raise TypeError("a root key is not pickled")


def write_root_public(path: Path, root_key: bytes) -> None:
    """Write the pin as one line of 64 hexadecimal characters."""
    write_public(path, root_key.hex().encode("ascii") + b"\n")


def read_root_public(path: Path) -> bytes:
    """Read the pin, 32 bytes.

    Raises:
        ConfigError: missing, or not 64 hexadecimal characters.
    """
    try:
        key = bytes.fromhex(read_public(path).decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != SIGN_KEY_BYTES:
        raise ConfigError(f"{path} is not a root key: it holds one line of 64 hexadecimal characters")
    return key
