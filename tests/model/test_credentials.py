"""Credentials: how they compare, what a whitelist decides, and that they never show."""

import pytest

from roamd.model.credentials import (
    UserCredential,
    canonical_uid,
    contract_of,
    credential,
    is_random_uid,
    way_of,
)
from roamd.model.personal import Personal, masked


@pytest.mark.parametrize(
    ("type_", "uid", "canonical"),
    [
        ("RFID", "04:a1:b2:c3", "04A1B2C3"),
        ("rfid", "04 a1 b2 c3", "04A1B2C3"),
        ("RFID", "e004010203040506", "E004010203040506"),
        ("RFID", "affh-1768", "AFFH-1768"),
        ("RFID", "012345678", "012345678"),
        ("APP_USER", "04:a1:b2:c3", "04:A1:B2:C3"),
        ("OTHER", "bdf21bce", "BDF21BCE"),
        ("VEHICLE_ID", "00:11:22:aa:bb:cc", "001122AABBCC"),
        ("EMAID", "de-abc-c00000042-3", "DE-ABC-C00000042-3"),
    ],
)
def test_only_rfid_uids_and_vehicle_ids_lose_their_separators(type_: str, uid: str, canonical: str) -> None:
    assert canonical_uid(type_, uid) == canonical
    assert canonical_uid(type_, canonical) == canonical


def test_a_credential_compares_by_its_canonical_forms() -> None:
    one = credential("rfid", "04:a1:b2:c3", "fr-rmd-c00000042-x")
    assert one == credential("RFID", "04A1B2C3", "fr-rmd-c00000042-x")
    assert one.contract == "FRRMDC00000042"
    assert credential("RFID", "04A1B2C3", "").contract is None


def entry(
    whitelist: str = "ALLOWED", *, uid: str = "04A1B2C3", type_: str = "RFID", valid: bool = True
) -> UserCredential:
    return UserCredential("DEABC", type_, uid, "DE-ABC-C00000001-3", valid, whitelist, None, 0)


@pytest.mark.parametrize(
    ("type_", "uid", "random"),
    [
        ("RFID", "08A1B2C3", True),
        ("RFID", "04A1B208", False),
        ("RFID", "08A1B2C3D4E580", False),
        ("OTHER", "08A1B2C3", False),
    ],
)
def test_a_random_uid_is_a_card_of_four_bytes_that_begin_with_08(type_: str, uid: str, random: bool) -> None:
    assert is_random_uid(type_, uid) is random


@pytest.mark.parametrize(
    ("type_", "listed", "granted", "owner_only"),
    [
        ("RFID", True, True, False),
        ("APP_USER", False, True, False),
        ("AD_HOC_USER", False, True, False),
        ("EMAID", True, True, True),
        ("PIN", False, False, True),
        ("VEHICLE_ID", False, False, False),
        ("OTHER", True, True, False),
        ("SOMETHING NEW", True, True, False),
    ],
)
def test_the_way_to_identify_says_what_counts_and_who_is_asked(
    type_: str, listed: bool, granted: bool, owner_only: bool
) -> None:
    way = way_of(type_)
    assert (way.listed, way.granted, way.owner_only) == (listed, granted, owner_only)


def test_of_plug_and_charge_the_uid_is_the_contract() -> None:
    assert contract_of("EMAID", "DEABCC000000423", None) == "DEABCC000000423"
    assert contract_of("EMAID", "DEABCC000000423", "FR-RMD-C1") == "FR-RMD-C1"
    assert contract_of("RFID", "04A1B2C3", None) is None


def test_an_entry_allows_while_valid_and_blocks_after() -> None:
    assert entry().decision == "ALLOWED"
    assert entry(valid=False).decision == "BLOCKED"
    assert entry().contract == "DEABCC00000001"


def test_no_printed_credential_shows_its_uid() -> None:
    for shown in (repr(credential("RFID", "04A1B2C3D4E580")), repr(entry(uid="04A1B2C3D4E580")), str(entry())):
        assert "04A1B2" not in shown
        assert "RFID" in shown


def test_a_personal_value_is_masked_everywhere_but_where_it_is_revealed() -> None:
    value = Personal("04A1B2C3D4E580")
    assert (str(value), f"{value}", f"{value:>8}", repr(value)) == ("***580", "***580", "  ***580", "Personal(***580)")
    assert value.reveal() == "04A1B2C3D4E580"
    assert value == Personal("04A1B2C3D4E580")
    assert value != "04A1B2C3D4E580"
    assert len({value, Personal("04A1B2C3D4E580"), Personal("x")}) == 2


@pytest.mark.parametrize("short", ["", "x", "04A1B2C3"])
def test_of_a_short_value_nothing_shows(short: str) -> None:
    assert masked(short) == "***"
