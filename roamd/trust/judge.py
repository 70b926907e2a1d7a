"""Whose leaf is it? Asked by hand after every handshake, because OpenSSL's answer is not enough.

OpenSSL has checked that the leaf chains up to *some* pinned identity. Each of those is a CA, so any peer could mint a
leaf in another's name. Therefore the leaf must be issued directly by the pinned identity of the very endpoint that it
names (by one of the two, while its key is being replaced). Revocation is judged here too, never by `verify_flags`,
which would ask every pinned identity for a CRL.
"""

from collections.abc import Mapping, Sequence

from cryptography import x509

from roamd.errors import NotTrusted
from roamd.trust.certificates import (
    check_validity,
    extension,
    is_authority,
    is_directly_issued,
    p256_key,
    parse_certificate,
    uri_name,
)
from roamd.trust.leaf import BOTH_PURPOSES


def judge_leaf(leaf_der: bytes, identities: Mapping[str, Sequence[bytes]], now_ms: int) -> str:
    """The endpoint id that a peer's leaf proves, by {endpoint id: pinned identities DER}; raises NotTrusted(reason)."""
    leaf = parse_certificate(leaf_der)
    name = uri_name(leaf)
    pinned = identities.get(name)
    if pinned is None:
        raise NotTrusted("unknown-identity", "The certificate names an endpoint that is not a peer here.")
    if not any(is_directly_issued(leaf, parse_certificate(identity)) for identity in pinned):
        raise NotTrusted("wrong-issuer", "The certificate is not issued by the identity of the endpoint that it names.")
    _check_leaf(leaf, now_ms)
    return name


def judge_leaf_ca(leaf_der: bytes, authority_der: bytes, crl_der: bytes | None, now_ms: int) -> str:
    """CA mode: the name in a leaf that the company's issuing CA signed and has not revoked; raises NotTrusted(reason).

    `crl_der` None means that the operator chose to run without one.
    """
    leaf, authority = parse_certificate(leaf_der), parse_certificate(authority_der)
    name = uri_name(leaf)
    if not is_authority(authority) or not is_directly_issued(leaf, authority):
        raise NotTrusted("wrong-issuer", "The certificate is not issued by the configured CA.")
    _check_leaf(leaf, now_ms)
    if crl_der is not None:
        _check_revocation(leaf, authority, crl_der, now_ms)
    return name


def _check_leaf(leaf: x509.Certificate, now_ms: int) -> None:
    if is_authority(leaf):
        raise NotTrusted("not-a-leaf", "A CA certificate stands where a leaf belongs.")
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None or not set(BOTH_PURPOSES) <= set(purposes):
        raise NotTrusted("wrong-purpose", "The certificate is not made for both client and server.")
    p256_key(leaf)
    check_validity(leaf, now_ms)


def _check_revocation(leaf: x509.Certificate, authority: x509.Certificate, crl_der: bytes, now_ms: int) -> None:
    """A list that is forged, of another CA, or past its date proves nothing, so it refuses."""
    try:
        crl = x509.load_der_x509_crl(crl_der)
        fresh = crl.next_update_utc is not None and now_ms <= crl.next_update_utc.timestamp() * 1000
        authentic = crl.issuer == authority.subject and crl.is_signature_valid(p256_key(authority))
    except (ValueError, TypeError) as error:
        raise NotTrusted("bad-crl", f"The revocation list cannot be read: {error}") from error
    if not authentic:
        raise NotTrusted("bad-crl", "The revocation list is not signed by the configured CA.")
    if not fresh:
        raise NotTrusted("stale-crl", "The revocation list is past its next update; fetch a new one.")
    if crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None:
        raise NotTrusted("revoked", "The certificate is revoked.")
