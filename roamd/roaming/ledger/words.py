"""What both sides say of a record once it is delivered: entries of their own chains, folded into its state.

A word takes effect in the transaction that puts it into a chain, ours or the peer's. It is applied to the record as it
stands; where the record is not there (after a rollback words and records come back in any order) its state is folded
from the chains when it comes (`model.lifecycle`). A word that changes nothing from where the record stands is kept in
the chain like every entry, and logged.
"""

from collections.abc import Iterable
from typing import NamedTuple

from roamd.errors import Conflict, ProtocolError, RoamdError
from roamd.log import get_logger
from roamd.model.lifecycle import AUTHOR_WORDS, CREDITED, RECEIVER_WORDS, folded, moved
from roamd.protocol.ledger import SALT_SIZE, EntryKind, LedgerItem, Word
from roamd.roaming.directory import Peer
from roamd.roaming.events import record_event_txn
from roamd.roaming.ledger.chain import Random, append_items_txn, own_chain_txn
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.ledger.receiver import Arrival
from roamd.storage import ledgers, records
from roamd.storage.ledgers import EntryRow
from roamd.storage.records import RecordRow
from roamd.storage.store import Cx

log = get_logger()

WORDS = frozenset(EntryKind[word] for word in (*RECEIVER_WORDS, *AUTHOR_WORDS))


class Said(NamedTuple):
    """One word that stands in a chain. `own`: we said it."""

    own: bool
    kind: str
    word: Word
    entry: EntryRow


# --- saying -----------------------------------------------------------------------------------------------------


def say_txn(cx: Cx, row: RecordRow, kind: EntryKind, word: Word, random: Random, now_ms: int) -> RecordRow:
    """Put our word about a record into our chain, and move the record; the record as it stands then.

    Conflict when the word changes nothing from where the record stands, or while a rollback is being mended.
    """
    state = moved(row.state, kind.name)
    if state is None or row.peer is None:
        raise Conflict(f"The record is {row.state}; it cannot become {kind.name} from there.", code="wrong-state")
    if is_recovering(cx, row.peer):
        raise Conflict("A rollback is being mended; try again in a moment.", code="recovering")
    item = LedgerItem(kind, row.record_id, random(SALT_SIZE), word.pack())
    append_items_txn(cx, own_chain_txn(cx, row.peer, random), [item], now_ms)
    return _move_txn(cx, row, state, _reason("us", kind.name, word), now_ms)


# --- hearing ----------------------------------------------------------------------------------------------------


def take_word_txn(cx: Cx, arrival: Arrival, item: LedgerItem) -> None:
    """A word of the peer's about a record between us."""
    if item.body is None:
        return
    kind = EntryKind(item.kind).name
    try:
        word = Word.unpack(item.body)
    except ProtocolError:
        log.warning("record_word_ignored", peer=arrival.peer.label, kind=kind, reason="unreadable")
        return
    direction = "out" if kind in RECEIVER_WORDS else "in"
    for row in records.find(cx, item.record_id, party=word.party, direction=direction):
        if row.peer != arrival.peer.label:
            continue
        # Both chains are folded by the entry's own id: another spelling would count today and not when folded anew.
        state = moved(row.state, kind) if row.record_id == item.record_id else None
        if state is None:
            log.warning("record_word_ignored", peer=row.peer, kind=kind, reason=f"the record is {row.state}")
        else:
            _move_txn(cx, row, state, _reason(arrival.peer.label, kind, word), arrival.now_ms)


def regain_word_txn(cx: Cx, peer: Peer, item: LedgerItem, entry: EntryRow) -> None:
    """A word of ours that we had forgotten is back, and stands in our chain by now."""
    direction = "in" if EntryKind(item.kind).name in RECEIVER_WORDS else "out"
    for row in records.find(cx, item.record_id, direction=direction):
        if row.peer == peer.label and row.state not in (records.PARKED, records.QUEUED):
            state, reason = state_of(cx, row)
            records.set_state_txn(cx, row.id, state, reason, now_ms=entry.at_ms)


def _move_txn(cx: Cx, row: RecordRow, state: str, reason: str | None, now_ms: int) -> RecordRow:
    records.set_state_txn(cx, row.id, state, reason, now_ms=now_ms)
    changed = row._replace(state=state, reason=reason, updated_ms=now_ms)
    record_event_txn(cx, changed, "record.state", now_ms)
    return changed


def _reason(who: str, kind: str, word: Word) -> str | None:
    """What the record's own line says of it."""
    if kind in AUTHOR_WORDS:
        return f"credited by {word.credit}" + (f", replaced by {word.replacement}" if word.replacement else "")
    if kind == EntryKind.DISPUTED.name:
        return f"disputed by {who}: {word.reason}" + (f" ({word.detail})" if word.detail else "")
    return None


# --- looking back -----------------------------------------------------------------------------------------------


def words_of(cx: Cx, row: RecordRow) -> list[Said]:
    """All words about a record that stand in either chain with its peer, each chain in its order."""
    return [
        said for chain_id, entry in ledgers.entries_about(cx, row.record_id) for said in _said(cx, row, chain_id, entry)
    ]


def _said(cx: Cx, row: RecordRow, chain_id: int, entry: EntryRow) -> Iterable[Said]:
    if entry.kind not in WORDS or entry.body is None:
        return
    chain = ledgers.get_chain(cx, chain_id)
    if chain is None or chain.peer != row.peer:
        return
    kind = EntryKind(entry.kind).name
    # Who is heard on what: the receiver of a record in its chain, the author in its own.
    if chain.own != ((row.direction == "out") == (kind in AUTHOR_WORDS)):
        return
    try:
        word = Word.unpack(entry.body)
    except RoamdError:
        return
    if word.party == row.party:
        yield Said(chain.own, kind, word, entry)


def state_of(cx: Cx, row: RecordRow) -> tuple[str, str | None]:
    """A delivered record's state and reason as both chains have it."""
    said = words_of(cx, row)
    state = folded(
        (each.kind for each in said if each.kind in RECEIVER_WORDS),
        (each.kind for each in said if each.kind in AUTHOR_WORDS),
    )
    last = next((each for each in reversed(said) if _speaks(each.kind, state)), None)
    who = "us" if last is not None and last.own else row.peer or ""
    return state, None if last is None else _reason(who, last.kind, last.word)


def _speaks(kind: str, state: str) -> bool:
    """Whether a word of this kind is the one that explains the state."""
    return kind in AUTHOR_WORDS if state == CREDITED else kind == state
