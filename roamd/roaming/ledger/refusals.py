"""What a peer refuses of our records: read from its chain, so that the state of a record can be had anew from both.

A refusal names the entry that it refuses. A record that was sent again stands at another place, and is refused only by
a refusal of that one.
"""

from roamd.errors import ProtocolError
from roamd.protocol.ledger import EntryKind, Refusal
from roamd.storage import ledgers, meta
from roamd.storage.records import DELIVERED, QUEUED, RecordRow
from roamd.storage.store import Cx


def refuses(cx: Cx, refusal: Refusal, row: RecordRow) -> bool:
    """Whether it is this record, at its present place, that is refused."""
    if refusal.party and refusal.party != row.party:
        return False
    chain = ledgers.get_chain(cx, row.chain_id) if row.chain_id is not None else None
    return refusal.names(chain.epoch if chain is not None else b"", row.sequence or 0)


def refusal_reason(peer: str, refusal: Refusal) -> str:
    """The reason with which a refused record is parked."""
    return f"refused by {peer}: {refusal.reason}" + (f" ({refusal.detail})" if refusal.detail else "")


def refused_as(cx: Cx, peer: str, row: RecordRow) -> str | None:
    """The reason with which the peer's chain here refuses a record at its place; None when it does not."""
    for chain_id, entry in ledgers.entries_about(cx, row.record_id):
        if entry.kind != EntryKind.REFUSED or entry.body is None:
            continue
        chain = ledgers.get_chain(cx, chain_id)
        if chain is None or chain.own or chain.peer != peer:
            continue
        try:
            refusal = Refusal.unpack(entry.body)
        except ProtocolError:
            continue
        if refuses(cx, refusal, row):
            return refusal_reason(peer, refusal)
    return None


def note_other_place_txn(cx: Cx, row: RecordRow) -> None:
    """After a rollback of ours a record comes back at another peer's place: if it is refused there, this one counts."""
    if row.chain_id is not None:
        meta.set_txn(cx, _other_place(row), f"{row.chain_id} {row.sequence}")


def other_place_txn(cx: Cx, row: RecordRow) -> RecordRow | None:
    """A refused record where it stands with another peer, which was sent it after the refusal; if it was."""
    noted = meta.get(cx, _other_place(row))
    if noted is None:
        return None
    meta.delete_txn(cx, _other_place(row))
    chain_id, sequence = map(int, noted.split(" "))
    chain, entry = ledgers.get_chain(cx, chain_id), ledgers.get_entry(cx, chain_id, sequence)
    if chain is None or entry is None or entry.record_id != row.record_id:
        return None
    state = DELIVERED if sequence <= chain.receipted_sequence else QUEUED
    there = row._replace(peer=chain.peer, state=state, reason=None, chain_id=chain_id, sequence=sequence, body=None)
    return there if refused_as(cx, chain.peer, there) is None else None


def _other_place(row: RecordRow) -> str:
    """The name in `meta` of the place, chain and sequence, at which a record stands besides."""
    return f"other-place:{row.id}"
