"""The home-CSP's side: its backend decides, every question is answered, and who tries numbers is stopped."""

import msgspec
import pytest

from roamd.model.keys import ObjectKey
from roamd.protocol.calls import AuthorizeAnswer, AuthorizeRequest
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.authorization import unknown as unknown_module
from roamd.roaming.authorization.home import MARGIN_MS, HomeAuthorization
from roamd.roaming.authorization.unknown import UnknownCards
from roamd.roaming.calls import IncomingCalls
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, NoAnswer
from roamd.storage import decisions
from tests.model import bodies
from tests.support.roaming import Company, Line, LogLines, ScriptedBackend


class Home:
    """The CSP's side with its backend, and the line that the CSO's questions come by."""

    def __init__(self, csp: Company) -> None:
        self.csp = csp
        self.backend = ScriptedBackend()
        self.unknown = UnknownCards(csp.clock, csp.store)
        self.home = HomeAuthorization(csp.clock, self.backend, csp.journal, csp.timers, self.unknown)
        self.incoming = IncomingCalls(csp.clock, csp.timers, {1: self.home.answer})
        self.line = Line(csp.peer("abc"))
        self._number = 0

    def ask(self, request: AuthorizeRequest | bytes, deadline_ms: int = 1000) -> None:
        self._number += 1
        body = request if isinstance(request, bytes) else request.pack()
        call = Call(self._number.to_bytes(16, "big"), 1, deadline_ms, body)
        self.incoming.on_call(self.line, call)  # type: ignore[arg-type]  # all that is used of an exchange

    def ask_about(self, uid: str) -> None:
        self.ask(AuthorizeRequest("RFID", uid))

    @property
    def last(self) -> Answer:
        return self.line.answered[-1]

    @property
    def decided(self) -> AuthorizeAnswer:
        assert self.last.status == AnswerStatus.ANSWERED, self.last
        return AuthorizeAnswer.unpack(self.last.body)


@pytest.fixture
def home(cso: Company, csp: Company) -> Home:
    return Home(csp)


def always(decision: str, **fields: object) -> "object":
    return lambda question: BackendAnswer(decision, **fields)  # type: ignore[arg-type]


def test_the_backend_is_asked_all_that_is_known_and_its_decision_goes_back(home: Home) -> None:
    info = msgspec.Raw(b'{"text":"hello"}')
    home.backend.decide = lambda question: BackendAnswer("BLOCKED", "lost", None, "2026-02-01T00:00:00Z", None, info)
    home.ask(AuthorizeRequest("RFID", "04A1", "FR-RMD-C1", "Loc-1", "E1", None, "PARKING", "DEABC"))
    ((question, _),) = home.backend.asked
    assert question == AuthorizeQuestion(
        authorization_id=(1).to_bytes(16, "big").hex(),
        peer="abc",
        party="DEABC",
        credential={"type": "RFID", "uid": "04A1", "contract_id": "FR-RMD-C1"},
        service="PARKING",
        deadline_ms=1000 - MARGIN_MS,
        expires_at="2026-01-05T09:00:00.985Z",
        location={"location_id": "Loc-1", "evse_uid": "E1", "connector_id": None},
    )
    assert home.decided == AuthorizeAnswer(
        "BLOCKED", "lost", "BACKEND", None, 1_769_904_000_000, None, b'{"text":"hello"}'
    )


def test_an_allowed_without_a_reference_gets_the_authorizations_own(home: Home) -> None:
    home.backend.decide = lambda question: BackendAnswer("ALLOWED")
    home.ask_about("04A1")
    assert home.decided.authorization_reference == (1).to_bytes(16, "big").hex()
    home.backend.decide = lambda question: BackendAnswer("ALLOWED", authorization_reference="REF-1")
    home.ask_about("04A1")
    assert home.decided.authorization_reference == "REF-1"


def test_who_is_not_agreed_to_ask_is_refused_and_the_backend_left_alone(
    home: Home, cso: Company, csp: Company, log: LogLines
) -> None:
    csp.meets(cso, "abc", services_in=())
    home.ask_about("04A1")
    assert home.last.status == AnswerStatus.REFUSED
    assert home.backend.asked == []
    assert len(log.of("authorization_refused")) == 1


def test_a_question_that_cannot_be_read_is_said_to_be(home: Home) -> None:
    home.ask(b"\xc1")
    assert home.last.status == AnswerStatus.MALFORMED
    assert home.backend.asked == []


def test_a_backend_that_has_no_answer_leaves_the_decision_to_the_other_side(home: Home, log: LogLines) -> None:
    home.backend.decide = lambda question: NoAnswer("status 500")
    home.ask_about("04A1B2C3")
    assert (home.last.status, home.last.body) == (AnswerStatus.NO_ANSWER, b"its backend: status 500")
    (line,) = log.of("backend_gave_no_answer")
    assert (line["reason"], line["peer"]) == ("status 500", "abc")
    assert "04A1B2C3" not in log.text


def test_a_silent_backend_is_given_up_at_the_deadline_and_its_late_word_goes_nowhere(home: Home) -> None:
    home.ask_about("04A1")
    home.csp.timers.pass_by(0.999)
    assert home.line.answered == []
    home.csp.timers.pass_by(0.001)
    assert home.last.status == AnswerStatus.NO_ANSWER
    home.backend.asked[0][1](BackendAnswer("ALLOWED"))
    assert len(home.line.answered) == 1


def test_an_answer_in_time_leaves_no_timer(home: Home) -> None:
    home.ask_about("04A1")
    before = home.csp.timers.waiting
    home.backend.asked[0][1](BackendAnswer("BLOCKED"))
    assert home.csp.timers.waiting == before  # the deadline's is off, the journal's is on
    home.csp.timers.pass_by(5)
    assert len(home.line.answered) == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (BackendAnswer("PERHAPS"), b"not one of"),
        (BackendAnswer("ALLOWED", authorization_reference="r" * 65), b"authorization_reference"),
        (BackendAnswer("ALLOWED", info=msgspec.Raw(b'"' + b"x" * 17_000 + b'"')), b"info"),
    ],
)
def test_an_answer_that_the_other_side_could_not_read_counts_as_none(
    home: Home, answer: BackendAnswer, why: bytes
) -> None:
    home.backend.decide = lambda question: answer
    home.ask_about("04A1")
    assert home.last.status == AnswerStatus.NO_ANSWER
    assert why in home.last.body


def test_what_is_too_long_or_no_date_is_left_out_rather_than_the_decision_lost(home: Home) -> None:
    for date, stamp in (("soon", None), ("1960-01-01T00:00:00Z", 0), ("9999-12-31T23:59:59Z", 253_402_300_799_000)):
        home.backend.decide = lambda question, date=date: BackendAnswer("BLOCKED", "r" * 900, valid_until=date)
        home.ask_about("04A1")
        assert (home.decided.decision, home.decided.valid_until_ms) == ("BLOCKED", stamp)
        assert len(home.decided.reason) == 500


def test_what_was_answered_is_journalled(home: Home) -> None:
    home.backend.decide = lambda question: BackendAnswer("ALLOWED", authorization_reference="REF-1")
    home.ask_about("04A1")
    home.csp.timers.pass_by(1)
    ((_, row),) = home.csp.store.read(lambda cx: decisions.page(cx, 0, 9))
    assert (row.peer, row.direction, row.decision, row.reference) == ("abc", "in", "ALLOWED", "REF-1")


# --- unknown cards ----------------------------------------------------------------------------------------------


@pytest.fixture
def limited(home: Home, cso: Company, csp: Company) -> Home:
    """Three unknown cards a minute are agreed; the backend knows none."""
    csp.meets(cso, "abc", unknown_cards_per_minute=3)
    home.backend.decide = lambda question: BackendAnswer("UNKNOWN")
    return home


def test_who_tries_numbers_is_soon_answered_without_the_backend(limited: Home, log: LogLines) -> None:
    for number in range(10):
        limited.ask_about(f"0000000{number}")
        assert limited.decided.decision == "UNKNOWN"
    assert len(limited.backend.asked) == 3
    assert limited.decided.source == "POLICY"
    assert len(log.of("unknown_cards_limited")) == 1
    assert limited.csp.peer("abc").alarms == ["it asks about more unknown cards than agreed"]
    limited.csp.timers.pass_by(20)  # a third of a minute is one card
    limited.ask_about("00000011")
    limited.ask_about("00000012")
    assert len(limited.backend.asked) == 4


def test_a_burst_cannot_exceed_the_rate_by_what_is_under_way(home: Home, csp: Company, cso: Company) -> None:
    csp.meets(cso, "abc", unknown_cards_per_minute=3)
    for number in range(10):
        home.ask_about(f"04A1B2{number:02}")
    assert len(home.backend.asked) == 3
    for _, done in home.backend.asked[:3]:
        done(BackendAnswer("UNKNOWN"))
    assert len(home.backend.asked) == 3
    assert len(home.line.answered) == 10, "those that waited are answered with the last of those under way"
    assert {AuthorizeAnswer.unpack(answer.body).decision for answer in home.line.answered} == {"UNKNOWN"}


def test_a_burst_of_cards_that_turn_out_to_be_known_is_asked_about_to_the_last(
    home: Home, csp: Company, cso: Company
) -> None:
    csp.meets(cso, "abc", unknown_cards_per_minute=3)
    for number in range(10):
        home.ask_about(f"04A1B2{number:02}")
    for number in range(10):
        home.backend.asked[number][1](BackendAnswer("ALLOWED"))
    assert [AuthorizeAnswer.unpack(answer.body).decision for answer in home.line.answered] == ["ALLOWED"] * 10


def test_a_backend_that_has_nothing_to_say_uses_up_no_rate(home: Home, csp: Company, cso: Company) -> None:
    csp.meets(cso, "abc", unknown_cards_per_minute=2)
    for number in range(6):
        home.ask_about(f"04A1B2{number:02}")
        if number % 2:
            home.backend.asked[-1][1](NoAnswer("late"))
            home.backend.asked[-2][1](NoAnswer("status 500"))
    assert len(home.backend.asked) == 6
    home.ask_about("04A1B2F0")
    home.ask_about("04A1B2F1")
    csp.timers.pass_by(2)
    assert home.last.status == AnswerStatus.NO_ANSWER
    home.ask_about("04A1B2F2")
    assert len(home.backend.asked) == 9


def test_what_waits_for_others_is_given_up_at_its_own_deadline(home: Home, csp: Company, cso: Company) -> None:
    csp.meets(cso, "abc", unknown_cards_per_minute=1)
    home.ask(AuthorizeRequest("RFID", "04A1B200"), deadline_ms=3000)
    home.ask(AuthorizeRequest("RFID", "04A1B201"), deadline_ms=500)
    csp.timers.pass_by(0.5)
    assert [answer.status for answer in home.line.answered] == [AnswerStatus.NO_ANSWER]
    home.backend.asked[0][1](BackendAnswer("ALLOWED"))
    assert len(home.backend.asked) == 1
    home.ask_about("04A1B202")
    assert len(home.backend.asked) == 2, "it cost nothing"


def test_the_limit_is_the_peers_own(limited: Home) -> None:
    other = Line(limited.csp.meets(Company(3, "NLTNM", "cso"), "tnm"))
    for number in range(5):
        limited.ask_about(f"0000000{number}")
    limited.line = other
    limited.ask_about("00000001")
    assert len(limited.backend.asked) == 4


@pytest.mark.parametrize("published", ["04A1B2C3", "04:a1:b2:c3"])
def test_a_card_of_our_own_list_is_asked_about_as_ever(limited: Home, published: str) -> None:
    limited.csp.publish("user-credentials", bodies.token(country_code="FR", party_id="RMD", uid=published))
    for number in range(5):
        limited.ask_about(f"0000000{number}")
    limited.ask_about("04A1B2C3")
    assert len(limited.backend.asked) == 4
    limited.csp.withdraw("user-credentials", ObjectKey("FRRMD", published.upper(), "RFID"))
    limited.ask_about("04A1B2C3")
    assert len(limited.backend.asked) == 4


def test_a_card_that_the_backend_has_known_is_asked_about_as_ever(
    limited: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown_module, "REMEMBERED", 2)
    limited.backend.decide = lambda question: BackendAnswer("BLOCKED")
    for uid in ("AAAAAAAA", "BBBBBBBB", "CCCCCCCC"):
        limited.ask_about(uid)
    limited.backend.decide = lambda question: BackendAnswer("UNKNOWN")
    for number in range(5):
        limited.ask_about(f"0000000{number}")
    asked = len(limited.backend.asked)
    limited.ask_about("cc:cc:cc:cc")
    assert len(limited.backend.asked) == asked + 1
    limited.ask_about("AAAAAAAA")  # the oldest of three, where two are remembered
    assert len(limited.backend.asked) == asked + 1


def test_with_a_rate_of_none_at_all_the_log_is_not_flooded(limited: Home, cso: Company, log: LogLines) -> None:
    limited.csp.meets(cso, "abc", unknown_cards_per_minute=0)
    for number in range(5):
        limited.ask_about(f"0000000{number}")
        limited.csp.timers.pass_by(60)
    assert limited.backend.asked == []
    assert len(log.of("unknown_cards_limited")) == 1


def test_both_companies_lines_join_by_authorization_and_trace(home: Home, log: LogLines) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    home.backend.decide = lambda question: BackendAnswer("BLOCKED")
    body = AuthorizeRequest("RFID", "04A1").pack()
    call = Call(b"0123456789abcdef", 1, 1000, body, f"00-{trace}-00f067aa0ba902b7-01")
    home.incoming.on_call(home.line, call)  # type: ignore[arg-type]  # all that is used of an exchange
    (line,) = log.of("authorization_answered")
    assert (line["trace_id"], line["authorization_id"]) == (trace, call.id.hex())
    assert (line["peer"], line["decision"]) == ("abc", "BLOCKED")


def test_permissions_beyond_a_hundred_a_second_have_one_line_in_a_hundred(home: Home, log: LogLines) -> None:
    home.backend.decide = lambda question: BackendAnswer("ALLOWED")
    for number in range(250):
        home.ask_about(f"{number:08X}")
    assert len(log.of("authorization_answered")) == 101
