"""The door between bytes that someone sent and objects that the rest of roamd may believe.

Each function takes a body through the same steps: compact it (or, from a peer, insist that it is compact), decode it
by the tables, find its owner and key, and only then build the typed view. What does not pass in one pass is parsed and
checked field by field, and every fault is collected on the way, so that one answer names them all. The body itself is
never altered.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from roamd.errors import Fault, Malformed
from roamd.model.body import with_fields
from roamd.model.grants import grant_faults
from roamd.model.ids.party import COUNTRY, party_of
from roamd.model.jsontext import child_path, compact, parse
from roamd.model.keyedlist import keyed_faults, own_faults
from roamd.model.keys import ObjectKey, fold
from roamd.model.ocpi.check import VERSIONS, Findings, check
from roamd.model.ocpi.good import Fields, Good, good
from roamd.model.records import Item, cdr_items, sdr_items
from roamd.model.roles import FEEDS
from roamd.model.views import VIEWS, token_party

__all__ = [
    "Checked",
    "CheckedRecord",
    "Item",
    "ObjectKey",
    "check_evse_status",
    "check_object",
    "check_peer_object",
    "check_peer_record",
    "check_record",
]

_ID_FIELDS: Final = {"Token": "uid"}

_RULES: Final[dict[str, Callable[[Fields, str], list[Fault]]]] = {"Grant": grant_faults}
"""What the tables cannot say of a class; asked only of bodies that they find no fault with."""


@dataclass(frozen=True, slots=True)
class Checked:
    """An object whose body has no faults. `kind` is its OCPI class, `body` is compact: what is stored and sent."""

    kind: str
    ocpi: str
    body: bytes = field(repr=False)
    key: ObjectKey = field(repr=False)
    view: object = field(repr=False)
    warnings: tuple[Fault, ...] = ()


class CheckedRecord(msgspec.Struct, frozen=True, gc=False):
    """A service record whose body has no faults.

    `id` is spelled as in the body; `key` is the folded one to compare by. (A Struct, because one is made for each
    record at either end, and a frozen dataclass of so many fields takes ten times as long to make.)
    """

    kind: str
    ocpi: str
    body: bytes
    party: str
    id: str
    token_party: str
    token_type: str
    token_uid: str
    contract_id: str
    authorization_reference: str | None
    credit: bool
    credit_reference_id: str | None
    warnings: tuple[Fault, ...] = ()

    def __repr__(self) -> str:
        """Without the body and what is personal in it."""
        return f"CheckedRecord(kind={self.kind!r}, ocpi={self.ocpi!r}, party={self.party!r}, id={self.id!r})"

    @property
    def items(self) -> tuple[Item, ...]:
        """What it sold; read out of the body, so that nobody pays for it who does not ask."""
        return sdr_items(self.body) if self.kind == "SDR" else cdr_items(self.body)

    @property
    def key(self) -> ObjectKey:
        """The folded key."""
        return ObjectKey(self.party, fold(self.id))


def check_object(
    feed: str, ocpi: str, data: bytes, *, own_parties: frozenset[str], path_id: str | None = None, at: str = "$"
) -> Checked:
    """Check an object of our own backend. Its id must be `path_id` when given, its owner one of `own_parties`.

    Raises Malformed with every fault, or TooLarge. KeyError for an unknown feed.
    """
    kind = FEEDS[feed].object_class
    seen = _examine(kind, ocpi, data, at)
    _judge_id(seen, path_id)
    _judge_owner(seen, own_parties)
    if kind == "Token" and not seen.findings.faults:
        seen.findings.faults += own_faults(seen.body, at)
    return _checked(seen, None)


def check_peer_object(feed: str, ocpi: str, body: bytes, *, claimed: ObjectKey | None = None, at: str = "$") -> Checked:
    """Check an object that a peer sent; the body stays as it is. Whether the peer may own its key is for the caller.

    A body that contradicts `claimed` is refused. An EVSE status does not name its own key, so there `claimed` is the
    key. Raises Malformed or TooLarge; KeyError for an unknown feed.
    """
    kind = FEEDS[feed].object_class
    seen = _examine(kind, ocpi, body, at)
    _insist_on_compact(seen, body)
    if kind != "EvseStatus":
        _judge_id(seen, None)
        _judge_owner(seen, None)
    if kind == "Token" and not seen.findings.faults:
        seen.findings.faults += keyed_faults(body, at)
    return _checked(seen, claimed)


def check_evse_status(data: bytes, *, ocpi: str = "2.3.0", last_updated: str | None = None, at: str = "$") -> bytes:
    """Check `{status, last_updated}`. `last_updated` is put in where the body has none. Raises Malformed, TooLarge."""
    body = compact(data, at=at)
    if last_updated is not None and _lacks_time(body, at):
        body = with_fields(body, {"last_updated": json.dumps(last_updated).encode()})
    _examine("EvseStatus", ocpi, body, at).refuse_faults()
    return body


def _lacks_time(body: bytes, at: str) -> bool:
    parsed = parse(body, at=at)
    return isinstance(parsed.value, dict) and parsed.value.get("last_updated") is None and not parsed.faults


def check_record(ocpi: str, data: bytes, *, own_parties: frozenset[str], at: str = "$") -> CheckedRecord:
    """Check a service record of our own backend: a CDR when it has no `kind`, else an SDR.

    Raises Malformed with every fault, a foreign owner among them, or TooLarge.
    """
    return _record(ocpi, data, own_parties, at)


def check_peer_record(ocpi: str, body: bytes, *, at: str = "$") -> CheckedRecord:
    """Check a record that a peer sent; the body stays as it is. Whether the peer may own it is for the caller to say.

    Raises Malformed or TooLarge.
    """
    record = _record(ocpi, body, None, at)
    if record.body != body:
        raise Malformed((_not_compact(at),))
    return record


# --- steps ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """A parsed body on its way through the steps; `body` is compact."""

    kind: str
    ocpi: str
    body: bytes
    value: Fields
    findings: Findings
    at: str

    def text(self, name: str) -> str | None:
        """A field that is a text and is not empty."""
        value = self.value.get(name)
        return value if isinstance(value, str) and value else None

    def fault(self, name: str, message: str, code: str) -> None:
        """Note a fault of a field, unless the tables found one there already."""
        path = child_path(self.at, name)
        if all(known.path != path for known in self.findings.faults):
            self.findings.fault(path, message, code)

    def refuse_faults(self) -> None:
        """Raises Malformed when there are any."""
        if self.findings.faults:
            raise Malformed(tuple(self.findings.faults))


def _examine(kind: str, ocpi: str, data: bytes, at: str) -> _Seen:
    found = _good(kind, ocpi, data)
    if found is None:
        seen = _explained(kind, ocpi, compact(data, at=at), at)
    else:
        body, value = found
        seen = _Seen(kind, ocpi, body, value, Findings(), at)
    if kind in _RULES and not seen.findings.faults:
        seen.findings.faults += _RULES[kind](seen.value, at)
    return seen


def _good(kind: str, ocpi: str, data: bytes) -> tuple[bytes, Good] | None:
    """`good`, of a version that is spoken here; raises Malformed."""
    if ocpi not in VERSIONS:
        raise Malformed((Fault("OCPI-Version", f"expected one of {', '.join(VERSIONS)}", "ocpi-version"),))
    return good(kind, ocpi, data)


def _explained(kind: str, ocpi: str, body: bytes, at: str) -> _Seen:
    parsed = parse(body, at=at)
    findings = check(kind, ocpi, parsed.value, at)
    findings.faults += parsed.faults
    if not isinstance(parsed.value, dict):
        raise Malformed(tuple(findings.faults))
    return _Seen(kind, ocpi, body, parsed.value, findings, at)


def _insist_on_compact(seen: _Seen, body: bytes) -> None:
    """A peer that adds white space would have us store other bytes than a second reader of the same text compares."""
    if seen.body != body:
        raise Malformed((_not_compact(seen.at),))


def _not_compact(at: str) -> Fault:
    return Fault(at, "has white space outside strings", "not-compact")


def _judge_id(seen: _Seen, path_id: str | None) -> None:
    name = _ID_FIELDS.get(seen.kind, "id")
    found = seen.text(name)
    if found is None:
        seen.fault(name, "must not be empty", "required")
    elif path_id is not None and fold(found) != fold(path_id):
        seen.fault(name, "differs from the id in the path", "id")


def _judge_owner(seen: _Seen, own_parties: frozenset[str] | None) -> None:
    """The owner must be a party, and one of ours when ours are given. The fault stands at the field that is off."""
    country, party_id = seen.text("country_code") or "", seen.text("party_id") or ""
    party = party_of(country, party_id)
    if party is None:
        seen.fault("party_id" if COUNTRY.fullmatch(country) else "country_code", "does not name a party", "owner")
    elif own_parties is not None and party not in own_parties:
        known_country = any(own[:2] == party[:2] for own in own_parties)
        seen.fault("party_id" if known_country else "country_code", "is not a party of this endpoint", "owner")


def _checked(seen: _Seen, claimed: ObjectKey | None) -> Checked:
    seen.refuse_faults()
    key = claimed if claimed is not None and seen.kind == "EvseStatus" else _key_of(seen)
    if claimed is not None and key != claimed:
        raise Malformed((Fault(seen.at, "names another key than the one it was sent under", "key"),))
    view = VIEWS[seen.kind](seen.value)
    return Checked(seen.kind, seen.ocpi, seen.body, key, view, tuple(seen.findings.warnings))


def _key_of(seen: _Seen) -> ObjectKey:
    if seen.kind == "EvseStatus":
        return ObjectKey("", "", "")
    sub = fold(seen.value["type"]) if seen.kind == "Token" else ""
    return ObjectKey(_owner(seen.value), fold(seen.value[_ID_FIELDS.get(seen.kind, "id")]), sub)


def _owner(value: Fields) -> str:
    return fold(value["country_code"] + value["party_id"])


def _record(ocpi: str, data: bytes, own_parties: frozenset[str] | None, at: str) -> CheckedRecord:
    """Nearly all records are good and their owner's; all that is done beyond `good` is for those that are not."""
    kind = _record_kind(data, at)
    found = _good(kind, ocpi, data)
    if found is None:
        seen = _explained(kind, ocpi, compact(data, at=at), at)
    else:
        body, value = found
        # `good` holds both fields to the form of a party.
        if value["id"] and (own_parties is None or _owner(value) in own_parties):
            return _record_of(kind, ocpi, body, value)
        seen = _Seen(kind, ocpi, body, value, Findings(), at)
    _judge_id(seen, None)
    _judge_owner(seen, own_parties)
    seen.refuse_faults()
    return _record_of(kind, ocpi, seen.body, seen.value, tuple(seen.findings.warnings))


def _record_kind(data: bytes, at: str) -> str:
    """The class by which a record reads; most are CDRs, which have no `kind` anywhere."""
    if b'"kind' not in data and b"\\" not in data:
        return "CDR"
    parsed = parse(compact(data, at=at), at=at)
    if not isinstance(parsed.value, dict) or "kind" not in parsed.value:
        return "CDR"
    if parsed.value["kind"] != "SDR":
        fault = Fault(child_path(at, "kind"), 'expected "SDR", or no kind for an OCPI CDR', "kind")
        raise Malformed((fault, *parsed.faults))
    return "SDR"


def _record_of(kind: str, ocpi: str, body: bytes, value: Fields, warnings: tuple[Fault, ...] = ()) -> CheckedRecord:
    token = value["cdr_token"]
    return CheckedRecord(
        kind=kind,
        ocpi=ocpi,
        body=body,
        party=_owner(value),
        id=value["id"],
        token_party=token_party(token),
        token_type=token["type"],
        token_uid=token["uid"],
        contract_id=token["contract_id"],
        authorization_reference=value.get("authorization_reference"),
        credit=value.get("credit") is True,
        credit_reference_id=value.get("credit_reference_id"),
        warnings=warnings,
    )
