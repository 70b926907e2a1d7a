"""Service records from the backend: intake, where they go, and what became of them.

The law: `accepted = settled + queued + parked`, per peer, always. A record is accepted when its transaction is on the
disk; in that same transaction it gets its place in the chain towards its peer, or it is PARKED with the reason. What
cannot be sent never gets a sequence number, so it never stands in the way of what can.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from roamd import metrics
from roamd.clock import Clock, rfc3339
from roamd.errors import Conflict, Forbidden, NotFound, RoamdError
from roamd.model.agreement import in_agreed_currency, may_send_record, not_agreed
from roamd.model.objects import CheckedRecord
from roamd.protocol.ledger import EntryKind
from roamd.roaming import operations as op
from roamd.roaming.decisions import DecisionJournal
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.events import record_body
from roamd.roaming.idempotent import once_txn
from roamd.roaming.intake import Destination, Handed, store_txn, take_in_txn
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ledger.sound import sound_entry
from roamd.roaming.ledger.words import words_of
from roamd.roaming.lists import answer, cursor_after, next_cursor
from roamd.roaming.ports import Reply
from roamd.roaming.privacy.pseudonyms import Beside, nothing_beside
from roamd.storage import accounts, commands, ledgers, plainocpi, prices, records
from roamd.storage.records import PARKED, QUEUED, RecordRow
from roamd.storage.store import Cx, Store

OPERATION = "records"


@dataclass(slots=True)
class Records:
    """Handles the operations on records. `queued(peer)` is called after a commit that queued something for it.

    `beside` says which of our contracts a peer's record means.
    """

    clock: Clock
    store: Store
    directory: Directory
    journal: DecisionJournal
    random: Random
    queued: Callable[[str], None]
    beside: Beside = nothing_beside

    # --- intake -------------------------------------------------------------------------------------------------

    def post(self, operation: op.PostRecords, reply: Reply) -> None:
        """PostRecords -> list of RecordReply, in order, all committed; Conflict stores none of them."""
        try:
            placed = [(record, self._destination(record, operation.peer)) for record in operation.records]
        except RoamdError as error:
            reply(error)
            return
        now_ms = self.clock.now_ms()

        handed = Handed(placed, now_ms)

        def once(cx: Cx) -> list[op.RecordReply]:
            return once_txn(
                cx,
                OPERATION,
                operation.idempotency,
                list[op.RecordReply],
                lambda cx: self._alone_txn(cx, handed),
                now_ms,
            )

        def done(outcome: list[op.RecordReply] | BaseException) -> None:
            if not isinstance(outcome, BaseException):
                self._note(outcome)
            reply(outcome)

        if operation.idempotency is None:
            self.store.submit_each(self._take_in_txn, handed, done)
        else:
            self.store.submit(once, done)

    def _take_in_txn(self, cx: Cx, handed: list[Handed]) -> list[list[op.RecordReply] | Conflict]:
        taken = take_in_txn(cx, handed, self.random, self.directory.is_plain)
        return [
            rows if isinstance(rows, Conflict) else _replies(rows, each)
            for rows, each in zip(taken, handed, strict=True)
        ]

    def _alone_txn(self, cx: Cx, handed: Handed) -> list[op.RecordReply]:
        (taken,) = self._take_in_txn(cx, [handed])
        if isinstance(taken, Conflict):
            raise taken
        return taken

    def _destination(self, record: CheckedRecord, named: str | None) -> Destination:
        """`?peer=`, else who authorized it, else the owner of the contract id's prefix, else of the token's party."""
        if named is not None:
            return self._agreed(self.directory.get(named).label, record)
        owners = self.directory.home_of(record.contract_id, record.token_party)
        authorized = self._authorized(record.authorization_reference, owners)
        if len(authorized) == 1:
            return self._agreed(authorized[0], record)
        if authorized:
            return Destination(None, "several peers gave its authorization_reference: " + ", ".join(authorized))
        if len(owners) == 1:
            return self._agreed(owners[0].label, record)
        if owners:
            return Destination(None, "several peers own its contract id: " + ", ".join(peer.label for peer in owners))
        return Destination(None, f"no peer owns its contract id or its party {record.token_party}; name one")

    def _authorized(self, reference: str | None, owners: Sequence[Peer]) -> list[str]:
        """Who authorized it. Of several that gave the same reference, the owner of the contract is meant."""
        if reference is None:
            return []
        own = {owner.label for owner in owners}
        newest = self.store.read(lambda cx: self.journal.peer_of_reference(cx, reference))
        if newest is None or newest in own:
            return [newest] if newest is not None else []
        every = self.store.read(lambda cx: self.journal.peers_of_reference(cx, reference))
        known = sorted(label for label in every if self.directory.find(label) is not None)
        return [label for label in known if label in own] or known

    def _agreed(self, label: str, record: CheckedRecord) -> Destination:
        refusal = _refusal(self.directory.get(label), record.kind, record.body)
        return Destination(label) if refusal is None else Destination(None, refusal)

    def _note(self, replies: list[op.RecordReply]) -> None:
        for state, count in Counter([reply.state for reply in replies]).items():
            metrics.records.labels(state).inc(count)
        for label in {reply.peer for reply in replies if reply.peer and reply.state == QUEUED}:
            self.queued(label)

    # --- looking ------------------------------------------------------------------------------------------------

    def get(self, operation: op.GetRecord, reply: Reply) -> None:
        """GetRecord -> RecordReply with body and evidence."""

        def read(cx: Cx) -> op.RecordReply:
            row = find_one(cx, operation.record_id, operation.party, operation.direction)
            body = record_body(cx, row)
            theirs = body if row.direction == "in" else None
            return msgspec.structs.replace(
                as_reply(row),
                evidence=_evidence(cx, row),
                record=msgspec.Raw(body) if body else None,
                ocpi=row.ocpi,
                command_id=_command_of(cx, row),
                history=_history(cx, row),
                price=_price(cx, row),
                unsigned=unsigned_of(cx, row),
                contract_id=self.beside(cx, row.peer, theirs) if theirs and row.peer else None,
            )

        answer(self.store, read, reply)

    def list(self, operation: op.ListRecords, reply: Reply) -> None:
        """ListRecords -> Page of RecordReply, oldest first."""

        def read(cx: Cx) -> op.Page:
            rows = records.page(
                cx,
                cursor_after(operation.after),
                operation.limit,
                state=operation.state,
                peer=operation.peer,
                direction=operation.direction,
            )
            return op.Page([as_reply(row) for row in rows], next_cursor([row.id for row in rows], operation.limit))

        answer(self.store, read, reply)

    # --- a person's decisions -----------------------------------------------------------------------------------

    def retry(self, operation: op.RetryRecord, reply: Reply) -> None:
        """RetryRecord -> RecordReply: a PARKED record gets a new place, with the same peer or another."""
        if operation.peer is not None and self.directory.find(operation.peer) is None:
            reply(NotFound(f"There is no peer {operation.peer!r}.", code="unknown-peer"))
            return
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> op.RecordReply:
            row = _parked(cx, operation.record_id, operation.party)
            peer = operation.peer or row.peer
            if peer is None:
                raise Conflict("The record has no peer; name one (`roamd records reroute ID PEER`).", code="no-peer")
            body = record_body(cx, row)
            if body is None:
                raise Conflict("The record's content was erased; there is nothing left to send.", code="erased")
            refusal = _refusal(self.directory.get(peer), agreed_kind(row.kind), body)
            if refusal is not None:
                raise Forbidden(refusal, code="not-agreed")
            again = row._replace(
                peer=peer, state=QUEUED, reason=None, updated_ms=now_ms, body=body, chain_id=None, sequence=None
            )
            store_txn(cx, [again], self.random, self.directory.is_plain)
            accounts.moved_txn(cx, row.id, peer)
            return as_reply(again)

        def done(outcome: op.RecordReply | BaseException) -> None:
            if not isinstance(outcome, BaseException):
                self._note([outcome])
            reply(outcome)

        self.store.submit(txn, done)

    def drop(self, operation: op.DropRecord, reply: Reply) -> None:
        """DropRecord -> RecordReply as it was; Conflict for a record that was ever sent."""

        def txn(cx: Cx) -> op.RecordReply:
            row = _parked(cx, operation.record_id, operation.party)
            if not records.drop_txn(cx, row.id):
                raise Conflict("The record stands in the ledger, where nothing is taken out.", code="in-ledger")
            accounts.dropped_txn(cx, row.id)
            return as_reply(row)

        self.store.submit(txn, reply, essential=True)


def _replies(rows: Sequence[RecordRow], handed: Handed) -> list[op.RecordReply]:
    return [as_reply(row, record) for row, (record, _) in zip(rows, handed.records, strict=True)]


def _refusal(peer: Peer, kind: str, body: bytes) -> str | None:
    """Why the agreement with a peer has no room for a record of ours, with the clause."""
    if not may_send_record(peer.agreement, kind):
        return f"{peer.label}: {not_agreed(peer.agreement, f'records.{kind}')}"
    if not in_agreed_currency(peer.agreement, body):
        return f"{peer.label}: {not_agreed(peer.agreement, 'currencies')}"
    return None


def agreed_kind(entry: str) -> str:
    """The record kind that agreements name: a credit is a CDR to them."""
    return "CDR" if entry == EntryKind.CREDIT.name else entry


def as_reply(row: RecordRow, record: CheckedRecord | None = None) -> op.RecordReply:
    """A record as the API shows it."""
    items = None if record is None else [item.as_json() for item in record.items]
    warnings = None if record is None or not record.warnings else [
        {"path": fault.path, "message": fault.message, "code": fault.code} for fault in record.warnings
    ]  # fmt: skip
    created_at = rfc3339(row.created_ms)
    return op.RecordReply(
        record_id=row.record_id,
        state=row.state,
        peer=row.peer,
        party=row.party,
        kind=row.kind,
        direction=row.direction,
        reason=row.reason,
        created_at=created_at,
        updated_at=created_at if row.updated_ms == row.created_ms else rfc3339(row.updated_ms),
        items=items,
        warnings=warnings,
    )


def find_one(cx: Cx, record_id: str, party: str | None, direction: str | None) -> RecordRow:
    """The one record of that id; NotFound, or Conflict when it must be said which one is meant."""
    rows = records.find(cx, record_id, party=party, direction=direction)
    if not rows:
        raise NotFound(f"There is no record {record_id!r}.", code="unknown-record")
    if len(rows) > 1:
        places = ", ".join(f"{row.direction} of {row.party}" for row in rows)
        raise Conflict(
            f"Several records have the id {record_id!r} ({places}): name party and direction.", code="ambiguous"
        )
    return rows[0]


def _parked(cx: Cx, record_id: str, party: str | None) -> RecordRow:
    row = find_one(cx, record_id, party, "out")
    if row.state != PARKED:
        raise Conflict(f"The record is {row.state}; only a PARKED one needs a decision.", code="not-parked")
    return row


def _command_of(cx: Cx, row: RecordRow) -> str | None:
    """The command that led to a record: they bear the same reference. Ours where we received it, theirs where not."""
    if row.authorization_reference is None:
        return None
    direction = "out" if row.direction == "in" else "in"
    command = commands.by_reference(cx, direction, row.authorization_reference)
    return command.command_id if command is not None and command.peer == row.peer else None


def _history(cx: Cx, row: RecordRow) -> list[dict[str, object]] | None:
    """What either side said of a record, each chain in its order: ours as "us", the peer's by its label."""
    said = [
        {"by": "us" if each.own else row.peer, "word": each.kind, "at": rfc3339(each.entry.at_ms)}
        | {name: value for name, value in msgspec.structs.asdict(each.word).items() if value and name != "party"}
        for each in words_of(cx, row)
    ]
    return said or None


def unsigned_of(cx: Cx, row: RecordRow) -> dict[str, object] | None:
    """What a partner without roamd answered when it was sent a record: nobody signed it."""
    tries = plainocpi.sent_of(cx, row.id) if row.chain_id is None and row.direction == "out" else []
    if not tries:
        return None
    last = tries[-1]
    told = {"http_status": last.http, "ocpi_status": last.ocpi, "location": last.location}
    return {"at": rfc3339(last.at_ms), "tries": len(tries), **told, "body_sha256": last.body_hash.hex() or None}


def _price(cx: Cx, row: RecordRow) -> dict[str, object] | None:
    """What came of holding a received record against its tariff."""
    check = prices.get(cx, row.id)
    if check is None:
        return None
    detail: dict[str, object] = msgspec.json.decode(check.detail)
    return {"verdict": check.verdict, "total": check.total, "at": rfc3339(check.at_ms), **detail}


def _evidence(cx: Cx, row: RecordRow) -> dict[str, object] | None:
    """The outline of what proves a record: its place, and which signatures cover it."""
    if row.chain_id is None or row.sequence is None:
        return None
    chain = ledgers.get_chain(cx, row.chain_id)
    entry = sound_entry(cx, row.chain_id, row.sequence)
    receipt = ledgers.covering_receipt(cx, row.chain_id, row.sequence)
    head = ledgers.covering_head(cx, row.chain_id, row.sequence)
    if chain is None or entry is None:
        return None
    return {
        "epoch": chain.epoch.hex(),
        "sequence": row.sequence,
        "hash": entry.hash.hex(),
        "commitment": entry.commitment.hex(),
        "head": None if head is None else {"sequence": head.sequence, "at": rfc3339(head.time_ms)},
        "receipt": None if receipt is None else {"sequence": receipt.sequence, "at": rfc3339(receipt.time_ms)},
    }
