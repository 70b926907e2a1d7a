"""Two small ways to wait: a flag that is set again and again, and the outcome of a callback."""

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from roamd.storage.store import Cx, Store

T = TypeVar("T")


class Wake:
    """A flag for one waiting task; sets that come together are one wake-up."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Wake the task now, or at its next `wait`."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until set, and clear. Cancellation leaves the flag as it is."""
        await self._event.wait()
        self._event = trio.Event()


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


async def write(store: Store, fn: Callable[[Cx], T], *, essential: bool = False) -> T:
    """Run `fn` in the next group commit and wait until that is on the disk.

    Raises what `fn` raised, or StoreFull. A cancelled wait does not take the transaction back.
    """
    outcome: Outcome[T] = Outcome()
    store.submit(fn, outcome, essential=essential)
    return await outcome.wait()
