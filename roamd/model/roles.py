"""Who publishes, asks and records what: the three tables of DESIGN section 3. A new service is a new row."""

from dataclasses import dataclass
from typing import Final

CSO: Final = "cso"
CSP: Final = "csp"
CLEARING_HOUSE: Final = "clearing-house"
"""Relays between two others, and has no part in what it relays: no row below names it."""

ROLES: Final = (CSO, CSP, CLEARING_HOUSE)


@dataclass(frozen=True, slots=True)
class FeedKind:
    """A set of keyed objects that one side publishes and the other mirrors. `number` names it on the wire."""

    name: str
    number: int
    publisher_role: str
    follower_role: str
    object_class: str


@dataclass(frozen=True, slots=True)
class ServiceKind:
    """A live question. `acts` means that it changes something at a station, so asking is committed first.

    A row with a `body_class` is a command of the API: it carries a body of that class as its backend wrote it.
    """

    name: str
    number: int
    asker_role: str
    answerer_role: str
    acts: bool = False
    body_class: str = ""

    @property
    def command(self) -> str:
        """Its name at the API: START_SESSION for start-session."""
        return self.name.upper().replace("-", "_")


@dataclass(frozen=True, slots=True)
class RecordKind:
    """What a ledger entry's body may be. `number` is the entry kind on the wire and in the hash."""

    name: str
    number: int
    author_role: str
    receiver_role: str


FEEDS: Final[dict[str, FeedKind]] = {
    row.name: row
    for row in (
        FeedKind("locations", 1, CSO, CSP, "Location"),
        FeedKind("evse-status", 2, CSO, CSP, "EvseStatus"),
        FeedKind("tariffs", 3, CSO, CSP, "Tariff"),
        FeedKind("sessions", 4, CSO, CSP, "Session"),
        FeedKind("user-credentials", 5, CSP, CSO, "Token"),
        FeedKind("commands", 6, CSO, CSP, "CommandState"),
        FeedKind("session-leases", 7, CSO, CSP, "SessionLease"),
        FeedKind("reservations", 8, CSO, CSP, "Reservation"),
        FeedKind("grants", 9, CSP, CSO, "Grant"),
        FeedKind("credential-filter", 10, CSP, CSO, "CredentialFilter"),
    )
}

SERVICES: Final[dict[str, ServiceKind]] = {
    row.name: row
    for row in (
        ServiceKind("authorization", 1, CSO, CSP),
        ServiceKind("start-session", 16, CSP, CSO, acts=True, body_class="StartSession"),
        ServiceKind("stop-session", 17, CSP, CSO, acts=True, body_class="StopSession"),
        ServiceKind("unlock-connector", 18, CSP, CSO, acts=True, body_class="UnlockConnector"),
        ServiceKind("reserve-now", 19, CSP, CSO, acts=True, body_class="ReserveNow"),
        ServiceKind("cancel-reservation", 20, CSP, CSO, acts=True, body_class="CancelReservation"),
        ServiceKind("set-charging-profile", 21, CSP, CSO, acts=True, body_class="ProfileSetting"),
        ServiceKind("clear-charging-profile", 22, CSP, CSO, acts=True, body_class="ProfileClearing"),
        ServiceKind("get-active-profile", 23, CSP, CSO, acts=True, body_class="ProfileQuestion"),
        ServiceKind("session-question", 24, CSP, CSO),
        ServiceKind("reserve", 25, CSP, CSO, acts=True, body_class="ReservationAsk"),
        ServiceKind("set-charging-preferences", 26, CSP, CSO, acts=True, body_class="PreferencesSetting"),
    )
}

RECORD_KINDS: Final[dict[str, RecordKind]] = {
    row.name: row
    for row in (
        RecordKind("CDR", 1, CSO, CSP),
        RecordKind("SDR", 2, CSO, CSP),
    )
}

FEED_BY_NUMBER: Final = {row.number: row for row in FEEDS.values()}
SERVICE_BY_NUMBER: Final = {row.number: row for row in SERVICES.values()}
COMMANDS: Final = {row.command: row for row in SERVICES.values() if row.body_class}
RECORD_KIND_BY_NUMBER: Final = {row.number: row for row in RECORD_KINDS.values()}
