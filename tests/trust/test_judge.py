"""Whose leaf it is, judged by hand."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from roamd.clock import utc_at
from roamd.errors import NotTrusted
from roamd.trust.judge import judge_leaf, judge_leaf_ca
from roamd.trust.leaf import Leaf, issue_leaf
from tests.support.trust import DAY_MS, Issuer, identity, intermediate, odd_leaf, real_now_ms, with_one_bit_changed

PEER, OTHER, STRANGER = identity(0), identity(1), identity(2)
PINNED = {PEER.endpoint_id: (PEER.certificate_der,), OTHER.endpoint_id: (OTHER.certificate_der,)}


def refusal(leaf_der: bytes, now_ms: int | None = None) -> str:
    with pytest.raises(NotTrusted) as caught:
        judge_leaf(leaf_der, PINNED, now_ms or real_now_ms())
    return caught.value.reason


def test_a_leaf_proves_the_endpoint_that_issued_it() -> None:
    assert judge_leaf(issue_leaf(PEER, real_now_ms()).certificate_der, PINNED, real_now_ms()) == PEER.endpoint_id


def test_a_leaf_lives_a_week_begins_a_day_back_and_names_no_company() -> None:
    now_ms = real_now_ms()
    leaf = issue_leaf(PEER, now_ms)
    certificate = x509.load_der_x509_certificate(leaf.certificate_der)
    assert certificate.not_valid_before_utc.timestamp() * 1000 <= now_ms - DAY_MS
    assert leaf.not_after_ms == pytest.approx(now_ms + 7 * DAY_MS, abs=1000)
    assert leaf.renew_at_ms == now_ms + 7 * DAY_MS // 2
    assert certificate.subject.rfc4514_string() == "CN=roamd leaf"


def test_a_peer_cannot_mint_a_leaf_in_another_peers_name() -> None:
    assert refusal(odd_leaf(Issuer.of(OTHER), [PEER.endpoint_id]).certificate_der) == "wrong-issuer"


def test_a_stranger_is_unknown() -> None:
    assert refusal(issue_leaf(STRANGER, real_now_ms()).certificate_der) == "unknown-identity"


def test_an_intermediate_is_not_direct() -> None:
    between = intermediate(Issuer.of(PEER))
    assert refusal(odd_leaf(between, [PEER.endpoint_id]).certificate_der) == "wrong-issuer"


def test_the_identity_itself_is_no_leaf() -> None:
    assert refusal(PEER.certificate_der) == "not-a-leaf"
    assert refusal(odd_leaf(Issuer.of(PEER), [PEER.endpoint_id], authority=True).certificate_der) == "not-a-leaf"


@pytest.mark.parametrize("names", [[], [PEER.endpoint_id, OTHER.endpoint_id], [PEER.endpoint_id] * 2])
def test_a_leaf_names_exactly_one_endpoint(names: list[str]) -> None:
    assert refusal(odd_leaf(Issuer.of(PEER), names).certificate_der) == "wrong-name"


@pytest.mark.parametrize("purposes", [(), (ExtendedKeyUsageOID.CLIENT_AUTH,), (ExtendedKeyUsageOID.CODE_SIGNING,)])
def test_a_leaf_is_for_both_client_and_server(purposes: tuple[x509.ObjectIdentifier, ...]) -> None:
    assert refusal(odd_leaf(Issuer.of(PEER), [PEER.endpoint_id], purposes=purposes).certificate_der) == "wrong-purpose"


def test_a_leaf_has_its_time() -> None:
    leaf = issue_leaf(PEER, real_now_ms())
    assert refusal(leaf.certificate_der, leaf.not_after_ms + 1) == "expired"
    assert refusal(leaf.certificate_der, real_now_ms() - 2 * DAY_MS) == "not-yet-valid"


def _crl(issuer: Issuer, revoked: Leaf | None, next_ms: int = DAY_MS) -> bytes:
    now = utc_at(real_now_ms())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - timedelta(days=2))
        .next_update(now + timedelta(milliseconds=next_ms))
    )
    if revoked:
        serial = x509.load_der_x509_certificate(revoked.certificate_der).serial_number
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, now).build())
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class TestCaMode:
    root = Issuer.of(STRANGER)
    company = intermediate(root)
    authority = company.certificate.public_bytes(serialization.Encoding.DER)
    leaf = odd_leaf(company, [PEER.endpoint_id])

    def refusal(self, leaf: Leaf, crl: bytes | None) -> str:
        with pytest.raises(NotTrusted) as caught:
            judge_leaf_ca(leaf.certificate_der, self.authority, crl, real_now_ms())
        return caught.value.reason

    @pytest.mark.parametrize("with_list", [True, False])
    def test_a_leaf_of_the_companys_ca_is_trusted(self, with_list: bool) -> None:
        crl = _crl(self.company, None) if with_list else None
        assert judge_leaf_ca(self.leaf.certificate_der, self.authority, crl, real_now_ms()) == PEER.endpoint_id

    def test_a_revoked_leaf_is_refused(self) -> None:
        assert self.refusal(self.leaf, _crl(self.company, self.leaf)) == "revoked"

    def test_a_leaf_of_another_ca_is_refused(self) -> None:
        assert self.refusal(odd_leaf(self.root, [PEER.endpoint_id]), None) == "wrong-issuer"

    def test_a_list_that_proves_nothing_refuses(self) -> None:
        assert self.refusal(self.leaf, _crl(self.company, None, next_ms=-1000)) == "stale-crl"
        assert self.refusal(self.leaf, _crl(self.root, None)) == "bad-crl"
        assert self.refusal(self.leaf, b"garbage") == "bad-crl"


@pytest.mark.filterwarnings("ignore")
def test_no_changed_bit_of_a_leaf_passes_or_raises_anything_else() -> None:
    for changed in with_one_bit_changed(issue_leaf(PEER, real_now_ms()).certificate_der):
        assert refusal(changed)
