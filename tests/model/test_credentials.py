"""Credentials: how they compare, what a whitelist decides, and that they never show."""

import pytest

from roamd.model.credentials import (
    UserCredential,
    canonical_uid,
    credential,
    whitelist_decides_alone,
    whitelist_decides_offline,
    whitelist_may_decide_first,
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
    ],
)
def test_only_rfid_uids_lose_their_separators(type_: str, uid: str, canonical: str) -> None:
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
    ("whitelist", "alone", "first", "offline"),
    [
        ("ALWAYS", True, True, True),
        ("ALLOWED", False, True, True),
        ("ALLOWED_OFFLINE", False, False, True),
        ("NEVER", False, False, False),
        ("SOMETIMES", False, False, False),
    ],
)
def test_a_whitelist_entry_decides_only_as_its_rule_allows(
    whitelist: str, alone: bool, first: bool, offline: bool
) -> None:
    published = entry(whitelist)
    assert whitelist_decides_alone(published) is alone
    assert whitelist_may_decide_first(published) is first
    assert whitelist_decides_offline(published) is offline


def test_a_random_uid_is_never_decided_by_the_whitelist() -> None:
    assert not whitelist_decides_offline(entry("ALWAYS", uid="08A1B2C3"))
    assert whitelist_decides_offline(entry("ALWAYS", uid="08A1B2C3", type_="OTHER"))
    assert whitelist_decides_offline(entry("ALWAYS", uid="08A1B2C3D4E580"))


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
