"""A company's backend as the demo and the tests simulate it: it answers roamd's questions and keeps them.

It answers `POST .../authorize` and `POST .../command` under any prefix, as DESIGN section 8 says a backend does, and
can be told over HTTP how to behave, so that it serves as well from another process:

    GET    /asked              what it was asked, oldest first: [{"path", "authorization", "body"}]
    PUT    /mood               {"mood": "well" | "slow" | "broken" | "silent" | "garbled", "delay_ms": 250}
    PUT    /decisions/{uid}    {"decision": "BLOCKED"} what to answer for this credential from now on; * for all others

    python -m roamd.demo.backend [--listen 127.0.0.1:0]    prints its address, serves until stdin closes
"""

import argparse
import asyncio
import itertools
import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

MOODS = ("well", "slow", "broken", "silent", "garbled")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, as it came: the path's last part, the Authorization header, the JSON body."""

    path: str
    authorization: str | None
    body: dict[str, Any]


@dataclass
class SimulatedBackend:
    """What the backend knows and how it feels. Plain attributes; setting them from another thread is fine."""

    default: str = "ALLOWED"
    decisions: dict[str, str] = field(default_factory=dict)
    mood: str = "well"
    delay_ms: int = 250
    asked: list[Asked] = field(default_factory=list)
    _references: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def application(self) -> web.Application:
        """The HTTP face of this backend."""
        app = web.Application()
        app.router.add_get("/asked", self._tell_asked)
        app.router.add_put("/mood", self._take_mood)
        app.router.add_put("/decisions/{uid}", self._take_decision)
        app.router.add_post("/{prefix:.*}authorize", self._authorize)
        app.router.add_post("/{prefix:.*}command", self._command)
        return app

    def decide(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to an authorization question."""
        uid = question.get("credential", {}).get("uid", "")
        decision = self.decisions.get(uid, self.default)
        if decision != "ALLOWED":
            return {"decision": decision, "reason": "the backend knows this credential and says no"}
        return {"decision": decision, "authorization_reference": f"AUTH-{next(self._references):06}"}

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        question = await self._keep("authorize", request)
        return await self._answer(lambda: self.decide(question))

    async def _command(self, request: web.Request) -> web.StreamResponse:
        await self._keep("command", request)
        return await self._answer(lambda: {"result": "ACCEPTED"})

    async def _keep(self, path: str, request: web.Request) -> dict[str, Any]:
        body = await request.json()
        self.asked.append(Asked(path, request.headers.get("Authorization"), body))
        return dict(body)

    async def _answer(self, answer: Any) -> web.StreamResponse:
        if self.mood == "silent":
            await asyncio.get_running_loop().create_future()
        if self.mood == "slow":
            await asyncio.sleep(self.delay_ms / 1000)
        if self.mood == "broken":
            return web.Response(status=500, text="the backend is broken, as it was told to be")
        if self.mood == "garbled":
            return web.Response(body=b'{"decision": "ALLOW\xff', content_type="application/json")
        return web.json_response(answer())

    async def _tell_asked(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(asked) for asked in self.asked])

    async def _take_mood(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("mood") not in MOODS:
            return web.Response(status=422, text=f"a mood is one of {', '.join(MOODS)}")
        self.mood, self.delay_ms = body["mood"], int(body.get("delay_ms", self.delay_ms))
        return web.Response(status=204)

    async def _take_decision(self, request: web.Request) -> web.Response:
        uid, decision = request.match_info["uid"], (await request.json())["decision"]
        if uid == "*":
            self.default = decision
        else:
            self.decisions[uid] = decision
        return web.Response(status=204)


async def serving(backend: SimulatedBackend, host: str = "127.0.0.1", port: int = 0) -> tuple[web.AppRunner, str]:
    """Start serving; returns the runner, to be cleaned up by the caller, and the URL for roamd's `backend.url`."""
    runner = web.AppRunner(backend.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    bound_host, bound_port = runner.addresses[0][:2]
    return runner, f"http://{bound_host}:{bound_port}/roamd"


async def _serve_until_stdin_closes(host: str, port: int) -> None:
    runner, url = await serving(SimulatedBackend(), host, port)
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)
    await runner.cleanup()


def main(argv: list[str] | None = None) -> int:
    """Serve in this process; whoever started it ends it by closing its stdin, which also happens when that one dies."""
    parser = argparse.ArgumentParser(prog="python -m roamd.demo.backend", description="a simulated backend")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    host, _, port = parser.parse_args(argv).listen.rpartition(":")
    asyncio.run(_serve_until_stdin_closes(host, int(port)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
