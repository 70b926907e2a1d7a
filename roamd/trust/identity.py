"""The endpoint's long-lived identity: a P-256 key and its self-signed certificate.

The identity signs ledgers, descriptors and the weekly leaf; it never stands in a TLS handshake itself. Partners pin
its certificate. All pinned identities share one OpenSSL store, which finds an issuer by subject and key id; so a
stranger's identity is taken only if subject, URI name and key ids all follow from its own key. Otherwise a peer could
bring a certificate that shadows another's.
"""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from roamd.clock import utc_at
from roamd.errors import ConfigError, NotTrusted
from roamd.trust.certificates import (
    URI_SCHEME,
    extension,
    is_directly_issued,
    key_ids,
    p256_key,
    parse_certificate,
    uri_name,
)
from roamd.trust.endpoint import endpoint_id
from roamd.trust.signing import sign

IDENTITY_VALIDITY = timedelta(days=20 * 365)
BACKDATED = timedelta(days=1)
"""Certificates begin a day back, so that a partner whose clock is behind takes them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The key and what is known of it by everyone.

    `endpoint_id` is the name of the endpoint's first key; `succession` tells how this one follows from it, and is
    empty where this is the first (`trust.succession`).
    """

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)
    endpoint_id: str
    certificate_der: bytes = field(repr=False)
    succession: bytes = field(default=b"", repr=False)

    @classmethod
    def create(cls, now_ms: int) -> Self:
        """A new key with its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls._of(key, _self_signed(key, now_ms))

    @classmethod
    def load(cls, key_path: Path, certificate_path: Path) -> Self:
        """Read both files; raises ConfigError that says which one is wrong and how."""
        key = _load_key(key_path)
        try:
            certificate = x509.load_pem_x509_certificate(_read(certificate_path))
            check_identity(certificate.public_bytes(serialization.Encoding.DER))
        except (ValueError, NotTrusted) as error:
            raise ConfigError(
                [f"{certificate_path}: not an identity certificate made by `roamd init`: {error}"]
            ) from error
        if certificate.public_key() != key.public_key():
            raise ConfigError(
                [f"{certificate_path}: belongs to another key than {key_path}; restore both from one backup"]
            )
        return cls._of(key, certificate)

    @classmethod
    def _of(cls, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Self:
        der = certificate.public_bytes(serialization.Encoding.DER)
        return cls(key, certificate, endpoint_id(spki(key.public_key())), der)

    def save(self, key_path: Path, certificate_path: Path) -> None:
        """Write both files, synced, the key for its owner alone; raises FileExistsError and overwrites nothing."""
        _write_new(key_path, private_pem(self.key), 0o600)
        _write_new(certificate_path, self.certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def sign(self, document: bytes) -> bytes:
        """The identity's DER signature over the document."""
        return sign(self.key, document)


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo, DER: what an endpoint id is the hash of."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS#8 PEM."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def check_identity(der: bytes) -> str:
    """The endpoint id of a stranger's identity certificate; raises NotTrusted unless all of it follows from its key."""
    certificate = parse_certificate(der)
    name = endpoint_id(spki(p256_key(certificate)))
    expected = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    constraints = extension(certificate, x509.BasicConstraints)
    usage = extension(certificate, x509.KeyUsage)
    claims = {
        "name": uri_name(certificate) == name,
        "subject": certificate.subject == _subject(name),
        "key ids": key_ids(certificate) == (expected, expected),
        "path length": constraints is not None and constraints.ca and constraints.path_length == 0,
        "key usage": usage is not None and usage.key_cert_sign and usage.digital_signature,
        "signature": is_directly_issued(certificate, certificate),
    }
    wrong = [claim for claim, holds in claims.items() if not holds]
    if wrong:
        raise NotTrusted(
            "not-an-identity", f"The identity certificate's {', '.join(wrong)} cannot be right for its key."
        )
    return name


def certificate_builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, name: str, now_ms: int, validity: timedelta
) -> x509.CertificateBuilder:
    """What identities and leaves have in common: subject, key, dates, key id and the URI name of the endpoint."""
    begin = utc_at(now_ms).replace(microsecond=0) - BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + BACKDATED + validity)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URI_SCHEME + name)]), critical=False)
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """digitalSignature, and for an identity also keyCertSign."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _self_signed(key: ec.EllipticCurvePrivateKey, now_ms: int) -> x509.Certificate:
    public = key.public_key()
    name = endpoint_id(spki(public))
    return (
        certificate_builder(_subject(name), public, name, now_ms, IDENTITY_VALIDITY)
        .issuer_name(_subject(name))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError([f"{path}: not an unencrypted PEM private key: {error}"]) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError([f"{path}: the identity key must be on the curve P-256"])
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
