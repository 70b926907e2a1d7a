"""Who is out there, as a whole daemon sees it: addresses found in the wide area lead to a link, and to nothing else."""

from pathlib import Path

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
        csp.link_port = cso.link_port + 1 if cso.link_port < 60000 else cso.link_port - 1
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
