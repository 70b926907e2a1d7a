"""Messages: what an independent msgpack library writes is read, and nothing else is."""

from contextlib import suppress
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import ProtocolError
from roamd.protocol.calls import AuthorizeAnswer, AuthorizeRequest, Introduction, LedgerFetch, PeerStatus
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.frames import HEADER_SIZE, FrameType
from roamd.protocol.messages import (
    DECODERS,
    MANY,
    Answer,
    Call,
    Cancel,
    Credit,
    FeedAck,
    Goodbye,
    Mark,
    Ping,
    Pong,
    Proof,
    Receipt,
    decode,
    encode,
    encode_many,
)
from tests.support.wire import CLOCK_MS, hello

ID = bytes(range(16))
MESSAGES: list[tuple[FrameType, msgspec.Struct]] = [
    (FrameType.HELLO, hello(marks=[Mark(True, ID, 7, bytes(32), CLOCK_MS, b"sig" * 3)], features=["x"])),
    (FrameType.PROOF, Proof(b"signature")),
    (FrameType.GOODBYE, Goodbye(GoodbyeCode.SHUTTING_DOWN, "restart", CLOCK_MS)),
    (FrameType.PING, Ping(1, CLOCK_MS)),
    (FrameType.PONG, Pong(1, CLOCK_MS, CLOCK_MS + 1)),
    (FrameType.CREDIT, Credit(0, 2048)),
    (FrameType.CALL, Call(ID, 1, 3000, b"body", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")),
    (FrameType.ANSWER, Answer(ID, 0, b"body")),
    (FrameType.CANCEL, Cancel(ID)),
    (FrameType.RECEIPT, Receipt(ID, 9, CLOCK_MS, b"signature")),
    (FrameType.FEED_ACK, FeedAck(1, b"cursor")),
]


def payload_of(type_: FrameType, message: msgspec.Struct) -> bytes:
    return encode([message] if type_ in MANY else message)


def positions(type_: FrameType, message: msgspec.Struct) -> list[Any]:
    """The message's own array, as the independent library reads it."""
    read = msgpack.unpackb(payload_of(type_, message))
    return read[0] if type_ in MANY else read


def packed(type_: FrameType, array: Any) -> bytes:
    return msgpack.packb([array] if type_ in MANY else array)


each_message = pytest.mark.parametrize(("type_", "message"), MESSAGES, ids=[type_.name for type_, _ in MESSAGES])


def test_every_message_type_is_tried_here() -> None:
    assert {type_ for type_, _ in MESSAGES} == set(DECODERS)


@each_message
def test_a_message_comes_back_as_it_was(type_: FrameType, message: msgspec.Struct) -> None:
    decoded = decode(type_, payload_of(type_, message))
    assert decoded == ([message] if type_ in MANY else message)


@each_message
def test_an_independent_library_writes_the_same_bytes(type_: FrameType, message: msgspec.Struct) -> None:
    assert packed(type_, positions(type_, message)) == payload_of(type_, message)


@each_message
def test_unknown_trailing_elements_are_ignored(type_: FrameType, message: msgspec.Struct) -> None:
    longer = [*positions(type_, message), {"new": ["thing"]}, None]
    decoded = decode(type_, packed(type_, longer))
    assert decoded == ([message] if type_ in MANY else message)


@each_message
def test_a_message_without_its_first_element_or_with_a_wrong_type_is_malformed(
    type_: FrameType, message: msgspec.Struct
) -> None:
    array = positions(type_, message)
    for wrong in ([], array[:-1] if len(array) == 1 else [], [1.5, *array[1:]], {"a": 1}, None):
        with pytest.raises(ProtocolError) as caught:
            decode(type_, packed(type_, wrong))
        assert caught.value.goodbye == GoodbyeCode.MALFORMED


@each_message
def test_bytes_cut_short_or_with_a_tail_are_malformed(type_: FrameType, message: msgspec.Struct) -> None:
    payload = payload_of(type_, message)
    for wrong in (payload[:-1], payload + b"\x00", b""):
        with pytest.raises(ProtocolError):
            decode(type_, wrong)


@pytest.mark.parametrize("type_", sorted(MANY), ids=lambda type_: FrameType(type_).name)
def test_arrays_may_be_neither_empty_nor_longer_than_their_limit(type_: FrameType) -> None:
    message = dict(MESSAGES)[type_]
    assert len(decode(type_, encode([message] * MANY[type_]))) == MANY[type_]
    for wrong in (0, MANY[type_] + 1):
        with pytest.raises(ProtocolError):
            decode(type_, encode([message] * wrong))


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("versions", []),
        ("versions", [1] * 17),
        ("nonce", bytes(31)),
        ("endpoint_id", "A" * 55),
        ("endpoint_id", "a" * 56),
        ("endpoint_id", "A" * 55 + "\n"),
        ("run_id", bytes(17)),
        ("features", ["x"] * 33),
        ("features", ["x" * 33]),
        ("software", "s" * 201),
        ("clock_ms", -1),
        ("windows", [1, 2]),
        ("marks", [[True]]),
    ],
)
def test_a_hello_over_any_limit_is_malformed(change: str, value: object) -> None:
    with pytest.raises(ProtocolError):
        decode(FrameType.HELLO, encode(hello(**{change: value})))


def test_deep_nesting_and_broken_text_are_protocol_errors() -> None:
    deep = b"\x91" + b"\x93\xc4\x10" + ID + b"\x00\xc4\x00" + b"\x91" * 60_000 + b"\xc0"
    text = msgpack.packb([0, "?"]).replace(b"?", b"\xff")
    for type_, payload in ((FrameType.ANSWER, deep.replace(b"\x93", b"\x94", 1)), (FrameType.GOODBYE, text)):
        with pytest.raises(ProtocolError) as caught:
            decode(type_, payload)
        assert caught.value.goodbye == GoodbyeCode.MALFORMED


def test_an_error_never_shows_what_was_sent() -> None:
    with pytest.raises(ProtocolError) as caught:
        AuthorizeRequest.unpack(msgpack.packb(["RFID", "04A1B2C3" * 20]))
    assert "04A1B2C3" not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from(sorted(DECODERS)))
def test_random_bytes_are_read_or_refused_and_nothing_else(data: bytes, type_: int) -> None:
    with suppress(ProtocolError):
        decode(type_, data)


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=60), limit=st.integers(340, 2000))
def test_messages_are_packed_in_order_within_the_limit(sizes: list[int], limit: int) -> None:
    answers = [Answer(ID, number, bytes(size)) for number, size in enumerate(sizes)]
    payloads = encode_many(answers, limit, 16)
    assert all(len(payload) <= limit for payload in payloads)
    assert [answer for payload in payloads for answer in decode(FrameType.ANSWER, payload)] == answers
    assert len(payloads) >= (len(sizes) + 15) // 16


def test_a_message_larger_than_a_frame_is_the_senders_mistake() -> None:
    with pytest.raises(ValueError, match="larger than a frame"):
        encode_many([Answer(ID, 0, bytes(400))], 300, 16)


# --- bodies of calls --------------------------------------------------------------------------------------------


def test_an_authorization_is_small_on_the_wire() -> None:
    place = ("3f0bd1d2-51c5-4b5a-9e0e-6a3c1d2f4b5a", "DE*ABC*E1234567*1", "1")
    request = AuthorizeRequest("RFID", "04A1B2C3D4E5F6", "DE-ABC-C12345678-X", *place, "CHARGING", "DEABC")
    answer = AuthorizeAnswer("ALLOWED", "", "BACKEND", "3f0bd1d2-51c5-4b5a-9e0e-6a3c1d2f4b5a", CLOCK_MS)
    assert HEADER_SIZE + len(encode([Call(ID, 1, 3000, request.pack())])) <= 160
    assert HEADER_SIZE + len(encode([Answer(ID, 0, answer.pack())])) <= 110


@pytest.mark.parametrize(
    "body",
    [
        AuthorizeRequest("RFID", "04A1", None, "LOC1", party="DEABC"),
        AuthorizeAnswer("BLOCKED", "stolen", "WHITELIST", info=b'{"language":"de"}'),
        LedgerFetch(ID, 12, 100),
        Introduction(True, [b"descriptor"]),
        PeerStatus("roamd 0.1.0", CLOCK_MS, CLOCK_MS - 5, True, ""),
    ],
    ids=lambda body: type(body).__name__,
)
def test_a_call_body_comes_back_and_may_have_grown(body: Any) -> None:
    assert type(body).unpack(body.pack()) == body
    assert type(body).unpack(msgpack.packb([*msgpack.unpackb(body.pack()), "later field"])) == body
    with pytest.raises(ProtocolError):
        type(body).unpack(b"\xc1")
