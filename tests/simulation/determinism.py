"""One seed, one run: trio's task order, the clock and all randomness come from the seed.

trio shuffles the tasks that are ready, so that nobody relies on their order; Hypothesis makes that shuffle its own by
the two names used here, and so do we. The clock jumps to the next deadline whenever nothing can run.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from trio._core import _run

T = TypeVar("T")


def run_seeded(seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """`trio.run` under a seed and simulated time. Not reentrant, like trio itself."""
    scheduler: Any = _run
    state, allowed = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r.seed(seed)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.0), strict_exception_groups=True)
    finally:
        scheduler._r.setstate(state)
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = allowed


def stream(seed: int, *names: object) -> random.Random:
    """A source of randomness of its own for each part, so that one part's draws do not shift another's."""
    return random.Random(f"{seed} {names}")  # noqa: S311 - reproducible is what it has to be
