"""Appending to chains inside a transaction: where `protocol.ledger` makes the hashes and `storage.ledgers` keeps order.

An own chain is opened with its first entry. While a rollback is being mended (see `rollback`) an own chain takes no
entries: records then wait without a place, and get one when the new epoch opens.
"""

from collections.abc import Callable, Sequence

from roamd.model.objects import CheckedRecord
from roamd.protocol.ledger import EntryKind, LedgerItem, entry_bytes, entry_hash, item_commitment
from roamd.roaming.ledger.sound import body_holds
from roamd.storage import ledgers
from roamd.storage.ledgers import Chain, EntryRow
from roamd.storage.store import Cx

Random = Callable[[int], bytes]


def own_chain_txn(cx: Cx, peer: str, random: Random) -> Chain:
    """The open own chain towards a peer; the first one is opened here."""
    chain = ledgers.current_chain(cx, peer, own=True)
    return chain or ledgers.open_chain_txn(cx, peer, own=True, epoch=random(16))


def append_items_txn(cx: Cx, chain: Chain, items: Sequence[LedgerItem], now_ms: int) -> Chain:
    """Append the items to the chain's tail; the chain as it is then."""
    rows = entry_rows(chain.tail_hash, chain.tail_sequence + 1, items, now_ms)
    ledgers.append_many_txn(cx, chain.chain_id, chain.tail_hash, rows)
    return chain._replace(tail_sequence=rows[-1].sequence, tail_hash=rows[-1].hash)


def entry_rows(previous_hash: bytes, first: int, items: Sequence[LedgerItem], now_ms: int) -> list[EntryRow]:
    """The rows of items that are chained on to `previous_hash`."""
    rows = []
    for sequence, item in enumerate(items, first):
        committed = item_commitment(item)
        previous_hash = entry_hash(entry_bytes(sequence, previous_hash, item.kind, item.record_id, committed))
        content = (item.salt, item.body, now_ms, item.ocpi)
        rows.append(EntryRow(sequence, item.kind, item.record_id, committed, previous_hash, *content))
    return rows


def record_entry_kind(record: CheckedRecord) -> EntryKind:
    """The ledger's kind of a record; a credit CDR is a CREDIT."""
    return EntryKind.CREDIT if record.credit else EntryKind[record.kind]


def as_item(row: EntryRow) -> LedgerItem:
    """An entry as it travels; one that was erased, or whose body the disk lost, goes as its commitment alone."""
    if row.body is None or not body_holds(row):
        return LedgerItem(row.kind, row.record_id, commitment=row.commitment, ocpi=row.ocpi)
    return LedgerItem(row.kind, row.record_id, row.salt, row.body, ocpi=row.ocpi)
