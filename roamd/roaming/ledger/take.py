"""What arrived in a peer's chain takes effect: a record is kept or refused, a refusal parks the record it names.

A refusal is an entry of our own chain, so the author gets it as surely as a record. It never stops the chain: the
refused entry is committed and receipted like any other.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import msgspec

from roamd import metrics
from roamd.errors import Malformed, ProtocolError, RoamdError
from roamd.log import get_logger
from roamd.model.agreement import in_agreed_currency, may_receive_record, not_agreed, owns_party
from roamd.model.objects import CheckedRecord, check_peer_record
from roamd.protocol.ledger import SALT_SIZE, EntryKind, LedgerItem, Refusal
from roamd.roaming.directory import Peer
from roamd.roaming.events import record_event_txn, record_events_txn
from roamd.roaming.ledger.agreed import ABOUT_AGREEMENTS, DECIDING, decide_txn, hear_txn
from roamd.roaming.ledger.chain import Random, append_items_txn, own_chain_txn, record_entry_kind
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.ledger.receiver import Arrival
from roamd.roaming.ledger.refusals import other_place_txn, refusal_reason, refuses
from roamd.roaming.ledger.stated import take_statement_txn
from roamd.roaming.ledger.words import WORDS, state_of, take_word_txn
from roamd.roaming.privacy.asks import Keep, answer_txn, operator_decides, take_answer_txn, take_refusal_txn
from roamd.roaming.recordrow import Beginning, row_of
from roamd.storage import accounts, erasure, ledgers, records
from roamd.storage.ledgers import EntryRow
from roamd.storage.records import DELIVERED, PARKED, RecordRow
from roamd.storage.store import Cx

log = get_logger()

RECORDS = frozenset({EntryKind.CDR, EntryKind.SDR, EntryKind.CREDIT})
SILENT = frozenset({EntryKind.EPOCH, EntryKind.REFUSED, EntryKind.ERASURE, EntryKind.ERASURE_ANSWER}) | WORDS | DECIDING
"""Kinds that are never answered by a refusal: two sides must not refuse each other's refusals for ever."""


class RefusedError(Exception):
    """Why a record is refused: a stable word and a sentence."""

    def __init__(self, reason: str, detail: str, party: str = "") -> None:
        super().__init__(detail)
        self.refusal = Refusal(party, reason, detail[:500])


class Refused(NamedTuple):
    """An entry that is not to be had, and why."""

    item: LedgerItem
    row: EntryRow
    refusal: Refusal


@dataclass(slots=True)
class TakeEntries:
    """Takes arrived entries into effect (roaming.ledger.receiver.Take). `keep` tells how long records are kept here.

    `agreed` is told, inside the transaction, of a peer whose agreements may have changed.
    """

    random: Random
    keep: Keep = operator_decides
    agreed: Callable[[str], None] = lambda label: None

    def __call__(self, cx: Cx, arrival: Arrival) -> bool:
        """Everything in the receiver's transaction; whether a refusal or an answer went into our own chain."""
        refused: list[Refused] = []
        items = _without_erased_txn(cx, arrival)
        # Records that follow each other are stored together; what is said of a record comes behind it.
        for are_records, some in groupby(items, lambda pair: pair[0].kind in RECORDS):
            take = take_records_txn if are_records else _take_others_txn
            refused += take(cx, arrival, list(some))
        answers = self._refused(cx, arrival, refused)
        for item, _ in items:
            if item.kind in ABOUT_AGREEMENTS:
                self.agreed(arrival.peer.label)
            if item.kind == EntryKind.ERASURE:
                answers += answer_txn(cx, arrival.peer.label, item, self.random, self.keep, arrival.now_ms)
        return bool(answers) and self._answer_txn(cx, arrival, answers)

    def _refused(self, cx: Cx, arrival: Arrival, refused: Sequence[Refused]) -> list[LedgerItem]:
        """Our answers; what is refused for one reason is one line of the log, for thousands come in a few bytes."""
        if not refused:
            return []
        label = arrival.peer.label
        for reason, count in Counter(each.refusal.reason for each in refused).items():
            log.warning("record_refused", peer=label, reason=reason, count=count)
        metrics.record_refusals.labels(label, "out").inc(len(refused))
        chain = ledgers.get_chain(cx, arrival.chain_id)
        epoch = chain.epoch.hex() if chain is not None else ""
        return [self._refusal(item, row, refusal, epoch) for item, row, refusal in refused]

    def _refusal(self, item: LedgerItem, row: EntryRow, refusal: Refusal, epoch: str) -> LedgerItem:
        placed = msgspec.structs.replace(refusal, epoch=epoch, sequence=row.sequence)
        return LedgerItem(EntryKind.REFUSED, item.record_id, self.random(SALT_SIZE), placed.pack())

    def _answer_txn(self, cx: Cx, arrival: Arrival, answers: list[LedgerItem]) -> bool:
        if is_recovering(cx, arrival.peer.label):
            # Our chain takes nothing at this time, so this batch is not taken either: it comes again.
            raise RoamdError("a rollback is being mended")
        append_items_txn(cx, own_chain_txn(cx, arrival.peer.label, self.random), answers, arrival.now_ms)
        return True


def _without_erased_txn(cx: Cx, arrival: Arrival) -> list[tuple[LedgerItem, EntryRow]]:
    """What arrived but for what was erased here before it came again (after a rollback of ours): that stays erased."""
    first, last = arrival.items[0][1].sequence, arrival.items[-1][1].sequence
    erased = erasure.erased_within(cx, arrival.chain_id, first, last)
    for sequence in erased:
        erasure.erase_entry_txn(cx, arrival.chain_id, sequence)
    return [(item, row) for item, row in arrival.items if row.sequence not in erased]


def _take_others_txn(cx: Cx, arrival: Arrival, items: Sequence[tuple[LedgerItem, EntryRow]]) -> list[Refused]:
    refused = []
    for item, row in items:
        if item.kind == EntryKind.REFUSED:
            park_refused_txn(cx, arrival, item)
            take_refusal_txn(cx, arrival.peer.label, item, arrival.now_ms)
            decide_txn(cx, arrival.peer, row, arrival.now_ms)
        elif item.kind == EntryKind.ERASURE_ANSWER:
            take_answer_txn(cx, arrival.peer.label, item, arrival.now_ms)
        elif item.kind in WORDS:
            take_word_txn(cx, arrival, item)
        elif item.kind in ABOUT_AGREEMENTS:
            refusal = hear_txn(cx, arrival, item, row)
            refused += [Refused(item, row, refusal)] if refusal is not None else []
        elif item.kind == EntryKind.STATEMENT:
            take_statement_txn(cx, arrival, item, row)
        elif item.kind not in SILENT:
            detail = f"entries of kind {item.kind} are not supported here"
            refused.append(Refused(item, row, Refusal("", "unsupported-kind", detail)))
    return refused


def take_records_txn(cx: Cx, arrival: Arrival, items: Sequence[tuple[LedgerItem, EntryRow]]) -> list[Refused]:
    """Keep records and tell the backend; the same one again is nothing new. Those that are not to be had."""
    good, refused = [], []
    for item, entry in items:
        try:
            if not item.erased:
                good.append((item, entry, _record_row(arrival, item, entry)))
        except RefusedError as error:
            refused.append(Refused(item, entry, error.refusal))
    fresh = []
    numbers = records.add_many_txn(cx, [row for _, _, row in good])
    for (item, entry, row), number in zip(good, numbers, strict=True):
        if number:
            fresh.append(row._replace(id=number))
        elif not _is_known_txn(cx, row):
            detail = "a record with this id and other content came before"
            refused.append(Refused(item, entry, Refusal(row.party, "record-differs", detail)))
    record_events_txn(cx, _as_spoken_of_txn(cx, fresh), "record.received", arrival.now_ms)
    return refused


def _record_row(arrival: Arrival, item: LedgerItem, entry: EntryRow) -> RecordRow:
    """A record as it is kept. RefusedError when it is not to be had."""
    record = _checked(arrival.peer, item)
    begins = Beginning("in", arrival.peer.label, DELIVERED, None, arrival.now_ms)
    return row_of(record, begins, hashlib.sha256(record.body).digest(), (arrival.chain_id, entry.sequence))


def _is_known_txn(cx: Cx, row: RecordRow) -> bool:
    """Whether it came before. One that was erased since is not filled again, wherever in the chain it comes."""
    known = records.get(cx, "in", row.party, row.record_id, peer=row.peer)
    if known is not None and erasure.is_erased(known):
        erasure.erase_entry_txn(cx, row.chain_id or 0, row.sequence or 0)
        return True
    return known is not None and known.body_hash == row.body_hash


def _as_spoken_of_txn(cx: Cx, rows: list[RecordRow]) -> list[RecordRow]:
    """After a rollback of ours words about a record may have come back before it: it stands as they say."""
    spoken_of = ledgers.spoken_of(cx, [row.record_id for row in rows], WORDS)
    return [_moved_txn(cx, row) if row.record_id in spoken_of else row for row in rows]


def _moved_txn(cx: Cx, row: RecordRow) -> RecordRow:
    state, reason = state_of(cx, row)
    records.set_state_txn(cx, row.id, state, reason, now_ms=row.updated_ms)
    return row._replace(state=state, reason=reason)


def _checked(peer: Peer, item: LedgerItem) -> CheckedRecord:
    """The record in an item, by a peer that may send it, of a party that is its own."""
    try:
        record = check_peer_record(item.ocpi or "2.3.0", item.body or b"")
    except Malformed as error:
        raise RefusedError("malformed", "; ".join(f"{f.path}: {f.message}" for f in error.faults[:5])) from error
    except RoamdError as error:
        raise RefusedError(error.code, str(error)) from error
    if not owns_party(peer.agreement, record.party):
        detail = f"party {record.party} is not one of the sender's; {not_agreed(peer.agreement, 'parties')}"
        raise RefusedError("foreign-party", detail, record.party)
    if record.id != item.record_id:
        raise RefusedError("id-mismatch", "the record's id is not the entry's", record.party)
    if record_entry_kind(record) != item.kind:
        raise RefusedError("kind-mismatch", "the record is not of the entry's kind", record.party)
    if not may_receive_record(peer.agreement, record.kind):
        raise RefusedError("not-agreed", not_agreed(peer.agreement, f"records.{record.kind}"), record.party)
    if not in_agreed_currency(peer.agreement, record.body):
        raise RefusedError("not-agreed", not_agreed(peer.agreement, "currencies"), record.party)
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
            if (there := other_place_txn(cx, row)) is not None:
                _follow_txn(cx, there, arrival.now_ms)
                continue
            reason = refusal_reason(arrival.peer.label, refusal)
            records.set_state_txn(cx, row.id, PARKED, reason, now_ms=arrival.now_ms)
            record_event_txn(cx, row._replace(state=PARKED, reason=reason), "record.state", arrival.now_ms)
            metrics.record_refusals.labels(arrival.peer.label, "in").inc()


def _follow_txn(cx: Cx, there: RecordRow, now_ms: int) -> None:
    """The record stands with another peer than the one that refused it."""
    if there.state == DELIVERED:
        state, reason = state_of(cx, there)
        there = there._replace(state=state, reason=reason)
    records.put_txn(cx, there)
    accounts.moved_txn(cx, there.id, there.peer or "")
    record_event_txn(cx, there, "record.state", now_ms)
