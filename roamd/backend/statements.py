"""`/v1/peers/{peer}/reconcile` and `/v1/peers/{peer}/statements/{month}`: what the clerk of a month asks."""

from typing import Final

import msgspec
from aiohttp import web

from roamd.backend.context import Api
from roamd.backend.requests import decode_or_default, peer_in_path, value_answer
from roamd.backend.routes import IDEMPOTENCY_KEY, Answer, Body, Parameter, Route
from roamd.roaming.operations import GetStatement, ListStatements, ReconcilePeer, SignStatement

_LINES: Final = Parameter("lines", "`true`: with the list of the records.", {"type": "string", "enum": ["true"]})
_COMPARE: Final = Parameter(
    "compare",
    "`true`: where the peer signed another statement, ask it for its list and name the records that differ.",
    {"type": "string", "enum": ["true"]},
)


class SignIn(msgspec.Struct, frozen=True):
    """`root`: sign only if the statement still has it, as it was shown."""

    root: str | None = None


class Statements:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def reconcile(self, request: web.Request) -> web.Response:
        """Hold both sides' records against each other, and put right what either lost."""
        return value_answer(await self._api.core.ask(ReconcilePeer(peer_in_path(request))))

    async def months(self, request: web.Request) -> web.Response:
        """The months that have records with a peer."""
        items = await self._api.core.ask(ListStatements(peer_in_path(request)))
        return value_answer({"items": items, "next": None})

    async def get(self, request: web.Request) -> web.Response:
        """The statement as it is now, and who signed it."""
        lines, compare = (request.query.get(name) == "true" for name in ("lines", "compare"))
        asked = GetStatement(peer_in_path(request), request.match_info["month"], lines, compare)
        return value_answer(await self._api.core.ask(asked))

    async def sign(self, request: web.Request) -> web.Response:
        """Sign it."""
        root = (await decode_or_default(request, SignIn)).root
        asked = SignStatement(peer_in_path(request), request.match_info["month"], root)
        return value_answer(await self._api.core.ask(asked))

    def routes(self) -> list[Route]:
        """The table's rows."""
        tag, one = "statements", {"peer": "xyz", "month": "2026-10"}
        path = "/v1/peers/{peer}/statements"
        answer = (Answer(200, "The statement, and who signed it.", "Statement"),)
        return [
            Route("POST", "/v1/peers/{peer}/reconcile", self.reconcile, tag,
                  "Hold both sides' records against each other; what either lost comes back, on both sides.",
                  (Answer(200, "What differed, and what came of it.", "Reconciliation"),),
                  parameters=(IDEMPOTENCY_KEY,), example={"peer": "xyz"}, remembered=True),
            Route("GET", path, self.months, tag, "The months that have records with a peer.",
                  (Answer(200, "All.", "StatementPage"),), example={"peer": "xyz"}),
            Route("GET", f"{path}/{{month}}", self.get, tag,
                  "What the two owe each other for a month, by kind and tax: the same bytes on both sides.",
                  answer, parameters=(_LINES, _COMPARE), example=one),
            Route("POST", f"{path}/{{month}}", self.sign, tag,
                  "Sign a month's statement as it is now; it goes to the peer as surely as a record.",
                  answer, Body("SignStatement", {}, required=False), (IDEMPOTENCY_KEY,), one, remembered=True),
        ]  # fmt: skip
