"""A store in memory that commits as the daemon's does: what was submitted waits, and goes to the disk in one group.

Between submitting and committing time passes and other tasks run; between the commit and the delivery of the outcomes
the process may die. A crash forgets what waits and keeps what was committed. `full` is a disk without room.
"""

import random
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from roamd.errors import StoreFull
from roamd.roaming.waiting import Wake
from roamd.storage.group import Job
from roamd.storage.store import Cx, Store

T = TypeVar("T")

SYNC_S = (0.001, 0.02)
"""How long a commit takes."""


class SimStore(Store):
    """Made by `SimStore.open_memory`; commits at once until `pace` runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.out_of_space = False
        self._jobs: list[Job] = []
        self._wake: Wake | None = None

    def submit(
        self, fn: Callable[[Cx], T], done: Callable[[T | BaseException], None], *, essential: bool = False
    ) -> None:
        """As the daemon's store; see `roamd.storage.store`."""
        if self._wake is None or self._closed:
            super().submit(fn, done, essential=essential)
            return
        self._jobs.append(Job(fn, done, essential))
        self._wake.set()

    @property
    def full(self) -> bool:
        return self.out_of_space

    async def pace(self, rng: random.Random) -> None:
        """Commit what waits, group by group, until cancelled."""
        self._wake = Wake()
        while True:
            await self._wake.wait()
            await trio.sleep(rng.uniform(*SYNC_S))
            jobs, self._jobs = self._jobs, []
            refused = [job for job in jobs if self.out_of_space and not job.essential]
            accepted = [job for job in jobs if job not in refused]
            deliveries = self._group.commit(accepted) if accepted else []
            for done, outcome in [*deliveries, *((job.done, StoreFull("no room")) for job in refused)]:
                done(outcome)
