"""A node's clocks: the monotonic one is the simulation's, the wall clock may be off and may jump."""

import math

import trio

from roamd.roaming.deadlines import Deadlines
from tests.simulation.determinism import JumpingClock

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


async def keep_deadlines(deadlines: Deadlines, clock: JumpingClock) -> None:
    """As `Deadlines.run`, woken by the clock itself instead of by a cancel scope for each sleep."""
    armed_at = math.inf
    while True:
        at = trio.current_time() + deadlines.fire_due()
        if at < armed_at:
            armed_at = at
            clock.call_at(at, deadlines.earlier.set)
        await deadlines.earlier.wait()
        if armed_at <= trio.current_time():
            armed_at = math.inf
