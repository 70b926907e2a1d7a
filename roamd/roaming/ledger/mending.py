"""What is kept while a rollback of ours is mended: that it is, and what we have said of records meanwhile.

Records that lose their place wait in their own table. Entries that only say something (refusals, and what we say of
delivered records) have no such row, and must not be lost: those that mending takes out of our own chain are put aside
here, and said again in the epoch that follows. All of them may be said twice without effect, but for statements: of
these the newest rules, so the order is kept.
"""

import msgspec

from roamd.protocol.ledger import SALT_SIZE, EntryKind, LedgerItem
from roamd.roaming.ledger.chain import Random, append_items_txn
from roamd.roaming.ledger.stated import regain_statement_txn
from roamd.storage import ledgers, meta
from roamd.storage.ledgers import Chain
from roamd.storage.store import Cx

SAYING = frozenset(
    {
        EntryKind.REFUSED,
        EntryKind.ACCEPTED,
        EntryKind.DISPUTED,
        EntryKind.CORRECTED,
        EntryKind.CREDITED,
        EntryKind.FINAL,
        EntryKind.STATEMENT,
        EntryKind.ERASURE_ANSWER,
        EntryKind.AGREEMENT_PROPOSED,
        EntryKind.AGREEMENT_ACCEPTED,
        EntryKind.AGREEMENT_DECLINED,
    }
)

_PAGE = 256
_Said = list[tuple[int, str, bytes]]
"""Kinds, record ids and bodies."""


def marker(peer: str) -> str:
    """The name in `meta` that says that a rollback towards this peer is being mended."""
    return f"recovering:{peer}"


def is_recovering(cx: Cx, peer: str) -> bool:
    """Whether a rollback towards this peer is being mended; our chain towards it takes no entries then."""
    return meta.get(cx, marker(peer)) is not None


def keep_said_txn(cx: Cx, chain: Chain) -> None:
    """Put aside what an own chain says and no receipt covers, before it is taken out of it."""
    kept = _kept(cx, chain.peer)
    after = chain.receipted_sequence
    while rows := ledgers.entries(cx, chain.chain_id, after, max_rows=_PAGE, max_bytes=1 << 20):
        kept += [(row.kind, row.record_id, row.body) for row in rows if row.kind in SAYING and row.body is not None]
        after = rows[-1].sequence
    if kept:
        last_of_each = list(dict.fromkeys(reversed(kept)))[::-1]
        meta.set_txn(cx, _aside(chain.peer), msgspec.json.encode(last_of_each).decode())


def say_again_txn(cx: Cx, chain: Chain, random: Random, now_ms: int) -> Chain:
    """Append what was put aside, unless it stands in our chains again; it is kept no longer. The chain then."""
    kept, before = _kept(cx, chain.peer), chain.tail_sequence
    meta.delete_txn(cx, _aside(chain.peer))
    ours = {each.chain_id for each in ledgers.chains(cx, chain.peer) if each.own}
    items = [
        LedgerItem(kind, record_id, random(SALT_SIZE), body)
        for kind, record_id, body in kept
        if not _stands(cx, ours, kind, record_id, body)
    ]
    if not items:
        return chain
    chain = append_items_txn(cx, chain, items, now_ms)
    for sequence, item in enumerate(items, before + 1):
        if item.kind == EntryKind.STATEMENT:
            regain_statement_txn(cx, chain.peer, (chain.chain_id, sequence), item, now_ms)
    return chain


def _stands(cx: Cx, ours: set[int], kind: int, record_id: str, body: bytes) -> bool:
    """Whether we say it in one of our chains. The peer may say the very same: both sign the same statement."""
    entries = ledgers.entries_about(cx, record_id)
    return any(chain_id in ours and (entry.kind, entry.body) == (kind, body) for chain_id, entry in entries)


def _kept(cx: Cx, peer: str) -> _Said:
    text = meta.get(cx, _aside(peer))
    return [] if text is None else msgspec.json.decode(text, type=_Said)


def _aside(peer: str) -> str:
    """The name in `meta` of what was put aside."""
    return f"said:{peer}"
