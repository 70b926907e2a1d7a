"""The stream as a busy backend speaks it: many requests in flight on one WebSocket, as many a frame as are at hand."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
import msgspec

from roamd.demo.client import Api
from tests.bench.load import Measured, Tally

WARM_UP_S = 0.3


class Message(msgspec.Struct):
    """What the load needs of a message from the daemon."""

    op: str
    id: int | str | None = None
    status: int = 0
    body: msgspec.Raw = msgspec.Raw(b"")
    items: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(list[Message]).decode


class StreamClient:
    """One connected stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[Literal[False]]) -> None:
        self._socket = socket

    async def send(self, messages: list[bytes]) -> None:
        """All in one frame."""
        await self._socket.send_frame(b"[" + b",".join(messages) + b"]", aiohttp.WSMsgType.TEXT)

    async def receive(self) -> list[Message]:
        """The messages of the next frame. Raises RuntimeError when the daemon has ended the stream."""
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise RuntimeError(f"the stream ended: {message}")
        return _decode(message.data)

    async def ask(self, op: str, **fields: Any) -> Message:
        """One request and its reply; events and questions that come before it are dropped."""
        await self.send([msgspec.json.encode({"op": op, "id": "asked", **fields})])
        while True:
            for message in await self.receive():
                if message.id == "asked":
                    return message


def key_of(api: Api) -> str:
    """What every request must carry."""
    return api.key_file.read_text().strip() if api.key_file else ""


@asynccontextmanager
async def connected(api: Api) -> AsyncIterator[StreamClient]:
    """A stream to a daemon, closed at the end."""
    headers = {"Authorization": f"Bearer {key_of(api)}"}
    async with aiohttp.ClientSession() as session:
        url = f"http://{api.address}/v1/stream"
        async with session.ws_connect(url, headers=headers, max_msg_size=0, decode_text=False) as socket:
            yield StreamClient(socket)


def request(op: str, number: int, body: bytes) -> bytes:
    """One request's text."""
    return b'{"op":"%b","id":%d,"body":%b}' % (op.encode(), number, body)


class Pipeline:
    """Keeps so many requests in flight: what is answered is replaced, all of a frame by one frame."""

    def __init__(self, client: StreamClient, tally: Tally, op: str, body: Callable[[int], bytes], good: bytes) -> None:
        self._client = client
        self._tally = tally
        self._op = op
        self._body = body
        self._good = good
        self._next = 0
        self._sent_ns: dict[int, int] = {}

    @property
    def sent(self) -> int:
        """How many requests were sent so far."""
        return self._next

    async def put(self, count: int) -> None:
        """Send so many more."""
        now, first = time.perf_counter_ns(), self._next
        self._next += count
        numbers = range(first, self._next)
        self._sent_ns.update(dict.fromkeys(numbers, now))
        await self._client.send([request(self._op, number, self._body(number)) for number in numbers])

    async def take(self) -> int:
        """Take the next frame's answers; how many there were."""
        count, now = 0, 0
        for message in await self._client.receive():
            if message.op != "reply":
                continue
            now = now or time.perf_counter_ns()
            sent_ns = self._sent_ns.pop(int(message.id or 0))
            count += 1
            if 200 <= message.status < 300 and self._good in bytes(message.body):
                self._tally.latencies_ns.append(now - sent_ns)
            else:
                self._tally.failed += 1
        return count

    async def run_until(self, end: float) -> None:
        """Go on until the monotonic clock says so."""
        while time.monotonic() < end:
            taken = await self.take()
            if taken:
                await self.put(taken)

    async def drain(self) -> None:
        """Take what is still in flight."""
        while self._sent_ns:
            await self.take()


async def closed_loop(
    api: Api,
    op: str,
    body: Callable[[int], bytes],
    in_flight: int,
    seconds: float,
    pids: tuple[int, ...],
    good: bytes,
    warm_up_s: float = WARM_UP_S,
) -> Measured:
    """Keep so many requests in flight for so long."""
    tally = Tally(pids)
    async with connected(api) as client:
        pipeline = Pipeline(client, tally, op, body, good)
        await pipeline.put(in_flight)
        await pipeline.run_until(time.monotonic() + warm_up_s)
        tally.begin()
        await pipeline.run_until(time.monotonic() + seconds)
        tally.end()
        result = tally.measured()
        await pipeline.drain()
    return result


async def paced(
    api: Api,
    op: str,
    body: Callable[[int], bytes],
    per_s: float,
    seconds: float,
    pids: tuple[int, ...],
    good: bytes,
) -> Measured:
    """An open loop: requests leave by the clock, however slowly they are answered; the wait for a late start counts."""
    tally, interval = Tally(pids), 0.002
    async with connected(api) as client:
        pipeline = Pipeline(client, tally, op, body, good)
        await pipeline.put(1)
        await pipeline.take()
        tally.begin()
        sender = asyncio.create_task(_pace(pipeline, per_s, seconds, interval))
        total = max(1, int(per_s * seconds))
        while len(tally.latencies_ns) + tally.failed < total:
            await pipeline.take()
        await sender
        tally.end()
    return tally.measured()


async def _pace(pipeline: Pipeline, per_s: float, seconds: float, interval: float) -> None:
    began, total = time.monotonic(), max(1, int(per_s * seconds))
    first = pipeline.sent
    while (sent := pipeline.sent - first) < total:
        due = min(total, int((time.monotonic() - began) * per_s) + 1)
        if due > sent:
            await pipeline.put(due - sent)
        await asyncio.sleep(max(interval, began + (due / per_s) - time.monotonic()))
