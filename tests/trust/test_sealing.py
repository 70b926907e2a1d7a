"""Sealing, against an implementation that was written from RFC 9180 and that passes the RFC's own vector."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import NotTrusted
from roamd.protocol.envelope import Header, read_envelope, read_letter, signed_document
from roamd.trust.sealing import OVERHEAD, SEED_SIZE, SealingKey, is_sealing_key, seal
from tests.support import hpke
from tests.support.trust import with_one_bit_changed

VECTOR: Any = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "sealing.json").read_text(encoding="utf-8"))
KEY = SealingKey.of_seed(bytes(range(SEED_SIZE)))
INFO = b"to whom, from whom, which"

# RFC 9180, appendix A.3.1 (base mode, P-256, HKDF-SHA256, AES-128-GCM), the first encryption.
RFC_RECEIVER = "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2"
RFC_EPHEMERAL = "4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb"
RFC_ENC = (
    "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9b"
    "fcb9382657222d18c4"
)
RFC_INFO = "4f6465206f6e2061204772656369616e2055726e"
RFC_TEXT = "4265617574792069732074727574682c20747275746820626561757479"
RFC_SEALED = "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434"


def test_the_comparison_passes_the_rfcs_own_vector() -> None:
    suite, receiver, ephemeral = hpke.Suite(1), hpke.p256(bytes.fromhex(RFC_RECEIVER)), bytes.fromhex(RFC_EPHEMERAL)
    sealed = suite.seal(
        hpke.point(receiver), bytes.fromhex(RFC_TEXT), bytes.fromhex(RFC_INFO), hpke.p256(ephemeral), b"Count-0"
    )
    assert sealed.hex() == RFC_ENC + RFC_SEALED


@given(st.binary(max_size=500), st.binary(max_size=300))
def test_either_opens_what_the_other_sealed(content: bytes, info: bytes) -> None:
    theirs = hpke.p256(hpke.digest("receiver"))
    assert hpke.Suite().open(theirs, seal(hpke.point(theirs), content, info), info) == content
    sealed = hpke.Suite().seal(KEY.public, content, info, hpke.p256(os.urandom(31)))
    assert KEY.open(sealed, info) == content


def test_the_overhead_is_what_it_says_and_no_two_sealings_are_alike() -> None:
    one, other = seal(KEY.public, b"content", INFO), seal(KEY.public, b"content", INFO)
    assert len(one) == len(b"content") + OVERHEAD
    assert one != other


def test_no_changed_bit_opens() -> None:
    for changed in with_one_bit_changed(seal(KEY.public, b"c", INFO)):
        with pytest.raises(NotTrusted, match="does not open"):
            KEY.open(changed, INFO)


@pytest.mark.parametrize("sealed", [b"", b"\x04", bytes(65), bytes(200), b"\x04" + bytes(80)])
def test_what_was_never_sealed_does_not_open(sealed: bytes) -> None:
    with pytest.raises(NotTrusted) as caught:
        KEY.open(sealed, INFO)
    assert caught.value.reason == "not-sealed"


def test_it_opens_for_its_receiver_and_under_its_header_alone() -> None:
    sealed = seal(KEY.public, b"content", INFO)
    assert KEY.open(sealed, INFO) == b"content"
    with pytest.raises(NotTrusted):
        KEY.open(sealed, INFO + b".")
    with pytest.raises(NotTrusted):
        SealingKey.of_seed(os.urandom(SEED_SIZE)).open(sealed, INFO)


def test_the_same_seed_is_the_same_key_and_a_short_one_is_refused() -> None:
    assert SealingKey.of_seed(bytes(range(SEED_SIZE))).public == KEY.public
    with pytest.raises(ValueError, match="48 bytes"):
        SealingKey.of_seed(bytes(32))


def test_only_points_of_the_curve_are_keys() -> None:
    off_the_curve = KEY.public[:-1] + bytes((KEY.public[-1] ^ 1,))
    compressed = bytes((2,)) + KEY.public[1:33]
    assert is_sealing_key(KEY.public)
    assert not any(map(is_sealing_key, (b"", bytes(65), off_the_curve, compressed)))


# --- the published vector -----------------------------------------------------------------------------------------


def vector(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


def test_the_published_envelope_opens_and_its_signature_holds() -> None:
    header, carried = read_envelope(vector("envelope"))
    assert header == Header(
        VECTOR["sender"]["endpoint_id"], VECTOR["receiver"]["endpoint_id"], vector("id"), vector("epoch"),
        VECTOR["sequence"], VECTOR["expiry_ms"], VECTOR["kind"],
    )  # fmt: skip
    assert header.packed() == vector("header")
    signature, content = read_letter(SealingKey.of_seed(vector("seed")).open(carried, header.packed()))
    assert content == vector("content")
    assert signed_document(header, content) == vector("document")
    key = serialization.load_pem_public_key(VECTOR["sender"]["public_key"].encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, vector("document"), ec.ECDSA(hashes.SHA256()))


def test_the_published_key_is_made_of_its_seed() -> None:
    assert SealingKey.of_seed(vector("seed")).public == vector("public")
