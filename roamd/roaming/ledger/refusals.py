"""What a peer refuses of our records: read from its chain, so that the state of a record can be had anew from both.

A refusal names the entry that it refuses. A record that was sent again stands at another place, and is refused only by
a refusal of that one. So a refusal may be said twice, and must not be lost: those that mending a rollback takes out of
our own chain are kept aside, and said again in the epoch that follows.
"""

import msgspec

from roamd.errors import ProtocolError
from roamd.protocol.ledger import SALT_SIZE, EntryKind, LedgerItem, Refusal
from roamd.roaming.ledger.chain import Random
from roamd.storage import ledgers, meta
from roamd.storage.ledgers import Chain
from roamd.storage.records import RecordRow
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
    for chain_id, entry in ledgers.entries_of_record(cx, row.record_id):
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


# --- our own, over a rollback -------------------------------------------------------------------------------------

_PAGE = 256
_Said = list[tuple[str, bytes]]
"""Record ids and refusals."""


def keep_refusals_txn(cx: Cx, chain: Chain) -> None:
    """Put aside the refusals of an own chain that no receipt covers, before they are taken out of it."""
    kept = _kept(cx, chain.peer)
    after = chain.receipted_sequence
    while rows := ledgers.entries(cx, chain.chain_id, after, max_rows=_PAGE, max_bytes=1 << 20):
        kept += [(row.record_id, row.body) for row in rows if row.kind == EntryKind.REFUSED and row.body is not None]
        after = rows[-1].sequence
    if kept:
        meta.set_txn(cx, _aside(chain.peer), msgspec.json.encode(list(dict.fromkeys(kept))).decode())


def kept_refusals_txn(cx: Cx, peer: str, random: Random) -> list[LedgerItem]:
    """What was put aside and does not stand in a chain again; from now on it is no longer kept."""
    kept = _kept(cx, peer)
    meta.delete_txn(cx, _aside(peer))
    return [
        LedgerItem(EntryKind.REFUSED, record_id, random(SALT_SIZE), body)
        for record_id, body in kept
        if all(entry.body != body for _, entry in ledgers.entries_of_record(cx, record_id))
    ]


def _kept(cx: Cx, peer: str) -> _Said:
    text = meta.get(cx, _aside(peer))
    return [] if text is None else msgspec.json.decode(text, type=_Said)


def _aside(peer: str) -> str:
    """The name in `meta` of the refusals that were put aside."""
    return f"refusals:{peer}"
