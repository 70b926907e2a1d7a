"""Reservations that an OCPI backend takes on by command, shown to the partner as objects of feed `reservations`.

OCPI has a reservation only as a command and its result; a later CANCELED_RESERVATION comes to the same address. In
roamd a reservation is an object that has a status. So the object is published (PENDING) before the backend is asked,
taken back when it says no, and its status follows the results.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.envelope import encode
from roamd.clock import rfc3339
from roamd.errors import Malformed, NotFound, RoamdError
from roamd.log import get_logger
from roamd.model.objects import check_object
from roamd.roaming.operations import DeleteObject, GetObject, PatchObject, PutObject, StoredObject
from roamd.roaming.ports import CommandQuestion, CommandResult, NoAnswer

log = get_logger(room="backend")

FEED: Final = "reservations"
OCPI: Final = "2.3.0"
STATUS: Final = {"ACCEPTED": "RESERVED", "CANCELED_RESERVATION": "CANCELED"}
"""What the result of RESERVE_NOW makes of a reservation; any other makes it FAILED."""

_TOKEN: Final = ("country_code", "party_id", "uid", "type", "contract_id")


@dataclass(slots=True)
class Taken:
    """What the backend said; None while it said nothing."""

    result: CommandResult | NoAnswer | None = None


@dataclass(slots=True)
class Reserved:
    """Publishes them."""

    api: Api

    @contextlib.asynccontextmanager
    async def while_asking(self, question: CommandQuestion) -> AsyncIterator[Taken]:
        """Around the question to the backend, whose answer is put into what is yielded."""
        taken = Taken()
        if question.command != "RESERVE_NOW":
            yield taken
            return
        body: dict[str, Any] = msgspec.json.decode(question.body)
        before = await self._find(body["reservation_id"])
        party = await self._begin(body)
        try:
            yield taken
        finally:
            refused = isinstance(taken.result, CommandResult) and taken.result.result != "ACCEPTED"
            if party is not None and (refused or (isinstance(taken.result, NoAnswer) and not taken.result.asked)):
                await self._undo(body["reservation_id"], party, before)

    async def came(self, reservation_id: str, result: str) -> None:
        """A result for it."""
        await self._set(reservation_id, STATUS.get(result, "FAILED"))

    async def canceled(self, reservation_id: str) -> None:
        """Its cancellation was accepted."""
        await self._set(reservation_id, "CANCELED")

    async def _begin(self, body: dict[str, Any]) -> str | None:
        """The party that has it now; None when it cannot be shown."""
        now = rfc3339(self.api.clock.now_ms())
        party = await self._owner(body["location_id"])
        shown = {
            "country_code": party[:2],
            "party_id": party[2:],
            "id": body["reservation_id"],
            "kind": "NOW",
            "status": "PENDING",
            "cdr_token": {name: body["token"][name] for name in _TOKEN},
            "location_id": body["location_id"],
            "start_date_time": now,
            "end_date_time": body["expiry_date"],
            "last_updated": now,
        }
        shown |= {name: body[name] for name in ("evse_uid", "authorization_reference") if body.get(name) is not None}
        try:
            checked = check_object(FEED, OCPI, encode(shown), own_parties=self.api.own_parties)
            await self.api.core.ask(PutObject(FEED, checked))
        except (Malformed, RoamdError) as error:
            log.warning("ocpi_reservation_not_shown", code=error.code)
            return None
        return party

    async def _owner(self, location_id: str) -> str:
        """The party whose location it is."""
        try:
            stored: StoredObject = await self.api.core.ask(GetObject("locations", location_id))
        except RoamdError:
            return min(self.api.own_parties)
        body = msgspec.json.decode(stored.body)
        party: str = (body["country_code"] + body["party_id"]).upper()
        return party

    async def _undo(self, reservation_id: str, party: str, before: StoredObject | None) -> None:
        """As it was before the backend was asked."""
        with contextlib.suppress(RoamdError):
            if before is None:
                await self.api.core.ask(DeleteObject(FEED, reservation_id, party))
            else:
                checked = check_object(FEED, before.ocpi, before.body, own_parties=self.api.own_parties)
                await self.api.core.ask(PutObject(FEED, checked))

    async def _find(self, reservation_id: str) -> StoredObject | None:
        try:
            stored: StoredObject = await self.api.core.ask(GetObject(FEED, reservation_id))
        except RoamdError:
            return None
        return stored

    async def _set(self, reservation_id: str, status: str) -> None:
        stamp = rfc3339(self.api.clock.now_ms())
        patch = encode({"status": status, "last_updated": stamp})
        with contextlib.suppress(NotFound):
            await self.api.core.ask(PatchObject(FEED, reservation_id, patch, OCPI))
