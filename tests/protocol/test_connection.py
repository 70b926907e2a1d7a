"""Two real connections on a fake wire: coming up, each message through both ends, and every way to break the rules."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode, Reconnect, code_name, reconnect_after
from roamd.protocol.connection import MAX_HELD, Connection
from roamd.protocol.events import (
    Answers,
    BulkFeed,
    BulkLedger,
    Calls,
    Cancels,
    ExtensionReceived,
    FeedAcks,
    PeerSaidGoodbye,
    ProofReceived,
    Receipts,
    WentUp,
)
from roamd.protocol.flow import FRAME_COST, Pattern
from roamd.protocol.frames import FRAGMENT, MAX_JOINED, FrameReader, FrameType, Lane, pack_frame
from roamd.protocol.messages import (
    MAX_CALL_BODY,
    Answer,
    Call,
    Cancel,
    FeedAck,
    Goodbye,
    Ping,
    Proof,
    Receipt,
    decode,
    encode,
)
from roamd.protocol.states import MisuseError, State
from tests.support.wire import CLOCK_MS, DIALLER, LISTENER, End, Wire, hello

ID = bytes(range(16))
CALL = Call(ID, 1, 3000, b"question", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")


def send_raw(wire: Wire, type_: FrameType, payload: bytes, lane: Lane) -> GoodbyeCode:
    """Let the dialler break a rule: the code with which the listener ends the link."""
    wire.dialler.connection._outbox.put_frame(type_, payload, lane)
    with pytest.raises(ProtocolError) as caught:
        wire.pump()
    assert wire.listener.connection.state is State.LEAVING
    wire.carry(wire.listener, wire.dialler)
    [said] = wire.dialler.got(PeerSaidGoodbye)
    assert said.goodbye.code == caught.value.goodbye
    return GoodbyeCode(said.goodbye.code)


# --- coming up --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_both_sides_go_up_after_hello_and_proof(piece: int) -> None:
    wire = Wire(piece=piece)
    wire.pump()
    for end in (wire.dialler, wire.listener):
        assert end.connection.is_up
        assert end.got(WentUp) == [WentUp(1, frozenset())]


def test_versions_and_features_are_what_both_sides_named() -> None:
    wire = Wire()
    wire.listener.connection = Connection(False, hello(LISTENER, versions=[1, 3], features=["a", "b"]), wire.now)
    wire.dialler.connection = Connection(True, hello(versions=[3, 1, 2], features=["b", "c"]), wire.now)
    wire.pump()
    assert wire.dialler.got(WentUp) == wire.listener.got(WentUp) == [WentUp(3, frozenset({"b"}))]


def test_a_proof_is_bound_to_part_hellos_and_leaves() -> None:
    wire = Wire.up()
    dialler, listener = wire.dialler, wire.listener
    own = dialler.connection.own_proof_document(dialler.leaf, dialler.peer_leaf)
    assert own == listener.connection.peer_proof_document(listener.leaf, listener.peer_leaf)
    assert own != dialler.connection.peer_proof_document(dialler.leaf, dialler.peer_leaf)
    assert own != dialler.connection.own_proof_document(dialler.leaf, bytes(32))
    other = Wire.up(software="other")
    assert own != other.dialler.connection.own_proof_document(dialler.leaf, dialler.peer_leaf)
    assert len(own) == 152


def test_what_follows_a_proof_is_read_only_when_the_proof_was_verified() -> None:
    wire = Wire()
    wire.listener.judge = False
    wire.pump()
    assert wire.dialler.connection.is_up
    assert not wire.listener.connection.is_up
    wire.dialler.connection.send_calls([CALL])
    wire.pump()
    assert wire.listener.got(Calls) == []
    [proof] = wire.listener.got(ProofReceived)
    wire.listener.verify(proof, wire.now)
    assert wire.listener.got(Calls) == [Calls([CALL])]
    assert wire.listener.events.index(WentUp(1, frozenset())) < wire.listener.events.index(Calls([CALL]))


def test_who_floods_a_side_that_judges_is_sent_away() -> None:
    wire = Wire()
    wire.listener.judge = False
    wire.pump()
    with pytest.raises(ProtocolError) as caught:
        wire.listener.receive(bytes(MAX_HELD + 1), wire.now)
    assert caught.value.goodbye == GoodbyeCode.FLOOD


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"versions": [2]}, GoodbyeCode.NO_COMMON_VERSION),
        ({"endpoint_id": "C" * 56}, GoodbyeCode.WRONG_ENDPOINT),
        ({"windows": [0, 1 << 20, 1 << 20]}, GoodbyeCode.MALFORMED),
        ({"windows": [1, 1 << 20, (512 << 10) - 1]}, GoodbyeCode.MALFORMED),
        ({"nonce": hello(LISTENER).nonce}, GoodbyeCode.MALFORMED),
    ],
)
def test_a_hello_that_does_not_fit_ends_the_link_with_its_code(changes: dict[str, object], code: GoodbyeCode) -> None:
    wire = Wire()
    wire.dialler.connection = Connection(True, hello(DIALLER, **changes), wire.now)
    with pytest.raises(ProtocolError) as caught:
        wire.carry(wire.dialler, wire.listener)
    assert caught.value.goodbye == code
    reader = FrameReader()
    reader.feed(wire.listener.connection.data_to_send())
    messages = [decode(frame.type, frame.payload) for frame in reader.frames()]
    assert messages[-1] == Goodbye(code, str(caught.value))


@pytest.mark.parametrize("type_", [FrameType.CALL, FrameType.PING, FrameType.FEED_CHUNK, FrameType.PROOF])
def test_anything_before_hello_is_refused(type_: FrameType) -> None:
    connection = Connection(False, hello(LISTENER), 0.0)
    lane = {FrameType.CALL: Lane.CALLS, FrameType.FEED_CHUNK: Lane.FEEDS}.get(type_, Lane.CONTROL)
    with pytest.raises(ProtocolError) as caught:
        connection.receive_data(pack_frame(type_, b"\x90", 0, lane=lane), 0.0, CLOCK_MS)
    assert caught.value.goodbye == GoodbyeCode.UNEXPECTED


def test_a_second_hello_or_proof_is_refused() -> None:
    assert send_raw(Wire.up(), FrameType.HELLO, encode(hello()), Lane.CONTROL) is GoodbyeCode.UNEXPECTED
    assert send_raw(Wire.up(), FrameType.PROOF, encode(Proof(b"signature")), Lane.CONTROL) is GoodbyeCode.UNEXPECTED


def test_messages_before_up_are_our_own_mistake() -> None:
    connection = Connection(True, hello(), 0.0)
    sends: list[Callable[[], None]] = [
        lambda: connection.send_calls([CALL]),
        lambda: connection.send_ledger(b"x"),
        lambda: connection.send_ping(0.0, CLOCK_MS),
        lambda: connection.send_extension(200, b""),
    ]
    for send in sends:
        with pytest.raises(MisuseError):
            send()


# --- each message -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [5, 1 << 20])
def test_each_message_arrives_as_it_was_sent(piece: int) -> None:
    wire = Wire.up(piece=piece)
    dialler, listener = wire.dialler.connection, wire.listener.connection
    dialler.send_calls([CALL])
    wire.pump()
    listener.send_answers([Answer(ID, 0, b"answer")])
    dialler.send_cancels([ID])
    dialler.send_ledger(b"batch")
    dialler.send_feed(b"chunk")
    wire.pump()
    listener.send_receipts([Receipt(ID, 1, CLOCK_MS, b"signature")])
    listener.send_feed_acks([FeedAck(1, b"cursor")])
    wire.pump()
    assert wire.listener.events == [
        Calls([CALL]),
        Cancels([ID]),
        BulkLedger(b"batch", 5 + FRAME_COST),
        BulkFeed(b"chunk", 5 + FRAME_COST),
    ]
    assert wire.dialler.events == [
        Answers([Answer(ID, 0, b"answer")]),
        FeedAcks([FeedAck(1, b"cursor")]),
        Receipts([Receipt(ID, 1, CLOCK_MS, b"signature")]),
    ]


def test_calls_that_wait_share_a_frame() -> None:
    wire = Wire.up()
    wire.dialler.connection.send_calls([CALL] * 64)
    wire.pump()
    assert wire.listener.got(Calls) == [Calls([CALL] * 64)]


@pytest.mark.parametrize("size", [1, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT, MAX_JOINED])
def test_bulk_of_any_size_arrives_whole(size: int) -> None:
    wire = Wire.up(piece=10_000)
    payload = bytes(range(256)) * (size // 256 + 1)
    for send in (wire.dialler.connection.send_ledger, wire.dialler.connection.send_feed):
        send(payload[:size])
    wire.pump()
    fragments = -(-size // FRAGMENT)
    assert wire.listener.got(BulkLedger) == [BulkLedger(payload[:size], size + fragments * FRAME_COST)]
    assert wire.listener.got(BulkFeed) == [BulkFeed(payload[:size], size + fragments * FRAME_COST)]


def test_fragments_that_join_to_too_much_are_refused() -> None:
    wire = Wire.up(windows=[8, 1 << 20, 1 << 20])
    outbox = wire.dialler.connection._outbox
    outbox._ledger._pieces.extend([(bytes(FRAGMENT), True)] * 9)
    outbox._ledger.waiting = 9 * FRAGMENT
    with pytest.raises(ProtocolError) as caught:
        wire.pump()
    assert caught.value.goodbye == GoodbyeCode.TOO_LARGE


def test_a_call_that_was_not_sent_is_taken_back_without_a_word() -> None:
    wire = Wire.up(windows=[1, 1 << 20, 1 << 20])
    first, second = CALL, Call(bytes(16), 1, 10, b"")
    wire.dialler.connection.send_calls([first, second])
    wire.pump()
    wire.dialler.connection.send_cancels([first.id, second.id])
    assert wire.dialler.connection.waiting(Pattern.CALLS) == 0
    wire.pump()
    assert wire.listener.events == [Calls([first]), Cancels([first.id])]


def test_a_body_that_no_frame_can_carry_is_refused_when_it_is_queued() -> None:
    wire = Wire.up()
    largest = Call(ID, 1, 1, bytes(MAX_CALL_BODY), CALL.traceparent)
    wire.dialler.connection.send_calls([largest, largest])
    wire.pump()
    assert wire.listener.events == [Calls([largest]), Calls([largest])]
    for send in (
        lambda: wire.dialler.connection.send_calls([Call(ID, 1, 1, bytes(MAX_CALL_BODY + 1))]),
        lambda: wire.listener.connection.send_answers([Answer(ID, 0, bytes(MAX_CALL_BODY + 1))]),
    ):
        with pytest.raises(ValueError, match="body of"):
            send()


def test_extension_frames_are_given_only_to_who_asked_and_otherwise_skipped() -> None:
    wire = Wire.up()
    wire.dialler.connection.send_extension(200, b"new", Lane.CONTROL)
    wire.dialler.connection.send_calls([CALL])
    wire.pump()
    assert wire.listener.events == [Calls([CALL])]
    asked = Wire()
    asked.listener.connection = Connection(False, hello(LISTENER), 0.0, extensions=frozenset({200}))
    asked.pump()
    asked.dialler.connection.send_extension(200, b"new")
    asked.pump()
    assert asked.listener.got(ExtensionReceived) == [ExtensionReceived(200, b"new")]
    with pytest.raises(ValueError, match="extension"):
        asked.dialler.connection.send_extension(100, b"")


# --- breaking the rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", [FrameType.CALL, FrameType.ANSWER, FrameType.CANCEL])
def test_a_malformed_frame_ends_the_link(type_: FrameType) -> None:
    for payload in (b"\xc1", b"\x90", b"", b"\x91\xc0"):
        assert send_raw(Wire.up(), type_, payload, Lane.CALLS) is GoodbyeCode.MALFORMED


@pytest.mark.parametrize("type_", [FrameType.PING, FrameType.PONG, FrameType.CREDIT, FrameType.RECEIPT])
def test_a_malformed_control_frame_ends_the_link(type_: FrameType) -> None:
    assert send_raw(Wire.up(), type_, b"\x91\x91\xc0", Lane.CONTROL) is GoodbyeCode.MALFORMED


def test_a_call_can_be_cancelled_once() -> None:
    wire = Wire.up()
    wire.dialler.connection.send_calls([CALL])
    wire.pump()
    wire.dialler.connection.send_cancels([ID])
    wire.pump()
    assert send_raw(wire, FrameType.CANCEL, encode([Cancel(ID)]), Lane.CALLS) is GoodbyeCode.FLOOD


def test_answers_cancels_receipts_and_acks_must_have_been_asked_for() -> None:
    answer, cancel = encode([Answer(ID, 0)]), encode([Cancel(ID)])
    assert send_raw(Wire.up(), FrameType.ANSWER, answer, Lane.CALLS) is GoodbyeCode.FLOOD
    assert send_raw(Wire.up(), FrameType.CANCEL, cancel, Lane.CALLS) is GoodbyeCode.FLOOD
    for type_, message in ((FrameType.RECEIPT, Receipt(ID, 1, 1, b"signature")), (FrameType.FEED_ACK, FeedAck(1, b""))):
        wire = Wire.up()
        wire.dialler.connection._outbox.put_frame(type_, encode([message] * 64))
        wire.pump()
        assert send_raw(wire, type_, encode([message]), Lane.CONTROL) is GoodbyeCode.FLOOD


def test_a_flood_of_pings_ends_the_link_and_a_slow_stream_of_them_does_not() -> None:
    wire = Wire.up()
    for _ in range(1500):
        wire.now += 0.02
        wire.dialler.connection._outbox.put_frame(FrameType.PING, encode([Ping(1, 1)]))
        wire.pump()
    for _ in range(1200):
        wire.dialler.connection._outbox.put_frame(FrameType.PING, encode([Ping(1, 1)]))
    with pytest.raises(ProtocolError) as caught:
        wire.pump()
    assert caught.value.goodbye == GoodbyeCode.FLOOD


@given(st.data())
def test_a_stream_with_any_byte_changed_is_understood_or_refused_and_nothing_else(data: st.DataObject) -> None:
    wire = Wire.up()
    dialler = wire.dialler.connection
    dialler.send_calls([CALL, CALL])
    dialler.send_ledger(b"batch")
    dialler.send_feed_acks([FeedAck(1, b"cursor")])
    dialler.send_ping(wire.now, CLOCK_MS)
    dialler.send_goodbye(GoodbyeCode.DONE)
    stream = bytearray(dialler.data_to_send())
    for place in data.draw(st.lists(st.integers(0, len(stream) - 1), min_size=1, max_size=3)):
        stream[place] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        wire.listener.connection.receive_data(stream, wire.now, CLOCK_MS)


def test_a_malformed_goodbye_is_still_the_end() -> None:
    wire = Wire.up()
    wire.dialler.connection._outbox.put_frame(FrameType.GOODBYE, b"\xc1")
    with pytest.raises(ProtocolError):
        wire.pump()
    assert wire.listener.connection.state is State.CLOSED
    assert not wire.listener.connection.has_data


# --- the end ----------------------------------------------------------------------------------------------------


def test_goodbye_is_the_last_frame_and_answers_still_go_before_it() -> None:
    wire = Wire.up()
    wire.listener.connection.send_calls([CALL])
    wire.pump()
    dialler = wire.dialler.connection
    dialler.send_answers([Answer(ID, 0)])
    dialler.send_feed(b"never sent")
    dialler.send_goodbye(GoodbyeCode.SHUTTING_DOWN, "restart", CLOCK_MS)
    dialler.send_goodbye(GoodbyeCode.INTERNAL, "too late")
    wire.pump()
    answers, said = wire.listener.events
    assert answers == Answers([Answer(ID, 0)])
    assert isinstance(said, PeerSaidGoodbye)
    assert (said.goodbye.code, said.goodbye.reason, said.goodbye.until_ms) == (1, "restart", CLOCK_MS)
    assert wire.listener.connection.state is State.CLOSED
    assert not dialler.has_data
    assert dialler.next_timer() is None


def test_after_the_end_nothing_is_read_and_nothing_is_sent() -> None:
    wire = Wire.up()
    wire.dialler.connection.send_calls([CALL])
    wire.dialler.connection.connection_lost()
    assert wire.dialler.connection.data_to_send() == b""
    assert wire.dialler.connection.receive_data(b"\xff" * 100, wire.now, CLOCK_MS) == []
    assert wire.dialler.connection.handle_timer(wire.now + 1000, CLOCK_MS) == []
    with pytest.raises(MisuseError):
        wire.dialler.connection.send_calls([CALL])


def test_a_long_reason_is_cut_so_that_the_goodbye_itself_is_well_formed() -> None:
    wire = Wire.up()
    wire.dialler.connection.send_goodbye(GoodbyeCode.INTERNAL, "ü" * 500)
    wire.pump()
    assert wire.listener.got(PeerSaidGoodbye)[0].goodbye.reason == "ü" * 200


def test_each_end_plays_either_part() -> None:
    wire = Wire.up()
    for sender, receiver in ((wire.dialler, wire.listener), (wire.listener, wire.dialler)):
        ask_and_answer(wire, sender, receiver)


def ask_and_answer(wire: Wire, asker: End, answerer: End) -> None:
    asker.connection.send_calls([CALL])
    wire.pump()
    answerer.connection.send_answers([Answer(ID, 0)])
    wire.pump()
    assert answerer.got(Calls) == [Calls([CALL])]
    assert asker.got(Answers) == [Answers([Answer(ID, 0)])]


def test_every_code_says_when_to_come_back() -> None:
    assert reconnect_after(GoodbyeCode.SHUTTING_DOWN) is Reconnect.AFTER_UNTIL
    assert reconnect_after(GoodbyeCode.DUPLICATE) is Reconnect.NEVER_BY_ITSELF
    assert reconnect_after(GoodbyeCode.MALFORMED) is reconnect_after(999) is Reconnect.BACK_OFF
    assert (code_name(34), code_name(999)) == ("MALFORMED", "code-999")
