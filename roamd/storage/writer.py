"""The writer's thread: takes what waits, commits it, delivers; then looks after the log and the free space.

Each turn is one group. What a group costs that nobody should wait for (bringing a long log into the database file)
comes after its deliveries. While space is short, only essential jobs are committed; after a failed write or sync
nothing is, ever again, and whoever asks is told so.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import StoreBroken, StoreError, StoreFull
from roamd.storage.ballast import Ballast
from roamd.storage.cx import Cx
from roamd.storage.group import Delivery, Done, GroupCommit, Job

Deliver = Callable[[list[Delivery]], None]
"""Takes all outcomes of one commit, on the writer's thread (on the submitter's once the store is closed)."""

MAX_GROUP = 1024
"""More rows a commit gain nothing (the sync is paid by then) and make the first of them wait."""

PATIENCE_S = 0.05
"""How long a patient job waits for a commit to go along with. A sync that overlaps another one on the same disk makes
both late, so what nobody waits for is not synced in between; whoever looks at its effect notices less than this."""

_IDLE_S = 0.5
"""Without work for this long, a log of some length is brought into the database file, so that no commit has to."""

_IDLE_PAGES = 256
"""A megabyte of log; a shorter one stays. The first commit after that starts the log anew and syncs it twice, which
each record would pay for that comes alone."""


class Waiter:
    """Someone whose thread waits for the outcome: told by the writer itself, since `deliver` may need that thread."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, outcome: Any) -> None:
        self._told.put(outcome)

    def wait(self) -> Any:
        """The outcome, once it is there."""
        return self._told.get()


def deliver_here(deliveries: list[Delivery]) -> None:
    """Call each one who waits, on the thread that delivers."""
    for done, outcome in deliveries:
        done(outcome)


def tell(deliver: Deliver, deliveries: list[Delivery]) -> None:
    """Outcomes to those whose thread waits, and all others in one delivery."""
    deliver_here([delivery for delivery in deliveries if isinstance(delivery[0], Waiter)])
    others = [delivery for delivery in deliveries if not isinstance(delivery[0], Waiter)]
    if others:
        deliver(others)


def closed() -> StoreError:
    """What those are told who come too late."""
    return StoreError("The store is closed.")


class WriterThread:
    """See the module. Starts at once; `stop` ends it after all that is queued."""

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
        """Queue a job; whatever becomes of it is told from the thread."""
        self._jobs.put(job)

    def truncate(self, done: Done) -> None:
        """Empty the log behind everything that was submitted before; `done` is told whether it could be done now."""
        self._jobs.put(Job(_truncation, done, essential=True))

    def stop(self) -> None:
        """Finish what is queued and end the thread."""
        self._jobs.put(None)
        self._thread.join()
        while not self._jobs.empty():
            late = self._jobs.get()
            if late:
                tell(self._deliver, [(late.done, closed())])

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
        """One group, or nothing when idle; and whether to go on. A group of patient jobs alone waits a moment."""
        jobs, going = self._waiting_jobs(self._patience())
        if going and jobs and all(job.patient for job in jobs):
            more, going = self._waiting_jobs(PATIENCE_S)
            jobs += more
        return jobs, going

    def _waiting_jobs(self, timeout_s: float | None) -> tuple[list[Job], bool]:
        """All that waits by now or comes first, up to a group's size; and whether to go on."""
        jobs: list[Job] = []
        try:
            job = self._jobs.get(timeout=timeout_s)
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
        return _IDLE_S if self._group.log_pages >= _IDLE_PAGES or self.ballast.full else None

    def _turn(self, jobs: list[Job]) -> None:
        """One group, from the free space to the deliveries; then the log, so that nobody waits for it."""
        if self._broken:
            tell(self._deliver, [(job.done, self._broken) for job in jobs])
            return
        truncations = [job.done for job in jobs if job.fn is _truncation]
        try:
            self._look_after_space()
            deliveries = self._committed([job for job in jobs if job.fn is not _truncation] if truncations else jobs)
        except StoreError as error:
            self._broken = _as_broken(error)
            deliveries = [(job.done, self._broken) for job in jobs]
        tell(self._deliver, deliveries)
        if not self._broken and truncations:
            self._truncate(truncations)
        if not self._broken:
            self._look_after_log(idle=not jobs)

    def _truncate(self, waiting: list[Done]) -> None:
        """Empty the log for those who asked, and tell them whether that could be done."""
        outcome: bool | StoreError
        try:
            outcome = self.ballast.log_fits() and self._group.checkpoint(truncate=True)
        except StoreError as error:
            outcome = self._broken = _as_broken(error)
        tell(self._deliver, [(done, outcome) for done in waiting])

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
        long = self._group.log_pages >= (_IDLE_PAGES if idle else self._checkpoint_pages)
        wanted = long or self.ballast.full
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
            return self._commit(jobs) if jobs else []
        except StoreFull:
            self.ballast.note_full(self._clock.monotonic())
        return [*self._commit_on_reserve(essential), *refused]

    def _commit(self, jobs: list[Job]) -> list[Delivery]:
        began = self._clock.monotonic()
        deliveries = self._group.commit(jobs)
        metrics.store_commit_seconds.observe(self._clock.monotonic() - began)
        metrics.store_commit_size.observe(len(jobs))
        return deliveries

    def _commit_on_reserve(self, jobs: list[Job]) -> list[Delivery]:
        """What is essential, on the space that is left; the ballast is part of it from the first refusal on."""
        for _ in range(1 + self.ballast.held):
            try:
                return self._commit(jobs) if jobs else []
            except StoreFull:
                self.ballast.note_full(self._clock.monotonic())
        return [(job.done, _full()) for job in jobs]


def _truncation(cx: Cx) -> None:
    """Stands in the queue where the log is to be emptied; never run."""


def _as_broken(error: BaseException) -> StoreBroken:
    return error if isinstance(error, StoreBroken) else StoreBroken(f"The writer failed: {error!r}")


def _full() -> StoreFull:
    return StoreFull("The disk is nearly full: nothing was stored. Free some space; roamd goes on by itself.")
