"""Every real object goes from an OCPI backend through two daemons to another, in its version and in the other one."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from roamd.model.body import compact
from roamd.model.ocpi.convert import convert
from tests.model.samples import REASON, Sample, samples
from tests.processes.conftest import PARTIES
from tests.support.daemons import Company, Fleet

SAMPLES = [sample for sample in samples() if sample.kind != "EVSE"]
GOOD = [sample for sample in SAMPLES if not sample.defects]
BAD = [sample for sample in SAMPLES if sample.defects]
MODULES = {"Location": "locations", "Tariff": "tariffs", "Session": "sessions", "Token": "tokens", "CDR": "cdrs"}
VERSIONS = ("2.2.1", "2.3.0")
PATIENCE_S = 10.0
TOKEN = "one-token-that-opens-everything"

pytestmark = pytest.mark.skipif(not GOOD, reason=REASON)


def settings(role: str) -> str:
    parties = ", ".join(f'"{party}"' for party in PARTIES[role])
    face = f'[[ocpi]]\nname = "backend"\ntoken = "{TOKEN}"\nhandshake = false\nstrict = true\n'
    return f"[discovery]\nmdns = false\n\n[endpoint]\nparties = [{parties}]\n\n{face}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    room: Path = tmp_path_factory.mktemp("versions")
    with Fleet(room) as fleet:
        for role in ("cso", "csp"):
            fleet.company(role, PARTIES[role][0], backend=False, settings=settings(role))
        yield fleet


class Backend:
    """What stands at a daemon's face."""

    def __init__(self, company: Company, session: aiohttp.ClientSession) -> None:
        self._base = f"http://{company.api.address}/ocpi"
        self._session = session

    async def send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Token {b64encode(TOKEN.encode()).decode()}", "Content-Type": "application/json"}
        async with self._session.request(method, self._base + path, data=body, headers=headers) as response:
            return response.status, await response.read()

    async def hand_in(self, sample: Sample) -> tuple[int, Any]:
        body, face = json.loads(sample.data), "cpo" if sample.kind == "Token" else "emsp"
        module = f"/{face}/{sample.ocpi}/{MODULES[sample.kind]}"
        where = f"/{body['country_code']}/{body['party_id']}/{name_of(body)}"
        where += f"?type={body['type']}" if sample.kind == "Token" else ""
        posted = sample.kind == "CDR"
        status, text = await self.send("POST" if posted else "PUT", module + ("" if posted else where), sample.data)
        return status, json.loads(text)

    async def read(self, sample: Sample, version: str) -> list[Any]:
        """The objects of the sample's id that the partner shows."""
        face = "emsp" if sample.kind == "Token" else "cpo"
        _, text = await self.send("GET", f"/{face}/{version}/{MODULES[sample.kind]}?limit=500")
        spelled = json.loads(text, parse_float=Decimal, parse_int=Decimal)["data"]
        wanted = json.loads(sample.data)
        return [each for each in spelled if identity(each) == identity(wanted)]


def name_of(body: dict[str, Any]) -> str:
    return str(body.get("id") or body["uid"])


def identity(body: dict[str, Any]) -> tuple[str, ...]:
    return (str(body["country_code"]).upper(), str(body["party_id"]).upper(), name_of(body).upper())


def decimals(body: bytes) -> Any:
    return json.loads(body, parse_float=Decimal, parse_int=Decimal)


async def pass_through(owner: Backend, follower: Backend, sample: Sample) -> None:
    """Hand in at the one face, read at the other in both versions. Samples share ids: each is read before the next."""
    status, answer = await owner.hand_in(sample)
    if (status, answer.get("status_code")) == (409, 2001) and sample.kind == "CDR":
        return  # another sample is the same CDR with other content, and a CDR is never replaced
    assert status in (200, 201), (sample.name, answer)
    if "left alone" in (answer.get("status_message") or ""):
        return  # another sample of this id is newer
    body = compact(sample.data)
    for version in (sample.ocpi, *(each for each in VERSIONS if each != sample.ocpi)):
        expected = decimals(convert(sample.kind, body, sample.ocpi, version)[0])
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := await follower.read(sample, version)) != [expected]:  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(sample.name, version, found, expected) from None


def test_every_sample_passes_unchanged_in_its_version_and_with_the_listed_losses_in_the_other(fleet: Fleet) -> None:
    cso, csp = (Company(daemon.directory.name, daemon, None) for daemon in fleet.children.daemons)
    fleet.start(cso, csp)
    fleet.pair(cso, csp)

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            cpo, emsp = Backend(cso, session), Backend(csp, session)
            for sample in GOOD:
                owner, follower = (emsp, cpo) if sample.kind == "Token" else (cpo, emsp)
                await pass_through(owner, follower, sample)
            for sample in BAD:
                status, answer = await cpo.hand_in(sample)
                assert (status, answer["status_code"]) == (400, 2001), sample.name
                paths = [defect.partition(":")[0] for defect in sample.defects if "unknown field" not in defect]
                assert all(f"$.{path.removeprefix('$.')}" in answer["status_message"] for path in paths), answer

    asyncio.run(main())
