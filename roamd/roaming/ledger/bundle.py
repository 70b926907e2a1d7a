"""One file that proves a record and its life, to whoever has Python with `cryptography` (scripts/verify-evidence).

Theory of operation. For the record's entry, and each word about it in either chain, the file holds the *stretch* of
that chain from the entry to the smallest signed head and the smallest receipt that cover it; in between the entries of
other records stand as their commitments alone. Words that lie within one stretch share it. Nothing is in the file that
the script does not check, and it is written in one way only: any changed byte makes it fail. What is not yet signed by
both sides proves nothing and is left out.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, Final

from roamd.errors import Conflict, ProtocolError, StoreDamaged
from roamd.protocol.ledger import EntryKind, Refusal
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.refusals import refuses
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.ledger.sound import body_holds, require_chained, sound_entry
from roamd.roaming.ledger.words import words_of
from roamd.storage import ledgers
from roamd.storage.ledgers import GENESIS, Chain, EntryRow, SignedMark
from roamd.storage.records import RecordRow
from roamd.storage.store import Cx
from roamd.trust.certificates import public_key_of
from roamd.trust.identity import spki
from roamd.trust.succession import Succession

FORMAT: Final = "roamd evidence 1"

Json = dict[str, Any]


def evidence_bundle(cx: Cx, signer: Signer, peer: Peer, row: RecordRow) -> bytes:
    """The file's bytes. Conflict while no receipt covers the record; StoreDamaged when something does not hold."""
    if row.chain_id is None or row.sequence is None:
        raise Conflict("The record has no place in a ledger yet.", code="not-in-ledger")
    chain, entry = ledgers.get_chain(cx, row.chain_id), sound_entry(cx, row.chain_id, row.sequence)
    if chain is None or entry is None or _marks(cx, chain, row.sequence) is None:
        raise Conflict("No receipt covers the record yet; try again once it is DELIVERED.", code="no-receipt")
    said = _said(cx, row)
    proofs = [
        _proof(cx, signer, peer, row, each, numbers) for each, numbers in _places(cx, [(chain, entry.sequence), *said])
    ]
    proofs.sort(key=lambda proof: proof["by"] != "author")
    record = {
        "kind": row.kind,
        "party": row.party if entry.body is not None or said else "",
        "id": row.record_id,
        "epoch": chain.epoch.hex(),
        "sequence": row.sequence,
    }
    ours, theirs = _side(signer.succession), _side(peer.succession)
    author, receiver = (ours, theirs) if row.direction == "out" else (theirs, ours)
    bundle = {"format": FORMAT, "record": record, "author": author, "receiver": receiver, "proofs": proofs}
    return (json.dumps(bundle, ensure_ascii=False, indent=1) + "\n").encode()


def _side(succession: Succession) -> Json:
    """The key that the endpoint id names, and how each later one follows from the one before."""
    steps = [
        {
            "document": step.document,
            "by_old": b64encode(step.by_old).decode(),
            "by_new": b64encode(step.by_new).decode(),
            "key": _key(step.certificate_der),
        }
        for step in succession.steps
    ]
    return {"endpoint_id": succession.endpoint_id, "key": _key(succession.certificates[0]), "successors": steps}


def _key(certificate_der: bytes) -> str:
    return b64encode(spki(public_key_of(certificate_der))).decode()


# --- what is said of the record ---------------------------------------------------------------------------------


def _said(cx: Cx, row: RecordRow) -> list[tuple[Chain, int]]:
    """Where both chains speak of it: words, and the receiver's refusal of this place."""
    places = [(each.own, each.entry) for each in words_of(cx, row)]
    found = [
        (chain, entry.sequence)
        for chain_id, entry in ledgers.entries_about(cx, row.record_id)
        if (chain := ledgers.get_chain(cx, chain_id)) is not None and chain.peer == row.peer
        if (chain.own, entry) in places or _is_refusal(cx, row, chain, entry)
    ]
    return [(chain, sequence) for chain, sequence in found if _marks(cx, chain, sequence) is not None]


def _is_refusal(cx: Cx, row: RecordRow, chain: Chain, entry: EntryRow) -> bool:
    if entry.kind != EntryKind.REFUSED or entry.body is None or chain.own == (row.direction == "out"):
        return False
    try:
        return refuses(cx, Refusal.unpack(entry.body), row)
    except ProtocolError:
        return False


def _marks(cx: Cx, chain: Chain, sequence: int) -> tuple[SignedMark, SignedMark] | None:
    head = ledgers.covering_head(cx, chain.chain_id, sequence)
    receipt = ledgers.covering_receipt(cx, chain.chain_id, sequence)
    return None if head is None or receipt is None else (head, receipt)


def _places(cx: Cx, places: Iterable[tuple[Chain, int]]) -> Iterator[tuple[Chain, list[int]]]:
    """Stretches in order: each chain with the places that one pair of signatures covers, the first one leading."""
    chains = {chain.chain_id: chain for chain, _ in places}
    numbers = sorted({(chain.chain_id, sequence) for chain, sequence in places})
    stretch: list[int] = []
    for at, (chain_id, sequence) in enumerate(numbers):
        stretch.append(sequence)
        following = numbers[at + 1] if at + 1 < len(numbers) else (0, 0)
        marks = _marks(cx, chains[chain_id], stretch[0])
        covered = min(mark.sequence for mark in marks) if marks else 0
        if following[0] != chain_id or following[1] > covered:
            yield chains[chain_id], stretch
            stretch = []


# --- one stretch ------------------------------------------------------------------------------------------------


def _proof(cx: Cx, signer: Signer, peer: Peer, row: RecordRow, chain: Chain, shown: list[int]) -> Json:
    marks = _marks(cx, chain, shown[0])
    if marks is None:
        raise Conflict("No receipt covers the record yet; try again once it is DELIVERED.", code="no-receipt")
    head, receipt = marks
    _require_signed(signer, peer, chain, head, receipt)
    before = ledgers.get_entry(cx, chain.chain_id, shown[0] - 1) if shown[0] > 1 else None
    previous = before.hash if before is not None else GENESIS
    return {
        "by": "author" if chain.own == (row.direction == "out") else "receiver",
        "epoch": chain.epoch.hex(),
        "first": shown[0],
        "previous": previous.hex(),
        "entries": list(_entries(cx, chain, previous, shown, max(head.sequence, receipt.sequence))),
        "head": _mark(head),
        "receipt": _mark(receipt),
    }


def _entries(cx: Cx, chain: Chain, previous: bytes, shown: list[int], last: int) -> Iterator[Json]:
    """The entries from the first shown one to the last signed one; content only of those that are about the record."""
    for sequence in range(shown[0], last + 1):
        entry = ledgers.get_entry(cx, chain.chain_id, sequence)
        if entry is None:
            raise StoreDamaged(f"Entry {sequence} of the ledger is missing on the disk; see `roamd reconcile`.")
        require_chained(previous, entry)
        previous = entry.hash
        about: Json = {"kind": entry.kind, "id": entry.record_id}
        if sequence in shown and entry.body is not None and entry.salt is not None:
            if not body_holds(entry):
                raise StoreDamaged(f"The body of entry {sequence} is damaged on the disk; see `roamd ledger verify`.")
            yield about | {"salt": entry.salt.hex(), "body": entry.body.decode()}
        else:
            yield about | {"commitment": entry.commitment.hex()}


def _mark(mark: SignedMark) -> Json:
    return {"sequence": mark.sequence, "time_ms": mark.time_ms, "signature": b64encode(mark.signature).decode()}


def _require_signed(signer: Signer, peer: Peer, chain: Chain, head: SignedMark, receipt: SignedMark) -> None:
    """StoreDamaged unless both signatures hold: evidence that does not verify is worse than none."""
    theirs = peer.succession.ever
    if chain.own:
        sound = signer.own_head_holds(peer.endpoint_id, chain.epoch, head) and signer.peer_receipt_holds(
            peer.endpoint_id, theirs, chain.epoch, receipt
        )
    else:
        sound = signer.peer_head_holds(peer.endpoint_id, theirs, chain.epoch, head) and signer.own_receipt_holds(
            peer.endpoint_id, chain.epoch, receipt
        )
    if not sound:
        raise StoreDamaged("A signature over the record is damaged on the disk; see `roamd ledger verify`.")
