"""May this driver charge? From an OCPI backend through two daemons to an OCPI backend and back."""

import asyncio
import json
from base64 import b64encode
from functools import cache, partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from roamd.demo.client import Api
from roamd.demo.processes import init_daemon
from tests.bench import bodies, http
from tests.bench.children import Child
from tests.bench.face import TOKEN
from tests.bench.load import Measured
from tests.bench.probes import probe
from tests.bench.stage import SETTINGS, Stage, pid_of
from tests.support.daemons import Company, Fleet

FIRST = "bench-first-token-0123456789"
ALLOWED = b'"allowed":"ALLOWED"'
FACE = f'\n[[ocpi]]\nname = "backend"\ntoken = "{FIRST}"\n'


class Faces:
    """A CSO and a CSP whose backends speak nothing but OCPI."""

    def __init__(self, room: Path, stage: Stage) -> None:
        self.fleet = stage.stack.enter_context(Fleet(room))
        self.backend: Child = stage.started("face")
        self.cso, self.csp = self._company("cso", "BE*RMC"), self._company("csp", "FR*RMD")
        self.fleet.start(self.cso, self.csp)
        self.fleet.pair(self.cso, self.csp)
        self.token = _register(self.cso.api, self.backend.hello["url"])
        _register(self.csp.api, self.backend.hello["url"])

    def _company(self, name: str, party: str) -> Company:
        daemon = init_daemon(self.fleet.room / name, party=party, role=name, name=f"Face {name}")
        extra = daemon.directory / "conf.d" / "bench.toml"
        extra.parent.mkdir()
        extra.write_text(SETTINGS + FACE)
        return Company(name, self.fleet.children.own(daemon), None)

    def pids(self) -> tuple[int, ...]:
        """Of both daemons."""
        return pid_of(self.cso.daemon), pid_of(self.csp.daemon)

    def question(self, number: int) -> bytes:
        """The n-th request, as an OCPI backend sends it."""
        api, body = self.cso.api, b'{"location_id":"RMC-CANAL","evse_uids":["RMC-CANAL-1"]}'
        names = ("OCPI-to-country-code: FR", "OCPI-to-party-id: RMD")
        lines = (
            f"POST /ocpi/emsp/2.2.1/tokens/{number % 2**32:08X}/authorize?type=RFID HTTP/1.1",
            f"Host: {api.address}",
            f"Authorization: {_header(self.token)}",
            "Content-Type: application/json",
            f"X-Request-ID: {number}",
            f"X-Correlation-ID: {number}",
            *names,
            "OCPI-from-country-code: BE",
            "OCPI-from-party-id: RMC",
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _header(token: str) -> str:
    return f"Token {b64encode(token.encode()).decode()}"


def _register(api: Api, url: str) -> str:
    """The handshake; the token that roamd gives."""
    connection = HTTPConnection(api.address, timeout=10)
    given = json.dumps({"token": TOKEN, "url": f"{url}/versions", "roles": []})
    headers = {"Authorization": _header(FIRST), "Content-Type": "application/json"}
    connection.request("POST", "/ocpi/2.2.1/credentials", given, headers)
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    token: str = answer["data"]["token"]
    return token


@cache
def _faces(stage: Stage) -> Faces:
    room = stage.room / "faces"
    room.mkdir()
    return Faces(room, stage)


def _authorize(stage: Stage, in_flight: int) -> Measured:
    faces = _faces(stage)
    request = bodies.remembered(faces.question)
    loop = http.closed_loop(faces.cso.api.address, request, in_flight, stage.seconds, faces.pids(), ALLOWED)
    return asyncio.run(loop)


for _in_flight in (1, 64):
    probe(f"authorize-face-{_in_flight}")(partial(_authorize, in_flight=_in_flight))
