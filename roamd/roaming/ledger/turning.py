"""A new epoch under new keys: an own chain is turned over when we or the peer have come to use another identity.

The old epoch stays as it is, with its entries that are still to be sent and receipted: `author` sends epoch after
epoch. Its end is named by the first entry of the new one, and whatever is written from then on stands there. One
transaction does it, so there is no state between the two.
"""

from roamd.protocol.ledger import SALT_SIZE, EntryKind, EpochOpening, EpochReason, LedgerItem
from roamd.roaming.directory import succession_of_row
from roamd.roaming.ledger.chain import Random, append_items_txn
from roamd.roaming.ledger.mending import is_recovering
from roamd.storage import ledgers, meta, peers
from roamd.storage.ledgers import Chain
from roamd.storage.store import Cx

FIRST = "0 0"
"""Both sides use the identity that their endpoint id names."""


def turn_all_txn(cx: Cx, own_number: int, random: Random, now_ms: int) -> None:
    """At the start, before anything is served: our own identity may be another one than when we stopped."""
    for row in peers.load_all(cx):
        turn_txn(cx, row.peer, own_number, succession_of_row(row).in_use, random, now_ms)


def turn_txn(cx: Cx, peer: str, own_number: int, their_number: int, random: Random, now_ms: int) -> bool:
    """Turn our chain towards a peer over, unless it was begun under these identities; whether it was done.

    A chain that is empty, or will be mended and get a new epoch anyhow, is left as it is.
    """
    keys = f"{own_number} {their_number}"
    if keys == (meta.get(cx, _keys_of(peer)) or FIRST):
        return False
    meta.set_txn(cx, _keys_of(peer), keys)
    chain = ledgers.current_chain(cx, peer, own=True)
    if chain is None or not chain.tail_sequence or is_recovering(cx, peer):
        return False
    next_epoch_txn(cx, chain, EpochReason.NEW_KEY, random, now_ms)
    return True


def forget_keys_txn(cx: Cx, peer: str) -> None:
    """The epoch that was opened for the keys of today is gone: `turn_txn` opens another one when it is next asked."""
    meta.delete_txn(cx, _keys_of(peer))


def next_epoch_txn(cx: Cx, old: Chain, reason: EpochReason, random: Random, now_ms: int) -> Chain:
    """End an epoch where it stands and open the one that follows."""
    ledgers.close_chain_txn(cx, old.chain_id)
    opening = EpochOpening(old.epoch, old.tail_sequence, old.tail_hash, reason)
    chain = ledgers.open_chain_txn(cx, old.peer, own=True, epoch=random(16))
    first = LedgerItem(EntryKind.EPOCH, opening.record_id(), random(SALT_SIZE), opening.pack())
    return append_items_txn(cx, chain, [first], now_ms)


def _keys_of(peer: str) -> str:
    """The name in `meta` of the numbers of the identities, ours and the peer's, under which our chain stands."""
    return f"chain-keys:{peer}"
