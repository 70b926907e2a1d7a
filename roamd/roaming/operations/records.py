"""Service records, what is said of them, and the ledgers and statements that prove them."""

from dataclasses import dataclass
from typing import Any

import msgspec

from roamd.model.objects import CheckedRecord
from roamd.roaming.operations.general import Idempotency


@dataclass(frozen=True, slots=True)
class PostRecords:
    """Hand in service records, committed together before the reply. Reply: list of RecordReply, in order.

    A list with a record whose content contradicts a stored one is refused whole (Conflict).
    """

    records: tuple[CheckedRecord, ...]
    peer: str | None = None
    idempotency: Idempotency | None = None


class RecordReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a record stands. `record_id` is the record's own `id`; what lies below `evidence` by GetRecord only.

    `contract_id` is our own contract where the record names it by its pseudonym. `history` is what either side said of
    it, `price` what its tariff makes of it, `ocpi` the version in which it is written. `unsigned` is what a partner
    that speaks plain OCPI answered: then there is no evidence.
    """

    record_id: str
    state: str
    peer: str | None
    party: str
    kind: str
    direction: str
    reason: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    items: list[dict[str, Any]] | None = None
    evidence: dict[str, Any] | None = None
    record: msgspec.Raw | None = None
    ocpi: str | None = None
    command_id: str | None = None
    history: list[dict[str, Any]] | None = None
    price: dict[str, Any] | None = None
    unsigned: dict[str, Any] | None = None
    contract_id: str | None = None
    warnings: list[dict[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class GetRecord:
    """One record with its evidence's outline. Reply: RecordReply."""

    record_id: str
    party: str | None = None
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class ListRecords:
    """Records, newest last. Reply: Page of RecordReply."""

    after: str | None = None
    limit: int = 100
    state: str | None = None
    peer: str | None = None
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class RetryRecord:
    """Try a PARKED record again, to `peer` when given (reroute). Reply: RecordReply; Conflict when not PARKED."""

    record_id: str
    party: str | None = None
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class JudgeRecord:
    """Say of a received record that it is ACCEPTED, DISPUTED or FINAL. Reply: RecordReply.

    NotFound; Conflict when the record stands where that word changes nothing, or the time for disputes has passed.
    """

    record_id: str
    word: str
    party: str | None = None
    reason: str = ""
    detail: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreditRecord:
    """Credit an own record, and replace it when there is a replacement. Reply: RecordReply of the credited record.

    Malformed when `credit` is no credit of it; Conflict when it cannot be credited; nothing is stored then.
    """

    record_id: str
    credit: CheckedRecord
    replacement: CheckedRecord | None = None
    party: str | None = None


@dataclass(frozen=True, slots=True)
class DropRecord:
    """Give up a PARKED record that has no place in a chain. Reply: RecordReply as it was; Conflict otherwise."""

    record_id: str
    party: str | None = None


@dataclass(frozen=True, slots=True)
class ExportEvidence:
    """Everything that proves one record, as files. Reply: dict name -> bytes.

    `bundle`: one file instead, `evidence.json`, that proves what became of it, too.
    """

    record_id: str
    party: str | None = None
    bundle: bool = False


@dataclass(frozen=True, slots=True)
class ReconcilePeer:
    """Hold the records of both sides against each other, and put right what either lost. Reply: JSON-able report.

    Conflict while a round with the peer is under way; PeerError when it does not answer.
    """

    peer: str


@dataclass(frozen=True, slots=True)
class GetStatement:
    """The statement of a month (as in 2026-10) as it is now, and what the two signed of it. Reply: StatementReply.

    `lines`: with the list of its records. `compare`: name the records that differ, when the peer signed another one;
    that asks the peer.
    """

    peer: str
    month: str
    lines: bool = False
    compare: bool = False


@dataclass(frozen=True, slots=True)
class SignStatement:
    """Sign the statement of a month as it is now, in our chain. Reply: StatementReply.

    Conflict while the month goes on, or while a rollback is mended. The same statement again signs nothing.
    `root`: only if it still has this root.
    """

    peer: str
    month: str
    root: str | None = None


@dataclass(frozen=True, slots=True)
class ListStatements:
    """The months that have records with a peer. Reply: list of dicts."""

    peer: str


class StatementReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """`state`: OPEN, SIGNED (by us), PROPOSED (by the peer), AGREED, DIFFERS (the peer signed another one).

    `statement` is the document, the same bytes on both sides; `lines` its list, where it was asked for. `signed` has
    `us` and `peer`, each None or `{root, at, sequence}`. `differences` are absent where they were not asked for, and
    where `differences_why` says why they are not known.
    """

    peer: str
    month: str
    state: str
    root: str
    statement: msgspec.Raw
    signed: dict[str, Any]
    lines: list[dict[str, Any]] | None = None
    differences: list[dict[str, Any]] | None = None
    differences_why: str | None = None


@dataclass(frozen=True, slots=True)
class VerifyLedgers:
    """Walk every chain (of one peer): hashes, commitments, signatures. Reply: JSON-able report with `ok`."""

    peer: str | None = None
