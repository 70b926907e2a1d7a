"""`/v1/records/{id}/accept, dispute, final, credit`: what becomes of a record once both sides have it."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from roamd.backend.context import Api
from roamd.backend.examples import CREDIT, SERVICE_RECORD
from roamd.backend.requests import decode_strictly, fault, ocpi_version, party_parameter, value_answer
from roamd.backend.routes import IDEMPOTENCY_KEY, OCPI_VERSION, PARTY, Answer, Body, Route
from roamd.model.jsontext import compact, member, tree
from roamd.model.lifecycle import ACCEPTED, DISPUTED, FINAL
from roamd.model.objects import CheckedRecord, check_record
from roamd.roaming.operations import CreditRecord, JudgeRecord

_Text = Annotated[str, Meta(max_length=2000)]
_Line = Annotated[str, Meta(max_length=500)]


class _Note(msgspec.Struct, frozen=True):
    detail: _Text = ""


class _Dispute(msgspec.Struct, frozen=True):
    """`reason` is a short word: price, energy, duration, unknown-session, double, ..."""

    reason: Annotated[str, Meta(min_length=1, max_length=64)]
    detail: _Text = ""
    evidence: Annotated[list[_Line], Meta(max_length=100)] = []


DISPUTE: Final = {
    "reason": "price",
    "detail": "The tariff that you publish makes 2.50.",
    "evidence": ["tariff T1 element 0: 1.5 h x 1.6667 = 2.50 EUR before taxes"],
}


class Lifecycle:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def accept(self, request: web.Request) -> web.Response:
        """Accept a received record."""
        return await self._judge(request, ACCEPTED)

    async def final(self, request: web.Request) -> web.Response:
        """Close a received record before its time."""
        return await self._judge(request, FINAL)

    async def _judge(self, request: web.Request, word: str) -> web.Response:
        data = await request.read()
        note = decode_strictly(data, _Note) if data else _Note()
        asked = JudgeRecord(request.match_info["id"], word, party_parameter(request), detail=note.detail)
        return value_answer(await self._api.core.ask(asked))

    async def dispute(self, request: web.Request) -> web.Response:
        """Dispute a received record."""
        said = decode_strictly(await request.read(), _Dispute)
        asked = JudgeRecord(
            request.match_info["id"], DISPUTED, party_parameter(request), said.reason, said.detail, tuple(said.evidence)
        )
        return value_answer(await self._api.core.ask(asked))

    async def credit(self, request: web.Request) -> web.Response:
        """Credit an own record, and replace it when there is a replacement."""
        data, ocpi = compact(await request.read()), ocpi_version(request)
        if not isinstance(tree(data), dict):
            raise fault("$", "must be an object with `credit`, and `replacement` if there is one", "type")
        credit = self._part(data, "credit", ocpi)
        if credit is None:
            raise fault("$.credit", "is missing", "missing")
        replacement = self._part(data, "replacement", ocpi)
        asked = CreditRecord(request.match_info["id"], credit, replacement, party_parameter(request))
        return value_answer(await self._api.core.ask(asked))

    def _part(self, data: bytes, name: str, ocpi: str) -> CheckedRecord | None:
        text = member(data, name)
        if text is None or text == b"null":
            return None
        return check_record(ocpi, text, own_parties=self._api.own_parties, at=f"$.{name}")

    def routes(self) -> list[Route]:
        """The table's rows."""
        answers = (Answer(200, "Where the record stands now; committed, and on its way to the partner.", "Record"),)
        one = {"id": SERVICE_RECORD["id"]}
        judged = (
            ("accept", self.accept, "Accept a received record; it cannot be disputed afterwards.", "Note"),
            ("final", self.final, "Close a received record; by itself that happens after `terms.final_days`.", "Note"),
            ("dispute", self.dispute, "Dispute a received record, within `terms.dispute_days`.", "Dispute"),
            ("credit", self.credit, "Credit an own record, alone or with a replacement; all or nothing.", "Credit"),
        )
        examples = {"Note": {"detail": "checked"}, "Dispute": DISPUTE, "Credit": {"credit": CREDIT}}
        return [
            Route(
                "POST",
                f"/v1/records/{{id}}/{name}",
                handler,
                "records",
                text,
                answers,
                Body(schema, examples[schema]),
                (PARTY, OCPI_VERSION, IDEMPOTENCY_KEY) if name == "credit" else (PARTY, IDEMPOTENCY_KEY),
                one,
                remembered=True,
            )
            for name, handler, text, schema in judged
        ]
