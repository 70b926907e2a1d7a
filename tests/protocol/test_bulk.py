"""Bulk payloads: what went in comes out, within limits, whatever a stranger sends."""

import tracemalloc
from hashlib import shake_256
from typing import Any

import msgpack
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from roamd.errors import ProtocolError
from roamd.protocol.bulk import (
    MAX_ITEMS,
    MAX_OBJECT,
    MAX_RAW,
    ChunkFlag,
    FeedChunk,
    FeedItem,
    LedgerBatch,
    fitting,
    pack_feed_chunk,
    pack_fetch_answer,
    pack_ledger_batch,
    unpack_feed_chunk,
    unpack_ledger_batch,
)
from roamd.protocol.calls import MAX_FETCH_PAYLOAD
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.frames import MAX_JOINED
from roamd.protocol.ledger import GENESIS, EntryKind, LedgerItem, commitment
from tests.support.wire import CLOCK_MS

EPOCH = bytes(range(16))
SALT = bytes(16)
CDR = LedgerItem(EntryKind.CDR, "CDR-1", SALT, b'{"id":"CDR-1"}', ocpi="2.3.0")
ERASED = LedgerItem(EntryKind.CDR, "CDR-2", commitment=commitment(SALT, b"gone"))

words = st.text(max_size=20)
feed_items = st.builds(
    FeedItem, st.text(max_size=5), words, words, st.just("2.3.0"), st.none() | st.binary(max_size=99)
)
whole = st.builds(LedgerItem, st.integers(0, 65535), words, st.binary(min_size=16, max_size=16), st.binary(max_size=99))
erased = st.builds(LedgerItem, st.integers(0, 65535), words, commitment=st.binary(min_size=32, max_size=32))


def batch(*items: LedgerItem) -> LedgerBatch:
    return LedgerBatch(EPOCH, 1, GENESIS, CLOCK_MS, b"signature", list(items))


def feed_payload(items: Any, **changes: Any) -> bytes:
    """A feed chunk made by other libraries than ours, perhaps a lying one."""
    raw = items if isinstance(items, bytes) else msgpack.packb(items)
    data = changes.get("data", zstandard.ZstdCompressor().compress(raw))
    return bytes(msgpack.packb([1, changes.get("flags", 0), b"", changes.get("raw_size", len(raw)), data]))


def refused(payload: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        unpack_feed_chunk(payload)
    assert caught.value.goodbye == GoodbyeCode.MALFORMED
    return str(caught.value)


@given(st.lists(feed_items, max_size=20), st.integers(0, 7), st.binary(max_size=64))
def test_a_feed_chunk_comes_back_as_it_was(items: list[FeedItem], flags: int, cursor: bytes) -> None:
    chunk = FeedChunk(3, ChunkFlag(flags), cursor, items)
    assert unpack_feed_chunk(pack_feed_chunk(chunk)) == chunk


@given(st.lists(whole | erased, min_size=1, max_size=20), st.integers(1, 2**62))
def test_a_ledger_batch_comes_back_as_it_was(items: list[LedgerItem], first: int) -> None:
    sent = LedgerBatch(EPOCH, first, bytes(range(32)), CLOCK_MS, b"signature", items)
    got = unpack_ledger_batch(pack_ledger_batch(sent))
    assert got == sent
    assert got.last_sequence == first + len(items) - 1
    assert got.chain() == sent.chain()


def test_other_libraries_write_chunks_that_we_read() -> None:
    chunk = unpack_feed_chunk(
        feed_payload([["DEABC", "LOC1", "", "2.2.1", b"{}", "later field"], ["X", "Y", "", "", None]])
    )
    assert chunk.items == [FeedItem("DEABC", "LOC1", "", "2.2.1", b"{}"), FeedItem("X", "Y", "", "")]


def test_unknown_chunk_flags_are_dropped() -> None:
    assert unpack_feed_chunk(feed_payload([], flags=0xFC)).flags is ChunkFlag.CAUGHT_UP


def test_the_largest_object_fits_even_if_it_cannot_be_compressed() -> None:
    body = b"".join(commitment(SALT, number.to_bytes(4, "big")) for number in range(MAX_OBJECT // 32))
    chunk = FeedChunk(1, ChunkFlag.NONE, b"", [FeedItem("DEABC", "L", "", "2.3.0", body)])
    payload = pack_feed_chunk(chunk)
    assert MAX_OBJECT < len(payload) <= MAX_JOINED
    assert unpack_feed_chunk(payload) == chunk
    assert unpack_ledger_batch(pack_ledger_batch(batch(LedgerItem(1, "R", SALT, body)))).items[0].body == body


def test_a_lie_about_the_raw_size_is_seen_before_anything_is_decompressed() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(30_000_000))
    tracemalloc.start()
    assert "different sizes" in refused(feed_payload(b"", data=bomb, raw_size=1000))
    assert "<= 1048576" in refused(feed_payload(b"", data=bomb, raw_size=30_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_zstd_frame_must_name_its_size_be_alone_and_be_whole() -> None:
    raw = msgpack.packb([])
    nameless = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    honest = zstandard.ZstdCompressor().compress(raw)
    for data in (nameless, honest + b"tail", honest + honest, honest[:-1], b"", b"no zstd at all"):
        refused(feed_payload(raw, data=data))


def test_more_items_than_the_limit_are_refused_on_both_sides() -> None:
    item = FeedItem("", "", "", "")
    full = FeedChunk(1, ChunkFlag.NONE, b"", [item] * MAX_ITEMS)
    assert len(unpack_feed_chunk(pack_feed_chunk(full)).items) == MAX_ITEMS
    with pytest.raises(ValueError, match="items"):
        pack_feed_chunk(FeedChunk(1, ChunkFlag.NONE, b"", [item] * (MAX_ITEMS + 1)))
    refused(feed_payload([["", "", "", "", None]] * (MAX_ITEMS + 1)))
    refused(feed_payload(b"\xdd\xff\xff\xff\xff" + b"\x95\xa0\xa0\xa0\xa0\xc0" * 1000))


def test_a_sender_is_told_when_its_payload_is_over_a_limit() -> None:
    big = FeedItem("DEABC", "L", "", "2.3.0", bytes(MAX_OBJECT))
    with pytest.raises(ValueError, match="bytes of items"):
        pack_feed_chunk(FeedChunk(1, ChunkFlag.NONE, b"", [big] * (MAX_RAW // MAX_OBJECT + 1)))
    with pytest.raises(ValueError, match="at least one"):
        pack_ledger_batch(batch())
    with pytest.raises(ValueError, match="salt and body"):
        pack_ledger_batch(batch(LedgerItem(1, "R")))


@pytest.mark.parametrize(
    "item",
    [
        [1, "R"],
        [1, "R", SALT],
        [1, "R", None, b"body"],
        [1, "R", SALT, b"body", bytes(32)],
        [1, "R", None, None, bytes(31)],
        [1, "R", bytes(15), b"body"],
        [70_000, "R", SALT, b"body"],
        [1, "R" * 129, SALT, b"body"],
        [1, "R", SALT, "text"],
    ],
)
def test_a_ledger_item_in_neither_form_is_malformed(item: list[object]) -> None:
    raw = msgpack.packb([item])
    data = zstandard.ZstdCompressor().compress(raw)
    payload = msgpack.packb([EPOCH, 1, GENESIS, CLOCK_MS, b"signature", len(raw), data])
    with pytest.raises(ProtocolError) as caught:
        unpack_ledger_batch(payload)
    assert caught.value.goodbye == GoodbyeCode.MALFORMED


def test_an_erased_item_travels_without_body_and_its_chain_still_verifies() -> None:
    whole_item = LedgerItem(EntryKind.CDR, "CDR-2", SALT, b"gone")
    before, after = batch(CDR, whole_item), batch(CDR, ERASED)
    assert before.chain() == unpack_ledger_batch(pack_ledger_batch(after)).chain()
    assert ERASED.erased
    assert not whole_item.erased


@given(st.lists(st.integers(0, MAX_OBJECT), max_size=12), st.booleans())
@settings(max_examples=20)
def test_items_that_fit_by_estimate_always_fit(sizes: list[int], of_feed: bool) -> None:
    noise = shake_256(b"noise").digest(MAX_OBJECT)
    feed = [FeedItem("ü" * 16, "ü" * 255, "ü" * 255, "ü" * 16, noise[:size]) for size in sizes]
    records = [LedgerItem(1, "ü" * 128, SALT, noise[:size]) for size in sizes]
    if of_feed:
        count = fitting(feed)
        assert unpack_feed_chunk(pack_feed_chunk(FeedChunk(1, ChunkFlag.NONE, b"", feed[:count]))).items == feed[:count]
    else:
        count = fitting(records)
        assert not records or unpack_ledger_batch(pack_ledger_batch(batch(*records[:count]))).items == records[:count]
    assert bool(count) is bool(sizes)


def test_fitting_keeps_to_the_number_of_items_too() -> None:
    assert fitting([FeedItem("", "", "", "")] * (MAX_ITEMS + 1)) < MAX_ITEMS + 1


def test_a_fetch_answer_is_cut_to_what_a_call_can_carry() -> None:
    noise = shake_256(b"noise").digest(100_000)
    many = [LedgerItem(1, f"R{n}", SALT, noise[n * 10_000 : (n + 1) * 10_000]) for n in range(9)]
    payload = pack_fetch_answer(batch(*many))
    assert len(payload) <= MAX_FETCH_PAYLOAD
    assert unpack_ledger_batch(payload).items == many[:4]
    alone = unpack_ledger_batch(pack_fetch_answer(batch(LedgerItem(1, "R", SALT, noise)))).items
    assert alone == [LedgerItem(1, "R", commitment=commitment(SALT, noise))]


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_as_malformed(data: bytes) -> None:
    for unpack in (unpack_feed_chunk, unpack_ledger_batch):
        with pytest.raises(ProtocolError):
            unpack(data)
