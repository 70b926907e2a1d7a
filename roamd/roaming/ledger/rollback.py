"""We were rolled back: the peer shows a head with our own signature that we do not know (DESIGN section 3).

It happens after an old backup was restored. What the peer holds was said by us and stands. So, in this order:

1. the own chain is closed to new entries; entries of ours that the peer cannot have (they are not in its chain) lose
   their place, and their records wait without one;
2. the forgotten entries are fetched from the peer, after they have been traced hash by hash up to the head that we
   signed; if the epoch itself is a forgotten one, those before it are fetched first, for its opening names them;
3. the old epoch is closed at that head; a new one opens with an entry that names it; the records that wait, and those
   that came in meanwhile, get their places there.

Each step is one transaction, and doing it again after a crash changes nothing: the marker `recovering` is set with the
first and taken away with the last. A forgotten record that the backend has handed in once more is one record.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import ProtocolError, StoreDamaged
from roamd.log import get_logger
from roamd.protocol.bulk import LedgerBatch, unpack_ledger_batch
from roamd.protocol.calls import LedgerFetch, Service
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.ledger import SALT_SIZE, EntryKind, EpochOpening, EpochReason, LedgerItem
from roamd.protocol.messages import Answer, AnswerStatus, Call, Mark
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.author import is_known
from roamd.roaming.ledger.chain import Random, append_items_txn, entry_rows, own_chain_txn
from roamd.roaming.ledger.forgotten import regain_txn
from roamd.roaming.ledger.mending import keep_said_txn, marker, say_again_txn
from roamd.roaming.ledger.sound import sound_body
from roamd.roaming.ledger.turning import next_epoch_txn
from roamd.roaming.privacy.asks import AT_ONCE, place_asks_txn
from roamd.roaming.waiting import Outcome, write
from roamd.storage import ledgers, meta, records
from roamd.storage.ledgers import Chain
from roamd.storage.store import Cx, Store

log = get_logger()

FETCH_S = 30.0
"""For one page of forgotten entries."""

PAGE = 64


MAX_EPOCHS = 64
"""Epochs that are followed back; each is one restored backup."""


class Goal(NamedTuple):
    """A place in an epoch of our own chain."""

    epoch: bytes
    sequence: int
    hash: bytes


@dataclass(slots=True)
class Rollback:
    """Mends one own chain with the peer's help."""

    peer: Peer
    store: Store
    clock: Clock
    calls: OutgoingCalls
    random: Random

    async def mend(self, shown: Mark) -> None:
        """All steps; ProtocolError when the peer's entries do not lead to the head that we signed.

        A head that we know can only be shown when a crash cut us short: then there is no more to fetch from this peer.
        """
        if is_known(self.store, self.peer, shown):
            await self.give_up()
            return
        metrics.ledger_alarms.labels(self.peer.label, "rolled-back").inc()
        log.warning("ledger_rolled_back", peer=self.peer.label, shown_sequence=shown.sequence)
        try:
            chain = await self._mend(Goal(shown.epoch, shown.sequence, shown.hash))
        except ProtocolError as error:
            self.peer.alarm(f"our ledger was rolled back behind sequence {shown.sequence}, and is not mended: {error}")
            raise
        self.peer.alarm(f"our ledger was rolled back behind sequence {shown.sequence}; it was mended")
        log.warning("ledger_mended", peer=self.peer.label, sequence=chain.tail_sequence)

    async def _mend(self, shown: Goal) -> Chain:
        *earlier, last = await self._goals(shown)
        for goal in earlier:
            chain = await self._regain(goal)
            await write(self.store, partial(ledgers.close_chain_txn, chain_id=chain.chain_id), essential=True)
        chain = await self._regain(last)
        await write(self.store, lambda cx: self._reopen_txn(cx, chain), essential=True)
        return chain

    async def give_up(self) -> None:
        """The peer has no more of what we were about to fetch: go on in a new epoch behind what we have.

        It has lost it, too, or a crash came when all of it was here already.
        """
        sequence = await write(self.store, self._give_up_txn, essential=True)
        self.peer.alarm(f"our ledger was rolled back; it goes on behind sequence {sequence}")
        log.warning("ledger_goes_on", peer=self.peer.label, sequence=sequence)

    def _give_up_txn(self, cx: Cx) -> int:
        own = [chain for chain in ledgers.chains(cx, self.peer.label) if chain.own]
        while own and not own[-1].tail_sequence:
            # An epoch that was to be regained, and of which neither side has anything: its sequences are used up.
            ledgers.drop_empty_chain_txn(cx, own.pop().chain_id)
        if own:
            self._reopen_txn(cx, own[-1])
            return own[-1].tail_sequence
        chain = own_chain_txn(cx, self.peer.label, self.random)
        self._go_on_txn(cx, chain)
        if (now := ledgers.get_chain(cx, chain.chain_id)) is not None and not now.tail_sequence:
            ledgers.drop_empty_chain_txn(cx, chain.chain_id)
        return 0

    # --- what was forgotten -------------------------------------------------------------------------------------

    async def _goals(self, shown: Goal) -> list[Goal]:
        """The ends of the epochs that we lack or have in part, oldest first; the last one is the head that was shown.

        Each is traced hash by hash up to something that we signed before anything of it is believed. An earlier epoch
        that the peer cannot give back is left out: nothing of ours waits for it.
        """
        goals = [shown]
        before = await self._before(shown)
        while before is not None and len(goals) < MAX_EPOCHS:
            try:
                following = await self._before(before)
            except ProtocolError as error:
                log.warning("earlier_epoch_not_regained", peer=self.peer.label, detail=str(error))
                break
            goals.insert(0, before)
            before = following
        return goals

    async def _before(self, goal: Goal) -> Goal | None:
        """Trace one epoch; the end of the one before it, if that is not whole here. ProtocolError if it leads off."""
        known = self.store.read(lambda cx: ledgers.chain_of_epoch(cx, self.peer.label, own=True, epoch=goal.epoch))
        opening = await self._trace(goal, self.store.read(lambda cx: _receipted(cx, known)))
        if opening is None or known is not None:
            return None
        before = Goal(opening.old_epoch, opening.old_sequence, opening.old_hash)
        older = self.store.read(lambda cx: ledgers.chain_of_epoch(cx, self.peer.label, own=True, epoch=before.epoch))
        # One that we closed ourselves since we were restored (for a new key) may end too early.
        is_whole = older is not None and older.closed and (older.tail_sequence, older.tail_hash) == before[1:]
        return None if is_whole else before

    async def _trace(self, goal: Goal, place: Goal) -> EpochOpening | None:
        """Follow the peer's entries from a place to the goal, keeping none; what the epoch's first one names."""
        opening: EpochOpening | None = None
        while place.sequence < goal.sequence:
            batch = await self._fetch(goal.epoch, place)
            first = batch.items[0]
            if batch.first_sequence == 1 and first.kind == EntryKind.EPOCH and first.body is not None:
                opening = EpochOpening.unpack(first.body)
            last = entry_rows(place.hash, batch.first_sequence, batch.items, 0)[-1]
            place = Goal(goal.epoch, last.sequence, last.hash)
        if place != goal:
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "the entries that were given back lead to another head")
        return opening

    async def _regain(self, goal: Goal) -> Chain:
        """Steps 1 and 2 for one epoch."""
        chain = await write(self.store, lambda cx: self._prepare_txn(cx, goal), essential=True)
        while chain.tail_sequence < goal.sequence:
            batch = await self._fetch(chain.epoch, Goal(chain.epoch, chain.tail_sequence, chain.tail_hash))
            chain = await self._take(chain, batch)
        if (chain.tail_sequence, chain.tail_hash) != (goal.sequence, goal.hash):
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "the entries that were given back lead to another head")
        return chain

    def _prepare_txn(self, cx: Cx, goal: Goal) -> Chain:
        """Step 1. Everything behind the last receipt that we hold may differ from what the peer has: it is fetched."""
        meta.set_txn(cx, marker(self.peer.label), goal.epoch.hex())
        chain = ledgers.chain_of_epoch(cx, self.peer.label, own=True, epoch=goal.epoch)
        if chain is None:
            current = ledgers.current_chain(cx, self.peer.label, own=True)
            if current is not None:
                if self._displace_txn(cx, current).tail_sequence:
                    ledgers.close_chain_txn(cx, current.chain_id)
                else:
                    ledgers.drop_empty_chain_txn(cx, current.chain_id)
            return ledgers.open_chain_txn(cx, self.peer.label, own=True, epoch=goal.epoch)
        if chain.closed:
            self._dissolve_later_txn(cx, chain)
            ledgers.reopen_chain_txn(cx, chain.chain_id)
        return self._displace_txn(cx, chain)

    def _dissolve_later_txn(self, cx: Cx, chain: Chain) -> None:
        """We closed this epoch too early, and the peer has nothing of what followed: what stands there waits again."""
        for later in ledgers.chains(cx, self.peer.label):
            if not later.own or later.chain_id <= chain.chain_id:
                continue
            if later.receipted_sequence:
                raise ProtocolError(GoodbyeCode.BAD_CHAIN, "the newest head is of an older epoch than was receipted")
            self._displace_txn(cx, later)
            ledgers.drop_empty_chain_txn(cx, later.chain_id)

    def _displace_txn(self, cx: Cx, chain: Chain) -> Chain:
        keep_said_txn(cx, chain)
        records.displace_txn(cx, chain.chain_id, chain.receipted_sequence, now_ms=self.clock.now_ms())
        return ledgers.truncate_txn(cx, chain.chain_id, chain.receipted_sequence)

    async def _fetch(self, epoch: bytes, place: Goal) -> LedgerBatch:
        """The entries that follow a place; ProtocolError unless they do."""
        request = LedgerFetch(epoch, place.sequence, PAGE)
        call = Call(self.random(16), Service.LEDGER_FETCH, int(FETCH_S * 1000), request.pack())
        answered: Outcome[Answer | None] = Outcome()
        self.calls.start(self.peer, call, self.clock.monotonic() + FETCH_S, answered)
        answer = await answered.wait()
        if answer is None or answer.status != AnswerStatus.ANSWERED or not answer.body:
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "the peer does not give back the entries behind its head")
        batch = unpack_ledger_batch(answer.body)
        if (batch.epoch, batch.first_sequence, batch.previous_hash) != (epoch, place.sequence + 1, place.hash):
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "the peer gives back other entries than it was asked for")
        return batch

    async def _take(self, chain: Chain, batch: LedgerBatch) -> Chain:
        """Step 2, one page."""
        now_ms = self.clock.now_ms()
        rows = entry_rows(chain.tail_hash, batch.first_sequence, batch.items, now_ms)

        def txn(cx: Cx) -> Chain:
            ledgers.append_many_txn(cx, chain.chain_id, chain.tail_hash, rows)
            for item, row in zip(batch.items, rows, strict=True):
                regain_txn(cx, self.peer, chain.chain_id, item, row)
            return chain._replace(tail_sequence=rows[-1].sequence, tail_hash=rows[-1].hash)

        return await write(self.store, txn, essential=True)

    def _reopen_txn(self, cx: Cx, old: Chain) -> None:
        """Step 3."""
        self._go_on_txn(cx, next_epoch_txn(cx, old, EpochReason.ROLLED_BACK, self.random, self.clock.now_ms()))

    def _go_on_txn(self, cx: Cx, chain: Chain) -> None:
        now_ms = self.clock.now_ms()
        meta.delete_txn(cx, marker(self.peer.label))
        place_waiting_txn(cx, say_again_txn(cx, chain, self.random, now_ms), self.random, now_ms)
        while place_asks_txn(cx, self.peer.label, self.random, now_ms) == AT_ONCE:
            pass


def _receipted(cx: Cx, chain: Chain | None) -> Goal:
    """Up to where our own copy of an epoch is surely what the peer has."""
    if chain is None or not chain.receipted_sequence:
        return Goal(b"", 0, ledgers.GENESIS)
    row = ledgers.get_entry(cx, chain.chain_id, chain.receipted_sequence)
    return Goal(chain.epoch, chain.receipted_sequence, row.hash if row is not None else ledgers.GENESIS)


def place_waiting_txn(cx: Cx, chain: Chain, random: Random, now_ms: int) -> None:
    """Give every queued record of the peer that has no place one at the end of the chain."""
    for row in records.without_place(cx, chain.peer):
        try:
            body = sound_body(row, row.body) or b""
        except StoreDamaged as damage:
            records.set_state_txn(cx, row.id, records.PARKED, str(damage), now_ms=now_ms)
            continue
        item = LedgerItem(EntryKind[row.kind], row.record_id, random(SALT_SIZE), body, ocpi=row.ocpi)
        chain = append_items_txn(cx, chain, [item], now_ms)
        placed = row._replace(chain_id=chain.chain_id, sequence=chain.tail_sequence, body=None, updated_ms=now_ms)
        records.put_txn(cx, placed)
