"""The few fields of each object that roamd decides on, typed. Made of checked bodies only, and never encoded back."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from roamd.model.credentials import UserCredential, canonical_uid
from roamd.model.grants import grant_view
from roamd.model.ids.party import party_of
from roamd.model.keys import fold
from roamd.model.ocpi.good import Fields
from roamd.model.personal import masked
from roamd.model.times import time_ms


class LocationView(msgspec.Struct, frozen=True):
    """`evse_uids` are folded, in the body's order."""

    publish: bool
    evse_uids: tuple[str, ...]
    last_updated_ms: int


class TariffView(msgspec.Struct, frozen=True):
    """A tariff is only passed on."""

    currency: str
    last_updated_ms: int


class SessionView(msgspec.Struct, frozen=True):
    """Whose session it is and where. `token_party` is canonical, empty when the two fields make no party."""

    status: str
    location_id: str
    evse_uid: str
    token_party: str
    token_type: str
    token_uid: str
    contract_id: str
    authorization_reference: str | None
    last_updated_ms: int
    kwh: Decimal = Decimal(0)

    def __repr__(self) -> str:
        return f"SessionView({self.status} {self.location_id} {self.token_party} {masked(self.token_uid)})"


class EvseStatusView(msgspec.Struct, frozen=True):
    """An EVSE's state of the moment."""

    status: str
    last_updated_ms: int


class CommandStateView(msgspec.Struct, frozen=True):
    """How far a command has come at the visited-CSO; `command_id` is in lower case."""

    command_id: str
    state: str
    reason: str | None
    session_id: str | None


class ReservationView(msgspec.Struct, frozen=True):
    """Whose reservation it is and how it stands. `token_party` is as in SessionView."""

    status: str
    location_id: str
    token_party: str
    contract_id: str
    authorization_reference: str | None
    last_updated_ms: int


class SessionLeaseView(msgspec.Struct, frozen=True):
    """Until when a session is held, by its operator's clock."""

    lease_until_ms: int


def location_view(body: Fields) -> LocationView:
    """Of a checked Location."""
    uids = tuple([fold(evse["uid"]) for evse in body.get("evses") or ()])
    return LocationView(body["publish"], uids, time_ms(body["last_updated"]))


def tariff_view(body: Fields) -> TariffView:
    """Of a checked Tariff."""
    return TariffView(body["currency"], time_ms(body["last_updated"]))


def session_view(body: Fields) -> SessionView:
    """Of a checked Session."""
    token = body["cdr_token"]
    return SessionView(
        status=body["status"],
        location_id=body["location_id"],
        evse_uid=body["evse_uid"],
        token_party=token_party(token),
        token_type=token["type"],
        token_uid=token["uid"],
        contract_id=token["contract_id"],
        authorization_reference=body.get("authorization_reference"),
        last_updated_ms=time_ms(body["last_updated"]),
        kwh=Decimal(str(body["kwh"])),
    )


def user_credential_view(body: Fields) -> UserCredential:
    """Of a checked Token with a party that is one."""
    return UserCredential(
        party=token_party(body),
        type=fold(body["type"]),
        uid=canonical_uid(body["type"], body["uid"]),
        contract_id=body["contract_id"],
        valid=body["valid"],
        whitelist=body["whitelist"],
        group_id=body.get("group_id"),
        last_updated_ms=time_ms(body["last_updated"]),
    )


def evse_status_view(body: Fields) -> EvseStatusView:
    """Of a checked EvseStatus."""
    return EvseStatusView(body["status"], time_ms(body["last_updated"]))


def command_state_view(body: Fields) -> CommandStateView:
    """Of a checked CommandState."""
    return CommandStateView(body["id"].lower(), body["state"], body.get("reason"), body.get("session_id"))


def reservation_view(body: Fields) -> ReservationView:
    """Of a checked Reservation."""
    token = body["cdr_token"]
    return ReservationView(
        status=body["status"],
        location_id=body["location_id"],
        token_party=token_party(token),
        contract_id=token["contract_id"],
        authorization_reference=body.get("authorization_reference"),
        last_updated_ms=time_ms(body["last_updated"]),
    )


def session_lease_view(body: Fields) -> SessionLeaseView:
    """Of a checked SessionLease."""
    return SessionLeaseView(time_ms(body["lease_until"]))


def token_party(token: Fields) -> str:
    """The canonical party that issued a token; empty when its two fields make none."""
    return party_of(token["country_code"], token["party_id"]) or ""


def no_view(_: object) -> None:
    """Of what is decided on as a whole, by those who read it."""


VIEWS: Final[dict[str, Callable[[Fields], object]]] = {
    "Location": location_view,
    "Tariff": tariff_view,
    "Session": session_view,
    "Token": user_credential_view,
    "EvseStatus": evse_status_view,
    "CommandState": command_state_view,
    "SessionLease": session_lease_view,
    "CredentialFilter": no_view,
    "Reservation": reservation_view,
    "Grant": grant_view,
}
