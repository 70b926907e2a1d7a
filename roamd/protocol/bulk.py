"""Bulk payloads: a chunk of a feed, a batch of a ledger. The connection carries them undecoded; here they are opened.

A payload is a small msgpack envelope around `data`: one zstd frame that holds a msgpack array of items. What a stranger
can make us spend is bounded before anything is believed: the envelope names the raw size, the zstd frame's own header
must name the same one, and no output beyond it is ever allocated; then the number of items is limited by type.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
import zstandard
from msgspec import Meta

from roamd.errors import ProtocolError
from roamd.protocol.calls import MAX_FETCH_PAYLOAD
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.frames import MAX_JOINED
from roamd.protocol.ledger import LedgerItem, chain_items, item_commitment
from roamd.protocol.messages import (
    ECDSA_P256,
    Algorithm,
    Cursor,
    Hash32,
    Id16,
    Millis,
    Signature,
    TypedDecoder,
    decode_as,
    encode,
)

MAX_RAW: Final = 1024 * 1024  # of one payload's items, uncompressed: four of the largest objects
MAX_ITEMS: Final = 4096  # an item of nothing costs us some 100 bytes
MAX_OBJECT: Final = 256 * 1024  # the same limit as at the API
_SAFE_RAW: Final = (
    320 * 1024
)  # one of the largest objects, or this much that zstd cannot shrink, stays under MAX_JOINED
_LEVEL: Final = 1  # measured: 7.7 times smaller at 382 MB/s; higher levels win little on a chunk

RawSize = Annotated[int, Meta(ge=1, le=MAX_RAW)]
Packed = Annotated[bytes, Meta(max_length=MAX_JOINED)]
Key = Annotated[str, Meta(max_length=255)]
_T = TypeVar("_T")

Squeezed: TypeAlias = tuple[int, bytes]
"""An envelope's `raw_size` and `data`."""


class ChunkFlag(IntFlag):
    """Where a chunk stands. A replacing snapshot in one chunk has both of the first two."""

    NONE = 0
    REPLACING_FIRST = 1
    REPLACING_LAST = 2
    CAUGHT_UP = 4


class FeedItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One object under its folded key, with its body; `body` None is a tombstone."""

    party: Annotated[str, Meta(max_length=16)]
    id: Key
    sub: Key
    ocpi: Annotated[str, Meta(max_length=16)]
    body: Annotated[bytes, Meta(max_length=MAX_OBJECT)] | None = None


@dataclass(frozen=True, slots=True)
class FeedChunk:
    """Items in version order; `cursor` is the position after them, kept in the same transaction."""

    feed: int
    flags: ChunkFlag
    cursor: bytes
    items: Sequence[FeedItem]


@dataclass(frozen=True, slots=True)
class LedgerBatch:
    """Consecutive items of one chain from `first_sequence` on; the signature is of the head after the last of them."""

    epoch: bytes
    first_sequence: int
    previous_hash: bytes
    time_ms: int
    signature: bytes
    items: Sequence[LedgerItem]
    algorithm: str = ECDSA_P256

    @property
    def last_sequence(self) -> int:
        """The sequence that the head and a receipt of all of it name."""
        return self.first_sequence + len(self.items) - 1

    def chain(self) -> list[tuple[bytes, bytes]]:
        """(entry bytes, entry hash) of each item; the last hash is the head's."""
        return chain_items(self.previous_hash, self.first_sequence, self.items)


class FeedEnvelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """FeedChunk as it stands on the wire."""

    feed: Annotated[int, Meta(ge=0, le=255)]
    flags: Annotated[int, Meta(ge=0, le=255)]
    cursor: Cursor
    raw_size: RawSize
    data: Packed


class LedgerEnvelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """LedgerBatch as it stands on the wire."""

    epoch: Id16
    first_sequence: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    previous_hash: Hash32
    time_ms: Millis
    signature: Signature
    raw_size: RawSize
    data: Packed
    algorithm: Algorithm = ECDSA_P256


_FEED_ENVELOPE: Final = msgspec.msgpack.Decoder(FeedEnvelope)
_LEDGER_ENVELOPE: Final = msgspec.msgpack.Decoder(LedgerEnvelope)
_FEED_ITEMS: Final = msgspec.msgpack.Decoder(Annotated[list[FeedItem], Meta(max_length=MAX_ITEMS)])
_LEDGER_ITEMS: Final = msgspec.msgpack.Decoder(Annotated[list[LedgerItem], Meta(min_length=1, max_length=MAX_ITEMS)])


def pack_feed_chunk(chunk: FeedChunk) -> bytes:
    """The chunk as a payload. ValueError when it breaks a limit: put fewer items into a chunk."""
    return pack_squeezed(chunk.feed, chunk.flags, chunk.cursor, squeeze(chunk.items))


def pack_squeezed(feed: int, flags: ChunkFlag, cursor: bytes, items: Squeezed) -> bytes:
    """The same of items that are squeezed already: what many peers are sent need not be compressed for each."""
    return _within(encode(FeedEnvelope(feed, int(flags), cursor, *items)))


def unpack_feed_chunk(payload: bytes) -> FeedChunk:
    """The chunk with its items. ProtocolError when it is malformed or over a limit. Unknown flags are dropped."""
    wire = decode_as(_FEED_ENVELOPE, payload, "feed chunk")
    items = _open(_FEED_ITEMS, wire.raw_size, wire.data, "feed chunk")
    return FeedChunk(wire.feed, ChunkFlag(wire.flags & 0x07), wire.cursor, items)


def pack_ledger_batch(batch: LedgerBatch) -> bytes:
    """The batch as a payload. ValueError when it breaks a limit or an item has neither of its two forms."""
    if not batch.items:
        raise ValueError("A ledger batch has at least one item.")
    if not all(item.well_formed() for item in batch.items):
        raise ValueError("A ledger item needs salt and body, or a commitment alone.")
    raw_size, data = squeeze(batch.items)
    head = (batch.epoch, batch.first_sequence, batch.previous_hash, batch.time_ms, batch.signature)
    return _within(encode(LedgerEnvelope(*head, raw_size, data, batch.algorithm)))


def unpack_ledger_batch(payload: bytes) -> LedgerBatch:
    """The batch with its items, whose hashes are not checked here. ProtocolError when malformed or over a limit."""
    wire = decode_as(_LEDGER_ENVELOPE, payload, "ledger batch")
    items = _open(_LEDGER_ITEMS, wire.raw_size, wire.data, "ledger batch")
    if not all(item.well_formed() for item in items):
        raise ProtocolError(GoodbyeCode.MALFORMED, "A ledger item has neither salt and body nor a commitment alone.")
    head = (wire.epoch, wire.first_sequence, wire.previous_hash, wire.time_ms, wire.signature)
    return LedgerBatch(*head, items, wire.algorithm)


def pack_fetch_answer(batch: LedgerBatch) -> bytes:
    """As many leading items as fit into the answer of a ledger fetch, at least one.

    An item that does not fit even alone goes without its body, as if it were erased: the chain can still be checked.
    """
    items = batch.items
    while len(payload := pack_ledger_batch(replace(batch, items=items))) > MAX_FETCH_PAYLOAD:
        items = items[: len(items) // 2] if len(items) > 1 else [_without_body(items[0])]
    return payload


def _without_body(item: LedgerItem) -> LedgerItem:
    return LedgerItem(item.kind, item.record_id, commitment=item_commitment(item), ocpi=item.ocpi)


def fitting(items: Sequence[FeedItem | LedgerItem]) -> int:
    """How many of the leading items surely fit into one payload, however badly they compress."""
    total = 0
    for number, item in enumerate(items[:MAX_ITEMS]):
        total += _at_most(item)
        if total > _SAFE_RAW:
            return max(1, number)
    return min(len(items), MAX_ITEMS)


def _at_most(item: FeedItem | LedgerItem) -> int:
    names = (item.party, item.id, item.sub, item.ocpi) if isinstance(item, FeedItem) else (item.record_id, item.ocpi)
    return len(item.body or b"") + 4 * sum(map(len, names)) + 128  # a character has at most 4 bytes; 128 for the rest


def squeeze(items: Sequence[Any]) -> Squeezed:
    """Items as they stand in an envelope. ValueError when they are too many or too large."""
    if len(items) > MAX_ITEMS:
        raise ValueError(f"{len(items)} items are more than {MAX_ITEMS}.")
    raw = encode(items)
    if len(raw) > MAX_RAW:
        raise ValueError(f"{len(raw)} bytes of items are more than {MAX_RAW}.")
    # A compressor costs 10 µs to make and may not be shared between threads, so each payload has its own.
    return len(raw), zstandard.ZstdCompressor(level=_LEVEL).compress(raw)


def _within(payload: bytes) -> bytes:
    if len(payload) > MAX_JOINED:
        raise ValueError(f"A payload of {len(payload)} bytes is more than {MAX_JOINED}.")
    return payload


def _open(decoder: TypedDecoder[_T], raw_size: int, data: bytes, what: str) -> _T:
    return decode_as(decoder, decompress(data, raw_size, what), what)


def decompress(data: bytes, raw_size: int, what: str) -> bytes:
    """The one zstd frame in `data`. ProtocolError unless its header names `raw_size`; nothing more is allocated."""
    try:
        if zstandard.frame_content_size(data) != raw_size:
            raise ProtocolError(GoodbyeCode.MALFORMED, f"The {what} and its zstd frame name different sizes.")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=raw_size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(GoodbyeCode.MALFORMED, f"The {what} cannot be decompressed.") from error
