"""What arrived in a peer's chain takes effect: a record is kept or refused, a refusal parks the record it names.

A refusal is an entry of our own chain, so the author gets it as surely as a record. It never stops the chain: the
refused entry is committed and receipted like any other.
"""

import hashlib
from dataclasses import dataclass

import msgspec

from roamd import metrics
from roamd.errors import Malformed, ProtocolError, RoamdError
from roamd.log import get_logger
from roamd.model.agreement import may_receive_record, owns_party
from roamd.model.objects import CheckedRecord, check_peer_record
from roamd.protocol.ledger import SALT_SIZE, EntryKind, LedgerItem, Refusal
from roamd.roaming.directory import Peer
from roamd.roaming.events import record_event_txn
from roamd.roaming.ledger.chain import Random, append_items_txn, own_chain_txn, record_entry_kind
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.ledger.receiver import Arrival
from roamd.roaming.ledger.refusals import refusal_reason, refuses
from roamd.roaming.ledger.words import WORDS, state_of, take_word_txn
from roamd.storage import ledgers, records
from roamd.storage.ledgers import EntryRow
from roamd.storage.records import DELIVERED, PARKED, RecordRow
from roamd.storage.store import Cx

log = get_logger()

RECORDS = frozenset({EntryKind.CDR, EntryKind.SDR, EntryKind.CREDIT})
SILENT = frozenset({EntryKind.EPOCH, EntryKind.REFUSED}) | WORDS
"""Kinds that are never answered by a refusal: two sides must not refuse each other's refusals for ever."""


class RefusedError(Exception):
    """Why a record is refused: a stable word and a sentence."""

    def __init__(self, reason: str, detail: str, party: str = "") -> None:
        super().__init__(detail)
        self.refusal = Refusal(party, reason, detail[:500])


@dataclass(slots=True)
class TakeEntries:
    """Takes arrived entries into effect (roaming.ledger.receiver.Take)."""

    random: Random

    def __call__(self, cx: Cx, arrival: Arrival) -> bool:
        """Everything in the receiver's transaction; whether a refusal went into our own chain."""
        refusals: list[LedgerItem] = []
        for item, row in arrival.items:
            try:
                self._take_txn(cx, arrival, item, row)
            except RefusedError as error:
                refusals.append(self._refused(cx, arrival, item, row, error.refusal))
        if not refusals:
            return False
        return self._answer_txn(cx, arrival, refusals)

    def _take_txn(self, cx: Cx, arrival: Arrival, item: LedgerItem, row: EntryRow) -> None:
        if item.kind in RECORDS:
            if not item.erased:
                take_record_txn(cx, arrival, item, row)
        elif item.kind == EntryKind.REFUSED:
            park_refused_txn(cx, arrival, item)
        elif item.kind in WORDS:
            take_word_txn(cx, arrival, item)
        elif item.kind not in SILENT:
            raise RefusedError("unsupported-kind", f"entries of kind {item.kind} are not supported here")

    def _refused(self, cx: Cx, arrival: Arrival, item: LedgerItem, row: EntryRow, refusal: Refusal) -> LedgerItem:
        metrics.record_refusals.labels(arrival.peer.label, "out").inc()
        log.warning("record_refused", peer=arrival.peer.label, reason=refusal.reason)
        chain = ledgers.get_chain(cx, arrival.chain_id)
        epoch = chain.epoch.hex() if chain is not None else ""
        placed = msgspec.structs.replace(refusal, epoch=epoch, sequence=row.sequence)
        return LedgerItem(EntryKind.REFUSED, item.record_id, self.random(SALT_SIZE), placed.pack())

    def _answer_txn(self, cx: Cx, arrival: Arrival, refusals: list[LedgerItem]) -> bool:
        if is_recovering(cx, arrival.peer.label):
            # Our chain takes nothing at this time, so this batch is not taken either: it comes again.
            raise RoamdError("a rollback is being mended")
        append_items_txn(cx, own_chain_txn(cx, arrival.peer.label, self.random), refusals, arrival.now_ms)
        return True


def take_record_txn(cx: Cx, arrival: Arrival, item: LedgerItem, row: EntryRow) -> None:
    """Keep a record and tell the backend; the same one again is nothing new. RefusedError when it is not to be had."""
    record = _checked(arrival.peer, item)
    body_hash = hashlib.sha256(record.body).digest()
    known = records.get(cx, "in", record.party, record.id, peer=arrival.peer.label)
    if known is not None:
        if known.body_hash != body_hash:
            raise RefusedError("record-differs", "a record with this id and other content came before", record.party)
        return
    taken = RecordRow(
        direction="in",
        party=record.party,
        record_id=record.id,
        peer=arrival.peer.label,
        kind=EntryKind(item.kind).name,
        state=DELIVERED,
        reason=None,
        ocpi=record.ocpi,
        body_hash=body_hash,
        body=None,
        chain_id=arrival.chain_id,
        sequence=row.sequence,
        authorization_reference=record.authorization_reference,
        created_ms=arrival.now_ms,
        updated_ms=arrival.now_ms,
    )
    # After a rollback of ours words about it may have come back before it.
    state, reason = state_of(cx, taken)
    taken = taken._replace(state=state, reason=reason)
    taken = taken._replace(id=records.put_txn(cx, taken))
    record_event_txn(cx, taken, "record.received", arrival.now_ms)


def _checked(peer: Peer, item: LedgerItem) -> CheckedRecord:
    """The record in an item, by a peer that may send it, of a party that is its own."""
    try:
        record = check_peer_record(item.ocpi or "2.3.0", item.body or b"")
    except Malformed as error:
        raise RefusedError("malformed", "; ".join(f"{f.path}: {f.message}" for f in error.faults[:5])) from error
    except RoamdError as error:
        raise RefusedError(error.code, str(error)) from error
    if not owns_party(peer.agreement, record.party):
        raise RefusedError("foreign-party", f"party {record.party} is not one of the sender's", record.party)
    if record.id != item.record_id:
        raise RefusedError("id-mismatch", "the record's id is not the entry's", record.party)
    if record_entry_kind(record) != item.kind:
        raise RefusedError("kind-mismatch", "the record is not of the entry's kind", record.party)
    if not may_receive_record(peer.agreement, record.kind):
        raise RefusedError("not-agreed", f"{record.kind} records are not agreed in this direction", record.party)
    return record


def park_refused_txn(cx: Cx, arrival: Arrival, item: LedgerItem) -> None:
    """The peer refuses a record of ours: it is PARKED with the peer's reason, unless it was sent again meanwhile."""
    if item.body is None:
        return
    try:
        refusal = Refusal.unpack(item.body)
    except ProtocolError:
        log.warning("refusal_unreadable", peer=arrival.peer.label)
        return
    for row in records.find(cx, item.record_id, direction="out"):
        if row.peer == arrival.peer.label and refuses(cx, refusal, row):
            reason = refusal_reason(arrival.peer.label, refusal)
            records.set_state_txn(cx, row.id, PARKED, reason, now_ms=arrival.now_ms)
            record_event_txn(cx, row._replace(state=PARKED, reason=reason), "record.state", arrival.now_ms)
            metrics.record_refusals.labels(arrival.peer.label, "in").inc()
