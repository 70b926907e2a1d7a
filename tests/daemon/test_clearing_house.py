"""Three whole daemons on loopback: two that only dial pair and exchange through a third, a clearing house."""

from pathlib import Path
from typing import Any

import pytest
import trio

from roamd.errors import Conflict, TryAgain
from roamd.model.objects import check_record
from roamd.roaming.operations import GetRecord, PostRecords
from tests.model import bodies
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import until


async def three(site: Site) -> tuple[RunningDaemon, RunningDaemon, RunningDaemon]:
    """A clearing house, and a CSO and a CSP that are linked with it and cannot be dialled."""
    hub = await site.daemon("NL*HUB", "clearing-house")
    cso = await site.daemon("DE*ABC", "cso", reachable=False)
    csp = await site.daemon("FR*XYZ", "csp", reachable=False)
    for partner in (cso, csp):
        await site.pair(hub, partner)
    return hub, cso, csp


def routes_between(one: RunningDaemon, other: RunningDaemon) -> list[str]:
    peer = one.assembly.directory.by_endpoint(other.assembly.ground.identity.endpoint_id)
    return [link.route for link in one.assembly.core.registry.of(peer)] if peer is not None else []


def state_of(daemon: RunningDaemon, record: str) -> str:
    replies: list[Any] = []
    daemon.assembly.core.operations.handle(GetRecord(record), replies.append)
    return str(replies[0].state)


async def test_two_that_cannot_be_dialled_pair_through_a_clearing_house_and_exchange_a_record(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        hub, cso, csp = await three(site)
        house_of_csp = csp.peer(hub).label
        line = (await csp.operate("invite", auto=True, via=house_of_csp))["line"]
        with trio.fail_after(20):
            joined = await cso.operate("pair", line=line)
            assert joined["state"] == "PAIRED"
            assert joined["words"] == csp.peer(cso).row.words
            await until(lambda: routes_between(cso, csp) == [cso.peer(hub).label], 20)
            record = check_record("2.3.0", bodies.text(bodies.cdr()), own_parties=frozenset({"DEABC"}))
            posted: list[object] = []
            cso.assembly.core.operations.handle(PostRecords((record,), cso.peer(csp).label), posted.append)
            await until(lambda: bool(posted))
            await until(lambda: state_of(cso, "Cdr-1") == "DELIVERED", 20)
        shown = (await cso.operate("peer", peer=cso.peer(csp).label))["routes"]
        assert [row["now"] for row in shown] == [cso.peer(hub).label] * 3
        assert [row["routes"] for row in shown] == [["direct", cso.peer(hub).label]] * 3
        names = {peer.label for peer in hub.assembly.directory}
        assert len(names) == 2, "the clearing house has paired with neither for the other"


async def test_an_invitation_through_a_clearing_house_needs_one_that_both_are_linked_with(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        hub, cso, csp = await three(site)
        with pytest.raises(Conflict, match="no clearing house"):
            await hub.operate("invite", auto=True, via=hub.peer(cso).label)
        line = (await csp.operate("invite", auto=True, via=csp.peer(hub).label))["line"]
        stranger = await site.daemon("NO*NEW", "cso", reachable=False)
        with pytest.raises(Conflict, match="not linked with"):
            await stranger.operate("pair", line=line)
        await csp.assembly.pairing_server.set_open(False)
        with pytest.raises(TryAgain, match="no-invitation"):
            await cso.operate("pair", line=line)
