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
from collections.abc import Callable, Hashable, Iterator
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import apsw

from roamd.clock import Clock, SystemClock
from roamd.errors import StoreBroken, StoreError
from roamd.storage import backup, connect, migrate, verify
from roamd.storage.ballast import DEFAULT_BYTES, Ballast
from roamd.storage.cx import Cx, store_error
from roamd.storage.group import Delivery, GroupCommit, Job
from roamd.storage.writer import Deliver, Waiter, WriterThread, closed, deliver_here, tell

__all__ = ["Cx", "Deliver", "Delivery", "Store", "deliver_here"]

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item

KNOWN: Final = 8
"""Results that `read_once` keeps: about a megabyte, if all are full pages of feeds."""


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
        self._in_snapshot = reader is writer  # a store in memory has no other state to see
        self._to_begin = False
        self._begun_after = 0
        self._known: dict[Hashable, Any] = {}
        self._known_state: int | None = None
        self._threaded: WriterThread | None = None
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
        store._threaded = WriterThread(
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
        connection = connect.open_memory(_new_image() if image is None else image)
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
        self,
        fn: Callable[[Cx], T],
        done: Callable[[T | BaseException], None],
        *,
        essential: bool = False,
        patient: bool = False,
    ) -> None:
        """Run `fn` in a transaction and then tell `done` what it returned or raised, after the commit; any thread.

        `fn` may run twice when the disk fills up (only one run is committed): it must not change anything but the
        store. `essential` marks what still passes on a full disk: receipts, deletes, answers. All else gets
        StoreFull while space is short. `patient` marks what nobody waits for: where nothing else is to be committed,
        it is up to `writer.PATIENCE_S` late.
        """
        self._submit(Job(fn, done, essential, patient=patient))

    def submit_each(
        self, fn: Callable[[Cx, list[I]], list[T]], item: I, done: Callable[[T | BaseException], None]
    ) -> None:
        """`submit` for what comes in great numbers: items of the same `fn` that wait together share one call of it.

        `fn` gives an outcome for each item and stores nothing of those that it refuses. When it raises, each item has
        a call of its own, so that one does not spoil the others.
        """
        self._submit(Job(fn, done, item=item))

    def _submit(self, job: Job) -> None:
        done = job.done
        if self._closed:
            tell(self._deliver, [(done, closed())])
        elif self._threaded:
            self._threaded.submit(job)
        elif self._writer.in_transaction:
            raise RuntimeError("submit was called inside a transaction")
        else:
            tell(self._deliver, self._group.commit([job]))

    def write(self, fn: Callable[[Cx], T], *, essential: bool = True) -> T:
        """Submit and wait: for start, stop, commands and tests, never for a thread that runs a loop.

        Raises what `fn` raised. `deliver` has no part in it, so it works while the loop does not run.
        """
        waiter = Waiter()
        self.submit(fn, waiter, essential=essential)
        outcome = waiter.wait()
        if isinstance(outcome, BaseException):
            raise outcome
        result: T = outcome
        return result

    def truncate_log(self, done: Callable[[bool | BaseException], None]) -> None:
        """Bring the log into the database file and cut it to nothing, behind all that was submitted before.

        With `secure_delete`, what was deleted or overwritten then stands in neither file. `done` is told False when it
        could not be done now, because somebody reads (a backup, a person's look) or the disk is full: try again.
        """
        if self._closed:
            tell(self._deliver, [(done, closed())])
        elif self._threaded:
            self._threaded.truncate(done)
        else:
            tell(self._deliver, [(done, True)])  # a store in memory has no log

    @property
    def full(self) -> bool:
        """Whether intake is refused because space is short."""
        return self._threaded is not None and self._threaded.ballast.full

    @property
    def commits(self) -> int:
        """How many there were since the store was opened. It grows behind each, before anybody is told; any thread."""
        return self._group.commits

    @property
    def waiting(self) -> int:
        """About how many submissions wait for the writer."""
        return self._threaded.waiting if self._threaded else 0

    # --- reading ------------------------------------------------------------------------------------------------

    def read(self, fn: Callable[[Cx], T]) -> T:
        """Run a short look at one committed state and give its result; one thread only."""
        if self._in_snapshot:
            return self.look(fn)
        with self.snapshot():
            return self.look(fn)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """All `read`s and `look`s within see one committed state, and SQLite's locks are taken once for them all.

        For plain code that is soon done: meanwhile the log grows and is not begun anew. One within another is one.
        It begins with the first look; without one it costs nothing.
        """
        if self._in_snapshot:
            yield
            return
        self._in_snapshot = self._to_begin = True
        try:
            yield
        finally:
            begun, self._in_snapshot, self._to_begin = not self._to_begin, False, False
            if begun:
                self._read_cx.run("COMMIT")

    def _begin(self) -> None:
        if self._to_begin:
            self._begun_after = self.commits
            self._read_cx.run("BEGIN")
            self._to_begin = False

    def read_once(self, key: Hashable, fn: Callable[[Cx], T]) -> T:
        """`read` for what many ask after the same commit: `fn` runs for the first of them, and all get its result.

        `key` says what is asked. Nobody may change the result. It is forgotten with the next commit.
        """
        self._begin()
        state = self._state()
        if state != self._known_state or (key not in self._known and len(self._known) >= KNOWN):
            self._known_state = state
            self._known.clear()
        if key not in self._known:
            self._known[key] = self.read(fn)
        result: T = self._known[key]
        return result

    def _state(self) -> int:
        """A number that is another one after each commit. What is read under it is that state, or a newer one."""
        if self._reader is self._writer:
            return self._reader.total_changes()
        # Nobody else writes. SQLite's own number would cost each of a thousand peers a statement.
        return self._begun_after if self._in_snapshot else self.commits

    def ledger_faults(self) -> list[str]:
        """What SQLite finds wrong in the ledger's tables and indexes. A file's takes long, so: a thread."""
        if self.path is None:
            return verify.structure_faults(self._reader)
        with contextlib.closing(connect.open_reader(self.path)) as connection:
            return verify.structure_faults(connection)

    def read_aside(self, fn: Callable[[Cx], T]) -> T:
        """`read` for what takes long, in a thread of the caller's: over a connection of its own.

        A store in memory has one connection, and this must be called where `read` may be.
        """
        if self.path is None:
            return self.read(fn)
        with contextlib.closing(connect.open_reader(self.path)) as connection:
            cx = Cx(connection)
            cx.run("BEGIN")
            return fn(cx)

    def look(self, fn: Callable[[Cx], T]) -> T:
        """`read` for a function that runs one statement: it sees one state by itself, at a third of the cost."""
        self._begin()
        return fn(self._read_cx)

    def snapshot_bytes(self) -> bytes:
        """The whole content of a store in memory, for `open_memory`."""
        return self._writer.serialize("main")


@cache
def _new_image() -> bytes:
    """A store with nothing in it but its schema; a copy costs a tenth of what the migrations cost."""
    with contextlib.closing(connect.open_memory(None)) as connection:
        migrate.migrate(connection, migrate.load(), SystemClock().now_ms(), lambda _: None)
        return connection.serialize("main")


def _open_files(path: Path, now_ms: int, synchronous: str, vfs: str | None) -> tuple[apsw.Connection, apsw.Connection]:
    """Both connections over a schema that is up to date."""
    backup.require_no_half_restore(path)
    try:
        writer = connect.open_writer(path, synchronous=synchronous, vfs=vfs)
        migrate.migrate(writer, migrate.load(), now_ms, lambda number: backup.before_migration(path, number))
        return writer, connect.open_reader(path, vfs=vfs)
    except apsw.Error as error:
        raise StoreError(f"The store {path.name} cannot be opened: {store_error(error)}") from error


def _nobody(_: StoreBroken) -> None:
    """Nobody asked to be told."""
