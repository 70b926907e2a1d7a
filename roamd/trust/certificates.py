"""The few X.509 questions that the whole room asks, answered strictly and with one kind of error.

Certificates come from strangers. `cryptography` reads lazily and raises many types when a field is odd; here
every oddity becomes `NotTrusted("malformed-certificate")`, so that a caller has one thing to catch.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from roamd.errors import NotTrusted

URI_SCHEME = "roamd:"
MAX_CERTIFICATE = 4096
"""Ours take about 700 bytes; a company CA's may carry a few URLs more."""

_LAZY_FIELDS = ("subject", "issuer", "not_valid_before_utc", "not_valid_after_utc", "serial_number", "extensions")

# `cryptography` warns about a stranger's odd certificate on stderr, in the middle of our log; the verdict is ours.
warnings.filterwarnings("ignore", module=r"roamd\.trust\.certificates")

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


_READING_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    try:
        yield
    except _READING_ERRORS as error:
        raise NotTrusted("malformed-certificate", f"The certificate cannot be read: {error}") from error


def parse_certificate(der: bytes) -> x509.Certificate:
    """Read one DER certificate of bounded size, all of it at once, so that no later look raises; raises NotTrusted."""
    if len(der) > MAX_CERTIFICATE:
        raise NotTrusted("malformed-certificate", f"The certificate is larger than {MAX_CERTIFICATE} bytes.")
    with _one_kind_of_error():
        certificate = x509.load_der_x509_certificate(der)
        for lazy in _LAZY_FIELDS:
            getattr(certificate, lazy)
        if not der.endswith(b"\0" + certificate.signature):  # the count of unused bits: all else outside is fixed
            raise ValueError("the signature is not made of whole bytes")
        return certificate


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """The extension of that type, or None; raises NotTrusted when the extensions cannot be read."""
    with _one_kind_of_error():
        try:
            return certificate.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None


def p256_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Its public key, which must be on P-256."""
    with _one_kind_of_error():
        key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NotTrusted("wrong-key-type", "The certificate's key is not on the curve P-256.")
    return key


@lru_cache(maxsize=4096)
def public_key_of(certificate_der: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key of a DER certificate; remembered, because every signature of a peer asks for it."""
    return p256_key(parse_certificate(certificate_der))


def uri_name(certificate: x509.Certificate) -> str:
    """What follows `roamd:` in its one URI name. Two URI names would be two claims, so they are refused."""
    names = extension(certificate, x509.SubjectAlternativeName)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if len(uris) != 1 or not uris[0].startswith(URI_SCHEME):
        raise NotTrusted(
            "wrong-name", f"The certificate must carry exactly one URI name `{URI_SCHEME}...`, it has {len(uris)}."
        )
    return uris[0].removeprefix(URI_SCHEME)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign other certificates."""
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def key_ids(certificate: x509.Certificate) -> tuple[bytes | None, bytes | None]:
    """(its own key's id, its issuer's key's id)."""
    own = extension(certificate, x509.SubjectKeyIdentifier)
    issuer = extension(certificate, x509.AuthorityKeyIdentifier)
    return (own.digest if own else None), (issuer.key_identifier if issuer else None)


def is_directly_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """By name, by key id and by signature: no intermediate stands between them."""
    own_id, issuer_id = key_ids(issuer)[0], key_ids(certificate)[1]
    if own_id is None or own_id != issuer_id:
        return False
    try:
        with _one_kind_of_error():
            certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, NotTrusted):
        return False
    return True


def check_validity(certificate: x509.Certificate, now_ms: int) -> None:
    """Raise NotTrusted unless now lies between its two dates."""
    if now_ms < certificate.not_valid_before_utc.timestamp() * 1000:
        raise NotTrusted("not-yet-valid", "The certificate is not valid yet; compare both machines' clocks.")
    if now_ms > certificate.not_valid_after_utc.timestamp() * 1000:
        raise NotTrusted("expired", "The certificate has expired.")
