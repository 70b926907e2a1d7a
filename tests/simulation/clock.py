"""A node's clocks: the monotonic one is the simulation's, the wall clock may be off and may jump."""

import trio

BASE_MS = 1_795_000_000_000


class SimClock:
    """Implements `roamd.clock.Clock`."""

    def __init__(self) -> None:
        self.skew_ms = 0

    def monotonic(self) -> float:
        return trio.current_time()

    def now_ms(self) -> int:
        return BASE_MS + round(trio.current_time() * 1000) + self.skew_ms


class AtBase(SimClock):
    """Outside of a run: time has not begun."""

    def monotonic(self) -> float:
        return 0.0

    def now_ms(self) -> int:
        return BASE_MS
