"""Frames: cut anywhere, checked by their header alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.frames import (
    FLAG_COMPRESSED,
    HEADER,
    HEADER_SIZE,
    RULES,
    FrameReader,
    FrameType,
    FrameWriter,
    Lane,
    pack_frame,
)


def read_all(reader: FrameReader) -> list[tuple[int, bool, bytes]]:
    return [(frame.type, frame.more, bytes(frame.payload)) for frame in reader.frames()]


def refused(data: bytes) -> GoodbyeCode:
    reader = FrameReader()
    reader.feed(data)
    with pytest.raises(ProtocolError) as caught:
        read_all(reader)
    return GoodbyeCode(caught.value.goodbye)


@given(payloads=st.lists(st.binary(max_size=40), max_size=8), piece=st.integers(1, 60))
def test_a_stream_cut_anywhere_gives_the_same_frames(payloads: list[bytes], piece: int) -> None:
    writer, reader = FrameWriter(), FrameReader()
    stream = b"".join(writer.frame(FrameType.CALL, payload, lane=Lane.CALLS) for payload in payloads)
    got = []
    for at in range(0, len(stream), piece):
        reader.feed(stream[at : at + piece])
        got += read_all(reader)
    assert got == [(FrameType.CALL, False, payload) for payload in payloads]
    assert len(reader) == 0


def test_the_header_is_ten_bytes_in_network_order() -> None:
    frame = pack_frame(FrameType.LEDGER_BATCH, b"xyz", 0x01020304, lane=Lane.LEDGER, more=True)
    assert frame == bytes.fromhex("00000003 20 42 01020304") + b"xyz"


def test_a_header_alone_is_enough_to_refuse_a_frame_that_is_too_long() -> None:
    for type_, rule in RULES.items():
        header = HEADER.pack(rule.max_payload + 1, type_, rule.lane, 0)
        assert refused(header) is GoodbyeCode.TOO_LARGE


def test_a_frame_of_exactly_the_limit_is_taken() -> None:
    reader = FrameReader()
    reader.feed(pack_frame(FrameType.PROOF, bytes(1024), 0, lane=Lane.CONTROL))
    assert read_all(reader) == [(FrameType.PROOF, False, bytes(1024))]


def test_a_gap_or_a_repeat_in_the_sequence_is_refused() -> None:
    first = pack_frame(FrameType.PING, b"", 0, lane=Lane.CONTROL)
    assert refused(first + first) is GoodbyeCode.OUT_OF_SEQUENCE
    assert refused(pack_frame(FrameType.PING, b"", 1, lane=Lane.CONTROL)) is GoodbyeCode.OUT_OF_SEQUENCE


def test_the_sequence_begins_again_after_the_last_number() -> None:
    writer, reader = FrameWriter(), FrameReader()
    writer._sequence = reader._sequence = 0xFFFFFFFF
    for _ in range(2):
        reader.feed(writer.frame(FrameType.PING, b"", lane=Lane.CONTROL))
    assert len(read_all(reader)) == 2
    assert reader._sequence == 1


@pytest.mark.parametrize(
    "frame",
    [
        pack_frame(FrameType.CALL, b"", 0, lane=Lane.CONTROL),
        pack_frame(FrameType.CALL, b"", 0, lane=Lane.CALLS, more=True),
        HEADER.pack(0, FrameType.FEED_CHUNK, Lane.FEEDS | FLAG_COMPRESSED, 0),
        pack_frame(99, b"", 0, lane=Lane.CONTROL),
        pack_frame(0, b"", 0, lane=Lane.CONTROL),
        pack_frame(200, b"", 0, lane=Lane.LEDGER),
    ],
    ids=["wrong lane", "call in fragments", "compressed", "no such type", "type 0", "extension on a bulk lane"],
)
def test_flags_that_do_not_fit_the_type_are_refused(frame: bytes) -> None:
    assert refused(frame) is GoodbyeCode.BAD_FRAME


def test_reserved_flag_bits_are_ignored() -> None:
    reader = FrameReader()
    reader.feed(HEADER.pack(0, FrameType.CALL, Lane.CALLS | 0x3C, 0))
    assert read_all(reader) == [(FrameType.CALL, False, b"")]


def test_an_iteration_that_was_left_early_goes_on_where_it_stopped() -> None:
    writer, reader = FrameWriter(), FrameReader()
    for letter in (b"a", b"b", b"c"):
        reader.feed(writer.frame(FrameType.PING, letter, lane=Lane.CONTROL))
    frames = reader.frames()
    assert bytes(next(frames).payload) == b"a"
    frames.close()
    assert len(reader) == 2 * (HEADER_SIZE + 1)
    assert [payload for _, _, payload in read_all(reader)] == [b"b", b"c"]
