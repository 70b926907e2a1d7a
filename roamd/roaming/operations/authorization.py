"""Asking whether a driver may charge, and what was decided."""

from dataclasses import dataclass
from typing import Any

import msgspec

from roamd.roaming.operations.general import Idempotency


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
