"""The yardstick that a company could have instead: OCPI 2.2.1 between two lean aiohttp services over TLS 1.3.

    python -m tests.bench.ocpi receiver FOLDER      the CSP's side: prints its address and answers
    python -m tests.bench.ocpi sender FOLDER PORT   the CSO's side: lines `KIND IN_FLIGHT SECONDS` on stdin

Lean: no framework, no logging, no validation beyond one JSON decode, connections kept alive, uvloop where it is
found, and no backend behind the receiver. Kinds: `authorize`, `cdr` (kept in memory), `cdr-durable` (a full-sync commit
each, as a service that answers 200 must have made), `echo` (plain JSON, nothing of OCPI).
"""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import aiohttp
import apsw
import msgspec
from aiohttp import web

from tests.bench import bodies
from tests.bench.certificates import context
from tests.bench.children import say
from tests.bench.load import Measured, Tally

TOKEN = {"Authorization": "Token YmVuY2g=", "Content-Type": "application/json"}
TIMESTAMP = "2026-10-20T12:00:00Z"
WARM_UP_S = 0.3


# --- the receiver -------------------------------------------------------------------------------------------------


def _envelope(data: object) -> web.Response:
    body = {"data": data, "status_code": 1000, "timestamp": TIMESTAMP}
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


async def _authorize(request: web.Request) -> web.Response:
    location = msgspec.json.decode(await request.read())
    token = {"country_code": "FR", "party_id": "RMD", "uid": request.match_info["uid"], "type": "RFID"}
    reference = {"authorization_reference": "BENCH-000001"}
    return _envelope({"allowed": "ALLOWED", "token": token, "location": location, **reference})


async def _echo(request: web.Request) -> web.Response:
    body = msgspec.json.decode(await request.read())
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


class Cdrs:
    """Takes CDRs: into memory, or into SQLite with a commit that is on the disk before the answer."""

    def __init__(self, folder: Path) -> None:
        self._kept: dict[str, bytes] = {}
        self._database = apsw.Connection(str(folder / f"cdrs-{os.getpid()}.db"))
        self._database.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE cdrs (id TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID")

    async def keep(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._kept[msgspec.json.decode(body)["id"]] = body
        return _envelope(None)

    async def commit(self, request: web.Request) -> web.Response:
        body = await request.read()
        values = (msgspec.json.decode(body)["id"], body)
        self._database.execute("INSERT OR REPLACE INTO cdrs VALUES (?, ?)", values)
        return _envelope(None)


async def _receive(folder: Path) -> None:
    cdrs = Cdrs(folder)
    app = web.Application()
    app.router.add_post("/ocpi/emsp/2.2.1/tokens/BE/RMC/{uid}/authorize", _authorize)
    app.router.add_post("/ocpi/emsp/2.2.1/cdrs", cdrs.keep)
    app.router.add_post("/durable/ocpi/emsp/2.2.1/cdrs", cdrs.commit)
    app.router.add_post("/echo", _echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context(folder, server=True)).start()
    say({"port": runner.addresses[0][1]})
    await asyncio.to_thread(sys.stdin.read)


# --- the sender ---------------------------------------------------------------------------------------------------

Post = tuple[str, bytes]
"""Path and body."""


def _question(number: int) -> Post:
    asked = bodies.question(number % 512)
    return f"/ocpi/emsp/2.2.1/tokens/BE/RMC/{asked['credential']['uid']}/authorize", bodies.encode(asked["location"])


def _cdr(path: str, number: int) -> Post:
    return path, bodies.numbered_cdr(number)


def _small(number: int) -> Post:
    return "/echo", bodies.encode(bodies.question(number % 512))


KINDS: dict[str, Callable[[int], Post]] = {
    "authorize": bodies.remembered(_question),
    "cdr": partial(_cdr, "/ocpi/emsp/2.2.1/cdrs"),
    "cdr-durable": partial(_cdr, "/durable/ocpi/emsp/2.2.1/cdrs"),
    "echo": bodies.remembered(_small),
}


class Sender:
    """One service that posts to the other."""

    def __init__(self, session: aiohttp.ClientSession, base: str, receiver_pid: int) -> None:
        self._session = session
        self._base = base
        self._pids = (os.getpid(), receiver_pid)

    async def run(self, kind: str, in_flight: int, seconds: float) -> Measured:
        """A closed loop."""
        tally, numbers, make = Tally(self._pids), itertools.count(), KINDS[kind]
        workers = [asyncio.create_task(self._work(tally, numbers, make)) for _ in range(in_flight)]
        await asyncio.sleep(WARM_UP_S)
        tally.begin()
        await asyncio.sleep(seconds)
        tally.end()
        result = tally.measured()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return result

    async def _work(self, tally: Tally, numbers: "itertools.count[int]", make: Callable[[int], Post]) -> None:
        while True:
            path, body = make(next(numbers))
            began = time.perf_counter_ns()
            async with self._session.post(self._base + path, data=body, headers=TOKEN) as response:
                answer = msgspec.json.decode(await response.read())
            if response.status == 200 and answer:
                tally.latencies_ns.append(time.perf_counter_ns() - began)
            else:
                tally.failed += 1


async def _send(folder: Path, port: int, receiver_pid: int) -> None:
    connector = aiohttp.TCPConnector(ssl=context(folder, server=False), limit=0, keepalive_timeout=600)
    async with aiohttp.ClientSession(connector=connector) as session:
        sender = Sender(session, f"https://127.0.0.1:{port}", receiver_pid)
        say({})
        while line := await asyncio.to_thread(sys.stdin.readline):
            kind, in_flight, seconds = line.split()
            say(await sender.run(kind, int(in_flight), float(seconds)))


def main(words: list[str]) -> None:
    """Be the one or the other."""
    folder = Path(words[1])
    running = _receive(folder) if words[0] == "receiver" else _send(folder, int(words[2]), int(words[3]))
    try:
        import uvloop
    except ImportError:
        asyncio.run(running)
    else:
        uvloop.run(running)


if __name__ == "__main__":
    main(sys.argv[1:])
