"""Two backends that speak nothing but OCPI roam through two real daemons, over a real link and through a kill."""

import asyncio
import json
from base64 import b64encode
from functools import partial
from typing import Any

import aiohttp

from roamd.demo import objects
from roamd.demo.objects import LIVE_DRIVER
from tests.support.daemons import Company, Fleet
from tests.support.ocpi import FIRST, OcpiBackend, Seen

NOW_MS = 1_780_000_000_000
SETTINGS = f"""
[discovery]
mdns = false

[[ocpi]]
name = "csms"
token = "{FIRST}"
"""
MODULES = [(module, "RECEIVER") for module in ("locations", "tariffs", "sessions", "cdrs")]


def answer(seen: Seen) -> tuple[int, Any]:
    """The eMSP lets everybody charge."""
    if "/authorize" in seen.path:
        return 200, {"allowed": "ALLOWED", "authorization_reference": "REF-1"}
    return 201, None


def take_on(seen: Seen) -> tuple[int, Any]:
    """The CPO takes every command on."""
    return 200, {"result": "ACCEPTED", "timeout": 60}


class Side:
    """A backend at its daemon's face."""

    def __init__(self, company: Company, backend: OcpiBackend, session: aiohttp.ClientSession) -> None:
        self.company = company
        self.backend = backend
        self._session = session
        self._token = FIRST

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """A request that must succeed; its data."""
        url = path if path.startswith("http") else f"http://{self.company.api.address}/ocpi{path}"
        headers = {"Authorization": f"Token {b64encode(self._token.encode()).decode()}"}
        async with self._session.request(method, url, json=body, headers=headers) as response:
            envelope = await response.json()
            assert envelope["status_code"] == 1000, envelope
            return response.headers.get("Location") if response.status == 201 else envelope.get("data")

    async def register(self) -> None:
        await self.backend.start()
        given = await self.call("POST", "/2.3.0/credentials", self.backend.credentials())
        self._token = given["token"]

    async def pushed(self, method: str, path: str, expected: Any) -> None:
        """Wait until the backend was sent this. What was not acknowledged before a kill may come twice."""
        while (method, path, expected) not in [(seen.method, seen.path, seen.body) for seen in self.backend.requests]:
            came = asyncio.Event()
            self.backend.on_request = came.set
            await came.wait()


def test_two_ocpi_backends_roam_through_two_daemons(fleet: Fleet) -> None:
    cso = fleet.company("cso", "BE*RMC", backend=False, settings=SETTINGS)
    csp = fleet.company("csp", "FR*RMD", backend=False, settings=SETTINGS)
    fleet.start(cso, csp)
    fleet.pair(cso, csp)

    async def main() -> None:
        backends = [
            OcpiBackend("2.3.0", modules=[("commands", "RECEIVER")], answer=take_on),
            OcpiBackend("2.3.0", modules=[*MODULES, ("tokens", "SENDER")], answer=answer),
        ]
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            cpo, emsp = Side(cso, backends[0], session), Side(csp, backends[1], session)
            try:
                await cpo.register()
                await emsp.register()
                await _roam(fleet, cpo, emsp)
            finally:
                for backend in backends:
                    await backend.stop()

    with asyncio.Runner() as runner:
        runner.run(main())


async def _roam(fleet: Fleet, cpo: Side, emsp: Side) -> None:
    location = objects.location(NOW_MS)
    where = f"/BE/RMC/{objects.LOCATION_ID}"
    await cpo.call("PUT", f"/emsp/2.3.0/locations{where}", location)
    await emsp.pushed("PUT", f"/locations{where}", location)
    assert await emsp.call("GET", "/cpo/2.3.0/locations") == [location]

    uid = LIVE_DRIVER.uid
    info = await cpo.call("POST", f"/emsp/2.3.0/tokens/{uid}/authorize", {"location_id": objects.LOCATION_ID})
    assert (info["allowed"], info["authorization_reference"]) == ("ALLOWED", "REF-1")
    await emsp.pushed("POST", f"/tokens/{uid}/authorize?type=RFID", {"location_id": objects.LOCATION_ID})

    session = objects.session("S-1", LIVE_DRIVER, "REF-1", NOW_MS)
    await cpo.call("PUT", "/emsp/2.3.0/sessions/BE/RMC/S-1", session)
    await emsp.pushed("PUT", "/sessions/BE/RMC/S-1", session)

    await _command(cpo, emsp)
    await _bill(cpo, emsp, "CDR-1")
    emsp.company.daemon.kill()
    emsp.backend.requests.clear()
    late = objects.cdr("CDR-2", LIVE_DRIVER, NOW_MS, session_id="S-1", reference="REF-1")
    await cpo.call("POST", "/emsp/2.3.0/cdrs", late)
    await asyncio.to_thread(fleet.start, emsp.company)
    await emsp.pushed("POST", "/cdrs", late)
    assert [cdr["id"] for cdr in await emsp.call("GET", "/cpo/2.3.0/cdrs")] == ["CDR-1", "CDR-2"]
    infos = await emsp.call("GET", "/cpo/2.3.0/hubclientinfo")
    assert [(info["party_id"], info["role"], info["status"]) for info in infos] == [("RMC", "CPO", "CONNECTED")]


async def _command(cpo: Side, emsp: Side) -> None:
    """The eMSP stops the session: the CPO's backend is told, and what it says of it comes back."""
    asked = {"session_id": "S-1", "response_url": f"{emsp.backend.url}/results/1"}
    assert (await emsp.call("POST", "/cpo/2.3.0/commands/STOP_SESSION", asked))["result"] == "ACCEPTED"
    (told,) = [seen for seen in cpo.backend.requests if seen.path == "/commands/STOP_SESSION"]
    assert told.body["session_id"] == "S-1"
    await cpo.call("POST", told.body["response_url"], {"result": "ACCEPTED"})
    await emsp.pushed("POST", "/results/1", {"result": "ACCEPTED"})


async def _bill(cpo: Side, emsp: Side, number: str) -> None:
    cdr = objects.cdr(number, LIVE_DRIVER, NOW_MS, session_id="S-1", reference="REF-1")
    where = await cpo.call("POST", "/emsp/2.3.0/cdrs", cdr)
    assert await cpo.call("GET", where) == cdr
    await emsp.pushed("POST", "/cdrs", cdr)


def test_the_words_of_roamd_ocpi_tell_how_a_real_backend_stands(fleet: Fleet) -> None:
    cso = fleet.company("cso", "BE*RMC", backend=False, settings=SETTINGS)
    fleet.start(cso)
    assert json.loads(cso.daemon.run("ocpi", "--json").out)["items"][0]["registered"] is False

    async def main() -> None:
        backend = OcpiBackend("2.3.0", modules=[("locations", "SENDER")], forms=["raw"], answer=serve)
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            try:
                await Side(cso, backend, session).register()
                await backend_words(cso, backend)
            finally:
                await backend.stop()

    with asyncio.Runner() as runner:
        runner.run(main())


def serve(seen: Seen) -> tuple[int, Any]:
    """Lists of nothing, and nothing else."""
    return (200, []) if seen.path.startswith("/locations") else (404, None)


async def backend_words(cso: Company, backend: OcpiBackend) -> None:
    """`test`, `quirks`, `losses` and `removals`, each once as it is well and once as it is not."""

    async def words(*said: str, expect: tuple[int, ...] = (0,)) -> str:
        return (await asyncio.to_thread(partial(cso.daemon.run, "ocpi", *said, expect=expect))).out

    listed = json.loads(await words("--json"))["items"][0]
    assert (listed["registered"], listed["version"]) == (True, "2.3.0")
    assert "FAILED" not in await words("test", "csms")
    backend.fails_at = "/locations"
    assert "FAILED  locations" in await words("test", "csms", expect=(1,))
    assert "token-form" in await words("quirks", "csms")
    assert json.loads(await words("losses", "csms", "--json")) == {"items": []}
    assert "Tariff" in await words("losses")
    assert json.loads(await words("removals", "--json")) == {"items": []}
    assert json.loads(await words("removals", "csms", "locations", "--json", expect=(1,)))["removed"] == 0
    assert await words("losses", "nobody", expect=(1,)) == ""
