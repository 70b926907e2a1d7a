"""A daemon with a fault planted in it: `python -m tests.storm.planted FAULT run -c roamd.toml`.

A storm that finds nothing is worth only as much as what it would have found; these are what it must find.
"""

import sys
from collections.abc import Callable
from typing import Any

import trio

from roamd.cli import main
from roamd.protocol.ledger import LedgerItem
from roamd.roaming import operations as op
from roamd.roaming.events import record_event_txn
from roamd.roaming.ledger import take
from roamd.roaming.ledger.receiver import Arrival
from roamd.roaming.records import Records
from roamd.storage import records
from roamd.storage.cx import Cx
from roamd.storage.ledgers import EntryRow

LATE_S = 0.4


def acknowledge_early() -> None:
    """A record is answered with 202 before it is committed."""
    post = Records.post

    def early(self: Records, operation: op.PostRecords, reply: Callable[[Any], None]) -> None:
        reply([_promise(record) for record in operation.records])

        async def later() -> None:
            await trio.sleep(LATE_S)
            post(self, operation, lambda _: None)

        trio.lowlevel.spawn_system_task(later)

    Records.post = early  # type: ignore[method-assign]  # the fault


def _promise(record: Any) -> op.RecordReply:
    return op.RecordReply(
        record_id=record.id, state="QUEUED", peer=None, party=record.party, kind=record.kind, direction="out",
        reason=None, created_at="", updated_at="",
    )  # fmt: skip


def tell_twice() -> None:
    """A record that arrived is told to the backend twice."""
    take_in = take.take_record_txn

    def twice(cx: Cx, arrival: Arrival, item: LedgerItem, row: EntryRow) -> None:
        take_in(cx, arrival, item, row)
        if (known := records.get(cx, "in", "BERMC", item.record_id, peer=arrival.peer.label)) is not None:
            record_event_txn(cx, known, "record.received", arrival.now_ms)

    take.take_record_txn = twice


FAULTS = {"acknowledge-early": acknowledge_early, "tell-twice": tell_twice}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
