"""A store in memory that commits as the daemon's does: what was submitted waits, and goes to the disk in one group.

Between submitting and committing time passes and other tasks run; between the commit and the delivery of the outcomes
the process may die. A crash forgets what waits and keeps what was committed. `full` is a disk without room, a brimful
one has lost its reserve, too.
"""

import random
from functools import cache
from typing import Any

import trio

from roamd.errors import StoreFull
from roamd.roaming.waiting import Wake
from roamd.storage.group import Job
from roamd.storage.store import Store
from tests.simulation.clock import AtBase
from tests.simulation.determinism import JumpingClock

SYNC_S = (0.001, 0.02)
"""How long a commit takes."""


@cache
def empty_image() -> bytes:
    """A store in which nothing stands but the schema: migrating one costs more than a node's usual life."""
    with Store.open_memory(clock=AtBase()) as store:
        return store.snapshot_bytes()


class SimStore(Store):
    """Made by `SimStore.open_memory`; commits at once until `pace` runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.out_of_space = False
        self.brimful = False
        self._jobs: list[Job] = []
        self._wake: Wake | None = None

    def _submit(self, job: Job) -> None:
        if self._wake is None or self._closed:
            super()._submit(job)
            return
        self._jobs.append(job)
        self._wake.set()

    @property
    def full(self) -> bool:
        return self.out_of_space or self.brimful

    def _has_room(self, job: Job) -> bool:
        return not self.full or (job.essential and not self.brimful)

    def committed(self) -> None:
        """After each group."""

    def after_crash(self) -> bytes:
        """What is found on the disk after the process died."""
        return self.snapshot_bytes()

    async def pace(self, rng: random.Random, clock: JumpingClock) -> None:
        """Commit what waits, group by group, until cancelled."""
        self._wake, synced = Wake(), Wake()
        while True:
            await self._wake.wait()
            clock.call_at(trio.current_time() + rng.uniform(*SYNC_S), synced.set)
            await synced.wait()
            jobs, self._jobs = self._jobs, []
            refused = [job for job in jobs if not self._has_room(job)]
            accepted = [job for job in jobs if self._has_room(job)]
            deliveries = self._group.commit(accepted) if accepted else []
            self.committed()
            for done, outcome in [*deliveries, *((job.done, StoreFull("no room")) for job in refused)]:
                done(outcome)
