"""The suite's primitives are the ones that its id names: published vectors, and X-Wing rebuilt from its draft."""

from __future__ import annotations

import hashlib
import hmac
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sojourn.codec import digest
from sojourn.crypto.suite import (
    SEAL_KEY_BYTES,
    OpenChunk,
    SealChunk,
    SealKey,
    check_suite,
    new_key,
    stream_nonce,
    unwrap_key,
    verify_signature,
    wrap_key,
)
from sojourn.errors import DecodeError, SignatureInvalid, TrustError

# RFC 8032, section 7.1, tests 1 to 3: secret, public, message, signature.
ED25519 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), ED25519)
def test_signatures_are_ed25519(secret, public, message, signature):
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert key.public_key().public_bytes_raw().hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    verify_signature(bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message), "vector")
    with pytest.raises(SignatureInvalid):
        verify_signature(bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message) + b"!", "vector")


def test_chunks_are_aes_256_gcm():
    # McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13 and 14: zero key, zero nonce. The first
    # chunk of a message that is not its last has exactly that nonce here.
    assert stream_nonce(0, last=False) == bytes(12)
    assert SealChunk(bytes(32), b"").seal(b"", last=False).hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    sealed = SealChunk(bytes(32), b"").seal(bytes(16), last=False)
    assert sealed.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    assert OpenChunk(bytes(32), b"").open(sealed, last=False, what="vector") == bytes(16)


def test_aes_gcm_binds_associated_data():
    # Test case 16 of the same paper (key, nonce, plaintext with associated data).
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = AESGCM(key).encrypt(bytes.fromhex("cafebabefacedbaddecaf888"), plain, aad)
    assert sealed[-16:].hex() == "76fc6ece0f4e1768cddf8853bb2d551b"


def test_digests_are_sha_256():
    # FIPS 180-4 examples.
    assert digest(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _extract(salt: bytes, suite: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(prk: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, labelled + b"\x01", "sha256")[:length]


def test_wrapping_is_hpke_with_x_wing():
    """What RFC 9180's key schedule and the X-Wing combiner give, written out here, opens with the suite's own code."""
    mine = SealKey.generate()
    public_mlkem = mlkem.MLKEM768PublicKey.from_public_bytes(mine.public[:1184])
    public_x25519 = mine.public[1184:]
    shared_mlkem, ciphertext = public_mlkem.encapsulate()
    ephemeral = x25519.X25519PrivateKey.generate()
    point = ephemeral.public_key().public_bytes_raw()
    shared_x25519 = ephemeral.exchange(x25519.X25519PublicKey.from_public_bytes(public_x25519))
    label = bytes.fromhex("5c2e2f2f5e5c")  # \.//^\ of draft-connolly-cfrg-xwing-kem
    shared = hashlib.sha3_256(shared_mlkem + shared_x25519 + point + public_x25519 + label).digest()

    suite = b"HPKE" + bytes.fromhex("647a" + "0001" + "0002")  # X-Wing, HKDF-SHA256, AES-256-GCM
    info = b"context"
    context = b"\x00" + _extract(b"", suite, b"psk_id_hash", b"") + _extract(b"", suite, b"info_hash", info)
    secret = _extract(shared, suite, b"secret", b"")
    key = _expand(secret, suite, b"key", context, 32)
    nonce = _expand(secret, suite, b"base_nonce", context, 12)
    content = new_key()
    wrapped = ciphertext + point + AESGCM(key).encrypt(nonce, content, b"")
    assert unwrap_key(wrapped, mine, info, "test") == content


def test_a_wrapped_key_opens_only_with_its_context_and_key():
    mine, other, key = SealKey.generate(), SealKey.generate(), new_key()
    wrapped = wrap_key(key, mine.public, b"context")
    assert unwrap_key(wrapped, mine, b"context", "test") == key
    for bad, seal, info in (
        (wrapped, mine, b"contexT"),
        (wrapped, other, b"context"),
        (wrapped[:-1], mine, b"context"),
        (b"", mine, b"context"),
        (wrapped[:100] + bytes([wrapped[100] ^ 1]) + wrapped[101:], mine, b"context"),
    ):
        with pytest.raises(SignatureInvalid):
            unwrap_key(bad, seal, info, "test")
    with pytest.raises(SignatureInvalid, match="32 bytes"):
        unwrap_key(wrap_key(b"short", mine.public, b""), mine, b"", "test")


@pytest.mark.parametrize("bad", [b"", b"\x00" * (SEAL_KEY_BYTES - 1), b"\xff" * SEAL_KEY_BYTES])
def test_nothing_is_sealed_to_a_bad_key(bad):
    with pytest.raises(TrustError):
        wrap_key(new_key(), bad, b"")


def test_a_low_order_x25519_point_is_refused():
    good = SealKey.generate().public
    with pytest.raises(TrustError):
        wrap_key(new_key(), good[:1184] + bytes(32), b"")


def test_a_seal_key_shows_nothing_and_is_not_pickled():
    key = SealKey.generate()
    for part in key.secret_parts():
        assert part.hex() not in repr(key)
    assert SealKey(*key.secret_parts()).public == key.public
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_chunks_keep_their_places():
    key = new_key()
    sealer = SealChunk(key, b"aad")
    first, second, third = (sealer.seal(bytes([n]) * 9, last=n == 2) for n in range(3))
    opener = OpenChunk(key, b"aad")
    assert opener.open(first, last=False, what="t") == bytes(9)
    for bad, last in ((third, True), (first, False), (second, True), (second[:-1], False), (b"", False)):
        with pytest.raises(SignatureInvalid, match="chunk 1"):
            opener.open(bad, last=last, what="t")
    assert opener.open(second, last=False, what="t") == b"\x01" * 9
    with pytest.raises(SignatureInvalid):
        OpenChunk(key, b"other").open(first, last=False, what="t")


def test_an_unknown_suite_is_refused():
    check_suite(1, "order")
    for suite in (0, 2, 65_535, -1):
        with pytest.raises(DecodeError, match="suite") as caught:
            check_suite(suite, "order")
        assert caught.value.reason == "version"


@pytest.mark.parametrize(("key", "signature"), [(b"", bytes(64)), (bytes(32), b""), (bytes(31), bytes(64))])
def test_an_absent_signature_is_refused(key, signature):
    with pytest.raises(SignatureInvalid):
        verify_signature(key, signature, b"", "order")
