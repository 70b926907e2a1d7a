"""The agreement as a document of both: one text that both identity keys sign.

It names both endpoints and says the same to both; `clauses` is how it reads from one side. The text is JSON in exactly
one form: the members in the order of these classes, all of them there (null where there is nothing), no white space,
amounts as texts. So a text is a document if and only if it is what encoding its own content gives, and nobody can sign
a clause that he does not read. It begins with `{"type":"roamd agreement 1"`, which no other signed document does.

Numbers: the side whose endpoint id sorts first writes odd ones, the other even ones, so two proposals that cross never
share a number. Of all that both have signed and that are valid at the time, the highest number rules; until there is
one, and when none is valid any more, the preset.
"""

from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from roamd.errors import Fault, Malformed
from roamd.model.agreement import Agreement
from roamd.model.clauses import CLAUSES, Clause, Clauses
from roamd.model.pricing.check import Rounding
from roamd.model.terms import Terms
from roamd.model.times import time_ms

TYPE: Final = "roamd agreement 1"
MAX_DOCUMENT: Final = 16 * 1024
MAX_NUMBER: Final = 10**9
_Endpoint = Annotated[str, Meta(pattern="^[A-Z2-7]{56}$")]


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one endpoint is, owns and may do: publish feeds, ask services, write records."""

    endpoint_id: _Endpoint
    roles: tuple[str, ...]
    parties: tuple[str, ...]
    evse_prefixes: tuple[str, ...]
    contract_prefixes: tuple[str, ...]
    feeds: tuple[str, ...]
    services: tuple[str, ...]
    records: tuple[str, ...]
    unknown_cards_per_minute: int | None


class RoundingClause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `model.pricing.check.Rounding`."""

    decimals: int
    mode: str
    level: str


class OfflineClause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a driver may go who was let in without the home-CSP's answer, and who bears it if he does not pay."""

    cost: Decimal | None
    kwh: Decimal | None
    liability: str


class RetentionClause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long both keep service records, at the least."""

    records_years: int | None


class AgreementDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole. `sides` are in the order of their endpoint ids; times are UTC, null is open."""

    type: Literal["roamd agreement 1"]
    number: Annotated[int, Meta(ge=1, le=MAX_NUMBER)]
    sides: tuple[Side, Side]
    currencies: tuple[str, ...]
    rounding: RoundingClause
    tolerance: Decimal
    dispute_above: Decimal | None
    dispute_days: int
    final_days: int
    offline: OfflineClause
    retention: RetentionClause
    valid_from: str | None
    valid_until: str | None

    def text(self) -> bytes:
        """What is signed."""
        return msgspec.json.encode(self)

    @property
    def valid_from_ms(self) -> int | None:
        """None: from when both have signed."""
        return None if self.valid_from is None else time_ms(self.valid_from)

    @property
    def valid_until_ms(self) -> int | None:
        """None: until another one takes its place."""
        return None if self.valid_until is None else time_ms(self.valid_until)

    def side_of(self, endpoint_id: str) -> int | None:
        """0 or 1, or None for who is neither."""
        return next((place for place, side in enumerate(self.sides) if side.endpoint_id == endpoint_id), None)


def digest_of(text: bytes) -> str:
    """By what a document is known: SHA-256 of its text, lower-case hexadecimal."""
    return sha256(text).hexdigest()


def writes_number(document: AgreementDocument, endpoint_id: str) -> bool:
    """Whether this number is for that endpoint to write."""
    return document.side_of(endpoint_id) == (document.number + 1) % 2


def next_number(highest: int, *, first: bool) -> int:
    """The lowest number above `highest` for the side that sorts first, or for the other."""
    number = highest + 1
    return number if number % 2 == first else number + 1


def read_document(text: bytes) -> AgreementDocument:
    """The document in a text. Malformed when it is none, or not in the one form; clauses may still not fit together."""
    if len(text) > MAX_DOCUMENT:
        raise _malformed(f"is longer than {MAX_DOCUMENT} bytes")
    try:
        document = msgspec.json.decode(text, type=AgreementDocument)
        again = document_of(_read_again(clauses(document, 0)), document.number, *_ids(document))
        if again.text() != text:
            raise _malformed("is not in the one form in which an agreement is written")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _malformed(str(error)[:300]) from error
    first, second = _ids(document)
    if not first < second:
        raise _malformed("does not name its two sides in order")
    return document


def kept_document(text: bytes) -> AgreementDocument:
    """A document that was read before, also where it names something that today's tables do not."""
    return msgspec.json.decode(text, type=AgreementDocument)


def _ids(document: AgreementDocument) -> tuple[str, str]:
    return document.sides[0].endpoint_id, document.sides[1].endpoint_id


def _malformed(what: str) -> Malformed:
    return Malformed((Fault("$", what, "not-an-agreement"),))


# --- from one side's view, and back -----------------------------------------------------------------------------


def clauses(document: AgreementDocument, ours: int) -> Clauses:
    """The document's clauses as its side number `ours` reads them."""
    sides = {"us": document.sides[ours], "them": document.sides[1 - ours]}
    parts: dict[str, msgspec.Struct] = {
        **sides, "rounding": document.rounding, "offline": document.offline, "retention": document.retention
    }  # fmt: skip
    flat = {
        f"{name}.{key}": value for name, part in parts.items() for key, value in msgspec.structs.asdict(part).items()
    }
    flat |= msgspec.structs.asdict(document)
    return {name: flat[name] for name in CLAUSES}


def _read_again(found: Clauses) -> Clauses:
    return {name: _read(clause, found[name]) for name, clause in CLAUSES.items()}


def _read(clause: Clause, value: Any) -> Any:
    try:
        return clause.read(value)
    except ValueError as error:
        raise ValueError(f"{clause.name} {error}") from error


def document_of(given: Clauses, number: int, us: str, them: str) -> AgreementDocument:
    """The document in which two endpoints say these clauses, read by `us`."""
    sides = sorted((_side(given, "us", us), _side(given, "them", them)), key=lambda side: side.endpoint_id)
    return AgreementDocument(
        type=TYPE,
        number=number,
        sides=(sides[0], sides[1]),
        currencies=given["currencies"],
        rounding=RoundingClause(given["rounding.decimals"], given["rounding.mode"], given["rounding.level"]),
        tolerance=given["tolerance"],
        dispute_above=given["dispute_above"],
        dispute_days=given["dispute_days"],
        final_days=given["final_days"],
        offline=OfflineClause(given["offline.cost"], given["offline.kwh"], given["offline.liability"]),
        retention=RetentionClause(given["retention.records_years"]),
        valid_from=given["valid_from"],
        valid_until=given["valid_until"],
    )


def _side(given: Clauses, side: str, endpoint_id: str) -> Side:
    names = [name for name in Side.__struct_fields__ if name != "endpoint_id"]
    return Side(endpoint_id, *(given[f"{side}.{name}"] for name in names))


OF_A_DOCUMENT: Final = (
    "our_roles", "their_roles", "parties", "evse_prefixes", "contract_prefixes", "feeds_out", "feeds_in",
    "services_out", "services_in", "records_out", "records_in", "unknown_cards_per_minute", "terms", "number",
)  # fmt: skip
"""The settings that a signed document decides. All others are each side's own affair."""


def projected(document: AgreementDocument, ours: int, onto: Agreement) -> Agreement:
    """The settings that a signed document means for its side number `ours`; what stands in no document stays."""
    us, them = document.sides[ours], document.sides[1 - ours]
    meant = Agreement(
        our_roles=us.roles,
        their_roles=them.roles,
        parties=them.parties,
        evse_prefixes=them.evse_prefixes,
        contract_prefixes=them.contract_prefixes,
        feeds_out=us.feeds,
        feeds_in=them.feeds,
        services_out=us.services,
        services_in=them.services,
        records_out=us.records,
        records_in=them.records,
        unknown_cards_per_minute=them.unknown_cards_per_minute,
        terms=_terms(document),
        number=document.number,
    )
    return with_rights_of(meant, onto)


def with_rights_of(meant: Agreement, onto: Agreement) -> Agreement:
    """`onto` with all of `meant` that a document decides."""
    return msgspec.structs.replace(onto, **{name: getattr(meant, name) for name in OF_A_DOCUMENT})


def _terms(document: AgreementDocument) -> Terms:
    rounding, offline = document.rounding, document.offline
    return Terms(
        dispute_days=document.dispute_days,
        final_days=document.final_days,
        rounding=Rounding(rounding.decimals, rounding.mode, rounding.level),
        tolerance=document.tolerance,
        dispute_above=document.dispute_above,
        currencies=document.currencies,
        offline_cost=offline.cost,
        offline_kwh=offline.kwh,
        offline_liability=offline.liability,
        records_years=document.retention.records_years,
    )
