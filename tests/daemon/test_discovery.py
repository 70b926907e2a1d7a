"""Who is out there, as whole daemons see it: what a zone shows or a partner tells is a place to try, and no more."""

from pathlib import Path

from roamd.demo.processes import free_ports
from tests.support.assemblies import Site
from tests.support.endpoints import until
from tests.support.nameserver import NameServer

DOMAIN = "roam.example"


async def test_a_partner_that_moved_is_found_again_by_its_zone(tmp_path: Path) -> None:
    async with NameServer() as names, Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso", reachable=False, settings=f'domains = ["{DOMAIN}"]\n')
        csp = await site.daemon("FR*XYZ", "csp")
        await site.pair(csp, cso)
        await csp.stop()
        (csp.link_port,) = free_ports(1)
        csp.write_config()
        await site.start(csp)
        csp_id = csp.assembly.ground.identity.endpoint_id
        names.serve_one(DOMAIN, "xyz", "localhost", csp.link_port, f"id={csp_id}")
        cso.assembly.name_servers = names.addresses
        site.nursery.start_soon(cso.assembly.look_around)
        await site.until_linked(cso, csp)
        (candidate,) = (await cso.operate("candidates"))["items"]
        assert (candidate["peer"], candidate["sources"]) == ("csp", ["dns"])
        assert (await cso.operate("status"))["domains"] == [f"{DOMAIN}: 1 seen"]


async def test_a_stranger_in_a_zone_is_shown_and_never_dialled(tmp_path: Path) -> None:
    async with NameServer() as names, Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso", settings=f'domains = ["{DOMAIN}"]\n')
        csp = await site.daemon("FR*XYZ", "csp")
        stranger = csp.assembly.ground.identity.endpoint_id
        names.serve_one(DOMAIN, "xyz", "localhost", csp.link_port, f"id={stranger}")
        cso.assembly.name_servers = names.addresses
        site.nursery.start_soon(cso.assembly.look_around)
        await until(lambda: bool(cso.assembly.board.candidates()), 20)
        (candidate,) = (await cso.operate("candidates"))["items"]
        assert (candidate["endpoint_id"], candidate["peer"]) == (stranger, None)
        assert cso.links() == 0


async def test_two_strangers_see_who_vouches_for_the_other_and_are_not_linked(tmp_path: Path) -> None:
    allows = "introduce = true\n"
    async with Site(tmp_path) as site:
        middle = await site.daemon("NL*MID", "csp")
        cso = await site.daemon("DE*ABC", "cso", settings=allows)
        csp = await site.daemon("FR*XYZ", "csp", settings=allows)
        for partner in (cso, csp):
            await site.pair(middle, partner)
            shown = await middle.operate("peers.introduce", peer=middle.peer(partner).label, introduce=True)
            assert shown["introduce"]
        await until(lambda: bool(cso.assembly.board.candidates()), 20)
        (candidate,) = (await cso.operate("candidates"))["items"]
        assert (candidate["sources"], candidate["vouched_by"]) == (["introduction"], [cso.peer(middle).label])
        assert candidate["endpoint_id"] == csp.assembly.ground.identity.endpoint_id
        assert (candidate["name"], candidate["parties"], candidate["peer"]) == ("csp", ["FRXYZ"], None)
        assert candidate["addresses"] == [f"127.0.0.1:{csp.link_port}"]
        await middle.operate("peers.introduce", peer=middle.peer(csp).label, introduce=False)
        await until(lambda: not cso.assembly.board.candidates(), 20)
        assert cso.links() == csp.links() == 1
