"""The bodies of the calls that every endpoint understands, and their service numbers.

A body is opaque to the connection. These are positional msgpack, because an authorization must be small and quick;
a request fits into 160 bytes before TLS, an answer into 110.
"""

from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from roamd.protocol.messages import Count, Id16, Millis, decode_as, encode

MAX_COMMAND_BODY: Final = 48 * 1024  # an OCPI command is below 2 KB, a charging profile of a day below 10
MAX_FETCH_PAYLOAD: Final = 48 * 1024  # of the ledger batch that answers a LedgerFetch
MAX_INTRODUCED: Final = 12 * 1024  # a signed descriptor; the usual one is 1.2 KB
MAX_PER_CALL: Final = 32

Name = Annotated[str, Meta(max_length=64)]
Long = Annotated[str, Meta(max_length=500)]
Raw = Annotated[bytes, Meta(max_length=16 * 1024)]


class Service(IntEnum):
    """Numbers in a Call's `service`. A number that is not known is answered MALFORMED."""

    AUTHORIZATION = 1
    LEDGER_FETCH = 2
    PEER_STATUS = 3
    DESCRIPTOR = 4  # the body is the asker's own signed descriptor (see trust), newer than the one the peer holds
    RECONCILE = 5  # see `reconcile`
    INTRODUCTION = 6
    RELAY = 8  # the body is an envelope (see envelope); asked of a clearing house, and by it of the receiver
    RELAY_PAIRS = 9  # asked of a clearing house: between whom and the asker it may relay
    START_SESSION = 16  # 16 to 23, 25, 26: commands, asked with a CommandRequest
    STOP_SESSION = 17
    UNLOCK_CONNECTOR = 18
    RESERVE_NOW = 19
    CANCEL_RESERVATION = 20
    SET_CHARGING_PROFILE = 21
    CLEAR_CHARGING_PROFILE = 22
    GET_ACTIVE_PROFILE = 23
    SESSION_QUESTION = 24
    RESERVE = 25
    SET_CHARGING_PREFERENCES = 26


class AuthorizeRequest(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """May this credential charge here? `party` is the visited party that asks; `type` an OCPI TokenType."""

    type: Name
    uid: Name
    contract_id: Name | None = None
    location_id: Name | None = None
    evse_uid: Name | None = None
    connector_id: Name | None = None
    service: Name = "CHARGING"
    party: Name = ""

    def pack(self) -> bytes:
        """As a Call's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "AuthorizeRequest":
        """ProtocolError when it cannot be read; the call is then answered MALFORMED and the link stays."""
        return decode_as(_AUTHORIZE_REQUEST, body, "authorization request")


class AuthorizeAnswer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The decision. `location` and `info` are JSON texts of the home-CSP's backend, passed on as they are."""

    decision: Name
    reason: Long = ""
    source: Name = ""
    authorization_reference: Name | None = None
    valid_until_ms: Millis | None = None
    location: Raw | None = None
    info: Raw | None = None

    def pack(self) -> bytes:
        """As an Answer's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "AuthorizeAnswer":
        """ProtocolError when it cannot be read; the asker then counts it as no answer."""
        return decode_as(_AUTHORIZE_ANSWER, body, "authorization answer")


class CommandRequest(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Do this at your station. `body` is the OCPI command as the home-CSP's backend wrote it, without `response_url`.

    `timeout_s` is how long it may take to have its effect, counted from its arrival; `late` says what becomes of a
    start that has it later (STOP, KEEP). `only_outcome`: tell what came of this id, and if it is not known to you
    never carry it out; the body is then empty.
    """

    party: Name
    ocpi: Name
    timeout_s: Annotated[int, Meta(ge=1, le=86_400)]
    late: Name
    body: Annotated[bytes, Meta(max_length=MAX_COMMAND_BODY)]
    only_outcome: bool = False

    def pack(self) -> bytes:
        """As a Call's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "CommandRequest":
        """ProtocolError when it cannot be read; the call is then answered MALFORMED and the link stays."""
        return decode_as(_COMMAND_REQUEST, body, "command")


class CommandAnswer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the visited-CSO's backend said at once: ACCEPTED, or why not. `detail` is JSON text, passed on as it is."""

    result: Name
    reason: Long = ""
    detail: Raw | None = None

    def pack(self) -> bytes:
        """As an Answer's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "CommandAnswer":
        """ProtocolError when it cannot be read; the asker then does not know the outcome."""
        return decode_as(_COMMAND_ANSWER, body, "command answer")


class SessionQuestion(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What of this session of yours, whose lease has run out? `party` and `id` are its key."""

    party: Name
    id: Name

    def pack(self) -> bytes:
        """As a Call's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "SessionQuestion":
        """ProtocolError when it cannot be read."""
        return decode_as(_SESSION_QUESTION, body, "session question")


class SessionAnswer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How it stands: its status, empty when there is no such session of the asker, and until when it is held."""

    status: Name
    lease_until_ms: Millis = 0

    def pack(self) -> bytes:
        """As an Answer's body."""
        return encode(self)


class LedgerFetch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Give me back entries of my own chain, or of yours, after a sequence; the answer's body is a ledger batch payload.

    Only the two of the chain may ask, and are answered as far as `MAX_FETCH_PAYLOAD` reaches; an empty body is the end.
    """

    epoch: Id16
    after_sequence: Count
    limit: Annotated[int, Meta(ge=1, le=4096)] = 64
    yours: bool = False

    def pack(self) -> bytes:
        """As a Call's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "LedgerFetch":
        """ProtocolError when it cannot be read."""
        return decode_as(_LEDGER_FETCH, body, "ledger fetch")


class Introduction(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Signed descriptors of partners of the asker's, which allow it. `starts`: this replaces what was told before.

    A list that is too long for one call goes on in the next ones, with `starts` false. The answer's body is empty.
    """

    starts: bool
    descriptors: Annotated[list[Annotated[bytes, Meta(max_length=MAX_INTRODUCED)]], Meta(max_length=MAX_PER_CALL)]

    def pack(self) -> bytes:
        """As a Call's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "Introduction":
        """ProtocolError when it cannot be read."""
        return decode_as(_INTRODUCTION, body, "introduction")


class PeerStatus(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an endpoint tells a peer of itself (the request's body is empty). No figure concerns other peers."""

    software: Name = ""
    clock_ms: Millis = 0
    up_since_ms: Millis = 0
    ready: bool = True
    note: Long = ""

    def pack(self) -> bytes:
        """As an Answer's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "PeerStatus":
        """ProtocolError when it cannot be read."""
        return decode_as(_PEER_STATUS, body, "peer status")


_AUTHORIZE_REQUEST: Final = msgspec.msgpack.Decoder(AuthorizeRequest)
_AUTHORIZE_ANSWER: Final = msgspec.msgpack.Decoder(AuthorizeAnswer)
_COMMAND_REQUEST: Final = msgspec.msgpack.Decoder(CommandRequest)
_COMMAND_ANSWER: Final = msgspec.msgpack.Decoder(CommandAnswer)
_SESSION_QUESTION: Final = msgspec.msgpack.Decoder(SessionQuestion)
_LEDGER_FETCH: Final = msgspec.msgpack.Decoder(LedgerFetch)
_INTRODUCTION: Final = msgspec.msgpack.Decoder(Introduction)
_PEER_STATUS: Final = msgspec.msgpack.Decoder(PeerStatus)
