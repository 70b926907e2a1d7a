"""May this credential charge here? Every way in which the visited side comes to a decision."""

from decimal import Decimal

import pytest

from roamd.model.credentials import Decision
from roamd.model.terms import VISITED_CSO, Terms
from roamd.protocol.calls import AuthorizeAnswer, AuthorizeRequest
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.authorization.report import LINES_PER_S
from roamd.roaming.authorization.visited import margin_s
from roamd.roaming.directory import SUSPENDED
from roamd.roaming.operations import Authorize, CredentialIn, PlaceIn
from roamd.storage import decisions
from tests.support.roaming import Company, Line, LogLines, Told
from tests.support.station import UID, Station, summary

RMD_CONTRACT = "FR-RMD-C00000042-X"
LAST_MS = 253_402_300_799_999
"""The end of the year 9999, behind which nothing can be printed, and the latest that is taken."""


@pytest.fixture
def station(cso: Company, csp: Company) -> Station:
    station = Station(cso)
    station.link("rmd")
    return station


@pytest.fixture
def second(station: Station) -> Line:
    """A second CSP, TNM, with a link."""
    station.cso.meets(Company(3, "NLTNM", "csp"), "tnm")
    return station.link("tnm")


def of_contract(contract: str | None = RMD_CONTRACT) -> CredentialIn:
    return CredentialIn("RFID", "04:a1:b2:c3", contract)


# --- who is asked -----------------------------------------------------------------------------------------------


def test_the_owner_of_the_contract_is_asked_alone_and_its_answer_is_the_decision(
    station: Station, second: Line
) -> None:
    told = station.ask(credential=of_contract(), location=PlaceIn("Loc-1", "E1", "1"), service="PARKING")
    assert second.calls == []
    (call,) = station.lines["rmd"].calls
    request = AuthorizeRequest.unpack(call.body)
    assert request == AuthorizeRequest("RFID", UID, RMD_CONTRACT, "Loc-1", "E1", "1", "PARKING", "DEABC")
    station.cso.timers.pass_by(0.25)
    station.answer("rmd", "ALLOWED", reason="welcome", authorization_reference="REF", valid_until_ms=0, info=b'{"a":1}')
    reply = told.one
    assert (reply.decision, reply.reason, reply.source, reply.home_csp) == ("ALLOWED", "welcome", "BACKEND", "rmd")
    assert (reply.authorization_reference, reply.valid_until) == ("REF", "1970-01-01T00:00:00.000Z")
    assert (reply.asked, reply.elapsed_ms, bytes(reply.info)) == (["rmd"], 250.0, b'{"a":1}')
    assert reply.authorization_id == call.id.hex()


def test_without_a_contract_those_that_list_the_card_are_asked(station: Station, second: Line) -> None:
    station.lists("tnm", whitelist="NEVER")
    told = station.ask()
    assert station.lines["rmd"].calls == []
    station.answer("tnm", "BLOCKED")
    assert summary(told) == ("BLOCKED", "BACKEND", "tnm")


@pytest.mark.parametrize("published", ["04A1B2C3", "04:A1:B2:C3", "04-a1-b2-c3", "04 a1 b2 c3"])
def test_a_listing_is_found_in_whatever_spelling_it_was_published(station: Station, published: str) -> None:
    station.lists("rmd", published, whitelist="ALWAYS")
    assert summary(station.ask()) == ("ALLOWED", "WHITELIST", "rmd")


def test_a_list_that_lets_in_tells_how_far_and_at_whose_risk_where_that_was_signed(
    station: Station, cso: Company, csp: Company
) -> None:
    station.lists("rmd", whitelist="ALWAYS")
    assert station.ask().one.offline is None, "the preset says nothing of it"
    terms = Terms(currencies=("EUR",), offline_cost=Decimal("50.00"), offline_liability=VISITED_CSO)
    cso.meets(csp, "rmd", terms=terms, number=7)
    assert station.ask().one.offline == {
        "cost": "50.00", "currency": "EUR", "liability": "visited-cso", "agreement": 7
    }  # fmt: skip


def test_a_card_that_nobody_lists_is_asked_about_everywhere_at_once(station: Station, second: Line) -> None:
    told = station.ask()
    assert len(station.lines["rmd"].calls) == len(second.calls) == 1
    assert station.lines["rmd"].calls[0].id != second.calls[0].id
    station.answer("rmd", "UNKNOWN")
    assert told.all == []
    station.answer("tnm", "ALLOWED")
    assert summary(told) == ("ALLOWED", "BACKEND", "tnm")
    assert told.one.asked == ["rmd", "tnm"]


def test_nobody_is_asked_whom_the_agreement_does_not_name(station: Station) -> None:
    station.cso.meets(Company(3, "NLTNM", "csp"), "tnm", services_out=())
    station.link("tnm")
    station.ask()
    assert station.lines["tnm"].calls == []


def test_a_suspended_home_is_not_asked_and_nobody_else_in_its_place(station: Station, second: Line) -> None:
    station.cso.directory.put(station.cso.peer("rmd").row._replace(state=SUSPENDED))
    told = station.ask(credential=of_contract())
    assert summary(told) == ("UNKNOWN", "POLICY", None)
    assert station.lines["rmd"].calls == second.calls == []


def test_a_card_is_unknown_where_there_is_no_csp(cso: Company) -> None:
    told = Station(cso).ask()
    assert summary(told) == ("UNKNOWN", "POLICY", None)


# --- the whitelist ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whitelist", "valid", "way"),
    [
        ("ALWAYS", True, "ALLOWED"),
        ("ALWAYS", False, "BLOCKED"),
        ("ALLOWED", True, "ALLOWED"),
        ("ALLOWED", False, None),
        ("ALLOWED_OFFLINE", True, None),
        ("ALLOWED_OFFLINE", False, None),
        ("NEVER", True, None),
        ("NEVER", False, None),
    ],
)
def test_the_rule_of_the_listing_says_whether_it_decides_at_once(
    station: Station, whitelist: str, valid: bool, way: str | None
) -> None:
    station.lists("rmd", whitelist=whitelist, valid=valid)
    told = station.ask()
    if way is None:
        assert told.all == []
        assert len(station.lines["rmd"].calls) == 1
    else:
        assert summary(told) == (way, "WHITELIST", "rmd")
        assert station.lines["rmd"].calls == []


@pytest.mark.parametrize(
    ("whitelist", "valid", "decision", "source"),
    [
        ("ALLOWED", False, "BLOCKED", "WHITELIST"),
        ("ALLOWED_OFFLINE", True, "ALLOWED", "WHITELIST"),
        ("ALLOWED_OFFLINE", False, "BLOCKED", "WHITELIST"),
        ("NEVER", True, "NOT_ALLOWED", "POLICY"),
        ("NEVER", False, "NOT_ALLOWED", "POLICY"),
    ],
)
def test_the_rule_of_the_listing_says_whether_it_decides_when_its_home_is_silent(
    station: Station, whitelist: str, valid: bool, decision: Decision, source: str
) -> None:
    station.lists("rmd", whitelist=whitelist, valid=valid)
    silent = station.ask()
    station.cso.timers.pass_by(1)
    assert summary(silent) == (decision, source, "rmd")
    said_no = station.ask()
    station.raw_answer("rmd", AnswerStatus.NO_ANSWER, b"the backend is down", 1)
    assert summary(said_no) == (decision, source, "rmd")
    station.cso.peer("rmd").exchange = None
    down = station.ask()
    assert summary(down) == (decision, source, "rmd")
    assert down.one.elapsed_ms == 0


def test_the_operator_may_forbid_that_the_whitelist_decides_without_its_home(station: Station) -> None:
    station.visited.whitelist_offline = False
    station.lists("rmd", whitelist="ALLOWED_OFFLINE")
    told = station.ask()
    station.cso.timers.pass_by(1)
    assert summary(told) == ("NOT_ALLOWED", "POLICY", "rmd")


def test_a_home_that_may_not_be_asked_speaks_by_its_whitelist(station: Station, cso: Company, csp: Company) -> None:
    cso.meets(csp, "rmd", services_out=())
    station.lists("rmd", whitelist="ALLOWED_OFFLINE")
    assert summary(station.ask()) == ("ALLOWED", "WHITELIST", "rmd")
    assert station.lines["rmd"].calls == []


def test_between_two_csps_that_list_a_card_the_whitelist_does_not_choose(station: Station, second: Line) -> None:
    for label in ("rmd", "tnm"):
        station.lists(label, whitelist="ALWAYS")
    told = station.ask()
    assert len(station.lines["rmd"].calls) == len(second.calls) == 1
    station.cso.timers.pass_by(1)
    assert summary(told) == ("NOT_ALLOWED", "POLICY", None)
    asked = station.ask()
    station.answer("tnm", "ALLOWED", 1)
    assert summary(asked) == ("ALLOWED", "BACKEND", "tnm")


def test_of_two_that_list_a_card_the_silent_ones_listing_counts_when_the_other_does_not_know_it(
    station: Station, second: Line
) -> None:
    for label in ("rmd", "tnm"):
        station.lists(label, whitelist="ALLOWED_OFFLINE")
    told = station.ask()
    station.answer("tnm", "UNKNOWN")
    station.cso.timers.pass_by(1)
    assert summary(told) == ("ALLOWED", "WHITELIST", "rmd")


def test_another_csps_listing_says_nothing_about_a_contract_that_is_not_its_own(station: Station, second: Line) -> None:
    station.lists("tnm", whitelist="ALWAYS")
    told = station.ask(credential=of_contract())
    station.cso.timers.pass_by(1)
    assert len(station.lines["rmd"].calls) == 1
    assert summary(told) == ("NOT_ALLOWED", "POLICY", "rmd")


def test_listings_of_a_suspended_or_no_longer_followed_peer_count_for_nothing(
    station: Station, second: Line, csp: Company
) -> None:
    station.lists("rmd", whitelist="ALWAYS")
    row = station.cso.peer("rmd").row
    station.cso.directory.put(row._replace(state=SUSPENDED))
    station.ask()
    assert len(second.calls) == 1
    station.cso.meets(csp, "rmd", feeds_in=())
    station.ask()
    assert len(second.calls) == 2


def test_a_random_uid_is_never_whitelisted(station: Station) -> None:
    station.lists("rmd", "08A1B2C3", whitelist="ALWAYS")
    told = station.ask(credential=CredentialIn("RFID", "08A1B2C3"))
    station.cso.timers.pass_by(1)
    assert summary(told) == ("NOT_ALLOWED", "POLICY", "rmd")


# --- several answers --------------------------------------------------------------------------------------------


def test_the_first_allowed_wins_and_the_others_are_told_that_nobody_waits(station: Station, second: Line) -> None:
    told = station.ask()
    station.answer("rmd", "ALLOWED")
    assert summary(told) == ("ALLOWED", "BACKEND", "rmd")
    assert second.cancelled == [second.calls[0].id]
    assert station.lines["rmd"].cancelled == []
    station.answer("tnm", "BLOCKED")
    station.cso.timers.pass_by(5)
    assert len(told.all) == 1


TELLING = ("BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "UNKNOWN")


@pytest.mark.parametrize("stronger", range(4))
@pytest.mark.parametrize("first", ["rmd", "tnm"])
def test_of_several_refusals_the_most_telling_speaks(station: Station, second: Line, stronger: int, first: str) -> None:
    other = "tnm" if first == "rmd" else "rmd"
    told = station.ask()
    station.answer(first, TELLING[stronger + 1])
    station.answer(other, TELLING[stronger])
    assert summary(told) == (TELLING[stronger], "BACKEND", other)


def test_a_telling_refusal_needs_no_more_answers_at_the_deadline_and_unknown_does(
    station: Station, second: Line
) -> None:
    blocked, unknown = station.ask(), station.ask()
    station.answer("rmd", "BLOCKED", 0)
    station.answer("rmd", "UNKNOWN", 1)
    assert blocked.all == unknown.all == []
    station.cso.timers.pass_by(1)
    assert summary(blocked) == ("BLOCKED", "BACKEND", "rmd")
    assert summary(unknown) == ("NOT_ALLOWED", "POLICY", "tnm")


def test_everyone_that_answered_unknown_makes_it_unknown(station: Station, second: Line) -> None:
    told = station.ask()
    station.answer("rmd", "UNKNOWN")
    station.answer("tnm", "UNKNOWN")
    assert (told.one.decision, told.one.source) == ("UNKNOWN", "BACKEND")


# --- the deadline -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deadline_ms", [100, 250, 3000, 30_000])
def test_the_decision_comes_before_the_deadline_with_something_kept_for_the_way_back(
    station: Station, deadline_ms: int
) -> None:
    told = station.ask(deadline_ms=deadline_ms)
    (call,) = station.lines["rmd"].calls
    limit_s = deadline_ms / 1000 - margin_s(deadline_ms)
    assert call.deadline_ms <= limit_s * 1000
    station.cso.timers.pass_by(limit_s - 0.001)
    assert told.all == []
    station.cso.timers.pass_by(0.001)
    assert told.one.elapsed_ms < deadline_ms
    assert station.lines["rmd"].cancelled == [call.id]


def test_a_home_without_a_link_is_known_to_be_silent_at_once(station: Station) -> None:
    station.cso.peer("rmd").exchange = None
    told = station.ask(credential=of_contract())
    assert (told.one.decision, told.one.asked, told.one.elapsed_ms) == ("NOT_ALLOWED", [], 0)
    assert "rmd (no link)" in told.one.reason


def test_one_partner_without_a_link_does_not_hold_up_the_others(station: Station, second: Line) -> None:
    station.cso.peer("rmd").exchange = None
    told = station.ask()
    station.answer("tnm", "ALLOWED")
    assert summary(told) == ("ALLOWED", "BACKEND", "tnm")


# --- what a peer may say ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (AnswerStatus.REFUSED, b"not agreed"),
        (AnswerStatus.MALFORMED, b"?"),
        (AnswerStatus.NO_ANSWER, b"late"),
        (77, AuthorizeAnswer("ALLOWED").pack()),
        (AnswerStatus.ANSWERED, b"\xc1"),
        (AnswerStatus.ANSWERED, AuthorizeAnswer("SURE").pack()),
        (AnswerStatus.ANSWERED, b""),
    ],
)
def test_an_answer_that_decides_nothing_counts_as_none(station: Station, status: int, body: bytes) -> None:
    told = station.ask(credential=of_contract())
    station.raw_answer("rmd", status, body)
    assert summary(told) == ("NOT_ALLOWED", "POLICY", "rmd")


def test_what_a_peer_puts_into_its_answer_cannot_spoil_ours(station: Station) -> None:
    told = station.ask(credential=of_contract())
    station.answer(
        "rmd", "ALLOWED", source="made up", valid_until_ms=LAST_MS, location=b'{"evse_uids": [ "E1" ]}', info=b'{"half'
    )
    reply = told.one
    assert (reply.decision, reply.source, reply.valid_until) == ("ALLOWED", "BACKEND", "9999-12-31T23:59:59.999Z")
    assert (bytes(reply.location), reply.info) == (b'{"evse_uids":["E1"]}', None)


def test_a_partner_that_answers_while_it_is_asked_makes_further_questions_needless(
    station: Station, second: Line
) -> None:
    told = Told()

    def at_once(call: Call) -> Answer:
        return Answer(call.id, AnswerStatus.ANSWERED, AuthorizeAnswer("ALLOWED", "", "BACKEND").pack())

    line = Line(station.cso.peer("rmd"), answers=at_once)
    line.take = station.calls.on_answer
    station.cso.peer("rmd").exchange = line  # type: ignore[assignment]
    station.visited.authorize(Authorize(CredentialIn("RFID", UID), deadline_ms=1000), told)
    assert summary(told) == ("ALLOWED", "BACKEND", "rmd")
    assert second.calls == []


# --- what it leaves behind --------------------------------------------------------------------------------------


def test_every_decision_is_journalled_and_a_record_finds_its_peer_by_the_reference(station: Station) -> None:
    station.ask(credential=of_contract())
    station.answer("rmd", "ALLOWED", authorization_reference="REF-7")
    find = station.cso.journal.peer_of_reference
    assert station.cso.store.read(lambda cx: find(cx, "REF-7")) == "rmd"
    assert station.cso.store.read(lambda cx: decisions.page(cx, 0, 9)) == []
    station.cso.timers.pass_by(1)
    ((_, row),) = station.cso.store.read(lambda cx: decisions.page(cx, 0, 9))
    assert (row.peer, row.direction, row.decision, row.reference) == ("rmd", "out", "ALLOWED", "REF-7")
    assert station.cso.store.read(lambda cx: find(cx, "REF-7")) == "rmd"
    assert station.cso.store.read(lambda cx: find(cx, "REF-8")) is None


def test_every_refusal_and_time_out_has_a_line_and_permissions_are_sampled_with_a_count(
    station: Station, log: LogLines
) -> None:
    station.lists("rmd", whitelist="ALWAYS")
    for _ in range(350):
        station.ask()
    assert len(log.of("authorization_allowed")) == LINES_PER_S + 2
    assert [line.get("left_out") for line in log.of("authorization_allowed")][-2:] == [99, 99]
    station.cso.timers.pass_by(1)
    station.ask()
    assert log.of("authorization_allowed")[-1]["left_out"] == 50
    for number in range(300):
        station.ask(credential=CredentialIn("RFID", "11223344"))
        station.answer("rmd", "BLOCKED", number)
    assert len(log.of("authorization_refused")) == 300
    line = log.of("authorization_refused")[0]
    assert (line["level"], line["peer"], line["decision"]) == ("warning", "rmd", "BLOCKED")


def test_an_allowed_that_no_backend_gave_in_time_is_a_time_out_in_the_log(
    station: Station, second: Line, log: LogLines
) -> None:
    station.lists("rmd", whitelist="ALLOWED_OFFLINE")
    station.ask()
    station.cso.timers.pass_by(1)
    assert [line["source"] for line in log.of("authorization_timed_out")] == ["WHITELIST"]
    station.cso.peer("rmd").exchange = None
    station.ask(credential=CredentialIn("RFID", "11223344"))
    station.answer("tnm", "ALLOWED")
    assert len(log.of("authorization_timed_out")) == 1
    assert UID not in log.text
    assert "11223344" not in log.text


def test_the_lines_bear_the_trace_that_the_request_came_with(station: Station, log: LogLines) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    station.ask(traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    station.answer("rmd", "BLOCKED")
    station.ask(traceparent="no trace at all")
    station.answer("rmd", "BLOCKED", 1)
    assert [line.get("trace_id") for line in log.of("authorization_refused")] == [trace, None]
    assert station.lines["rmd"].calls[0].traceparent == f"00-{trace}-00f067aa0ba902b7-01"


# --- drivers who come together ----------------------------------------------------------------------------------


def test_drivers_who_are_foreseen_are_decided_as_one_by_one(station: Station) -> None:
    station.lists("rmd", UID, whitelist="ALWAYS")
    station.lists("rmd", "04FFFFFF", whitelist="ALWAYS", valid=False)
    listed = [CredentialIn("RFID", UID), CredentialIn("rfid", "04:a1:b2:c3"), CredentialIn("RFID", "04FFFFFF")]
    others = [CredentialIn("APP_USER", UID), CredentialIn("RFID", "04000000")]
    alone = [summary(station.ask(credential=card)) for card in listed]
    assert [decision for decision, _, _ in alone] == ["ALLOWED", "ALLOWED", "BLOCKED"]
    with station.visited.foreseeing([Authorize(card) for card in (*listed, *others)]):
        assert [summary(station.ask(credential=card)) for card in listed] == alone
        assert [station.ask(credential=card).all for card in others] == [[], []]
    assert len(station.lines["rmd"].calls) == 2


def test_what_was_foreseen_counts_no_longer_than_its_wake_up(station: Station) -> None:
    with station.visited.foreseeing([Authorize(CredentialIn("RFID", uid)) for uid in (UID, "04000000")]):
        pass
    station.lists("rmd", UID, whitelist="ALWAYS")
    assert summary(station.ask(credential=CredentialIn("RFID", UID)))[0] == "ALLOWED"
