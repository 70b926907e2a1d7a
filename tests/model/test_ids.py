"""Identifiers against every vector of tests/data/model/identifiers-vectors.json, and their laws."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roamd.model.ids import contract, evse, party, rfid
from roamd.model.ids.contract import (
    check_character,
    din_check_digit,
    has_wrong_check,
    parse_contract_id,
    provider_in,
)
from roamd.model.ids.evse import parse_evse_id
from roamd.model.ids.party import parse_party, party_of
from roamd.model.ids.rfid import parse_rfid

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/model/identifiers-vectors.json").read_text())

PATTERNS: dict[str, re.Pattern[str]] = {
    "party_country": party.COUNTRY,
    "party_id": party.PARTY_ID,
    "party": party.PARTY,
    "evse_iso": evse.EVSE_ISO,
    "evse_iso_strict": evse.EVSE_ISO_STRICT,
    "evse_din": evse.EVSE_DIN,
    "pool_station": evse.POOL_STATION,
    "emaid": contract.EMAID,
    "emaid_lenient": contract.EMAID_LENIENT,
    "contract_din": contract.CONTRACT_DIN,
    "rfid_uid": rfid.RFID_UID,
}

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
bodies = st.builds(
    "".join, st.tuples(st.sampled_from(["DE", "NL", "FR"]), st.text(CHARACTERS, min_size=12, max_size=12))
)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_every_pattern_is_the_one_of_the_vectors(name: str) -> None:
    assert PATTERNS[name].pattern == VECTORS["regex"][name]


REGEX_CASES = [
    pytest.param(name, text, expected == "match", id=f"{name}-{expected}-{text}")
    for name, cases in VECTORS["regex_tests"].items()
    for expected, texts in cases.items()
    for text in texts
]


@pytest.mark.parametrize(("name", "text", "matches"), REGEX_CASES)
def test_every_pattern_vector(name: str, text: str, matches: bool) -> None:
    assert (PATTERNS[name].fullmatch(text) is not None) is matches


RIGHT_CHECKS = VECTORS["emaid_check_digit"]["published_and_verified"] + VECTORS["emaid_check_digit"]["computed_here"]


@pytest.mark.parametrize("vector", RIGHT_CHECKS, ids=lambda vector: vector["id"])
def test_a_right_check_character_is_computed_and_recognised(vector: dict[str, str]) -> None:
    assert check_character(vector["id"]) == vector["check"]
    parsed = parse_contract_id(vector["id"].lower() + vector["check"].lower())
    assert (parsed.canonical, parsed.check, parsed.warnings) == (vector["id"], "ok", ())


@pytest.mark.parametrize("vector", VECTORS["emaid_check_digit"]["published_but_wrong"], ids=lambda vector: vector["id"])
def test_a_wrong_check_character_warns_and_never_rejects(vector: dict[str, str]) -> None:
    parsed = parse_contract_id(vector["id"] + vector["printed"])
    assert (parsed.canonical, parsed.check, parsed.check_character) == (vector["id"], "wrong", vector["computed"])
    assert parsed.warnings == ("the check character is wrong",)


@given(
    st.from_regex(r"[A-Za-z]{2}[*-]?[A-Za-z0-9]{3}[*-]?(?:[A-Za-z0-9]{6}|[A-Za-z0-9]{9})-?[0-9A-Za-z]?", fullmatch=True)
)
def test_whether_the_check_is_wrong_is_said_alike_by_the_short_way(raw: str) -> None:
    assert has_wrong_check(raw) == (parse_contract_id(raw).check == "wrong")
    right = parse_contract_id(raw).display
    assert not has_wrong_check(right)


@pytest.mark.parametrize(
    "vector", VECTORS["din_check_digit"]["published_and_verified"], ids=lambda vector: vector["id"]
)
def test_a_right_din_digit_is_computed_and_recognised(vector: dict[str, str]) -> None:
    assert din_check_digit(vector["id"]) == vector["check"]
    parsed = parse_contract_id(vector["id"] + vector["check"])
    assert (parsed.form, parsed.canonical, parsed.check) == ("din", vector["id"], "ok")


@pytest.mark.parametrize("vector", VECTORS["din_check_digit"]["published_but_wrong"], ids=lambda vector: vector["id"])
def test_a_wrong_din_digit_warns(vector: dict[str, str]) -> None:
    parsed = parse_contract_id(vector["id"] + vector["printed"])
    assert (parsed.check, parsed.check_character) == ("wrong", vector["computed"])


CONTRACT_CONVERSIONS = [vector for vector in VECTORS["conversions"] if "din" in vector]
EVSE_CONVERSIONS = [vector for vector in VECTORS["conversions"] if "din_evse" in vector]


def test_the_vectors_hold_conversions_of_both_kinds() -> None:
    assert CONTRACT_CONVERSIONS
    assert EVSE_CONVERSIONS
    assert len(CONTRACT_CONVERSIONS) + len(EVSE_CONVERSIONS) == len(VECTORS["conversions"])


@pytest.mark.parametrize("vector", CONTRACT_CONVERSIONS, ids=lambda vector: vector["din"])
def test_a_din_contract_id_converts_both_ways_and_all_its_forms_name_one_contract(vector: dict[str, str]) -> None:
    assert contract.din_to_emi3(vector["din"]) == vector["emi3"]
    assert contract.din_to_iso_legacy(vector["din"]) == vector["iso_legacy"]
    assert contract.to_din(vector["emi3"]) == vector["din"]
    assert contract.to_din(vector["iso_legacy"]) == vector["din"]
    aliases = [set(parse_contract_id(spelling).aliases) for spelling in vector.values()]
    assert aliases[0] == aliases[1] == aliases[2]
    assert len(aliases[0]) == 3


@pytest.mark.parametrize("vector", EVSE_CONVERSIONS, ids=lambda vector: vector["din_evse"])
def test_a_din_evse_id_converts(vector: dict[str, str]) -> None:
    assert evse.din_to_iso(parse_evse_id(vector["din_evse"])) == vector["iso_evse"]


def test_a_contract_conversion_refuses_a_wrong_digit_and_a_foreign_form() -> None:
    for raw in ("NL-TNM-012204-6", "NL-TNM-C00122045-K", "CO124"):
        with pytest.raises(ValueError, match="not a DIN contract id"):
            contract.din_to_emi3(raw)
    with pytest.raises(ValueError, match="not the widened form"):
        contract.to_din("NL-TST-C12345678-S")


@pytest.mark.parametrize(
    ("raw", "form", "canonical", "display", "provider"),
    [
        ("nl-tnm-c00122045-k", "emaid", "NLTNMC00122045", "NL-TNM-C00122045-K", "NLTNM"),
        ("DE*ABC*C12345678*1", "emaid", "DEABCC12345678", None, "DEABC"),
        ("NLTNM122045", "din", "NLTNM122045", "NL-TNM-122045-0", "NLTNM"),
        ("DE8ACC12E456L89Y", "other", "DE8ACC12E456L89Y", "DE8ACC12E456L89Y", None),
        ("co124", "other", "CO124", "co124", None),
        ("", "other", "", "", None),
    ],
)
def test_a_contract_id_keeps_three_forms(
    raw: str, form: str, canonical: str, display: str | None, provider: str | None
) -> None:
    parsed = parse_contract_id(raw)
    assert (parsed.raw, parsed.form, parsed.canonical, parsed.provider) == (raw, form, canonical, provider)
    assert display is None or parsed.display == display


def test_mixed_separators_are_read_with_a_warning() -> None:
    assert parse_contract_id("NL-TNM000122045").warnings == ("the separators are neither all hyphens nor none",)


@given(bodies, st.integers(0, 13), st.sampled_from(CHARACTERS))
def test_one_changed_character_is_always_noticed(body: str, place: int, character: str) -> None:
    changed = body[:place] + character + body[place + 1 :]
    assume(changed != body)
    assert check_character(changed) != check_character(body)


@given(bodies, st.integers(0, 12))
def test_two_swapped_neighbours_are_always_noticed(body: str, place: int) -> None:
    swapped = body[:place] + body[place + 1] + body[place] + body[place + 2 :]
    assume(swapped != body)
    assert check_character(swapped) != check_character(body)


@given(bodies)
def test_a_contract_ids_display_reads_back_to_itself(body: str) -> None:
    parsed = parse_contract_id(body)
    again = parse_contract_id(parsed.display)
    assert (again.canonical, again.check, again.display) == (body, "ok", parsed.display)


@pytest.mark.parametrize("raw", ["DE*ABC", "DE-ABC", "deabc"])
def test_a_party_has_one_canonical_form(raw: str) -> None:
    parsed = parse_party(raw)
    assert (parsed.raw, parsed.canonical, parsed.display, parsed.provider_display) == (raw, "DEABC", "DE*ABC", "DE-ABC")


@pytest.mark.parametrize(
    "raw", ["", "DE", "DE*AB", "DE*ABCD", "D*EABC", " DE*ABC", "DE*ABC\n", "DÉ*ABC", "DE*AB\u0661"]
)
def test_what_is_no_party_is_refused_with_what_would_be_right(raw: str) -> None:
    with pytest.raises(ValueError, match=r"DE\*ABC"):
        parse_party(raw)


def test_the_two_ocpi_fields_make_a_party_only_when_both_fit() -> None:
    assert party_of("de", "abc") == "DEABC"
    assert party_of("D", "EABC") is None
    assert party_of("DEA", "BC") is None


@pytest.mark.parametrize(
    ("raw", "canonical", "starless", "operator"),
    [
        ("de*ab7*e840*6487", "DE*AB7*E840*6487", "DEAB7E8406487", "DEAB7"),
        ("DEAB7E8406487", "DE*AB7*E8406487", "DEAB7E8406487", "DEAB7"),
        ("49*810*000*438", "+49*810*000*438", "+49810000438", None),
    ],
)
def test_an_evse_id_keeps_its_inner_stars(raw: str, canonical: str, starless: str, operator: str | None) -> None:
    parsed = parse_evse_id(raw)
    assert (parsed.canonical, parsed.display, parsed.starless, parsed.party) == (
        canonical,
        canonical,
        starless,
        operator,
    )


def test_two_evses_may_share_the_starless_form_but_never_the_canonical_one() -> None:
    one, other = parse_evse_id("DE*AB7*E840*6487"), parse_evse_id("DE*AB7*E8406*487")
    assert one.starless == other.starless
    assert one.canonical != other.canonical


def test_an_unusual_evse_id_is_read_with_warnings() -> None:
    assert parse_evse_id("DE*DES*E*BMW*0113*2").warnings == ("the outlet begins with a star",)
    assert parse_evse_id("DE*AB7*E" + "7" * 31).warnings == ("the outlet is longer than 30 characters",)


def test_a_calling_code_without_a_single_country_needs_the_peers_mapping() -> None:
    parsed = parse_evse_id("+1*823*1234")
    with pytest.raises(ValueError, match="no country is known"):
        evse.din_to_iso(parsed)
    assert evse.din_to_iso(parsed, {"1": "US"}) == "US*823*E1234"
    with pytest.raises(ValueError, match="does not fit"):
        evse.din_to_iso(parse_evse_id("+49*8234*1234"))


@pytest.mark.parametrize("raw", ["04:a1:b2:c3:d4:e5:80", "04-A1-B2-C3-D4-E5-80", "04A1 B2C3 D4E5 80"])
def test_an_rfid_uid_loses_its_separators_and_its_case(raw: str) -> None:
    assert parse_rfid(raw).canonical == "04A1B2C3D4E580"


def test_an_8_byte_uid_needs_the_peers_profile() -> None:
    with pytest.raises(ValueError, match="4, 7 or 10 bytes"):
        parse_rfid("E004010203040506")
    assert parse_rfid("E004010203040506", wide=True).canonical == "E004010203040506"


def test_only_4_byte_uids_that_begin_with_08_are_random() -> None:
    assert parse_rfid("08A1B2C3").random
    assert not parse_rfid("08A1B2C3D4E580").random


def test_a_leaked_cascade_is_undone_only_when_its_check_bytes_hold() -> None:
    check_one, check_two = 0x88 ^ 0x04 ^ 0xA1 ^ 0xB2, 0xC3 ^ 0xD4 ^ 0xE5 ^ 0x80
    leaked = f"8804A1B2{check_one:02X}C3D4E580{check_two:02X}"
    assert rfid.without_cascade(leaked) == "04A1B2C3D4E580"
    assert rfid.without_cascade(leaked[:-2]) == "04A1B2C3D4E580"
    assert rfid.without_cascade(leaked[:-2] + "00") is None
    assert rfid.without_cascade("8804A1B200C3D4E580") is None


def test_zero_filling_is_stripped_at_either_end() -> None:
    assert rfid.without_padding("04A1B2C3000000") == "04A1B2C3"
    assert rfid.without_padding("00000004A1B2C3") == "04A1B2C3"
    assert rfid.without_padding("04A1B2C3D4E580") is None


def test_quirks_are_tried_only_when_declared_and_in_a_fixed_order() -> None:
    assert rfid.variants("04A1B2C3", ()) == ("04A1B2C3",)
    assert rfid.variants("04A1B2C3000000", ("padded", "reversed")) == ("04A1B2C3000000", "000000C3B2A104", "04A1B2C3")


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=7, max_size=7))
def test_reversing_twice_gives_the_uid_back(raw: bytes) -> None:
    canonical = parse_rfid(raw.hex()).canonical
    assert rfid.reversed_bytes(rfid.reversed_bytes(canonical)) == canonical


@pytest.mark.parametrize(
    "raw", ["FR-RMD-C00000042-X", "frrmdc00000042", "FR*RMD*C00000042", "DE-8AA-123456-7", "DE8AA123456", "DE-8AA", ""]
)
def test_the_provider_alone_is_the_one_that_the_whole_parse_finds(raw: str) -> None:
    assert provider_in(raw) == parse_contract_id(raw).provider
