"""A peer's chain towards us, over one link: commit what continues it, receipt it, never block.

Theory of operation. A receipt says "I have it", never "I accept it": every well-formed entry that continues the chain
is committed and receipted, even if its body cannot be read or breaks a right; what is wrong with it is said by an entry
`refused` in our own chain. So nothing can stand in the way of what comes behind it. One batch is one transaction: its
entries, its signed head, our signed receipt, the records, their events and our refusals are there together or not at
all; only then the receipt is sent.

A batch may repeat what we have (the link fell before the receipt arrived): the known part must have the same hashes,
and the answer is the stored receipt, byte for byte. A different head over the same place is a fork: an alarm, and both
heads are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import ProtocolError
from roamd.log import get_logger
from roamd.protocol.bulk import LedgerBatch, unpack_ledger_batch
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.ledger import EntryKind, EpochOpening, EpochReason, LedgerItem
from roamd.protocol.messages import Receipt
from roamd.roaming.directory import Peer
from roamd.roaming.inflow import Settle
from roamd.roaming.ledger.chain import entry_rows
from roamd.roaming.ledger.signer import Signer
from roamd.storage import ledgers
from roamd.storage.ledgers import GENESIS, Chain, EntryRow, SignedMark
from roamd.storage.store import Cx, Store

log = get_logger()

RETRY_MS = 60_000
"""What a peer is told to wait when the store cannot take its batch."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Entries that came in: each item with its row, in order."""

    peer: Peer
    chain_id: int
    items: list[tuple[LedgerItem, EntryRow]]
    now_ms: int


class Taken(NamedTuple):
    """What became of a batch: the receipt to send, how many entries were new, whether we wrote into our own chain, and
    how the epoch opened, if this batch opened it.
    """

    receipt: SignedMark
    fresh: int
    wrote: bool
    opening: EpochOpening | None = None


Take = Callable[[Cx, Arrival], bool]
"""Takes arrived entries into effect inside the transaction; whether it wrote into our own chain."""


@dataclass(slots=True)
class Receiver:
    """What one peer writes to us over one link. `took` is called after a commit; True if we wrote to it in turn."""

    peer: Peer
    store: Store
    signer: Signer
    clock: Clock
    take: Take
    send: Callable[[Receipt], None]
    took: Callable[[bool], None]
    close: Callable[[int, str, int], None]

    def on_batch(self, payload: bytes, settle: Settle) -> None:
        """Commit a batch and receipt it; `settle` is told what became of it. ProtocolError ends the link."""
        batch = unpack_ledger_batch(payload)
        rows = entry_rows(batch.previous_hash, batch.first_sequence, batch.items, self.clock.now_ms())
        head = SignedMark(rows[-1].sequence, rows[-1].hash, batch.time_ms, batch.signature)
        keys = self.peer.keys(self.clock.now_ms())
        if not self.signer.peer_head_holds(self.peer.endpoint_id, keys, batch.epoch, head):
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "the signature of a head does not hold")
        receipt = self.signer.receipt(self.peer.endpoint_id, batch.epoch, head.sequence, head.hash, self.clock.now_ms())

        def txn(cx: Cx) -> Taken:
            return self._take_txn(cx, batch, rows, head, receipt)

        def done(outcome: Taken | BaseException) -> None:
            if settle(outcome):
                self._finished(batch.epoch, outcome)

        self.store.submit(txn, done)

    def _take_txn(
        self, cx: Cx, batch: LedgerBatch, rows: list[EntryRow], head: SignedMark, receipt: SignedMark
    ) -> Taken:
        chain, opening = self._chain_txn(cx, batch)
        known = chain.tail_sequence - batch.first_sequence + 1
        if known < 0:
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "a batch leaves a gap in the chain")
        self._require_same(cx, chain, rows[:known], head)
        if known == 0 and batch.previous_hash != chain.tail_hash:
            raise ForkError(chain.chain_id, head)
        fresh = rows[known:]
        if not fresh:
            stored = ledgers.covering_receipt(cx, chain.chain_id, head.sequence)
            return Taken(stored or receipt, 0, wrote=False)
        if chain.closed:
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "a batch goes on with an epoch that another one has followed")
        previous = rows[known - 1].hash if known else batch.previous_hash
        ledgers.append_many_txn(cx, chain.chain_id, previous, fresh)
        ledgers.put_head_txn(cx, chain.chain_id, head)
        ledgers.put_receipt_txn(cx, chain.chain_id, receipt)
        items = list(zip(batch.items[known:], fresh, strict=True))
        wrote = self.take(cx, Arrival(self.peer, chain.chain_id, items, receipt.time_ms))
        return Taken(receipt, len(fresh), wrote, opening)

    def _chain_txn(self, cx: Cx, batch: LedgerBatch) -> tuple[Chain, EpochOpening | None]:
        chain = ledgers.chain_of_epoch(cx, self.peer.label, own=False, epoch=batch.epoch)
        return (chain, None) if chain is not None else self._open_txn(cx, batch)

    def _open_txn(self, cx: Cx, batch: LedgerBatch) -> tuple[Chain, EpochOpening | None]:
        """A new epoch: the very first, or one that says which head it follows (a rollback, or a new key)."""
        if batch.first_sequence != 1 or batch.previous_hash != GENESIS:
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "a new epoch does not begin at its beginning")
        old = ledgers.current_chain(cx, self.peer.label, own=False)
        first, opening = batch.items[0], None
        if first.kind == EntryKind.EPOCH and first.body is not None:
            opening = EpochOpening.unpack(first.body)
            _require_following(old, opening)
        elif old is not None:
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "a new epoch does not say which one it follows")
        if old is not None:
            ledgers.close_chain_txn(cx, old.chain_id)
        return ledgers.open_chain_txn(cx, self.peer.label, own=False, epoch=batch.epoch), opening

    def _require_same(self, cx: Cx, chain: Chain, repeated: list[EntryRow], head: SignedMark) -> None:
        """What comes again must be what came before."""
        for row in repeated:
            stored = ledgers.get_entry(cx, chain.chain_id, row.sequence)
            if stored is None or stored.hash != row.hash:
                raise ForkError(chain.chain_id, head)

    def _finished(self, epoch: bytes, outcome: Taken | BaseException) -> None:
        if isinstance(outcome, ForkError):
            self._raise_alarm(outcome)
        elif isinstance(outcome, ProtocolError):
            self.close(outcome.goodbye, str(outcome), 0)
        elif isinstance(outcome, BaseException):
            until_ms = self.clock.now_ms() + RETRY_MS
            self.close(GoodbyeCode.OVERLOADED, "a batch could not be stored", until_ms)
        else:
            mark, fresh, wrote, opening = outcome
            if opening is not None:
                self._tell_of(opening)
            self.send(Receipt(epoch, mark.sequence, mark.time_ms, mark.signature))
            metrics.receipts.labels(self.peer.label, "out").inc()
            metrics.ledger_entries.labels(self.peer.label, "in").inc(fresh)
            if fresh:
                self.took(wrote)

    def _tell_of(self, opening: EpochOpening) -> None:
        if opening.reason == EpochReason.NEW_KEY:
            log.info("peer_turned_epoch", peer=self.peer.label, old_sequence=opening.old_sequence)
            return
        metrics.ledger_alarms.labels(self.peer.label, "peer-rolled-back").inc()
        self.peer.alarm(f"its ledger was rolled back and goes on in a new epoch behind sequence {opening.old_sequence}")
        log.warning("peer_opened_new_epoch", peer=self.peer.label, old_sequence=opening.old_sequence)

    def _raise_alarm(self, fork: "ForkError") -> None:
        """Keep the second head as evidence, tell the operator, end the link."""
        metrics.ledger_alarms.labels(self.peer.label, "fork").inc()
        self.peer.alarm(f"fork of its ledger at sequence {fork.head.sequence}")
        log.error("ledger_fork_found", peer=self.peer.label, sequence=fork.head.sequence)
        self.store.submit(
            lambda cx: ledgers.put_fork_txn(cx, fork.chain_id, fork.head), lambda outcome: None, essential=True
        )
        self.close(fork.goodbye, str(fork), 0)


def _require_following(old: Chain | None, opening: EpochOpening) -> None:
    followed = (opening.old_epoch, opening.old_sequence, opening.old_hash)
    if old is not None and followed != (old.epoch, old.tail_sequence, old.tail_hash):
        raise ProtocolError(GoodbyeCode.BAD_CHAIN, "a new epoch follows another head than the newest that we hold")


class ForkError(ProtocolError):
    """Two signed heads over the same place of one chain."""

    def __init__(self, chain_id: int, head: SignedMark) -> None:
        super().__init__(GoodbyeCode.BAD_CHAIN, "two different signed heads for the same place: a fork")
        self.chain_id = chain_id
        self.head = head
