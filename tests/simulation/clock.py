"""A node's clocks: the monotonic one is the simulation's, the wall clock may be off and may jump."""

import math
from collections.abc import Callable

import trio

from roamd.roaming.deadlines import Deadlines
from roamd.roaming.waiting import Wake
from tests.simulation.determinism import JumpingClock

BASE_MS = 1_795_000_000_000


class SimClock:
    """Implements `roamd.clock.Clock`."""

    def __init__(self, time: JumpingClock) -> None:
        self.skew_ms = 0
        self._time = time

    def monotonic(self) -> float:
        return self._time.now

    def now_ms(self) -> int:
        return BASE_MS + round(self._time.now * 1000) + self.skew_ms


class Casualty:
    """What was done between two tasks has failed; the task that waits here raises it where its nursery sees it."""

    def __init__(self) -> None:
        self._struck = trio.Event()
        self._error: BaseException | None = None

    def strike(self, error: BaseException) -> None:
        """The first one counts."""
        self._error = self._error or error
        self._struck.set()

    async def wait(self) -> None:
        """Until something fails; raises that."""
        await self._struck.wait()
        assert self._error is not None
        raise self._error


class _Alarm(Wake):
    """Fires a node's timers when the clock gets there; in place of `Deadlines.earlier`."""

    def __init__(self, deadlines: Deadlines, clock: JumpingClock, strike: Callable[[BaseException], None]) -> None:
        super().__init__()
        self.is_over = False
        self._deadlines, self._clock, self._strike = deadlines, clock, strike
        self._armed_at = math.inf

    def set(self) -> None:
        """A timer was added that comes before all others; it is not in its place yet."""
        self._arm(self._clock.now)

    def _arm(self, at: float) -> None:
        if at < self._armed_at:
            self._armed_at = at
            self._clock.call_at(at, self._ring)

    def _ring(self) -> None:
        if self.is_over or self._clock.now < self._armed_at:  # it was armed for an earlier time since
            return
        self._armed_at = math.inf
        try:
            self._deadlines.fire_due()
        except BaseException as error:  # noqa: BLE001 - also a simulated crash: the node's nursery takes it
            self._strike(error)
        else:
            self._arm(self._deadlines.next_at)


async def keep_deadlines(deadlines: Deadlines, clock: JumpingClock) -> None:
    """As `Deadlines.run`, but the clock itself fires what is due: no task has to wake up for it."""
    casualty = Casualty()
    deadlines.earlier = alarm = _Alarm(deadlines, clock, casualty.strike)
    alarm.set()
    try:
        await casualty.wait()
    finally:
        alarm.is_over = True
