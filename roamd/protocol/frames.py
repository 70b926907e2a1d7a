"""Frames: a header outside the body, so that a frame is routed, limited and counted before its payload is looked at.

    >IBBI   payload length (u32), type (u8), flags (u8), sequence (u32, per direction, from 0, modulo 2**32)

What this file guarantees: no payload is copied or decoded before its type is known, its length is within the type's
limit, its lane is the type's lane and its sequence is the next one. So a stranger can make us hold at most one
frame's payload that is not yet whole.
"""

from collections.abc import Generator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode

HEADER: Final = Struct(">IBBI")
HEADER_SIZE: Final = HEADER.size  # 10

FLAG_LANE: Final = 0x03  # bits 0-1
FLAG_MORE: Final = 0x40  # bit 6: this bulk payload goes on in the next frame of the same type
FLAG_COMPRESSED: Final = 0x80  # bit 7: reserved; refused, because no feature that allows it exists yet

MAX_PAYLOAD: Final = 64 * 1024  # of every frame: an authorization waits for at most one of them
FRAGMENT: Final = 48 * 1024  # bulk payloads are cut here, so that a frame, its TLS records and a flush stay small
MAX_JOINED: Final = 384 * 1024  # a 256 KiB object that zstd cannot shrink, with its envelope, fits
FIRST_EXTENSION: Final = 128  # types from here on may be unknown; they are skipped
_SEQUENCE_MASK: Final = 0xFFFFFFFF


class Lane(IntEnum):
    """Order of service: 0 before 1 before the two bulk lanes, which share 3 to 1."""

    CONTROL = 0
    CALLS = 1
    LEDGER = 2
    FEEDS = 3


class FrameType(IntEnum):
    """The type byte."""

    HELLO = 1
    PROOF = 2
    GOODBYE = 3
    PING = 4
    PONG = 5
    CREDIT = 6
    CALL = 16
    ANSWER = 17
    CANCEL = 18
    LEDGER_BATCH = 32
    RECEIPT = 33
    FEED_CHUNK = 48
    FEED_ACK = 49


class Rule(NamedTuple):
    """What holds for every frame of a type before it is believed."""

    lane: Lane
    max_payload: int


RULES: Final[dict[int, Rule]] = {
    FrameType.HELLO: Rule(Lane.CONTROL, 16 * 1024),
    FrameType.PROOF: Rule(Lane.CONTROL, 1024),
    FrameType.GOODBYE: Rule(Lane.CONTROL, 1024),
    FrameType.PING: Rule(Lane.CONTROL, 1024),
    FrameType.PONG: Rule(Lane.CONTROL, 1024),
    FrameType.CREDIT: Rule(Lane.CONTROL, 1024),
    FrameType.RECEIPT: Rule(Lane.CONTROL, 16 * 1024),
    FrameType.FEED_ACK: Rule(Lane.CONTROL, 16 * 1024),
    FrameType.CALL: Rule(Lane.CALLS, MAX_PAYLOAD),
    FrameType.ANSWER: Rule(Lane.CALLS, MAX_PAYLOAD),
    FrameType.CANCEL: Rule(Lane.CALLS, 16 * 1024),
    FrameType.LEDGER_BATCH: Rule(Lane.LEDGER, MAX_PAYLOAD),
    FrameType.FEED_CHUNK: Rule(Lane.FEEDS, MAX_PAYLOAD),
}


class Frame(NamedTuple):
    """One whole frame. `payload` is a view into the reader's buffer: take what is needed before asking for the next."""

    type: int
    more: bool
    payload: memoryview


def pack_frame(type_: int, payload: bytes, sequence: int, *, lane: int, more: bool = False) -> bytes:
    """One frame as bytes. The caller keeps to the limits."""
    return HEADER.pack(len(payload), type_, lane | (FLAG_MORE if more else 0), sequence & _SEQUENCE_MASK) + payload


class FrameWriter:
    """Numbers the frames of one direction."""

    __slots__ = ("_sequence",)

    def __init__(self) -> None:
        self._sequence = 0

    def frame(self, type_: int, payload: bytes, *, lane: int, more: bool = False) -> bytes:
        """The next frame of this direction."""
        frame = pack_frame(type_, payload, self._sequence, lane=lane, more=more)
        self._sequence = (self._sequence + 1) & _SEQUENCE_MASK
        return frame


class FrameReader:
    """Cuts a byte stream into frames and checks what a header alone can tell.

    `feed` the bytes, then iterate `frames()`. Who leaves the iteration early closes it; what was not consumed stays for
    the next time. A yielded payload is valid until the iterator moves on or is closed.
    """

    __slots__ = ("_buffer", "_sequence")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._sequence = 0

    def __len__(self) -> int:
        """Bytes held: at most one unfinished frame, plus what an iteration that was left early did not look at."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes from the stream."""
        self._buffer += data

    def clear(self) -> None:
        """Forget what is held; nothing more will be read."""
        self._buffer.clear()

    def frames(self) -> Generator[Frame, None, None]:
        """The whole frames that are there. ProtocolError at the first bad header."""
        buffer, at = self._buffer, 0
        size = len(buffer)
        view = memoryview(buffer)
        try:
            while size - at >= HEADER_SIZE:
                length, type_, flags, sequence = HEADER.unpack_from(buffer, at)
                self._check(length, type_, flags, sequence)
                end = at + HEADER_SIZE + length
                if end > size:
                    break
                self._sequence = (sequence + 1) & _SEQUENCE_MASK
                start, at = at + HEADER_SIZE, end
                with view[start:end] as payload:
                    yield Frame(type_, flags & FLAG_MORE != 0, payload)
        finally:
            view.release()
            del buffer[:at]

    def _check(self, length: int, type_: int, flags: int, sequence: int) -> None:
        rule = RULES.get(type_)
        if rule is None:
            rule = _extension_rule(type_, flags)
        if length > rule.max_payload:
            raise ProtocolError(GoodbyeCode.TOO_LARGE, f"A frame of type {type_} announces {length} bytes.")
        if flags & FLAG_LANE != rule.lane or flags & FLAG_COMPRESSED or (flags & FLAG_MORE and rule.lane < Lane.LEDGER):
            raise ProtocolError(GoodbyeCode.BAD_FRAME, f"A frame of type {type_} has flags {flags:#04x}.")
        if sequence != self._sequence:
            raise ProtocolError(GoodbyeCode.OUT_OF_SEQUENCE, f"Frame {sequence} came where {self._sequence} was due.")


def _extension_rule(type_: int, flags: int) -> Rule:
    """Unknown types from 128 on are allowed on the two upper lanes, for messages that later versions may add."""
    if type_ < FIRST_EXTENSION:
        raise ProtocolError(GoodbyeCode.BAD_FRAME, f"There is no frame type {type_}.")
    return Rule(Lane(min(flags & FLAG_LANE, Lane.CALLS)), MAX_PAYLOAD)
