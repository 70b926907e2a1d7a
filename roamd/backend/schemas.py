"""The component schemas of the OpenAPI document."""

from typing import Any, Final

from roamd.model.clauses import CLAUSES
from roamd.model.commands import DOING, LATE_RULES, PROFILE_MAX_S, PROFILE_MIN_S, PROFILE_S, RESULTS, STARTING, STATES
from roamd.model.fields import FEEDS_WITH_FIELDS
from roamd.model.roles import COMMANDS
from roamd.model.routes import FUNCTIONS
from roamd.model.terms import LIABLE

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NULLABLE: Final[Schema] = {"type": ["string", "null"]}
_BOOL: Final[Schema] = {"type": "boolean"}
_WHOLE: Final[Schema] = {"type": "integer"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_ANY: Final[Schema] = {"type": "object", "additionalProperties": True}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, **({"required": [*required]} if required else {})}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(of: Schema, following: Schema) -> Schema:
    return _object(("items", "next"), items=_list(of), next=following)


def _ocpi(name: str, *required: str) -> Schema:
    schema = _object(required, **{field: {} for field in required})
    return schema | {
        "description": f"OCPI {name}, 2.2.1 or 2.3.0. Unknown fields are kept.",
        "additionalProperties": True,
    }


def _one_or_many(of: Schema) -> Schema:
    return {"oneOf": [of, {"type": "array", "items": of, "maxItems": 1000}]}


_CREDENTIAL: Final = _object(
    ("type", "uid"),
    type={"type": "string", "maxLength": 36, "examples": ["RFID", "APP_USER"]},
    uid={"type": "string", "minLength": 1, "maxLength": 36},
    contract_id={"type": ["string", "null"], "maxLength": 36},
)
_PLACE: Final = _object(
    ("location_id",),
    location_id={"type": "string", "maxLength": 36},
    evse_uid={"type": ["string", "null"], "maxLength": 36},
    connector_id={"type": ["string", "null"], "maxLength": 36},
)
_ASKED: Final = _object(
    ("credential",),
    credential=_CREDENTIAL,
    location=_PLACE,
    service={"type": "string", "enum": ["CHARGING", "PARKING", "RESERVATION"], "default": "CHARGING"},
    deadline_ms={"type": "integer", "minimum": 100, "maximum": 30000, "default": 3000},
)
_LIMITS: Final = _object(
    starts={"type": "integer", "minimum": 1, "description": "How often in all; the others are for each start."},
    kwh={"type": "number", "exclusiveMinimum": 0},
    cost={"type": "number", "exclusiveMinimum": 0},
    currency=_TEXT,
    duration_s={"type": "integer", "minimum": 1},
)
_DECIDED: Final = _object(
    ("decision", "reason", "source", "home_csp", "authorization_id", "asked", "elapsed_ms"),
    decision={"type": "string", "enum": ["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "UNKNOWN"]},
    reason=_TEXT,
    source={"type": "string", "enum": ["BACKEND", "WHITELIST", "GRANT", "POLICY"]},
    home_csp=_NULLABLE,
    authorization_id=_TEXT,
    authorization_reference=_TEXT,
    valid_until=_TIME,
    info={},
    location={},
    asked=_list(_TEXT),
    elapsed_ms={"type": "number"},
    grant=_object(("id", "limits"), id=_TEXT, limits=_LIMITS)
    | {"description": "The grant that let the driver in; energy, cost and duration are for the backend to watch."},
    offline=_object(
        ("liability", "agreement"),
        cost=_TEXT,
        currency=_TEXT,
        kwh=_TEXT,
        liability={"type": "string", "enum": [*LIABLE]},
        agreement=_WHOLE,
    )
    | {"description": "Where a list let the driver in: how far he may go by the signed agreement, and who bears it."},
)
_DECISION: Final = _object(
    ("authorization_id", "at", "direction", "peer", "decision", "reason", "source", "elapsed_ms", "service"),
    authorization_id=_TEXT,
    at=_TIME,
    direction={"type": "string", "enum": ["out", "in"], "description": "`out`: we asked; `in`: we were asked."},
    peer=_NULLABLE,
    decision=_DECIDED["properties"]["decision"],
    reason=_TEXT,
    source=_DECIDED["properties"]["source"],
    elapsed_ms={"type": "number"},
    service=_TEXT,
    authorization_reference=_TEXT,
    type=_TEXT,
    uid=_TEXT,
    contract_id=_TEXT,
    location_id=_TEXT,
    evse_uid=_TEXT,
    row={"type": "integer", "description": "The row of the decision table (roamd/roaming/authorization/README.md)."},
    facts={"type": "object", "additionalProperties": _TEXT, "description": "What the table was asked with."},
    grant=_ref("Grant"),
)
_FAULT: Final = _object(("path", "message", "code"), path=_TEXT, message=_TEXT, code=_TEXT)
_RECORD_STATES: Final = ["QUEUED", "DELIVERED", "ACCEPTED", "DISPUTED", "CREDITED", "FINAL", "PARKED"]
_RECORD: Final = _object(
    ("record_id", "state", "peer", "party", "kind", "direction"),
    record_id=_TEXT,
    state={"type": "string", "enum": _RECORD_STATES},
    peer=_NULLABLE,
    party=_TEXT,
    kind={"type": "string", "enum": ["CDR", "SDR", "CREDIT"]},
    direction={"type": "string", "enum": ["out", "in"]},
    reason=_TEXT,
    created_at=_TIME,
    updated_at=_TIME,
    items=_list(_ANY),
    contract_id=_TEXT
    | {"description": "Our own contract, where the record names it by the pseudonym that the peer knows."},
    evidence=_ANY | {"description": "None where the partner speaks plain OCPI: see `unsigned`."},
    unsigned=_object(
        ("at", "tries"),
        at=_TIME,
        tries={"type": "integer"},
        http_status={"type": ["integer", "null"], "description": "null: no answer was read."},
        ocpi_status={"type": ["integer", "null"]},
        location=_NULLABLE,
        body_sha256=_NULLABLE,
    )
    | {"description": "What a partner that speaks plain OCPI answered when it was sent. Nobody signed it."},
    record=_ANY,
    ocpi={"type": "string", "description": "The version of OCPI in which it is written."},
    command_id={"type": "string", "description": "The command that led to it, where one did."},
    price=_ANY | {"description": "What its tariff makes of a received record: verdict, total, lines, differences."},
    history=_list(
        _ANY
        | {"description": "What either side said of it: by, word, at, reason, detail, evidence, credit, replacement."}
    ),
    warnings=_list(_ref("Fault")),
)
_SDR_FIELDS: Final = ("country_code", "party_id", "id", "cdr_token", "start_date_time", "end_date_time", "currency")
_EVENT: Final = _object(
    ("id", "cursor", "at", "peer", "type", "data"),
    id=_TEXT,
    cursor=_TEXT,
    at=_TIME,
    peer=_NULLABLE,
    type={
        "type": "string",
        "examples": [
            "record.received",
            "record.state",
            "record.erasure",
            "object.changed",
            "object.removed",
            "command.state",
            "session.stale",
            "session.live",
            "session.asked",
            "peer.state",
            "agreement.state",
            "statement.received",
        ],
    },
    data=_ANY,
)
_COMMAND: Final = _object(
    ("command_id", "command", "direction", "peer", "party", "state", "result", "asked_at", "updated_at"),
    command_id={"type": "string", "pattern": "^[0-9a-f]{32}$"},
    command={"type": "string", "enum": [*COMMANDS]},
    direction={"type": "string", "enum": ["out", "in"]},
    peer=_TEXT,
    party=_TEXT,
    state={"type": "string", "enum": [*STATES]},
    result={
        "type": ["string", "null"],
        "enum": [*RESULTS, "REFUSED", "NO_ANSWER", "OUTCOME_UNKNOWN", None],
        "description": "What was answered at once. NO_ANSWER: surely nothing was done.",
    },
    reason=_TEXT,
    authorization_reference=_TEXT,
    session_id=_TEXT,
    asked_at=_TIME,
    updated_at=_TIME,
    expires_at=_TIME,
    late={"type": "string", "enum": [*LATE_RULES]},
    profile=_ANY,
)
_SUBJECT: Final[dict[str, Schema]] = {
    "type": {"type": "string", "maxLength": 36, "description": "OCPI TokenType; RFID when there is a uid alone."},
    "uid": {"type": "string", "maxLength": 64},
    "contract_id": {"type": "string", "maxLength": 64},
}
_ERASURE: Final = _object(
    ("request", "peer", "erased_at", "asked", "erased", "kept", "unknown", "refused", "waiting", "unasked"),
    request=_TEXT,
    peer=_TEXT,
    erased_at=_TIME,
    kept_until={"type": ["string", "null"], "format": "date-time"},
    **dict.fromkeys(("asked", "erased", "kept", "unknown", "refused", "waiting", "unasked"), _WHOLE),
)
_PEER: Final = _object(
    ("peer",),
    peer=_TEXT,
    endpoint_id=_NULLABLE | {"description": "null: it does not run roamd, and speaks plain OCPI."},
    name=_TEXT,
    parties=_list(_TEXT),
    state={"type": "string", "enum": ["PENDING", "PAIRED", "SUSPENDED", "REMOVED"]},
    link={"type": "string", "enum": ["UP", "DOWN", "OCPI"]},
    words=_NULLABLE | {"description": "Six words that must be the same on both sides."},
    identity=_object(
        ("number", "key_id", "next_key_id", "old_keys_taken"),
        number=_WHOLE | {"description": "How often its key was replaced."},
        key_id=_TEXT | {"description": "The name of the key that it uses; the first one's is the endpoint id."},
        next_key_id=_NULLABLE | {"description": "The key that it has announced."},
        old_keys_taken=_WHOLE | {"description": "Earlier keys whose signatures are still taken."},
    ),
    introduce=_BOOL | {"description": "Whether it and others with this are told of each other."},
    routes=_list(
        _object(
            ("function", "routes", "now"),
            function={"type": "string", "enum": [*FUNCTIONS]},
            routes=_list(_TEXT),
            now=_NULLABLE | {"description": "The route that is in use; null: none is up."},
        )
    ),
) | {"additionalProperties": True}
_CANDIDATE: Final = _object(
    ("name", "sources", "addresses", "endpoint_id", "parties", "vouched_by", "peer"),
    name=_TEXT,
    sources=_list({"type": "string", "enum": ["config", "introduction", "dns", "mdns"]}),
    addresses=_list(_TEXT) | {"description": "Best first; none of who only dials."},
    endpoint_id=_NULLABLE | {"description": "null: seen under a veil that no known endpoint id lifts."},
    parties=_list(_TEXT),
    vouched_by=_list(_TEXT) | {"description": "Peers that introduced it. Whoever is vouched for is trusted by nobody."},
    first_seen=_TIME,
    last_seen=_TIME,
    peer=_NULLABLE | {"description": "The label of the peer that it is, if it is one."},
)
_IDENTITY: Final = _object(
    ("endpoint_id", "announced", "overlap_over", "keys", "not_told"),
    endpoint_id=_TEXT,
    announced=_BOOL | {"description": "Whether there is a next key that is not in use yet."},
    keys=_list(
        _object(
            ("number", "state", "key_id", "made_at", "taken_until"),
            number=_WHOLE,
            state={"type": "string", "enum": ["RETIRED", "IN_USE", "ANNOUNCED"]},
            key_id=_TEXT | {"description": "The name of this key; the first one's is the endpoint id."},
            made_at={"type": ["string", "null"], "format": "date-time"},
            taken_until={"type": ["string", "null"], "format": "date-time"},
        )
    ),
    overlap_over=_BOOL
    | {
        "description": "The next key waits, and the time is over for which partners take the present one after a "
        "switch: nothing breaks, but from the switch on they take the next one alone."
    },
    not_told=_list(_TEXT)
    | {"description": "Partners, also suspended ones, that did not say yet that they know the newest key."},
)
_INVITATION: Final[dict[str, Schema]] = {
    "id": _TEXT,
    "address": _TEXT | {"description": "`host:port`, or `via:` and the endpoint id of a clearing house."},
    "expires_at": _TIME,
    "auto": _BOOL | {"description": "Who follows it needs no confirmation."},
    "used_by": _NULLABLE | {"description": "The endpoint id of who has followed it."},
}
_CLAUSES: Final = _ANY | {
    "description": "By name: `us.` and `them.` begin what belongs to one side. Amounts are texts.",
    "properties": {name: {} for name in CLAUSES},
}
_OUTLINE: Final[dict[str, Schema]] = {
    "number": {"type": ["integer", "null"]},
    "state": {
        "type": "string",
        "enum": [
            "CHECKED",
            "PROPOSED",
            "DECLINED",
            "REFUSED",
            "UPCOMING",
            "IN_FORCE",
            "REPLACED",
            "ENDED",
        ],
        "description": "CHECKED was only looked at; DECLINED by a person, REFUSED by a machine.",
    },
    "proposed_by": {"type": "string", "enum": ["us", "them"]},
    "reason": _NULLABLE,
    "proposed_at": _TIME,
    "decided_at": {"type": ["string", "null"], "format": "date-time"},
    "valid_from": {"type": ["string", "null"], "format": "date-time"},
    "valid_until": {"type": ["string", "null"], "format": "date-time"},
    "digest": {"type": "string", "description": "SHA-256 of the document."},
    "differences": _list(
        _object(("clause", "before", "after", "words"), clause=_TEXT, words=_TEXT, before={}, after={})
    )
    | {"description": "From what rules today, in words."},
    "faults": _list(_ref("Fault")) | {"description": "Why it cannot be signed here."},
}
_SUMMARY: Final = _object(
    ("lines", "stored", "created", "unchanged", "failed_count", "failed"),
    lines=_WHOLE,
    stored=_WHOLE,
    created=_WHOLE,
    unchanged=_WHOLE,
    failed_count=_WHOLE,
    failed=_list(_object(("line", "problem"), line=_WHOLE, problem=_ref("Problem"))),
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": _object(
        ("type", "title", "status", "detail", "code"),
        type=_TEXT,
        title=_TEXT,
        status=_WHOLE,
        detail=_TEXT,
        code={"type": "string", "description": "Stable; what programs compare."},
        faults=_list(_ref("Fault")),
    ),
    "Fault": _FAULT,
    "AuthorizationRequest": _one_or_many(_ASKED),
    "Authorization": _one_or_many(_DECIDED),
    "Location": _ocpi("Location", "country_code", "party_id", "id", "last_updated"),
    "Tariff": _ocpi("Tariff", "country_code", "party_id", "id", "currency", "elements", "last_updated"),
    "Token": _ocpi("Token", "country_code", "party_id", "uid", "type", "contract_id", "last_updated"),
    "Session": _ocpi("Session", "country_code", "party_id", "id", "status", "last_updated"),
    "Reservation": _object(
        (
            "country_code",
            "party_id",
            "id",
            "kind",
            "status",
            "cdr_token",
            "location_id",
            "start_date_time",
            "end_date_time",
            "last_updated",
        ),
        country_code=_TEXT,
        party_id=_TEXT,
        id=_TEXT,
        kind={"type": "string", "enum": ["NOW", "ADVANCE", "PARKING"]},
        status={
            "type": "string",
            "enum": ["PENDING", "RESERVED", "FULFILLED", "CANCELED", "EXPIRED", "NO_SHOW", "FAILED"],
        },
        cdr_token=_ANY,
        authorization_reference=_TEXT,
        location_id=_TEXT,
        evse_uid=_TEXT,
        connector_id=_TEXT,
        parking_id=_TEXT,
        start_date_time=_TIME,
        end_date_time=_TIME,
        session_id=_TEXT,
        currency=_TEXT,
        price={"description": "A number, or an OCPI Price. It is settled by a record, an SDR of its own or the CDR."},
        last_updated=_TIME,
    )
    | {"additionalProperties": True},
    "Grant": _object(
        ("country_code", "party_id", "id", "type", "uid", "valid_until", "last_updated"),
        country_code=_TEXT,
        party_id=_TEXT,
        id=_TEXT,
        type=_TEXT,
        uid=_TEXT,
        contract_id=_TEXT,
        rule={
            "type": "string",
            "enum": ["AT_ONCE", "OFFLINE"],
            "description": "AT_ONCE: counts without asking. OFFLINE, the usual: when the CSP gives no answer.",
        },
        revoked=_BOOL,
        valid_from=_TIME,
        valid_until=_TIME | {"description": "At most seven days after `valid_from`, else after `last_updated`."},
        places=_list(
            _object(("country_code", "party_id"), country_code=_TEXT, party_id=_TEXT, location_id=_TEXT, evse_uid=_TEXT)
        ),
        limits=_LIMITS,
        authorization_reference=_TEXT,
        info=_ANY,
        last_updated=_TIME,
        algorithm=_TEXT,
        signature={"type": "string", "description": "Put there by roamd; what a backend writes is replaced."},
    )
    | {"additionalProperties": True},
    "DecisionPage": _page(_DECISION, _NULLABLE),
    "EVSE": _ocpi("EVSE", "uid", "status", "last_updated"),
    "EvseStatus": _object(status=_TEXT, last_updated=_TIME) | {"additionalProperties": True},
    "Object": _ANY | {"description": "An OCPI object, byte for byte as it was published."},
    "ObjectPage": _page(_ref("Object"), _NULLABLE),
    "Patch": _ANY | {"description": "RFC 7396: null removes a field."},
    "BatchSummary": _SUMMARY,
    "ServiceRecord": _one_or_many(
        _ocpi("CDR, or an SDR (`kind` is `SDR`, with typed `items`)", *_SDR_FIELDS, "total_cost", "last_updated")
    ),
    "Record": _one_or_many(_RECORD),
    "RecordPage": _page(_RECORD, _NULLABLE),
    "Evidence": _object(("files",), files={"type": "object", "additionalProperties": {"contentEncoding": "base64"}}),
    "Reroute": _object(("peer",), peer=_TEXT),
    "SignStatement": _object(root=_TEXT | {"description": "Sign only if the statement still has this root."}),
    "Statement": _object(
        ("peer", "month", "state", "root", "statement", "signed"),
        peer=_TEXT,
        month=_TEXT | {"description": "A UTC month of `end_date_time`, as in 2026-10."},
        state={"type": "string", "enum": ["OPEN", "SIGNED", "PROPOSED", "AGREED", "DIFFERS"]},
        root=_TEXT | {"description": "SHA-256 over the sorted list, in hexadecimal."},
        statement=_ANY | {"description": "The document that is signed: the same bytes on both sides."},
        signed=_ANY | {"description": "`us` and `peer`, each null or `{root, at, sequence}`."},
        lines=_list(_ANY) | {"description": "The records, where they were asked for."},
        differences=_list(_ANY) | {"description": "Records that differ: what they are here, and there."},
        differences_why=_TEXT,
    ),
    "StatementPage": _page(_object(("month", "state", "root"), month=_TEXT, state=_TEXT, root=_TEXT), _NULLABLE),
    "Reconciliation": _object(
        ("peer", "ok", "differed", "repaired", "repaired_there", "left", "differences"),
        peer=_TEXT,
        ok=_BOOL | {"description": "Nothing differs any more, but for what is under way."},
        at=_TEXT,
        groups={"type": "integer"},
        records={"type": "integer"},
        differed={"type": "integer"},
        repaired=_ANY,
        repaired_there=_ANY,
        under_way={"type": "integer"},
        left={"type": "integer"},
        gone_on_both_sides={"type": "integer"},
        faults=_list(_TEXT),
        differences=_list(_ANY) | {"description": "Up to 200 records, and what came of each."},
    ),
    "Fields": _object(
        ("feed",),
        feed={"type": "string", "enum": [*FEEDS_WITH_FIELDS]},
        withhold=_list(_TEXT) | {"description": "Fields that OCPI lets the owner leave out; all others are sent."},
    ),
    "Routes": _object(
        (),
        **{
            function: _list(_TEXT)
            | {"description": f"For {what}: `direct` and labels of peers that are clearing houses, the best first."}
            for function, what in (
                ("calls", "authorizations and commands"),
                ("ledger", "records and what is said of them"),
                ("feeds", "what we follow"),
            )
        },
    ),
    "Introduce": _object(
        ("introduce",),
        introduce=_BOOL
        | {"description": "This peer and the others with this are told of each other, as far as each has allowed it."},
    ),
    "AddOcpi": _object(
        ("url", "token", "our_url"),
        url={"type": "string", "description": "The partner's versions address."},
        token={"type": "string", "description": "The token that it gave us."},
        our_url={"type": "string", "description": "The OCPI face's address as the partner reaches it."},
        label=_NULLABLE,
        private={"type": "boolean", "description": "Allow private addresses, and such without TLS."},
    ),
    "KeyedList": _object(
        ("keyed",),
        keyed={
            "type": "boolean",
            "description": "uid, contract id and group of our user credentials are sent as hashes under the peer's "
            "own key, with what decides offline and nothing else. Cards with uids of 4 bytes can be found by trying.",
        },
    ),
    "Pseudonyms": _object(
        ("pseudonyms",),
        pseudonyms={
            "type": "boolean",
            "description": "Contract ids in what we send are valid contract ids of the same party that only this peer "
            "knows. What it names by them is told with `contract_id` beside it: in events of sessions, reservations "
            "and records, in a record, and in the header Roamd-Contract-Id of a session or reservation.",
        },
    ),
    "Subject": _object((), **_SUBJECT),
    "ErasureRequest": _object(
        (),
        **_SUBJECT,
        keep_records=_BOOL | {"default": False, "description": "All but service records."},
        force=_BOOL | {"default": False, "description": "Whatever stands against it."},
    ),
    "SubjectExport": _ANY,
    "SubjectErasure": _object(
        ("request", "erased", "kept_records", "mentions", "others", "asked", "backups", "log_emptied", "note"),
        request=_TEXT,
        erased={"type": "object", "additionalProperties": _WHOLE, "description": "Rows by table."},
        kept_records=_WHOLE,
        mentions=_list(_ANY) | {"description": "Places that only mention one of the numbers; they were left."},
        others=_list(_ANY) | {"description": "Tokens of the driver that have another number, too."},
        asked={"type": "object", "additionalProperties": _WHOLE, "description": "Entries by peer."},
        backups=_list(_TEXT) | {"description": "Files that still hold the data."},
        log_emptied=_BOOL,
        note=_TEXT,
    ),
    "ErasurePage": _page(_ERASURE, _NULLABLE),
    "Note": _object(detail=_TEXT),
    "Dispute": _object(("reason",), reason=_TEXT, detail=_TEXT, evidence=_list(_TEXT)),
    "Credit": _object(
        ("credit",),
        credit=_ANY | {"description": "OCPI CDR with `credit` and the `credit_reference_id` of this record."},
        replacement=_ANY | {"description": "OCPI CDR or SDR that takes its place."},
    ),
    "StartSession": _ocpi("StartSession without `response_url`", "token", "location_id"),
    "StopSession": _ocpi("StopSession without `response_url`", "session_id"),
    "UnlockConnector": _ocpi("UnlockConnector without `response_url`", "location_id", "evse_uid", "connector_id"),
    "ReserveNow": _ocpi("ReserveNow without `response_url`", "token", "expiry_date", "reservation_id", "location_id"),
    "CancelReservation": _ocpi("CancelReservation without `response_url`", "reservation_id"),
    "ProfileSetting": _object(
        ("session_id", "charging_profile"),
        session_id=_TEXT,
        charging_profile=_ANY | {"description": "OCPI ChargingProfile."},
        expires_s={"type": "integer", "minimum": PROFILE_MIN_S, "maximum": PROFILE_MAX_S, "default": PROFILE_S},
    ),
    "ProfileClearing": _object(("session_id",), session_id=_TEXT),
    "ProfileQuestion": _object(("session_id",), session_id=_TEXT, duration_s=_WHOLE),
    "PreferencesSetting": _object(
        ("session_id", "profile_type"),
        session_id=_TEXT,
        profile_type={"type": "string", "enum": ["CHEAP", "FAST", "GREEN", "REGULAR"]},
        departure_time=_TIME,
        energy_need={"type": "number", "description": "kWh."},
        discharge_allowed={"type": "boolean"},
    ),
    "ReservationAsk": _object(
        ("token", "reservation_id", "kind", "location_id", "start_date_time", "end_date_time"),
        token=_ANY | {"description": "OCPI Token, authorized by the home-CSP."},
        reservation_id=_TEXT,
        kind={"type": "string", "enum": ["NOW", "ADVANCE", "PARKING"]},
        location_id=_TEXT,
        evse_uid=_TEXT,
        connector_id=_TEXT,
        parking_id=_TEXT,
        start_date_time=_TIME,
        end_date_time=_TIME,
        authorization_reference=_TEXT,
    ),
    "Command": _COMMAND,
    "CommandPage": _page(_COMMAND, _NULLABLE),
    "CommandReport": _object(
        ("state",),
        state={"type": "string", "enum": [*dict.fromkeys((*STARTING, *DOING))]},
        reason={"type": "string", "maxLength": 255},
        session_id={"type": "string", "maxLength": 36, "description": "Needed with STARTED, unless it is known."},
    ),
    "EventPage": _page(_EVENT, _TEXT),
    "Acknowledge": _object(("cursor",), cursor=_TEXT),
    "Peer": _PEER,
    "PeerPage": _page(_ref("Peer"), _NULLABLE),
    "Remove": _object(park=_BOOL),
    "Agreement": _object(
        ("peer", "source", "number", "clauses", "proposals"),
        peer=_TEXT,
        source={"type": "string", "enum": ["preset", "agreement"]},
        number={"type": ["integer", "null"]},
        clauses=_CLAUSES,
        proposals=_list(_ref("AgreementOutline")),
        newer_preset=_list(_TEXT) | {"description": "What a proposal of today's preset would change, in words."},
    ),
    "AgreementOutline": _object(("number", "state"), **_OUTLINE),
    "AgreementPage": _page(_ref("AgreementOutline"), _NULLABLE),
    "AgreementDocument": _object(
        ("number", "state", "document", "signatures"),
        **_OUTLINE,
        clauses=_CLAUSES,
        document={"type": "string", "description": "The text that was signed, byte for byte."},
        algorithm=_TEXT,
        signatures=_object(("us", "them"), us=_NULLABLE, them=_NULLABLE) | {"description": "DER in base64."},
    ),
    "AgreementProposal": _object(
        clauses=_CLAUSES,
        add={"type": "object", "additionalProperties": _list(_TEXT)},
        remove={"type": "object", "additionalProperties": _list(_TEXT)},
        base={
            "type": ["string", "null"],
            "enum": ["preset", "agreement", None],
            "description": "What it begins with; `agreement` is what is in force. Usual: the preset of today's tables "
            "until something is signed, then what is in force.",
        },
        check=_BOOL | {"default": False, "description": "Only look; nothing is proposed."},
    ),
    "AgreementDecline": _object(reason={"type": "string", "maxLength": 500}),
    "Listing": _ANY | {"description": "`{items, next}`"},
    "CandidatePage": _page(_CANDIDATE, _NULLABLE),
    "InvitationPage": _page(_object(("id", "address", "expires_at", "auto"), **_INVITATION), _NULLABLE),
    "Invite": _object(
        auto=_BOOL,
        hours={"type": "number", "default": 24},
        via={"type": ["string", "null"], "description": "The label of a clearing house that both are partners of."},
    ),
    "Invitation": _object(
        ("line", "id", "address", "expires_at", "auto"),
        line=_TEXT | {"description": "For one partner: whoever has it can use it."},
        **_INVITATION,
    ),
    "Pair": _object(("line",), line=_TEXT, label={"type": ["string", "null"], "pattern": "^[a-z0-9-]{1,40}$"}),
    "Pairing": _object(
        ("peer", "name", "parties", "endpoint_id", "words", "state"),
        peer=_TEXT,
        name=_TEXT,
        parties=_list(_TEXT),
        endpoint_id=_TEXT,
        words=_NULLABLE | {"description": "Six words that must be the same on both sides."},
        state={"type": "string", "enum": ["PENDING", "PAIRED", "SUSPENDED"]}
        | {"description": "PENDING until the inviter has confirmed."},
    ),
    "Report": _ANY,
    "OcpiRemoval": _object(("module",), module={"type": "string", "enum": ["tariffs", "locations", "tokens"]}),
    "Backup": _object(("path",), path=_TEXT),
    "ApiKey": _object(("api_key",), api_key=_TEXT),
    "Identity": _IDENTITY,
    "Health": _object(("status",), status=_TEXT),
}
