"""Two cores with a link, and what the tests of commands do with them."""

import json
from typing import Any

import msgspec

from roamd.model.commands import check_command
from roamd.model.objects import check_object
from roamd.roaming import operations as op
from tests.support.endpoints import Endpoint, Neighbourhood, until

AT = "2026-11-22T10:00:00Z"
REFERENCE = "REF-0001"

TOKEN = {
    "country_code": "FR",
    "party_id": "XYZ",
    "uid": "04E2A1B2C3D480",
    "type": "APP_USER",
    "contract_id": "FR-XYZ-C00000042-W",
    "issuer": "XYZ",
    "valid": True,
    "whitelist": "NEVER",
    "last_updated": AT,
}

LOCATION = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "LOC1",
    "publish": True,
    "address": "Long Street 3",
    "city": "Sometown",
    "country": "DEU",
    "coordinates": {"latitude": "51.047599", "longitude": "13.729944"},
    "time_zone": "Europe/Berlin",
    "last_updated": AT,
}


def start_body(**changes: Any) -> dict[str, Any]:
    return {"token": TOKEN, "location_id": "LOC1", "evse_uid": "E1", "authorization_reference": REFERENCE, **changes}


def session_body(session_id: str = "S1", reference: str | None = REFERENCE, **changes: Any) -> dict[str, Any]:
    own = ("country_code", "party_id", "uid", "type", "contract_id")
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": session_id,
        "start_date_time": AT,
        "kwh": 0.0,
        "cdr_token": {name: TOKEN[name] for name in own},
        "auth_method": "COMMAND",
        **({"authorization_reference": reference} if reference else {}),
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": AT,
        **changes,
    }


async def put(endpoint: Endpoint, feed: str, body: dict[str, Any]) -> None:
    """Its backend publishes an object."""
    own = frozenset({endpoint.party})
    await endpoint.ask(op.PutObject(feed, check_object(feed, "2.3.0", json.dumps(body).encode(), own_parties=own)))


async def command(csp: Endpoint, name: str, body: dict[str, Any], **options: Any) -> op.CommandReply:
    """The home-CSP's backend asks for something."""
    checked = check_command(name, "2.3.0", json.dumps(body).encode())
    reply: op.CommandReply = await csp.ask(op.SendCommand(checked, **options))
    return reply


async def shown(endpoint: Endpoint, command_id: str) -> op.CommandReply:
    """How a command stands at this side."""
    reply: op.CommandReply = await endpoint.ask(op.GetCommand(command_id))
    return reply


def state_at(endpoint: Endpoint, command_id: str) -> tuple[str, str | None]:
    """The same at once: state and reason."""
    seen: list[Any] = []
    endpoint.core.operations.handle(op.GetCommand(command_id), seen.append)
    return (seen[0].state, seen[0].reason) if isinstance(seen[0], op.CommandReply) else ("", None)


async def until_state(endpoint: Endpoint, command_id: str, *state: str) -> None:
    """Until a command stands so (state, or state and reason)."""
    await until(lambda: state_at(endpoint, command_id)[: len(state)] == state)


def events_at(endpoint: Endpoint, kind: str = "command.state") -> list[dict[str, Any]]:
    """What its backend was told, oldest first."""
    pages: list[op.EventPage] = []
    endpoint.core.operations.handle(op.ReadEvents(None, 1000), pages.append)
    return [msgspec.json.decode(event.data) for event in pages[0].items if event.type == kind]


async def linked(hood: Neighbourhood) -> tuple[Endpoint, Endpoint]:
    """A CSO with one location, and a CSP that sees it."""
    cso, csp = await hood.linked()
    await put(cso, "locations", LOCATION)
    await until(lambda: sees(csp, cso, "locations", "LOC1"))
    return cso, csp


def sees(here: Endpoint, there: Endpoint, feed: str, object_id: str) -> bool:
    """Whether a peer's object has arrived."""
    seen: list[Any] = []
    here.core.operations.handle(op.GetPeerObject(here.peer(there).label, feed, object_id), seen.append)
    return isinstance(seen[0], op.StoredObject)
