"""The store: one thread that writes, one connection that reads.

`submit` hands a function to the writer, which takes all that waits (at most 1,024), runs it in one transaction and
commits it with one full sync (`group`). Only then are the outcomes delivered, all of a group in one call, so that
one wake-up of the loop carries them all. The sync is the timer: under load the next group gathers while the disk works.

`read` runs a function at once, on the caller's thread, over a second connection that cannot write; in WAL mode it
sees everything that was committed before and never waits for the writer. It is for one thread (the loop's) and for
short looks.

A failed write or sync breaks the store for good: `on_broken` is called once, everyone gets StoreBroken, and the
process must end. A full disk does not (see `ballast`).

A store in memory (simulation) is the same without thread, file and sync: `submit` commits before it returns.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import apsw

from roamd.clock import Clock, SystemClock
from roamd.errors import StoreBroken, StoreError, StoreFull
from roamd.storage import backup, connect, migrate
from roamd.storage.ballast import DEFAULT_BYTES, Ballast
from roamd.storage.cx import Cx, store_error
from roamd.storage.group import Delivery, GroupCommit, Job

__all__ = ["Cx", "Deliver", "Delivery", "Store", "deliver_here"]

T = TypeVar("T")

Deliver = Callable[[list[Delivery]], None]
"""Takes all outcomes of one commit, on the writer's thread (on the submitter's for what is refused at once)."""

MAX_GROUP = 1024
"""More rows a commit gain nothing (the sync is paid by then) and make the first of them wait."""

_IDLE_S = 0.5
"""Without work for this long, the log is brought into the database file, so that no commit has to."""


def deliver_here(deliveries: list[Delivery]) -> None:
    """Call each one who waits, on the thread that delivers."""
    for done, outcome in deliveries:
        done(outcome)


class Store:
    """See the module. Make one with `Store.open` or `Store.open_memory`; close it."""

    def __init__(
        self,
        writer: apsw.Connection,
        reader: apsw.Connection,
        *,
        deliver: Deliver | None,
        crash_point: Callable[[str], None] | None = None,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._read_cx = Cx(reader)
        self._group = GroupCommit(writer, crash_point)
        self._deliver = deliver or deliver_here
        self._threaded: _WriterThread | None = None
        self._closed = False
        self._lock: int | None = None
        self.path: Path | None = None

    # --- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Clock | None = None,
        deliver: Deliver | None = None,
        on_broken: Callable[[StoreBroken], None] | None = None,
        ballast_bytes: int = DEFAULT_BYTES,
        synchronous: str = "FULL",
        checkpoint_pages: int = connect.CHECKPOINT_PAGES,
        vfs: str | None = None,
    ) -> Self:
        """Open or make the store, migrate it, start its writer.

        Raises OperatorError when another process has it open or its schema does not fit, StoreError when it cannot
        be read. `on_broken` is called on the writer's thread. `synchronous`, `checkpoint_pages`
        and `vfs` are for tests of exactly that.
        """
        clock = clock or SystemClock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = connect.hold_lock(path)
        try:
            writer, reader = _open_files(path, clock.now_ms(), synchronous, vfs)
        except BaseException:
            os.close(lock)
            raise
        store = cls(writer, reader, deliver=deliver)
        store.path, store._lock = path, lock
        owed = partial(store._group.owed_bytes, path)
        ballast = Ballast(path.with_name("ballast"), ballast_bytes, clock.monotonic(), owed=owed)
        store._threaded = _WriterThread(
            store._group, ballast, clock, store._deliver, on_broken or _nobody, checkpoint_pages
        )
        return store

    @classmethod
    def open_memory(
        cls,
        image: bytes | None = None,
        *,
        clock: Clock | None = None,
        deliver: Deliver | None = None,
        crash_point: Callable[[str], None] | None = None,
    ) -> Self:
        """A store in memory, empty or from `snapshot_bytes`. Submitted work is committed before `submit` returns.

        `crash_point` is called with "before-commit" and "after-commit". What it raises passes through `submit`, with
        the transaction undone before the commit and kept after it; nobody is told an outcome then.
        """
        connection = connect.open_memory(image)
        migrate.migrate(connection, migrate.load(), (clock or SystemClock()).now_ms(), lambda _: None)
        return cls(connection, connection, deliver=deliver, crash_point=crash_point)

    def close(self) -> None:
        """Finish what was submitted, checkpoint, close. Later submissions get StoreError. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._threaded:
            self._threaded.stop()
        for connection in (self._reader, self._writer):
            with contextlib.suppress(apsw.Error):  # after a break the last checkpoint fails too, and everyone knows
                connection.close()
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- writing ------------------------------------------------------------------------------------------------

    def submit(
        self, fn: Callable[[Cx], T], done: Callable[[T | BaseException], None], *, essential: bool = False
    ) -> None:
        """Run `fn` in a transaction and then tell `done` what it returned or raised, after the commit; any thread.

        `fn` may run twice when the disk fills up (only one run is committed): it must not change anything but the
        store. `essential` marks what still passes on a full disk: receipts, deletes, answers. All else gets
        StoreFull while space is short.
        """
        job = Job(fn, done, essential)
        if self._closed:
            self._deliver([(done, _closed())])
        elif self._threaded:
            self._threaded.submit(job)
        elif self._writer.in_transaction:
            raise RuntimeError("submit was called inside a transaction")
        else:
            self._deliver(self._group.commit([job]))

    def write(self, fn: Callable[[Cx], T], *, essential: bool = True) -> T:
        """Submit and wait: for start, stop, commands and tests, never for a thread that runs a loop.

        Raises what `fn` raised. Does not work with a `deliver` that needs the waiting thread.
        """
        outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.submit(fn, outcomes.put, essential=essential)
        outcome = outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        result: T = outcome
        return result

    @property
    def full(self) -> bool:
        """Whether intake is refused because space is short."""
        return self._threaded is not None and self._threaded.ballast.full

    @property
    def waiting(self) -> int:
        """About how many submissions wait for the writer."""
        return self._threaded.waiting if self._threaded else 0

    # --- reading ------------------------------------------------------------------------------------------------

    def read(self, fn: Callable[[Cx], T]) -> T:
        """Run a short look at one committed state and give its result; one thread only."""
        if self._reader is self._writer:
            return fn(self._read_cx)
        self._read_cx.run("BEGIN")
        try:
            return fn(self._read_cx)
        finally:
            self._read_cx.run("COMMIT")

    def snapshot_bytes(self) -> bytes:
        """The whole content of a store in memory, for `open_memory`."""
        return self._writer.serialize("main")


class _WriterThread:
    """Takes what waits, commits it, delivers; then looks after the log and the free space."""

    def __init__(
        self,
        group: GroupCommit,
        ballast: Ballast,
        clock: Clock,
        deliver: Deliver,
        on_broken: Callable[[StoreBroken], None],
        checkpoint_pages: int,
    ) -> None:
        self.ballast = ballast
        self._group = group
        self._clock = clock
        self._deliver = deliver
        self._on_broken = on_broken
        self._checkpoint_pages = checkpoint_pages
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._broken: StoreBroken | None = None
        # A daemon thread: who forgets to close loses nothing that was acknowledged, and the process can still end.
        self._thread = threading.Thread(target=self._run, name="roamd-store", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._jobs.qsize()

    def submit(self, job: Job) -> None:
        """Queue a job, or refuse it at once while the store is broken or (for the inessential) full."""
        if self._broken:
            self._deliver([(job.done, self._broken)])
        elif self.ballast.full and not job.essential and not self.ballast.due(self._clock.monotonic()):
            self._deliver([(job.done, _full())])
        else:
            self._jobs.put(job)

    def stop(self) -> None:
        """Finish what is queued and end the thread."""
        self._jobs.put(None)
        self._thread.join()
        while not self._jobs.empty():
            late = self._jobs.get()
            if late:
                self._deliver([(late.done, _closed())])

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Works until stopped; after a break it only answers."""
        going = True
        while going:
            jobs, going = self._take()
            was_broken = self._broken
            try:
                self._turn(jobs)
            except BaseException as error:  # noqa: BLE001 - the edge: whatever ends the writer must end the process
                self._broken = self._broken or _as_broken(error)
            if self._broken and not was_broken:
                self._on_broken(self._broken)

    def _take(self) -> tuple[list[Job], bool]:
        """All that waits, up to a group's size; nothing when idle; and whether to go on."""
        jobs: list[Job] = []
        try:
            job = self._jobs.get(timeout=self._patience())
            while job is not None:
                jobs.append(job)
                if len(jobs) == MAX_GROUP:
                    return jobs, True
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, True
        return jobs, False

    def _patience(self) -> float | None:
        """How long to wait for work before looking after the log or the free space; None is for ever."""
        return _IDLE_S if self._group.log_pages or self.ballast.full else None

    def _turn(self, jobs: list[Job]) -> None:
        """One group, from the free space to the deliveries; then the log, so that nobody waits for it."""
        if self._broken:
            self._deliver([(job.done, self._broken) for job in jobs])
            return
        try:
            self._look_after_space()
            deliveries = self._committed(jobs)
        except StoreError as error:
            self._broken = _as_broken(error)
            deliveries = [(job.done, self._broken) for job in jobs]
        if deliveries:
            self._deliver(deliveries)
        if not self._broken:
            self._look_after_log(idle=not jobs)

    def _look_after_space(self) -> None:
        """Once a second: is there room? Before intake closes, the log gives back what it holds."""
        now = self._clock.monotonic()
        if not self.ballast.due(now):
            return
        self.ballast.look(now)
        if self.ballast.full and self.ballast.log_fits():
            self._group.checkpoint(truncate=True)
            self.ballast.look(now)

    def _look_after_log(self, *, idle: bool) -> None:
        """Take in the log when there is time for it, when it is long, and after each group while space is short."""
        wanted = idle or self.ballast.full or self._group.log_pages >= self._checkpoint_pages
        if wanted and self._group.log_pages and self.ballast.log_fits():
            self._group.checkpoint()

    # --- a group on a disk that may be full ---------------------------------------------------------------------

    def _committed(self, jobs: list[Job]) -> list[Delivery]:
        """Everyone's outcome, whatever the disk says, short of breaking."""
        essential = [job for job in jobs if job.essential]
        refused = [(job.done, _full()) for job in jobs if not job.essential]
        if self.ballast.full:
            return [*self._commit_on_reserve(essential), *refused]
        try:
            return self._group.commit(jobs) if jobs else []
        except StoreFull:
            self.ballast.note_full(self._clock.monotonic())
        return [*self._commit_on_reserve(essential), *refused]

    def _commit_on_reserve(self, jobs: list[Job]) -> list[Delivery]:
        """What is essential, on the space that is left; the ballast is part of it from the first refusal on."""
        for _ in range(1 + self.ballast.held):
            try:
                return self._group.commit(jobs) if jobs else []
            except StoreFull:
                self.ballast.note_full(self._clock.monotonic())
        return [(job.done, _full()) for job in jobs]


def _open_files(path: Path, now_ms: int, synchronous: str, vfs: str | None) -> tuple[apsw.Connection, apsw.Connection]:
    """Both connections over a schema that is up to date."""
    try:
        writer = connect.open_writer(path, synchronous=synchronous, vfs=vfs)
        migrate.migrate(writer, migrate.load(), now_ms, lambda number: backup.before_migration(path, number))
        return writer, connect.open_reader(path, vfs=vfs)
    except apsw.Error as error:
        raise StoreError(f"The store {path.name} cannot be opened: {store_error(error)}") from error


def _as_broken(error: BaseException) -> StoreBroken:
    return error if isinstance(error, StoreBroken) else StoreBroken(f"The writer failed: {error!r}")


def _full() -> StoreFull:
    return StoreFull("The disk is nearly full: nothing was stored. Free some space; roamd goes on by itself.")


def _closed() -> StoreError:
    return StoreError("The store is closed.")


def _nobody(_: StoreBroken) -> None:
    """Nobody asked to be told."""
