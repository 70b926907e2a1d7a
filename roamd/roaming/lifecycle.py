"""Accept, dispute, close and credit: what the operator, the backend and time do with delivered records.

Who received a record accepts or disputes it, and its daemon closes it when the agreed time has passed without a
dispute; who wrote it credits it, alone or with a replacement. Each is an entry of the speaker's own chain
(`ledger.words`), committed before the answer, and reaches the other side as surely as a record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from roamd.clock import Clock
from roamd.errors import Conflict, Fault, Malformed
from roamd.log import get_logger
from roamd.model.keys import fold
from roamd.model.lifecycle import ACCEPTED, CREDITED, DELIVERED, DISPUTED
from roamd.model.objects import CheckedRecord
from roamd.model.terms import Terms
from roamd.protocol.ledger import EntryKind, Word
from roamd.roaming import operations as op
from roamd.roaming.directory import Directory
from roamd.roaming.intake import Destination, Handed, take_in_txn
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ledger.words import say_txn, words_of
from roamd.roaming.ports import Reply
from roamd.roaming.records import as_reply, find_one
from roamd.storage import records
from roamd.storage.records import RecordRow
from roamd.storage.store import Cx, Store

log = get_logger()

DAY_MS = 86_400_000
CLOSED_AT_ONCE = 256
"""Records that time closes in one transaction; the next group follows when that is committed."""


@dataclass(slots=True)
class Lifecycle:
    """Handles the operations. `queued(peer)` is called after a commit that put something into our chain towards it."""

    clock: Clock
    store: Store
    directory: Directory
    random: Random
    queued: Callable[[str], None]

    # --- who received it --------------------------------------------------------------------------------------------

    def judge(self, operation: op.JudgeRecord, reply: Reply) -> None:
        """JudgeRecord -> RecordReply: our word about a received record, committed."""
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> op.RecordReply:
            row = self._of_ledger(find_one(cx, operation.record_id, operation.party, "in"))
            if row.state == operation.word == ACCEPTED:
                return as_reply(row)
            if operation.word == DISPUTED:
                self._require_in_time(row, now_ms)
            word = Word(row.party, operation.reason, operation.detail, list(operation.evidence))
            return as_reply(say_txn(cx, row, EntryKind[operation.word], word, self.random, now_ms))

        self._write(txn, reply)

    def _of_ledger(self, row: RecordRow) -> RecordRow:
        """The row; Conflict when its partner speaks plain OCPI, and nothing can be said of it in a ledger."""
        if self.directory.is_plain(row.peer):
            raise Conflict(
                f"{row.peer} speaks plain OCPI: a credit is a CDR of its own, and disputes go by letter.",
                code="plain-ocpi",
            )
        return row

    def _require_in_time(self, row: RecordRow, now_ms: int) -> None:
        days = self.terms(row.peer).dispute_days
        if now_ms > row.created_ms + days * DAY_MS:
            raise Conflict(f"It was received more than {days} days ago (terms.dispute_days).", code="too-late")

    def terms(self, peer: str | None) -> Terms:
        """What is agreed with a peer about records."""
        found = self.directory.find(peer) if peer is not None else None
        return found.agreement.terms if found is not None else Terms()

    # --- who wrote it -----------------------------------------------------------------------------------------------

    def credit(self, operation: op.CreditRecord, reply: Reply) -> None:
        """CreditRecord -> RecordReply of the credited record; credit, replacement and our word in one transaction."""
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> op.RecordReply:
            row = self._of_ledger(find_one(cx, operation.record_id, operation.party, "out"))
            require_credit_of(row, operation.credit)
            parts = [operation.credit, *((operation.replacement,) if operation.replacement else ())]
            (taken,) = take_in_txn(cx, [Handed([(part, Destination(row.peer)) for part in parts], now_ms)], self.random)
            if isinstance(taken, Conflict):
                raise taken
            if row.state == CREDITED and any(said.word.credit == operation.credit.id for said in words_of(cx, row)):
                return as_reply(row)
            replacement = operation.replacement.id if operation.replacement else ""
            return as_reply(credited_txn(cx, row, operation.credit.id, replacement, self.random, now_ms))

        self._write(txn, reply)

    def _write(self, txn: Callable[[Cx], op.RecordReply], reply: Reply) -> None:
        def done(outcome: op.RecordReply | BaseException) -> None:
            if not isinstance(outcome, BaseException) and outcome.peer is not None:
                self.queued(outcome.peer)
            reply(outcome)

        self.store.submit(txn, done)

    # --- time -------------------------------------------------------------------------------------------------------

    def close_due(self) -> None:
        """Say FINAL of received records whose time for disputes, and that for second thoughts, has passed."""
        for peer in self.directory:
            due_ms = self.clock.now_ms() - self.terms(peer.label).final_days * DAY_MS
            if self.store.read(partial(records.undisputed, peer=peer.label, received_before_ms=due_ms, limit=1)):
                self._close_some(peer.label, due_ms)

    def _close_some(self, peer: str, due_ms: int) -> None:
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> int:
            due = records.undisputed(cx, peer, due_ms, CLOSED_AT_ONCE)
            for row in due:
                word = Word(row.party, "time", "the agreed time has passed without a dispute")
                say_txn(cx, row, EntryKind.FINAL, word, self.random, now_ms)
            return len(due)

        def done(outcome: int | BaseException) -> None:
            if isinstance(outcome, BaseException):
                log.info("records_not_closed", peer=peer, reason=str(outcome))
                return
            if outcome:
                log.info("records_closed", peer=peer, count=outcome)
                self.queued(peer)
            if outcome == CLOSED_AT_ONCE:
                self._close_some(peer, due_ms)

        self.store.submit(txn, done)


def require_credit_of(row: RecordRow, credit: CheckedRecord) -> None:
    """Malformed unless it is a credit CDR that names the record."""
    if not credit.credit:
        raise Malformed((Fault("$.credit.credit", "must be true: it is a credit", "not-a-credit"),))
    if fold(credit.credit_reference_id or "") != fold(row.record_id) or credit.party != row.party:
        raise Malformed((Fault("$.credit.credit_reference_id", f"must be {row.record_id}", "other-record"),))


def credited_txn(cx: Cx, row: RecordRow, credit: str, replacement: str, random: Random, now_ms: int) -> RecordRow:
    """Our word that a record of ours is credited; Conflict where it cannot be."""
    if row.state not in (DELIVERED, "QUEUED", ACCEPTED, DISPUTED, "FINAL"):
        raise Conflict(f"The record is {row.state}; it cannot be credited.", code="wrong-state")
    kind = EntryKind.CORRECTED if replacement else EntryKind.CREDITED
    return say_txn(cx, row, kind, Word(row.party, credit=credit, replacement=replacement), random, now_ms)
