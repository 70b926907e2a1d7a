"""Who is asked when, how long for, and what a reservation, a driver group and a way to identify change about it."""

from collections.abc import Sequence
from typing import Any

import pytest

from roamd.protocol.messages import AnswerStatus
from roamd.roaming.authorization.reservations import HeldPlaces
from roamd.roaming.directory import Peer
from roamd.roaming.operations import CredentialIn, PlaceIn
from roamd.storage import decisions
from tests.model import bodies
from tests.support.roaming import Company
from tests.support.station import UID, Station, summary

HERE = PlaceIn("Loc-1", "E1")


@pytest.fixture
def station(cso: Company, csp: Company) -> Station:
    station = Station(cso)
    station.link("rmd")
    for number, party, label in ((3, "NLTNM", "tnm"), (4, "BEFOO", "foo")):
        cso.meets(Company(number, party, "csp"), label)
        station.link(label)
    return station


def in_waves(*waves: str) -> Any:
    """Candidates as a filter might name them."""

    def candidates(type_: str, uid: str, peers: Sequence[Peer]) -> list[list[Peer]]:
        assert (type_, uid) == ("RFID", UID)
        return [[peer for peer in peers if peer.label in wave.split()] for wave in waves]

    return candidates


def asked(station: Station) -> list[str]:
    return [label for label, line in station.lines.items() if line.calls]


# --- waves ------------------------------------------------------------------------------------------------------


def test_the_likeliest_are_asked_first_and_the_next_wave_after_the_stagger(station: Station) -> None:
    station.visited.candidates = in_waves("tnm", "rmd")
    told = station.ask()
    assert asked(station) == ["tnm"]
    station.cso.timers.pass_by(0.099)
    assert asked(station) == ["tnm"]
    station.cso.timers.pass_by(0.001)
    assert asked(station) == ["rmd", "tnm"]
    station.answer("rmd", "ALLOWED")
    assert summary(told) == ("ALLOWED", "BACKEND", "rmd")
    assert station.lines["tnm"].cancelled == [station.lines["tnm"].calls[0].id]
    assert told.one.asked == ["tnm", "rmd"]


def test_the_next_wave_does_not_wait_for_those_who_have_said_that_they_do_not_know(station: Station) -> None:
    station.visited.candidates = in_waves("tnm", "rmd", "foo")
    told = station.ask()
    station.answer("tnm", "UNKNOWN")
    assert asked(station) == ["rmd", "tnm"]
    station.raw_answer("rmd", AnswerStatus.NO_ANSWER, b"")
    assert asked(station) == ["rmd", "tnm", "foo"]
    station.answer("foo", "UNKNOWN")
    assert summary(told) == ("NOT_ALLOWED", "POLICY", "rmd")


def test_a_card_that_one_knows_is_shown_to_nobody_else(station: Station) -> None:
    station.visited.candidates = in_waves("tnm", "rmd")
    told = station.ask()
    station.answer("tnm", "BLOCKED")
    assert summary(told) == ("BLOCKED", "BACKEND", "tnm")
    station.cso.timers.pass_by(3)
    assert asked(station) == ["tnm"]


def test_a_wave_without_a_link_costs_no_time(station: Station) -> None:
    station.visited.candidates = in_waves("tnm", "rmd")
    station.cso.peer("tnm").exchange = None
    station.ask()
    assert asked(station) == ["rmd"]


def test_whom_the_candidates_leave_out_is_never_shown_the_card(station: Station) -> None:
    station.visited.candidates = in_waves()
    assert summary(station.ask()) == ("UNKNOWN", "POLICY", None)
    assert asked(station) == []


# --- patience ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("deadline_ms", "patience_s"), [(3000, 1.0), (1000, 0.5), (100, 0.05)])
def test_the_list_of_a_home_that_hangs_counts_when_the_patience_is_over(
    station: Station, deadline_ms: int, patience_s: float
) -> None:
    station.lists("rmd", whitelist="ALLOWED_OFFLINE")
    told = station.ask(deadline_ms=deadline_ms)
    station.cso.timers.pass_by(patience_s - 0.001)
    assert told.all == []
    station.cso.timers.pass_by(0.001)
    assert summary(told) == ("ALLOWED", "WHITELIST", "rmd")
    assert told.one.reason == "no answer: rmd (not yet); its home-CSP's whitelist decides"
    station.answer("rmd", "BLOCKED")
    assert len(told.all) == 1


def test_a_refusal_within_the_patience_is_not_beaten_by_a_listing(station: Station) -> None:
    station.lists("rmd", whitelist="ALLOWED_OFFLINE")
    told = station.ask()
    station.cso.timers.pass_by(0.4)
    station.answer("rmd", "BLOCKED")
    assert summary(told) == ("BLOCKED", "BACKEND", "rmd")


def test_a_refusal_by_the_list_waits_for_the_deadline_because_the_home_may_know_better(station: Station) -> None:
    station.lists("rmd", whitelist="ALLOWED_OFFLINE", valid=False)
    told = station.ask(deadline_ms=3000)
    station.cso.timers.pass_by(2)
    station.answer("rmd", "ALLOWED")
    assert summary(told) == ("ALLOWED", "BACKEND", "rmd")


def test_one_that_hangs_does_not_hold_up_the_refusal_of_one_that_knows_the_card(station: Station) -> None:
    told = station.ask(deadline_ms=3000)
    station.answer("tnm", "EXPIRED")
    assert told.all == []
    station.cso.timers.pass_by(1)
    assert summary(told) == ("EXPIRED", "BACKEND", "tnm")


def test_nothing_is_left_of_an_authorization_that_is_decided(station: Station) -> None:
    station.lists("rmd", whitelist="ALLOWED_OFFLINE")
    station.cso.timers.pass_by(5)
    before = station.cso.timers.waiting
    station.ask()
    station.answer("rmd", "ALLOWED")
    assert station.cso.timers.waiting == before + 1, "the journal's"


# --- ways to identify -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credential", "whom"),
    [
        (CredentialIn("EMAID", "FR-RMD-C00000042-X"), ["rmd"]),
        (CredentialIn("emaid", "FRRMDC00000042X"), ["rmd"]),
        (CredentialIn("EMAID", "DE-XXX-C00000042-1"), []),
        (CredentialIn("PIN", "1234", "NL-TNM-C00000042-1"), ["tnm"]),
        (CredentialIn("PIN", "1234"), []),
        (CredentialIn("VEHICLE_ID", "00:11:22:AA:BB:CC"), ["rmd", "tnm", "foo"]),
        (CredentialIn("APP_USER", "user-1"), ["rmd", "tnm", "foo"]),
    ],
)
def test_the_way_to_identify_says_who_is_shown_it(station: Station, credential: CredentialIn, whom: list[str]) -> None:
    told = station.ask(credential=credential)
    assert asked(station) == whom
    assert bool(told.all) == (not whom), "where nobody is asked it is decided at once"


@pytest.mark.parametrize("type_", ["APP_USER", "AD_HOC_USER", "PIN", "VEHICLE_ID"])
def test_a_listing_of_what_is_no_card_decides_nothing(station: Station, type_: str) -> None:
    station.lists("rmd", "AABB", type=type_, whitelist="ALWAYS")
    told = station.ask(credential=CredentialIn(type_, "AABB", "FR-RMD-C00000042-X"))
    station.cso.timers.pass_by(1)
    assert summary(told) == ("NOT_ALLOWED", "POLICY", "rmd")


def test_a_listed_plug_and_charge_contract_is_known_in_every_spelling(station: Station) -> None:
    station.lists("rmd", "FR-RMD-C00000042-X", type="EMAID", whitelist="ALWAYS")
    for uid in ("frrmdc00000042x", "FRRMDC00000042", "FR-RMD-C00000042", "FR-RMD-C00000042-X"):
        assert summary(station.ask(credential=CredentialIn("EMAID", uid)))[1] == "WHITELIST", uid


# --- reservations -----------------------------------------------------------------------------------------------


def reservation(**changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": "R-1",
        "kind": "NOW",
        "status": "RESERVED",
        "cdr_token": bodies.cdr_token(),
        "authorization_reference": "RES-REF",
        "location_id": "loc-1",
        "evse_uid": "e1",
        "start_date_time": bodies.STAMP,
        "end_date_time": "2026-01-05T10:00:00Z",
        "last_updated": bodies.STAMP,
        **changes,
    }


def reserves(station: Station, **changes: Any) -> None:
    station.cso.publish("reservations", reservation(**changes))
    station.visited.held.changed()


OTHERS = bodies.cdr_token(uid="04FFFFFF", contract_id="FR-RMD-C00000099-1")


def test_a_place_that_is_reserved_for_another_driver_is_refused_without_asking(station: Station) -> None:
    reserves(station, cdr_token=OTHERS)
    told = station.ask(location=HERE)
    assert summary(told) == ("NOT_ALLOWED", "POLICY", None)
    assert told.one.reason == "the place is reserved for another driver"
    assert asked(station) == []
    station.ask(location=PlaceIn("Loc-1", "E2"))
    assert asked(station) != [], "another EVSE is free"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "CANCELED"},
        {"end_date_time": bodies.STAMP},
        {"start_date_time": "2026-01-05T09:30:00Z"},
        {"evse_uid": None},
    ],
)
def test_a_reservation_that_does_not_hold_now_or_here_keeps_nobody_away(
    station: Station, changes: dict[str, Any]
) -> None:
    reserves(station, **{"cdr_token": OTHERS} | changes)
    station.ask(location=HERE)
    assert asked(station) != []


def test_a_reservation_that_is_withdrawn_or_changed_is_heeded_at_once(station: Station) -> None:
    reserves(station, cdr_token=OTHERS)
    assert summary(station.ask(location=HERE))[0] == "NOT_ALLOWED"
    reserves(station, cdr_token=OTHERS, evse_uid="E2")
    station.ask(location=HERE)
    assert asked(station) != []
    assert summary(station.ask(location=PlaceIn("Loc-1", "E2")))[0] == "NOT_ALLOWED"


@pytest.mark.parametrize("same", [{"uid": "04:a1:b2:c3"}, {"uid": "04FFFFFF", "contract_id": "FR-RMD-C00000042-X"}])
def test_who_has_reserved_may_start_also_while_the_home_is_silent(station: Station, same: dict[str, Any]) -> None:
    reserves(station, cdr_token=bodies.cdr_token(**same))
    told = station.ask(location=HERE, credential=CredentialIn("RFID", UID, "FR-RMD-C00000042-X"))
    station.cso.timers.pass_by(1)
    assert summary(told) == ("ALLOWED", "POLICY", "rmd")
    assert told.one.authorization_reference == "RES-REF"


def test_the_driver_group_may_use_the_reservation_and_is_asked_about(station: Station) -> None:
    reserves(station, cdr_token=OTHERS)
    station.lists("rmd", "04FFFFFF", whitelist="NEVER", group_id="Fleet-1")
    station.lists("rmd", UID, whitelist="NEVER", group_id="fleet-1")
    told = station.ask(location=HERE)
    assert asked(station) == ["rmd"]
    station.answer("rmd", "ALLOWED")
    assert summary(told) == ("ALLOWED", "BACKEND", "rmd")


def test_another_csps_group_of_the_same_name_is_another_group(station: Station) -> None:
    reserves(station, cdr_token=OTHERS)
    station.lists("rmd", "04FFFFFF", whitelist="NEVER", group_id="Fleet-1")
    station.lists("tnm", UID, whitelist="NEVER", group_id="Fleet-1")
    assert summary(station.ask(location=HERE))[0] == "NOT_ALLOWED"


def test_what_is_held_is_read_once_and_then_only_what_changed(station: Station) -> None:
    for number in range(5):
        reserves(station, id=f"R-{number}", evse_uid=f"E{number}", cdr_token=OTHERS)
    held = HeldPlaces(station.cso.store)
    now = station.cso.clock.now_ms()
    found = [held.holder("Loc-1", f"E{number}", now, "RFID", UID, None, lambda *_: None)[0] for number in range(6)]
    assert found == ["others"] * 5 + ["none"]


# --- the journal ------------------------------------------------------------------------------------------------


def test_the_journal_has_what_a_decision_was_made_from(station: Station) -> None:
    station.lists("rmd", whitelist="ALLOWED_OFFLINE")
    station.cso.peer("rmd").exchange = None
    station.ask(location=HERE, credential=CredentialIn("rfid", "04:a1:b2:c3", "FR-RMD-C00000042-X"))
    station.cso.journal.flush()
    ((_, row),) = station.cso.store.read(lambda cx: decisions.page(cx, 0, 9))
    assert (row.type, row.uid, row.contract_id) == ("RFID", UID, "FR-RMD-C00000042-X")
    assert (row.service, row.location_id, row.evse_uid) == ("CHARGING", "Loc-1", "E1")
    assert (row.row, row.facts) == (16, "last silence none none ALLOWED_OFFLINE yes yes")
