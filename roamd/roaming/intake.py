"""Taking records in: each gets its row and its place in the chain towards its peer, in one transaction.

Records that wait for the writer together are taken in together (`Store.submit_each`): the chain of a peer is looked up,
continued and written back once for all of them. What one backend handed in stays one: if one of its records
contradicts a stored one, none of it is stored, and what others handed in is not touched by it.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roamd.errors import Conflict
from roamd.model.keys import fold
from roamd.model.objects import CheckedRecord
from roamd.protocol.ledger import SALT_SIZE, EntryKind, LedgerItem
from roamd.roaming.ledger.chain import Random, append_items_txn, own_chain_txn
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.recordrow import Beginning, row_of
from roamd.storage import erasure, peers, records
from roamd.storage.records import PARKED, QUEUED, RecordRow
from roamd.storage.store import Cx


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a record goes: a peer's label, or None with the reason why nowhere."""

    peer: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Handed:
    """What a backend handed in at once."""

    records: Sequence[tuple[CheckedRecord, Destination]]
    now_ms: int


Taken = list[RecordRow] | Conflict
"""The rows in the order of the records, new ones and those that were there before; or why nothing was stored."""

_Known = dict[tuple[str, str], RecordRow]


def not_plain(peer: str | None) -> bool:
    """Where every partner runs roamd."""
    del peer
    return False


def take_in_txn(
    cx: Cx, handed: Sequence[Handed], random: Random, is_plain: Callable[[str | None], bool] = not_plain
) -> list[Taken]:
    """Take in what was handed in, one after the other."""
    known = records.own_of(cx, (_key(record) for each in handed for record, _ in each.records))
    labels = dict.fromkeys(to.peer for each in handed for _, to in each.records if to.peer is not None)
    gone = {label for label in labels if peers.is_removed(cx, label)}  # since the way was looked up
    fresh: _Known = {}
    taken = [_look(each, known, fresh, gone) for each in handed]
    store_txn(cx, list(fresh.values()), random, is_plain)
    return taken


def _key(record: CheckedRecord) -> tuple[str, str]:
    return record.party, fold(record.id)


def _look(handed: Handed, known: _Known, fresh: _Known, gone: set[str]) -> Taken:
    """The rows of one delivery; those that are new are put into `fresh`, unless something contradicts."""
    new: _Known = {}
    rows = []
    for record, destination in handed.records:
        key = _key(record)
        row = new.get(key) or fresh.get(key) or known.get(key)
        body_hash = hashlib.sha256(record.body).digest()
        if row is None:
            if destination.peer in gone:
                destination = Destination(None, f"{destination.peer} was removed")
            state = QUEUED if destination.peer else PARKED
            begins = Beginning("out", destination.peer, state, destination.reason, handed.now_ms)
            row = new[key] = row_of(record, begins, body_hash)
        elif erasure.is_erased(row):
            return Conflict(f"The record {record.id!r} was erased and is not taken again.", code="erased")
        elif row.body_hash != body_hash:
            return Conflict(f"A record {record.id!r} with other content was handed in before.", code="record-differs")
        rows.append(row)
    fresh |= new
    return rows


def store_txn(
    cx: Cx, rows: Sequence[RecordRow], random: Random, is_plain: Callable[[str | None], bool] = not_plain
) -> None:
    """Store rows, each with a place in its peer's chain unless that is being mended or it has no peer.

    With a peer that speaks plain OCPI (`is_plain`) there is no chain.
    """
    for peer in dict.fromkeys(row.peer for row in rows):
        of_peer = [row for row in rows if row.peer == peer]
        if peer is not None and not is_plain(peer) and not is_recovering(cx, peer):
            of_peer = _placed_txn(cx, peer, of_peer, random)
        records.put_many_txn(cx, of_peer)


def _placed_txn(cx: Cx, peer: str, rows: Sequence[RecordRow], random: Random) -> list[RecordRow]:
    drawn = random(SALT_SIZE * len(rows))  # at once: each draw is a call into the kernel
    salts = [drawn[at : at + SALT_SIZE] for at in range(0, len(drawn), SALT_SIZE)]
    items = [
        LedgerItem(EntryKind[row.kind], row.record_id, salt, row.body, ocpi=row.ocpi)
        for row, salt in zip(rows, salts, strict=True)
    ]
    before = own_chain_txn(cx, peer, random)
    append_items_txn(cx, before, items, rows[0].updated_ms)
    first = before.tail_sequence + 1
    return [
        row._replace(chain_id=before.chain_id, sequence=sequence, body=None) for sequence, row in enumerate(rows, first)
    ]
