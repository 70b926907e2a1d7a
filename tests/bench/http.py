"""HTTP as a busy backend speaks it, at as little cost as Python allows, so that the machine's time goes to roamd.

One connection per request in flight, kept alive; a connection sends its next request when its answer is in.
"""

import asyncio
import itertools
import time
from collections.abc import Callable

from roamd.demo.client import Api
from tests.bench.load import Measured, Tally
from tests.bench.stream import key_of

WARM_UP_S = 0.3

MakeRequest = Callable[[int], bytes]
"""The bytes of the n-th request."""


def post(api: Api, path: str, body: bytes) -> bytes:
    """A request to a daemon's API, ready to be sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {api.address}\r\nAuthorization: Bearer {key_of(api)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Slot(asyncio.Protocol):
    """One connection, one request in flight."""

    def __init__(self, tally: Tally, requests: Callable[[], bytes | None], good: bytes) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._tally = tally
        self._requests = requests
        self._good = good
        self._data = b""
        self._sent_ns = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = self._requests()
        assert self._transport is not None
        if request is None:
            self._transport.close()
            return
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        self._data = b""
        if head.startswith(b"HTTP/1.1 2") and self._good in body:
            self._tally.latencies_ns.append(time.perf_counter_ns() - self._sent_ns)
        else:
            self._tally.failed += 1
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.done.done():
            self.done.set_result(None)


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


async def closed_loop(
    address: str,
    make: MakeRequest,
    in_flight: int,
    seconds: float,
    pids: tuple[int, ...],
    good: bytes,
    warm_up_s: float = WARM_UP_S,
) -> Measured:
    """Keep so many requests in flight for so long. An answer counts when it is a 2xx and holds `good`."""
    tally, numbers, running = Tally(pids), itertools.count(), True

    def requests() -> bytes | None:
        return make(next(numbers)) if running else None

    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    slots = [
        (await loop.create_connection(lambda: _Slot(tally, requests, good), host, int(port)))[1]
        for _ in range(in_flight)
    ]
    await asyncio.sleep(warm_up_s)
    tally.begin()
    await asyncio.sleep(seconds)
    tally.end()
    result = tally.measured()
    running = False
    await asyncio.gather(*(slot.done for slot in slots))
    return result
