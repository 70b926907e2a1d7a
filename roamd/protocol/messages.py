"""The messages, by position: each class is one msgpack array, its fields in the order of the array.

Trailing elements that we do not know are ignored, so a later version may append fields. Everything is decoded by type
in one pass with its limits, so nothing untyped is ever built from what a stranger sent (an untyped megabyte of empty
maps becomes 73 MB). Frames of a type in `MANY` hold an array of such arrays, all others exactly one message.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Meta

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.frames import FrameType

MAX_CALL_BODY: Final = 56 * 1024  # a call or an answer fits into one frame of 64 KiB whatever else it carries
MAX_PER_FRAME: Final = 512  # calls, answers or cancellations: some 120 bytes each fill a frame
MAX_PER_CONTROL_FRAME: Final = 64
MAX_CURSOR: Final = 64
ECDSA_P256: Final = "ecdsa-p256-sha256"  # every signature names its algorithm, so that others can follow

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]  # to the end of year 9999, so that each is a date
Id16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Hash32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=8, max_length=256)]
EndpointId = Annotated[str, Meta(min_length=56, max_length=56, pattern="^[A-Z2-7]{56}$")]
Algorithm = Annotated[str, Meta(min_length=1, max_length=32)]
Word = Annotated[str, Meta(max_length=32)]
Text = Annotated[str, Meta(max_length=200)]
Body = Annotated[bytes, Meta(max_length=MAX_CALL_BODY)]
Cursor = Annotated[bytes, Meta(max_length=MAX_CURSOR)]
Small = Annotated[int, Meta(ge=0, le=0xFFFF)]


class Mark(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The newest thing of one chain that the sender of the Hello holds with the other side's signature.

    `author_is_you` true: a head, signed by you as the chain's author. False: a receipt, signed by you as its receiver.
    """

    author_is_you: bool
    epoch: Id16
    sequence: Count
    hash: Hash32
    time_ms: Millis
    signature: Signature
    algorithm: Algorithm = ECDSA_P256


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """The first frame of each side. `windows` is the first credit: calls, ledger bytes, feed bytes."""

    versions: Annotated[list[Small], Meta(min_length=1, max_length=16)]
    nonce: Hash32
    endpoint_id: EndpointId
    instance: Id16
    run_id: Id16
    features: Annotated[list[Word], Meta(max_length=32)]
    clock_ms: Millis
    software: Text
    marks: Annotated[list[Mark], Meta(max_length=16)]
    windows: Annotated[list[Count], Meta(min_length=3, max_length=8)]


class Proof(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The identity key's signature over `proof.proof_document`."""

    signature: Signature
    algorithm: Algorithm = ECDSA_P256


class Goodbye(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The sender's last frame. `until_ms` is a time of its clock before which dialling is useless, 0 for none."""

    code: Small
    reason: Text = ""
    until_ms: Millis = 0


class Ping(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Are you there, and what time is it with you?"""

    id: Count
    clock_ms: Millis


class Pong(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The answer to the newest Ping that waits; `ping_clock_ms` is the Ping's own `clock_ms`."""

    id: Count
    ping_clock_ms: Millis
    clock_ms: Millis


class Credit(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`limit` is cumulative since the link began: what may be sent of the pattern in all (see `flow`)."""

    pattern: Annotated[int, Meta(ge=0, le=255)]
    limit: Count


class Call(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A question. `deadline_ms` is what is left of its time when it was sent; `id` names it also on another link."""

    id: Id16
    service: Small
    deadline_ms: Annotated[int, Meta(ge=0, le=600_000)]
    body: Body
    traceparent: Annotated[str, Meta(max_length=55)] | None = None


class AnswerStatus(IntEnum):
    """How a call ended. Statuses not listed count as NO_ANSWER."""

    ANSWERED = 0
    REFUSED = 1  # the agreement does not let you ask this
    NO_ANSWER = 2  # nobody could say in time; nothing was done
    OUTCOME_UNKNOWN = 3  # it was asked, and a crash hid the outcome; it is never asked again
    MALFORMED = 4  # the body cannot be read, or the service is not known


class Answer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The one answer of a call."""

    id: Id16
    status: Small
    body: Body = b""


class Cancel(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The asker no longer waits; an answer may still come and is then ignored."""

    id: Id16


class Receipt(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The receiver has committed every entry up to `sequence`; signed over `ledger.receipt_document`.

    That document holds the entry's hash, which the author knows and the wire need not repeat.
    """

    epoch: Id16
    sequence: Count
    time_ms: Millis
    signature: Signature
    algorithm: Algorithm = ECDSA_P256


class FeedAck(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The first of a feed on a link follows it from `cursor` (empty: from nothing); later ones acknowledge chunks."""

    feed: Annotated[int, Meta(ge=0, le=255)]
    cursor: Cursor


_CALLS = Meta(min_length=1, max_length=MAX_PER_FRAME)
_CONTROL = Meta(min_length=1, max_length=MAX_PER_CONTROL_FRAME)

# The arrays of a type's frame; an empty one is refused, so that no frame is free of charge.
MANY: Final[dict[FrameType, int]] = {
    FrameType.PING: MAX_PER_CONTROL_FRAME,
    FrameType.PONG: MAX_PER_CONTROL_FRAME,
    FrameType.CREDIT: MAX_PER_CONTROL_FRAME,
    FrameType.RECEIPT: MAX_PER_CONTROL_FRAME,
    FrameType.FEED_ACK: MAX_PER_CONTROL_FRAME,
    FrameType.CALL: MAX_PER_FRAME,
    FrameType.ANSWER: MAX_PER_FRAME,
    FrameType.CANCEL: MAX_PER_FRAME,
}

Decoder = msgspec.msgpack.Decoder[Any]
DECODERS: Final[dict[int, Decoder]] = {
    FrameType.HELLO: msgspec.msgpack.Decoder(Hello),
    FrameType.PROOF: msgspec.msgpack.Decoder(Proof),
    FrameType.GOODBYE: msgspec.msgpack.Decoder(Goodbye),
    FrameType.PING: msgspec.msgpack.Decoder(Annotated[list[Ping], _CONTROL]),
    FrameType.PONG: msgspec.msgpack.Decoder(Annotated[list[Pong], _CONTROL]),
    FrameType.CREDIT: msgspec.msgpack.Decoder(Annotated[list[Credit], _CONTROL]),
    FrameType.RECEIPT: msgspec.msgpack.Decoder(Annotated[list[Receipt], _CONTROL]),
    FrameType.FEED_ACK: msgspec.msgpack.Decoder(Annotated[list[FeedAck], _CONTROL]),
    FrameType.CALL: msgspec.msgpack.Decoder(Annotated[list[Call], _CALLS]),
    FrameType.ANSWER: msgspec.msgpack.Decoder(Annotated[list[Answer], _CALLS]),
    FrameType.CANCEL: msgspec.msgpack.Decoder(Annotated[list[Cancel], _CALLS]),
}

encode: Final = msgspec.msgpack.Encoder().encode
UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)  # ValidationError is a DecodeError
_T = TypeVar("_T")
_Out = TypeVar("_Out", covariant=True)


def decode(type_: int, payload: bytes | memoryview) -> Any:
    """The message, or the list of messages, of one frame. ProtocolError when it is not exactly that."""
    try:
        return DECODERS[type_].decode(payload)
    except UNREADABLE as error:
        raise unreadable(FrameType(type_).name, error) from error


class TypedDecoder(Protocol[_Out]):
    """A msgspec decoder, of msgpack or of JSON."""

    def decode(self, buf: bytes | memoryview, /) -> _Out:
        """The value, or one of UNREADABLE."""
        ...


def decode_as(decoder: TypedDecoder[_T], payload: bytes | memoryview, what: str) -> _T:
    """Decode with a typed decoder; ProtocolError(MALFORMED) for whatever is wrong with the bytes."""
    try:
        return decoder.decode(payload)
    except UNREADABLE as error:
        raise unreadable(what, error) from error


def unreadable(what: str, error: Exception) -> ProtocolError:
    """The error's own words name a path and a type, never a value, so they are fit for a log."""
    words = "text is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    return ProtocolError(GoodbyeCode.MALFORMED, f"{what} cannot be read: {words}"[:200])


def encode_many(messages: Sequence[msgspec.Struct], limit: int, max_count: int) -> list[bytes]:
    """The messages as few payloads of at most `limit` bytes and `max_count` messages, in order.

    One encode per payload is what makes small messages cheap; only when one comes out too long is it halved.
    """
    payloads: list[bytes] = []
    for start in range(0, len(messages), max_count):
        _encode_within(messages[start : start + max_count], limit, payloads)
    return payloads


def _encode_within(messages: Sequence[msgspec.Struct], limit: int, payloads: list[bytes]) -> None:
    payload = encode(messages)
    if len(payload) <= limit:
        payloads.append(payload)
        return
    half = len(messages) // 2
    if not half:
        raise ValueError("One message is larger than a frame.")
    _encode_within(messages[:half], limit, payloads)
    _encode_within(messages[half:], limit, payloads)
