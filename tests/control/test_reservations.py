"""Reservations, now, in advance and to park: asked for, shown to their home-CSP alone, and settled."""

import json
from typing import Any

import pytest

from roamd.model.objects import check_record
from roamd.roaming import operations as op
from roamd.roaming.ports import CommandResult
from tests.control.commanding import AT, LOCATION, TOKEN, command, linked, put, sees, session_body, until_state
from tests.support.endpoints import Endpoint, Neighbourhood, until

TOMORROW, LATER = "2026-11-23T08:00:00Z", "2026-11-23T10:00:00Z"
ASK = {
    "token": TOKEN,
    "reservation_id": "R-1",
    "kind": "PARKING",
    "location_id": "LOC1",
    "parking_id": "P-1",
    "start_date_time": TOMORROW,
    "end_date_time": LATER,
}


def reservation(status: str, **changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": "R-1",
        "kind": "PARKING",
        "status": status,
        "cdr_token": session_body()["cdr_token"],
        "location_id": "LOC1",
        "parking_id": "P-1",
        "start_date_time": TOMORROW,
        "end_date_time": LATER,
        "price": 4.00,
        "last_updated": AT,
        **changes,
    }


def status_at(csp: Endpoint, cso: Endpoint) -> str | None:
    seen: list[Any] = []
    csp.core.operations.handle(op.GetPeerObject(csp.peer(cso).label, "reservations", "R-1"), seen.append)
    return str(json.loads(seen[0].body)["status"]) if isinstance(seen[0], op.StoredObject) else None


async def test_a_place_is_reserved_for_tomorrow_and_given_up_again(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        made = await command(csp, "RESERVE", ASK)
        assert (made.state, made.authorization_reference) == ("ACCEPTED", made.command_id)
        await put(cso, "reservations", reservation("PENDING"))
        await until(lambda: status_at(csp, cso) == "PENDING")
        await put(cso, "reservations", reservation("RESERVED"))
        await until_state(csp, made.command_id, "DONE")
        cancelled = await command(csp, "CANCEL_RESERVATION", {"reservation_id": "R-1"})
        await put(cso, "reservations", reservation("CANCELED"))
        await until_state(csp, cancelled.command_id, "DONE")
        assert status_at(csp, cso) == "CANCELED"


@pytest.mark.parametrize("is_published", [True, False])
async def test_a_reservation_of_one_csp_is_neither_told_to_nor_cancelled_by_another_that_asked_for_the_same_id(
    is_published: bool, autojump_clock: object
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        other = await hood.endpoint("NL*OTH", "csp")
        await hood.pair(cso, other)
        await hood.until_linked(cso, other)
        its_own = {**TOKEN, "country_code": "NL", "party_id": "OTH", "contract_id": "NL-OTH-C00000042"}
        made = await command(csp, "RESERVE", ASK)
        cso.backend.carry_out = lambda question: CommandResult("ACCEPTED" if is_published else "REJECTED")
        label = other.peer(cso).label
        same = await command(other, "RESERVE", ASK | {"token": its_own}, peer=label)
        if is_published:
            await put(cso, "reservations", reservation("RESERVED"))
            await until_state(csp, made.command_id, "DONE")
        cancelled = await command(other, "CANCEL_RESERVATION", {"reservation_id": "R-1"}, peer=label)
        assert (same.state, cancelled.result) == ("ACCEPTED" if is_published else "REJECTED", "REFUSED")
        told = await cso.ask(op.ListCommands(direction="in"))
        assert [one.state for one in told.items] == [made.state if not is_published else "DONE", same.state]


async def test_what_cannot_be_reserved_has_failed(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        made = await command(csp, "RESERVE", ASK)
        await put(cso, "reservations", reservation("FAILED"))
        await until_state(csp, made.command_id, "FAILED")


async def test_a_reservation_is_shown_to_its_home_csp_alone(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        other = await hood.endpoint("NL*OTH", "csp")
        await hood.pair(cso, other)
        await hood.until_linked(cso, other)
        await put(cso, "reservations", reservation("RESERVED"))
        await put(cso, "locations", LOCATION | {"id": "LOC2"})
        await until(lambda: sees(csp, cso, "reservations", "R-1") and sees(other, cso, "locations", "LOC2"))
        assert not sees(other, cso, "reservations", "R-1")


async def test_its_price_is_settled_by_a_record_of_its_own(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        made = await command(csp, "RESERVE", ASK)
        sdr = {
            "kind": "SDR",
            **{name: reservation("FULFILLED")[name] for name in ("country_code", "party_id", "cdr_token")},
            "id": "SDR-1",
            "authorization_reference": made.command_id,
            "start_date_time": TOMORROW,
            "end_date_time": LATER,
            "currency": "EUR",
            "items": [{"type": "reservation", "quantity": 2, "unit": "h", "price": 2.00}],
            "total_cost": 4.00,
            "last_updated": AT,
        }
        record = check_record("2.3.0", json.dumps(sdr).encode(), own_parties=frozenset({"DEABC"}))
        (taken,) = await cso.ask(op.PostRecords((record,)))
        assert taken.peer == cso.peer(csp).label
        await until(lambda: command_of_record(csp) == made.command_id)


def command_of_record(csp: Endpoint) -> str | None:
    seen: list[Any] = []
    csp.core.operations.handle(op.GetRecord("SDR-1"), seen.append)
    return seen[0].command_id if isinstance(seen[0], op.RecordReply) else None
