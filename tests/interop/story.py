"""Two foreign backends meet through two daemons: handshake, locations, an authorization, a session and a CDR."""

import asyncio
import json
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from roamd.demo import objects
from roamd.demo.objects import LIVE_DRIVER
from roamd.model.ocpi.convert import convert
from tests.model.bodies import text
from tests.support.daemons import Company, Fleet

FOREIGN = Path(__file__).with_name("foreign.py")
FIRST = "interop-first-token-0123456789"
THEIRS = "interop-their-token-0123456789"
NOW_MS = 1_780_000_000_000
PATIENCE_S = 30.0


@dataclass
class Step:
    """One thing that had to happen, and what was seen."""

    name: str
    ok: bool
    seen: str


class Failed(Exception):
    """A step did not come out."""


@dataclass
class Foreign:
    """A process of a foreign library, and its operator's hand."""

    library: str
    role: str
    python: Path
    session: aiohttp.ClientSession
    log: Path
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """A process on a free port; returns when it answers."""
        self._spawn()
        await patiently("the library serving", lambda: self.call("GET", "/glue/show/asked"))

    def _spawn(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = [str(self.python), str(FOREIGN), self.role, str(self.port), THEIRS]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.log.parent)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    async def call(self, method: str, path: str, body: Any = None, *, token: str = THEIRS) -> Any:
        headers = {"Authorization": f"Token {b64encode(token.encode()).decode()}"}
        async with self.session.request(method, self.url + path, json=body, headers=headers) as response:
            if response.status >= 300:
                raise Failed(f"the library answered {response.status}: {(await response.text())[:300]}")
            return await response.json()

    async def keep(self, module: str, body: dict[str, Any]) -> None:
        """Hand an object to the library, as its user's own program does."""
        await self.call("POST", f"/glue/put/{module}", body)

    async def has(self, module: str, id_: str) -> dict[str, Any]:
        """The object that was handed to the library by roamd; Failed while there is none."""
        for body in (await self.call("GET", f"/glue/show/{module}"))["found"]:
            if str(body.get("id") or body.get("uid")).lower() == id_.lower():
                found: dict[str, Any] = body
                return found
        raise Failed(f"no {module} {id_} there")


@dataclass
class Side:
    """A company: its daemon, and the foreign backend at its face."""

    company: Company
    foreign: Foreign
    token: str = FIRST

    @property
    def face(self) -> str:
        return f"http://{self.company.api.address}/ocpi"

    async def face_call(self, method: str, path: str, body: Any = None) -> Any:
        """A request of the operator in the library's place, where it has no client for it."""
        headers = {"Authorization": f"Token {b64encode(self.token.encode()).decode()}"}
        url = path if path.startswith("http") else self.face + path
        async with self.foreign.session.request(method, url, json=body, headers=headers) as response:
            envelope = await response.json()
            if envelope["status_code"] != 1000:
                raise Failed(f"{envelope['status_code']}: {envelope.get('status_message')}")
            return envelope.get("data")

    async def push(self, module: str, id_: str) -> None:
        """The library's own push to us; it reads our version details and makes address and body itself."""
        receiver = {"endpoints_url": f"{self.face}/2.2.1", "auth_token": self.token}
        answer = await self.foreign.call(
            "POST", "/push/2.2.1", {"module_id": module, "object_id": id_, "receivers": [receiver]}
        )
        (told,) = answer["receiver_responses"]
        if told["status_code"] >= 300:
            raise Failed(f"roamd answered {told['status_code']}: {told['response']}")


@dataclass
class Story:
    """Plays once with the CPO's and the eMSP's library, and keeps what happened."""

    cpo: Side
    emsp: Side
    pushes: bool
    say: Callable[[Step], None]
    steps: list[Step] = field(default_factory=list)

    async def play(self) -> bool:
        for name, part in (
            ("handshake of the CPO", lambda: self._register(self.cpo)),
            ("handshake of the eMSP", lambda: self._register(self.emsp)),
            ("the library's own handshake reads roamd's documents", self._read_by_library),
            ("a location goes from CPO to eMSP", self._location),
            ("a token goes from eMSP to CPO", self._card),
            ("a real-time authorization goes from CPO to eMSP", self._authorize),
            ("a session goes from CPO to eMSP", self._session),
            ("a CDR goes from CPO to eMSP", self._cdr),
            ("roamd ocpi test finds the CPO in order", lambda: self._selftest(self.cpo)),
            ("roamd ocpi test finds the eMSP in order", lambda: self._selftest(self.emsp)),
        ):
            await self._step(name, part)
        return all(step.ok for step in self.steps)

    async def _step(self, name: str, part: Callable[[], Awaitable[str]]) -> None:
        try:
            step = Step(name, True, await part())
        except (Failed, aiohttp.ClientError, TimeoutError) as error:
            step = Step(name, False, str(error) or type(error).__name__)
        self.steps.append(step)
        self.say(step)

    async def _register(self, side: Side) -> str:
        country, party = ("BE", "RMC") if side is self.cpo else ("FR", "RMD")
        role = {"country_code": country, "party_id": party, "role": side.foreign.role.upper()}
        roles = [{**role, "business_details": {"name": side.foreign.library}}]
        given = {"token": THEIRS, "url": f"{side.foreign.url}/ocpi/versions", "roles": roles}
        await side.face_call("GET", "/versions")
        method = "POST" if side.token == FIRST else "PUT"
        answer = await side.face_call(method, "/2.2.1/credentials", given)
        side.token = answer["token"]
        (shown,) = side.company.api.get("/v1/ocpi")["items"]
        return f"roamd read its versions and {len(shown['endpoints'])} endpoints"

    async def _read_by_library(self) -> str:
        """Its credentials module fetches and reads our versions and details, as it does with every new partner."""
        told = []
        for side in (self.cpo, self.emsp):
            ours = await side.face_call("GET", "/2.2.1/credentials")
            given = {"token": side.token, "url": f"{side.face}/versions", "roles": ours["roles"]}
            path = f"/ocpi/{side.foreign.role}/2.2.1/credentials/"
            answer = await side.foreign.call("POST", path, given, token="first-token-of-the-library")
            if answer["status_code"] != 1000:
                raise Failed(f"{side.foreign.library} said {answer}")
            told.append(side.foreign.library)
        return f"{' and '.join(told)} took roamd as a partner"

    async def _hand_in(self, module: str, body: dict[str, Any]) -> str:
        """By the library's push where it has a working one, else by letting roamd fetch its list."""
        await self.cpo.foreign.keep(module, body)
        if self.pushes:
            await self.cpo.push(module, body["id"])
            return "pushed by the library"
        await self._register(self.cpo)  # registering anew has everything fetched
        return "fetched from the library's list"

    async def _location(self) -> str:
        body = objects.location(NOW_MS)
        how = await self._hand_in("locations", body)
        got = await patiently("the location", lambda: self.emsp.foreign.has("locations", body["id"]))
        same(got, body, "name", "address", "country", "time_zone")
        return f"{how}; {got['id']} with {len(got['evses'])} EVSE arrived"

    async def _card(self) -> str:
        body = LIVE_DRIVER.user_credential(NOW_MS) | {"whitelist": "NEVER"}
        await self.emsp.foreign.keep("tokens", body)
        await self._register(self.emsp)
        got = await patiently("the token", lambda: self.cpo.foreign.has("tokens", body["uid"]))
        same(got, body, "contract_id", "whitelist", "issuer")
        return "fetched from the eMSP's list and given to the CPO"

    async def _authorize(self) -> str:
        place = {"location_id": objects.LOCATION_ID}
        info = await self.cpo.face_call("POST", f"/emsp/2.2.1/tokens/{LIVE_DRIVER.uid}/authorize", place)
        asked = (await self.emsp.foreign.call("GET", "/glue/show/asked"))["found"]
        if LIVE_DRIVER.uid.lower() not in [uid.lower() for uid in asked]:
            raise Failed("the library was not asked")
        if (info["allowed"], info["authorization_reference"].upper()) != ("ALLOWED", "REF-1"):
            raise Failed(f"roamd said {info}")
        return f"{info['allowed']} with the library's own reference {info['authorization_reference']}"

    async def _session(self) -> str:
        body = objects.session("S-1", LIVE_DRIVER, "REF-1", NOW_MS)
        how = await self._hand_in("sessions", body)
        got = await patiently("the session", lambda: self.emsp.foreign.has("sessions", "S-1"))
        same(got, body, "currency", "status", "kwh")
        return f"{how}; arrived with status {got['status']}"

    async def _cdr(self) -> str:
        new = objects.cdr("CDR-1", LIVE_DRIVER, NOW_MS, session_id="S-1", reference="REF-1")
        body, _ = convert("CDR", text(new), "2.3.0", "2.2.1")
        how = await self._hand_in("cdrs", json.loads(body))
        got = await patiently("the CDR", lambda: self.emsp.foreign.has("cdrs", "CDR-1"))
        same(got["total_cost"], {"excl_vat": 9.0, "incl_vat": 10.89}, "excl_vat", "incl_vat")
        (record,) = self.emsp.company.api.get("/v1/records?direction=in")["items"]
        return f"{how}; arrived with its cost, and its receipt is signed ({record['state']})"

    async def _selftest(self, side: Side) -> str:
        report = await asyncio.to_thread(side.company.api.need, "POST", "/v1/ocpi/backend/test", {})
        wrong = [f"{step['step']}: {step['what']}" for step in report["steps"] if not step["ok"]]
        if wrong:
            raise Failed("; ".join(wrong))
        return f"{len(report['steps'])} steps"

    def quirks(self) -> dict[str, list[str]]:
        """What each daemon learned of its backend."""
        return {
            f"{side.foreign.library} as {side.foreign.role}": [
                each["quirk"] for each in side.company.api.get("/v1/ocpi")["items"][0]["quirks"]
            ]
            for side in (self.cpo, self.emsp)
        }


async def patiently(what: str, look: Callable[[], Awaitable[Any]]) -> Any:
    """Look until it is there; Failed with the last reason after half a minute."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await look()
        except (Failed, aiohttp.ClientError) as error:
            if time.monotonic() > until:
                raise Failed(f"{what} did not come: {error}") from error
        await asyncio.sleep(0.1)


def same(got: dict[str, Any], body: dict[str, Any], *names: str) -> None:
    """Raises Failed where a field arrived otherwise."""
    wrong = [name for name in names if str(got.get(name)).lower() != str(body[name]).lower()]
    if wrong:
        raise Failed(f"arrived otherwise: {', '.join(f'{name} {got.get(name)!r}' for name in wrong)}")


def settings(base_url: str) -> str:
    """The daemon's configuration for a backend at this address."""
    return f"""
[discovery]
mdns = false

[[ocpi]]
name = "backend"
token = "{FIRST}"
base_url = "{base_url}"
"""


async def play(
    fleet: Fleet, libraries: dict[str, tuple[str, Path]], *, pushes: bool, say: Callable[[Step], None]
) -> Story:
    """One story; `libraries` gives each role its library and its environment's Python."""
    async with aiohttp.ClientSession() as session:
        foreigners = {
            role: Foreign(library, role, python, session, fleet.room / f"{role}-{library}.log")
            for role, (library, python) in libraries.items()
        }
        try:
            for foreign in foreigners.values():
                await foreign.start()
            cso = fleet.company("cso", "BE*RMC", backend=False, settings=settings(foreigners["cpo"].url))
            csp = fleet.company("csp", "FR*RMD", backend=False, settings=settings(foreigners["emsp"].url))
            await asyncio.to_thread(fleet.start, cso, csp)
            await asyncio.to_thread(fleet.pair, cso, csp)
            story = Story(Side(cso, foreigners["cpo"]), Side(csp, foreigners["emsp"]), pushes, say)
            await story.play()
            return story
        finally:
            for foreign in foreigners.values():
                foreign.stop()
