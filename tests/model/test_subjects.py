"""A driver is found by his numbers, in every spelling and nowhere else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import Malformed
from roamd.model.ids.contract import din_to_emi3, din_to_iso_legacy, parse_contract_id
from roamd.model.subjects import Subject, subject
from tests.model import bodies

UID = "04A1B2C3D4E5F6"
CONTRACT = "FR-RMD-C00000042-X"

CARD = subject(type_="RFID", uid=UID)
DRIVER = subject(contract_id=CONTRACT)


@pytest.mark.parametrize(
    "written", [UID, UID.lower(), "04:a1:b2:c3:d4:e5:f6", "04-A1-B2-C3-D4-E5-F6", "04 A1 B2 C3 D4 E5 F6"]
)
def test_a_card_is_found_in_every_spelling_and_may_be_named_by_any(written: str) -> None:
    text = bodies.text(bodies.cdr(cdr_token=bodies.cdr_token(uid=written)))
    finding = CARD.look(text)
    assert finding.found == "named"
    assert [token.uid for token in finding.tokens] == [written]
    assert subject(type_="rfid", uid=written).look(bodies.text(bodies.token(uid=UID))).found == "named"


def test_a_card_of_another_type_is_another_persons() -> None:
    assert CARD.look(bodies.text(bodies.token(uid=UID, type="APP_USER"))).found == "mentioned"
    assert subject(type_="APP_USER", uid=UID).look(bodies.text(bodies.token(uid=UID, type="APP_USER"))).found == "named"


@pytest.mark.parametrize(
    "written", [CONTRACT, "FRRMDC00000042", "fr*rmd*C00000042", "FR-RMD-C00000042-9", "frrmdc00000042x"]
)
def test_a_contract_is_found_in_every_spelling_and_may_be_named_by_any(written: str) -> None:
    text = bodies.text(bodies.cdr(cdr_token=bodies.cdr_token(contract_id=written)))
    assert DRIVER.look(text).found == "named"
    assert subject(contract_id=written).look(bodies.text(bodies.cdr())).found == "named"


def test_the_three_widths_of_one_contract_id_are_one_driver() -> None:
    digit = parse_contract_id("DE-8AA-123456").display[-1]
    din = f"DE-8AA-123456-{digit}"
    for one in (din, din_to_emi3(din), din_to_iso_legacy(din)):
        for other in (din, din_to_emi3(din), din_to_iso_legacy(din)):
            assert subject(contract_id=one).look(bodies.text(bodies.token(contract_id=other))).found == "named"


def test_a_text_that_escapes_what_it_says_is_seen_through() -> None:
    escaped = b"0\\u0034" + UID[2:].encode()
    hidden = bodies.text(bodies.cdr(cdr_token=bodies.cdr_token(uid="@"))).replace(b"@", escaped)
    assert UID.encode() not in hidden
    assert CARD.look(hidden).found == "named"
    remark = json.dumps({"remark": "card @ was lost"}).encode().replace(b"@", escaped)
    assert CARD.look(remark).found == "mentioned"


def test_who_is_only_mentioned_is_not_named() -> None:
    """Another person's record must never be erased for a number in its remark."""
    assert CARD.look(bodies.text(bodies.cdr(remark=f"not the card {UID}"))).found == "mentioned"
    anothers = bodies.cdr(id="FRRMDC00000042", cdr_token=bodies.cdr_token(contract_id="x"))
    assert DRIVER.look(bodies.text(anothers)).found == "mentioned"
    assert CARD.look(bodies.text(bodies.location(evses=[bodies.evse(UID)]))).found == "mentioned"


def test_a_longer_number_that_begins_or_ends_with_his_is_another() -> None:
    for uid in (UID + "00", "00" + UID, UID[:-2]):
        assert CARD.look(bodies.text(bodies.token(uid=uid))).found is None
    for contract in ("FR-RMD-C00000043-X", "FR-RMX-C00000042", "XFR-RMD-C00000042-X"):
        assert DRIVER.look(bodies.text(bodies.token(contract_id=contract))).found is None


def test_a_short_number_is_looked_for_in_tokens_only() -> None:
    short = subject(type_="OTHER", uid="7")
    assert short.look(bodies.text(bodies.token(uid="7", type="OTHER"))).found == "named"
    assert short.look(bodies.text({"remark": "7", "kwh": 7})).found is None


def test_a_text_that_cannot_be_read_counts_as_his_where_it_mentions_him() -> None:
    assert CARD.look(b'{"uid":"' + UID.encode()).found == "named"
    assert CARD.look(b"\xff\xfe").found is None


def test_both_numbers_may_be_given_and_either_is_enough() -> None:
    both = subject(type_="RFID", uid=UID, contract_id=CONTRACT)
    assert both.look(bodies.text(bodies.token(uid=UID, contract_id="x"))).found == "named"
    assert both.look(bodies.text(bodies.cdr())).found == "named"
    assert both.look(bodies.text(bodies.token())).found is None


@pytest.mark.parametrize("given", [{}, {"type_": "RFID"}, {"type_": "RFID", "contract_id": CONTRACT}, {"uid": ""}])
def test_nobody_is_no_subject(given: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        subject(**given)


def test_a_subject_is_never_seen_by_accident() -> None:
    assert UID not in repr(subject(uid=UID, contract_id=CONTRACT))
    assert "C00000042" not in repr(subject(uid=UID, contract_id=CONTRACT))


@given(st.text(min_size=1, max_size=36), st.text(min_size=1, max_size=36))
def test_whatever_a_number_is_made_of_its_own_token_names_it(uid: str, contract: str) -> None:
    token = bodies.text(bodies.token(uid=uid, contract_id=contract))
    wanted: list[Subject] = [subject(uid=uid), subject(contract_id=contract)]
    assert all(one.look(token).found == "named" for one in wanted)
