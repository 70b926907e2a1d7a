"""Runs what a script of ours is made of, and ends it well when it is interrupted.

    python -m tests.support.script storm tests.storm --kills 100

SIGTERM and SIGHUP are taken as Ctrl-C is: a KeyboardInterrupt in the main thread (inside of trio at its next
checkpoint), so that every `with` and `finally` ends the processes and removes the directories that it made. Then one
line says that it was interrupted and what had been counted: the last line of progress. The exit status is 130.
"""

import runpy
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType

from tests.support import progress

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def main() -> int:
    """Run a module as `python -m` does; its exit status."""
    _, name, module, *arguments = sys.argv
    sys.argv = [f"scripts/{name}", *arguments]
    return run(name, lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))


def run(name: str, body: Callable[[], object]) -> int:
    """The exit status of the script `name`: what the body returns, or 130. SystemExit and faults pass."""
    # An interrupt may fall between the making of a coroutine and its start.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs would ignore it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_ctrl_c)
    try:
        status = body()
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if not is_interrupt(error):
            raise
        return _interrupted(name)
    return status if isinstance(status, int) else 0


def _as_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    """By way of the handler of SIGINT, which is trio's while trio runs."""
    signal.raise_signal(signal.SIGINT)


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, also where a nursery has put it into a group with what it led to."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_interrupt, error.exceptions))
    return isinstance(error, KeyboardInterrupt)


def _interrupted(name: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.excepthook = lambda _: None  # the threads that are left lose what they work with
    sys.unraisablehook = lambda _: None
    sys.stderr.write(f"{name}: interrupted; {progress.last() or 'nothing had been counted'}\n")
    sys.stderr.flush()
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
