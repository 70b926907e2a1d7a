"""A megabyte of the worst that each frame type allows costs a bounded amount of memory, whatever it says."""

import gc
import tracemalloc
from collections.abc import Iterator
from itertools import count

import msgpack
import pytest
import zstandard

from roamd.errors import ProtocolError
from roamd.protocol.bulk import unpack_feed_chunk
from roamd.protocol.connection import Connection
from roamd.protocol.flow import DEFAULT_WINDOWS
from roamd.protocol.frames import RULES, FrameType, pack_frame
from roamd.protocol.messages import MANY, Answer, Call, encode
from tests.support.wire import CLOCK_MS, LISTENER, Wire

MEGABYTE = 1 << 20
MOST = 10 * MEGABYTE
ID = bytes(16)

SMALLEST: dict[FrameType, object] = {
    FrameType.PING: [0, 0],
    FrameType.PONG: [0, 0, 0],
    FrameType.CREDIT: [0, 0],
    FrameType.CALL: [ID, 0, 0, b""],
    FrameType.ANSWER: [ID, 0],
    FrameType.CANCEL: [ID],
    FrameType.RECEIPT: [ID, 0, 0, b"signatur"],
    FrameType.FEED_ACK: [0, b""],
}


def stream(type_: int, payload: bytes, first: int) -> bytes:
    """A megabyte of the same frame over and over, correctly numbered."""
    rule = RULES[FrameType(type_)]
    frames: list[bytes] = []
    size = 0
    for sequence in count(first):
        frames.append(pack_frame(type_, payload, sequence, lane=rule.lane))
        size += len(frames[-1])
        if size >= MEGABYTE:
            return b"".join(frames)
    raise AssertionError


def payloads() -> Iterator[tuple[str, FrameType, bytes]]:
    """The cheapest to send and the dearest to hold, for each type."""
    for type_, element in SMALLEST.items():
        yield "single", type_, msgpack.packb([element])
        yield "many", type_, msgpack.packb([element] * MANY[type_])
        yield "nested", type_, b"\x91" * 900
        yield "huge array", type_, b"\xdd\xff\xff\xff\xff" + b"\x80" * 900
    for type_ in (FrameType.LEDGER_BATCH, FrameType.FEED_CHUNK):
        yield "empty", type_, b""
        yield "maps", type_, b"\x80" * (RULES[type_].max_payload)


def cost(connection: Connection, data: bytes) -> tuple[int, int, bool]:
    """(peak bytes, events, refused) of taking this in at once."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        events = []
        refused = False
        try:
            events = connection.receive_data(data, 100.0, CLOCK_MS)
        except ProtocolError:
            refused = True
        return tracemalloc.get_traced_memory()[1] - before, len(events), refused
    finally:
        tracemalloc.stop()


CASES = list(payloads())


@pytest.mark.parametrize(("what", "type_", "payload"), CASES, ids=[f"{case[1].name} {case[0]}" for case in CASES])
def test_a_hostile_megabyte_is_refused_and_cheap(what: str, type_: FrameType, payload: bytes) -> None:
    wire = Wire.up()
    peak, _, refused = cost(wire.listener.connection, stream(type_, payload, first=2))
    assert refused, what
    assert peak < MOST


def test_a_megabyte_of_answers_that_were_all_asked_for_is_cheap_too() -> None:
    wire = Wire.up(windows=[100_000, *DEFAULT_WINDOWS[1:]])
    for start in range(0, 50_000, 1000):
        wire.listener.connection.send_calls([Call(ID, 1, 1, b"") for _ in range(start, start + 1000)])
        wire.listener.connection.data_to_send()
    data = stream(FrameType.ANSWER, encode([Answer(ID, 0)] * 512), first=2)
    peak, events, refused = cost(wire.listener.connection, data)
    assert not refused
    assert events > 90
    assert peak < MOST


def test_a_hello_full_of_everything_is_cheap() -> None:
    marks = [[True, ID, 1, bytes(32), 1, bytes(8)]] * 2000
    many = msgpack.packb([[1] * 16, bytes(32), LISTENER, ID, ID, [], 0, "", marks, [1, 1, 1]])
    connection = Wire().listener.connection
    peak, _, refused = cost(connection, pack_frame(FrameType.HELLO, many[: 16 * 1024], 0, lane=0))
    assert refused
    assert peak < MEGABYTE


def test_the_dearest_bulk_payload_is_cheap_to_open() -> None:
    items = [[f"{number:016}"[-16:], "i" * 100, "s" * 100, "o", b"b"] for number in range(4096)]
    raw = msgpack.packb(items)
    payload = msgpack.packb([1, 0, b"", len(raw), zstandard.ZstdCompressor().compress(raw)])
    gc.collect()
    tracemalloc.start()
    chunk = unpack_feed_chunk(payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(chunk.items) == 4096
    assert peak < MOST


def test_frames_are_bounded_by_rules_so_a_megabyte_holds_few_that_count() -> None:
    """Time is not measured here: it is bounded because every frame either is paid for or ends the link."""
    assert max(rule.max_payload for rule in RULES.values()) <= 64 * 1024
    assert set(MANY) == set(SMALLEST)
