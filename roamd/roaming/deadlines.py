"""One sweeper for every time-out, so that a waiting call costs a heap entry and not a task or a cancel scope.

Deadlines are monotonic seconds. A timer that was cancelled stays in the heap until its time and then does nothing;
with time-outs of seconds that bounds the heap to what was asked in those seconds.
"""

import heapq
import itertools
import math
from collections.abc import Callable

import trio

from roamd.clock import Clock


class Timer:
    """A function that will be called once at its time, unless `cancel` comes first."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[], None]) -> None:
        self.fn: Callable[[], None] | None = fn

    def cancel(self) -> None:
        """Forget it; calling twice does no harm."""
        self.fn = None


class Deadlines:
    """All timers of the daemon. `add` may be called before `run` and from any task of the trio thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._earlier = trio.Event()
        self._sleeping_until = math.inf

    def add(self, at: float, fn: Callable[[], None]) -> Timer:
        """Call `fn` once the monotonic clock has reached `at`."""
        timer = Timer(fn)
        heapq.heappush(self._heap, (at, next(self._order), timer))
        if at < self._sleeping_until:
            self._earlier.set()
        return timer

    def after(self, seconds: float, fn: Callable[[], None]) -> Timer:
        """Call `fn` once, `seconds` from now."""
        return self.add(self._clock.monotonic() + seconds, fn)

    async def run(self) -> None:
        """Fire timers until cancelled."""
        while True:
            self._fire_due()
            self._earlier = trio.Event()
            self._sleeping_until = self._heap[0][0] if self._heap else math.inf
            # The sleep is relative, because the clock that came in may be a simulated one.
            with trio.move_on_after(max(0.0, self._sleeping_until - self._clock.monotonic())):
                await self._earlier.wait()
            self._sleeping_until = -math.inf

    def _fire_due(self) -> None:
        now = self._clock.monotonic()
        failed: list[Exception] = []
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            fn, timer.fn = timer.fn, None
            try:
                if fn is not None:
                    fn()
            except Exception as error:  # noqa: BLE001 - the others are due as well; it is raised once they had their turn
                failed.append(error)
        if failed:
            raise ExceptionGroup("timers failed", failed)
