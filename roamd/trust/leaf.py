"""The leaf: the certificate that stands in TLS handshakes, issued by the daemon itself for a week.

It lives in memory alone; a start, or half of its life, makes a new one. No partner has to do anything for that,
because partners pin the identity that issued it.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from roamd.trust.identity import Identity, certificate_builder, key_usage, private_pem

LEAF_VALIDITY = timedelta(days=7)
BOTH_PURPOSES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
"""Either side dials, so the same leaf serves both."""

# Unlike its issuer's subject (else it would look self-issued) and without the company's name, for anyone may see it.
_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "roamd leaf")])


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate with its key. `sha256` is of the DER, as Proofs name it."""

    certificate_der: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    cert_pem: bytes = field(repr=False)
    not_after_ms: int
    renew_at_ms: int
    sha256: bytes


def issue_leaf(identity: Identity, now_ms: int) -> Leaf:
    """A new leaf for this endpoint, to be renewed at half of its life."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        certificate_builder(_SUBJECT, key.public_key(), identity.endpoint_id, now_ms, LEAF_VALIDITY)
        .issuer_name(identity.certificate.subject)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(identity.key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(BOTH_PURPOSES), critical=False)
        .sign(identity.key, hashes.SHA256())
    )
    return _leaf(certificate, key, now_ms)


def _leaf(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, now_ms: int) -> Leaf:
    der = certificate.public_bytes(serialization.Encoding.DER)
    half_ms = int(LEAF_VALIDITY.total_seconds() * 1000) // 2
    return Leaf(
        certificate_der=der,
        key_pem=private_pem(key),
        cert_pem=certificate.public_bytes(serialization.Encoding.PEM),
        not_after_ms=int(certificate.not_valid_after_utc.timestamp() * 1000),
        renew_at_ms=now_ms + half_ms,
        sha256=hashlib.sha256(der).digest(),
    )
