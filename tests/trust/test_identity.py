"""Identities: files, and what is asked of a stranger's certificate."""

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from roamd.errors import ConfigError, NotTrusted
from roamd.trust.identity import Identity, check_identity, spki
from roamd.trust.leaf import issue_leaf
from roamd.trust.signing import sign, verify
from tests.support.trust import DAY_MS, Issuer, identity, intermediate, odd_leaf, real_now_ms, with_one_bit_changed

DER = serialization.Encoding.DER


def test_an_identity_comes_back_from_its_files(tmp_path: Path) -> None:
    made = identity()
    made.save(tmp_path / "identity.key", tmp_path / "identity.crt")
    loaded = Identity.load(tmp_path / "identity.key", tmp_path / "identity.crt")
    assert (loaded.endpoint_id, loaded.certificate_der) == (made.endpoint_id, made.certificate_der)
    assert verify(made.certificate_der, b"document", loaded.sign(b"document"))


def test_the_key_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    key, certificate = tmp_path / "identity.key", tmp_path / "identity.crt"
    identity().save(key, certificate)
    before = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        identity(1).save(key, certificate)
    assert key.read_bytes() == before


def test_files_that_are_missing_mixed_up_or_broken_are_named(tmp_path: Path) -> None:
    key, certificate = tmp_path / "identity.key", tmp_path / "identity.crt"
    with pytest.raises(ConfigError, match=r"identity\.key: cannot be read"):
        Identity.load(key, certificate)
    identity().save(key, certificate)
    identity(1).save(tmp_path / "other.key", tmp_path / "other.crt")
    with pytest.raises(ConfigError, match=r"other\.crt: belongs to another key"):
        Identity.load(key, tmp_path / "other.crt")
    certificate.write_bytes(b"not a certificate")
    with pytest.raises(ConfigError, match=r"identity\.crt: not an identity certificate"):
        Identity.load(key, certificate)
    key.write_bytes(b"not a key")
    with pytest.raises(ConfigError, match=r"identity\.key: not an unencrypted PEM"):
        Identity.load(key, certificate)


def test_a_key_never_shows_in_a_repr() -> None:
    leaf = issue_leaf(identity(), real_now_ms())
    assert "PRIVATE" not in repr(leaf)
    assert "key" not in repr(identity())


def test_a_signature_is_what_openssl_verifies(tmp_path: Path) -> None:
    public = (
        identity()
        .key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for name, data in {"key": public, "doc": b"roamd head 1", "sig": identity().sign(b"roamd head 1")}.items():
        (tmp_path / name).write_bytes(data)
    command = ["openssl", "dgst", "-sha256", "-verify", "key", "-signature", "sig", "doc"]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout == b"Verified OK\n"


def test_a_signature_holds_for_its_document_and_key_only() -> None:
    signature = sign(identity().key, b"one")
    assert verify(identity().certificate_der, b"one", signature)
    assert not verify(identity().certificate_der, b"two", signature)
    assert not verify(identity(1).certificate_der, b"one", signature)
    assert not verify(identity().certificate_der, b"one", b"garbage")
    assert not verify(identity().certificate_der, b"one", signature + b"\0" * 10)


def test_an_identity_of_ours_is_taken_and_lasts_twenty_years() -> None:
    assert check_identity(identity().certificate_der) == identity().endpoint_id
    certificate = identity().certificate
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 20 * 365 + 1
    assert certificate.not_valid_before_utc.timestamp() * 1000 <= real_now_ms() - DAY_MS


def _resigned(own: Identity, **replaced: object) -> bytes:
    """The identity's certificate again, self-signed, with a name or extensions that do not fit."""
    old = own.certificate
    subject = replaced.get("subject", old.subject)
    assert isinstance(subject, x509.Name)
    builder = x509.CertificateBuilder(
        subject, subject, own.key.public_key(), 1, old.not_valid_before_utc, old.not_valid_after_utc
    )
    for known in old.extensions:
        value = replaced.get(type(known.value).__name__, known.value)
        if value is not None:
            assert isinstance(value, x509.ExtensionType)
            builder = builder.add_extension(value, known.critical)
    return builder.sign(own.key, hashes.SHA256()).public_bytes(DER)


OTHERS_URI = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("roamd:" + identity(1).endpoint_id)])
OTHERS_KEY_ID = x509.SubjectKeyIdentifier.from_public_key(identity(1).key.public_key())


@pytest.mark.parametrize(
    ("replaced", "claim"),
    [
        ({"subject": identity(1).certificate.subject}, "subject"),
        ({"SubjectAlternativeName": OTHERS_URI}, "name"),
        ({"SubjectKeyIdentifier": OTHERS_KEY_ID}, "key ids"),
        ({"BasicConstraints": x509.BasicConstraints(ca=True, path_length=None)}, "path length"),
        ({"BasicConstraints": x509.BasicConstraints(ca=False, path_length=None)}, "path length"),
        ({"KeyUsage": None}, "key usage"),
    ],
)
def test_an_identity_that_could_shadow_another_is_refused(replaced: dict[str, object], claim: str) -> None:
    assert check_identity(_resigned(identity())) == identity().endpoint_id
    with pytest.raises(NotTrusted, match=claim) as caught:
        check_identity(_resigned(identity(), **replaced))
    assert caught.value.reason == "not-an-identity"


def test_an_identity_signed_by_someone_else_is_refused() -> None:
    forged = intermediate(Issuer.of(identity())).certificate.public_bytes(DER)
    with pytest.raises(NotTrusted):
        check_identity(forged)
    with pytest.raises(NotTrusted):
        check_identity(odd_leaf(Issuer.of(identity()), [identity().endpoint_id], authority=True).certificate_der)


def test_another_kind_of_key_is_refused() -> None:
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        old = identity().certificate
        builder = x509.CertificateBuilder(
            old.subject, old.subject, key.public_key(), 1, old.not_valid_before_utc, old.not_valid_after_utc
        )
        with pytest.raises(NotTrusted) as caught:
            check_identity(builder.sign(key, hashes.SHA256()).public_bytes(DER))
        assert caught.value.reason == "wrong-key-type"


@pytest.mark.parametrize("data", [b"", b"\x30\x03\x02\x01\x01", b"x" * 5000])
def test_what_is_no_certificate_is_refused_without_a_traceback(data: bytes) -> None:
    with pytest.raises(NotTrusted) as caught:
        check_identity(data)
    assert caught.value.reason == "malformed-certificate"


def test_an_endpoint_id_hashes_what_openssl_calls_the_public_key() -> None:
    assert spki(identity().key.public_key()) == identity().certificate.public_key().public_bytes(
        DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_an_identity_whose_signature_does_not_hold_is_refused() -> None:
    der = identity().certificate_der
    with pytest.raises(NotTrusted, match="signature"):
        check_identity(der[:-1] + bytes([der[-1] ^ 1]))


@pytest.mark.filterwarnings("ignore")
def test_no_changed_bit_passes_or_raises_anything_else() -> None:
    for changed in with_one_bit_changed(identity().certificate_der):
        with pytest.raises(NotTrusted):
            check_identity(changed)
