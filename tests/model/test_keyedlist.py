"""Keyed lists of credentials: what is hidden, what stays, and whom a liar can deceive."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from roamd.errors import Malformed
from roamd.model.keyedlist import contract_hash, group_hash, key_of, keyed_body, uid_hash
from roamd.model.keys import ObjectKey
from roamd.model.objects import check_object, check_peer_object
from tests.model import bodies

KEY, OTHER = bytes(range(16)), bytes(16)
UID, CONTRACT = "04E2A1B2C3D480", "FR-XYZ-C00000042-W"


def keyed(key: bytes = KEY, **changes: Any) -> bytes:
    token = bodies.token(**({"uid": UID, "contract_id": CONTRACT} | changes))
    return keyed_body(key, token["type"], token["uid"].upper(), bodies.text(token))


def by_hand(key: bytes, name: str) -> str:
    """As the specification tells it."""
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:32].upper()


def test_the_published_vectors_are_read_by_one_who_knows_only_the_specification() -> None:
    vectors = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "keyed.json").read_text(encoding="utf-8"))
    key = bytes.fromhex(vectors["key"])
    for row in vectors["names"]:
        assert by_hand(key, row["name"]) == row["hash"]
    names = {row["kind"]: row["hash"] for row in reversed(vectors["names"])}
    (both,) = vectors["objects"]
    plain, hashed = json.loads(both["plain"]), json.loads(both["keyed"])
    assert (hashed["uid"], hashed["contract_id"], hashed["group_id"]) == (
        names["uid"],
        names["contract"],
        names["group"],
    )
    assert hashed["keyed"] == vectors["key"]
    assert {name for name in hashed if hashed[name] == plain.get(name)} == {
        "country_code", "party_id", "type", "issuer", "valid", "whitelist",
    }  # fmt: skip


def test_a_hash_is_what_the_specification_says() -> None:
    assert uid_hash(KEY, "RFID", UID) == by_hand(KEY, f"roamd uid 1 RFID {UID}")
    assert contract_hash(KEY, CONTRACT) == by_hand(KEY, "roamd contract 1 FRXYZC00000042")
    assert group_hash(KEY, "fleet") == by_hand(KEY, "roamd group 1 FLEET")


@pytest.mark.parametrize(
    ("type_", "spellings"),
    [
        ("RFID", [UID, "04:e2:a1:b2:c3:d4:80", "04-E2-A1-B2-C3-D4-80"]),
        ("EMAID", [CONTRACT, "FRXYZC00000042W", "frxyzc00000042", "FR*XYZ*C00000042"]),
        ("VEHICLE_ID", ["A0B1C2D3E4F5", "a0:b1:c2:d3:e4:f5"]),
        ("APP_USER", ["user-7", "USER-7"]),
    ],
)
def test_every_spelling_of_a_number_has_one_hash(type_: str, spellings: list[str]) -> None:
    assert len({uid_hash(KEY, type_, each) for each in spellings}) == 1


def test_two_peers_are_sent_no_two_texts_alike_but_what_many_cards_share() -> None:
    one, other = (json.loads(keyed(key, group_id="fleet")) for key in (KEY, OTHER))
    alike = {name for name in one if one[name] == other[name]}
    assert alike == {"country_code", "party_id", "type", "issuer", "valid", "whitelist", "last_updated"}
    assert one["last_updated"] == "2026-01-05T00:00:00Z", "a stamp of the second would join them"


def test_the_kinds_of_numbers_are_told_apart() -> None:
    said = json.loads(keyed(type="EMAID", uid="SAME-1", contract_id="SAME-1", group_id="SAME-1"))
    assert len({said["uid"], said["contract_id"], said["group_id"]}) == 3


def test_nothing_goes_along_that_does_not_decide() -> None:
    private: dict[str, Any] = {
        "visual_number": "V-1",
        "language": "fr",
        "energy_contract": {"supplier_name": "S", "contract_id": "E1"},
    }
    body = keyed(**private, x_name="Anna", group_id="fleet")
    for secret in (UID, "C00000042", "V-1", '"fr"', "E1", "Anna", "fleet"):
        assert secret.encode() not in body
    said = json.loads(body)
    assert (said["valid"], said["whitelist"], said["keyed"]) == (True, "ALLOWED", KEY.hex())
    assert said["group_id"] == group_hash(KEY, "FLEET")
    assert "group_id" not in json.loads(keyed())


@pytest.mark.parametrize("ocpi", ["2.2.1", "2.3.0"])
def test_a_keyed_credential_is_an_object_like_any_other(ocpi: str) -> None:
    body = keyed(issuer="Ünïon")
    checked = check_peer_object("user-credentials", ocpi, body)
    assert checked.key == ObjectKey("DEABC", uid_hash(KEY, "RFID", UID), "RFID")
    assert checked.body == body
    assert key_of(body) == KEY


@pytest.mark.parametrize(
    "changes",
    [{"keyed": "no key"}, {"keyed": True}, {"keyed": None}, {"keyed": KEY.hex().upper()}, {"keyed": ""},
     {"uid": UID}, {"uid": "0" * 31 + "g"}],
)  # fmt: skip
def test_a_peer_cannot_send_half_a_keyed_credential(changes: dict[str, Any]) -> None:
    body = bodies.text(json.loads(keyed()) | changes)
    with pytest.raises(Malformed):
        check_peer_object("user-credentials", "2.3.0", body)


def test_what_only_looks_keyed_is_not() -> None:
    for token in (bodies.token(visual_number='"keyed"'), bodies.token(x={"keyed": KEY.hex()}), bodies.token(x="keyed")):
        body = bodies.text(token)
        assert key_of(body) is None
        check_peer_object("user-credentials", "2.3.0", body)
    assert key_of(b'{"uid":"1","keyed":"what older versions let through"}') is None


def test_our_own_backend_does_not_write_keys() -> None:
    with pytest.raises(Malformed, match="written when the credential is sent"):
        check_object("user-credentials", "2.3.0", keyed(), own_parties=frozenset({"DEABC"}))
