"""What the operator asks about the OCPI backends: how they stand, what was learned of them, and a test of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from roamd.backend.context import Api
from roamd.backend.ocpi.backends import Backend, Backends
from roamd.backend.ocpi.caller import Caller
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.quirks import QUIRKS, listed
from roamd.backend.ocpi.selftest import SelfTest, Step
from roamd.backend.ocpi.vanished import Vanished
from roamd.backend.requests import decode_strictly, value_answer
from roamd.backend.routes import Answer, Body, Route
from roamd.clock import rfc3339
from roamd.model.ocpi.convert import RULES


@dataclass(slots=True)
class Bench:
    """The configured backends and the ways to them; `Api.ocpi` while there are any."""

    api: Api
    backends: Backends
    callers: Mapping[str, Caller]
    partners: Partners

    async def all(self) -> list[dict[str, Any]]:
        """Every backend as it stands."""
        await self.backends.load()
        return [_shown(backend) for backend in self.backends]

    async def test(self, name: str) -> list[Step] | None:
        """The steps of a test; None when no backend has the name."""
        await self.backends.load()
        for backend in self.backends:
            if backend.settings.name == name:
                return await SelfTest(self.api, backend, self.callers[name], self.partners).run()
        return None

    async def remove(self, name: str, module: str) -> int:
        """Remove what a backend no longer lists, where that was held back; how many."""
        found = (backend for backend in self.backends if backend.settings.name == name)
        return sum([await Vanished(self.api, backend).confirm(module) for backend in found])


class RemovalIn(msgspec.Struct, frozen=True):
    """Which of the backend's modules."""

    module: str


class OcpiOperating:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def all(self, _request: web.Request) -> web.Response:
        """All backends."""
        bench = self._bench()
        return value_answer({"items": await bench.all() if bench is not None else []})

    async def test(self, request: web.Request) -> web.Response:
        """A report, also where nothing of that name is configured."""
        name, bench = request.match_info["name"], self._bench()
        steps = await bench.test(name) if bench is not None else None
        if steps is None:
            todo = "Names are what [[ocpi]] calls them; `roamd ocpi` lists them."
            steps = [Step("configuration", False, "no OCPI backend has this name", todo)]
        report = {"name": name, "ok": all(step.ok for step in steps), "steps": [step.as_json() for step in steps]}
        return value_answer(report)

    async def remove(self, request: web.Request) -> web.Response:
        """The operator's word that what is no longer listed is really gone."""
        asked, name = decode_strictly(await request.read(), RemovalIn), request.match_info["name"]
        bench = self._bench()
        removed = await bench.remove(name, asked.module) if bench is not None else 0
        return value_answer({"name": name, "module": asked.module, "removed": removed})

    def _bench(self) -> Bench | None:
        return self._api.ocpi if isinstance(self._api.ocpi, Bench) else None

    def routes(self) -> list[Route]:
        """The table's rows."""
        report = (Answer(200, "What was tried, in order, and what to do where it failed.", "Report"),)
        return [
            Route("GET", "/v1/ocpi", self.all, "ocpi", "The OCPI backends: how they stand, their quirks and losses.",
                  (Answer(200, "All.", "Listing"),)),
            Route("POST", "/v1/ocpi/{name}/removals", self.remove, "ocpi",
                  "Remove what an OCPI backend no longer lists, where that was too much to be believed at once.",
                  (Answer(200, "How many were removed.", "Report"),), Body("OcpiRemoval", {"module": "tariffs"}),
                  example={"name": "csms"}),
            Route("POST", "/v1/ocpi/{name}/test", self.test, "ocpi", "Test the ways to an OCPI backend.", report,
                  example={"name": "csms"}),
        ]  # fmt: skip


def _shown(backend: Backend) -> dict[str, Any]:
    kept = backend.registration
    found: dict[str, Any] = {"name": backend.settings.name, "registered": kept is not None}
    if kept is not None:
        found |= {"version": kept.version, "url": kept.their_url}
        found["endpoints"] = [f"{each.identifier} {each.role}" for each in kept.endpoints]
    if backend.refused:
        found["last_refusal"] = backend.refused
    found["quirks"] = [
        {"quirk": quirk, "what": QUIRKS.get(quirk, ""), "since": None if at_ms is None else rfc3339(at_ms)}
        for quirk, at_ms in sorted(listed(backend).items())
    ]
    found["removals"] = [
        {"module": module, "missing": len(held.keys), "listed": held.total}
        for module, held in sorted(backend.held.items())
    ]
    found["losses"] = [
        {"module": module, "rule": code, "what": RULES[code].what, "why": RULES[code].why, "count": count}
        for (module, code), count in sorted(backend.losses.items())
    ]
    return found
