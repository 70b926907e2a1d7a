"""What one input costs: memory, time, and work that can be counted, so that a test needs no clock."""

import contextlib
import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FrameType

from roamd.errors import RoamdError

Run = Callable[[bytes], None]


def _run(run: Run, data: bytes) -> None:
    with contextlib.suppress(RoamdError):
        run(data)


def peak_bytes(run: Run, data: bytes) -> int:
    """The most memory that is held at once beyond the input itself."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        _run(run, data)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def milliseconds(run: Run, data: bytes, times: int = 3) -> float:
    """Processor time, the least of several runs: what other processes do is not its fault."""
    return min(_once(run, data) for _ in range(times))


def _once(run: Run, data: bytes) -> float:
    begun = time.process_time()
    _run(run, data)
    return (time.process_time() - begun) * 1000


def calls(run: Run, data: bytes) -> int:
    """How many functions were called, Python's and C's: the same in every run on every machine."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    sys.setprofile(note)
    try:
        _run(run, data)
    finally:
        sys.setprofile(None)
    return count
