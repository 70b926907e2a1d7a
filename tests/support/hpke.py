"""HPKE in base mode for single messages, written from the text of RFC 9180 by itself: what `roamd.trust.sealing` is
compared with, and how test vectors get a fixed ephemeral key."""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEM = b"KEM" + (0x0010).to_bytes(2, "big")  # DHKEM(P-256, HKDF-SHA256)
HASH_LENGTH = 32


def p256(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(HASH_LENGTH), ikm, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    blocks, block = b"", b""
    while len(blocks) < length:
        block = hmac.digest(key, block + info + bytes((len(blocks) // HASH_LENGTH + 1,)), "sha256")
        blocks += block
    return blocks[:length]


def labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


@dataclass(frozen=True)
class Suite:
    """`aead` is 1 for AES-128-GCM, 2 for AES-256-GCM."""

    aead: int = 2

    @property
    def id(self) -> bytes:
        return b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x0010, 0x0001, self.aead))

    def _secrets(self, dh: bytes, enc: bytes, receiver: bytes, info: bytes) -> tuple[bytes, bytes]:
        """Key and base nonce."""
        eae_prk = labeled_extract(KEM, b"", b"eae_prk", dh)
        shared = labeled_expand(KEM, eae_prk, b"shared_secret", enc + receiver, HASH_LENGTH)
        psk_id_hash = labeled_extract(self.id, b"", b"psk_id_hash", b"")
        context = b"\0" + psk_id_hash + labeled_extract(self.id, b"", b"info_hash", info)
        secret = labeled_extract(self.id, shared, b"secret", b"")
        key_length = 16 * self.aead
        return (
            labeled_expand(self.id, secret, b"key", context, key_length),
            labeled_expand(self.id, secret, b"base_nonce", context, 12),
        )

    def seal(
        self, receiver: bytes, content: bytes, info: bytes, ephemeral: ec.EllipticCurvePrivateKey, aad: bytes = b""
    ) -> bytes:
        """`enc` and the ciphertext; the nonce of the first message."""
        enc = point(ephemeral)
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), receiver)
        key, nonce = self._secrets(ephemeral.exchange(ec.ECDH(), public), enc, receiver, info)
        return enc + AESGCM(key).encrypt(nonce, content, aad)

    def open(self, key: ec.EllipticCurvePrivateKey, sealed: bytes, info: bytes, aad: bytes = b"") -> bytes:
        enc, ciphertext = sealed[:65], sealed[65:]
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc)
        secret, nonce = self._secrets(key.exchange(ec.ECDH(), public), enc, point(key), info)
        return AESGCM(secret).decrypt(nonce, ciphertext, aad)


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
