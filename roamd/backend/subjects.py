"""Drivers who ask what is held of them, or to be forgotten. Their numbers ride in bodies, never in a URL."""

import msgspec
from aiohttp import web

from roamd.backend.context import Api
from roamd.backend.requests import decode_strictly, value_answer
from roamd.backend.routes import IDEMPOTENCY_KEY, Answer, Body, Route
from roamd.roaming.operations import EraseSubject, ExportSubject, ListErasures


class SubjectIn(msgspec.Struct, frozen=True):
    """Named by type and uid (without a type: an RFID card), by contract id, or by both."""

    type: str | None = None
    uid: str | None = None
    contract_id: str | None = None


class ErasureIn(SubjectIn, frozen=True):
    """`keep_records`: all but service records. `force`: whatever stands against it."""

    keep_records: bool = False
    force: bool = False


class Subjects:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def export(self, request: web.Request) -> web.Response:
        """Everything that is held of a driver."""
        asked = decode_strictly(await request.read(), SubjectIn)
        return value_answer(await self._api.core.ask(ExportSubject(asked.type, asked.uid, asked.contract_id)))

    async def erase(self, request: web.Request) -> web.Response:
        """Forget him."""
        asked = decode_strictly(await request.read(), ErasureIn)
        operation = EraseSubject(asked.type, asked.uid, asked.contract_id, asked.keep_records, asked.force)
        return value_answer(await self._api.core.ask(operation))

    async def erasures(self, request: web.Request) -> web.Response:
        """What peers answered."""
        items = await self._api.core.ask(ListErasures(request.match_info.get("request")))
        return value_answer({"items": items, "next": None})

    def routes(self) -> list[Route]:
        """The table's rows."""
        tag, card = "drivers", {"type": "RFID", "uid": "04A1B2C3D4E5F6"}
        told = (Answer(200, "By request and peer.", "ErasurePage"),)
        return [
            Route("POST", "/v1/subjects/export", self.export, tag, "Everything that is held of a driver.",
                  (Answer(200, "What it says, and where it stands.", "SubjectExport"),), Body("Subject", card)),
            Route("POST", "/v1/subjects/erase", self.erase, tag,
                  "Forget a driver, and ask the peers to; 409 while something stands against it.",
                  (Answer(200, "What was erased, and where it still is.", "SubjectErasure"),),
                  Body("ErasureRequest", card | {"keep_records": True}), (IDEMPOTENCY_KEY,), remembered=True),
            Route("GET", "/v1/subjects/erasures", self.erasures, tag, "What peers were asked to erase, and answered.",
                  told),
            Route("GET", "/v1/subjects/erasures/{request}", self.erasures, tag, "The same of one request.", told,
                  example={"request": "0123456789abcdef"}),
        ]  # fmt: skip
