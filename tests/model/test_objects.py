"""The door: what passes, under which key, and every reason why something does not."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from roamd.errors import Malformed, TooLarge
from roamd.model.body import OBJECT_MAX
from roamd.model.credentials import UserCredential
from roamd.model.objects import (
    Checked,
    CheckedRecord,
    ObjectKey,
    check_evse_status,
    check_object,
    check_peer_object,
    check_peer_record,
    check_record,
)
from roamd.model.views import EvseStatusView, LocationView, SessionView, TariffView
from tests.model import bodies
from tests.model.bodies import OBJECTS, STAMP, STAMP_MS, text, without

OURS = frozenset({"DEABC", "NLXYZ"})


def put(feed: str, value: object, path_id: str | None = None, at: str = "$") -> Checked:
    return check_object(feed, "2.3.0", text(value), own_parties=OURS, path_id=path_id, at=at)


def post(value: object) -> CheckedRecord:
    return check_record("2.3.0", text(value), own_parties=OURS)


def faults(action: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(Malformed) as refused:
        action()
    return [(fault.path, fault.code) for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("feed", "key"),
    [
        ("locations", ObjectKey("DEABC", "LOC-1")),
        ("tariffs", ObjectKey("DEABC", "T-1")),
        ("sessions", ObjectKey("DEABC", "S-1")),
        ("user-credentials", ObjectKey("DEABC", "04:A1:B2:C3", "RFID")),
    ],
)
def test_an_object_is_known_by_its_folded_owner_and_id_and_keeps_its_bytes(feed: str, key: ObjectKey) -> None:
    value = {**OBJECTS[feed], "country_code": "de", "party_id": "abc"}
    checked = put(feed, value)
    assert (checked.key, checked.ocpi, checked.body, checked.warnings) == (key, "2.3.0", text(value), ())
    assert check_peer_object(feed, "2.3.0", checked.body, claimed=key) == checked


def test_the_views_hold_what_is_decided_on() -> None:
    assert put("locations", bodies.location()).view == LocationView(True, ("E1", "E2"), STAMP_MS)
    assert put("locations", without(bodies.location(), "evses")).view == LocationView(True, (), STAMP_MS)
    assert put("tariffs", bodies.tariff()).view == TariffView("EUR", STAMP_MS)
    assert put("sessions", bodies.session()).view == SessionView(
        "ACTIVE",
        "Loc-1",
        "E1",
        "FRRMD",
        "RFID",
        "04A1B2C3",
        "FR-RMD-C00000042-X",
        "REF-1",
        STAMP_MS,
        Decimal("1.5"),
    )
    assert put("user-credentials", bodies.token()).view == UserCredential(
        "DEABC", "RFID", "04A1B2C3", "DE-ABC-C00000001-3", True, "ALLOWED", None, STAMP_MS
    )


@pytest.mark.parametrize("feed", OBJECTS)
def test_the_id_must_be_the_one_of_the_path_whatever_its_case(feed: str) -> None:
    name = "uid" if feed == "user-credentials" else "id"
    own_id = OBJECTS[feed][name]
    assert put(feed, OBJECTS[feed], path_id=own_id.swapcase())
    assert faults(lambda: put(feed, OBJECTS[feed], path_id="another")) == [(f"$.{name}", "id")]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"party_id": "XXX"}, "$.party_id"),
        ({"country_code": "FR"}, "$.country_code"),
        ({"country_code": "NL"}, "$.party_id"),
        ({"country_code": "1D"}, "$.country_code"),
        ({"party_id": "AB"}, "$.party_id"),
        ({"party_id": ""}, "$.party_id"),
    ],
)
def test_a_foreign_owner_is_a_fault_at_the_field_that_is_off(changes: dict[str, Any], path: str) -> None:
    assert faults(lambda: put("tariffs", bodies.tariff(**changes))) == [(path, "owner")]
    assert faults(lambda: post(bodies.cdr(**changes))) == [(path, "owner")]


def test_every_fault_comes_at_once_each_place_once_and_behind_the_given_prefix() -> None:
    broken = {**without(bodies.tariff(), "currency"), "id": "x" * 37, "party_id": "TOOLONG", "country_code": 5}
    data = text(broken)[:-1] + b',"elements":[],"last_updated":"never"}'
    found = faults(lambda: check_object("tariffs", "2.3.0", data, own_parties=OURS, path_id="y", at="$[4]"))
    assert sorted(found) == [
        ("$[4].country_code", "type"),
        ("$[4].currency", "required"),
        ("$[4].elements", "duplicate-key"),
        ("$[4].id", "too-long"),
        ("$[4].last_updated", "date-time"),
        ("$[4].last_updated", "duplicate-key"),
        ("$[4].party_id", "too-long"),
    ]


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_is_no_object_is_one_fault(value: object) -> None:
    assert faults(lambda: put("locations", value, at="$[1]")) == [("$[1]", "type")]
    assert faults(lambda: post(value)) == [("$", "type")]


def test_an_empty_id_names_nothing_and_is_refused() -> None:
    assert faults(lambda: put("tariffs", bodies.tariff(id=""))) == [("$.id", "required")]
    assert faults(lambda: post(bodies.cdr(id=""))) == [("$.id", "required")]


def test_an_unknown_version_or_feed_is_told_apart() -> None:
    found = faults(lambda: check_object("tariffs", "2.1.1", text(bodies.tariff()), own_parties=OURS))
    assert found == [("OCPI-Version", "ocpi-version")]
    with pytest.raises(KeyError):
        put("weather", bodies.tariff())


def test_an_object_over_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge):
        put("locations", bodies.location(x_note="x" * OBJECT_MAX))
    with pytest.raises(TooLarge):
        post(bodies.cdr(x_note="x" * OBJECT_MAX))


def test_warnings_travel_with_the_object() -> None:
    checked = put("user-credentials", bodies.token(contract_id="FR-RMD-C00000042-Y", type="IRIS"))
    assert [(warning.path, warning.code) for warning in checked.warnings] == [
        ("$.type", "unknown-value"),
        ("$.contract_id", "check-character"),
    ]


def test_a_peers_object_must_be_compact_already_and_name_the_key_that_it_came_under() -> None:
    body = text(bodies.tariff())
    assert faults(lambda: check_peer_object("tariffs", "2.3.0", b" " + body)) == [("$", "not-compact")]
    claimed = ObjectKey("DEABC", "T-2")
    assert faults(lambda: check_peer_object("tariffs", "2.3.0", body, claimed=claimed)) == [("$", "key")]


def test_a_peers_object_may_have_any_owner_that_is_a_party() -> None:
    assert check_peer_object("tariffs", "2.3.0", text(bodies.tariff(party_id="XXX"))).key.party == "DEXXX"
    nameless = text(bodies.tariff(country_code="D", party_id="EAB"))
    assert faults(lambda: check_peer_object("tariffs", "2.3.0", nameless)) == [("$.country_code", "owner")]


# --- EVSE status ------------------------------------------------------------------------------------------------


def test_an_evse_status_needs_both_fields_unless_the_time_is_given() -> None:
    assert check_evse_status(b' { "status" : "CHARGING" } ', last_updated=STAMP) == text(
        {"status": "CHARGING", "last_updated": STAMP}
    )
    kept = text({"last_updated": "2025-01-01T00:00:00Z", "status": "CHARGING"})
    assert check_evse_status(kept, last_updated=STAMP) == kept
    assert faults(lambda: check_evse_status(b'{"status":"CHARGING"}')) == [("$.last_updated", "required")]
    assert faults(lambda: check_evse_status(b"{}", last_updated=STAMP)) == [("$.status", "required")]
    assert faults(lambda: check_evse_status(b"[]", last_updated=STAMP)) == [("$", "type")]


def test_a_null_time_is_a_missing_one() -> None:
    given = check_evse_status(b'{"last_updated":null,"status":"CHARGING"}', last_updated=STAMP)
    assert given == text({"last_updated": STAMP, "status": "CHARGING"})


def test_a_peers_evse_status_lives_under_the_key_that_it_came_under() -> None:
    key = ObjectKey("DEABC", "LOC-1", "E1")
    body = text({"status": "CHARGING", "last_updated": STAMP})
    checked = check_peer_object("evse-status", "2.3.0", body, claimed=key)
    assert (checked.key, checked.view) == (key, EvseStatusView("CHARGING", STAMP_MS))
    assert faults(lambda: check_peer_object("evse-status", "2.3.0", b'{"status":1}', claimed=key)) == [
        ("$.status", "type"),
        ("$.last_updated", "required"),
    ]


# --- records ----------------------------------------------------------------------------------------------------


def test_a_record_without_kind_is_a_cdr_and_its_fields_are_at_hand() -> None:
    record = post(bodies.cdr(authorization_reference="REF-1", credit=True, credit_reference_id="Cdr-0"))
    assert (record.kind, record.party, record.id, record.key) == ("CDR", "DEABC", "Cdr-1", ObjectKey("DEABC", "CDR-1"))
    assert (record.token_party, record.token_type, record.token_uid) == ("FRRMD", "RFID", "04A1B2C3")
    assert (record.contract_id, record.authorization_reference) == ("FR-RMD-C00000042-X", "REF-1")
    assert (record.credit, record.credit_reference_id) == (True, "Cdr-0")


def test_an_sdr_is_a_record_too_and_a_peer_reads_the_same_of_it() -> None:
    record = post(bodies.sdr(cdr_location={"name": "Car park 1"}))
    assert (record.kind, record.id, record.credit) == ("SDR", "Sdr-1", False)
    assert check_peer_record("2.3.0", record.body) == record


@pytest.mark.parametrize("kind", ["CDR", "sdr", "", None, 1, ["SDR"]])
def test_any_other_kind_is_refused(kind: object) -> None:
    assert faults(lambda: post(bodies.sdr(kind=kind))) == [("$.kind", "kind")]


def test_an_sdrs_faults_have_paths_too() -> None:
    items = [
        {"type": "parking", "quantity": "1", "unit": "h", "price": 3},
        {"type": "swim", "quantity": 1, "unit": "m"},
    ]
    found = faults(lambda: post(without(bodies.sdr(items=items, total_cost={"excl_vat": 3}), "cdr_token")))
    assert sorted(found) == [
        ("$.cdr_token", "required"),
        ("$.items[0].quantity", "type"),
        ("$.items[1].price", "required"),
        ("$.total_cost.before_taxes", "required"),
    ]


def test_a_peers_record_may_have_any_owner_but_must_be_compact() -> None:
    body = text(bodies.cdr(party_id="XXX"))
    assert check_peer_record("2.3.0", body).party == "DEXXX"
    assert faults(lambda: check_peer_record("2.3.0", body + b"\n")) == [("$", "not-compact")]


def test_a_card_issuer_that_is_no_party_passes_and_owns_nothing() -> None:
    record = post(bodies.cdr(cdr_token=bodies.cdr_token(party_id="R")))
    assert record.token_party == ""
    assert [(warning.path, warning.code) for warning in record.warnings] == [("$.cdr_token.party_id", "pattern")]


def test_no_uid_and_no_body_shows_in_a_printed_object() -> None:
    for printed in (repr(put("user-credentials", bodies.token())), repr(post(bodies.cdr()))):
        assert "04" + "A1B2C3" not in printed
        assert "a1:b2" not in printed
        assert "C00000042" not in printed


def test_checked_values_are_equal_by_their_content() -> None:
    checked = put("tariffs", bodies.tariff())
    assert replace(checked, body=b"{}") != checked
