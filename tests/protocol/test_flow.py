"""Credit, order of service and time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.events import BulkFeed, BulkLedger, Calls, CreditArrived, PeerSaidGoodbye, PeerSilent, SkewMeasured
from roamd.protocol.flow import ALLOWANCE, DEFAULT_WINDOWS, Pattern, ReceiveCredit, bulk_cost
from roamd.protocol.frames import FRAGMENT, HEADER_SIZE, MAX_JOINED, FrameReader, FrameType
from roamd.protocol.heartbeat import Timing
from roamd.protocol.messages import Answer, Call, Credit, encode
from roamd.protocol.outbox import MAX_BULK_WAITING, MAX_CALLS_WAITING, Outbox, OutboxFullError
from roamd.protocol.states import State
from tests.support.wire import CLOCK_MS, Wire


def call(number: int) -> Call:
    return Call(number.to_bytes(16, "big"), 1, 3000, b"question")


def frames_of(data: bytes) -> list[tuple[int, int]]:
    """(type, payload length) of each frame, whatever its sequence."""
    reader = FrameReader()
    reader._sequence = int.from_bytes(data[6:10], "big")
    reader.feed(data)
    return [(frame.type, len(frame.payload)) for frame in reader.frames()]


# --- credit -----------------------------------------------------------------------------------------------------


def test_calls_beyond_the_window_wait_until_earlier_ones_are_answered() -> None:
    wire = Wire.up(windows=[4, *DEFAULT_WINDOWS[1:]])
    wire.dialler.connection.send_calls([call(number) for number in range(6)])
    wire.pump()
    assert wire.listener.events == [Calls([call(number) for number in range(4)])]
    assert wire.dialler.connection.waiting(Pattern.CALLS) == 2
    wire.listener.connection.send_answers([Answer(call(0).id, 0)])
    wire.pump()
    assert wire.listener.events[1:] == [Calls([call(4)])]
    assert CreditArrived(frozenset({Pattern.CALLS})) in wire.dialler.events


def test_who_overdraws_its_credit_is_sent_away() -> None:
    wire = Wire.up(windows=[4, *DEFAULT_WINDOWS[1:]])
    wire.dialler.connection._outbox.credits[Pattern.CALLS].raise_to(99)
    wire.dialler.connection.send_calls([call(number) for number in range(5)])
    with pytest.raises(ProtocolError) as caught:
        wire.pump()
    assert caught.value.goodbye == GoodbyeCode.CREDIT_OVERDRAWN


def test_a_busy_link_is_no_flood_however_much_credit_it_takes() -> None:
    wire = Wire.up(windows=[64, *DEFAULT_WINDOWS[1:]])
    for number in range(2 * ALLOWANCE):
        wire.dialler.connection.send_calls([call(number * 4 + place) for place in range(4)])
        wire.pump()
        wire.listener.connection.send_answers([Answer(call(number * 4 + place).id, 0) for place in range(4)])
        wire.pump()
    assert len(wire.dialler.got(CreditArrived)) == 2 * ALLOWANCE


@pytest.mark.parametrize("step", [1, 1024], ids=["in tiny steps", "beyond what was sent"])
def test_credit_that_nothing_sent_pays_for_is_a_flood(step: int) -> None:
    wire = Wire.up()
    window = DEFAULT_WINDOWS[Pattern.CALLS]
    limits = [window + number * step for number in range(1, 2 * ALLOWANCE)]
    with pytest.raises(ProtocolError) as caught:
        give_credit(wire, limits)
    assert caught.value.goodbye == GoodbyeCode.FLOOD


def give_credit(wire: Wire, limits: list[int]) -> None:
    """The listener raises what the dialler may send, a frame each."""
    for limit in limits:
        wire.listener.connection._outbox.put_small(FrameType.CREDIT, [Credit(Pattern.CALLS, limit)])
        wire.pump()


@pytest.mark.parametrize("pattern", [Pattern.LEDGER, Pattern.FEEDS])
def test_bulk_never_gets_stuck_whatever_the_sizes(pattern: Pattern) -> None:
    """The smallest window, the largest payloads, and a receiver that grants only what it consumed whole."""
    wire = Wire.up(windows=[1, 512 * 1024, 512 * 1024])
    sizes = [MAX_JOINED, 1, FRAGMENT, MAX_JOINED, FRAGMENT + 1, MAX_JOINED, 40_000, 41_000, MAX_JOINED, 7]
    connection = wire.dialler.connection
    for size in sizes:
        (connection.send_ledger if pattern is Pattern.LEDGER else connection.send_feed)(bytes(size))
    arrived: list[int] = []
    while len(arrived) < len(sizes):
        wire.pump()
        events = wire.listener.got(BulkLedger if pattern is Pattern.LEDGER else BulkFeed)
        assert events, "nothing more came"
        wire.listener.events.clear()
        for event in events:
            arrived.append(len(event.payload))
            wire.listener.connection.grant(pattern, event.cost)
    assert arrived == sizes


def test_credit_is_cumulative_so_an_old_one_changes_nothing() -> None:
    wire = Wire.up()
    left = wire.dialler.connection.credit_left(Pattern.CALLS)
    wire.listener.connection._outbox.put_frame(FrameType.CREDIT, encode([Credit(0, 5), Credit(77, 9)]))
    wire.pump()
    assert wire.dialler.events == []
    assert wire.dialler.connection.credit_left(Pattern.CALLS) == left


@given(window=st.integers(1, 2000), steps=st.lists(st.integers(1, 100), max_size=50))
def test_when_all_is_consumed_most_of_the_window_is_open(window: int, steps: list[int]) -> None:
    credit, announced = ReceiveCredit(Pattern.CALLS, window), window
    received = 0
    for step in steps:
        amount = min(step, announced - received)
        received += amount
        credit.charge(amount)
        credit.grant(amount)
        announced = credit.due() or announced
        assert announced - received >= window - window // 16


def test_more_cannot_be_granted_than_arrived() -> None:
    credit = ReceiveCredit(Pattern.CALLS, 10)
    credit.charge(1)
    with pytest.raises(ValueError, match="exceeds"):
        credit.grant(2)


# --- order ------------------------------------------------------------------------------------------------------


def loaded() -> Outbox:
    """An outbox with unlimited credit in which something of each lane waits."""
    outbox = Outbox()
    for credit in outbox.credits.values():
        credit.raise_to(1 << 40)
    for _ in range(20):
        outbox.put_bulk(Pattern.FEEDS, bytes(FRAGMENT))
        outbox.put_bulk(Pattern.LEDGER, bytes(FRAGMENT))
    outbox.put_calls([call(1)])
    outbox.put_answers([Answer(call(2).id, 0)])
    outbox.put_small(FrameType.CREDIT, [Credit(0, 1)])
    return outbox


def test_upper_lanes_go_first_and_bulk_only_up_to_the_limit() -> None:
    outbox = loaded()
    types = [type_ for type_, _ in frames_of(outbox.take(64 * 1024))]
    assert types == [FrameType.CREDIT, FrameType.ANSWER, FrameType.CALL, FrameType.LEDGER_BATCH]
    outbox.put_calls([call(3)])
    assert frames_of(outbox.take(2 * (FRAGMENT + HEADER_SIZE)))[0][0] == FrameType.CALL


@given(limit=st.integers(FRAGMENT + HEADER_SIZE, 1_000_000))
def test_a_flush_never_holds_more_bulk_than_its_limit(limit: int) -> None:
    outbox = loaded()
    outbox.take(0)
    while data := outbox.take(limit):
        assert len(data) <= limit


def test_no_bulk_goes_at_limit_zero_and_one_frame_at_any_other() -> None:
    outbox = loaded()
    assert not {FrameType.LEDGER_BATCH, FrameType.FEED_CHUNK} & {type_ for type_, _ in frames_of(outbox.take(0))}
    assert len(frames_of(outbox.take(1))) == 1


def test_ledger_and_feeds_share_three_to_one() -> None:
    outbox = loaded()
    types = [type_ for type_, _ in frames_of(outbox.take(16 * (FRAGMENT + HEADER_SIZE)))]
    assert types.count(FrameType.LEDGER_BATCH) == 12
    assert types.count(FrameType.FEED_CHUNK) == 4


def test_a_lane_that_was_idle_saves_nothing_up() -> None:
    outbox = Outbox()
    for credit in outbox.credits.values():
        credit.raise_to(1 << 40)
    for _ in range(60):
        outbox.put_bulk(Pattern.LEDGER, bytes(FRAGMENT))
    outbox.take(40 * FRAGMENT)
    for _ in range(20):
        outbox.put_bulk(Pattern.FEEDS, bytes(FRAGMENT))
    types = [type_ for type_, _ in frames_of(outbox.take(8 * (FRAGMENT + HEADER_SIZE)))]
    assert types.count(FrameType.FEED_CHUNK) == 2


def test_the_queues_are_bounded() -> None:
    outbox = Outbox()
    outbox.put_calls([call(0)] * MAX_CALLS_WAITING)
    with pytest.raises(OutboxFullError):
        outbox.put_calls([call(1)])
    for _ in range(MAX_BULK_WAITING // MAX_JOINED):
        outbox.put_bulk(Pattern.FEEDS, bytes(MAX_JOINED))
    with pytest.raises(OutboxFullError):
        outbox.put_bulk(Pattern.FEEDS, bytes(MAX_JOINED))
    for wrong in (b"", bytes(MAX_JOINED + 1)):
        with pytest.raises(ValueError, match="bulk payload"):
            outbox.put_bulk(Pattern.LEDGER, wrong)


def test_has_data_says_exactly_whether_there_is_something_to_take() -> None:
    outbox = Outbox()
    outbox.put_calls([call(1)])
    outbox.put_bulk(Pattern.LEDGER, b"x" * 100)
    assert not outbox.has_data()
    outbox.credits[Pattern.LEDGER].raise_to(bulk_cost(100) - 1)
    assert not outbox.has_data()
    assert outbox.take(1 << 20) == b""
    outbox.credits[Pattern.LEDGER].raise_to(bulk_cost(100))
    assert outbox.has_data()
    assert len(outbox.take(1 << 20)) == HEADER_SIZE + 100
    assert not outbox.has_data()


# --- time -------------------------------------------------------------------------------------------------------


def test_a_ping_goes_out_only_after_silence_and_traffic_puts_it_off() -> None:
    wire = Wire.up()
    connection = wire.dialler.connection
    assert connection.next_timer() == wire.now + 30
    wire.now += 20
    wire.listener.connection.send_calls([call(1)])
    wire.pump()
    assert connection.next_timer() == wire.now + 30
    assert connection.handle_timer(wire.now + 29, CLOCK_MS) == []
    assert not connection.has_data
    assert connection.handle_timer(wire.now + 30, CLOCK_MS) == []
    assert [type_ for type_, _ in frames_of(connection.data_to_send())] == [FrameType.PING]


def test_three_pings_without_an_answer_are_the_end() -> None:
    wire = Wire.up(timing=Timing(heartbeat_s=10))
    connection = wire.dialler.connection
    for _ in range(3):
        wire.now += 10
        assert connection.handle_timer(wire.now, CLOCK_MS) == []
        assert connection.data_to_send()
    wire.now += 10
    assert connection.handle_timer(wire.now, CLOCK_MS) == [PeerSilent(in_handshake=False)]
    assert connection.state is State.LEAVING
    assert connection.next_timer() is None


def test_a_peer_that_answers_pings_lives_for_ever() -> None:
    wire = Wire.up()
    for _ in range(20):
        wire.now = wire.dialler.connection.next_timer() or 0
        assert not wire.dialler.connection.handle_timer(wire.now, CLOCK_MS)
        wire.pump()
    assert len(wire.dialler.got(SkewMeasured)) == 20


def test_the_sides_of_a_quiet_link_take_turns_so_that_one_ping_is_the_heartbeat_of_both() -> None:
    wire = Wire.up()
    ends = (wire.dialler, wire.listener)
    for turn in range(20):
        due_at = min(end.connection.next_timer() or 0 for end in ends)
        assert due_at - wire.now <= 33
        wire.now = due_at + 0.2  # both look a little late
        for end in ends:
            assert not end.connection.handle_timer(wire.now, CLOCK_MS)
        assert [end.connection.has_data for end in ends].count(True) == 1
        wire.pump()
        if turn % 5 == 4:  # something is said, which both hear of at the same time
            ends[turn % 2].connection.send_calls([call(turn)])
            wire.pump()
            ends[1 - turn % 2].connection.send_answers([Answer(call(turn).id, 0)])
            wire.pump()
    measured = [len(end.got(SkewMeasured)) for end in ends]
    assert sum(measured) == 20
    assert min(measured) >= 8


def test_bytes_do_not_buy_time_for_a_handshake() -> None:
    wire = Wire()
    late = wire.now + 10
    wire.carry(wire.dialler, wire.listener)
    assert wire.listener.connection.next_timer() == late
    assert wire.listener.connection.handle_timer(late, CLOCK_MS) == [PeerSilent(in_handshake=True)]
    wire.carry(wire.listener, wire.dialler)
    assert wire.dialler.got(PeerSaidGoodbye)[0].goodbye.code == GoodbyeCode.HANDSHAKE_LATE


def test_skew_is_measured_against_the_middle_of_the_round_trip() -> None:
    wire = Wire.up()
    wire.listener.clock_ms = CLOCK_MS + 5_000
    wire.dialler.connection.send_ping(wire.now, CLOCK_MS)
    wire.carry(wire.dialler, wire.listener)
    wire.now += 0.2
    wire.dialler.clock_ms = CLOCK_MS + 200
    wire.carry(wire.listener, wire.dialler)
    assert wire.dialler.got(SkewMeasured) == [SkewMeasured(pytest.approx(4_900), pytest.approx(0.2))]
