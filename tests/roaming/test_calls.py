"""Questions: each asker is told exactly once, each answerer asks nobody twice."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming import calls as calls_module
from roamd.roaming.calls import REMEMBERED_S, IncomingCalls, OutgoingCalls, Respond
from roamd.roaming.directory import Peer
from tests.support.roaming import Company, Line, LogLines, StillClock, Timers, Told


def call(number: int = 1, deadline_ms: int = 1000, service: int = 1) -> Call:
    return Call(number.to_bytes(16, "big"), service, deadline_ms, b"body")


def answer(number: int = 1, body: bytes = b"yes") -> Answer:
    return Answer(number.to_bytes(16, "big"), AnswerStatus.ANSWERED, body)


@pytest.fixture
def outgoing(cso: Company, csp: Company) -> OutgoingCalls:
    return OutgoingCalls(cso.clock, cso.timers)


@pytest.fixture
def line(cso: Company, csp: Company) -> Line:
    return linked(cso.peer("rmd"))


def linked(peer: Peer) -> Line:
    """A new link of the peer's."""
    line = Line(peer)
    peer.exchange = line  # type: ignore[assignment]  # all that is used of an exchange
    return line


# --- asking -----------------------------------------------------------------------------------------------------


def test_an_answer_is_told_once_and_its_repeat_to_nobody(cso: Company, outgoing: OutgoingCalls, line: Line) -> None:
    told = Told()
    outgoing.start(line.peer, call(), cso.clock.seconds + 1, told)
    assert [sent.id for sent in line.calls] == [call().id]
    assert outgoing.open_of(line.peer) == 1
    outgoing.on_answer(line.peer, answer())
    outgoing.on_answer(line.peer, answer(body=b"again"))
    cso.timers.pass_by(60)
    assert told.one.body == b"yes"
    assert outgoing.open_of(line.peer) == 0
    assert line.cancelled == []
    assert cso.timers.waiting == 0


def test_without_an_answer_the_asker_is_told_at_the_deadline_and_the_peer_that_nobody_waits(
    cso: Company, outgoing: OutgoingCalls, line: Line
) -> None:
    told = Told()
    outgoing.start(line.peer, call(), cso.clock.seconds + 1, told)
    cso.timers.pass_by(0.999)
    assert told.all == []
    cso.timers.pass_by(0.001)
    assert told.all == [None]
    assert line.cancelled == [call().id]
    outgoing.on_answer(line.peer, answer())
    assert told.all == [None]


def test_without_a_link_nothing_is_asked_and_it_is_said_at_once(cso: Company, csp: Company) -> None:
    told = Told()
    OutgoingCalls(cso.clock, cso.timers).start(cso.peer("rmd"), call(), cso.clock.seconds + 1, told)
    assert told.all == [None]
    assert cso.timers.waiting == 0


def test_a_call_that_was_given_up_is_never_told(cso: Company, outgoing: OutgoingCalls, line: Line) -> None:
    told = Told()
    outgoing.start(line.peer, call(), cso.clock.seconds + 1, told)
    outgoing.cancel(call().id)
    outgoing.cancel(call().id)
    outgoing.on_answer(line.peer, answer())
    cso.timers.pass_by(5)
    assert told.all == []
    assert line.cancelled == [call().id]


def test_another_peer_cannot_answer_for_the_one_that_was_asked(
    cso: Company, outgoing: OutgoingCalls, line: Line
) -> None:
    told = Told()
    stranger = cso.meets(Company(3, "NLTNM", "csp"), "tnm")
    outgoing.start(line.peer, call(), cso.clock.seconds + 1, told)
    outgoing.on_answer(stranger, answer(body=b"forged"))
    assert told.all == []
    outgoing.on_answer(line.peer, answer())
    assert told.one.body == b"yes"


def test_a_call_whose_link_fell_is_asked_again_with_what_is_left_of_its_time(
    cso: Company, outgoing: OutgoingCalls, line: Line
) -> None:
    told = Told()
    outgoing.start(line.peer, call(), cso.clock.seconds + 1, told)
    line.peer.exchange = None
    cso.timers.pass_by(0.4)
    outgoing.repeat(line.peer)  # there is no link yet, so nothing goes anywhere
    new = linked(line.peer)
    outgoing.repeat(line.peer)
    assert [(sent.id, sent.deadline_ms) for sent in new.calls] == [(call().id, 600)]
    cso.timers.pass_by(0.6)
    assert told.all == [None]
    outgoing.repeat(line.peer)
    assert len(new.calls) == 1


def test_only_the_calls_of_the_peer_that_came_back_are_repeated(
    cso: Company, outgoing: OutgoingCalls, line: Line
) -> None:
    other = linked(cso.meets(Company(3, "NLTNM", "csp"), "tnm"))
    outgoing.start(line.peer, call(1), cso.clock.seconds + 1, Told())
    outgoing.start(other.peer, call(2), cso.clock.seconds + 1, Told())
    new = linked(line.peer)
    outgoing.repeat(line.peer)
    assert [sent.id for sent in new.calls] == [call(1).id]
    assert len(other.calls) == 1


def test_the_fault_of_one_asker_is_logged_and_leaves_no_other_hanging(
    cso: Company, outgoing: OutgoingCalls, line: Line, log: LogLines
) -> None:
    def fail(outcome: Answer | None) -> None:
        raise LookupError("its own fault")

    answered, late = Told(), Told()
    deadline = cso.clock.seconds + 1
    for number, done in ((1, fail), (2, answered), (3, fail), (4, late)):
        outgoing.start(line.peer, call(number), deadline, done)
    outgoing.on_answer(line.peer, answer(1))
    outgoing.on_answer(line.peer, answer(2))
    cso.timers.pass_by(2)
    assert answered.one.body == b"yes"
    assert late.all == [None]
    assert [line["message_id"][-1] for line in log.of("call_outcome_not_taken")] == ["1", "3"]


# --- answering --------------------------------------------------------------------------------------------------


class Desk:
    """A service that keeps its callers waiting until it is told to answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[Peer, Call, float, Respond]] = []

    def __call__(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        self.asked.append((peer, call, deadline_at, respond))

    def answer(self, number: int = 0, body: bytes = b"yes") -> None:
        self.asked[number][3](AnswerStatus.ANSWERED, body)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def incoming(cso: Company, desk: Desk) -> IncomingCalls:
    return IncomingCalls(cso.clock, cso.timers, {1: desk})


def on_call(incoming: IncomingCalls, line: Line, what: Call) -> None:
    incoming.on_call(line, what)  # type: ignore[arg-type]  # all that is used of an exchange


def test_a_call_is_served_once_with_its_deadline_and_answered_once(
    cso: Company, incoming: IncomingCalls, line: Line, desk: Desk
) -> None:
    on_call(incoming, line, call(deadline_ms=1500))
    ((peer, asked, deadline_at, _),) = desk.asked
    assert (peer, asked.id, deadline_at) == (line.peer, call().id, cso.clock.seconds + 1.5)
    desk.answer()
    desk.answer(body=b"another")
    assert [sent.body for sent in line.answered] == [b"yes"]


def test_a_repeat_gets_the_same_answer_and_asks_nobody(incoming: IncomingCalls, line: Line, desk: Desk) -> None:
    on_call(incoming, line, call())
    desk.answer()
    on_call(incoming, line, call())
    assert [sent.body for sent in line.answered] == [b"yes", b"yes"]
    assert len(desk.asked) == 1


def test_every_link_that_carried_an_open_call_gets_its_answer_for_its_credit(
    incoming: IncomingCalls, line: Line, desk: Desk
) -> None:
    on_call(incoming, line, call())
    second = Line(line.peer)
    on_call(incoming, second, call())
    on_call(incoming, second, call())
    desk.answer()
    assert (len(line.answered), len(second.answered)) == (1, 2)
    assert len(desk.asked) == 1


def test_a_link_that_fell_is_owed_nothing(incoming: IncomingCalls, line: Line, desk: Desk) -> None:
    on_call(incoming, line, call())
    line.is_up = False
    new = Line(line.peer)
    on_call(incoming, new, call())
    desk.answer()
    assert (line.answered, [sent.body for sent in new.answered]) == ([], [b"yes"])


def test_the_same_id_of_another_peer_is_another_call(
    cso: Company, incoming: IncomingCalls, line: Line, desk: Desk
) -> None:
    other = Line(cso.meets(Company(3, "NLTNM", "csp"), "tnm"))
    on_call(incoming, line, call())
    on_call(incoming, other, call())
    assert len(desk.asked) == 2
    desk.answer(1, b"for tnm")
    assert (line.answered, [sent.body for sent in other.answered]) == ([], [b"for tnm"])


def test_answers_are_remembered_until_a_minute_after_the_deadline_and_not_for_ever(
    cso: Company, incoming: IncomingCalls, line: Line, desk: Desk
) -> None:
    on_call(incoming, line, call(deadline_ms=2000))
    desk.answer()
    cso.timers.pass_by(2 + REMEMBERED_S)
    on_call(incoming, line, call())
    assert len(desk.asked) == 1
    cso.timers.pass_by(16)
    assert incoming.remembered("rmd") == 0
    on_call(incoming, line, call())
    assert len(desk.asked) == 2


def test_many_calls_are_forgotten_with_few_timers(cso: Company, incoming: IncomingCalls, line: Line) -> None:
    for number in range(1000):
        on_call(incoming, line, call(number, deadline_ms=number % 5000))
    assert incoming.remembered("rmd") == 1000
    assert cso.timers.waiting <= 2
    cso.timers.pass_by(90)
    assert incoming.remembered("rmd") == 0
    assert cso.timers.waiting == 0


def test_a_late_answer_to_a_forgotten_call_still_gives_the_credit_back(
    cso: Company, incoming: IncomingCalls, line: Line, desk: Desk
) -> None:
    on_call(incoming, line, call(deadline_ms=0))
    cso.timers.pass_by(100)
    desk.answer()
    assert len(line.answered) == 1


def test_what_one_peer_makes_us_remember_is_bounded_and_the_oldest_goes_first(
    cso: Company, incoming: IncomingCalls, line: Line, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_module, "REMEMBERED_BYTES", 100_000)
    on_call(incoming, line, call(0))  # stays open, and so must stay known
    for number in range(1, 500):
        on_call(incoming, line, call(number))
        desk.answer(number, bytes(1000))
    assert incoming.remembered("rmd") <= 100_000 // 1000
    on_call(incoming, line, call(499))
    on_call(incoming, line, call(0))
    assert len(desk.asked) == 500
    on_call(incoming, line, call(1))
    assert len(desk.asked) == 501
    other = Line(cso.meets(Company(3, "NLTNM", "csp"), "tnm"))
    on_call(incoming, other, call(1))
    assert incoming.remembered("tnm") == 1
    cso.timers.pass_by(100)
    assert incoming.remembered("rmd") == 0


def test_an_unknown_service_is_answered_too(incoming: IncomingCalls, line: Line) -> None:
    on_call(incoming, line, call(service=99))
    assert [sent.status for sent in line.answered] == [AnswerStatus.MALFORMED]


def test_a_service_that_fails_is_answered_for_and_the_next_call_is_served(
    cso: Company, line: Line, log: LogLines
) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("no idea")

    incoming = IncomingCalls(cso.clock, cso.timers, {1: fail})
    on_call(incoming, line, call(1))
    on_call(incoming, line, call(2))
    assert [(sent.status, sent.body) for sent in line.answered] == [(AnswerStatus.NO_ANSWER, b"internal error")] * 2
    assert len(log.of("call_failed")) == 2


# --- any order of things ----------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(0, 7)),
        st.tuples(st.just("answer"), st.integers(0, 7)),
        st.tuples(st.just("cancel"), st.integers(0, 7)),
        st.tuples(st.sampled_from(["fall", "rise", "wait"]), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_happens_each_asker_is_told_once_by_its_deadline(steps: list[tuple[str, int]]) -> None:
    clock = StillClock()
    timers = Timers(clock)
    cso, csp = Company(1, "DEABC", "cso", clock=clock), Company(2, "FRRMD", "csp", clock=clock)
    peer = cso.meets(csp, "rmd")
    outgoing = OutgoingCalls(clock, timers)
    linked(peer)
    told: dict[int, Told] = {}
    given_up: set[int] = set()
    for step, number in steps:
        if step == "start" and number not in told:
            told[number] = Told()
            outgoing.start(peer, call(number), clock.seconds + 1, told[number])
        elif step == "answer":
            outgoing.on_answer(peer, answer(number))
        elif step == "cancel":
            if number in told and not told[number].all:
                given_up.add(number)
            outgoing.cancel(call(number).id)
        elif step == "fall":
            peer.exchange = None
        elif step == "rise":
            linked(peer)
            outgoing.repeat(peer)
        elif step == "wait":
            timers.pass_by(0.3)
    timers.pass_by(1)
    assert {number: len(one.all) for number, one in told.items()} == {
        number: 0 if number in given_up else 1 for number in told
    }
    assert outgoing.open_of(peer) == 0
