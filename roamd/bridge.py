"""The one module that knows both trio and asyncio, and how values cross between them.

trio owns the process; aiohttp and zeroconf live in one asyncio loop, which runs in a thread that is itself one task
of the trio tree (`run_asyncio`). What crosses are plain immutable values, through two `Port`s, one a direction.

Why a port of our own: waking the other loop costs far more than carrying a value, and the standard ways
(`run_coroutine_threadsafe`, `trio.from_thread.run`) wake, and make a task, for every item. A `Port` is a deque and a
"wake is pending" flag: whoever finds the flag down raises it and wakes the other side once; that one wake-up drains
everything that waits by then.

Why no lock is needed: `deque.append` and `popleft` are atomic, and the drain lowers the flag *before* it counts what
waits. A sender that still saw the flag up had appended before the count, so its item is taken now; a sender that saw
it down wakes again. Two senders that both saw it down cost one idle wake-up, nothing else.

What may be relied on:
- Items of one port are handled in the order in which one thread sent them, on the receiving loop's thread.
- When the receiving loop is gone, what is sent to it is dropped: nobody is left to hear it.
- A failure of the asyncio main, or of the core while it takes an operation, is raised by `run_asyncio` in the trio
  tree; cancelling `run_asyncio` cancels the asyncio main, waits for its clean-up, and leaves no thread behind.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import trio

from roamd.errors import RoamdError
from roamd.roaming.ports import (
    AuthorizeQuestion,
    Backend,
    BackendAnswer,
    CommandQuestion,
    CommandResult,
    Core,
    NoAnswer,
    Reply,
    Told,
)

try:
    import uvloop
except ImportError:  # an extra: not every platform has it
    _new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    _new_loop = uvloop.new_event_loop

T = TypeVar("T")

MAX_DRAIN: Final = 4096
"""Items handled in one wake-up; the rest waits one turn, so that a flood cannot starve the receiving loop's sockets."""

Around = Callable[[Sequence[T]], AbstractContextManager[Any]]
"""What is held while one wake-up's items are handled: what they have in common is paid once."""


class Port(Generic[T]):
    """Carries items to another thread's loop. `handle` runs there; it should not raise."""

    def __init__(
        self,
        wake: Callable[[Callable[[], None]], object],
        handle: Callable[[T], None],
        around: Around[T] = nullcontext,
    ) -> None:
        """`wake` runs its argument soon on the receiving loop: `token.run_sync_soon`, `loop.call_soon_threadsafe`."""
        self._wake = wake
        self._handle = handle
        self._around = around
        self._items: deque[T] = deque()
        self._pending = False

    def send(self, item: T) -> None:
        """Hand over one item, from any thread; never blocks."""
        self._items.append(item)
        if not self._pending:
            self._signal()

    def _signal(self) -> None:
        self._pending = True
        with contextlib.suppress(RuntimeError):  # the loop is closed, or trio's run is over
            self._wake(self._drain)

    def _drain(self) -> None:
        self._pending = False
        items, handle = self._items, self._handle
        taken, done = [items.popleft() for _ in range(min(len(items), MAX_DRAIN))], 0
        try:
            with self._around(taken):
                for item in taken:
                    done += 1
                    handle(item)
        finally:
            items.extendleft(reversed(taken[done:]))
            if items and not self._pending:
                self._signal()


def port_to_trio(handle: Callable[[T], None], around: Around[T] = nullcontext) -> Port[T]:
    """A port into the running trio loop; call this on the trio thread."""
    return Port(trio.lowlevel.current_trio_token().run_sync_soon, handle, around)


def port_to_asyncio(handle: Callable[[T], None]) -> Port[T]:
    """A port into the running asyncio loop; call this on the asyncio thread."""
    return Port(asyncio.get_running_loop().call_soon_threadsafe, handle)


# --- the thread ---------------------------------------------------------------------------------------------------

Started = Callable[[Any], None]
"""What an asyncio main calls, once, when it really serves; the value becomes `nursery.start`'s result."""

AsyncioMain = Callable[[Started], Awaitable[None]]


class AsyncioThread:
    """One asyncio loop in one thread, run as one task of the trio tree."""

    def __init__(self, main: AsyncioMain) -> None:
        self._main = main
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._error: BaseException | None = None
        self._wake_parent: Callable[[str, Any], None] = _nobody

    async def run(self, *, task_status: "trio.TaskStatus[Any]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until the main returns or fails (its error is raised here), or this is cancelled."""
        send, receive = trio.open_memory_channel[tuple[str, Any]](8)
        port = port_to_trio(_sender(send))
        self._wake_parent = lambda word, value: port.send((word, value))
        thread = threading.Thread(target=self._in_thread, name="roamd-asyncio", daemon=True)
        thread.start()
        try:
            await self._attend(receive, task_status)
        finally:
            await self._stop(receive)
            thread.join()  # its last message is sent: what is left of it is a return
        if self._error is not None:
            raise self._error

    def fail(self, error: BaseException) -> None:
        """End the run by raising `error` from it; from any thread. The first one counts."""
        if self._error is None:
            self._error = error
        self._wake_parent("failed", None)

    async def _attend(
        self, receive: "trio.MemoryReceiveChannel[tuple[str, Any]]", task_status: "trio.TaskStatus[Any]"
    ) -> None:
        async for word, value in receive:
            if word != "started":
                return
            task_status.started(value)

    async def _stop(self, receive: "trio.MemoryReceiveChannel[tuple[str, Any]]") -> None:
        self._stopping = True
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # closed in the meantime: then it has ended already
                self._loop.call_soon_threadsafe(self._task.cancel)
        with trio.CancelScope(shield=True):
            await _wait_end(receive)

    def _in_thread(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(self._guarded_main())
        except asyncio.CancelledError as error:
            if not self._stopping:
                self._keep(error)
        except BaseException as error:  # noqa: BLE001  # the edge of the thread: it is raised again in the trio tree
            self._keep(error)
        finally:
            self._wake_parent("ended", None)

    def _keep(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error

    async def _guarded_main(self) -> None:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        if not self._stopping:  # else: cancelled before the loop was there to be told
            await self._main(partial(self._wake_parent, "started"))


def _nobody(word: str, value: Any) -> None:
    """Before `run` there is no parent to tell."""


def _sender(channel: "trio.MemorySendChannel[tuple[str, Any]]") -> Callable[[tuple[str, Any]], None]:
    def send(item: tuple[str, Any]) -> None:
        if item[0] == "ended":
            channel.close()
            return
        with contextlib.suppress(trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            channel.send_nowait(item)

    return send


async def _wait_end(receive: "trio.MemoryReceiveChannel[tuple[str, Any]]") -> None:
    async for _ in receive:
        pass


async def run_asyncio(main: AsyncioMain, *, task_status: "trio.TaskStatus[Any]" = trio.TASK_STATUS_IGNORED) -> None:
    """Run an asyncio main in a thread of its own; `nursery.start` returns when it calls `started(value)`."""
    await AsyncioThread(main).run(task_status=task_status)


async def sleep_forever() -> None:
    """On the asyncio side: until cancelled."""
    await asyncio.get_running_loop().create_future()


# --- operations: asyncio asks, the core on trio answers -----------------------------------------------------------


class CoreClient:
    """The core as the asyncio side sees it. Make it on the trio thread, use it on the asyncio thread."""

    def __init__(
        self,
        core: Core,
        fail: Callable[[BaseException], None] | None = None,
        around: Around[tuple[object, Reply]] = nullcontext,
    ) -> None:
        """`fail` is told when the core raises while it takes an operation, which is a bug; see `AsyncioThread.fail`.

        `around` is held on the trio thread while it takes those of one wake-up.
        """
        self._core = core
        self._fail = fail
        self._operations: Port[tuple[object, Reply]] = port_to_trio(self._take, around)
        self._replies: Port[tuple[Reply, Any]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def tell(self, operation: object, reply: Reply) -> None:
        """Send an operation; `reply` is called once on the asyncio thread with the reply or a RoamdError."""
        if self._replies is None:
            self._loop = asyncio.get_running_loop()
            self._replies = port_to_asyncio(_deliver)
        self._operations.send((operation, reply))

    def ask(self, operation: object) -> "asyncio.Future[Any]":
        """The reply, when awaited; raises the RoamdError that the core replied with. Cancelling it drops the reply."""
        loop = self._loop or asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self.tell(operation, partial(_resolve, future))
        return future

    async def ask_many(self, operations: Sequence[object]) -> list[Any]:
        """All replies in order, each a reply or a RoamdError (given back, not raised)."""
        if not operations:
            return []
        gathered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        replies = _Gathering(len(operations), gathered)
        for place, operation in enumerate(operations):
            self.tell(operation, partial(replies.put, place))
        return await gathered

    def _take(self, item: tuple[object, Reply]) -> None:
        operation, reply = item
        try:
            self._core.handle(operation, partial(self._send_back, reply))
        except Exception as error:  # the edge between the loops: reported, never raised into trio's own loop
            self._send_back(reply, RoamdError("The daemon failed at this request; its log says where."))
            if self._fail is None:
                raise
            self._fail(error)

    def _send_back(self, reply: Reply, value: Any) -> None:
        if self._replies is not None:
            self._replies.send((reply, value))


def _deliver(item: tuple[Reply, Any]) -> None:
    item[0](item[1])


def _resolve(future: "asyncio.Future[Any]", value: Any) -> None:
    if future.done():  # who asked has gone
        return
    if isinstance(value, RoamdError):
        future.set_exception(value)
    else:
        future.set_result(value)


class _Gathering:
    """Collects the replies of `ask_many` without a future for each."""

    def __init__(self, count: int, gathered: "asyncio.Future[list[Any]]") -> None:
        self._replies: list[Any] = [None] * count
        self._missing = count
        self._gathered = gathered

    def put(self, place: int, value: Any) -> None:
        self._replies[place] = value
        self._missing -= 1
        if not self._missing and not self._gathered.done():
            self._gathered.set_result(self._replies)


# --- questions: the core on trio asks, the operator's systems behind asyncio answer -------------------------------

Done = Callable[[BackendAnswer | NoAnswer], None]


class BackendPort:
    """`ports.Backend` for the core, on trio; behind it another one that lives on the asyncio thread.

    Make it on the trio thread; the asyncio main calls `attach` when its backend is ready, and `detach` at its end.
    """

    def __init__(self) -> None:
        self._answers: Port[tuple[Told, BackendAnswer | CommandResult | NoAnswer]] = port_to_trio(_call_done)
        self._questions: Port[_ToBackend] | None = None

    def attach(self, backend: Backend) -> None:
        """From now on questions go to `backend`, which is called on the running asyncio loop's thread."""
        self._questions = port_to_asyncio(lambda item: item(backend))

    def detach(self) -> None:
        """Questions get no answer from now on."""
        self._questions = None

    def ask_authorize(self, question: AuthorizeQuestion, done: Done) -> None:
        """Ask the attached backend; without one the answer is NoAnswer at once."""
        port = self._questions
        if port is None:
            done(NoAnswer("no backend attached", asked=False))
            return
        port.send(lambda backend: backend.ask_authorize(question, partial(self._answered, done)))

    def ask_command(self, question: CommandQuestion, done: Callable[[CommandResult | NoAnswer], None]) -> None:
        """As `ask_authorize`."""
        port = self._questions
        if port is None:
            done(NoAnswer("no backend attached", asked=False))
            return
        port.send(lambda backend: backend.ask_command(question, partial(self._answered, done)))

    def events_arrived(self, newest: str) -> None:
        """Tell the attached backend, if there is one."""
        port = self._questions
        if port is not None:
            port.send(lambda backend: backend.events_arrived(newest))

    def _answered(self, done: Told, answer: BackendAnswer | CommandResult | NoAnswer) -> None:
        self._answers.send((done, answer))


class _ToBackend(Protocol):
    """A crossing towards the backend: what to call on it."""

    def __call__(self, backend: Backend, /) -> None: ...


def _call_done(item: tuple[Told, BackendAnswer | CommandResult | NoAnswer]) -> None:
    item[0](item[1])
