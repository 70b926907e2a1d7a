"""What both sides say of agreements: entries of their own chains, folded into the state of each document.

Theory of operation. A proposal is an entry of its author's chain with the document and the author's signature; the
other side accepts it, with its own signature over the same bytes, or declines it, in its own chain. So both are kept
for good, in order, dated by signed heads and receipts, and neither can be lost, taken back or put to an earlier day.

A document is known by the SHA-256 of its text, which is the record id of all entries about it. Its state is the fold
of them: the first thing that the *other* side's chain says of a proposal, if it is sound, decides. That does not depend
on how the two chains interleave, so both sides show the same, and a rollback is mended by folding again.

What a peer says out of turn changes nothing: an answer to what was never proposed, a signature over other bytes, an
answer to its own proposal, a second answer. A proposal that can never be signed is refused like a record, in our chain.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Final, NamedTuple

from roamd.clock import rfc3339
from roamd.errors import Malformed, ProtocolError
from roamd.log import get_logger
from roamd.model.agreementdocument import AgreementDocument, digest_of, read_document, writes_number
from roamd.protocol.ledger import AgreementDecision, AgreementProposal, EntryKind, LedgerItem, Refusal
from roamd.roaming.directory import Peer
from roamd.roaming.events import agreement_event_txn
from roamd.roaming.ledger.receiver import Arrival
from roamd.storage import agreements, ledgers
from roamd.storage.agreements import DECLINED, PROPOSED, REFUSED, SIGNED, AgreementRow
from roamd.storage.ledgers import EntryRow
from roamd.storage.store import Cx
from roamd.trust.signing import ALGORITHM, verify
from roamd.trust.succession import signer_among

log = get_logger()

PROPOSING: Final = EntryKind.AGREEMENT_PROPOSED
DECIDING: Final = frozenset({EntryKind.AGREEMENT_ACCEPTED, EntryKind.AGREEMENT_DECLINED})
ABOUT_AGREEMENTS: Final = DECIDING | {PROPOSING}

MAX_OPEN: Final = 16
"""Proposals of one side that may wait for an answer; nobody reads more of them, and each takes room."""

MAX_STEP: Final = 1000
"""How far above all known ones a number may lie: who claims the highest of all would end all further agreements."""

BACKDATED_MS: Final = 24 * 3600 * 1000
"""How long before its arrival a proposal may say that it begins; clocks differ, and offices are in many time zones."""


class _Said(NamedTuple):
    own: bool
    entry: EntryRow


# --- hearing ----------------------------------------------------------------------------------------------------


def hear_txn(cx: Cx, arrival: Arrival, item: LedgerItem, entry: EntryRow) -> Refusal | None:
    """An entry of the peer's about an agreement; why it is refused, if it is."""
    peer = arrival.peer
    if item.kind != PROPOSING:
        if not decide_txn(cx, peer, entry, arrival.now_ms):
            log.warning("agreement_word_ignored", peer=peer.label, kind=EntryKind(item.kind).name)
        return None
    if agreements.get(cx, peer.label, item.record_id) is not None:
        return None
    if not _is_decided(cx, peer, item.record_id):
        refusal = _refusal(cx, peer, item, arrival.now_ms)
        if refusal is not None:
            return refusal
    fold_txn(cx, peer, item.record_id, arrival.now_ms)
    return None


def decide_txn(cx: Cx, peer: Peer, entry: EntryRow, now_ms: int) -> bool:
    """Let an entry of the peer's decide a proposal of ours that waits; whether it did.

    This is the fold's next step, for nothing that came before it has decided. All entries are not looked through: a
    peer may say the same thousands of times.
    """
    before = agreements.get(cx, peer.label, entry.record_id)
    if before is None or not before.own or before.state != PROPOSED:
        return False
    after = _answered(peer, before, _Said(own=False, entry=entry))
    if after is None:
        return False
    _changed_txn(cx, peer, after, now_ms)
    return True


def _is_decided(cx: Cx, peer: Peer, digest: str) -> bool:
    """Whether we answered it before, and it comes again after a rollback of ours: then it is what it was."""
    return ledgers.own_said(cx, peer.label, digest, DECIDING)


def _refusal(cx: Cx, peer: Peer, item: LedgerItem, now_ms: int) -> Refusal | None:
    try:
        document = _document(peer, item.record_id, AgreementProposal.unpack(item.body or b""))
    except (ProtocolError, Malformed) as error:
        return Refusal("", "not-an-agreement", str(error)[:500])
    why = _why_not(cx, peer, document, now_ms)
    return Refusal("", *why) if why is not None else None


def _document(peer: Peer, digest: str, proposal: AgreementProposal) -> AgreementDocument:
    """The document of a peer's proposal; Malformed or ProtocolError when it is none, or is not signed by the peer."""
    text = proposal.document.encode()
    if digest_of(text) != digest:
        raise ProtocolError(0, "The entry's record id is not the document's hash.")
    document = read_document(text)
    if proposal.algorithm != ALGORITHM or not _is_signed(peer, text, _decoded(proposal.signature)):
        raise ProtocolError(0, "The proposer's signature does not hold.")
    return document


def _why_not(cx: Cx, peer: Peer, document: AgreementDocument, now_ms: int) -> tuple[str, str] | None:
    """Why a sound document of a peer can never be signed: a stable word and a sentence."""
    known = agreements.of_peer(cx, peer.label)
    highest_signed = max((row.number for row in known if row.state == SIGNED), default=0)
    highest = max((row.number for row in known if row.state != REFUSED), default=0)
    if document.side_of(peer.endpoint_id) is None:
        return "other-sides", "the proposer is not one of its two sides"
    if not writes_number(document, peer.endpoint_id):
        return "number", f"number {document.number} is for the other side to write"
    if document.number <= highest_signed:
        return "replaced", f"agreement {highest_signed} is signed already"
    if document.number > highest + MAX_STEP or any(row.number == document.number for row in known):
        return "number", f"number {document.number} is taken, or far beyond the next"
    if document.valid_from_ms is not None and document.valid_from_ms < now_ms - BACKDATED_MS:
        return "backdated", f"it begins at {document.valid_from}, before it came"
    if document.valid_until_ms is not None and document.valid_until_ms <= now_ms:
        return "over", f"it ended at {document.valid_until}"
    if agreements.count_open(cx, peer.label, highest_signed, own=False) >= MAX_OPEN:
        return "too-many", f"{MAX_OPEN} proposals wait for an answer"
    return None


# --- folding ----------------------------------------------------------------------------------------------------


def fold_txn(cx: Cx, peer: Peer, digest: str, now_ms: int) -> AgreementRow | None:
    """Make what is known of a document anew from both chains; an event tells of a change. None: it is not proposed."""
    before = agreements.get(cx, peer.label, digest)
    after = _folded(cx, peer, digest)
    if after is None or after == before:
        return before
    _changed_txn(cx, peer, after, now_ms)
    return after


def _changed_txn(cx: Cx, peer: Peer, after: AgreementRow, now_ms: int) -> None:
    agreements.put_txn(cx, after)
    log.info("agreement_changed", peer=peer.label, number=after.number, state=after.state)
    agreement_event_txn(cx, peer.label, after.number, after.state, now_ms)


def _folded(cx: Cx, peer: Peer, digest: str) -> AgreementRow | None:
    said = list(_said(cx, peer, digest))
    proposed = next((row for each in said if (row := _proposed(peer, each, digest)) is not None), None)
    if proposed is None:
        return None
    answers = (_answered(peer, proposed, each) for each in said if each.own is not proposed.own)
    return next((row for row in answers if row is not None), proposed)


def _said(cx: Cx, peer: Peer, digest: str) -> Iterator[_Said]:
    for chain_id, entry in ledgers.entries_about(cx, digest):
        chain = ledgers.get_chain(cx, chain_id)
        if chain is not None and chain.peer == peer.label:
            yield _Said(chain.own, entry)


def _proposed(peer: Peer, said: _Said, digest: str) -> AgreementRow | None:
    """A proposal as a row; None for what is none. What we wrote ourselves was checked before it was written."""
    if said.entry.kind != PROPOSING:
        return None
    try:
        proposal = AgreementProposal.unpack(said.entry.body or b"")
        text = proposal.document.encode()
        document = read_document(text) if said.own else _document(peer, digest, proposal)
    except (ProtocolError, Malformed):
        return None
    theirs = document.side_of(peer.endpoint_id)
    if theirs is None or writes_number(document, peer.endpoint_id) is said.own:
        return None  # whoever repeats the other's proposal as its own does not turn the sides round
    return AgreementRow(
        peer=peer.label,
        digest=digest,
        number=document.number,
        own=said.own,
        side=1 - theirs,
        state=PROPOSED,
        reason=None,
        from_ms=document.valid_from_ms,
        until_ms=document.valid_until_ms,
        proposed_ms=said.entry.at_ms,
        decided_ms=None,
        document=text,
        signature=_decoded(proposal.signature),
        answer=None,
    )


def _answered(peer: Peer, row: AgreementRow, said: _Said) -> AgreementRow | None:
    """The row as one entry of the other side decides it; None when that entry decides nothing."""
    kind, body = said.entry.kind, said.entry.body or b""
    try:
        if kind == EntryKind.REFUSED:
            refusal = Refusal.unpack(body)
            reason = f"{refusal.reason}: {refusal.detail}"
            return row._replace(state=REFUSED, reason=reason, decided_ms=said.entry.at_ms)
        if kind not in DECIDING:
            return None
        decision = AgreementDecision.unpack(body)
    except ProtocolError:
        return None
    if kind == EntryKind.AGREEMENT_DECLINED:
        return row._replace(state=DECLINED, reason=decision.reason or None, decided_ms=said.entry.at_ms)
    signature = _decoded(decision.signature)
    if not said.own and not (decision.algorithm == ALGORITHM and _is_signed(peer, row.document, signature)):
        return None
    return row._replace(state=SIGNED, decided_ms=said.entry.at_ms, answer=signature)


def _is_signed(peer: Peer, document: bytes, signature: bytes) -> bool:
    """By any key that the peer ever had: what is folded again later must come to the same."""
    return signer_among(peer.succession.ever, document, signature, verify) is not None


def _decoded(signature: str) -> bytes:
    """The bytes of a signature; none for what is not base64, and no bytes are no signature."""
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""


# --- which one rules --------------------------------------------------------------------------------------------


def ruling(rows: list[AgreementRow], now_ms: int) -> AgreementRow | None:
    """Of signed documents, the highest number first, the one that rules now."""
    return next((row for row in rows if _begins(row) <= now_ms and not _is_over(row, now_ms)), None)


def next_change_ms(rows: list[AgreementRow], now_ms: int) -> int | None:
    """When another one may rule by itself, None while nothing will."""
    moments = [moment for row in rows for moment in (_begins(row), row.until_ms) if moment is not None]
    return min((moment for moment in moments if moment > now_ms), default=None)


def shown_state(row: AgreementRow, rules: AgreementRow | None, now_ms: int) -> str:
    """What is told of a document: a signed one is UPCOMING, IN_FORCE, ENDED or REPLACED."""
    if row.state != SIGNED:
        return row.state
    if rules is not None and row.digest == rules.digest:
        return "IN_FORCE"
    if _is_over(row, now_ms):
        return "ENDED"
    return "UPCOMING" if _begins(row) > now_ms else "REPLACED"


def _begins(row: AgreementRow) -> int:
    return row.from_ms or 0


def _is_over(row: AgreementRow, now_ms: int) -> bool:
    return row.until_ms is not None and row.until_ms <= now_ms


def times_of(row: AgreementRow) -> dict[str, str | None]:
    """When it was proposed and decided, and from when until when it is valid."""
    moments = {
        "proposed_at": row.proposed_ms,
        "decided_at": row.decided_ms,
        "valid_from": row.from_ms,
        "valid_until": row.until_ms,
    }
    return {name: rfc3339(at_ms) if at_ms is not None else None for name, at_ms in moments.items()}
