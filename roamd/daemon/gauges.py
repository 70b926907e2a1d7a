"""What stands at a moment, for `/metrics`: read every ten seconds, since nobody feeds it when it changes."""

from dataclasses import dataclass

import trio

from roamd import metrics
from roamd.discovery.board import Board
from roamd.roaming.directory import Directory
from roamd.storage import records
from roamd.storage.records import Counts
from roamd.storage.store import Store

LOOK_S = 10.0
_NONE = Counts(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Gauges:
    """A task of the daemon's nursery; runs until cancelled."""

    store: Store
    directory: Directory
    board: Board

    async def run(self) -> None:
        while True:
            self.read()
            await trio.sleep(LOOK_S)

    def read(self) -> None:
        """Set them all."""
        metrics.store_full.set(self.store.full)
        for source, count in self.board.seen_by_source().items():
            metrics.candidates.labels(source).set(count)
        counts = self.store.read(records.counts)
        for peer in (*self.directory, *self.directory.plain):
            of_peer = counts.get(peer.label, _NONE)
            metrics.queue_records.labels(peer.label, "QUEUED").set(of_peer.queued)
            metrics.queue_records.labels(peer.label, "PARKED").set(of_peer.parked)
