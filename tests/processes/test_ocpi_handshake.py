"""A backend's handshake with a daemon that is killed after each of its steps: nobody is ever locked out."""

import asyncio
from base64 import b64encode
from typing import Any

import aiohttp

from tests.processes.test_ocpi import SETTINGS
from tests.support.daemons import Company, Fleet
from tests.support.ocpi import FIRST, OcpiBackend, Seen

PATH = "/2.2.1/credentials"


class Handshake:
    """A backend that registers with a daemon of which only the kill is certain."""

    def __init__(self, fleet: Fleet, company: Company, backend: OcpiBackend, session: aiohttp.ClientSession) -> None:
        self.fleet = fleet
        self.company = company
        self.backend = backend
        self._session = session

    async def send(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, Any]:
        """HTTP status and envelope; (0, None) when the daemon died over it."""
        headers = {"Authorization": f"Token {b64encode(token.encode()).decode()}"}
        url = f"http://{self.company.api.address}/ocpi{path}"
        try:
            async with self._session.request(method, url, json=body, headers=headers) as response:
                return response.status, await response.json()
        except aiohttp.ClientError:
            return 0, None

    async def register(self, method: str, token: str) -> tuple[int, Any]:
        return await self.send(method, PATH, token, self.backend.credentials())

    async def token(self, method: str, token: str) -> str:
        """Our new token, by a handshake that must succeed."""
        status, envelope = await self.register(method, token)
        assert (status, envelope["status_code"]) == (200, 1000), envelope
        new: str = envelope["data"]["token"]
        return new

    async def opens(self, token: str) -> bool:
        status, _ = await self.send("GET", PATH, token)
        return status == 200

    async def restart(self) -> None:
        await asyncio.to_thread(self.fleet.start, self.company)

    def kill_at(self, path: str) -> None:
        """The daemon dies when it asks for this; only once."""

        async def before(seen: Seen) -> None:
            if seen.path == path:
                self.backend.before = None
                self.company.daemon.kill()

        self.backend.before = before


def test_the_handshake_survives_a_kill_after_each_of_its_steps(fleet: Fleet) -> None:
    company = fleet.company("cso", "BE*RMC", backend=False, settings=SETTINGS)
    fleet.start(company)

    async def main() -> None:
        backend = OcpiBackend("2.2.1")
        await backend.start()
        try:
            async with asyncio.timeout(60), aiohttp.ClientSession() as session:
                await _walk(Handshake(fleet, company, backend, session))
        finally:
            await backend.stop()

    with asyncio.Runner() as runner:
        runner.run(main())


async def _walk(side: Handshake) -> None:
    # While the backend's own addresses are read: nothing was kept, and the first token registers.
    for path in ("/versions", "/details"):
        side.kill_at(path)
        assert await side.register("POST", FIRST) == (0, None)
        await side.restart()
        assert await side.opens(FIRST)

    # After the commit, the answer lost: the first token registers again.
    lost = await side.token("POST", FIRST)
    side.company.daemon.kill()
    await side.restart()
    first = await side.token("POST", FIRST)
    assert not await side.opens(lost)

    # After the first use: the first token is spent, its successor stays.
    assert await side.opens(first)
    side.company.daemon.kill()
    await side.restart()
    assert await side.opens(first)
    assert not await side.opens(FIRST)

    # While the token is renewed: the old one stays.
    side.kill_at("/details")
    assert await side.register("PUT", first) == (0, None)
    await side.restart()
    assert await side.opens(first)

    # The token was renewed and the answer lost: the old one renews it again.
    unheard = await side.token("PUT", first)
    side.company.daemon.kill()
    await side.restart()
    newest = await side.token("PUT", first)
    assert await side.opens(newest)
    assert not await side.opens(unheard)
