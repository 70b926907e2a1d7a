"""A stream that counts what is written and can be clogged."""

import trio


class CountingStream(trio.abc.HalfCloseableStream):
    """Passes everything on; writes wait for the event `clogged`, if there is one, as for a peer that does not read."""

    def __init__(self, inner: trio.abc.HalfCloseableStream) -> None:
        self.inner = inner
        self.writes = 0
        self.clogged: trio.Event | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        if self.clogged is not None:
            await self.clogged.wait()
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.inner.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self.inner.aclose()
