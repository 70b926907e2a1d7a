"""Time comes in through a door, so that tests and the simulator can hold it.

Two clocks that are never mixed (DESIGN section 2, promise 10): `monotonic` for timers and deadlines,
`now_ms` for stamps, certificates and expiry.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """An implementer promises that `monotonic` never goes back; `now_ms` may jump."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def utc_at(ms: int) -> datetime:
    """The aware UTC time of a stamp in milliseconds."""
    return _EPOCH + timedelta(milliseconds=ms)  # a float of seconds would lose milliseconds of far dates


def rfc3339(ms: int) -> str:
    """A stamp as OCPI and the API print it, `2026-11-22T12:00:00.123Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{_to_the_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    """Most stamps are of now, and those of one second share all but their milliseconds."""
    return utc_at(seconds * 1000).isoformat(timespec="seconds").removesuffix("+00:00")
