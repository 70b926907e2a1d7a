"""Records that are parked leave our chain, when a peer is removed: they must not go by themselves if it pairs again.

Where the chain is in several epochs, an epoch of which the peer has receipted nothing goes as a whole, and the one
before it is open again: its end may be taken back as well, and then what followed would name an end that is no more.
What such an epoch was opened for is done anew at the next pairing (`turning`). What we said of delivered records stays.

If the peer has some of it all the same, it shows our head over it then, and that is mended like a rollback.
"""

from roamd.protocol.ledger import EntryKind
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ledger.mending import is_recovering, keep_said_txn, say_again_txn
from roamd.roaming.ledger.turning import forget_keys_txn
from roamd.storage import ledgers, records
from roamd.storage.ledgers import Chain
from roamd.storage.store import Cx


def take_back_txn(cx: Cx, peer: str, random: Random, now_ms: int) -> None:
    """Take what no receipt covers out of our chain towards a peer; records lose their place and keep their body."""
    own = [chain for chain in ledgers.chains(cx, peer) if chain.own]
    while len(own) > 1 and not own[-1].receipted_sequence:
        last = own.pop()
        _cut_txn(cx, last, 0, now_ms)
        ledgers.drop_empty_chain_txn(cx, last.chain_id)
        ledgers.reopen_chain_txn(cx, own[-1].chain_id)
        forget_keys_txn(cx, peer)
    for chain in own[-1:]:
        kept = _cut_txn(cx, chain, chain.receipted_sequence or _opening(cx, chain), now_ms)
        if not is_recovering(cx, peer):
            say_again_txn(cx, kept, random, now_ms)


def _cut_txn(cx: Cx, chain: Chain, sequence: int, now_ms: int) -> Chain:
    keep_said_txn(cx, chain)
    records.displace_txn(cx, chain.chain_id, sequence, now_ms=now_ms)
    return ledgers.truncate_txn(cx, chain.chain_id, sequence)


def _opening(cx: Cx, chain: Chain) -> int:
    """How many entries say which epoch this one follows, one that is not known here any more: they stay."""
    first = ledgers.get_entry(cx, chain.chain_id, 1)
    return int(first is not None and first.kind == EntryKind.EPOCH)
