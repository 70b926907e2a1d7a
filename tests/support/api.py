"""The API on a real loopback port, with a real client, for tests that are plain functions.

`run_api(test)` opens everything, runs the coroutine function with a `Harness`, and closes everything; async tests would
run on trio, and this room lives on asyncio.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import aiohttp

from roamd.backend.auth import KeyHolder
from roamd.backend.context import Api, ApiSettings
from roamd.backend.ocpi.backends import OcpiSettings
from roamd.backend.questions import BackendSettings
from roamd.backend.server import Serving, serving
from roamd.backend.webhooks import WebhookSettings
from roamd.bridge import _Gathering, _resolve
from roamd.clock import SystemClock
from tests.support.core import PARTY, FakeCore, operations_of

KEY = "rk_test-key-0123456789"
PATIENCE_S = 20.0
"""No test waits for time to pass; this only ends one that hangs."""


class DirectLink:
    """A core on the same thread, behind the face of `bridge.CoreClient`: replies arrive a turn of the loop later."""

    def __init__(self, core: FakeCore) -> None:
        self._core = core

    def tell(self, operation: object, reply: Callable[[Any], None]) -> None:
        loop = asyncio.get_running_loop()

        def later(value: Any) -> None:
            loop.call_soon(reply, value)

        self._core.handle(operation, later)

    def ask(self, operation: object) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.tell(operation, partial(_resolve, future))
        return future

    async def ask_many(self, operations: Sequence[object]) -> list[Any]:
        gathered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        replies = _Gathering(len(operations), gathered)
        for place, operation in enumerate(operations):
            self.tell(operation, partial(replies.put, place))
        return await gathered if operations else []


class Answered:
    """An answer, read to its end."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def paths(self) -> list[str]:
        """Where the faults stand."""
        return [fault["path"] for fault in self.json.get("faults", [])]


class Harness:
    """What a test has in hand."""

    def __init__(self, core: FakeCore, api: Api, serving: Serving, session: aiohttp.ClientSession) -> None:
        self.core = core
        self.api = api
        self.serving = serving
        self.session = session
        address = serving.addresses[0]
        self.url = f"http://{address[0]}:{address[1]}" if isinstance(address, tuple) else "http://localhost"

    async def asked(self, kind: type[object], times: int = 1) -> None:
        """Wait until the core was asked for this so often."""
        while len(operations_of(self.core, kind)) < times:
            asked = asyncio.Event()
            self.core.on_asked = asked.set
            await asked.wait()

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        key: str | None = KEY,
    ) -> Answered:
        """One request; `body` is sent as it is when it is bytes, else as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with self.session.request(method, self.url + path, data=data, headers={**sent, **(headers or {})}) as got:
            return Answered(got.status, got.headers, await got.read())

    async def stream(self) -> "StreamClient":
        """A connected stream."""
        socket = await self.session.ws_connect(self.url + "/v1/stream", headers={"Authorization": f"Bearer {KEY}"})
        return StreamClient(socket)


class StreamClient:
    """The other end of a stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[list[dict[str, Any]]] = []
        self._messages: list[dict[str, Any]] = []

    async def send(self, *messages: dict[str, Any]) -> None:
        """One frame."""
        await self.socket.send_str(json.dumps(messages))

    async def next(self) -> dict[str, Any]:
        """The next message; the frame that it came in is added to `frames`."""
        while not self._messages:
            frame = json.loads(await self.socket.receive_str())
            self.frames.append(frame)
            self._messages += frame
        return self._messages.pop(0)

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one and take what comes next."""
        await self.send(message)
        return await self.next()


def make_api(core: FakeCore, keys: KeyHolder | None = None, settings: ApiSettings | None = None) -> Api:
    """The shared parts, on a fake core whose events wake whoever waits."""
    api = Api(DirectLink(core), keys or KeyHolder(KEY), SystemClock(), frozenset({PARTY}), settings or ApiSettings())
    core.on_event = lambda newest: api.events.arrived()
    return api


def run_api(
    test: Callable[[Harness], Awaitable[None]],
    *,
    core: FakeCore | None = None,
    keys: KeyHolder | None = None,
    settings: ApiSettings | None = None,
    listen: str = "127.0.0.1:0",
    backend: BackendSettings | None = None,
    webhooks: Sequence[WebhookSettings] = (),
    ocpi: Sequence[OcpiSettings] = (),
    connector: Callable[[], aiohttp.BaseConnector] | None = None,
) -> None:
    """Run one test against a fresh API."""
    fake = core or FakeCore()

    async def main() -> None:
        api = Api(
            DirectLink(fake), keys or KeyHolder(KEY), SystemClock(), frozenset({PARTY}), settings or ApiSettings()
        )
        fake.on_event = lambda newest: api.events.arrived()
        async with (
            asyncio.timeout(PATIENCE_S),
            serving(api, listen, backend=backend, webhooks=webhooks, ocpi=ocpi, random=os.urandom) as served,
            aiohttp.ClientSession(connector=connector() if connector else None) as session,
        ):
            await test(Harness(fake, api, served, session))

    with asyncio.Runner() as runner:
        runner.run(main())


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function on asyncio, with the same patience."""

    async def patient() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await main()

    with asyncio.Runner() as runner:
        runner.run(patient())
