"""Service records to and from a partner without roamd: what is sent is noted before and after, and nobody signs it.

The law holds as everywhere: a record is QUEUED until the partner has answered that it has it (DELIVERED: settled by
answer), or PARKED when it says that it will not. A try whose answer was lost, in a crash or on the way, is made again:
in OCPI nobody can ask for a CDR whose address he was not told. So a partner may see a CDR twice, and never none.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from roamd.clock import Clock
from roamd.errors import Conflict, Forbidden
from roamd.model.agreement import may_receive_record, not_agreed, owns_party
from roamd.model.objects import CheckedRecord
from roamd.roaming import operations as op
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.events import record_body, record_event_txn
from roamd.roaming.lists import answer
from roamd.roaming.plainocpi import asked
from roamd.roaming.ports import Reply
from roamd.roaming.recordrow import Beginning, row_of
from roamd.roaming.records import as_reply
from roamd.storage import erasure, plainocpi, records
from roamd.storage.plainocpi import SentRow
from roamd.storage.records import DELIVERED, PARKED, RecordRow
from roamd.storage.store import Cx, Store


@dataclass(slots=True)
class PlainRecords:
    """Handles the operations. `events_written` is called after each commit that the backend should hear of."""

    clock: Clock
    store: Store
    directory: Directory
    events_written: Callable[[], None]

    def next(self, operation: asked.NextRecord, reply: Reply) -> None:
        """NextRecord -> DueRecord, or None."""

        def read(cx: Cx) -> asked.DueRecord | None:
            for row in records.page(cx, 0, 1, state=records.QUEUED, peer=operation.peer, direction="out"):
                unsure = any(sent.http is None for sent in plainocpi.sent_of(cx, row.id))
                body = record_body(cx, row) or b""
                return asked.DueRecord(row.id, row.party, row.record_id, row.ocpi, unsure, body)
            return None

        answer(self.store, read, reply)

    def note(self, operation: asked.NoteSent, reply: Reply) -> None:
        """NoteSent -> None. It may be written when the disk is full: what was sent must be known."""
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> None:
            row = records.get_by_id(cx, operation.number)
            if row is None:
                return
            if operation.outcome != "waits":
                sent = SentRow(
                    operation.peer, row.id, row.body_hash, now_ms, operation.http, operation.ocpi, operation.location
                )
                plainocpi.sent_txn(cx, sent)
            state = {"taken": DELIVERED, "refused": PARKED}.get(operation.outcome)
            moved = plainocpi.move_queued_txn(cx, row, state, operation.reason, now_ms) if state else None
            if moved is not None:
                record_event_txn(cx, moved, "record.state", now_ms)

        def done(outcome: BaseException | None) -> None:
            self.events_written()
            reply(outcome)

        self.store.submit(txn, done, essential=True)

    def take(self, operation: asked.TakeRecords, reply: Reply) -> None:
        """TakeRecords -> list of RecordReply."""
        peer, now_ms = self.directory.get(operation.peer), self.clock.now_ms()
        for record in operation.records:
            _require_agreed(peer, record)

        def txn(cx: Cx) -> list[op.RecordReply]:
            return [as_reply(_take_txn(cx, peer, record, now_ms)) for record in operation.records]

        def done(outcome: list[op.RecordReply] | BaseException) -> None:
            if not isinstance(outcome, BaseException):
                self.events_written()
            reply(outcome)

        self.store.submit(txn, done)


def _require_agreed(peer: Peer, record: CheckedRecord) -> None:
    if not owns_party(peer.agreement, record.party):
        raise Forbidden(not_agreed(peer.agreement, "parties"), code="foreign-party")
    if not may_receive_record(peer.agreement, record.kind):
        raise Forbidden(not_agreed(peer.agreement, f"records.{record.kind}"), code="not-agreed")


def _take_txn(cx: Cx, peer: Peer, record: CheckedRecord, now_ms: int) -> RecordRow:
    known = records.get(cx, "in", record.party, record.id, peer=peer.label)
    begins = Beginning("in", peer.label, DELIVERED, "by plain OCPI; not signed", now_ms)
    row = row_of(record, begins, hashlib.sha256(record.body).digest())
    if known is not None:
        if known.body_hash != row.body_hash and not erasure.is_erased(known):
            raise Conflict(f"A record {record.id!r} with other content came before.", code="record-differs")
        return known
    row = row._replace(id=records.put_txn(cx, row))
    record_event_txn(cx, row, "record.received", now_ms)
    return row
