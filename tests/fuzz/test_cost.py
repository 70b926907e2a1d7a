"""No input of a megabyte costs more than ten megabytes, or more than in proportion to its size.

Where a size is refused as such, inputs are a part of that size here and may cost that part; what grows faster than its
size is found by the second test. `scripts/fuzz --cost` measures all at their full size, and time; here the work is
counted, so that the tests do not depend on what else the machine does.
"""

import pytest

from tests.fuzz.measure import calls, milliseconds, peak_bytes
from tests.fuzz.targets import TARGETS
from tests.fuzz.worst import BOUNDED, LIMITS, MEGABYTE, MOST, OFFLINE, WORST, Maker

PART = 8
SLACK = 128 * 1024
"""What does not grow with the input."""

SMALL = 4 * 1024
each_target = pytest.mark.parametrize("name", [name for name in TARGETS if name not in OFFLINE])


@each_target
def test_no_input_of_a_megabyte_holds_more_than_ten(name: str) -> None:
    run = TARGETS[name].run
    run(TARGETS[name].seeds()[0])  # what is loaded once for all is not an input's cost
    size, most = (LIMITS[name] // PART, MOST // PART + SLACK) if name in LIMITS else (MEGABYTE, MOST)
    peaks = {what: peak_bytes(run, maker(size)) for what, maker in _growing(name)}
    assert {what: peak for what, peak in peaks.items() if peak > most} == {}


@each_target
def test_twice_the_size_is_at_most_twice_the_work(name: str) -> None:
    run = TARGETS[name].run
    size = min(SMALL, LIMITS.get(name, MEGABYTE) // 4)
    for what, maker in _growing(name):
        once, twice = calls(run, maker(size)), calls(run, maker(2 * size))
        assert twice <= 2.2 * once + 200, f"{what}: {once} calls, then {twice}"


def _growing(name: str) -> list[tuple[str, Maker]]:
    return [(what, maker) for what, maker in WORST[name].items() if not what.endswith(BOUNDED)]


def test_every_target_has_its_worst_inputs() -> None:
    assert WORST.keys() == TARGETS.keys() - OFFLINE


def test_the_measures_notice_what_they_are_to_notice() -> None:
    """Tests of the tests: a target that hoards, one that grows with the square, one that is slow."""

    def hoards(data: bytes) -> None:
        [bytes([byte]) * 100 for byte in data]

    def squares(data: bytes) -> None:
        for _ in data:
            for _ in data:
                len(data)

    assert peak_bytes(hoards, bytes(MEGABYTE // 4)) > MOST
    assert calls(squares, bytes(200)) > 3.9 * calls(squares, bytes(100))
    assert milliseconds(squares, bytes(500), 1) > 0
