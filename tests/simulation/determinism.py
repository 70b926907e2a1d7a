"""One seed, one run: trio's task order, the clock and all randomness come from the seed.

trio shuffles the tasks that are ready, so that nobody relies on their order; Hypothesis makes that shuffle its own by
the two names used here, and so do we. The clock jumps to the next deadline whenever nothing can run.
"""

import heapq
import itertools
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from trio._core import _run

T = TypeVar("T")

PATIENCE_S = 1.0
"""How long to wait, in real time, for what no deadline brings."""


class JumpingClock(trio.abc.Clock):
    """As `trio.testing.MockClock` with `autojump_threshold=0`, in a third fewer passes of the scheduler.

    trio asks how long it may sleep only when no task can run. Nothing here waits for anything but time and other
    tasks, so the answer is: not at all, it is that time already.

    What happens by itself at some time (bytes arrive, a disk has synced, a timer fires) is a function in `call_at` and
    no task that sleeps: a sleep costs trio a cancel scope and an exception, and each wake-up a pass of the scheduler.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def start_clock(self) -> None:
        """Time begins when the run does; nobody looks for what cannot come, which each pass of the scheduler does."""
        scheduler: Any = _run
        runner = scheduler.GLOBAL_RUN_CONTEXT.runner
        runner.instruments = {}
        runner.io_manager = _NoIo(runner.io_manager)

    def current_time(self) -> float:
        return self.now

    def call_at(self, at: float, fn: Callable[[], None]) -> None:
        """Call `fn` once it is that time: between two tasks, so it may wake them, and it may not raise."""
        heapq.heappush(self._due, (at, next(self._order), fn))

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Go on in time until a task can run: trio looks for that at no cost of a pass for what woke nobody."""
        scheduler: Any = _run
        runner = scheduler.GLOBAL_RUN_CONTEXT.runner
        due = self._due
        while True:
            at = min(due[0][0], deadline) if due else deadline
            if at == math.inf:
                return PATIENCE_S  # trio's own tasks wake each other by a socket, at the end of a run
            self.now = now = max(self.now, at)
            while due and due[0][0] <= now:
                heapq.heappop(due)[2]()
            if runner.runq or (deadline := runner.deadlines.next_deadline()) <= now:
                return 0.0


class _NoIo:
    """trio's I/O, of which a simulation has none: it is asked only by who would sleep, at the end of a run."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def get_events(self, timeout: float) -> Any:
        return self._real.get_events(timeout) if timeout else ()

    def process_events(self, events: Any) -> None:
        if events:
            self._real.process_events(events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def run_seeded(seed: int, main: Callable[[], Awaitable[T]], clock: JumpingClock) -> T:
    """`trio.run` under a seed and simulated time. Not reentrant, like trio itself."""
    scheduler: Any = _run
    state, allowed = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r.seed(seed)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        return trio.run(main, clock=clock, strict_exception_groups=True)
    finally:
        scheduler._r.setstate(state)
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = allowed


def stream(seed: int, *names: object) -> random.Random:
    """A source of randomness of its own for each part, so that one part's draws do not shift another's."""
    return random.Random(f"{seed} {names}")  # noqa: S311 - reproducible is what it has to be
