"""An eMSP's OCPI backend as a process: versions, details, and an authorize that lets everybody charge.

    python -m tests.bench.face

It prints its URL as JSON and ends when stdin closes. Lean, so that the machine's time goes to roamd.
"""

import asyncio
import sys

import msgspec
from aiohttp import web

from tests.bench.children import say

TOKEN = "bench-token-of-the-backend"
STAMP = "2026-10-20T12:00:00Z"


def _envelope(data: object) -> web.Response:
    body = {"data": data, "status_code": 1000, "timestamp": STAMP}
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


async def _authorize(request: web.Request) -> web.Response:
    msgspec.json.decode(await request.read())
    token = {"country_code": "FR", "party_id": "RMD", "uid": request.match_info["uid"], "type": "RFID"}
    more = {"contract_id": "FR-RMD-C00000042-X", "issuer": "Bench", "valid": True, "whitelist": "NEVER"}
    shown = {**token, **more, "last_updated": STAMP}
    return _envelope({"allowed": "ALLOWED", "token": shown, "authorization_reference": "BENCH-000001"})


def _application() -> web.Application:
    app = web.Application()

    async def versions(request: web.Request) -> web.Response:
        return _envelope([{"version": "2.2.1", "url": f"http://{request.host}/details"}])

    async def details(request: web.Request) -> web.Response:
        endpoint = {"identifier": "tokens", "role": "SENDER", "url": f"http://{request.host}/tokens"}
        return _envelope({"version": "2.2.1", "endpoints": [endpoint]})

    async def nothing(_request: web.Request) -> web.Response:
        return _envelope([])

    app.router.add_get("/versions", versions)
    app.router.add_get("/details", details)
    app.router.add_get("/tokens", nothing)
    app.router.add_post("/tokens/{uid}/authorize", _authorize)
    return app


async def _main() -> None:
    runner = web.AppRunner(_application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    say({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
