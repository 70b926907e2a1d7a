"""A partner that does not run roamd and speaks plain OCPI: a real daemon registers at it, and all goes both ways."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import aiohttp

from roamd.demo import objects
from roamd.demo.objects import LIVE_DRIVER
from tests.model import bodies
from tests.support.daemons import Company, Fleet
from tests.support.ocpi import PlainPartner, Seen

NOW_MS = 1_780_000_000_000
SENDERS = [(module, "SENDER") for module in ("locations", "tariffs", "sessions", "cdrs")]
RECEIVERS = [(module, "RECEIVER") for module in ("locations", "tariffs", "sessions", "cdrs")]


class Partner(PlainPartner):
    """One whose answers to pushes the test may change."""

    cdrs: tuple[int, Any] = (201, None)

    def decide(self, seen: Seen) -> tuple[int, Any]:
        if "/authorize" in seen.path:
            return 200, {"allowed": "ALLOWED", "authorization_reference": "REF-1"}
        if seen.path == "/cdrs" and seen.method == "POST":
            return self.cdrs
        return (200, []) if seen.method == "GET" else (201, None)

    async def sent(self, method: str, path: str) -> Seen:
        """Wait until it was sent this; the last one."""
        while True:
            found = [seen for seen in self.requests if (seen.method, seen.path) == (method, path)]
            if found:
                return found[-1]
            came = asyncio.Event()
            self.on_request = came.set
            await came.wait()


def run(test: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            await test(session)

    with asyncio.Runner() as runner:
        runner.run(main())


def made(version: str, roles: list[str], modules: list[tuple[str, str]], **more: Any) -> Partner:
    partner = Partner(version, modules=modules, roles=roles, headers=lambda seen: {"Location": "/cdrs/1"}, **more)
    partner._given = partner.decide
    return partner


async def said(company: Company, *words: str, expect: tuple[int, ...] = (0,)) -> str:
    """What a command of roamd prints."""
    return (await asyncio.to_thread(partial(company.daemon.run, *words, expect=expect))).out


async def added(company: Company, partner: Partner) -> None:
    await partner.start()
    ours = f"http://{company.api.address}/ocpi"
    words = (partner.versions, partner.first, "--our-url", ours, "--label", "plain", "--private")
    assert "plain is registered" in await said(company, "peers", "add-ocpi", *words)


async def need(company: Company, method: str, path: str, body: Any = None) -> Any:
    return await asyncio.to_thread(company.api.need, method, path, body)


def test_a_cso_roams_with_an_emsp_that_speaks_plain_ocpi(fleet: Fleet) -> None:
    cso = fleet.company("cso", "BE*RMC")
    fleet.start(cso)

    async def test(session: aiohttp.ClientSession) -> None:
        partner = made("2.2.1", ["EMSP"], [*RECEIVERS, ("tokens", "SENDER")], party="FRRMD")
        try:
            await _misled(cso, partner)
            await added(cso, partner)
            assert {each["identifier"] for each in partner.read["endpoints"]} == {
                "credentials", "locations", "tariffs", "sessions", "cdrs", "tokens"
            }  # fmt: skip
            await _serve_drivers(cso, partner)
            await _bill(fleet, cso, partner)
            await _read(cso, partner, session)
            await _end(cso, partner)
        finally:
            await partner.stop()

    run(test)


async def _misled(cso: Company, partner: Partner) -> None:
    """A wrong token, an address without TLS, and a partner that claims our own party: nothing is left of any."""
    await partner.start()
    ours = ("--our-url", f"http://{cso.api.address}/ocpi")
    await said(cso, "peers", "add-ocpi", partner.versions, partner.first, *ours, expect=(1,))
    assert partner.requests == [], "without --private nothing is asked of a private address"
    await said(cso, "peers", "add-ocpi", partner.versions, "another-token", *ours, "--private", expect=(1,))
    partner.party = "BERMC"
    await said(cso, "peers", "add-ocpi", partner.versions, partner.first, *ours, "--private", expect=(1,))
    assert not partner.registered, "it was told that nothing came of it"
    partner.party, partner.token = "FRRMD", partner.first
    assert json.loads(await said(cso, "peers", "--json"))["items"] == []
    await partner.stop()


async def _serve_drivers(cso: Company, partner: Partner) -> None:
    """Our objects are told, and the partner is asked about its driver."""
    location = objects.location(NOW_MS)
    await need(cso, "PUT", f"/v1/locations/{objects.LOCATION_ID}", location)
    where = f"/locations/BE/RMC/{objects.LOCATION_ID}"
    assert (await partner.sent("PUT", where)).body["id"] == objects.LOCATION_ID
    news = {"status": "CHARGING", "last_updated": "2026-11-22T12:00:00Z"}
    await need(cso, "PATCH", f"/v1/locations/{objects.LOCATION_ID}/evses/{objects.EVSE_UID}", news)
    assert (await partner.sent("PATCH", f"{where}/{objects.EVSE_UID}")).body == news

    asked = {"credential": LIVE_DRIVER.credential(), "location": {"location_id": objects.LOCATION_ID}}
    answer = await need(cso, "POST", "/v1/authorizations", asked)
    assert (answer["decision"], answer["authorization_reference"], answer["home_csp"]) == ("ALLOWED", "REF-1", "plain")
    seen = await partner.sent("POST", f"/tokens/{LIVE_DRIVER.uid}/authorize?type=RFID")
    assert (seen.headers["OCPI-to-party-id"], seen.headers["OCPI-from-party-id"]) == ("RMD", "RMC")


async def _bill(fleet: Fleet, cso: Company, partner: Partner) -> None:
    """A CDR is settled by the partner's answer, one that it refuses is parked; nothing is called signed."""

    async def bill(number: str, state: str) -> Any:
        cdr = objects.cdr(number, LIVE_DRIVER, NOW_MS, session_id="S-1", reference="REF-1")
        await need(cso, "POST", "/v1/records", cdr)

        def look() -> Any:
            found = cso.api.get(f"/v1/records/{number}")
            return found if found["state"] == state else None

        return await asyncio.to_thread(fleet.wait_until, f"{number} becoming {state}", look)

    taken = await bill("CDR-1", "DELIVERED")
    assert "evidence" not in taken
    assert "not signed" in taken["reason"]
    told = taken["unsigned"]
    assert (told["http_status"], told["ocpi_status"], told["location"]) == (201, 1000, "/cdrs/1")
    partner.cdrs = (400, None)
    refused = await bill("CDR-2", "PARKED")
    assert refused["unsigned"]["http_status"] == 400
    assert "HTTP 400" in refused["reason"]
    shown = await need(cso, "GET", "/v1/peers/plain")
    assert shown["records"] == {"accepted": 2, "settled": 1, "queued": 0, "parked": 1}
    partner.cdrs = (201, None)
    await said(cso, "records", "retry", "CDR-2")
    await asyncio.to_thread(
        fleet.wait_until, "CDR-2 again", lambda: cso.api.get("/v1/records/CDR-2")["state"] == "DELIVERED"
    )
    assert (await asyncio.to_thread(cso.api.request, "POST", "/v1/records/CDR-1/accept", {})).status in (404, 409)


async def _read(cso: Company, partner: Partner, session: aiohttp.ClientSession) -> None:
    """The partner reads what is ours, and puts its cards."""
    listed = await partner.call(session, "GET", "/cpo/2.2.1/locations")
    assert [each["id"] for each in listed.json["data"]] == [objects.LOCATION_ID]
    assert [each["id"] for each in (await partner.call(session, "GET", "/cpo/2.2.1/cdrs")).json["data"]] == [
        "CDR-1", "CDR-2"
    ]  # fmt: skip
    await _see_nothing_of_others(cso, partner, session)
    token = bodies.token(country_code="FR", party_id="RMD", uid="04AA", whitelist="ALWAYS")
    put = await partner.call(session, "PUT", "/cpo/2.2.1/tokens/FR/RMD/04AA?type=RFID", token)
    assert put.status == 201, put.body
    assert (await need(cso, "GET", "/v1/peers/plain/user-credentials/04AA"))["uid"] == "04AA"
    foreign = await partner.call(session, "PUT", "/cpo/2.2.1/tokens/BE/RMC/04AA?type=RFID", token)
    assert foreign.status == 404
    assert (await partner.call(session, "GET", "/cpo/2.2.1/commands")).status == 404


async def _see_nothing_of_others(cso: Company, partner: Partner, session: aiohttp.ClientSession) -> None:
    """Sessions and CDRs of another company's drivers are not there for this one."""
    theirs = objects.session("S-1", LIVE_DRIVER, "REF-1", NOW_MS)
    token = {"country_code": "NL", "party_id": "TNM", "contract_id": "NL-TNM-C00000042-6"}
    others = {**theirs, "id": "S-2", "cdr_token": {**theirs["cdr_token"], **token}}
    for charging in (theirs, others):
        await need(cso, "PUT", f"/v1/sessions/{charging['id']}", charging)
    await partner.sent("PUT", "/sessions/BE/RMC/S-1")
    listed = await partner.call(session, "GET", "/cpo/2.2.1/sessions")
    assert [each["id"] for each in listed.json["data"]] == ["S-1"]
    assert (await partner.call(session, "GET", "/cpo/2.2.1/sessions/S-2")).status == 404
    assert "S-2" not in str([seen.path for seen in partner.requests])

    cdr = objects.cdr("CDR-X", LIVE_DRIVER, NOW_MS)
    await need(cso, "POST", "/v1/records", {**cdr, "cdr_token": others["cdr_token"]})
    assert (await partner.call(session, "GET", "/cpo/2.2.1/cdrs/CDR-1")).status == 200
    assert (await partner.call(session, "GET", "/cpo/2.2.1/cdrs/CDR-X")).status == 404


async def _end(cso: Company, partner: Partner) -> None:
    await partner.stop()
    late = objects.cdr("CDR-3", LIVE_DRIVER, NOW_MS, session_id="S-1", reference="REF-1")
    assert (await need(cso, "POST", "/v1/records", late))["state"] == "QUEUED"
    await said(cso, "peers", "remove", "plain", expect=(1,))
    await partner.start()
    await partner.sent("POST", "/cdrs")
    shown = json.loads(await said(cso, "peers", "--json"))["items"]
    assert [(each["peer"], each["link"], each["endpoint_id"]) for each in shown] == [("plain", "OCPI", None)]
    await said(cso, "peers", "suspend", "plain", expect=(1,))
    await said(cso, "peers", "remove", "plain", "--park")
    assert not partner.registered, "the partner was told"
    assert json.loads(await said(cso, "peers", "--json"))["items"] == []
    assert cso.api.get("/v1/records/CDR-1")["unsigned"]["http_status"] == 201


def test_a_csp_roams_with_a_cpo_that_speaks_plain_ocpi_also_after_a_kill(fleet: Fleet) -> None:
    csp = fleet.company("csp", "FR*RMD")
    fleet.start(csp)

    async def test(session: aiohttp.ClientSession) -> None:
        partner = made("2.3.0", ["CPO"], [*SENDERS, ("tokens", "RECEIVER")], party="BERMC")
        location = objects.location(NOW_MS)
        partner.objects = {"/locations": [location], "/tariffs": [], "/sessions": [], "/cdrs": []}
        try:
            await added(csp, partner)
            path = f"/v1/peers/plain/locations/{objects.LOCATION_ID}"
            assert await asyncio.to_thread(fleet.wait_until, "the location", lambda: csp.api.find(path)) == location
            credential = LIVE_DRIVER.user_credential(NOW_MS)
            await need(csp, "PUT", f"/v1/user-credentials/{LIVE_DRIVER.uid}", credential)
            where = f"/tokens/FR/RMD/{LIVE_DRIVER.uid}?type=RFID"
            assert (await partner.sent("PUT", where)).body["uid"] == LIVE_DRIVER.uid

            asked = await partner.call(session, "POST", f"/emsp/2.3.0/tokens/{LIVE_DRIVER.uid}/authorize")
            assert asked.json["data"]["allowed"] == "ALLOWED", asked.body
            await asyncio.to_thread(csp.daemon.kill)
            await asyncio.to_thread(fleet.start, csp)
            reference = asked.json["data"]["authorization_reference"]
            await _charged(csp, partner, session, reference)
        finally:
            await partner.stop()

    run(test)


async def _charged(csp: Company, partner: Partner, session: aiohttp.ClientSession, reference: str) -> None:
    """The partner pushes a session, news of it, and the CDR; what is not its own is refused."""
    charging = objects.session("S-1", LIVE_DRIVER, reference, NOW_MS)
    put = await partner.call(session, "PUT", "/emsp/2.3.0/sessions/BE/RMC/S-1", charging)
    assert put.status == 201, put.body
    news = {"kwh": 4.5, "last_updated": "2030-01-01T00:00:00Z"}
    assert (await partner.call(session, "PATCH", "/emsp/2.3.0/sessions/BE/RMC/S-1", news)).status == 200
    assert (await need(csp, "GET", "/v1/peers/plain/sessions/S-1"))["kwh"] == 4.5

    cdr = objects.cdr("CDR-1", LIVE_DRIVER, NOW_MS, session_id="S-1", reference=reference)
    posted = await partner.call(session, "POST", "/emsp/2.3.0/cdrs", cdr)
    assert posted.status == 201, posted.body
    again = await partner.call(session, "POST", "/emsp/2.3.0/cdrs", cdr)
    assert again.headers["Location"] == posted.headers["Location"]
    assert (await partner.call(session, "GET", posted.headers["Location"])).json["data"] == cdr
    other = await partner.call(session, "POST", "/emsp/2.3.0/cdrs", {**cdr, "total_energy": 1})
    assert other.status == 409
    taken = await need(csp, "GET", "/v1/records/CDR-1")
    assert (taken["direction"], taken["state"], taken["peer"]) == ("in", "DELIVERED", "plain")
    assert "not signed" in taken["reason"]
    assert "evidence" not in taken
    events = await need(csp, "GET", "/v1/events?limit=1000")
    assert [each["data"]["record"] for each in events["items"] if each["type"] == "record.received"] == [cdr]
    foreign = await partner.call(session, "POST", "/emsp/2.3.0/cdrs", {**cdr, "id": "X", "party_id": "XXX"})
    assert foreign.status == 400
