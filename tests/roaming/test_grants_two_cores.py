"""Grants between two whole cores: the link is cut, a hanging backend, a crash of the station's side."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from roamd.clock import rfc3339
from roamd.model.objects import check_object
from roamd.roaming.operations import Authorize, CredentialIn, DeleteObject, ListDecisions, PlaceIn, PutObject
from tests.model import bodies
from tests.support.endpoints import Endpoint, Neighbourhood, until

UID = "04E2A1B2C3D480"
HOUR_MS = 3_600_000


class Pair:
    """A linked CSO and CSP."""

    def __init__(self, cso: Endpoint, csp: Endpoint) -> None:
        self.cso, self.csp = cso, csp

    async def grants(self, **changes: Any) -> None:
        """The CSP's backend grants, and the CSO has heard of it."""
        now_ms, party = self.csp.clock.now_ms(), self.csp.party
        value = {
            "country_code": party[:2],
            "party_id": party[2:],
            "id": "G-1",
            "type": "RFID",
            "uid": UID,
            "valid_until": rfc3339(now_ms + HOUR_MS),
            "last_updated": rfc3339(now_ms),
            **changes,
        }
        checked = check_object("grants", "2.3.0", bodies.text(value), own_parties=frozenset({party}))
        await self.csp.ask(PutObject("grants", checked))
        await until(lambda: bool(self.granted()))

    def granted(self) -> list[Any]:
        return self.cso.core.grants.find("RFID", UID, PlaceIn("LOC1", "E1"))

    async def revokes(self) -> None:
        await self.csp.ask(DeleteObject("grants", "G-1"))
        await until(lambda: self.granted()[0].view.revoked)

    async def cut(self) -> None:
        """The CSP is gone."""
        await self.csp.stop()
        await until(lambda: self.cso.peer(self.csp).exchange is None)

    async def tap(self) -> Any:
        return await self.cso.ask(Authorize(CredentialIn("RFID", UID), PlaceIn("LOC1", "E1")))

    async def journal(self) -> list[Any]:
        page = await self.cso.ask(ListDecisions())
        return list(page.items)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with Neighbourhood() as hood:
        yield Pair(*await hood.linked())


async def test_with_the_link_cut_a_granted_card_starts_within_its_limit_also_after_a_crash(
    pair: Pair, autojump_clock: object
) -> None:
    await pair.grants(limits={"starts": 2, "kwh": 30})
    await pair.cut()
    reply = await pair.tap()
    assert (reply.decision, reply.source, reply.authorization_reference) == ("ALLOWED", "GRANT", "G-1")
    assert bytes(reply.grant["limits"]) == b'{"starts":2,"kwh":30}'
    pair.cso.crash()
    await pair.cso.restart()
    assert [(await pair.tap()).decision for _ in range(2)] == ["ALLOWED", "NOT_ALLOWED"]
    assert [noted.source for noted in await pair.journal()][-2:] == ["GRANT", "POLICY"]


async def test_a_revocation_that_came_before_the_cut_counts(pair: Pair, autojump_clock: object) -> None:
    await pair.grants()
    await pair.revokes()
    await pair.cut()
    reply = await pair.tap()
    assert (reply.decision, reply.source) == ("NOT_ALLOWED", "POLICY")
    assert "its grant is revoked" in reply.reason


async def test_a_backend_that_hangs_costs_the_patience(pair: Pair, autojump_clock: object) -> None:
    pair.csp.backend.decide = lambda question: None
    await pair.grants()
    reply = await pair.tap()
    assert (reply.decision, reply.source, reply.asked) == ("ALLOWED", "GRANT", [pair.cso.peer(pair.csp).label])
    assert 1000 <= reply.elapsed_ms < 1100


async def test_a_grant_ends_while_the_link_is_cut(pair: Pair, autojump_clock: object) -> None:
    await pair.grants()
    await pair.cut()
    pair.cso.clock.jump(HOUR_MS / 1000 + 60)
    assert (await pair.tap()).decision == "NOT_ALLOWED"
