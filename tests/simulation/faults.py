"""Faults that are planted on purpose: each must make the simulation fail, or the simulation would prove nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roamd.roaming.ledger.chain import Random
from roamd.roaming.ledger.receiver import Arrival, Take
from roamd.roaming.ledger.take import TakeEntries
from roamd.storage.group import Job
from roamd.storage.ledgers import GENESIS
from roamd.storage.store import Cx
from tests.simulation.store import Disk, SimStore


@dataclass(frozen=True, slots=True)
class Faults:
    """Which store a node has, and how it takes what arrives; as they stand here nothing is wrong."""

    store: type[SimStore] = SimStore
    take: Callable[[Random], Take] = TakeEntries


HONEST = Faults()


class EagerStore(SimStore):
    """Says "done" when the work is handed in; it is committed a moment later, unless the process dies before."""

    def _submit(self, job: Job) -> None:
        if not self.is_paced:
            super()._submit(job)
            return
        outcome = self._tried(job)
        super()._submit(job._replace(done=lambda _: None))
        job.done(outcome)

    def _tried(self, job: Job) -> Any:
        """What it would give; nothing is kept."""
        self._writer.execute("BEGIN")
        try:
            if job.item is not None:
                return job.fn(self._read_cx, [job.item])[0]
            return job.fn(self._read_cx)
        except Exception as error:  # noqa: BLE001 - as the group's own edge: the error is the outcome
            return error
        finally:
            self._writer.execute("ROLLBACK")


class UnsyncedStore(SimStore):
    """Commits without a sync: everyone reads and sends what a crash then forgets."""

    LOST = 3

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._images: list[bytes] = []

    def committed(self) -> None:
        self._images = [*self._images, self.snapshot_bytes()][-self.LOST :]

    def after_crash(self) -> Disk:
        return self._images[0] if self._images else super().after_crash()


class ForgetfulTake:
    """Takes the records, and forgets how far it has come in the peer's chain."""

    def __init__(self, random: Random) -> None:
        self._take = TakeEntries(random)

    def __call__(self, cx: Cx, arrival: Arrival) -> bool:
        wrote = self._take(cx, arrival)
        cx.run("UPDATE chains SET tail_sequence = 0, tail_hash = ? WHERE chain_id = ?", (GENESIS, arrival.chain_id))
        cx.run("DELETE FROM entries WHERE id >> 40 = ?", (arrival.chain_id,))
        cx.run("DELETE FROM marks WHERE chain_id = ?", (arrival.chain_id,))
        return wrote


PLANTED = {
    "acknowledging before the commit": Faults(store=EagerStore),
    "sending before the commit is on the disk": Faults(store=UnsyncedStore),
    "forgetting the received mark": Faults(take=ForgetfulTake),
}
