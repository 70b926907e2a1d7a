"""Our own chain towards one peer, over one link: send what it does not have, keep its receipts.

Theory of operation. Entries are committed before they are sent (a sequence number that was sent and then forgotten in
a crash would be a fork). Where to begin is what the peer shows in its Hello: the newest head of ours that it holds. A
peer that was rolled back simply shows an older one and is sent the same entries again. From there on the entries go
out in order, in batches under one signed head, as far as the credit reaches, and epoch after epoch: a peer that lost
the end of a closed epoch gets that before the epoch that follows it, or it could not take the latter. A receipt is
cumulative: it settles all entries up to its sequence, and is kept together with the head it answers.

If the peer shows a head with our signature that we do not know, we are the ones who were rolled back: `rollback`
mends that first, and nothing is sent meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import ProtocolError, StoreDamaged, StoreFull
from roamd.log import get_logger
from roamd.protocol.bulk import LedgerBatch, fitting, pack_ledger_batch
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.ledger import LedgerItem
from roamd.protocol.messages import Mark, Receipt
from roamd.roaming.directory import Peer
from roamd.roaming.events import record_event_txn, record_events_txn
from roamd.roaming.ledger.chain import as_item
from roamd.roaming.ledger.marks import signed
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.ledger.sound import body_holds, require_chained
from roamd.storage import ledgers, records
from roamd.storage.ledgers import GENESIS, Chain, EntryRow, SignedMark
from roamd.storage.store import Cx, Store

log = get_logger()

MAX_ROWS = 256
MAX_BYTES = 224 * 1024
"""Bodies in one batch: its head costs one signature, and compressed it fits into a few bulk frames."""


@dataclass(slots=True)
class Author:
    """What we write to one peer over one link. `settled` is called when records changed their state.

    `no_room` is called when a receipt finds the disk full; once there is room, `keep_again` is to be called. `behind`
    says that there may be entries that were not sent; who appends to the chain sets it.
    """

    peer: Peer
    store: Store
    signer: Signer
    clock: Clock
    settled: Callable[[], None]
    close: Callable[[int, str], None]
    no_room: Callable[[], None]
    sending: bool = False
    behind: bool = True
    _chain: Chain | None = None
    _sequence: int = 0
    _hash: bytes = GENESIS
    _heads: dict[tuple[int, int], SignedMark] = field(default_factory=dict)
    _unkept: list[Callable[[Cx], int]] = field(default_factory=list)

    def begin(self, shown: Mark | None) -> None:
        """Start sending behind what the peer showed (and surely has a receipt for)."""
        chains = self._chains_from(shown)
        self._chain = next(iter(chains), None)
        # What was shown but is not receipted is sent once more: a repeat is answered with the stored receipt.
        self._go_to(min(_held(chains, shown), chains[0].receipted_sequence) if chains else 0)
        self.sending = True

    def _chains_from(self, shown: Mark | None) -> list[Chain]:
        """The chains to send: from the shown epoch on, or from an earlier one that lacks receipts."""
        chains = self.store.read(lambda cx: [chain for chain in ledgers.chains(cx, self.peer.label) if chain.own])
        for number, chain in enumerate(chains):
            lacking = chain.receipted_sequence < chain.tail_sequence
            if shown is None or lacking or chain.epoch == shown.epoch:
                return chains[number:]
        return chains[-1:]

    def next_batch(self) -> bytes | None:
        """The payload of the next batch, or None when the peer has been sent everything."""
        if not (self.sending and self.behind):
            return None
        try:
            return self._next_batch()
        except StoreDamaged as damage:
            self._stop(damage)
            return None

    def _next_batch(self) -> bytes | None:
        payload = self._batch_of(self._chain) if self._chain is not None else None
        while payload is None and (following := self._next_chain()) is not None:
            self._chain, self._sequence, self._hash = following, 0, GENESIS
            payload = self._batch_of(following)
        if payload is None:
            self.behind = False
        return payload

    def _next_chain(self) -> Chain | None:
        """The epoch behind the one that is sent; the first one of all may have been opened since the link came up."""
        sent = self._chain.chain_id if self._chain is not None else 0
        chains = self.store.read(lambda cx: ledgers.chains(cx, self.peer.label))
        return next((chain for chain in chains if chain.own and chain.chain_id > sent), None)

    def _batch_of(self, chain: Chain) -> bytes | None:
        def read(cx: Cx) -> tuple[list[EntryRow], Chain | None]:
            rows = ledgers.entries(cx, chain.chain_id, self._sequence, max_rows=MAX_ROWS, max_bytes=MAX_BYTES)
            return rows, ledgers.current_chain(cx, self.peer.label, own=True) if rows else None

        rows, newest = self.store.read(read)
        if not rows:
            return None
        items = [as_item(row) for row in rows]
        count = fitting(items)
        rows, items = rows[:count], items[:count]
        # Seen in the same state, so that a record which comes alone is not followed by a look for more.
        at_end = newest is not None and (newest.chain_id, newest.tail_sequence) == (chain.chain_id, rows[-1].sequence)
        self.behind = not at_end
        self._require_sound(chain, rows, items)
        head = self._sign(chain, rows[-1])
        batch = LedgerBatch(chain.epoch, rows[0].sequence, self._hash, head.time_ms, head.signature, items)
        self._sequence, self._hash = rows[-1].sequence, rows[-1].hash
        metrics.ledger_entries.labels(self.peer.label, "out").inc(len(rows))
        return pack_ledger_batch(batch)

    def _require_sound(self, chain: Chain, rows: list[EntryRow], items: list[LedgerItem]) -> None:
        """Sign nothing that the disk has changed. A body that is lost parks its record; the chain goes on."""
        previous = self._hash
        for row, item in zip(rows, items, strict=True):
            require_chained(previous, row)
            previous = row.hash
            if item.erased and not body_holds(row):  # `as_item` has held all others against their commitments
                self._lose(chain, row)

    def _lose(self, chain: Chain, entry: EntryRow) -> None:
        log.warning("record_damaged", peer=self.peer.label, sequence=entry.sequence)
        self.peer.alarm(f"the content of our record at sequence {entry.sequence} is damaged on the disk")
        now_ms = self.clock.now_ms()

        def park(cx: Cx) -> None:
            row = records.queued_at(cx, chain.chain_id, entry.sequence)
            if row is not None:
                reason = "its content was damaged on the disk before it could be sent"
                records.set_state_txn(cx, row.id, records.PARKED, reason, now_ms=now_ms)
                record_event_txn(cx, row._replace(state=records.PARKED, reason=reason), "record.state", now_ms)

        self.store.submit(park, lambda outcome: self.settled(), essential=True)

    def _stop(self, damage: StoreDamaged) -> None:
        """Nothing is sent any more: behind a damaged entry no hash is right. What the peer sends is taken as ever."""
        self.sending = False
        log.error("ledger_damaged", peer=self.peer.label, detail=str(damage))
        self.peer.alarm("our ledger towards it is damaged on the disk; see `roamd ledger verify`")

    def _sign(self, chain: Chain, last: EntryRow) -> SignedMark:
        head = self.signer.head(self.peer.endpoint_id, chain.epoch, last.sequence, last.hash, self.clock.now_ms())
        self._heads[chain.chain_id, last.sequence] = head
        return head

    def _go_to(self, sequence: int) -> None:
        self._sequence, self._hash = sequence, GENESIS
        chain = self._chain
        if chain is not None and sequence:
            row = self.store.read(lambda cx: ledgers.get_entry(cx, chain.chain_id, sequence))
            self._hash = row.hash if row is not None else GENESIS

    def on_receipt(self, receipt: Receipt) -> None:
        """Check and keep a receipt; ProtocolError when it contradicts our chain or its signature does not hold."""
        chain = self._chain_of(receipt.epoch)
        if chain is None:
            log.info("receipt_ignored", peer=self.peer.label, reason="of an unknown epoch")
            return
        mark = SignedMark(receipt.sequence, self._hash_at(chain, receipt.sequence), receipt.time_ms, receipt.signature)
        # A repeat is answered with the receipt of then, which an earlier key of the peer may have signed.
        keys = self.peer.succession.ever
        if not self.signer.peer_receipt_holds(self.peer.endpoint_id, keys, chain.epoch, mark):
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "the signature of a receipt does not hold over our chain")
        self._keep(chain, mark)

    def _chain_of(self, epoch: bytes) -> Chain | None:
        if self._chain is not None and self._chain.epoch == epoch:
            return self._chain
        return self.store.read(lambda cx: ledgers.chain_of_epoch(cx, self.peer.label, own=True, epoch=epoch))

    def _hash_at(self, chain: Chain, sequence: int) -> bytes:
        """What a receipt for this sequence must be signed over: our own hash, never one that the peer names."""
        head = self._heads.get((chain.chain_id, sequence))
        if head is not None:
            return head.hash
        row = self.store.read(lambda cx: ledgers.get_entry(cx, chain.chain_id, sequence))
        if row is None:
            raise ProtocolError(GoodbyeCode.BAD_CHAIN, "a receipt is for something that is not in our chain")
        return row.hash

    def _keep(self, chain: Chain, mark: SignedMark) -> None:
        covered = [at for at in sorted(self._heads) if at[0] == chain.chain_id and at[1] <= mark.sequence]
        heads = [self._heads.pop(at) for at in covered]
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> int:
            if heads:
                ledgers.put_head_txn(cx, chain.chain_id, heads[-1])
            ledgers.put_receipt_txn(cx, chain.chain_id, mark)
            delivered = records.mark_delivered_txn(cx, chain.chain_id, mark.sequence, now_ms=now_ms)
            record_events_txn(cx, delivered, "record.state", now_ms)
            return len(delivered)

        self._submit(txn)

    def _submit(self, txn: Callable[[Cx], int]) -> None:
        self.store.submit(txn, lambda outcome: self._kept(txn, outcome), essential=True)

    def keep_again(self) -> None:
        """Store the receipts that found no room."""
        unkept, self._unkept = self._unkept, []
        for txn in unkept:
            self._submit(txn)

    def _kept(self, txn: Callable[[Cx], int], outcome: int | BaseException) -> None:
        if isinstance(outcome, StoreFull):
            # The reserve is spent, too. The link stays, for the drivers' sake: the receipt waits here for room.
            self._unkept.append(txn)
            self.no_room()
        elif isinstance(outcome, BaseException):
            self.close(GoodbyeCode.INTERNAL, "a receipt could not be stored")
        else:
            metrics.receipts.labels(self.peer.label, "in").inc()
            if outcome:
                metrics.records.labels("DELIVERED").inc(outcome)
                self.settled()


def _held(chains: list[Chain], shown: Mark | None) -> int:
    """How much of the first of these epochs the peer has by what it shows; who has a later one has all of it."""
    epochs = [chain.epoch for chain in chains]
    if shown is None or shown.epoch not in epochs:
        return 0
    return shown.sequence if shown.epoch == epochs[0] else chains[0].tail_sequence


def is_known(store: Store, peer: Peer, shown: Mark) -> bool:
    """Whether a head with our signature is one that we remember. A head that we never signed is not: see `is_ours`."""

    def read(cx: Cx) -> bool:
        chain = ledgers.chain_of_epoch(cx, peer.label, own=True, epoch=shown.epoch)
        if chain is None or chain.tail_sequence < shown.sequence:
            return False
        row = ledgers.get_entry(cx, chain.chain_id, shown.sequence)
        return row is not None and row.hash == shown.hash

    return store.read(read)


def is_ours(signer: Signer, peer: Peer, shown: Mark) -> bool:
    """Whether the signature under a shown head is our own."""
    return signer.own_head_holds(peer.endpoint_id, shown.epoch, signed(shown))
