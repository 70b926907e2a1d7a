"""One sweeper for every time-out, so that a waiting call costs a heap entry and not a task or a cancel scope.

Deadlines are monotonic seconds. A timer that was cancelled stays in the heap until its time and then does nothing;
with time-outs of seconds that bounds the heap to what was asked in those seconds.

Nearly all timers are those of questions: added in the order of their times, and cancelled long before. For them there
is a `Line`, where the cancelled ones leave with the next that is added. In a heap those of ten seconds at 10,000 a
second would stand 100,000 high, and each would be sifted through it.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable

import trio

from roamd.clock import Clock
from roamd.roaming.waiting import Wake


class Timer:
    """A function that will be called once at its time, unless `cancel` comes first."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[], None]) -> None:
        self.fn: Callable[[], None] | None = fn

    def cancel(self) -> None:
        """Forget it; calling twice does no harm."""
        self.fn = None


_Entry = tuple[float, int, Timer]
"""When, its number in the order of adding, and what."""


class Line:
    """Timers whose times mostly grow from one to the next; one that comes before the last goes to the heap."""

    __slots__ = ("_deadlines", "entries")

    def __init__(self, deadlines: "Deadlines") -> None:
        self.entries: deque[_Entry] = deque()
        self._deadlines = deadlines

    def add(self, at: float, fn: Callable[[], None]) -> Timer:
        """As `Deadlines.add`."""
        entries = self.entries
        while entries and entries[0][2].fn is None:
            entries.popleft()
        if entries and at < entries[-1][0]:
            return self._deadlines.add(at, fn)
        timer = Timer(fn)
        entries.append(self._deadlines.entry(at, timer))
        return timer


class Deadlines:
    """All timers of the daemon. `add` may be called before `run` and from any task of the trio thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[_Entry] = []
        self._lines: list[Line] = []
        self._order = itertools.count()
        self._sleeping_until = -math.inf
        self.earlier = Wake()
        """Set when a timer was added before the time for which `fire_due` said to sleep."""

    def add(self, at: float, fn: Callable[[], None]) -> Timer:
        """Call `fn` once the monotonic clock has reached `at`."""
        timer = Timer(fn)
        heapq.heappush(self._heap, self.entry(at, timer))
        return timer

    def line(self) -> Line:
        """A new line of timers, kept for ever: for a part of the daemon, not for a question."""
        line = Line(self)
        self._lines.append(line)
        return line

    def entry(self, at: float, timer: Timer) -> _Entry:
        """Number a timer, and see to it that nobody sleeps beyond it."""
        if at < self._sleeping_until:
            self._sleeping_until = at
            self.earlier.set()
        return at, next(self._order), timer

    @property
    def next_at(self) -> float:
        """When to look next; infinity when nothing waits."""
        first = self._first()
        return math.inf if first is None else first[0]

    def _first(self) -> _Entry | None:
        """What is due first, of the heap and all lines."""
        first = self._heap[0] if self._heap else None
        for line in self._lines:
            if line.entries and (first is None or line.entries[0] < first):
                first = line.entries[0]
        return first

    def _take(self, first: _Entry) -> Timer:
        if self._heap and self._heap[0] is first:
            heapq.heappop(self._heap)
        else:
            next(line for line in self._lines if line.entries and line.entries[0] is first).entries.popleft()
        return first[2]

    def after(self, seconds: float, fn: Callable[[], None]) -> Timer:
        """Call `fn` once, `seconds` from now."""
        return self.add(self._clock.monotonic() + seconds, fn)

    async def run(self) -> None:
        """Fire timers until cancelled."""
        while True:
            # The sleep is relative, because the clock that came in may be a simulated one.
            with trio.move_on_after(self.fire_due()):
                await self.earlier.wait()

    def fire_due(self) -> float:
        """Fire all whose time has come; for how many seconds to sleep then, unless `earlier` wakes before.

        ExceptionGroup of what timers raised, once all have had their turn.
        """
        self._sleeping_until = -math.inf
        self._fire_due()
        self._sleeping_until = self.next_at
        return max(0.0, self._sleeping_until - self._clock.monotonic())

    def _fire_due(self) -> None:
        now = self._clock.monotonic()
        failed: list[Exception] = []
        while (first := self._first()) is not None and first[0] <= now:
            timer = self._take(first)
            fn, timer.fn = timer.fn, None
            try:
                if fn is not None:
                    fn()
            except Exception as error:  # noqa: BLE001 - the others are due as well; it is raised once they had their turn
                failed.append(error)
        if failed:
            raise ExceptionGroup("timers failed", failed)
