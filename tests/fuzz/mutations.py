"""Making inputs: seeds that are changed a little, as a stranger would who has a copy of something valid.

Hypothesis draws the changes, so that a failure is shrunk to the fewest of them; atheris has its own ways.
"""

from collections.abc import Sequence

from hypothesis import strategies as st

INTERESTING: Sequence[bytes] = (
    b"",
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",  # msgpack: the largest number
    b"\xdd\xff\xff\xff\xff",  # an array of 2**32 - 1
    b"\xc0",
    b"\x90",
    b"\x80",
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b"1e999999999",
    b"9" * 5000,
    b"9007199254740993",
    b"253402300800000",  # the first millisecond that no calendar of Python has
    b'"\\ud800"',
    b'"\\u0000"',
    b"\xed\xa0\x80",
    b"[" * 1100,
    b'{"a":' * 70,
    b"NaN",
    b"\n",
    b" ",
    b"\r\n\x1b[31m",
    b'"9999-12-31T23:59:60Z"',
    b'"0001-01-01T00:00:00+23:59"',
    b"\xe2\x80\xa8",
)


@st.composite
def changed(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with up to four changes."""
    data = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        data = _change(draw, data)
    return data


def _change(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    until = min(len(data), at + draw(st.integers(0, 24)))
    kind = draw(st.integers(0, 5))
    match kind:
        case 0:
            return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        case 1:
            return data[:at] + data[until:]
        case 2:
            return data[:until] + data[at:]
        case 3:
            return data[:at] + draw(st.sampled_from(INTERESTING)) + data[until:]
        case 4:
            return data[:at]
        case _:
            return _other_value(draw, data)


def _other_value(draw: st.DrawFn, data: bytes) -> bytes:
    """In a JSON text: another value behind one of its colons."""
    colons = [place for place, byte in enumerate(data) if byte == ord(":")]
    if not colons:
        return data
    at = draw(st.sampled_from(colons)) + 1
    ends = [place for place in (data.find(b",", at), data.find(b"}", at)) if place > 0]
    return data[:at] + draw(st.sampled_from(INTERESTING)) + data[min(ends, default=len(data)) :]


def inputs(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """What a target is given: mostly nearly valid, sometimes noise."""
    return st.one_of(changed(seeds), changed(seeds), changed(seeds), st.binary(max_size=300))
