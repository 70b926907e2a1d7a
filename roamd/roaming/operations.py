"""What the operator's own systems can ask of the core, one frozen record per operation.

The API (and with it the CLI and the stream) turns a request into one of these, sends it across the bridge, and gets
back what `Reply` says, or a `RoamdError`. They are plain immutable values, so that they could cross a process
boundary as well as a thread's.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from roamd.model.commands import CheckedCommand
from roamd.model.objects import Checked, CheckedRecord


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The `Idempotency-Key` of a request and the SHA-256 of its body; another body under the key is a Conflict."""

    key: str
    request_hash: bytes


# --- authorization ----------------------------------------------------------------------------------------------


class CredentialIn(msgspec.Struct, frozen=True):
    """A driver's credential as the visited-CSO's backend read it; `type` is an OCPI TokenType."""

    type: str
    uid: str
    contract_id: str | None = None


class PlaceIn(msgspec.Struct, frozen=True):
    """Where the driver stands."""

    location_id: str
    evse_uid: str | None = None
    connector_id: str | None = None


class Authorize(msgspec.Struct, frozen=True):
    """May this credential charge here? Reply: AuthorizationReply, never later than the deadline."""

    credential: CredentialIn
    location: PlaceIn | None = None
    service: str = "CHARGING"
    deadline_ms: int = 3000
    idempotency: Idempotency | None = None
    traceparent: str | None = None


class AuthorizationReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of `POST /v1/authorizations` (DESIGN section 8); `grant` has `{id, limits}` where a grant decided.

    `offline` has what the signed agreement says of drivers who are let in by a list: `{cost, currency, kwh, liability,
    agreement}`, no limit where one is absent.
    """

    decision: str
    reason: str
    source: str
    home_csp: str | None
    authorization_id: str
    asked: list[str]
    elapsed_ms: float
    authorization_reference: str | None = None
    valid_until: str | None = None
    info: Any = None
    location: Any = None
    grant: Any = None
    offline: Any = None


@dataclass(frozen=True, slots=True)
class ListDecisions:
    """The journal of decisions, oldest first, from `after` on or the newest `limit`. Reply: Page of DecisionReply."""

    after: str | None = None
    limit: int = 100
    peer: str | None = None
    authorization_id: str | None = None
    newest: bool = False


class DecisionReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision with what it was made from. `facts` are the words of the decision table and `row` its row.

    `grant` is the signed text by which the driver was let in.
    """

    authorization_id: str
    at: str
    direction: str
    peer: str | None
    decision: str
    reason: str
    source: str
    elapsed_ms: float
    service: str
    authorization_reference: str | None = None
    type: str | None = None
    uid: str | None = None
    contract_id: str | None = None
    location_id: str | None = None
    evse_uid: str | None = None
    row: int | None = None
    facts: dict[str, str] | None = None
    grant: msgspec.Raw | None = None


# --- own objects ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PutObject:
    """Publish an own object. Reply: StoredObject.

    PreconditionFailed when `if_match` (the header's text: `*` or quoted tags) does not hold, or when `only_new` is
    asked for and there is one already.
    """

    feed: str
    checked: Checked
    if_match: str | None = None
    idempotency: Idempotency | None = None
    only_new: bool = False


@dataclass(frozen=True, slots=True)
class PutObjects:
    """Publish many in one go. Reply: list of StoredObject, in order."""

    feed: str
    checked: tuple[Checked, ...]
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class PatchObject:
    """Merge `patch` (RFC 7396 text) into an own object; the result is checked like a PUT. Reply: StoredObject."""

    feed: str
    id: str
    patch: bytes
    ocpi: str
    party: str | None = None
    token_type: str | None = None
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class PatchEvse:
    """Merge `patch` into one EVSE of an own location; status and last_updated alone go to the feed evse-status.

    Reply: StoredObject of the EVSE (`body` is the EVSE as it now reads).
    """

    location_id: str
    evse_uid: str
    patch: bytes
    ocpi: str
    party: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """Withdraw an own object (peers get a tombstone). Reply: None; NotFound when there is none."""

    feed: str
    id: str
    party: str | None = None
    token_type: str | None = None
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class GetObject:
    """One own object. Reply: StoredObject; Conflict when several parties or types share the id and none is named."""

    feed: str
    id: str
    party: str | None = None
    token_type: str | None = None


@dataclass(frozen=True, slots=True)
class ListObjects:
    """Own objects, stable under change. Reply: Page of StoredObject."""

    feed: str
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class GetPeerObject:
    """One object that a peer publishes to us. Reply: StoredObject."""

    peer: str
    feed: str
    id: str
    party: str | None = None
    token_type: str | None = None


@dataclass(frozen=True, slots=True)
class ListPeerObjects:
    """What a peer publishes to us. Reply: Page of StoredObject."""

    peer: str
    feed: str
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was published, byte for byte (EVSE status merged in); `etag` is opaque and quoted.

    `contract_id` is our own contract where a peer names it by its pseudonym.
    """

    body: bytes
    etag: str
    ocpi: str
    created: bool = False
    changed: bool = False
    contract_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `next` is the cursor of the following page, None at the end."""

    items: list[Any]
    next: str | None


# --- records ----------------------------------------------------------------------------------------------------


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


# --- commands ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerTo:
    """Which backend at the OCPI face wants to hear, and at which address of its own, what becomes of a command."""

    backend: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Ask a peer to do something at its station. Reply: CommandReply, at the latest when `deadline_ms` is over.

    To `peer`, else the peer of `party`, else who shows us the location or session. `timeout_s` and `late`: see
    `model.commands`. `answer_to` is committed with the command (ListResults).
    """

    command: CheckedCommand
    peer: str | None = None
    party: str | None = None
    deadline_ms: int = 5000
    timeout_s: int = 120
    late: str = "STOP"
    idempotency: Idempotency | None = None
    traceparent: str | None = None
    answer_to: AnswerTo | None = None


class CommandReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a command stands. `result` is what was answered at once, None while nothing was."""

    command_id: str
    command: str
    direction: str
    peer: str
    party: str
    state: str
    result: str | None
    asked_at: str
    updated_at: str
    reason: str | None = None
    authorization_reference: str | None = None
    session_id: str | None = None
    expires_at: str | None = None
    late: str | None = None
    profile: msgspec.Raw | None = None


@dataclass(frozen=True, slots=True)
class ReportCommand:
    """Our backend tells what has become of a peer's command. Reply: CommandReply; Conflict when that cannot be."""

    command_id: str
    state: str
    reason: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class GetCommand:
    """One command. Reply: CommandReply."""

    command_id: str
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class ListCommands:
    """Commands, newest last. Reply: Page of CommandReply."""

    after: str | None = None
    limit: int = 100
    peer: str | None = None
    direction: str | None = None
    authorization_reference: str | None = None


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """Everything that came in, in order. Reply: EventPage at once, perhaps empty (waiting is the reader's)."""

    after: str | None = None
    limit: int = 100


class Event(msgspec.Struct, frozen=True):
    """One thing that came in. `data` is ready JSON text."""

    id: str
    cursor: str
    at: str
    peer: str | None
    type: str
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class EventPage:
    """`next` is always a cursor, also when there are no items."""

    items: list[Event]
    next: str


@dataclass(frozen=True, slots=True)
class AcknowledgeEvents:
    """Let events up to the cursor be deleted after 24 h. Reply: None."""

    cursor: str


@dataclass(frozen=True, slots=True)
class WebhookPosition:
    """Get (`cursor` None) or set how far a webhook has come. Reply: cursor."""

    name: str
    cursor: str | None = None


# --- operating --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operate:
    """The operator's requests, by name; arguments and replies are JSON-able dicts.

    status {} | peers {} | peer {peer} | peers.confirm {peer} | peers.suspend {peer} | peers.resume {peer} |
    peers.remove {peer, park} | peers.retry {peer} | candidates {} | invite {auto, hours} | invites {} |
    pair {line, label} | pairing {peer} | queue {} | queue.shape {} | reload {} | backup {path} | ledger.chains {peer}
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


# --- agreements -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetAgreement:
    """What rules with a peer today, and what is proposed; with a number that document and its proof. Reply: dict."""

    peer: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class ListAgreements:
    """Every document that either proposed, by number. Reply: Page of dicts."""

    peer: str


@dataclass(frozen=True, slots=True)
class ProposeAgreement:
    """Propose what rules today with changes to its clauses (`model.clauses`). Reply: dict, after the commit.

    `base`: "preset" begins with all that the roles are for by today's tables, "agreement" with what is in force; None
    is the latter once something is signed. `add` and `remove` change lists. `check`: only look. Malformed names every
    clause that cannot be.
    """

    peer: str
    clauses: dict[str, Any] = field(default_factory=dict)
    add: dict[str, Any] = field(default_factory=dict)
    remove: dict[str, Any] = field(default_factory=dict)
    base: str | None = None
    check: bool = False


@dataclass(frozen=True, slots=True)
class AnswerAgreement:
    """Accept or decline a peer's proposal. Reply: dict, when it is committed and what it changes is in effect.

    Conflict, with every fault, for what cannot be signed; nothing is written then.
    """

    peer: str
    number: int
    accept: bool
    reason: str = ""


# --- the OCPI face ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListRegistrations:
    """The backends that have registered at the OCPI face. Reply: dict of name to what KeepRegistration kept."""


@dataclass(frozen=True, slots=True)
class KeepRegistration:
    """Keep a backend's registration, or forget it (None). Reply: None, after the commit."""

    name: str
    registration: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FindDriver:
    """Whose driver an authorization reference stands for. Reply: Driver, or None."""

    reference: str


@dataclass(frozen=True, slots=True)
class Driver:
    """A partner's party, and of its driver's credential what is still known."""

    party: str
    type: str | None = None
    uid: str | None = field(default=None, repr=False)
    contract_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ListQuirks:
    """What was learned of the OCPI backends. Reply: list of (backend, quirk, first met in ms)."""


@dataclass(frozen=True, slots=True)
class KeepQuirk:
    """Keep that a backend was met with a quirk; repeated, it changes nothing. Reply: None, after the commit."""

    backend: str
    quirk: str


@dataclass(frozen=True, slots=True)
class NoteListed:
    """An OCPI backend's list named these (digests of keys) in this fetch of it. Reply: None, after the commit."""

    backend: str
    feed: str
    generation: int
    digests: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FindUnlisted:
    """What the list named before, and not in this fetch. Reply: Unlisted."""

    backend: str
    feed: str
    generation: int


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Digests of keys, and how many there are with those that were named."""

    total: int
    digests: frozenset[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForgetListed:
    """Forget what the list did not name in this fetch. Reply: None, after the commit."""

    backend: str
    feed: str
    generation: int


@dataclass(frozen=True, slots=True)
class ListResults:
    """The commands of a backend whose outcome it may still have to be told. Reply: list of PendingResult."""

    backend: str


@dataclass(frozen=True, slots=True)
class PendingResult:
    """Where to tell what became of a command, and what was `told` last ("" while nothing was).

    At `due_ms` silence counts as an outcome. `canceled`: the reservation that it made has been cancelled since, and
    not by a command of ours.
    """

    url: str = field(repr=False)
    told: str
    due_ms: int
    canceled: bool
    command: CommandReply


@dataclass(frozen=True, slots=True)
class MarkTold:
    """Note what a backend was told of its command; `last`: it need not be told anything more. Reply: None."""

    command_id: str
    told: str
    last: bool


@dataclass(frozen=True, slots=True)
class ListPartners:
    """Every paired endpoint with its parties. Reply: list of Partner."""


@dataclass(frozen=True, slots=True)
class Partner:
    """A paired endpoint. `since_ms` is when its link came up last, or when it was paired if it never did."""

    peer: str
    name: str
    parties: tuple[str, ...]
    roles: tuple[str, ...]
    state: str
    connected: bool
    since_ms: int


# --- drivers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExportSubject:
    """Everything that is held of a driver, named by type and uid, contract id, or both. Reply: JSON-able dict."""

    type: str | None = None
    uid: str | None = field(default=None, repr=False)
    contract_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EraseSubject:
    """Erase it, and ask the peers to do the same. Reply: privacy.erase.Erasing.

    Conflict, with nothing erased, while records must be kept by law or were not delivered yet, or something of his goes
    on: unless `force`. `keep_records` erases all but service records.
    """

    type: str | None = None
    uid: str | None = field(default=None, repr=False)
    contract_id: str | None = field(default=None, repr=False)
    keep_records: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class ListErasures:
    """What peers answered, by request and peer. Reply: list of dicts; NotFound for a request that asked nobody."""

    request: str | None = None
