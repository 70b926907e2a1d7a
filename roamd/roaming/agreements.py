"""The agreement of two companies as a document: looked at, proposed, compared, accepted or declined.

A document is negotiated by entries of the two ledgers (`ledger.agreed` says why), so this desk only writes such entries
and reads what they came to; `inforce` puts to use what both have signed.

Nobody signs blindly: what would make an identifier two companies' own, or promise what this daemon does not keep, is a
fault of the document here, whatever it is worth to the peer, and is told to our operator alone.
"""

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from roamd.clock import Clock
from roamd.errors import Conflict, Fault, Malformed, NotFound, RoamdError
from roamd.model.agreementdocument import (
    clauses,
    digest_of,
    document_of,
    kept_document,
    next_number,
)
from roamd.model.clauses import (
    Clauses,
    changed_by,
    clauses_of,
    differences,
    faults_of,
    named,
    overlaps,
    with_preset_rights,
)
from roamd.model.times import time_ms
from roamd.protocol.ledger import SALT_SIZE, AgreementDecision, AgreementProposal, EntryKind, LedgerItem
from roamd.roaming import operations as op
from roamd.roaming.directory import PENDING, Directory, Peer
from roamd.roaming.inforce import InForce
from roamd.roaming.ledger.agreed import (
    BACKDATED_MS,
    MAX_OPEN,
    fold_txn,
    ruling,
    shown_state,
    times_of,
)
from roamd.roaming.ledger.chain import Random, append_items_txn, own_chain_txn
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.ports import Reply
from roamd.roaming.waiting import write
from roamd.storage import agreements
from roamd.storage.agreements import PROPOSED, REFUSED, SIGNED, AgreementRow
from roamd.storage.store import Cx, Store
from roamd.trust.signing import ALGORITHM

PRESET, AGREEMENT = "preset", "agreement"
_OWNED = ("parties", "evse_prefixes", "contract_prefixes")


@dataclass(frozen=True, slots=True)
class Own:
    """What this daemon is, and can promise. `records_years`: for how long it keeps records, 0: no time is set."""

    parties: tuple[str, ...]
    roles: tuple[str, ...]
    records_years: Callable[[], int]


@dataclass(slots=True)
class Agreements:
    """Handles the operations.

    `queued(peer)` is called after a commit that put something into our chain, `told` after one that wrote an event.
    `start` runs a coroutine in the daemon's nursery.
    """

    clock: Clock
    store: Store
    directory: Directory
    in_force: InForce
    signer: Signer
    random: Random
    own: Own
    queued: Callable[[str], None]
    told: Callable[[], None]
    start: Callable[..., None]

    # --- looking ----------------------------------------------------------------------------------------------------

    def show(self, operation: op.GetAgreement, reply: Reply) -> None:
        """GetAgreement -> dict: what rules today, or one document with its proof."""
        peer = self.directory.paired(operation.peer)
        rows = self.store.read(lambda cx: agreements.of_peer(cx, peer.label))
        if operation.number is not None:
            found = [row for row in rows if row.number == operation.number]
            if not found:
                raise NotFound(f"There is no agreement {operation.number} with {peer.label}.", code="unknown-agreement")
            reply(self._document(peer, found[-1], rows))
            return
        today = self._today(peer, rows)
        fresh = [] if peer.agreement.number is not None else differences(today, with_preset_rights(today))
        reply({
            "peer": peer.label,
            "source": PRESET if peer.agreement.number is None else AGREEMENT,
            "number": peer.agreement.number,
            "clauses": _plain(today),
            "proposals": [self._outline(peer, row, rows) for row in rows if row.state == PROPOSED],
            "newer_preset": [each.words for each in fresh],
        })  # fmt: skip

    def history(self, operation: op.ListAgreements, reply: Reply) -> None:
        """ListAgreements -> Page of dicts, by number."""
        peer = self.directory.paired(operation.peer)
        rows = self.store.read(lambda cx: agreements.of_peer(cx, peer.label))
        reply(op.Page([self._outline(peer, row, rows) for row in rows], None))

    def _outline(self, peer: Peer, row: AgreementRow, rows: Iterable[AgreementRow]) -> dict[str, Any]:
        now_ms = self.clock.now_ms()
        shown: dict[str, Any] = {
            "number": row.number,
            "state": shown_state(row, _ruling(rows, now_ms), now_ms),
            "proposed_by": "us" if row.own else "them",
            "reason": row.reason,
            **times_of(row),
            "digest": row.digest,
        }
        if row.state == PROPOSED:
            said = clauses(kept_document(row.document), row.side)
            shown["differences"] = _told(differences(self._today(peer, rows), said))
            shown["faults"] = _told(self._faults(peer, said))
        return shown

    def _document(self, peer: Peer, row: AgreementRow, rows: Iterable[AgreementRow]) -> dict[str, Any]:
        ours, theirs = (row.signature, row.answer) if row.own else (row.answer, row.signature)
        return {
            **self._outline(peer, row, rows),
            "clauses": _plain(clauses(kept_document(row.document), row.side)),
            "document": row.document.decode(),
            "algorithm": ALGORITHM,
            "signatures": {"us": _base64(ours), "them": _base64(theirs)},
        }

    def _today(self, peer: Peer, rows: Iterable[AgreementRow]) -> Clauses:
        """What is in use: of a signed document its own words, else our settings."""
        number = peer.agreement.number
        used = next((row for row in reversed([*rows]) if row.state == SIGNED and row.number == number), None)
        if used is not None:
            return clauses(kept_document(used.document), used.side)
        return clauses_of(peer.agreement, self.own.parties)

    # --- proposing --------------------------------------------------------------------------------------------------

    def propose(self, operation: op.ProposeAgreement, reply: Reply) -> None:
        """ProposeAgreement -> dict with the number and the differences; Malformed names every faulty clause."""
        peer = self._partner(operation.peer)
        rows = self.store.read(lambda cx: agreements.of_peer(cx, peer.label))
        today = self._today(peer, rows)
        begun = self._begun(peer, today, operation.base)
        said, unread = changed_by(begun, operation.clauses, operation.add, operation.remove)
        unknown = {fault.path for fault in unread}
        misfits = [*self._faults(peer, said), *self._date_faults(said)]
        if faults := [*unread, *(fault for fault in misfits if fault.path not in unknown)]:
            raise Malformed(tuple(faults), named(faults))
        found = differences(today, said)
        if not found and peer.agreement.number is not None:
            raise Conflict("It says nothing else than the agreement that is in force.", code="nothing-new")
        if operation.check:
            reply({"number": None, "state": "CHECKED", "differences": _told(found), "clauses": _plain(said)})
            return
        self._write(peer, lambda cx: self._propose_txn(cx, peer, said), reply)

    def _begun(self, peer: Peer, today: Clauses, base: str | None) -> Clauses:
        """What a proposal begins with; the validity of what is in force is not for the next one."""
        is_fresh = base == PRESET or (base is None and peer.agreement.number is None)
        begun = with_preset_rights(today) if is_fresh else today
        return begun | {"valid_from": None, "valid_until": None}

    def _propose_txn(self, cx: Cx, peer: Peer, said: Clauses) -> AgreementRow:
        rows = agreements.of_peer(cx, peer.label)
        signed = max((row.number for row in rows if row.state == SIGNED), default=0)
        if agreements.count_open(cx, peer.label, signed, own=True) >= MAX_OPEN:
            raise Conflict(f"{MAX_OPEN} proposals wait for {peer.label} to answer.", code="too-many")
        us, them = self.signer.endpoint_id, peer.endpoint_id
        highest = max((row.number for row in rows if row.state != REFUSED or row.own), default=0)
        document = document_of(said, next_number(highest, first=us < them), us, them)
        text = document.text()
        body = AgreementProposal(text.decode(), ALGORITHM, _base64(self.signer.sign(text)) or "")
        return self._say_txn(cx, peer, EntryKind.AGREEMENT_PROPOSED, digest_of(text), body.pack())

    # --- answering --------------------------------------------------------------------------------------------------

    def answer(self, operation: op.AnswerAgreement, reply: Reply) -> None:
        """AnswerAgreement -> dict; Conflict with every fault when it cannot be accepted."""
        peer = self._partner(operation.peer)
        rows = self.store.read(lambda cx: agreements.of_peer(cx, peer.label))
        row = _proposal(rows, operation.number, peer)
        if row.state == SIGNED and operation.accept:
            reply(self._outline(peer, row, rows))
            return
        if row.state != PROPOSED:
            raise Conflict(f"Agreement {row.number} is {row.state} already.", code="wrong-state")
        if operation.accept:
            self._require_acceptable(peer, row, rows)
        self._write(peer, lambda cx: self._answer_txn(cx, peer, row, operation), reply)

    def _require_acceptable(self, peer: Peer, row: AgreementRow, rows: list[AgreementRow]) -> None:
        signed = max((one.number for one in rows if one.state == SIGNED), default=0)
        if row.number < signed:
            raise Conflict(f"Agreement {signed} was signed since, and has the higher number.", code="replaced")
        document = kept_document(row.document)
        if document.side_of(self.signer.endpoint_id) != row.side:
            raise Conflict(f"Agreement {row.number} names another endpoint than ours.", code="other-sides")
        faults = self._faults(peer, clauses(document, row.side))
        if faults:
            text = f"Agreement {row.number} cannot be signed. {named(faults)}"
            raise Conflict(text, code="faulty", faults=tuple(faults))

    def _answer_txn(self, cx: Cx, peer: Peer, row: AgreementRow, operation: op.AnswerAgreement) -> AgreementRow:
        now = agreements.get(cx, peer.label, row.digest)
        if now is None or now.state != PROPOSED:
            raise Conflict(f"Agreement {row.number} was answered already.", code="wrong-state")
        if operation.accept:
            said = AgreementDecision(ALGORITHM, _base64(self.signer.sign(row.document)) or "")
            return self._say_txn(cx, peer, EntryKind.AGREEMENT_ACCEPTED, row.digest, said.pack())
        said = AgreementDecision(reason=operation.reason[:500])
        return self._say_txn(cx, peer, EntryKind.AGREEMENT_DECLINED, row.digest, said.pack())

    # --- what both do -----------------------------------------------------------------------------------------------

    def _partner(self, label: str) -> Peer:
        peer = self.directory.get(label)
        if not peer.active:
            raise Conflict(f"{label} is {peer.row.state}: nothing is agreed with it now.", code="not-paired")
        return peer

    def _say_txn(self, cx: Cx, peer: Peer, kind: EntryKind, digest: str, body: bytes) -> AgreementRow:
        if is_recovering(cx, peer.label):
            raise Conflict("A rollback is being mended; try again in a moment.", code="recovering")
        now_ms = self.clock.now_ms()
        item = LedgerItem(kind, digest, self.random(SALT_SIZE), body)
        append_items_txn(cx, own_chain_txn(cx, peer.label, self.random), [item], now_ms)
        row = fold_txn(cx, peer, digest, now_ms)
        if row is None:
            raise RoamdError("What was just written cannot be read.")
        return row

    def _write(self, peer: Peer, txn: Callable[[Cx], AgreementRow], reply: Reply) -> None:
        self.start(self._write_and_use, peer, txn, reply)

    async def _write_and_use(self, peer: Peer, txn: Callable[[Cx], AgreementRow], reply: Reply) -> None:
        """Commit; put to use what that signed; only then answer, so that whoever asked finds it in effect."""
        before = self._today(peer, self.store.read(lambda cx: agreements.of_peer(cx, peer.label)))
        try:
            row = await write(self.store, txn)
            self.queued(peer.label)
            await self.in_force.put_to_use(peer)
        except RoamdError as error:
            reply(error)
            return
        self.told()
        rows = self.store.read(lambda cx: agreements.of_peer(cx, peer.label))
        found = differences(before, clauses(kept_document(row.document), row.side))
        reply({**self._outline(peer, row, rows), "differences": _told(found)})

    # --- faults -----------------------------------------------------------------------------------------------------

    def _faults(self, peer: Peer, said: Clauses) -> list[Fault]:
        """Everything for which we do not sign this."""
        return [*faults_of(said), *self._own_faults(said), *self._claim_faults(peer, said)]

    def _own_faults(self, said: Clauses) -> Iterator[Fault]:
        for name in _OWNED:
            if foreign := [one for one in said[f"us.{name}"] if one not in self.own.parties]:
                yield Fault(f"us.{name}", f"{', '.join(foreign)} is not ours (endpoint.parties)", "not-ours")
        if foreign := [role for role in said["us.roles"] if role not in self.own.roles]:
            yield Fault("us.roles", f"{', '.join(foreign)} is not ours (endpoint.roles)", "not-ours")
        years, kept = said["retention.records_years"], self.own.records_years()
        if years is not None and kept and kept < years:
            yield Fault(
                "retention.records_years",
                f"records are kept for {kept} years here (retention.records_years)",
                "too-long",
            )
        until = said["valid_until"]
        if until is not None and time_ms(until) <= self.clock.now_ms():
            yield Fault("valid_until", "is over", "too-early")

    def _date_faults(self, said: Clauses) -> Iterator[Fault]:
        begins = said["valid_from"]
        if begins is not None and time_ms(begins) < self.clock.now_ms() - BACKDATED_MS:
            yield Fault("valid_from", "lies in the past; leave it out for: when both have signed", "backdated")

    def _claim_faults(self, peer: Peer, said: Clauses) -> Iterator[Fault]:
        for name in _OWNED:
            claimed = said[f"them.{name}"]
            for _, other in overlaps(self.own.parties, claimed):
                if other not in said[f"us.{name}"]:  # else `faults_of` has told it
                    yield Fault(f"them.{name}", f"{other} is ours (endpoint.parties)", "overlap")
            for owner in self.directory:
                if owner is peer or owner.row.state == PENDING:
                    continue
                for one, other in overlaps(self._claims(owner, name), claimed):
                    yield Fault(f"them.{name}", f"{other} is {owner.label}'s ({one})", "overlap")

    def _claims(self, owner: Peer, name: str) -> set[str]:
        """What is another peer's, or will be: what is signed for later, and what we have proposed, binds us, too."""
        rows = self.store.read(lambda cx: agreements.of_peer(cx, owner.label))
        now_ms = self.clock.now_ms()
        later = [
            row
            for row in rows
            if shown_state(row, _ruling(rows, now_ms), now_ms) == "UPCOMING" or (row.own and row.state == PROPOSED)
        ]
        documents = [(kept_document(row.document), row.side) for row in later]
        claimed = {one for document, side in documents for one in getattr(document.sides[1 - side], name)}
        return claimed | set(getattr(owner.agreement, name))


def _ruling(rows: Iterable[AgreementRow], now_ms: int) -> AgreementRow | None:
    """Of all of a peer's documents, by number."""
    return ruling([row for row in reversed([*rows]) if row.state == SIGNED], now_ms)


def _proposal(rows: Iterable[AgreementRow], number: int, peer: Peer) -> AgreementRow:
    """The peer's proposal with this number; NotFound, or Conflict where it is our own."""
    found = [row for row in rows if row.number == number]
    for row in found:
        if not row.own:
            return row
    if found:
        raise Conflict(f"Agreement {number} is our own proposal; {peer.label} answers it.", code="own-proposal")
    raise NotFound(f"{peer.label} has proposed no agreement {number}.", code="unknown-agreement")


def _told(things: Iterable[Any]) -> list[dict[str, Any]]:
    """Faults and differences for an answer."""
    return [_plain({name: getattr(thing, name) for name in thing.__dataclass_fields__}) for thing in things]


def _plain(values: Clauses) -> dict[str, Any]:
    """Values as JSON has them, amounts as texts."""
    found: dict[str, Any] = msgspec.to_builtins(values)
    return found


def _base64(signature: bytes | None) -> str | None:
    return None if signature is None else base64.b64encode(signature).decode()
