"""Keys that are replaced in company: both at once, a clearing house's, one behind it, and of who was not listening."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from roamd.roaming.introduce import successors_held
from roamd.roaming.operations import VerifyLedgers
from roamd.storage import ledgers
from roamd.trust.descriptor import verify_descriptor
from roamd.trust.identity import Identity
from roamd.trust.succession import appoint, succession_of_own
from tests.peering.test_relayed import Triangle
from tests.support.endpoints import Endpoint, Neighbourhood, until
from tests.support.trust import identity

NEXT, OTHER = identity(40), identity(41)
OVERLAP_MS = 1_000_000


async def restart(endpoint: Endpoint, **changes: Any) -> None:
    """Its daemon starts again, and what it says of itself has changed."""
    await endpoint.stop()
    endpoint.identity = replace(endpoint.identity, **changes)
    endpoint.sequence += 1
    await endpoint.restart()


async def announce(endpoint: Endpoint, successor: Identity) -> None:
    now_ms = endpoint.clock.now_ms()
    appointed = appoint(endpoint.identity, successor, now_ms, now_ms + OVERLAP_MS)
    await restart(endpoint, succession=appointed.packed())


async def switch(endpoint: Endpoint, to: Identity) -> None:
    await restart(endpoint, key=to.key, certificate=to.certificate, certificate_der=to.certificate_der)


def told(endpoint: Endpoint, other: Endpoint) -> bool:
    """Whether the other one has said that it knows the endpoint's newest key."""
    steps = len(succession_of_own(endpoint.identity).steps)
    return endpoint.store.read(lambda cx: successors_held(cx, other.name)) == steps


def epochs(endpoint: Endpoint, other: Endpoint, *, own: bool) -> list[tuple[bytes, int]]:
    chains = endpoint.store.read(lambda cx: ledgers.chains(cx, other.name))
    return [(chain.epoch, chain.tail_sequence) for chain in chains if chain.own is own]


async def sound(*endpoints: Endpoint) -> bool:
    return all([(await endpoint.ask(VerifyLedgers()))["ok"] for endpoint in endpoints])


@pytest.fixture(params=[True])
async def triangle(request: pytest.FixtureRequest) -> AsyncIterator[Triangle]:
    """A CSO and a CSP, which can talk directly, or have a clearing house between them."""
    async with Neighbourhood() as hood:
        hub = await hood.endpoint("NL*HUB", "clearing-house")
        cso = await hood.endpoint("DE*ABC", "cso", reachable=request.param)
        csp = await hood.endpoint("FR*XYZ", "csp", reachable=request.param)
        for partner in () if request.param else (cso, csp):
            await hood.pair(partner, hub)
            await hood.until_linked(partner, hub)
        await hood.pair(cso, csp)
        yield Triangle(hood, hub, cso, csp)


async def test_both_replace_their_keys_in_the_same_minute(triangle: Triangle, autojump_clock: MockClock) -> None:
    cso, csp, hood = triangle.cso, triangle.csp, triangle.hood
    await hood.until_linked(cso, csp)
    await triangle.bill(1)
    await triangle.delivered(1)
    await announce(cso, NEXT)
    await announce(csp, OTHER)
    await until(lambda: told(cso, csp) and told(csp, cso))
    await csp.stop()
    await triangle.bill(2)
    await switch(cso, NEXT)
    await triangle.bill(3)
    csp.identity = replace(
        csp.identity, key=OTHER.key, certificate=OTHER.certificate, certificate_der=OTHER.certificate_der
    )
    csp.sequence += 1
    await csp.restart()
    await triangle.delivered(3)
    await until(lambda: cso.peer(csp).succession.in_use == csp.peer(cso).succession.in_use == 1)
    await triangle.bill(4)
    await triangle.delivered(4)
    assert triangle.received() == ["CDR-1", "CDR-2", "CDR-3", "CDR-4"]
    assert epochs(cso, csp, own=True) == epochs(csp, cso, own=False)
    assert len(epochs(cso, csp, own=True)) == 3, "one for each of the two keys"
    assert await sound(cso, csp)
    assert cso.peer(csp).alarms == csp.peer(cso).alarms == []


behind_the_house = pytest.mark.parametrize("triangle", [False], indirect=True)


@behind_the_house
async def test_a_partner_behind_a_clearing_house_replaces_its_key(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    cso, csp = triangle.cso, triangle.csp
    await triangle.linked()
    await triangle.bill(1)
    await triangle.delivered(1)
    await announce(cso, NEXT)
    await until(lambda: told(cso, csp) and told(cso, triangle.hub))
    await switch(cso, NEXT)
    await triangle.bill(2)
    await triangle.delivered(2)
    assert triangle.links() == [triangle.hub.name]
    assert triangle.received() == ["CDR-1", "CDR-2"]
    assert len(epochs(csp, cso, own=False)) == 2
    assert await sound(cso, csp)


@behind_the_house
async def test_a_clearing_house_replaces_its_key(triangle: Triangle, autojump_clock: MockClock) -> None:
    hub = triangle.hub
    await triangle.linked()
    await announce(hub, NEXT)
    await until(lambda: told(hub, triangle.cso) and told(hub, triangle.csp))
    await switch(hub, NEXT)
    await triangle.hood.until_linked(triangle.cso, hub)
    await triangle.bill(1)
    await triangle.delivered(1, patience_s=2000)
    assert triangle.received() == ["CDR-1"]
    assert triangle.cso.peer(hub).succession.in_use == 1


async def test_who_had_suspended_it_refuses_the_new_key_and_pairing_anew_helps(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    cso, csp, hood = triangle.cso, triangle.csp, triangle.hood
    await hood.until_linked(cso, csp)
    await triangle.bill(1)
    await triangle.delivered(1)
    await csp.core.book.suspend(csp.peer(cso))
    await announce(cso, NEXT)
    await trio.sleep(60)
    assert not told(cso, csp)
    await switch(cso, NEXT)
    await csp.core.book.resume(csp.peer(cso))
    await trio.sleep(60)
    assert not csp.is_up(cso)
    await hood.pair(cso, csp)
    assert told(cso, csp)
    await hood.until_linked(cso, csp)
    await triangle.bill(2)
    await triangle.delivered(2)
    assert triangle.received() == ["CDR-1", "CDR-2"]


async def test_who_is_suspended_here_is_heard_of_through_others_and_stays_suspended(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    cso, csp = triangle.cso, triangle.csp
    await triangle.hood.until_linked(cso, csp)
    await csp.core.book.suspend(csp.peer(cso))
    await announce(cso, NEXT)
    data = cso.descriptor()
    await csp.core.book.renew(csp.peer(cso), verify_descriptor(data), data)
    assert (csp.peer(cso).row.state, len(csp.peer(cso).succession.steps)) == ("SUSPENDED", 1)
    assert not csp.is_up(cso)
    await switch(cso, NEXT)
    await csp.core.book.resume(csp.peer(cso))
    await triangle.hood.until_linked(cso, csp)


async def test_an_old_descriptor_that_is_shown_again_changes_nothing(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    cso, csp = triangle.cso, triangle.csp
    await triangle.hood.until_linked(cso, csp)
    oldest = cso.descriptor()
    await announce(cso, NEXT)
    await until(lambda: told(cso, csp))
    announced = cso.descriptor()
    await switch(cso, NEXT)
    await until(lambda: csp.peer(cso).succession.in_use == 1)
    before = csp.peer(cso).row
    for data in (oldest, announced):
        await csp.core.book.renew(csp.peer(cso), verify_descriptor(data), data, is_fresher=True)
    assert csp.peer(cso).row == before
    assert csp.peer(cso).alarms == []


async def test_who_goes_on_with_a_replaced_key_is_not_followed(triangle: Triangle, autojump_clock: MockClock) -> None:
    """The thief of a retired key, say, with a higher sequence."""
    cso, csp = triangle.cso, triangle.csp
    await triangle.hood.until_linked(cso, csp)
    await announce(cso, NEXT)
    await until(lambda: told(cso, csp))
    thief = cso.identity
    await switch(cso, NEXT)
    await until(lambda: csp.peer(cso).succession.in_use == 1)
    honest, sequence = cso.identity, cso.sequence
    cso.identity, cso.sequence = thief, sequence + 10
    data = cso.descriptor()
    cso.identity, cso.sequence = honest, sequence
    await csp.core.book.renew(csp.peer(cso), verify_descriptor(data), data)
    assert csp.peer(cso).succession.in_use == 1
    assert csp.peer(cso).row.descriptor_sequence < sequence + 10
    assert "has replaced" in csp.peer(cso).alarms[0]
