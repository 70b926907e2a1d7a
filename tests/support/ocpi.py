"""A backend that speaks OCPI, on a real loopback port, and a client of the face, for tests that are plain functions.

`run_ocpi(test)` opens the API with the face over a fake core and one such backend, and runs the coroutine function
with a `Desk`. The backend serves its versions, takes what is pushed to it, and answers authorizations; what it was sent
stands in `requests`.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from roamd.backend.ocpi.backends import OcpiSettings
from roamd.roaming import operations as ops
from tests.support.api import Answered, Harness, run_api
from tests.support.core import FakeCore

FIRST = "first-token-0123456789"
THEIRS = "their-token-0123456789"
NAME = "csms"
SETTINGS = OcpiSettings(NAME, FIRST, company="ABC Charging")
NOW = "2026-11-22T12:00:00Z"

PEER = ops.Partner("xyz", "XYZ Mobility", ("FRXYZ",), ("cso", "csp"), "PAIRED", True, 1_795_348_000_000)


@dataclass(frozen=True)
class Seen:
    """A request that the backend was sent."""

    method: str
    path: str
    headers: Any
    body: Any


@dataclass
class OcpiBackend:
    """The other side. `modules` it serves as (identifier, role); `answer` may decide what a push is answered with."""

    version: str = "2.2.1"
    modules: Sequence[tuple[str, str]] = ()
    token: str = THEIRS
    forms: Sequence[str] = ("base64", "raw")
    answer: Callable[[Seen], tuple[int, Any]] = lambda seen: (200, None)
    headers: Callable[[Seen], dict[str, str]] = lambda seen: {}
    on_request: Callable[[], None] = lambda: None
    before: Callable[[Seen], Awaitable[None]] | None = None
    """What it does before it answers."""
    requests: list[Seen] = field(default_factory=list)
    objects: dict[str, Any] = field(default_factory=dict)
    fails_at: str = ""
    url: str = ""
    port: int = 0
    """The same after each start."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def versions(self) -> str:
        return f"{self.url}/versions"

    def credentials(self, **more: Any) -> dict[str, Any]:
        roles = [{"role": "CPO", "country_code": "DE", "party_id": "ABC", "business_details": {"name": "ABC"}}]
        return {"token": self.token, "url": self.versions, "roles": roles, **more}

    def pushed(self, method: str) -> list[Seen]:
        return [seen for seen in self.requests if seen.method == method]

    def _admits(self, header: str) -> bool:
        wanted = {"raw": self.token, "base64": b64encode(self.token.encode()).decode()}
        return header in [f"Token {wanted[form]}" for form in self.forms]

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        seen = Seen(request.method, request.path_qs, request.headers, json.loads(body) if body else None)
        self.requests.append(seen)
        self.on_request()
        if self.before is not None:
            await self.before(seen)
        if not self._admits(request.headers.get("Authorization", "")):
            return _envelope(401, None, 2001)
        if request.path == self.fails_at:
            return _envelope(500, None, 3000)
        if request.path == "/versions":
            return _envelope(200, [{"version": self.version, "url": f"{self.url}/details"}])
        if request.path == "/details":
            return _envelope(200, {"version": self.version, "endpoints": self._endpoints()})
        if request.method == "GET" and self.objects:
            found = self.objects.get(request.path)
            return _envelope(200, found) if found is not None else _envelope(404, None, 2003)
        status, data = self.answer(seen)
        answered = _envelope(status, data, 1000 if status < 300 else 2000)
        answered.headers.update(self.headers(seen))
        return answered

    def _endpoints(self) -> list[dict[str, str]]:
        found = [("credentials", "SENDER"), *self.modules]
        return [{"identifier": each, "role": role, "url": f"{self.url}/{each}"} for each, role in found]


@dataclass
class PlainPartner(OcpiBackend):
    """A partner that does not run roamd, as one meets it: `first` is the token that it gave; its roles are `roles`.

    While it answers the handshake it reads our versions with the token that it was sent (`ours`).
    """

    first: str = "the-token-that-they-gave"
    roles: Sequence[str] = ("EMSP",)
    party: str = "FRPLN"
    name: str = "Plain Mobility"
    ours: str = ""
    our_url: str = ""
    read: Any = None
    """What our version details said."""
    reads_back: bool = True
    registered: bool = False
    admits: str = ""

    def __post_init__(self) -> None:
        self.token, self._given = self.first, self.answer
        self.answer, self.before = self._answered, self._read_back

    async def _read_back(self, seen: Seen) -> None:
        """Whoever is registered with reads the other side's versions before it answers."""
        if (seen.method, seen.path) != ("POST", "/credentials") or not self.reads_back:
            return
        self.ours, self.our_url = seen.body["token"], seen.body["url"]
        async with aiohttp.ClientSession() as session:
            versions = await self.call(session, "GET", self.our_url)
            (url,) = [each["url"] for each in versions.json["data"] if each["version"] == self.version]
            self.read = (await self.call(session, "GET", url)).json["data"]

    def _answered(self, seen: Seen) -> tuple[int, Any]:
        if seen.path == "/credentials":
            return self._credentials(seen)
        return self._given(seen)

    def _credentials(self, seen: Seen) -> tuple[int, Any]:
        if seen.method == "DELETE":
            self.registered = False
            return 200, None
        self.ours, self.our_url = seen.body["token"], seen.body["url"]
        self.token, self.registered = THEIRS, True
        details = {"name": self.name}
        roles = [
            {"role": role, "country_code": self.party[:2], "party_id": self.party[2:], "business_details": details}
            for role in self.roles
        ]
        return 200, {"token": THEIRS, "url": self.versions, "roles": roles}

    async def call(self, session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Answered:
        """A request to our face; `path` stands below its address."""
        url = path if path.startswith("http") else self.our_url.removesuffix("/versions") + path
        headers = {"Authorization": f"Token {b64encode(self.ours.encode()).decode()}"}
        async with session.request(method, url, json=body, headers=headers) as got:
            return Answered(got.status, got.headers, await got.read())


def _envelope(status: int, data: Any, code: int = 1000) -> web.Response:
    return web.json_response({"data": data, "status_code": code, "timestamp": NOW}, status=status)


@dataclass
class Desk:
    """What a test has in hand. `token` is presented unless another is given, in base64."""

    harness: Harness
    backend: OcpiBackend
    token: str = FIRST

    @property
    def core(self) -> FakeCore:
        return self.harness.core

    async def send(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, token: str | None = ""
    ) -> Answered:
        """A request to the face; `path` is absolute or stands below /ocpi."""
        presented = self.token if token == "" else token
        sent = {} if presented is None else {"Authorization": f"Token {b64encode(presented.encode()).decode()}"}
        target = path.removeprefix(self.harness.url) if path.startswith("http") else f"/ocpi{path}"
        return await self.harness.send(method, target, body, headers={**sent, **(headers or {})}, key=None)

    async def register(self, path: str = "/2.2.1/credentials") -> str:
        """The handshake, done; the token is used from now on."""
        answered = await self.send("POST", path, self.backend.credentials())
        assert answered.json["status_code"] == 1000, answered.body
        self.token = answered.json["data"]["token"]
        return self.token

    async def sent(self, *wanted: tuple[str, str]) -> None:
        """Wait until the backend was sent all these (method, path)."""
        while not set(wanted) <= {(seen.method, seen.path) for seen in self.backend.requests}:
            came = asyncio.Event()
            self.backend.on_request = came.set
            await came.wait()

    async def need(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answered:
        """A request that must succeed."""
        answered = await self.send(method, path, body, headers=headers)
        assert (answered.status // 100, answered.json["status_code"]) == (2, 1000), answered.body
        return answered


def run_ocpi(
    test: Callable[[Desk], Awaitable[None]],
    *,
    core: FakeCore | None = None,
    settings: Sequence[OcpiSettings] = (SETTINGS,),
    backend: OcpiBackend | None = None,
    registered: bool = False,
) -> None:
    """Run one test against a fresh face; `registered` does the handshake before."""

    async def main(harness: Harness) -> None:
        other = backend or OcpiBackend()
        await other.start()
        try:
            desk = Desk(harness, other)
            if registered:
                await desk.register()
            await test(desk)
        finally:
            await other.stop()

    run_api(main, core=core, ocpi=settings)
