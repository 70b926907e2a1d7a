"""Two whole cores agree: over real TLS, by their ledgers, and what they agreed on is in effect on both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock

from roamd.roaming import operations as op
from tests.support.endpoints import Endpoint, Neighbourhood, until


async def ask(endpoint: Endpoint, operation: object) -> Any:
    """An operation's reply; raises what it was refused with."""
    told: list[Any] = []
    endpoint.core.operations.handle(operation, told.append)
    await until(lambda: bool(told))
    if isinstance(told[0], BaseException):
        raise told[0]
    return told[0]


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    async with Neighbourhood() as hood:
        with trio.fail_after(60):
            cso, csp = await hood.endpoint("DE*ABC", "cso"), await hood.endpoint("FR*XYZ", "csp")
            await hood.pair(cso, csp)
            await hood.until_linked(cso, csp)
            yield cso, csp


async def propose(here: Endpoint, there: Endpoint, **more: Any) -> int:
    """Propose, until the other side has it; the number."""
    said = await ask(here, op.ProposeAgreement(there.name, **more))
    await until(lambda: state(there, here, said["number"]) is not None)
    number: int = said["number"]
    return number


def state(here: Endpoint, there: Endpoint, number: int) -> str | None:
    told: list[Any] = []
    here.core.operations.handle(op.ListAgreements(there.name), told.append)
    return next((one["state"] for one in told[0].items if one["number"] == number), None)


async def agree(here: Endpoint, there: Endpoint, **more: Any) -> int:
    """`here` proposes, `there` accepts, until both have it in use."""
    number = await propose(here, there, **more)
    await ask(there, op.AnswerAgreement(here.name, number, accept=True))
    await until(lambda: here.peer(there).agreement.number == there.peer(here).agreement.number == number)
    return number


async def test_what_both_sign_is_in_effect_on_both_and_every_refusal_names_it(autojump_clock: MockClock) -> None:
    async with pair() as (cso, csp):
        number = await agree(cso, csp, remove={"us.services": "authorization"}, clauses={"dispute_days": 45})
        for here, there in ((cso, csp), (csp, cso)):
            assert here.peer(there).agreement.terms.dispute_days == 45
            assert state(here, there, number) == "IN_FORCE"
            shown = await ask(here, op.GetAgreement(there.name))
            assert (shown["source"], shown["number"], shown["proposals"]) == ("agreement", number, [])
        assert cso.peer(csp).agreement.services_out == csp.peer(cso).agreement.services_in == ()
        assert cso.is_up(csp), "no link fell for it"
        before = csp.peer(cso).row.rights_version
        assert before == 2
