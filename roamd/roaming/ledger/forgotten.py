"""The other half of mending a rollback: giving back forgotten entries, and taking our own back into the records."""

import hashlib

from roamd.errors import ProtocolError, RoamdError
from roamd.model.objects import check_peer_record
from roamd.protocol.bulk import LedgerBatch, pack_fetch_answer
from roamd.protocol.calls import MAX_FETCH_PAYLOAD, LedgerFetch
from roamd.protocol.ledger import EntryKind, LedgerItem
from roamd.protocol.messages import AnswerStatus, Call
from roamd.roaming.calls import Respond
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.agreed import ABOUT_AGREEMENTS, fold_txn
from roamd.roaming.ledger.chain import as_item
from roamd.roaming.ledger.refusals import note_other_place_txn, refused_as
from roamd.roaming.ledger.stated import regain_statement_txn
from roamd.roaming.ledger.words import WORDS, regain_word_txn, state_of
from roamd.roaming.privacy.asks import regain_ask_txn
from roamd.roaming.recordrow import Beginning, row_of
from roamd.storage import accounts, agreements, erasure, ledgers, records
from roamd.storage.ledgers import EntryRow
from roamd.storage.store import Cx, Store

RECORD_KINDS = frozenset({EntryKind.CDR, EntryKind.SDR, EntryKind.CREDIT})


def regain_txn(cx: Cx, peer: Peer, chain_id: int, item: LedgerItem, row: EntryRow) -> None:
    """An entry that we had forgotten is back, and what follows from it."""
    if item.kind in WORDS:
        regain_word_txn(cx, peer, item, row)
    if item.kind in ABOUT_AGREEMENTS or _refuses_agreement(cx, peer, item):
        fold_txn(cx, peer, item.record_id, row.at_ms)
    if item.kind == EntryKind.ERASURE:
        regain_ask_txn(cx, peer.label, ledgers.place(chain_id, row.sequence), item, row.at_ms)
    if item.kind == EntryKind.STATEMENT:
        regain_statement_txn(cx, peer.label, (chain_id, row.sequence), item, row.at_ms)
    if item.kind in RECORD_KINDS and item.body is not None:
        _regain_record_txn(cx, peer, chain_id, item, item.body, row)


def _refuses_agreement(cx: Cx, peer: Peer, item: LedgerItem) -> bool:
    """Refusals of records are many, and nothing is folded for them."""
    return item.kind == EntryKind.REFUSED and agreements.get(cx, peer.label, item.record_id) is not None


def _regain_record_txn(cx: Cx, peer: Peer, chain_id: int, item: LedgerItem, body: bytes, row: EntryRow) -> None:
    """The record is DELIVERED, for the peer has it; or has refused it.

    If the backend has handed the same record in again meanwhile, that one takes this place instead of a second one;
    with another content it is parked for a person to look at.
    """
    if erasure.erased_within(cx, chain_id, row.sequence, row.sequence):
        erasure.erase_entry_txn(cx, chain_id, row.sequence)
        return
    try:
        checked = check_peer_record(item.ocpi or "2.3.0", body)
    except RoamdError:
        return
    body_hash = hashlib.sha256(body).digest()
    again = records.get(cx, "out", checked.party, checked.id)
    if again is not None and erasure.is_erased(again):
        erasure.erase_entry_txn(cx, chain_id, row.sequence)
        records.put_txn(cx, again._replace(chain_id=chain_id, sequence=row.sequence))
        return
    if again is not None and again.body_hash != body_hash:
        records.set_state_txn(
            cx, again.id, records.PARKED, "the peer holds another content under this id", now_ms=row.at_ms
        )
        return
    begins = Beginning("out", peer.label, records.DELIVERED, None, row.at_ms)
    regained = row_of(checked, begins, body_hash, (chain_id, row.sequence))
    state, why = state_of(cx, regained)
    reason = refused_as(cx, peer.label, regained)
    if again is not None and again.peer not in (None, peer.label):
        if reason is not None:
            return  # it was refused here, and went to another peer since
        note_other_place_txn(cx, again)
    regained = regained._replace(state=state if reason is None else records.PARKED, reason=reason or why)
    accounts.moved_txn(cx, records.put_txn(cx, regained), peer.label)


class LedgerFetches:
    """Answers calls of service LEDGER_FETCH: who lost entries of one of the two chains asks for them again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def answer(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve one call (roaming.calls.Service)."""
        del deadline_at
        try:
            request = LedgerFetch.unpack(call.body)
        except ProtocolError as error:
            respond(AnswerStatus.MALFORMED, str(error).encode())
            return
        respond(AnswerStatus.ANSWERED, self._store.read(lambda cx: _page(cx, peer, request)))


def _page(cx: Cx, peer: Peer, request: LedgerFetch) -> bytes:
    chain = ledgers.chain_of_epoch(cx, peer.label, own=request.yours, epoch=request.epoch)
    if chain is None:
        return b""
    before = ledgers.get_entry(cx, chain.chain_id, request.after_sequence) if request.after_sequence else None
    previous = before.hash if before is not None else ledgers.GENESIS
    # Text shrinks at least to a third in most cases; what does not fit after all is left for the next fetch.
    rows = ledgers.entries(
        cx, chain.chain_id, request.after_sequence, max_rows=request.limit, max_bytes=3 * MAX_FETCH_PAYLOAD
    )
    if not rows or (request.after_sequence and before is None):
        return b""
    head = ledgers.covering_head(cx, chain.chain_id, rows[-1].sequence) or ledgers.newest_head(cx, chain.chain_id)
    if head is None:
        return b""
    items = [as_item(row) for row in rows]
    return pack_fetch_answer(LedgerBatch(chain.epoch, rows[0].sequence, previous, head.time_ms, head.signature, items))
