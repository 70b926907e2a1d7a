"""Group commit: transactions that wait share one COMMIT with one full sync.

Each job runs in a savepoint, so that one which fails leaves no trace and takes nobody along. Three things can happen
to a group:

    committed      every job has its own outcome: its result, or the exception that it raised
    disk full      rolled back, nothing was stored. The ballast is released and the essential jobs run once more;
                   all others get StoreFull. (So a job's function may run twice, but only one run is ever committed.)
    broken         a write or a sync failed. What is on the disk is not known any more and a sync is never tried
                   again: nobody is told "done", everybody gets StoreBroken, the process ends.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from roamd.errors import StoreBroken, StoreError, StoreFull
from roamd.storage.connect import BUSY_MS
from roamd.storage.cx import Cx, store_error

Done = Callable[[Any], None]
"""Takes a job's outcome: what its function returned, or the exception (never raised)."""

Delivery = tuple[Done, Any]


class Job(NamedTuple):
    """A function to run inside a transaction, and who is told the outcome."""

    fn: Callable[..., Any]
    done: Done
    essential: bool = False
    item: Any = None
    """Not None: `fn` takes a list of items and gives an outcome for each; jobs of the same `fn` may share one call."""
    patient: bool = False
    """Goes along with the next commit that somebody waits for, or has one of its own a moment later."""


class GroupCommit:
    """Runs groups of jobs on the writing connection. Belongs to one thread."""

    def __init__(self, connection: apsw.Connection, crash_point: Callable[[str], None] | None = None) -> None:
        self.log_pages = 0
        self.commits = 0
        """How many there were. It grows behind each commit, before anybody is told of it; any thread may look."""
        self._connection = connection
        self._connection.set_wal_hook(self._note_log)  # in place of SQLite's own checkpoints, inside a commit
        self._cx = Cx(connection)
        self._crash_point = crash_point or _no_crash

    def commit(self, jobs: Sequence[Job]) -> list[Delivery]:
        """Run and commit; each job's outcome, in order. Raises StoreFull or StoreBroken with everything rolled back."""
        try:
            self._cx.run("BEGIN IMMEDIATE")
            deliveries = [delivery for alike in _runs_of(jobs) for delivery in self._outcomes(alike)]
            self._crash_point("before-commit")
            self._cx.run("COMMIT")
            self.commits += 1
        except BaseException:
            self._roll_back()
            raise
        self._crash_point("after-commit")
        return deliveries

    def _outcomes(self, alike: Sequence[Job]) -> list[Delivery]:
        """One job's outcome, or those of jobs that share a call; where that fails, each has a call of its own."""
        fn, item = alike[0].fn, alike[0].item
        if item is None:
            return [(alike[0].done, self._outcome(fn))]
        outcomes = self._outcome(lambda cx: fn(cx, [job.item for job in alike]))
        if not isinstance(outcomes, Exception):
            return [(job.done, outcome) for job, outcome in zip(alike, outcomes, strict=True)]
        if len(alike) == 1:
            return [(alike[0].done, outcomes)]
        return [delivery for job in alike for delivery in self._outcomes([job])]

    def _outcome(self, fn: Callable[[Cx], Any]) -> Any:
        """One job's result or exception. A full or broken disk is the whole group's matter and is raised."""
        run = self._cx.run
        run("SAVEPOINT job")
        try:
            result = fn(self._cx)
        except (StoreFull, StoreBroken):
            raise
        except Exception as error:  # noqa: BLE001 - the edge: a job's error belongs to whoever submitted it
            run("ROLLBACK TO job")
            run("RELEASE job")
            return error
        run("RELEASE job")
        return result

    def _roll_back(self) -> None:
        """Drop the open transaction, if SQLite has not done so itself."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise _as_broken(error) from error

    def _note_log(self, connection: apsw.Connection, database: str, pages: int) -> int:
        """SQLite tells after each commit how long the log is."""
        del connection, database
        self.log_pages = pages
        return apsw.SQLITE_OK

    def owed_bytes(self, path: Path) -> int:
        """By how much the database file must grow to take in the log."""
        try:
            pages, page_bytes = self._connection.pragma("page_count"), self._connection.pragma("page_size")
        except apsw.Error as error:
            raise _as_broken(error) from error
        return max(0, int(pages) * int(page_bytes) - path.stat().st_size)

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """Bring the log into the database file. A reader in the way (never waited for) or a full disk puts it off.

        Whether it was done; without `truncate` it may have been done in part.
        """
        self.log_pages = 0
        try:
            if truncate:
                self._connection.set_busy_timeout(0)
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            else:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError):
            return False
        except apsw.Error as error:
            raise _as_broken(error) from error
        finally:
            self._connection.set_busy_timeout(BUSY_MS)
        return True


def _runs_of(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs in their order; neighbours that may share a call stand together."""
    runs: list[list[Job]] = []
    for job in jobs:
        if runs and job.item is not None and runs[-1][0].item is not None and runs[-1][0].fn == job.fn:
            runs[-1].append(job)
        else:
            runs.append([job])
    return runs


def _no_crash(_: str) -> None:
    """Nothing crashes outside of simulations."""


def _as_broken(error: apsw.Error) -> StoreError:
    """For errors outside of any job: whatever is not a full disk breaks the store."""
    ours = store_error(error)
    return ours if isinstance(ours, StoreFull | StoreBroken) else StoreBroken(str(ours))
