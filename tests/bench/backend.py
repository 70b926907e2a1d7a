"""A CSP's backend as a process: answers questions by HTTP and, when told to, by the stream.

    python -m tests.bench.backend

It prints its URL as JSON. Lines on stdin: `stream ADDRESS KEY_FILE` takes questions by the stream of that daemon from
then on, `http` no longer does; each is answered by a line `"ok"`. It ends when stdin closes.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from roamd.demo.client import Api
from tests.bench.children import say
from tests.bench.stream import StreamClient, connected

ANSWER = b'{"decision":"ALLOWED","authorization_reference":"BENCH-000001"}'


async def _authorize(http: web.Request) -> web.Response:
    msgspec.json.decode(await http.read())
    return web.Response(body=ANSWER, content_type="application/json")


async def _answer_questions(api: Api, ready: "asyncio.Future[None]") -> None:
    async with connected(api) as client:
        await client.ask("questions.subscribe")
        ready.set_result(None)
        await _answer_until_closed(client)


async def _answer_until_closed(client: StreamClient) -> None:
    with contextlib.suppress(RuntimeError, aiohttp.ClientError):
        while True:
            questions = [message for message in await client.receive() if message.op == "question"]
            answers = [
                b'{"op":"answer","id":"%b","body":%b}' % (str(one.id).encode(), ANSWER)
                for one in questions
                if msgspec.json.decode(one.body)
            ]
            if answers:
                await client.send(answers)


class Backend:
    """Follows the orders on stdin."""

    def __init__(self) -> None:
        self._answering: asyncio.Task[None] | None = None

    async def obey(self, words: list[str]) -> None:
        """Carry out one order."""
        await self._stop()
        if words[0] == "stream":
            ready = asyncio.get_running_loop().create_future()
            self._answering = asyncio.create_task(_answer_questions(Api(words[1], Path(words[2])), ready))
            await ready

    async def _stop(self) -> None:
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
            self._answering = None


async def _main() -> None:
    app = web.Application()
    app.router.add_post("/roamd/authorize", _authorize)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    say({"url": f"http://127.0.0.1:{runner.addresses[0][1]}/roamd"})
    backend = Backend()
    while line := await asyncio.to_thread(sys.stdin.readline):
        await backend.obey(line.split())
        say("ok")


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main())
    else:
        uvloop.run(_main())
