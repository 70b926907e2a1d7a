"""What the operator asks of the ledgers: do they hold, and what proves one record."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from roamd.errors import Conflict, RoamdError, StoreDamaged, StoreError
from roamd.protocol.ledger import entry_bytes, head_document, receipt_document
from roamd.roaming import operations as op
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.ledger.bundle import evidence_bundle
from roamd.roaming.ledger.evidence import VERIFY_SCRIPT, pem, succession_files
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.ledger.sound import body_holds, chained_hash, require_chained, sound_entry
from roamd.roaming.ports import Reply
from roamd.roaming.records import find_one
from roamd.storage import ledgers, verify
from roamd.storage.ledgers import GENESIS, Chain, EntryRow, SignedMark
from roamd.storage.records import RecordRow
from roamd.storage.store import Cx, Store
from roamd.trust.succession import signer_among

MAX_FAULTS = 100
"""Faults that a report names; a broken disk makes thousands, and the first tell enough."""


@dataclass(slots=True)
class LedgerDesk:
    """Handles VerifyLedgers and ExportEvidence. `start` runs a coroutine in the daemon's nursery."""

    store: Store
    directory: Directory
    signer: Signer
    start: Callable[..., None]

    # --- verify -------------------------------------------------------------------------------------------------

    def verify(self, operation: op.VerifyLedgers, reply: Reply) -> None:
        """VerifyLedgers -> report; the walk lets other work in between its pages."""
        if operation.peer is not None:
            self.directory.get(operation.peer)
        self.start(self._verify_all, operation.peer, reply)

    async def _verify_all(self, peer: str | None, reply: Reply) -> None:
        try:
            chains = self.store.read(lambda cx: ledgers.chains(cx, peer))
            reports = [await self._verify_chain(chain) for chain in chains]
            faults = await self._structure_faults()
            faults += self.store.read(lambda cx: [*_orphans(cx), *verify.misfits(cx)])
        except RoamdError as error:
            reply(error)
            return
        ok = not faults and all(not report["faults"] for report in reports)
        entries = sum(report["entries"] for report in reports)
        reply({"ok": ok, "entries": entries, "chains": reports, "faults": faults})

    async def _structure_faults(self) -> list[str]:
        if self.store.path is None:
            return self.store.ledger_faults()
        return await trio.to_thread.run_sync(self.store.ledger_faults)

    async def _verify_chain(self, chain: Chain) -> dict[str, Any]:
        walk = _Walk(chain)
        try:
            for page in verify.pages(self.store.read, chain.chain_id):
                walk.page(page)
                await trio.lowlevel.checkpoint()
            faults = [*walk.faults, *walk.end_faults(self._tail_now(chain))]
            faults += [fault async for fault in self._mark_faults(chain, walk.hashes_at)]
        except StoreError as error:
            faults = [*walk.faults, f"behind entry {walk.sequence} it cannot be read: {error}"]
        return {
            "peer": chain.peer,
            "author": "us" if chain.own else chain.peer,
            "epoch": chain.epoch.hex(),
            "entries": walk.sequence,
            "receipted": chain.receipted_sequence,
            "erased": walk.erased,
            "faults": faults[:MAX_FAULTS],
        }

    async def _mark_faults(self, chain: Chain, hash_at: Callable[[int], bytes | None]) -> AsyncIterator[str]:
        peer = self.directory.find(chain.peer)
        for kind in ("head", "receipt"):
            for mark in self.store.read(partial(ledgers.marks, chain_id=chain.chain_id, kind=kind)):
                if chain.tail_sequence < mark.sequence <= self._tail_now(chain):
                    continue  # it came while the walk went on
                if hash_at(mark.sequence) != mark.hash:
                    yield f"the {kind} at {mark.sequence} is over something else than the entry that stands there"
                elif peer is not None and self._made_by(chain, peer, kind, mark) is None:
                    yield f"the signature of the {kind} at {mark.sequence} does not hold"
                await trio.lowlevel.checkpoint()

    def _tail_now(self, chain: Chain) -> int:
        found = self.store.read(lambda cx: ledgers.get_chain(cx, chain.chain_id))
        return found.tail_sequence if found is not None else 0

    def _made_by(self, chain: Chain, peer: Peer, kind: str, mark: SignedMark) -> bytes | None:
        """The certificate that the signature is by. Heads are by the author, receipts by the receiver; one is us."""
        document, by_us = _signed_document(self.signer, chain, peer, kind, mark)
        keys = (self.signer.succession if by_us else peer.succession).ever
        return signer_among(keys, document, mark.signature, self.signer.verify)

    # --- export -------------------------------------------------------------------------------------------------

    def export(self, operation: op.ExportEvidence, reply: Reply) -> None:
        """ExportEvidence -> {file name: bytes}; Conflict while no receipt covers the record."""
        files = self._bundle if operation.bundle else self._files
        reply(self.store.read(lambda cx: files(cx, find_one(cx, operation.record_id, operation.party, None))))

    def _bundle(self, cx: Cx, row: RecordRow) -> dict[str, bytes]:
        if row.peer is None:
            raise Conflict("The record has no place in a ledger yet.", code="not-in-ledger")
        return {"evidence.json": evidence_bundle(cx, self.signer, self.directory.get(row.peer), row)}

    def _files(self, cx: Cx, row: RecordRow) -> dict[str, bytes]:
        if row.chain_id is None or row.sequence is None or row.peer is None:
            raise Conflict("The record has no place in a ledger yet.", code="not-in-ledger")
        chain = ledgers.get_chain(cx, row.chain_id)
        head = ledgers.covering_head(cx, row.chain_id, row.sequence)
        receipt = ledgers.covering_receipt(cx, row.chain_id, row.sequence)
        if chain is None or head is None or receipt is None:
            raise Conflict("No receipt covers the record yet; try again once it is DELIVERED.", code="no-receipt")
        sound_entry(cx, row.chain_id, row.sequence)
        return self._evidence(cx, chain, self.directory.get(row.peer), row.sequence, head, receipt)

    def _evidence(
        self, cx: Cx, chain: Chain, peer: Peer, sequence: int, head: SignedMark, receipt: SignedMark
    ) -> dict[str, bytes]:
        author, receiver = (self._made_by(chain, peer, *of) for of in (("head", head), ("receipt", receipt)))
        if author is None or receiver is None:
            raise StoreDamaged("A signature over the record is damaged on the disk; see `roamd ledger verify`.")
        head_text, by_us = _signed_document(self.signer, chain, peer, "head", head)
        receipt_text, _ = _signed_document(self.signer, chain, peer, "receipt", receipt)
        ours, theirs = self.signer.succession, peer.succession
        successions = {"author": ours if by_us else theirs, "receiver": theirs if by_us else ours}
        files = dict(_entry_files(cx, chain, sequence, max(head.sequence, receipt.sequence)))
        files |= {
            "head.bin": head_text,
            "head.sig": head.signature,
            "receipt.bin": receipt_text,
            "receipt.sig": receipt.signature,
            "author.crt": pem(author),
            "receiver.crt": pem(receiver),
            "verify.sh": VERIFY_SCRIPT,
        }
        for side, succession in successions.items():
            files |= succession_files(side, succession, author if side == "author" else receiver)
        return files


def _signed_document(signer: Signer, chain: Chain, peer: Peer, kind: str, mark: SignedMark) -> tuple[bytes, bool]:
    """The bytes that were signed, and whether by us."""
    author, receiver = (signer.endpoint_id, peer.endpoint_id) if chain.own else (peer.endpoint_id, signer.endpoint_id)
    make = head_document if kind == "head" else receipt_document
    document = make(author, receiver, chain.epoch, mark.sequence, mark.hash, mark.time_ms)
    return document, (kind == "head") is chain.own


def _entry_files(cx: Cx, chain: Chain, sequence: int, last: int) -> Iterator[tuple[str, bytes]]:
    """The record's body and salt, and every entry from it to the last one that is signed; StoreDamaged."""
    before = ledgers.get_entry(cx, chain.chain_id, sequence - 1) if sequence > 1 else None
    previous = before.hash if before is not None else GENESIS
    for number in range(sequence, last + 1):
        row = ledgers.get_entry(cx, chain.chain_id, number)
        if row is None:
            return
        require_chained(previous, row)
        if number == sequence and row.body is not None and row.salt is not None:
            yield "body.json", row.body
            yield "salt.bin", row.salt
        yield f"entry-{number:012}.bin", entry_bytes(number, previous, row.kind, row.record_id, row.commitment)
        previous = row.hash


def _orphans(cx: Cx) -> list[str]:
    return [f"chain {number} has entries but no row of its own" for number in verify.orphans(cx)]


class _Walk:
    """Hashes a chain from its first entry on."""

    def __init__(self, chain: Chain) -> None:
        self.faults: list[str] = []
        self.sequence = 0
        self.erased = 0
        self._last = 0
        self._chain = chain
        self._hash = GENESIS
        self._hashes: list[bytes] = []

    def page(self, rows: list[EntryRow]) -> None:
        """Take in the next entries. What came while the walk went on is for the next one."""
        for row in rows:
            if row.sequence <= self._chain.tail_sequence:
                self._row(row)
            self._last = row.sequence

    def _row(self, row: EntryRow) -> None:
        if row.sequence != self.sequence + 1:
            self.faults.append(f"entries between {self.sequence} and {row.sequence} are missing")
        self.erased += row.body is None
        if not body_holds(row):
            self.faults.append(f"the body of entry {row.sequence} is not the one that was committed to")
        if chained_hash(self._hash, row) != row.hash:
            self.faults.append(f"entry {row.sequence} does not have the hash that it is stored with")
        # What is stored goes on: one flip is then one fault, not as many as there are entries behind it.
        self._hash, self.sequence = row.hash, row.sequence
        self._hashes.append(row.hash)

    def end_faults(self, tail_now: int) -> Iterator[str]:
        """What is wrong with where it ends; `tail_now` is its tail after the walk."""
        if self._last > tail_now:
            yield f"entries up to {self._last} stand behind its tail {tail_now}"
        if (self.sequence, self._hash) != (self._chain.tail_sequence, self._chain.tail_hash):
            yield f"the chain ends at {self.sequence} and not at its tail {self._chain.tail_sequence}"

    def hashes_at(self, sequence: int) -> bytes | None:
        """The stored hash at a place."""
        return self._hashes[sequence - 1] if 0 < sequence <= len(self._hashes) else None
