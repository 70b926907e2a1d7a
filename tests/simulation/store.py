"""A store in memory that commits as the daemon's does: what was submitted waits, and goes to the disk in one group.

Between submitting and committing time passes and other tasks run; between the commit and the delivery of the outcomes
the process may die. A crash forgets what waits and keeps what was committed. `full` is a disk without room, a brimful
one has lost its reserve, too.

The database outlives the process as the file on a disk would: the next life goes on with the same connection, for a
new one would read the schema and prepare every statement anew. What a life had in memory is gone with its store.
"""

import random
from collections.abc import Callable
from typing import Any, Self

import apsw

from roamd.clock import Clock
from roamd.errors import StoreFull
from roamd.storage.group import Job
from roamd.storage.store import Store
from tests.simulation.clock import Casualty
from tests.simulation.determinism import JumpingClock

SYNC_S = (0.001, 0.02)
"""How long a commit takes."""

Disk = bytes | apsw.Connection
"""What is left of a store when nobody has it open: a copy of its content, or the database as it stands."""


class SimStore(Store):
    """Made by `SimStore.on`; commits at once until `pace` runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.out_of_space = False
        self.brimful = False
        self._jobs: list[Job] = []
        self._pace: _Pace | None = None

    @classmethod
    def on(cls, disk: Disk, *, clock: Clock, crash_point: Callable[[str], None] | None = None) -> Self:
        """Open what is on a disk."""
        if isinstance(disk, bytes):
            return cls.open_memory(disk, clock=clock, crash_point=crash_point)
        return cls(disk, disk, deliver=None, crash_point=crash_point)

    def note_writes(self, wrote: Callable[[str], None]) -> None:
        """Call `wrote` with the table of each row that is written, also when that is undone later."""
        self._writer.set_update_hook(lambda kind, database, table, row_id: wrote(table))

    def _submit(self, job: Job) -> None:
        if self._pace is None or self._closed:
            super()._submit(job)
            return
        if not self._jobs:
            self._pace.begin_sync(self._sync)
        self._jobs.append(job)

    @property
    def is_paced(self) -> bool:
        """Whether what is submitted waits for the disk."""
        return self._pace is not None and not self._closed

    @property
    def full(self) -> bool:
        return self.out_of_space or self.brimful

    def _has_room(self, job: Job) -> bool:
        return not self.full or (job.essential and not self.brimful)

    def committed(self) -> None:
        """After each group."""

    def after_crash(self) -> Disk:
        """What is found on the disk after the process died, however that was. The store is closed."""
        self._closed = True
        return self._writer

    async def pace(self, rng: random.Random, clock: JumpingClock) -> None:
        """Commit what waits, group by group, until cancelled; raises what a commit raises."""
        self._pace = _Pace(rng, clock)
        await self._pace.casualty.wait()

    def _sync(self) -> None:
        if self._closed:
            return
        jobs, self._jobs = self._jobs, []
        refused = [job for job in jobs if not self._has_room(job)]
        accepted = [job for job in jobs if self._has_room(job)]
        deliveries = self._group.commit(accepted) if accepted else []
        self.committed()
        for done, outcome in [*deliveries, *((job.done, StoreFull("no room")) for job in refused)]:
            done(outcome)


class _Pace:
    """How fast a disk is. What its syncs raise is the matter of the task that waits for the casualty."""

    def __init__(self, rng: random.Random, clock: JumpingClock) -> None:
        self.casualty = Casualty()
        self._rng, self._clock = rng, clock

    def begin_sync(self, sync: Callable[[], None]) -> None:
        """Call `sync` when it is done."""

        def synced() -> None:
            try:
                sync()
            except BaseException as error:  # noqa: BLE001 - also a simulated crash: the node's nursery takes it
                self.casualty.strike(error)

        self._clock.call_at(self._clock.now + self._rng.uniform(*SYNC_S), synced)
