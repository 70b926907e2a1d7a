"""A daemon with a fault planted in it: `python -m tests.storm.planted FAULT run -c roamd.toml`.

A storm that finds nothing is worth only as much as what it would have found; these are what it must find.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import trio

from roamd.cli import main
from roamd.roaming import operations as op
from roamd.roaming.events import record_events_txn
from roamd.roaming.ledger import take
from roamd.roaming.records import Records
from roamd.storage.cx import Cx
from roamd.storage.records import RecordRow

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

    def twice(cx: Cx, rows: Iterable[RecordRow], type_: str, now_ms: int) -> None:
        record_events_txn(cx, [row for row in rows for _ in range(2)], type_, now_ms)

    vars(take).update(record_events_txn=twice)


FAULTS = {"acknowledge-early": acknowledge_early, "tell-twice": tell_twice}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
