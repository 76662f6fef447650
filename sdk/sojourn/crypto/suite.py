"""The primitives of suite 1, and nothing else: every algorithm choice of `sojourn.contracts.suites` is made here.

Rules:

* Keys enter and leave this module as raw bytes or as objects of `cryptography`; nothing here touches a file.
* Verifying and opening raise; no function returns a bool.
* A new suite is a new module beside this one under a new id, never an option of this one.

Sources: RFC 8032 (Ed25519), RFC 9180 (HPKE base mode) with draft-connolly-cfrg-xwing-kem (X-Wing: ML-KEM-768 of
FIPS 203 and X25519), NIST SP 800-38D (AES-256-GCM), FIPS 180-4 (SHA-256).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sojourn.contracts import SUITE_1
from sojourn.errors import DecodeError, SignatureInvalid, TrustError

__all__ = [
    "KEY_BYTES",
    "SEAL_KEY_BYTES",
    "SIGNATURE_BYTES",
    "SIGN_KEY_BYTES",
    "TAG_BYTES",
    "WRAP_OVERHEAD_BYTES",
    "OpenChunk",
    "SealChunk",
    "SealKey",
    "check_suite",
    "new_key",
    "stream_nonce",
    "unwrap_key",
    "verify_signature",
    "wrap_key",
]

KEY_BYTES: Final = 32
SIGN_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TAG_BYTES: Final = 16
_MLKEM_PUBLIC_BYTES: Final = 1184
_MLKEM_CIPHERTEXT_BYTES: Final = 1088
_X25519_BYTES: Final = 32
SEAL_KEY_BYTES: Final = _MLKEM_PUBLIC_BYTES + _X25519_BYTES
WRAP_OVERHEAD_BYTES: Final = _MLKEM_CIPHERTEXT_BYTES + _X25519_BYTES + TAG_BYTES

_HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def check_suite(suite: int, what: str) -> None:
    """Refuse a document under a suite that this program does not implement.

    Raises:
        DecodeError: reason `version`.
    """
    if suite != SUITE_1:
        raise DecodeError(
            "version", f"{what}: suite {suite} is not known here; this program implements suite {SUITE_1}"
        )


def new_key() -> bytes:
    """A fresh AES-256 key from the system's generator, 32 bytes."""
    return AESGCM.generate_key(bit_length=256)


def verify_signature(sign_key: bytes, signature: bytes, message: bytes, what: str) -> None:
    """Verify an Ed25519 signature.

    Args:
        sign_key: raw public key, 32 bytes.
        signature: 64 bytes.
        message: the bytes that were signed; callers sign digests.
        what: names the document in the error.

    Raises:
        SignatureInvalid: also for a key or signature of the wrong length.
    """
    if len(sign_key) != SIGN_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise SignatureInvalid(f"{what}: an Ed25519 key has 32 bytes and a signature 64")
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(sign_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureInvalid(f"{what}: the signature does not verify over these bytes") from None


class SealKey:
    """A private X-Wing key: what is sealed to its public half, only it opens. Shows nothing in `repr`."""

    __slots__ = ("_hybrid", "_mlkem", "_x25519")

    def __init__(self, mlkem_seed: bytes, x25519_key: bytes) -> None:
        """Restore from the ML-KEM seed (64 bytes, FIPS 203 d and z) and the X25519 private key (32 bytes).

        Raises:
            ValueError: a length is wrong.
        """
        self._mlkem = mlkem.MLKEM768PrivateKey.from_seed_bytes(mlkem_seed)
        self._x25519 = x25519.X25519PrivateKey.from_private_bytes(x25519_key)
        self._hybrid = hpke.MLKEM768X25519PrivateKey(self._mlkem, self._x25519)

    @classmethod
    def generate(cls) -> SealKey:
        """A fresh key pair."""
        return cls(
            mlkem.MLKEM768PrivateKey.generate().private_bytes_raw(),
            x25519.X25519PrivateKey.generate().private_bytes_raw(),
        )

    @property
    def public(self) -> bytes:
        """ML-KEM-768 public key, then the X25519 public key: 1216 bytes, as X-Wing orders them."""
        return self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()

    def secret_parts(self) -> tuple[bytes, bytes]:
        """`(mlkem seed, x25519 key)` for the keystore, 64 and 32 bytes."""
        return self._mlkem.private_bytes_raw(), self._x25519.private_bytes_raw()

    def decrypt(self, wrapped: bytes, info: bytes) -> bytes:
        """HPKE base-mode single-shot open; see `unwrap_key`."""
        return _HPKE.decrypt(wrapped, self._hybrid, info=info)

    def __repr__(self) -> str:
        return "SealKey(…)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


def wrap_key(key: bytes, seal_key: bytes, info: bytes) -> bytes:
    """Wrap a content key to a public X-Wing key (HPKE base mode, single shot).

    Args:
        key: 32 bytes.
        seal_key: public key, 1216 bytes.
        info: context that the opener must present too, byte for byte.

    Raises:
        TrustError: `seal_key` is not a usable public key.
    """
    if len(seal_key) != SEAL_KEY_BYTES:
        raise TrustError(
            f"a sealing key has {SEAL_KEY_BYTES} bytes, this one {len(seal_key)}: nothing can be sealed to it"
        )
    try:
        public = hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(seal_key[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(seal_key[_MLKEM_PUBLIC_BYTES:]),
        )
        return _HPKE.encrypt(key, public, info=info)
    except ValueError:
        raise TrustError("this sealing key is not a usable X-Wing public key") from None


def unwrap_key(wrapped: bytes, mine: SealKey, info: bytes, what: str) -> bytes:
    """Open what `wrap_key` made; 32 bytes.

    Raises:
        SignatureInvalid: not sealed to this key, other `info`, or altered.
    """
    try:
        key = mine.decrypt(wrapped, info)
    except (InvalidTag, ValueError):
        raise SignatureInvalid(f"{what}: the wrapped key does not open with this host's key") from None
    if len(key) != KEY_BYTES:
        raise SignatureInvalid(f"{what}: the wrapped key has not {KEY_BYTES} bytes")
    return key


def stream_nonce(index: int, *, last: bool) -> bytes:
    """The nonce of chunk `index` in the STREAM construction: seven zero bytes, u32 counter, last flag; 12 bytes.

    The prefix is zero because every key seals one message only. Source: Hoang, Reyhanitabar, Rogaway, Vizár,
    "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015, section 7.

    Raises:
        OverflowError: 2**32 chunks or more.
    """
    return bytes(7) + index.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


class SealChunk:
    """Seals the chunks of one message in order, under one key that no other message uses."""

    __slots__ = ("_aad", "_cipher", "_index")

    def __init__(self, key: bytes, aad: bytes) -> None:
        self._cipher, self._aad, self._index = AESGCM(key), aad, 0

    def seal(self, plain: bytes | memoryview, *, last: bool) -> bytes:
        """Ciphertext and 16-byte tag of the next chunk."""
        sealed = self._cipher.encrypt(stream_nonce(self._index, last=last), plain, self._aad)
        self._index += 1
        return sealed


class OpenChunk:
    """Opens the chunks of one message in order; a dropped, moved, repeated or cut chunk does not open."""

    __slots__ = ("_aad", "_cipher", "_index")

    def __init__(self, key: bytes, aad: bytes) -> None:
        self._cipher, self._aad, self._index = AESGCM(key), aad, 0

    def open(self, sealed: bytes | memoryview, *, last: bool, what: str) -> bytes:
        """Plaintext of the next chunk.

        Raises:
            SignatureInvalid: not this chunk of this message, or altered.
        """
        try:
            plain = self._cipher.decrypt(stream_nonce(self._index, last=last), sealed, self._aad)
        except (InvalidTag, ValueError):
            raise SignatureInvalid(f"{what}: chunk {self._index} does not open; it was altered, moved or cut") from None
        self._index += 1
        return plain
