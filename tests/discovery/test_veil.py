"""The veil: partners recognise, strangers learn nothing."""

import hashlib
import hmac

from roamd.discovery.finder import SALT_BYTES, TAG_BYTES, Veil

CSO, CSP = "A" * 56, "B" * 56
SALT = bytes(range(SALT_BYTES))


def test_who_knows_the_endpoint_id_recognises_it_and_nobody_else_does() -> None:
    veil = Veil.over(CSO, SALT)
    assert veil.hides(CSO)
    assert not veil.hides(CSP)


def test_the_tag_is_the_first_sixteen_bytes_of_hmac_sha_256_keyed_by_the_endpoint_id() -> None:
    expected = hmac.new(CSO.encode(), SALT, hashlib.sha256).digest()[:16]
    assert Veil.over(CSO, SALT).tag == expected
    assert len(expected) == TAG_BYTES


def test_another_salt_makes_another_tag_so_two_starts_cannot_be_joined() -> None:
    assert Veil.over(CSO, SALT).tag != Veil.over(CSO, bytes(SALT_BYTES)).tag


def test_a_tag_under_another_salt_hides_nothing() -> None:
    assert not Veil(bytes(SALT_BYTES), Veil.over(CSO, SALT).tag).hides(CSO)
