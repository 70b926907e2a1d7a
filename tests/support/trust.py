"""Identities for tests, and certificates that a well-behaved endpoint would never make."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import product

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from roamd.clock import SystemClock, utc_at
from roamd.trust.contexts import Contexts
from roamd.trust.descriptor import Descriptor, encode_descriptor
from roamd.trust.identity import Identity, private_pem
from roamd.trust.leaf import Leaf, issue_leaf

BOTH = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
DAY_MS = 24 * 3600 * 1000


def real_now_ms() -> int:
    """OpenSSL asks the machine's own clock, so certificates for real handshakes are made around it."""
    return SystemClock().now_ms()


@cache
def identity(number: int = 0) -> Identity:
    """The same identity for the same number, made once per run."""
    return Identity.create(real_now_ms())


def contexts(own: Identity, *peers: Identity, leaf: Leaf | None = None) -> Contexts:
    """The contexts of `own`, which has paired with `peers`."""
    return Contexts(
        own, leaf or issue_leaf(own, real_now_ms()), {peer.endpoint_id: (peer.certificate_der,) for peer in peers}
    )


def descriptor(own: Identity, **changes: object) -> Descriptor:
    """A plausible descriptor."""
    fields: dict[str, object] = {
        "endpoint_id": own.endpoint_id,
        "identity_der": own.certificate_der,
        "name": "ABC Charging",
        "parties": ("DEABC",),
        "roles": ("cso",),
        "addresses": ("roam.abc.example:63119",),
        "sequence": 1,
        "valid_until_ms": 4_000_000_000_000,
    }
    return Descriptor(**(fields | changes))  # type: ignore[arg-type]  # the table above has the right types


def descriptor_data(own: Identity, **changes: object) -> bytes:
    """The same, signed."""
    return encode_descriptor(descriptor(own, **changes), own)


def with_one_bit_changed(data: bytes) -> Iterator[bytes]:
    """All the ways to change one bit."""
    for position, bit in product(range(len(data)), range(8)):
        yield data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


@dataclass(frozen=True)
class Issuer:
    """Whoever signs: an identity, or a CA that should not exist."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def of(cls, own: Identity) -> "Issuer":
        return cls(own.key, own.certificate)


def odd_leaf(
    issuer: Issuer,
    names: Iterable[str],
    *,
    begin_ms: int = -DAY_MS,
    end_ms: int = DAY_MS,
    purposes: Iterable[ObjectIdentifier] = BOTH,
    authority: bool = False,
) -> Leaf:
    """A leaf for those endpoints, with whatever is wrong with it. Times count from now."""
    key, certificate = _issue(issuer, [f"roamd:{name}" for name in names], begin_ms, end_ms, purposes, authority)
    der, pem = (
        certificate.public_bytes(serialization.Encoding.DER),
        certificate.public_bytes(serialization.Encoding.PEM),
    )
    return Leaf(der, private_pem(key), pem, real_now_ms() + end_ms, real_now_ms(), b"\0" * 32)


def intermediate(issuer: Issuer) -> Issuer:
    """A CA below an identity, which the identity's path length forbids."""
    return Issuer(*_issue(issuer, [], -DAY_MS, DAY_MS, (), authority=True))


def with_chain(leaf: Leaf, issuer: Issuer) -> Leaf:
    """The leaf, shown together with its issuer's certificate."""
    chain = leaf.cert_pem + issuer.certificate.public_bytes(serialization.Encoding.PEM)
    return Leaf(leaf.certificate_der, leaf.key_pem, chain, leaf.not_after_ms, leaf.renew_at_ms, leaf.sha256)


def _issue(
    issuer: Issuer,
    uris: list[str],
    begin_ms: int,
    end_ms: int,
    purposes: Iterable[ObjectIdentifier],
    authority: bool,
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = utc_at(real_now_ms()).replace(microsecond=0)
    signer = issuer.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(milliseconds=begin_ms))
        .not_valid_after(now + timedelta(milliseconds=end_ms))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if uris:
        alternatives = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return key, builder.sign(issuer.key, hashes.SHA256())
