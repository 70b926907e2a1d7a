"""The stream's messages: reading a frame into envelopes, and the texts that are sent (STREAM.md describes them)."""

from typing import Any, Final

import msgspec

from roamd.backend.idempotency import checked_key, request_hash
from roamd.backend.objects import FEEDS
from roamd.backend.problems import Problem, problem_of
from roamd.backend.records import with_warnings
from roamd.backend.requests import ABSENT, DEFAULT_OCPI, bounded_array, canonical_party, encode, fault, warning_values
from roamd.errors import NotFound
from roamd.model.objects import Checked, CheckedRecord
from roamd.roaming.operations import Idempotency, RecordReply, StoredObject

FRAME_MESSAGES: Final = 1000
FRAME_BYTES: Final = 1024 * 1024
"""What goes into one frame at most, unless a single message is larger; a client must hold it whole."""

MAX_IN_FRAME: Final = 1024
"""Messages that a client may put into one frame: as many as it may have open."""

_FEW_COMMAS: Final = 16 * MAX_IN_FRAME
"""A frame with no more commas than this cannot have enough messages to cost much, so it is decoded at once."""

MAX_ID: Final = 64
"""Characters of a request's id; it is sent back and kept while the request is open."""

_ABSENT: Final = msgspec.Raw(b"")


class Envelope(msgspec.Struct, frozen=True):
    """One message from the client; which fields count depends on `op`."""

    op: str
    id: int | str | None = None
    body: msgspec.Raw = _ABSENT
    feed: str = ""
    key: str = ""
    evse: str = ""
    peer: str | None = None
    party: str | None = None
    type: str | None = None
    ocpi: str = DEFAULT_OCPI
    if_match: str | None = None
    echo: bool = False
    cursor: str = ""
    after: str | None = None
    command: str = ""
    deadline_ms: int | None = None
    timeout_s: int | None = None
    late: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None

    @property
    def text(self) -> bytes:
        """The body's JSON text. Raises Malformed when there is none."""
        text = bytes(self.body)
        if not text:
            raise fault("$.body", "is missing", "missing")
        return text

    @property
    def canonical_party(self) -> str | None:
        """`party` as it is known inside."""
        return canonical_party(self.party) if self.party else None


_decode_frame: Final = msgspec.json.Decoder(list[Envelope]).decode
_decode_loosely: Final = bounded_array(MAX_IN_FRAME).decode
_decode_one: Final = msgspec.json.Decoder(Envelope).decode


class UnreadableFrame(Exception):  # it ends a connection; nobody sees it as an error
    """The frame is no JSON array of objects, or of too many."""


def read_frame(data: bytes) -> "list[Envelope | Problem]":
    """The frame's messages; those that cannot be read are problems in their place. Raises UnreadableFrame."""
    text = data.lstrip()
    if text[:1] == b"{":
        text = b"[" + text + b"]"
    if text.count(b",") > _FEW_COMMAS:
        return _read_frame_slowly(text)
    try:
        messages = _decode_frame(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _read_frame_slowly(text)
    if len(messages) > MAX_IN_FRAME:
        raise UnreadableFrame
    return list(messages)


def _read_frame_slowly(text: bytes) -> "list[Envelope | Problem]":
    try:
        found = msgspec.structs.astuple(_decode_loosely(text))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UnreadableFrame from error
    return [_read_message(bytes(message)) for message in found if message is not ABSENT]


def _read_message(text: bytes) -> Envelope | Problem:
    try:
        return _decode_one(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return problem_of(fault("$", str(error), "message"))


# --- checks of single fields --------------------------------------------------------------------------------------


def check_request_id(request_id: int | str | None) -> None:
    """Raises Malformed when the id is too long to be carried about."""
    if isinstance(request_id, str) and len(request_id) > MAX_ID:
        raise fault("$.id", f"is longer than {MAX_ID} characters", "too-long")


def known_feed(feed: str) -> str:
    """A feed that has a collection. Raises NotFound."""
    if feed not in FEEDS:
        raise NotFound(f"There is no such feed; these are: {', '.join(FEEDS)}.")
    return feed


_TARGETS: Final = {"authorize": "/v1/authorizations", "record": "/v1/records"}
"""So that a request that was sent by HTTP may be repeated on the stream."""


def idempotency_of_message(message: Envelope) -> Idempotency | None:
    """As the HTTP header: the key with the hash of what makes it the same request."""
    if message.idempotency_key is None:
        return None
    target = _TARGETS.get(message.op, message.op) + (f"?peer={message.peer}" if message.peer else "")
    if message.op == "command":
        target = _command_target(message)
    return Idempotency(checked_key(message.idempotency_key), request_hash(target, message.text))


def _command_target(message: Envelope) -> str:
    named = ("peer", "party", "deadline_ms", "timeout_s", "late")
    query = "&".join(f"{name}={value}" for name in named if (value := getattr(message, name)) is not None)
    return f"/v1/commands/{message.command}" + (f"?{query}" if query else "")


# --- what is sent -------------------------------------------------------------------------------------------------


def take_frame(waiting: list[bytes]) -> bytes:
    """Take the next frame's messages off the list, as one JSON array."""
    count = size = 0
    for message in waiting[:FRAME_MESSAGES]:
        size += len(message)
        if count and size > FRAME_BYTES:
            break
        count += 1
    frame = b"[" + b",".join(waiting[:count]) + b"]"
    del waiting[:count]
    return frame


def reply_text(request_id: int | str | None, rest: bytes) -> bytes:
    """A reply; `rest` is its text from the status on, as the `tell_` functions make it."""
    if request_id is None:
        return b'{"op":"reply",' + rest
    return b'{"op":"reply","id":' + encode(request_id) + b"," + rest


def refusal(request_id: int | str | None, told: Problem) -> bytes:
    """A reply that refuses."""
    return reply_text(request_id, b'"status":%d,"body":%b}' % (told.status, encode(told)))


def tell_value(reply: Any) -> bytes:
    """200 with a Struct."""
    return b'"status":200,"body":' + encode(reply) + b"}"


def tell_nothing(_reply: Any) -> bytes:
    """204."""
    return b'"status":204}'


def tell_records(records: list[CheckedRecord], many: bool, replies: list[RecordReply]) -> bytes:
    """202 with where the records stand."""
    told = [with_warnings(reply, record) for reply, record in zip(replies, records, strict=True)]
    return b'"status":202,"body":' + encode(told if many else told[0]) + b"}"


def tell_object(stored: StoredObject) -> bytes:
    """200 with an object and its version."""
    return b'"status":200,%b,"body":%b}' % (_version(stored), stored.body)


def tell_put(checked: Checked, echo: bool, stored: StoredObject) -> bytes:
    """201 or 200 with the version, and with the object if it is asked for."""
    parts = [b'"status":%d' % (201 if stored.created else 200), _version(stored)]
    if checked.warnings:
        parts.append(b'"warnings":' + encode(warning_values(checked.warnings)))
    if echo:
        parts.append(b'"body":' + stored.body)
    return b",".join(parts) + b"}"


def _version(stored: StoredObject) -> bytes:
    return b'"etag":%b,"ocpi":%b' % (encode(stored.etag), encode(stored.ocpi))
