"""What each side shows when a link comes up: the newest head and the newest receipt that it holds of the other.

Who is shown its own signature over something that it does not know has been rolled back; a claim without a signature
that holds is worth nothing.
"""

from roamd.protocol.messages import Mark
from roamd.storage import ledgers
from roamd.storage.ledgers import Chain, SignedMark
from roamd.storage.store import Cx


def marks_for(cx: Cx, peer: str) -> list[Mark]:
    """The marks of our Hello to a peer: its newest head, and its newest receipt."""
    marks, chains = [], ledgers.chains(cx, peer)
    for chain, mark in (_newest(cx, chains, own=False), _newest(cx, chains, own=True)):
        if chain is not None and mark is not None:
            marks.append(Mark(not chain.own, chain.epoch, mark.sequence, mark.hash, mark.time_ms, mark.signature))
    return marks


def _newest(cx: Cx, chains: list[Chain], *, own: bool) -> tuple[Chain | None, SignedMark | None]:
    """Of the latest epoch that has one: an own chain has receipts, a peer's chain has heads."""
    newest = ledgers.newest_receipt if own else ledgers.newest_head
    for chain in reversed([chain for chain in chains if chain.own is own]):
        mark = newest(cx, chain.chain_id)
        if mark is not None:
            return chain, mark
    return None, None


def newest_own_receipt(cx: Cx, peer: str) -> tuple[Chain | None, SignedMark | None]:
    """The newest receipt that the peer gave for our chain, with its chain."""
    return _newest(cx, ledgers.chains(cx, peer), own=True)


def own_head_shown(marks: list[Mark]) -> Mark | None:
    """The newest head of our chain that the peer holds."""
    return next((mark for mark in marks if mark.author_is_you), None)


def own_receipt_shown(marks: list[Mark]) -> Mark | None:
    """The newest receipt of ours that the peer holds."""
    return next((mark for mark in marks if not mark.author_is_you), None)


def signed(mark: Mark) -> SignedMark:
    """The mark as the store keeps it."""
    return SignedMark(mark.sequence, mark.hash, mark.time_ms, mark.signature)
