"""Signatures over documents: ECDSA on P-256 with SHA-256, DER, as `openssl dgst -sha256 -verify` reads them.

Every document that is signed begins with words of its own ("roamd head 1", "roamd descriptor 1", ...), so that
a signature made for one purpose can never be shown for another.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from roamd.trust.certificates import public_key_of

ALGORITHM = "ecdsa-p256-sha256"
"""Travels with each signature that leaves the link, so that another algorithm can follow."""

MAX_SIGNATURE = 72
"""A DER signature on P-256 is never longer."""

_ECDSA = ec.ECDSA(hashes.SHA256())


def sign(key: ec.EllipticCurvePrivateKey, document: bytes) -> bytes:
    """The DER signature over the document."""
    return key.sign(document, _ECDSA)


def verify(certificate_der: bytes, document: bytes, signature: bytes) -> bool:
    """Whether that certificate's key signed the document; raises NotTrusted if it has no P-256 key."""
    if len(signature) > MAX_SIGNATURE:
        return False
    try:
        public_key_of(certificate_der).verify(signature, document, _ECDSA)
    except InvalidSignature:
        return False
    return True
