"""Small ways to wait: a flag that is set again and again, the outcome of a callback, a write, and a long read."""

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from roamd.storage.store import Cx, Store

T = TypeVar("T")


class Wake:
    """A flag for one waiting task; sets that come together are one wake-up.

    On trio's own traps: an Event for each wait would be an object, a set of waiters and two more calls each time.
    """

    __slots__ = ("_is_set", "_task")

    def __init__(self) -> None:
        self._is_set = False
        self._task: trio.lowlevel.Task | None = None

    def set(self) -> None:
        """Wake the task now, or at its next `wait`."""
        self._is_set = True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Wait until set, and clear. Cancellation leaves the flag as it is. RuntimeError when another task waits."""
        if self._is_set:
            await trio.lowlevel.checkpoint()
        elif self._task is not None:
            raise RuntimeError("another task waits already")
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        self._is_set = False

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class Outcome(Generic[T]):
    """Turns a `done(value or error)` callback into something a task can wait for."""

    __slots__ = ("_event", "_value")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._value: T | BaseException | None = None

    def __call__(self, value: T | BaseException) -> None:
        self._value = value
        self._event.set()

    async def wait(self) -> T:
        """The value; raises it if it is an error. Cancellation does not stop what is under way."""
        await self._event.wait()
        if isinstance(self._value, BaseException):
            raise self._value
        return self._value  # type: ignore[return-value]  # set before the event, and an error was raised above


async def write(store: Store, fn: Callable[[Cx], T], *, essential: bool = False, patient: bool = False) -> T:
    """Run `fn` in the next group commit (see `Store.submit`) and wait until that is on the disk.

    Raises what `fn` raised, or StoreFull. A cancelled wait does not take the transaction back.
    """
    outcome: Outcome[T] = Outcome()
    store.submit(fn, outcome, essential=essential, patient=patient)
    return await outcome.wait()


async def aside(store: Store, fn: Callable[[Cx], T]) -> T:
    """Read what takes long in a thread; a store in memory, which only one thread may use, here and now."""
    if store.path is None:
        await trio.lowlevel.checkpoint()
        return store.read_aside(fn)
    return await trio.to_thread.run_sync(store.read_aside, fn)
