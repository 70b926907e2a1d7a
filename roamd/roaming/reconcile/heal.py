"""Putting back what our own copy of the two ledgers lost: entries, their content, and the records made of them.

Theory of operation. Which entries are missing is seen without the peer, for sequences leave gaps. What the peer gives
back is believed only as far as our own copy proves it: content by the commitment that stands in the entry, a missing
entry by the hash of the one behind it, or by the chain's tail. So nothing can be put into a ledger that did not stand
there. What was erased here stays erased. A record whose row is gone is made again from its entry as when it came, and
stands as both chains say; its backend is told of it once more, for nobody knows whether it was told before.
"""

from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Final

from roamd.clock import Clock
from roamd.errors import PeerError, ProtocolError
from roamd.protocol.bulk import unpack_ledger_batch
from roamd.protocol.calls import LedgerFetch, Service
from roamd.protocol.ledger import LedgerItem, commitment
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.protocol.reconcile import RecordLine
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.directory import Peer
from roamd.roaming.events import record_event_txn
from roamd.roaming.ledger.chain import Random, as_item, entry_rows
from roamd.roaming.ledger.forgotten import RECORD_KINDS, regain_txn
from roamd.roaming.ledger.receiver import Arrival
from roamd.roaming.ledger.sound import body_holds, chained_hash
from roamd.roaming.ledger.take import take_records_txn
from roamd.roaming.ledger.words import state_of
from roamd.roaming.waiting import Outcome, aside, write
from roamd.storage import accounts, erasure, ledgers, records
from roamd.storage.accounts import Gap
from roamd.storage.ledgers import Chain, EntryRow
from roamd.storage.records import SETTLED, RecordRow
from roamd.storage.store import Cx, Store

FETCH_S: Final = 30.0
PAGE: Final = 64
MAX_GAP: Final = 2048
"""Entries that are proved and put back at once; who lacks more restores a backup."""

MAX_EMPTY: Final = 1000
"""Entries without content that are asked for in one round."""

SCAN: Final = 16_384
"""Entries that are looked through in one read."""


@dataclass(slots=True)
class Healing:
    """What one look at our own copy came to. `left` says in words what could not be mended."""

    entries: int = 0
    gone_there: int = 0
    left: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Healer:
    """Mends our copy of the chains with one peer, with the peer's help."""

    peer: Peer
    store: Store
    clock: Clock
    calls: OutgoingCalls
    random: Random

    async def heal(self) -> Healing:
        """Put back what is missing. PeerError when the peer does not answer."""
        found = Healing()
        for chain in self.store.read(lambda cx: ledgers.chains(cx, self.peer.label)):
            for gap in await self._gaps(chain):
                await self._fill(chain, gap, found)
            empty = self.store.read(partial(accounts.without_content, chain_id=chain.chain_id, limit=MAX_EMPTY))
            for run in _runs(empty):
                await self._refill(chain, run, found)
        return found

    # --- entries ------------------------------------------------------------------------------------------------

    async def _gaps(self, chain: Chain) -> list[Gap]:
        """Gaps that touch where two reads meet are joined. Of a million entries gigabytes are read: not by the loop."""
        found: list[Gap] = []
        for after in range(0, chain.tail_sequence, SCAN):
            looked = partial(accounts.gaps_within, chain=chain, after=after, upto=after + SCAN)
            for gap in await aside(self.store, looked):
                if found and found[-1].last + 1 == gap.first:
                    gap = Gap(found.pop().first, gap.last)
                found.append(gap)
        return found

    async def _fill(self, chain: Chain, gap: Gap, found: Healing) -> None:
        count = gap.last - gap.first + 1
        place = f"{count} entries from {gap.first} on"
        if count > MAX_GAP:
            found.left.append(f"{place} are missing, more than can be put back; restore a backup")
            return
        items = await self._fetch_all(chain, gap)
        if len(items) < count:
            found.left.append(f"{place} are missing, and {self.peer.label} does not give them back")
        elif await write(self.store, lambda cx: self._fill_txn(cx, chain, gap, items), essential=True):
            found.entries += count
        else:
            found.left.append(f"{place} are missing, and {self.peer.label} gives others than stood there")

    def _fill_txn(self, cx: Cx, chain: Chain, gap: Gap, items: list[LedgerItem]) -> bool:
        before = ledgers.get_entry(cx, chain.chain_id, gap.first - 1) if gap.first > 1 else None
        previous = before.hash if before is not None else ledgers.GENESIS
        rows = entry_rows(previous, gap.first, items, self.clock.now_ms())
        behind = ledgers.get_entry(cx, chain.chain_id, gap.last + 1)
        if behind is not None:
            proved = chained_hash(rows[-1].hash, behind) == behind.hash
        else:
            proved = gap.last == chain.tail_sequence and rows[-1].hash == chain.tail_hash
        if proved:
            erased = erasure.erased_within(cx, chain.chain_id, gap.first, gap.last)
            dated = [_as_held(cx, chain, row, is_erased=row.sequence in erased) for row in rows]
            accounts.put_back_txn(cx, chain.chain_id, dated)
        return proved

    # --- content ------------------------------------------------------------------------------------------------

    async def _refill(self, chain: Chain, run: Gap, found: Healing) -> None:
        items = await self._fetch_all(chain, run)
        for sequence, item in enumerate(items, run.first):
            if item.salt is None or item.body is None:
                found.gone_there += 1
            elif await write(
                self.store, partial(_refill_txn, chain=chain, sequence=sequence, item=item), essential=True
            ):
                found.entries += 1
            else:
                found.left.append(f"{self.peer.label} gives other content for entry {sequence} than was committed to")
        found.gone_there += run.last - run.first + 1 - len(items)

    # --- what the peer gives ------------------------------------------------------------------------------------

    async def _fetch_all(self, chain: Chain, gap: Gap) -> list[LedgerItem]:
        items: list[LedgerItem] = []
        while (after := gap.first - 1 + len(items)) < gap.last:
            page = await self._fetch(chain, after, min(PAGE, gap.last - after))
            if not page:
                break
            items += page
        return items[: gap.last - gap.first + 1]

    async def _fetch(self, chain: Chain, after: int, limit: int) -> list[LedgerItem]:
        """Entries behind a sequence; none when the peer does not have them. PeerError without an answer."""
        request = LedgerFetch(chain.epoch, after, limit, yours=not chain.own)
        call = Call(self.random(16), Service.LEDGER_FETCH, int(FETCH_S * 1000), request.pack())
        answered: Outcome[Answer | None] = Outcome()
        self.calls.start(self.peer, call, self.clock.monotonic() + FETCH_S, answered)
        answer = await answered.wait()
        if answer is None:
            raise PeerError(f"{self.peer.label} did not answer; try again while the link is up.")
        if answer.status != AnswerStatus.ANSWERED or not answer.body:
            return []
        try:
            batch = unpack_ledger_batch(answer.body)
        except ProtocolError:
            return []
        return list(batch.items) if (batch.epoch, batch.first_sequence) == (chain.epoch, after + 1) else []


def _as_held(cx: Cx, chain: Chain, row: EntryRow, *, is_erased: bool) -> EntryRow:
    """An entry as it stood here: without what was erased, and of the time of its receipt, for its own is lost."""
    receipt = ledgers.covering_receipt(cx, chain.chain_id, row.sequence)
    row = row if receipt is None else row._replace(at_ms=receipt.time_ms)
    return row._replace(salt=None, body=None) if is_erased else row


def _refill_txn(cx: Cx, chain: Chain, sequence: int, item: LedgerItem) -> bool:
    entry = ledgers.get_entry(cx, chain.chain_id, sequence)
    if entry is None or item.salt is None or item.body is None:
        return False
    if (item.kind, item.record_id) != (entry.kind, entry.record_id):
        return False
    if commitment(item.salt, item.body) != entry.commitment:
        return False
    return accounts.refill_txn(cx, chain.chain_id, sequence, item.salt, item.body)


def _runs(sequences: list[int]) -> list[Gap]:
    """Neighbours together."""
    groups = groupby(enumerate(sequences), key=lambda pair: pair[1] - pair[0])
    runs = [[sequence for _, sequence in some] for _, some in groups]
    return [Gap(run[0], run[-1]) for run in runs]


# --- records ----------------------------------------------------------------------------------------------------


def restore_txn(cx: Cx, peer: Peer, line: RecordLine, now_ms: int, *, ours: bool) -> str | None:
    """Make a record again from its entry; None when it is there, else why it cannot be."""
    chain = ledgers.chain_of_epoch(cx, peer.label, own=ours, epoch=line.epoch)
    entry = ledgers.get_entry(cx, chain.chain_id, line.sequence) if chain is not None else None
    if chain is None or entry is None:
        return "no such entry stands in the ledger here"
    if (entry.record_id, entry.commitment) != (line.record_id, line.commitment) or entry.kind not in RECORD_KINDS:
        return "another entry stands at the place that is named"
    if entry.body is None:
        return "its content was erased here"
    if not body_holds(entry):
        return "its content is damaged on the disk; see `roamd ledger verify`"
    return _remake_txn(cx, peer, chain, entry, line.party, now_ms, ours=ours)


def _remake_txn(
    cx: Cx, peer: Peer, chain: Chain, entry: EntryRow, party: str, now_ms: int, *, ours: bool
) -> str | None:
    item, direction = as_item(entry), "out" if ours else "in"
    known = records.get(cx, direction, party, entry.record_id, peer=peer.label)
    if known is not None:
        return f"it is {known.state} here"
    if ours:
        regain_txn(cx, peer, chain.chain_id, item, entry)
    else:
        refused = take_records_txn(cx, Arrival(peer, chain.chain_id, [(item, entry)], entry.at_ms), [(item, entry)])
        if refused:
            return f"it was refused: {refused[0].refusal.reason}"
    row = records.get(cx, direction, party, entry.record_id, peer=peer.label)
    if row is None:
        return "it cannot be read"
    if ours:
        record_event_txn(cx, row, "record.state", now_ms)
    return None


def refold_txn(cx: Cx, peer: Peer, line: RecordLine, now_ms: int, *, ours: bool) -> bool:
    """Let a record stand as both chains say; whether it stood otherwise."""
    row = records.get(cx, "out" if ours else "in", line.party, line.record_id, peer=peer.label)
    if row is None or row.state not in SETTLED:
        return False
    state, reason = state_of(cx, row)
    if state == row.state:
        return False
    records.set_state_txn(cx, row.id, state, reason, now_ms=now_ms)
    changed: RecordRow = row._replace(state=state, reason=reason, updated_ms=now_ms)
    record_event_txn(cx, changed, "record.state", now_ms)
    return True
