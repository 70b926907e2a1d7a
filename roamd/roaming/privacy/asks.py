"""Asking a peer to erase its copy, and being asked: entries of the ledger, so that neither is lost nor forged.

Theory of operation. Whoever erases the content of an entry says so in its own chain: ERASURE names the place ("in my
chain" or "in yours", epoch, sequence) and no driver. The other side answers in its chain, ERASED, KEPT until a day, or
UNKNOWN, and the answer is shown to who asked. So the pattern is the ledger: it waits for a peer that is away, is said
once, is signed, and comes back by itself when either side was rolled back. Entries tell of records by their ids, as
every entry does; it is the content that is personal.

A peer's word erases nothing that the law wants kept, or that is still open: who owes money for a charge must not be
able to have the proof of it destroyed. So a request is honoured when the record's legal retention is over, and never
where the operator has set none. Otherwise it is for the operator, who sees it as an event.

After a rollback our own ERASURE entries come back from the peer before anything else does (`rollback` holds back the
peer's chain until then); each erases its place again, or is remembered for when the place comes.
"""

from collections.abc import Callable

from roamd.clock import rfc3339
from roamd.errors import ProtocolError
from roamd.log import get_logger
from roamd.protocol.ledger import SALT_SIZE, EntryKind, Erasure, LedgerItem, Refusal
from roamd.roaming.events import record_event_txn
from roamd.roaming.ledger.chain import Random, append_items_txn, own_chain_txn
from roamd.storage import erasure, ledgers
from roamd.storage.erasure import Erased
from roamd.storage.ledgers import Chain, EntryRow
from roamd.storage.store import Cx

log = get_logger()

ERASED, KEPT, UNKNOWN = "ERASED", "KEPT", "UNKNOWN"

CONTENTS = frozenset(kind for kind in EntryKind if kind < EntryKind.REFUSED)
"""Records and what was said about them. All other kinds are about the ledger itself and name nobody."""

AT_ONCE = 256
"""Questions that are appended in one transaction."""

Keep = Callable[[int], int | None]
"""Until when (ms) the law wants an entry of this time kept: 0 for no longer, None for "the operator decides"."""


# --- asking -------------------------------------------------------------------------------------------------------


def place_asks_txn(cx: Cx, peer: str, random: Random, now_ms: int) -> int:
    """Put questions that wait into our chain, some at a time; how many. Not while that chain is being mended."""
    waiting = erasure.unasked(cx, peer, AT_ONCE)
    if not waiting:
        return 0
    before = own_chain_txn(cx, peer, random)
    append_items_txn(cx, before, [_question(row, random) for row in waiting], now_ms)
    for sequence, row in enumerate(waiting, before.tail_sequence + 1):
        erasure.asked_txn(cx, row, ledgers.place(before.chain_id, sequence))
    return len(waiting)


def _question(row: Erased, random: Random) -> LedgerItem:
    said = Erasure("me" if row.own else "you", row.epoch.hex(), row.sequence)
    return LedgerItem(EntryKind.ERASURE, row.record_id, random(SALT_SIZE), said.pack())


def take_answer_txn(cx: Cx, peer: str, item: LedgerItem, now_ms: int) -> None:
    """The peer tells what became of its copy. An answer to what we never asked is ignored."""
    said = _read(item)
    if said is None:
        return
    until_ms = said.until_ms or None
    if not erasure.answered_txn(
        cx, peer, said.author == "me", said.epoch_id, said.sequence, said.result, until_ms, now_ms
    ):
        log.warning("erasure_answer_unexpected", peer=peer)


def take_refusal_txn(cx: Cx, peer: str, item: LedgerItem, now_ms: int) -> None:
    """A peer that does not know what ERASURE is refuses the entry; that is its answer."""
    try:
        refusal = Refusal.unpack(item.body or b"")
        chain = ledgers.chain_of_epoch(cx, peer, own=True, epoch=bytes.fromhex(refusal.epoch))
    except (ProtocolError, ValueError):
        return
    if chain is not None:
        erasure.refused_txn(cx, ledgers.place(chain.chain_id, refusal.sequence), now_ms)


# --- being asked --------------------------------------------------------------------------------------------------


def operator_decides(at_ms: int) -> int | None:
    """The `Keep` that erases nothing at a peer's word."""
    del at_ms
    return None


def answer_txn(cx: Cx, peer: str, item: LedgerItem, random: Random, keep: Keep, now_ms: int) -> list[LedgerItem]:
    """A peer's ERASURE entry: erase what may be erased; our answer, or none where there is nothing to say to it."""
    said = _read(item)
    if said is None:
        return []
    result, until_ms = _result_txn(cx, peer, said, item.record_id, keep, now_ms)
    answer = Erasure(said.author, said.epoch, said.sequence, result, until_ms)
    log.debug("erasure_asked", peer=peer, result=result)
    return [LedgerItem(EntryKind.ERASURE_ANSWER, item.record_id, random(SALT_SIZE), answer.pack())]


def _result_txn(cx: Cx, peer: str, said: Erasure, record_id: str, keep: Keep, now_ms: int) -> tuple[str, int]:
    own = said.author == "you"
    chain = ledgers.chain_of_epoch(cx, peer, own=own, epoch=said.epoch_id)
    entry = ledgers.get_entry(cx, chain.chain_id, said.sequence) if chain is not None else None
    if chain is None or entry is None or entry.record_id != record_id or entry.kind not in CONTENTS:
        return UNKNOWN, 0
    if entry.body is None:
        erasure.answered_txn(cx, peer, own, chain.epoch, entry.sequence, ERASED, None, now_ms)
        return ERASED, 0
    until_ms = keep(entry.at_ms)
    if until_ms is None or until_ms > now_ms or erasure.is_open(cx, chain.chain_id, entry.sequence):
        _tell_txn(cx, chain, entry, until_ms, now_ms)
        return KEPT, until_ms or 0
    erase_place_txn(cx, chain, entry, request="", ask=False, now_ms=now_ms)
    _tell_txn(cx, chain, entry, 0, now_ms)
    return ERASED, 0


def _tell_txn(cx: Cx, chain: Chain, entry: EntryRow, until_ms: int | None, now_ms: int) -> None:
    """`record.erasure`: the peer has erased its copy of a record and asks for the same."""
    row = erasure.record_at(cx, chain.chain_id, entry.sequence)
    if row is None:
        return
    kept = "kept" if until_ms is None else f"kept until {rfc3339(until_ms)}"
    reason = f"{chain.peer} has erased it and asks for the same; {'erased' if erasure.is_erased(row) else kept}"
    record_event_txn(cx, row._replace(reason=reason), "record.erasure", now_ms)


def erase_place_txn(cx: Cx, chain: Chain, entry: EntryRow, *, request: str, ask: bool, now_ms: int) -> None:
    """Erase an entry's content here for good."""
    erasure.erase_entry_txn(cx, chain.chain_id, entry.sequence)
    erasure.put_txn(
        cx, Erased(chain.peer, chain.own, chain.epoch, entry.sequence, entry.record_id, request, now_ms, ask)
    )


# --- after a rollback ---------------------------------------------------------------------------------------------


def regain_ask_txn(cx: Cx, peer: str, entry: int, item: LedgerItem, now_ms: int) -> None:
    """An ERASURE entry of ours, forgotten and given back by the peer: what it names is erased again, now or later."""
    said = _read(item)
    if said is None:
        return
    own = said.author == "me"
    row = Erased(peer, own, said.epoch_id, said.sequence, item.record_id, "", now_ms, ask=True, ask_entry=entry)
    erasure.put_txn(cx, row)
    chain = ledgers.chain_of_epoch(cx, peer, own=own, epoch=said.epoch_id)
    if chain is not None:
        erasure.erase_entry_txn(cx, chain.chain_id, said.sequence)


def _read(item: LedgerItem) -> Erasure | None:
    """What an entry says; None for one that cannot be read, which is logged."""
    try:
        said = Erasure.unpack(item.body or b"")
        said.epoch_id  # noqa: B018 - raises
    except ProtocolError:
        log.warning("erasure_unreadable")
        return None
    return said
