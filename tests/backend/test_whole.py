"""The API in its thread and the core on trio, joined by the real bridge, as the daemon joins them."""

import asyncio
import contextlib
import json
import urllib.request
from functools import partial
from typing import Any

import pytest
import trio

from roamd.backend.auth import KeyHolder
from roamd.backend.context import Api
from roamd.backend.examples import LOCATION, SERVICE_RECORD
from roamd.backend.server import serving
from roamd.bridge import AsyncioThread, BackendPort, CoreClient, Started
from roamd.clock import SystemClock
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, NoAnswer, Reply
from tests.support.api import KEY
from tests.support.core import FakeCore


class Joined:
    """A core on trio with its API; `run` is the task that the daemon would start."""

    def __init__(self, core: FakeCore) -> None:
        self.port = BackendPort()
        core.on_event = self.port.events_arrived
        self.thread = AsyncioThread(self._main)
        self._client = CoreClient(core, self.thread.fail)

    async def _main(self, started: Started) -> None:
        api = Api(self._client, KeyHolder(KEY), SystemClock(), frozenset({"DEABC"}))
        async with serving(api, "127.0.0.1:0") as served:
            self.port.attach(served.questions)
            started(served.addresses[0][1])
            await asyncio.get_running_loop().create_future()


def request(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """A blocking request from a client that knows neither loop."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(  # a loopback URL of our own
        f"http://127.0.0.1:{port}{path}", data, {"Authorization": f"Bearer {KEY}"}, method=method
    )
    with urllib.request.urlopen(asked, timeout=20) as answered:  # noqa: S310
        return answered.status, json.loads(answered.read())


async def test_requests_cross_to_the_core_and_back() -> None:
    core = FakeCore()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(Joined(core).thread.run)

            async def send(method: str, path: str, body: Any = None) -> tuple[int, Any]:
                return await trio.to_thread.run_sync(partial(request, port, method, path, body))

            assert await send("PUT", "/v1/locations/LOC1", LOCATION) == (201, LOCATION)
            status, told = await send("POST", "/v1/records", [SERVICE_RECORD])
            assert (status, told[0]["state"]) == (202, "QUEUED")
            assert (await send("GET", "/v1/status"))[1] == {"asked": "status"}
            nursery.cancel_scope.cancel()


async def test_an_event_on_trio_ends_a_long_poll() -> None:
    core = FakeCore()
    waited: list[Any] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(Joined(core).thread.run)

            async def poll() -> None:
                waited.append(await trio.to_thread.run_sync(request, port, "GET", "/v1/events?wait=60"))
                nursery.cancel_scope.cancel()

            asked = trio.Event()
            core.on_asked = asked.set
            nursery.start_soon(poll)
            await asked.wait()
            core.happen("peer.state")
    assert waited[0][1]["items"][0]["type"] == "peer.state"


async def test_a_question_without_a_backend_comes_back_on_trio() -> None:
    question = AuthorizeQuestion("q", "xyz", "FR*XYZ", {"type": "RFID", "uid": "1"}, "CHARGING", 1000, "2026-01-01T00Z")
    answers: list[BackendAnswer | NoAnswer] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            joined, answered = Joined(FakeCore()), trio.Event()
            await nursery.start(joined.thread.run)

            def done(answer: BackendAnswer | NoAnswer) -> None:
                answers.append(answer)
                answered.set()

            joined.port.ask_authorize(question, done)
            await answered.wait()
            nursery.cancel_scope.cancel()
    assert answers == [NoAnswer("not configured")]


class BrokenCore(FakeCore):
    def handle(self, operation: object, reply: Reply) -> None:
        raise ZeroDivisionError("a bug in the core")


async def test_a_core_that_raises_brings_the_tree_down() -> None:
    async def ask(port: int) -> None:
        with contextlib.suppress(OSError):  # the 500, or the end of the connection
            await trio.to_thread.run_sync(request, port, "GET", "/v1/status")

    async def daemon() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, await nursery.start(Joined(BrokenCore()).thread.run))

    with trio.fail_after(20), pytest.raises(ExceptionGroup) as caught:
        await daemon()
    assert caught.group_contains(ZeroDivisionError, match="a bug in the core")


async def test_an_address_that_is_taken_is_raised_in_the_tree() -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(Joined(FakeCore()).thread.run)

            async def main(started: Started) -> None:
                api = Api(CoreClient.__new__(CoreClient), KeyHolder(KEY), SystemClock(), frozenset())
                async with serving(api, f"127.0.0.1:{port}"):
                    started(None)

            with pytest.raises(OSError, match="in use"):
                await AsyncioThread(main).run()
            nursery.cancel_scope.cancel()
