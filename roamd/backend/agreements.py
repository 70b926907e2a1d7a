"""`/v1/peers/{peer}/agreement`: what rules with a partner, what was proposed, and the operator's word on it."""

from typing import Annotated, Any, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from roamd.backend.context import Api
from roamd.backend.requests import decode_or_default, fault, peer_in_path, value_answer
from roamd.backend.routes import IDEMPOTENCY_KEY, Answer, Body, Route
from roamd.roaming.operations import AnswerAgreement, GetAgreement, ListAgreements, ProposeAgreement


class ProposalIn(msgspec.Struct, frozen=True):
    """Clauses by their names. `add` and `remove` change lists; `check`: only look."""

    clauses: dict[str, Any] = {}
    add: dict[str, Any] = {}
    remove: dict[str, Any] = {}
    base: Literal["preset", "agreement"] | None = None
    check: bool = False


class DeclineIn(msgspec.Struct, frozen=True):
    """A sentence for the partner."""

    reason: Annotated[str, Meta(max_length=500)] = ""


PROPOSAL: Final[dict[str, Any]] = {
    "clauses": {
        "currencies": ["EUR"],
        "dispute_days": 45,
        "offline.cost": "50.00",
        "valid_until": "2028-12-31T00:00:00Z",
    },
    "remove": {"them.services": ["unlock-connector"]},
}


class Agreements:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def show(self, request: web.Request) -> web.Response:
        """What rules today."""
        return value_answer(await self._api.core.ask(GetAgreement(peer_in_path(request))))

    async def one(self, request: web.Request) -> web.Response:
        """One document with its proof."""
        return value_answer(await self._api.core.ask(GetAgreement(peer_in_path(request), _number(request))))

    async def history(self, request: web.Request) -> web.Response:
        """Every document."""
        page = await self._api.core.ask(ListAgreements(peer_in_path(request)))
        return value_answer({"items": page.items, "next": page.next})

    async def propose(self, request: web.Request) -> web.Response:
        """Propose, or only look what a proposal would change."""
        asked = await decode_or_default(request, ProposalIn)
        operation = ProposeAgreement(
            peer_in_path(request), asked.clauses, asked.add, asked.remove, asked.base, asked.check
        )
        return value_answer(await self._api.core.ask(operation), 200 if asked.check else 201)

    async def accept(self, request: web.Request) -> web.Response:
        """Sign a peer's proposal."""
        return value_answer(
            await self._api.core.ask(AnswerAgreement(peer_in_path(request), _number(request), accept=True))
        )

    async def decline(self, request: web.Request) -> web.Response:
        """Decline a peer's proposal."""
        asked = await decode_or_default(request, DeclineIn)
        operation = AnswerAgreement(peer_in_path(request), _number(request), accept=False, reason=asked.reason)
        return value_answer(await self._api.core.ask(operation))

    def routes(self) -> list[Route]:
        """The table's rows."""
        tag, path = "agreements", "/v1/peers/{peer}/agreement"
        one, numbered = {"peer": "xyz"}, {"peer": "xyz", "number": "2"}
        answered = (Answer(200, "The document; what it changes is in effect here.", "AgreementOutline"),)
        return [
            Route("GET", path, self.show, tag, "What rules with a peer today, and what is proposed.",
                  (Answer(200, "Clause by clause.", "Agreement"),), example=one),
            Route("GET", f"{path}/history", self.history, tag, "Every document that either side proposed.",
                  (Answer(200, "By number.", "AgreementPage"),), example=one),
            Route("GET", f"{path}/{{number}}", self.one, tag, "One document with both signatures.",
                  (Answer(200, "Its text is what was signed.", "AgreementDocument"),), example=numbered),
            Route("POST", f"{path}/proposals", self.propose, tag,
                  "Propose what rules today with changes; 422 names every clause that cannot be.",
                  (Answer(201, "On its way to the partner.", "AgreementOutline"),
                   Answer(200, "With `check`: what it would change; nothing was proposed.", "AgreementOutline")),
                  Body("AgreementProposal", PROPOSAL, required=False), (IDEMPOTENCY_KEY,), one, remembered=True),
            Route("POST", f"{path}/proposals/{{number}}/accept", self.accept, tag,
                  "Sign a peer's proposal; 409 names every clause that cannot be signed.", answered,
                  parameters=(IDEMPOTENCY_KEY,), example=numbered, remembered=True),
            Route("POST", f"{path}/proposals/{{number}}/decline", self.decline, tag, "Decline a peer's proposal.",
                  (Answer(200, "The document.", "AgreementOutline"),),
                  Body("AgreementDecline", {"reason": "Forty-five days are too long for us."}, required=False),
                  (IDEMPOTENCY_KEY,), numbered, remembered=True),
        ]  # fmt: skip


def _number(request: web.Request) -> int:
    text = request.match_info["number"]
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 11):
        raise fault("number", "must be the number of an agreement", "parameter")
    return int(text)
