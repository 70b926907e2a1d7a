"""Sealing: what a clearing house carries between two endpoints, and cannot read or alter (HPKE, RFC 9180).

Base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, as `cryptography` has it; one message for each
encapsulated key, so there is no nonce to keep and no state to lose. What the sealed bytes belong to (sender, receiver,
call, epoch, sequence, expiry) is bound by the Setup `info`: that is where section 8.1 of the RFC wants it of those who
seal single messages, and an open with any other `info` fails just like one with altered bytes. Base mode says nothing
of who sealed; so the content carries its sender's signature (`protocol.envelope`).
"""

from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from roamd.errors import NotTrusted

SEED_SIZE: Final = 48
"""Random bytes of a key: 16 more than the curve's order has, so that the remainder is as good as even (FIPS 186-5)."""

PUBLIC_SIZE: Final = 65
"""An uncompressed point of P-256, as HPKE writes public keys."""

OVERHEAD: Final = PUBLIC_SIZE + 16
"""Bytes that sealing adds: the encapsulated key and the tag."""

_CURVE: Final = ec.SECP256R1()
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SUITE: Final = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealingKey:
    """The private half; `public` is what others seal to."""

    __slots__ = ("_key", "public")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @classmethod
    def of_seed(cls, seed: bytes) -> Self:
        """The key of `SEED_SIZE` random bytes; the same seed gives the same key."""
        if len(seed) != SEED_SIZE:
            raise ValueError(f"a seed has {SEED_SIZE} bytes")
        return cls(ec.derive_private_key(int.from_bytes(seed, "big") % (_ORDER - 1) + 1, _CURVE))

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed to this key under this `info`; NotTrusted("not-sealed") for anything else."""
        try:
            return _SUITE.decrypt(sealed, self._key, info=info)
        except InvalidTag:
            raise NotTrusted("not-sealed", "What was sealed does not open with this key and header.") from None


def seal(public: bytes, content: bytes, info: bytes) -> bytes:
    """Seal to a public key that `is_sealing_key`; ValueError for one that is none."""
    return _SUITE.encrypt(content, ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public), info=info)


def is_sealing_key(public: bytes) -> bool:
    """Whether it is an uncompressed point of the curve."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public)
    except ValueError:
        return False
    return len(public) == PUBLIC_SIZE
