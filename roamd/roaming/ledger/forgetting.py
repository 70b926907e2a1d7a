"""Who has forgotten what it receipted: told to both operators when a link comes up.

A receiver that was restored from an old backup lacks entries that it once receipted. Nothing is lost by that: it shows
an older head, so the author begins behind that and sends them again, in the same epoch. But both sides should know.
The one who forgot is shown its own signature under a receipt for entries that it does not have; the author holds a
receipt for more than the peer shows. What is not signed is believed by neither.

This is judged once for each run of the peer, on its first link: an older run has nothing under way any more, so what
it shows then is all that it has.
"""

from roamd import metrics
from roamd.log import get_logger
from roamd.protocol.messages import Mark
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.marks import newest_own_receipt, own_head_shown, own_receipt_shown, signed
from roamd.roaming.ledger.signer import Signer
from roamd.storage import ledgers
from roamd.storage.store import Cx, Store

log = get_logger()


def look_back(peer: Peer, store: Store, signer: Signer, marks: list[Mark]) -> None:
    """Raise an alarm if either side has forgotten what stands receipted. Nothing needs mending: it is sent again."""
    receipt, head = own_receipt_shown(marks), own_head_shown(marks)
    if receipt is not None and _is_ours(signer, peer, receipt) and not store.read(lambda cx: _have(cx, peer, receipt)):
        text = f"we lack entries of its ledger that we receipted, up to {receipt.sequence}; it sends them again"
        _raise_alarm(peer, "receipts-forgotten", text)
        log.warning("received_entries_forgotten", peer=peer.label, receipted_sequence=receipt.sequence)
    forgotten = store.read(lambda cx: _peer_forgot(cx, peer, head))
    if forgotten:
        _raise_alarm(peer, "peer-forgot", f"it forgot entries of our ledger, up to {forgotten}; they are sent again")
        log.warning("peer_forgot_entries", peer=peer.label, receipted_sequence=forgotten)


def _raise_alarm(peer: Peer, kind: str, text: str) -> None:
    metrics.ledger_alarms.labels(peer.label, kind).inc()
    peer.alarm(text)


def _is_ours(signer: Signer, peer: Peer, receipt: Mark) -> bool:
    return signer.own_receipt_holds(peer.endpoint_id, receipt.epoch, signed(receipt))


def _have(cx: Cx, peer: Peer, receipt: Mark) -> bool:
    """Whether the peer's chain here reaches what our receipt is over."""
    chain = ledgers.chain_of_epoch(cx, peer.label, own=False, epoch=receipt.epoch)
    entry = ledgers.get_entry(cx, chain.chain_id, receipt.sequence) if chain is not None else None
    return entry is not None and entry.hash == receipt.hash


def _peer_forgot(cx: Cx, peer: Peer, head: Mark | None) -> int:
    """The sequence of the newest receipt that we hold if the peer's head lies before it, else 0."""
    chain, receipt = newest_own_receipt(cx, peer.label)
    if chain is None or receipt is None:
        return 0
    if head is None:
        return receipt.sequence
    shown = ledgers.chain_of_epoch(cx, peer.label, own=True, epoch=head.epoch)
    if shown is None:
        return 0  # an epoch that we do not know: then it is us who forgot
    behind = (shown.chain_id, head.sequence) < (chain.chain_id, receipt.sequence)
    return receipt.sequence if behind else 0
