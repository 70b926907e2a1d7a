"""The journal of decisions, for the operator: who was let in or refused, on whose word, and from what."""

from aiohttp import web

from roamd.backend.context import Api
from roamd.backend.requests import encode, json_answer, page_after, page_limit, page_text, peer_parameter
from roamd.backend.routes import AFTER, LIMIT, PEER, Answer, Parameter, Route
from roamd.roaming.operations import ListDecisions, Page


class Decisions:
    """The handler and its route."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def page(self, request: web.Request) -> web.Response:
        """A page of decisions."""
        asked = ListDecisions(
            page_after(request),
            page_limit(request),
            peer_parameter(request),
            request.query.get("authorization_id", "").lower() or None,
            newest=request.query.get("newest") == "true",
        )
        page: Page = await self._api.core.ask(asked)
        return json_answer(page_text(map(encode, page.items), page.next))

    def routes(self) -> list[Route]:
        """The table's rows."""
        return [
            Route("GET", "/v1/decisions", self.page, "authorizations",
                  "The journal of decisions, oldest first. It names drivers, unless they were erased.",
                  (Answer(200, "A page.", "DecisionPage"),),
                  parameters=(AFTER, LIMIT, PEER, _AUTHORIZATION, _NEWEST)),
        ]  # fmt: skip


_AUTHORIZATION = Parameter("authorization_id", "Only what was decided under this id.")
_NEWEST = Parameter(
    "newest", "`true`: without `after`, the page begins with the newest `limit`.", {"type": "string", "enum": ["true"]}
)
