"""Targets: what comes over a link, from the first byte of a handshake to the items in a bulk payload."""

import contextlib
from itertools import chain
from typing import Protocol

import msgpack  # type: ignore[import-untyped]
import zstandard

from roamd.backend.examples import COMMANDS
from roamd.clock import rfc3339
from roamd.errors import RoamdError
from roamd.model.body import merge_evse_status
from roamd.model.commands import check_command
from roamd.model.keys import ObjectKey
from roamd.model.objects import check_peer_object, check_peer_record
from roamd.model.roles import FEED_BY_NUMBER
from roamd.protocol.bulk import (
    MAX_RAW,
    ChunkFlag,
    FeedChunk,
    FeedItem,
    LedgerBatch,
    pack_feed_chunk,
    pack_ledger_batch,
    unpack_feed_chunk,
    unpack_ledger_batch,
)
from roamd.protocol.calls import (
    AuthorizeAnswer,
    AuthorizeRequest,
    CommandAnswer,
    CommandRequest,
    Introduction,
    LedgerFetch,
    PeerStatus,
    SessionQuestion,
)
from roamd.protocol.connection import Connection
from roamd.protocol.events import BulkFeed, BulkLedger, Event, HelloReceived, PeerSaidGoodbye, ProofReceived
from roamd.protocol.flow import Pattern
from roamd.protocol.frames import FrameType
from roamd.protocol.ledger import EntryKind, EpochOpening, LedgerItem, Refusal
from roamd.protocol.messages import DECODERS, Answer, Call, FeedAck, Receipt, decode, encode
from tests.fuzz.samples import feed_items_of, records
from tests.model.bodies import text
from tests.support.wire import CLOCK_MS, Wire

NOW = 100.0
LEAF = bytes(32)
ID = bytes(16)
TYPES = sorted(DECODERS)
MAX_STEPS = 4
"""Hello, Proof and what was held back behind them: more rounds of a handshake there are not."""


# --- a link -----------------------------------------------------------------------------------------------------


def connection(data: bytes) -> None:
    """The first bytes of a link, with a driver that believes every Proof."""
    _drive(Wire().listener.connection, data)


def established(data: bytes) -> None:
    """What comes on a link that is up, both sides of which have asked something before."""
    wire = Wire.up()
    end = wire.listener.connection
    end.send_calls([Call(ID, 1, 1000, b"")])
    end.send_ledger(b"x")
    end.data_to_send()
    _drive(end, data)


def _drive(end: Connection, data: bytes) -> None:
    happened = end.receive_data(data, NOW, CLOCK_MS)
    for _ in range(MAX_STEPS):
        happened = list(chain.from_iterable(_answer(end, event) for event in happened))
    end.handle_timer(NOW + 1, CLOCK_MS)
    end.data_to_send()


def _answer(end: Connection, event: Event) -> list[Event]:
    """As `peering.link` does."""
    match event:
        case HelloReceived():
            end.own_proof_document(LEAF, LEAF)
            return end.send_proof(bytes(64), NOW)
        case ProofReceived():
            end.peer_proof_document(LEAF, LEAF)
            return end.proof_verified(NOW, CLOCK_MS)
        case BulkFeed(_, cost):
            end.grant(Pattern.FEEDS, cost)
        case BulkLedger(_, cost):
            end.grant(Pattern.LEDGER, cost)
        case PeerSaidGoodbye(goodbye):
            rfc3339(goodbye.until_ms)
    return []


def connection_seeds() -> list[bytes]:
    """A handshake, and one with calls behind it."""
    return [_said(Wire()), _said(Wire(), lambda end: end.send_calls([Call(ID, 1, 1000, b"body")]))]


def _said(wire: Wire, more: object = None) -> bytes:
    """All that the dialler says until both are quiet, and then `more`."""
    said = bytearray()
    receive = wire.listener.receive
    wire.listener.receive = lambda data, now: (said.extend(data), receive(data, now))[1]  # type: ignore[method-assign,func-returns-value]
    wire.pump()
    if callable(more):
        more(wire.dialler.connection)
        wire.pump()
    return bytes(said)


def established_seeds() -> list[bytes]:
    """Every message that may come unasked, in one flush."""
    wire = Wire.up()
    end = wire.dialler.connection
    end.send_calls([Call(ID, 1, 1000, b"body", "00-" + "0" * 52), Call(b"B" * 16, 2, 5, b"")])
    end.send_answers([])
    end.send_feed_acks([FeedAck(1, b""), FeedAck(2, b"c" * 56)])
    end.send_receipts([Receipt(ID, 1, CLOCK_MS, bytes(70))])
    end.send_ledger(b"l" * 60_000)
    end.send_feed(b"f" * 60_000)
    end.send_ping(NOW, CLOCK_MS)
    flush = end.data_to_send(1 << 20)
    end.send_goodbye(1, "bye", CLOCK_MS)
    return [flush, flush + end.data_to_send()]


# --- single messages ----------------------------------------------------------------------------------------------


def message(data: bytes) -> None:
    """A frame's payload, its type in the first byte; its times are printed as the API would."""
    type_ = TYPES[data[0] % len(TYPES)] if data else FrameType.HELLO
    decoded = decode(type_, data[1:])
    for each in decoded if isinstance(decoded, list) else [decoded]:
        for name in ("clock_ms", "time_ms", "until_ms", "ping_clock_ms"):
            rfc3339(getattr(each, name, 0))


def message_seeds() -> list[bytes]:
    """One of each type, taken from the vectors' samples."""
    wire = Wire()
    messages = {
        FrameType.HELLO: wire.dialler.connection.hello,
        FrameType.PROOF: [bytes(70), "ecdsa-p256-sha256"],
        FrameType.GOODBYE: [1, "shutting down", CLOCK_MS],
        FrameType.PING: [[1, CLOCK_MS]],
        FrameType.PONG: [[1, CLOCK_MS, CLOCK_MS]],
        FrameType.CREDIT: [[0, 2000], [2, 1 << 21]],
        FrameType.RECEIPT: [Receipt(ID, 1, CLOCK_MS, bytes(70))],
        FrameType.FEED_ACK: [FeedAck(1, b"c" * 56)],
        FrameType.CALL: [Call(ID, 1, 1000, b"body")] * 3,
        FrameType.ANSWER: [Answer(ID, 0, b"body")] * 3,
        FrameType.CANCEL: [[ID]],
    }
    return [bytes([TYPES.index(type_)]) + encode(each) for type_, each in messages.items()]


CALL_BODIES = (
    AuthorizeRequest,
    AuthorizeAnswer,
    LedgerFetch,
    PeerStatus,
    CommandRequest,
    CommandAnswer,
    SessionQuestion,
    Introduction,
)


def call_body(data: bytes) -> None:
    """A call's or an answer's body, the kind in the first byte."""
    body = CALL_BODIES[data[0] % len(CALL_BODIES)].unpack(data[1:]) if data else AuthorizeRequest.unpack(data)
    if isinstance(body, AuthorizeAnswer) and body.valid_until_ms is not None:
        rfc3339(body.valid_until_ms)
    if isinstance(body, PeerStatus):
        rfc3339(body.clock_ms), rfc3339(body.up_since_ms)
    if isinstance(body, CommandRequest):
        _refused_or_not(body)
    body.pack()


def _refused_or_not(request: CommandRequest) -> None:
    """The OCPI command inside, whichever it was sent as."""
    for command in COMMANDS:
        with contextlib.suppress(RoamdError):
            check_command(command, request.ocpi, request.body)


class Packable(Protocol):
    """A call's body."""

    def pack(self) -> bytes: ...


def call_body_seeds() -> list[bytes]:
    """One of each kind."""
    bodies: tuple[Packable, ...] = (
        AuthorizeRequest("RFID", "04E2A1B2C3D480", "DE-ABC-C00000042-1", "LOC1", "3256", "1", "CHARGING", "DEABC"),
        AuthorizeAnswer("ALLOWED", "", "BACKEND", "ref", CLOCK_MS, b"{}", b"{}"),
        LedgerFetch(ID, 0, 64),
        PeerStatus("roamd", CLOCK_MS, CLOCK_MS),
        CommandRequest("DEABC", "2.3.0", 120, "STOP", text(COMMANDS["START_SESSION"])),
        CommandAnswer("ACCEPTED", "", b"{}"),
        SessionQuestion("DEABC", "S1"),
        Introduction(True, [b"descriptor"]),
    )
    return [bytes([index]) + body.pack() for index, body in enumerate(bodies)]


# --- bulk -----------------------------------------------------------------------------------------------------------


def bulk_payload(data: bytes) -> None:
    """A joined bulk payload: of a feed or, by the first byte, of a ledger."""
    if data[:1] == b"\1":
        _take_batch(unpack_ledger_batch(data[1:]))
    else:
        _take_chunk(unpack_feed_chunk(data[1:]))


def bulk_payload_seeds() -> list[bytes]:
    """A chunk of each feed and a batch."""
    flags = ChunkFlag.REPLACING_FIRST | ChunkFlag.REPLACING_LAST | ChunkFlag.CAUGHT_UP
    chunks = [
        b"\0" + pack_feed_chunk(FeedChunk(number, flags, b"cursor", [FeedItem(*item)]))
        for number, item in feed_items_of()
    ]
    return [*chunks, b"\1" + pack_ledger_batch(_batch(_ledger_items()))]


def feed_items(data: bytes) -> None:
    """The items inside a chunk's compressed data, the feed in the first byte: so fuzzing need not pass through zstd."""
    raw = data[1:]
    if 0 < len(raw) <= MAX_RAW:
        _take_chunk(unpack_feed_chunk(encode([data[0], 0, b"", len(raw), _squeezed(raw)])))


def feed_items_seeds() -> list[bytes]:
    """One item of each feed, and a tombstone."""
    seeds = [bytes([number]) + encode([item]) for number, item in feed_items_of()]
    return [*seeds, b"\1" + encode([["DEABC", "LOC1", "", "2.3.0", None]])]


def ledger_items(data: bytes) -> None:
    """The items inside a batch's compressed data."""
    if 0 < len(data) <= MAX_RAW:
        envelope = [ID, 1, LEAF, CLOCK_MS, bytes(70), len(data), _squeezed(data)]
        _take_batch(unpack_ledger_batch(encode(envelope)))


def ledger_items_seeds() -> list[bytes]:
    """Records, an erased one, a refusal and the opening of an epoch."""
    return [encode(_ledger_items()), encode(_ledger_items()[-1:])]


def _ledger_items() -> list[LedgerItem]:
    of_records = [LedgerItem(EntryKind.CDR, name, ID, body, ocpi="2.3.0") for name, body in records()]
    return [
        *of_records,
        LedgerItem(EntryKind.CDR, "ERASED", commitment=LEAF),
        LedgerItem(EntryKind.REFUSED, "REC1", ID, Refusal("DEABC", "malformed", "why").pack()),
        LedgerItem(EntryKind.EPOCH, "0" * 32, ID, EpochOpening(ID, 1, LEAF).pack()),
    ]


def _batch(items: list[LedgerItem]) -> LedgerBatch:
    return LedgerBatch(ID, 1, LEAF, CLOCK_MS, bytes(70), items)


def _squeezed(raw: bytes) -> bytes:
    """At a level that costs the sender nothing, for a fuzzer's speed."""
    return zstandard.ZstdCompressor(level=1).compress(raw)


def _take_chunk(chunk: FeedChunk) -> None:
    """What `roaming.follower` and `roaming.mirror` do with it; an item that is refused stops nothing."""
    row = FEED_BY_NUMBER.get(chunk.feed)
    if row is None:
        return
    for item in chunk.items:
        if item.body is None:
            continue
        try:
            checked = check_peer_object(
                row.name, item.ocpi, item.body, claimed=ObjectKey(item.party, item.id, item.sub)
            )
        except RoamdError:
            continue
        if row.name == "locations" and len(chunk.items) < 64:
            merge_evse_status(checked.body, {"3256": b'{"status":"CHARGING","last_updated":"2030-01-01T00:00:00Z"}'})
        if row.name == "evse-status" and len(chunk.items) < 64:
            merge_evse_status(_LOCATION_BODY, {"3256": checked.body})


_LOCATION_BODY = next(item[4] for number, item in feed_items_of() if number == 1)


def _take_batch(batch: LedgerBatch) -> None:
    """What `roaming.ledger.receiver` and `take` do with it; an entry that is refused stops nothing."""
    rfc3339(batch.time_ms)
    batch.chain()
    for item in batch.items:
        try:
            _take_entry(item)
        except RoamdError:
            continue


def _take_entry(item: LedgerItem) -> None:
    body = item.body or b""
    match item.kind:
        case EntryKind.REFUSED:
            Refusal.unpack(body)
        case EntryKind.EPOCH:
            EpochOpening.unpack(body)
        case _:
            record = check_peer_record(item.ocpi or "2.3.0", body)
            [each.as_json() for each in record.items]
    encode(item)


def unsqueezable(size: int) -> bytes:
    """msgpack of maps in maps: for measuring, never accepted."""
    return bytes(msgpack.packb([{}] * size))
